"""How often somebody may try to sign in. Pure.

Each try of a password costs memory and a tenth of a second of a CPU, and each tells the other side
whether it was right. No account is locked: whoever tries names of others keeps them out for
seconds, and a link of `warpctl web login` has a budget of its own, so that it always works.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

BURST: Final = 8.0  # tries of one name at once
EVERY_S: Final = 6.0  # and one more in this time
ALL_BURST: Final = 40.0  # tries of all names together
ALL_EVERY_S: Final = 0.5
NAMES_MAX: Final = 1024  # that are counted at a time; others share one count
_OTHERS: Final = ""


@dataclass(slots=True)
class _Tries:
    left: float
    at_s: float


class Attempts:
    """Counts tries by name and in all. Times are seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self._by_name: dict[str, _Tries] = {}
        self._all = _Tries(ALL_BURST, 0.0)

    def wait_s(self, name: str, now: float) -> int:
        """Take one try; whole seconds to wait instead where there is none left."""
        own = self._bucket(name, now)
        _refill(own, now, BURST, EVERY_S)
        _refill(self._all, now, ALL_BURST, ALL_EVERY_S)
        if own.left < 1:
            return math.ceil((1 - own.left) * EVERY_S)
        if self._all.left < 1:
            return math.ceil((1 - self._all.left) * ALL_EVERY_S)
        own.left -= 1
        self._all.left -= 1
        return 0

    def succeeded(self, name: str) -> None:
        """Give the try back: it was no guess."""
        own = self._by_name.get(name)
        if own is not None:
            own.left = min(BURST, own.left + 1)
        self._all.left = min(ALL_BURST, self._all.left + 1)

    def _bucket(self, name: str, now: float) -> _Tries:
        if name not in self._by_name and len(self._by_name) >= NAMES_MAX:
            self._forget(now)
        if name not in self._by_name and len(self._by_name) >= NAMES_MAX:
            name = _OTHERS
        return self._by_name.setdefault(name, _Tries(BURST, now))

    def _forget(self, now: float) -> None:
        """Drop the names that have all their tries back."""
        full_s = BURST * EVERY_S
        for name in [item for item, own in self._by_name.items() if now - own.at_s >= full_s]:
            del self._by_name[name]


def _refill(bucket: _Tries, now: float, burst: float, every_s: float) -> None:
    bucket.left = min(burst, bucket.left + max(0.0, now - bucket.at_s) / every_s)
    bucket.at_s = now
