"""Parameters of a query, as a route declares them: anything else is refused. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from warpd.daemon.http.messages import HttpError

TEXT_MAX: Final = 200  # characters of a value, unless a parameter says otherwise
SHOWN_MAX: Final = 80  # characters of what was asked that an error repeats


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter.

    Attributes:
        name: as a client writes it.
        about: what it is for.
        choices: the values that it may have; () for any.
        bounds: the least and the greatest number; None for what is no number.
        length_max: characters.
    """

    name: str
    about: str
    choices: Sequence[str] = ()
    bounds: tuple[int, int] | None = None
    length_max: int = TEXT_MAX

    @property
    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        if self.bounds is not None:
            return {"type": "integer", "minimum": self.bounds[0], "maximum": self.bounds[1]}
        if self.choices:
            return {"type": "string", "enum": list(self.choices)}
        return {"type": "string", "maxLength": self.length_max}

    def check(self, text: str) -> None:
        """Raises: HttpError for a value that it may not have."""
        if self.bounds is not None:
            self._check_number(text)
        elif self.choices and text not in self.choices:
            raise _wrong(f"`{self.name}` is one of {', '.join(self.choices)}")
        elif len(text) > self.length_max:
            raise _wrong(f"`{self.name}` has at most {self.length_max} characters")

    def _check_number(self, text: str) -> None:
        assert self.bounds is not None  # noqa: S101  # it is a number
        least, most = self.bounds
        is_number = re.fullmatch("0|[1-9][0-9]{0,17}", text, re.ASCII) is not None
        if not is_number or not least <= int(text) <= most:
            raise _wrong(f"`{self.name}` is a number from {least} to {most}")


def check_query(known: Sequence[Parameter], query: Mapping[str, Sequence[str]]) -> None:
    """Refuse what a route does not take.

    Args:
        known: the parameters of the route.
        query: the values of each name.

    Raises:
        HttpError: a parameter is unknown, is given twice, or has a value that it may not have.
    """
    by_name = {item.name: item for item in known}
    for name, values in query.items():
        if name not in by_name:
            hint = f"there are: {', '.join(by_name)}" if by_name else "there are none"
            raise _wrong(f"there is no parameter {name[:SHOWN_MAX]}", hint)
        if len(values) > 1:
            raise _wrong(f"`{name}` is given {len(values)} times")
        by_name[name].check(values[0])


def _wrong(text: str, hint: str = "see /v1/openapi.json") -> HttpError:
    return HttpError(400, text, hint=hint)
