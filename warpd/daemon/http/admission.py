"""Who may hold how many connections to the control socket, and when strangers are kept out. Pure.

Decided from the credentials of the kernel alone, before anything of a connection is read or kept.
Root and each of our groups have places of their own: nobody can take another one's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from warpd.daemon.http.auth import PeerCredentials

REFUSED_MAX: Final = 50  # connections without a right in `WINDOW_S`; more than that is a flood
WINDOW_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Places:
    """How many connections there may be at a time, and how many of one user."""

    total: int
    per_user: int


# The sum bounds the descriptors that the socket takes from the daemon.
PLACES: Final[Mapping[str, Places]] = {
    "root": Places(64, 64),
    "change": Places(64, 48),
    "read": Places(160, 128),
    "token": Places(96, 96),
    "metrics": Places(16, 16),
}


class Admission:
    """Count the connections that are open, by place and by user."""

    def __init__(self, places: Mapping[str, Places] = PLACES) -> None:
        self._places = places
        self._by_place: Counter[str] = Counter()
        self._by_user: Counter[int] = Counter()

    @property
    def connections(self) -> Mapping[str, int]:
        return {place: self._by_place[place] for place in self._places}

    def enter(self, peer: PeerCredentials) -> bool:
        """Take a place for one more connection of this peer; False when there is none left."""
        places = self._places.get(peer.place)
        if places is None:
            return False
        if self._by_place[peer.place] >= places.total or self._by_user[peer.uid] >= places.per_user:
            return False
        self._by_place[peer.place] += 1
        self._by_user[peer.uid] += 1
        return True

    def leave(self, peer: PeerCredentials) -> None:
        """Give the place back."""
        self._by_place[peer.place] -= 1
        self._by_user[peer.uid] -= 1
        if not self._by_user[peer.uid]:
            del self._by_user[peer.uid]


class FloodGate:
    """Tell a flood of connections without a right from a user who is mistaken.

    Times are seconds of one clock.
    """

    def __init__(self, refused_max: int = REFUSED_MAX, window_s: float = WINDOW_S) -> None:
        self._refused_max, self._window_s = refused_max, window_s
        self._since = float("-inf")
        self._count = 0

    def refused(self, now: float) -> bool:
        """One more was refused; whether that makes it a flood."""
        if now - self._since >= self._window_s:
            self._since, self._count = now, 0
        self._count += 1
        return self._count > self._refused_max


class Budget:
    """How much of a CPU readers may take from the daemon.

    Seconds of CPU are saved up at `rate`, up to `burst_s`.
    """

    def __init__(self, rate: float, burst_s: float) -> None:
        self._rate, self._burst_s = rate, burst_s
        self._left_s = burst_s
        self._now: float | None = None
        self._used_s = 0.0

    def wait_s(self, used_s: float, now: float) -> float:
        """Seconds until there is something left, when `used_s` of CPU were used since the start; 0:
        there is.
        """
        if self._now is not None:
            earned = (now - self._now) * self._rate
            self._left_s = min(self._burst_s, self._left_s + earned - (used_s - self._used_s))
        self._now, self._used_s = now, used_s
        return max(0.0, -self._left_s / self._rate)
