"""Changes that were looked at and wait to be applied: few, for a short time, in memory only."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Final

from warpd.service.candidates import Candidate

KEPT_MAX: Final = 16
BYTES_MAX: Final = 16 * 1024 * 1024  # of all texts together
KEPT_S: Final = 600.0


class KeptCandidates:
    """The latest candidates, by id. For the socket's thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[Candidate, float]] = {}

    def keep(self, candidate: Candidate) -> bool:
        """Keep it, in place of the oldest ones; False: it is too large by itself."""
        if candidate.size > BYTES_MAX:
            return False
        self._forget_old()
        self._kept.pop(candidate.id, None)
        slim = dataclasses.replace(candidate, answer={})
        self._kept[candidate.id] = slim, self._clock() + KEPT_S
        while len(self._kept) > KEPT_MAX or self._bytes > BYTES_MAX:
            self._kept.pop(next(iter(self._kept)))
        return True

    def get(self, name: str) -> Candidate | None:
        """The candidate with this id; None where it is not kept, or not any more."""
        self._forget_old()
        found = self._kept.get(name)
        return found[0] if found is not None else None

    def forget(self, name: str) -> None:
        self._kept.pop(name, None)

    @property
    def _bytes(self) -> int:
        return sum(candidate.size for candidate, _until_s in self._kept.values())

    def _forget_old(self) -> None:
        now = self._clock()
        for name, (_candidate, until_s) in list(self._kept.items()):
            if until_s <= now:
                del self._kept[name]
