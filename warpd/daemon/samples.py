"""Samples of the last day, in memory: what each network has carried, and how many endpoints were
connected.

They are taken from what each full observation has counted; the kernel is asked for nothing more. A
restarted daemon begins anew: there is no sample of the time before, and none says zero for it.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from warpd.daemon.clock import Clock
from warpd.daemon.stats import NEVER, NetworkStats
from warpd.kernel.state import PeerTraffic, has_session

EVERY_S: Final = 300.0
SAMPLES_MAX: Final = 288  # a day of them
# Of all samples together: 100 networks take 0.7 MiB for a day. Where it is not enough for a day,
# the oldest samples go.
BYTES_MAX: Final = 2 * 1024 * 1024
COUNTERS: Final = 3  # of a network: bytes received, bytes sent, connected endpoints


@dataclass(frozen=True, slots=True)
class NetworkSample:
    """What one network, or several together, have carried.

    - `received`, `sent`: bytes, as the gateway counts them.
    - `connected`: endpoints with a session, at the last look of the sample.
    """

    received: int
    sent: int
    connected: int


NOTHING: Final = NetworkSample(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Sample:
    """What was counted from one look to another.

    - `began_s`: when, in seconds since the epoch.
    - `seconds`: how long, by a clock that never goes back.
    - `names`: the networks; the tuple is shared by the samples that have the same.
    - `counters`: `COUNTERS` numbers of each network, in their order.
    """

    began_s: float
    seconds: float
    names: tuple[str, ...]
    counters: array[int]

    def sum_of(self, places: Iterable[int]) -> NetworkSample:
        """Of the networks in these places of `names`."""
        received = sent = connected = 0
        for place in places:
            first = place * COUNTERS
            received += self.counters[first]
            sent += self.counters[first + 1]
            connected += self.counters[first + 2]
        return NetworkSample(received, sent, connected)


@dataclass(frozen=True, slots=True)
class Samples:
    """All samples that there are, the oldest first; the last one is not full yet.

    - `since_s`: when the first look was, in seconds since the epoch; 0 before it.
    - `is_kept`: not where there are so many endpoints that they are only counted.
    """

    since_s: float = 0.0
    rows: tuple[Sample, ...] = ()
    is_kept: bool = True


class Sampler:
    """Makes samples of one look after another. For the loop's thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._full: deque[Sample] = deque(maxlen=SAMPLES_MAX)
        self._open: Sample | None = None
        self._previous: Sequence[NetworkStats] = ()
        self._previous_at_s: float | None = None  # by the clock that never goes back
        self._since_s = 0.0

    def take(self, networks: Sequence[NetworkStats]) -> Samples | None:
        """All samples, with what this full observation has counted; None: it is no new one."""
        if networks is self._previous:
            return None
        if any(network.size and not network.endpoints for network in networks):
            self._forget()
            return Samples(is_kept=False)
        now = self._clock.monotonic()
        if self._previous_at_s is None:
            self._since_s = self._clock.since_epoch()
        else:
            self._add(networks, now - self._previous_at_s)
        self._previous, self._previous_at_s = networks, now
        rows = (*self._full, self._open) if self._open is not None else tuple(self._full)
        return Samples(self._since_s, rows)

    def _forget(self) -> None:
        self._full.clear()
        self._open, self._previous, self._previous_at_s = None, (), None

    def _add(self, networks: Sequence[NetworkStats], seconds: float) -> None:
        """Add what came since the look before to the sample that is not full yet."""
        now_s = self._clock.since_epoch()
        before = {network.name: network.endpoints for network in self._previous}
        found = {
            network.name: _counted(before.get(network.name, {}), network.endpoints, now_s)
            for network in networks
        }
        began_s, covered_s = now_s - seconds, seconds
        if self._open is not None:
            began_s, covered_s = self._open.began_s, self._open.seconds + seconds
            found = _joined(self._open, found)
        self._open = Sample(began_s, covered_s, self._names(found), _packed(found.values()))
        if covered_s >= EVERY_S:
            self._full.append(self._open)
            self._open = None
            self._keep_within(BYTES_MAX)

    def _names(self, found: Iterable[str]) -> tuple[str, ...]:
        """The names; those of the sample before where they are the same."""
        names = tuple(found)
        last = self._open or (self._full[-1] if self._full else None)
        return last.names if last is not None and last.names == names else names

    def _keep_within(self, bytes_max: int) -> None:
        size = sum(len(sample.counters) * sample.counters.itemsize for sample in self._full)
        while size > bytes_max:
            oldest = self._full.popleft()
            size -= len(oldest.counters) * oldest.counters.itemsize


def _counted(
    before: Mapping[str, PeerTraffic], endpoints: Mapping[str, PeerTraffic], now_s: float
) -> NetworkSample:
    """What the endpoints of a network have carried since they were as `before`.

    One that the look before did not show adds no bytes yet: it is new, or its namespace could not
    be read then, and nobody knows since when it has counted.
    """
    received = sent = connected = 0
    for name, now in endpoints.items():
        then = before.get(name, NEVER)
        if then is not NEVER:
            received += _since(then.received, now.received)
            sent += _since(then.sent, now.sent)
        connected += has_session(now.handshake, now_s)
    return NetworkSample(received, sent, connected)


def _since(before: int, now: int) -> int:
    """How much a counter has counted; one of a peer that was made anew began at zero."""
    return now - before if now >= before else now


def _joined(sample: Sample, found: Mapping[str, NetworkSample]) -> dict[str, NetworkSample]:
    """What a sample has, and what was found since. A network that has gone keeps its bytes."""
    joined: dict[str, NetworkSample] = {}
    for place, name in enumerate(sample.names):
        before = sample.sum_of([place])
        joined[name] = NetworkSample(before.received, before.sent, 0)
    for name, row in found.items():
        before = joined.get(name, NOTHING)
        received, sent = before.received + row.received, before.sent + row.sent
        joined[name] = NetworkSample(received, sent, row.connected)
    return joined


def _packed(rows: Iterable[NetworkSample]) -> array[int]:
    counters = array("Q")
    for row in rows:
        counters.extend((row.received, row.sent, row.connected))
    return counters
