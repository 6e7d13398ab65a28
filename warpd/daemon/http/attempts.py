"""How often somebody may try to sign in. Pure.

Each try of a password costs memory and a tenth of a second of a CPU, and each tells the other side
whether it was right. Counted are the tries of a name from one source, of a source, of a name from
everywhere, and all. One source alone uses up neither what a name has nor what all have, so that it
delays nobody but itself. No account is locked, and a link of `warpctl web login` counts under a
name of its own.

A source is the address of a browser (`source_of`), or "" where nobody knows it: such tries are not
counted by source.
"""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass
from typing import Final

_SUBNET6: Final = 64  # bits: who has one address of IPv6 has as many as they like


@dataclass(frozen=True, slots=True)
class Rate:
    """So many tries at once, and then one more every `every_s`."""

    burst: float
    every_s: float

    @property
    def full_s(self) -> float:
        """After so many seconds without a try, all of them are there again."""
        return self.burst * self.every_s


PAIR: Final = Rate(8.0, 6.0)  # one name from one source
SOURCE: Final = Rate(16.0, 3.0)
NAME: Final = Rate(24.0, 2.0)  # from all sources
ALL: Final = Rate(40.0, 0.5)
FORGET_S: Final = PAIR.full_s

_Key = tuple[str, str, str]  # what is counted, source, name


@dataclass(slots=True)
class _Tries:
    rate: Rate
    left: float
    at_s: float

    def refill(self, now: float) -> None:
        earned = max(0.0, now - self.at_s) / self.rate.every_s
        self.left, self.at_s = min(self.rate.burst, self.left + earned), now


class Attempts:
    """Counts tries. Times are seconds of a clock that never goes back.

    Rejected attempts are not stored, so that memory is bounded by the attempts that ALL admits.
    """

    def __init__(self) -> None:
        self._kept: dict[_Key, _Tries] = {}
        self._all = _Tries(ALL, ALL.burst, 0.0)
        self._forgot_at = 0.0

    def wait_s(self, name: str, now: float, source: str = "") -> int:
        """Take one try; whole seconds to wait instead where there is none left."""
        self._forget(now)
        own = {
            key: self._kept.get(key) or _Tries(rate, rate.burst, now)
            for key, rate in _keys(name, source)
        }
        counted = [*own.values(), self._all]
        for tries in counted:
            tries.refill(now)
        waits = [math.ceil((1 - tries.left) * tries.rate.every_s) for tries in counted]
        if max(waits) > 0:
            return max(waits)
        for tries in counted:
            tries.left -= 1
        self._kept |= own
        return 0

    def succeeded(self, name: str, source: str = "") -> None:
        """Give the try back: it was no guess."""
        found = [self._kept.get(key) for key, _rate in _keys(name, source)]
        for tries in (*found, self._all):
            if tries is not None:
                tries.left = min(tries.rate.burst, tries.left + 1)

    def _forget(self, now: float) -> None:
        """Drop the counts that have all their tries back, once in FORGET_S."""
        if now - self._forgot_at < FORGET_S:
            return
        self._forgot_at = now
        self._kept = {
            key: tries for key, tries in self._kept.items() if now - tries.at_s < tries.rate.full_s
        }


def _keys(name: str, source: str) -> list[tuple[_Key, Rate]]:
    keys = [(("pair", source, name), PAIR), (("name", "", name), NAME)]
    return [*keys, (("source", source, ""), SOURCE)] if source else keys


def source_of(text: str) -> str:
    """The source that an address stands for: itself, or its subnet of IPv6.

    "" for what is no address, and for loopback: there a proxy speaks for everybody.
    """
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return ""
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, _SUBNET6), strict=False))
