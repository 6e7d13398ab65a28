"""The clocks of the daemon, as one value: tests give their own and wait for nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime


@dataclass(frozen=True, slots=True)
class Clock:
    """What time it is.

    Attributes:
        monotonic: seconds of a clock that never goes back.
        since_epoch: seconds since 1970 in UTC; an operator may set it back.
    """

    monotonic: Callable[[], float] = time.monotonic
    since_epoch: Callable[[], float] = time.time

    def today(self) -> date:
        """The day in UTC, by which endpoints expire."""
        return datetime.fromtimestamp(self.since_epoch(), UTC).date()

    def timestamp(self) -> str:
        """Now, as ISO 8601 in UTC with milliseconds: the time of an event."""
        now = datetime.fromtimestamp(self.since_epoch(), UTC)
        return now.isoformat(timespec="milliseconds")


def iso_seconds(since_epoch_s: float) -> str:
    """A time in seconds since the epoch, as ISO 8601 in UTC."""
    return datetime.fromtimestamp(since_epoch_s, UTC).isoformat(timespec="seconds")
