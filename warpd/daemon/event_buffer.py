"""Bounds on events and log lines of each network, so that none hides those of another. Pure.

Lives here: a bounded row of events, and a bounded rate of log lines. Does not: what they say.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

GATEWAY: Final = ""  # stands for what is of no network
LINES_PER_S: Final = 5.0
LINES_BURST: Final = 1000.0  # an apply of a large network may log so many at once
NETWORKS_MAX: Final = 4096  # whose lines are counted at a time


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """Something that happened.

    `number` counts from 1 since the events on disk began, over restarts too; `time` is ISO 8601 in
    UTC.
    """

    number: int
    time: str
    kind: str  # one of store.event_log.EVENT_KINDS
    fields: Mapping[str, Any]

    @property
    def network(self) -> str:
        """The name of the network that it is about; GATEWAY when it is about none."""
        return str(self.fields.get("network", GATEWAY))

    def as_json(self) -> dict[str, Any]:
        return {"number": self.number, "time": self.time, "kind": self.kind, **self.fields}


class EventRow:
    """The latest events, at most `kept`.

    Where one must go, it is the oldest one of the network that has the most.
    """

    def __init__(self, kept: int) -> None:
        self._kept, self._size = kept, 0
        self._rows: dict[str, deque[LoggedEvent]] = {}

    def add(self, event: LoggedEvent) -> None:
        """`event` is later than all that were added before."""
        self._rows.setdefault(event.network, deque()).append(event)
        self._size += 1
        if self._size > self._kept:
            self._forget_one()

    def _forget_one(self) -> None:
        network, row = max(self._rows.items(), key=lambda item: (len(item[1]), -item[1][0].number))
        row.popleft()
        self._size -= 1
        if not row:
            del self._rows[network]

    def after(self, number: int) -> list[LoggedEvent]:
        """Those with a larger number, oldest first."""
        found = [event for row in self._rows.values() for event in row if event.number > number]
        return sorted(found, key=lambda event: event.number)


@dataclass(slots=True)
class _Bucket:
    lines: float  # that may be logged now
    at_s: float
    left_out: int = 0


class LineRate:
    """Bounds the log lines of each network: LINES_BURST at once, LINES_PER_S in the long run."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}

    def admit(self, network: str, now_s: float) -> int | None:
        """Admit one more line of this network: how many were left out since the last one, or None
        when this one is left out too.

        `now_s` is seconds of a clock that never goes back.
        """
        bucket = self._buckets.get(network)
        if bucket is None:
            if len(self._buckets) >= NETWORKS_MAX:
                self._buckets.clear()
            bucket = self._buckets[network] = _Bucket(LINES_BURST, now_s)
        bucket.lines = min(LINES_BURST, bucket.lines + (now_s - bucket.at_s) * LINES_PER_S)
        bucket.at_s = now_s
        if bucket.lines < 1:
            bucket.left_out += 1
            return None
        bucket.lines -= 1
        left_out, bucket.left_out = bucket.left_out, 0
        return left_out
