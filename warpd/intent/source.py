"""What every source of the YAML answers; `sources/` has one file a source."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from warpd.intent.model import Model


@dataclass(frozen=True, slots=True)
class Pulled:
    """The result of a pull: the revision that is laid out now, and whether it was another
    before.
    """

    revision: str
    changed: bool


class IntentSource(Protocol):
    """Where the YAML of this gateway is pulled from.

    - `kind`: the `KEY` of its settings.
    - `origin`: what messages, `warpctl pull` and the daemon's status call it, such as a URL.
    - `folder_in_origin`: the folder of it that holds the YAML; "." for its top.
    - `interval_s`: how often the daemon pulls, in seconds.
    - `current`: the folder or file that is read, once something was pulled. A pull replaces it as a
      whole, so that nobody reads half of it.
    """

    kind: str
    origin: str
    folder_in_origin: str
    interval_s: int
    current: Path

    @property
    def revision(self) -> str:
        """What is laid out in `current`; "" before the first pull."""

    def pull(self) -> Pulled:
        """Fetch and lay out the wanted revision. On a failure the previous one stays.

        Called by a thread of its own or by `warpctl pull`, perhaps both at the same time.

        Raises:
            WarpError: there is nothing to read, or it is not to be trusted. Busy: another pull is
                under way.
        """


class SourceSettings(Model, ABC):
    """The fields of `source:` in the YAML.

    - `KEY`: the field that every such source must have, and by which it is told from the others.
    """

    KEY: ClassVar[str]

    @abstractmethod
    def open(self, state: Path) -> IntentSource:
        """The source of these settings. Nothing is fetched yet.

        Args:
            state: the state folder, in whose folder `source` a source keeps what it has fetched.
        """
