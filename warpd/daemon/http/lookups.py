"""Answers that cost the loop a look: shared by all who ask, and paced.

A status is answered from the view that the loop has published, and what was looked at for one
reader is kept for the others, until something has changed or it is as old as a view may be. A fresh
look is made where it is asked for, at most once a second and for at most a quarter of the loop's
time, however many ask: they all get the same answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from warpd.daemon.clock import iso_seconds
from warpd.daemon.http.view import View
from warpd.daemon.mailbox import Mailbox
from warpd.errors import Busy, WarpError

ANSWER_S: Final = 120.0
GAP_S: Final = 1.0  # between two looks for their own sake
TIMES_COST: Final = 3.0  # and at least so many times what the last one took
WAITING_MAX: Final = 16  # requests that wait for their turn
WATCHED_S: Final = 60.0  # how long after a reader the loop goes on to publish its own looks

T = TypeVar("T")


class Turns:
    """One look after another, with a pause between them. Who may change does not wait."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._waiting = 0
        self.free_at = float("-inf")
        self.gap_s = GAP_S

    async def take(self, look: Callable[[], Awaitable[T]], urgent: bool) -> T:
        """Raises: Busy when too many wait; what the look raises."""
        if urgent:
            return await self._timed(look)
        if self._waiting >= WAITING_MAX:
            raise Busy(
                "too many requests wait for a look at the kernel", hint="try again in a moment"
            )
        self._waiting += 1
        try:
            async with self._lock:
                await asyncio.sleep(max(0.0, self.free_at - time.monotonic()))
                return await self._timed(look)
        finally:
            self._waiting -= 1

    async def _timed(self, look: Callable[[], Awaitable[T]]) -> T:
        began = time.monotonic()
        try:
            return await look()
        finally:
            ended = time.monotonic()
            self.gap_s = max(GAP_S, TIMES_COST * (ended - began))
            self.free_at = ended + self.gap_s


@dataclass(frozen=True, slots=True)
class Looked(Generic[T]):
    """What a look has shown.

    Attributes:
        value: the answer.
        as_of: when, in ISO 8601 and UTC.
    """

    value: T
    as_of: str


@dataclass(frozen=True, slots=True)
class _Kept(Generic[T]):
    """An answer, or why there is none, and when."""

    looked: Looked[T] | None
    failure: WarpError | None
    moment: int
    at_s: float

    def get(self) -> Looked[T]:
        if self.failure is not None:
            raise self.failure
        assert self.looked is not None  # noqa: S101  # there is one or the other
        return self.looked

    def is_good(self, moment: int, age_max_s: float) -> bool:
        """Whether it still holds: nothing has changed, and it is not too old."""
        return self.moment == moment and time.monotonic() - self.at_s < age_max_s


class Shared(Generic[T]):
    """The answer to one request, the same for all who ask within a time."""

    def __init__(
        self,
        mailbox: Mailbox,
        turns: Turns,
        age_max_s: float,
        look: Callable[[], Awaitable[T]],
    ) -> None:
        """`age_max_s` is how long an answer is kept while nothing has changed."""
        self._mailbox, self._turns, self._look = mailbox, turns, look
        self._age_max_s = age_max_s
        self._kept: _Kept[T] | None = None
        self._task: asyncio.Task[_Kept[T]] | None = None

    async def get(self, urgent: bool, fresh: bool) -> Looked[T]:
        """Raises: WarpError as the loop raised it."""
        kept = self._kept
        is_failure = kept is not None and kept.failure is not None
        age_max_s = self._turns.gap_s if fresh or is_failure else self._age_max_s
        if kept is not None and kept.is_good(self._mailbox.moment, age_max_s):
            return kept.get()
        if urgent:
            return (await self._renew(True)).get()
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._renew(False))
        return (await asyncio.shield(self._task)).get()

    async def _renew(self, urgent: bool) -> _Kept[T]:
        looked, failure = None, None
        moment, as_of = self._mailbox.moment, iso_seconds(time.time())
        try:
            looked = Looked(await self._turns.take(self._look, urgent), as_of)
        except WarpError as error:
            failure = error
        self._kept = _Kept(looked, failure, moment, time.monotonic())
        return self._kept


class Lookups:
    """Everything that readers may ask for."""

    def __init__(self, mailbox: Mailbox, interval_s: float) -> None:
        self._mailbox, self._interval_s = mailbox, interval_s
        self._turns = Turns()
        self._shared: dict[str, Shared[Any]] = {}

    async def ask(
        self, verb: str, arguments: Mapping[str, Any] | None = None, reader: bool = False
    ) -> Any:
        """The loop's answer to one request.

        Raises:
            WarpError: as the loop raised it. Busy: too many wait, or no answer came in time.
        """
        request = self._mailbox.submit(verb, arguments or {}, reader)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(request.answer), ANSWER_S)
        except TimeoutError:
            raise Busy(
                f"warpd gave no answer in {ANSWER_S:.0f} s",
                hint="it is at work: see `warpctl events`",
            ) from None

    async def shared(self, verb: str, urgent: bool, fresh: bool = False) -> Looked[Any]:
        """The answer to a request without arguments, the same for all who ask.

        `fresh`: as of just now, or of the last second.

        Raises: as `ask`.
        """
        if verb not in self._shared:
            self._shared[verb] = Shared(
                self._mailbox,
                self._turns,
                self._interval_s,
                lambda: self.ask(verb, reader=not urgent),
            )
        return await self._shared[verb].get(urgent, fresh)

    async def single(self, verb: str, arguments: Mapping[str, Any], urgent: bool) -> Any:
        """The answer to a request with arguments of its own, in its turn. Raises: as `ask`."""
        return await self._turns.take(lambda: self.ask(verb, arguments, not urgent), urgent)

    async def view(self, fresh: bool, urgent: bool) -> View:
        """The view that is published; one of a new look where it is outdated, or `fresh` is asked
        for.

        Raises:
            WarpError: there is none, and why.
        """
        now = time.monotonic()
        self._mailbox.watched_until_s = now + WATCHED_S
        view = self._mailbox.view
        if view is not None and self._is_good(view, fresh, now):
            return view
        made: Looked[View] = await self.shared("status", urgent, True)
        return made.value

    def _is_good(self, view: View, fresh: bool, now: float) -> bool:
        paced = (
            self._turns.free_at - now > GAP_S
        )  # a look costs so much that it is not made again yet
        if view.moment != self._mailbox.moment:
            return paced
        return paced or now - view.at_s < (GAP_S if fresh else self._interval_s)
