"""What readers cost the loop: one look for all who ask together, a pause after each, and nobody who
may change waits.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable

import pytest

from warpd.daemon.http.lookups import GAP_S, WAITING_MAX, Lookups, Turns
from warpd.daemon.http.view import BLOCK_BYTES, View, blocks
from warpd.daemon.mailbox import Mailbox
from warpd.errors import Busy, WarpError

Answer = Callable[[str], object]


async def answering(mailbox: Mailbox, answer: Answer, over: asyncio.Event) -> list[str]:
    """Play the loop of the daemon; what it was asked."""
    asked = []
    while not over.is_set():
        for question in mailbox.requests():
            asked.append(question.verb)
            try:
                question.answer.set_result(answer(question.verb))
            except WarpError as failure:
                question.answer.set_exception(failure)
        await asyncio.sleep(0.001)
    return asked


def played(
    work: Callable[[Mailbox, Lookups], object], answer: Answer = lambda verb: {"verb": verb}
) -> list[str]:
    async def play() -> list[str]:
        mailbox, over = Mailbox(), asyncio.Event()
        loop = asyncio.ensure_future(answering(mailbox, answer, over))
        await work(mailbox, Lookups(mailbox, 30.0))  # type: ignore[misc]
        over.set()
        return await loop

    return asyncio.run(play())


def test_many_who_ask_together_are_one_question() -> None:
    async def ask(_mailbox: Mailbox, lookups: Lookups) -> None:
        answers = await asyncio.gather(*(lookups.shared("plan", urgent=False) for _ in range(500)))
        assert [answer.value for answer in answers] == [{"verb": "plan"}] * 500

    assert played(ask) == ["plan"]


def test_a_failure_is_shared_too() -> None:
    def fail(_verb: str) -> object:
        raise WarpError("no", code="no", who="operator")

    async def ask(_mailbox: Mailbox, lookups: Lookups) -> None:
        for _ in range(20):
            with pytest.raises(WarpError, match="no"):
                await lookups.shared("plan", urgent=False)

    assert played(ask, fail) == ["plan"]


def test_an_answer_is_kept_until_something_changes() -> None:
    async def ask(mailbox: Mailbox, lookups: Lookups) -> None:
        first = await lookups.shared("plan", urgent=False)
        await asyncio.sleep(1.1 * GAP_S)
        for urgent in (False, True):
            assert await lookups.shared("plan", urgent) is first
        mailbox.moment += 1
        assert await lookups.shared("plan", urgent=False) is not first

    assert played(ask) == ["plan", "plan"]


def test_a_fresh_answer_is_of_the_last_second() -> None:
    async def ask(_mailbox: Mailbox, lookups: Lookups) -> None:
        first = await lookups.shared("plan", urgent=True, fresh=True)
        assert await lookups.shared("plan", urgent=False, fresh=True) is first
        await asyncio.sleep(1.1 * GAP_S)
        assert await lookups.shared("plan", urgent=False, fresh=True) is not first

    assert played(ask) == ["plan", "plan"]


def test_a_failure_is_not_kept_for_long() -> None:
    def fail(_verb: str) -> object:
        raise WarpError("no", code="no", who="operator")

    async def ask(_mailbox: Mailbox, lookups: Lookups) -> None:
        for _ in range(2):
            with pytest.raises(WarpError, match="no"):
                await lookups.shared("plan", urgent=False)
            await asyncio.sleep(1.1 * GAP_S)

    assert played(ask, fail) == ["plan", "plan"]


def test_two_looks_of_readers_are_apart() -> None:
    times = []

    async def ask(_mailbox: Mailbox, lookups: Lookups) -> None:
        for verb in ("plan", "status", "doctor"):
            await lookups.shared(verb, urgent=False)
            times.append(time.monotonic())

    assert played(ask) == ["plan", "status", "doctor"]
    assert all(later - earlier >= GAP_S for earlier, later in itertools.pairwise(times))


def test_who_may_change_passes_those_who_wait() -> None:
    async def ask(_mailbox: Mailbox, lookups: Lookups) -> None:
        await lookups.shared("plan", urgent=False)
        waiting = asyncio.ensure_future(lookups.shared("status", urgent=False))
        await asyncio.sleep(0)
        await lookups.single("explain", {}, urgent=True)
        assert not waiting.done()
        await waiting

    assert played(ask) == ["plan", "explain", "status"]


def test_the_pause_grows_with_what_a_look_costs() -> None:
    async def slow() -> None:
        await asyncio.sleep(0.5)

    async def take() -> float:
        turns = Turns()
        await turns.take(slow, urgent=True)
        return turns.gap_s

    assert asyncio.run(take()) >= 1.5


def test_the_number_that_waits_is_bounded() -> None:
    async def fill() -> None:
        turns, never = Turns(), asyncio.Event()
        waiting = [
            asyncio.ensure_future(turns.take(never.wait, urgent=False)) for _ in range(WAITING_MAX)
        ]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await turns.take(never.wait, urgent=False)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(fill())


def test_a_view_is_the_status_in_pieces() -> None:
    expiry = {"expires": "2026-01-05", "expires_in_days": 4, "enabled": True}
    row = {"in_force": True, "in_kernel": True, "received_bytes": 5, "sent_bytes": 7}
    endpoints = [{"name": "a", **row, "handshake_age_s": 9}, {"name": "b", **row, **expiry}]
    networks = [
        {"name": f"n{number}", "vcid": number, "endpoints": endpoints} for number in range(3)
    ]
    status = {"version": 1, "in_sync": True, "networks": networks, "warnings": []}
    view = View.of(status, 4, 0, "then", 0.0)
    whole = json.loads(b"".join(view.status({"pid": 1})))
    assert whole == {
        **status,
        "conditions": [],
        "daemon": {"pid": 1, "look": {"as_of": "then", "generation": 4}},
    }
    assert json.loads(b"".join(view.all_networks())) == {"version": 1, "networks": networks}
    assert json.loads(b"".join(view.network("n1"))) == {"version": 1, **networks[1]}
    assert json.loads(b"".join(view.endpoints("n2"))) == {
        "version": 1,
        "endpoints": networks[2]["endpoints"],
    }
    counted = {
        "states": {"online": 1, "present": 1},
        "received_bytes": 10,
        "sent_bytes": 14,
        "expiring": [{"name": "b", "expires": "2026-01-05", "expires_in_days": 4}],
    }
    shown = [{"name": f"n{number}", "vcid": number, "counted": counted} for number in range(3)]
    summary = json.loads(b"".join(view.summary({"pid": 1})))
    assert summary == {**whole, "networks": shown}
    one = json.loads(b"".join(view.summary({"pid": 1}, "n1")))
    assert one == {**whole, "networks": shown[1:2]}
    with pytest.raises(KeyError):
        view.network("none").__next__()


@pytest.mark.parametrize("sizes", [[], [1], [10] * 20_000, [BLOCK_BYTES * 3, 1, BLOCK_BYTES]])
def test_blocks_hold_the_same_bytes(sizes: list[int]) -> None:
    pieces = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    made = list(blocks(pieces))
    assert b"".join(made) == b"".join(pieces)
    assert len(made) <= sum(sizes) // BLOCK_BYTES + 1 + sum(size > BLOCK_BYTES for size in sizes)
