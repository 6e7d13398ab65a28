"""Where the YAML comes from, if not from this machine. One file a source, one line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

from pydantic import Field

from warpd.intent.model import Model
from warpd.intent.source import SourceSettings
from warpd.intent.sources.git import GitSource
from warpd.intent.types import Version

# A `source:` without the key of any is taken for one of the first.
SOURCES: Final[tuple[type[SourceSettings], ...]] = (GitSource,)

Settings = TypeVar("Settings", bound=SourceSettings)


class Pointer(Model, Generic[Settings]):
    """A file that only names the source of the YAML."""

    version: Version = Field(description="The version of this format: 1.")
    source: Settings = Field(
        description="Where warpd pulls the YAML from; nothing else may stand beside it."
    )


def pointer_model(raw: Mapping[str, Any]) -> type[Pointer[Any]]:
    """Return the model of a file with `source:`, by the key in it that tells one from the
    others.
    """
    body = raw.get("source")
    keys = body if isinstance(body, Mapping) else {}
    chosen: Any = next((each for each in SOURCES if each.KEY in keys), SOURCES[0])
    return Pointer[chosen]
