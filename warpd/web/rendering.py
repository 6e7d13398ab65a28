"""Templates, and what they may call. Everything that is put into a page is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup

from warpd.web.catalogue import TEXT
from warpd.web.summary import TONES, bytes_text, clock_text, duration_text, time_text

ROWS_MAX: Final = 200  # of a list of changes; what is left out is counted
STEPS_MAX: Final = 1000  # of a plan
FOLDER: Final = Path(__file__).with_name("templates")


def text(key: str, **values: object) -> str:
    """A text of the catalogue; `values` are escaped as everything else is, by the template."""
    return TEXT[key].format(**values)


class PageEnvironment(jinja2.Environment):
    """Takes `row.update` for the field of a row, and not for a method of dictionaries."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


def environment() -> jinja2.Environment:
    """Make the environment of all pages."""
    made = PageEnvironment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals.update(t=text, tone=TONES.__getitem__, rows_max=ROWS_MAX, steps_max=STEPS_MAX)
    made.filters.update(
        size=bytes_text,
        duration=duration_text,
        clock=clock_text,
        time=time_text,
        lines=str.splitlines,
    )
    return made


_ENVIRONMENT: Final = environment()


def render(template: str, **values: Any) -> str:
    """The page of a template.

    Raises:
        jinja2.UndefinedError: it names a value that is not there.
    """
    return str(_ENVIRONMENT.get_template(template).render(**values))


def read_templates() -> None:
    """Read all templates, so that a mistake in one of them is seen at the start."""
    for name in _ENVIRONMENT.list_templates():
        _ENVIRONMENT.get_template(name)


def trusted(svg: str) -> Markup:
    """A picture whose every text was escaped when it was drawn (`picture`)."""
    return Markup(svg)  # noqa: S704  # drawn by us
