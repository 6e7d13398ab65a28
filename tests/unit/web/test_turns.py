"""So many answers of the dashboard are made at a time, and who takes an answer slowly holds no
turn.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tests.unit.web.visitor import HOST, ORIGIN
from warpd.web.guard import AT_ONCE, Guard

SCOPE = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", HOST.encode())]}
MANY = 3 * AT_ONCE


class Pages:
    """An application whose pages are made when it is told so."""

    def __init__(self) -> None:
        self.at_work = self.most = self.made = 0
        self.go = asyncio.Event()

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        try:
            await self.go.wait()
        finally:
            self.at_work -= 1
        self.made += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def nothing() -> dict[str, Any]:
    return {"type": "http.request", "body": b""}


def guarded(pages: Any) -> Guard:
    return Guard(pages, frozenset({ORIGIN}), lambda *_line: None)


async def settle() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


def test_so_many_pages_are_made_at_a_time_and_all_in_the_end() -> None:
    async def ask_for_many() -> Pages:
        pages = Pages()
        guard = guarded(pages)

        async def take(_message: Any) -> None:
            pass

        visits = [asyncio.ensure_future(guard(dict(SCOPE), nothing, take)) for _ in range(MANY)]
        await settle()
        assert pages.at_work == AT_ONCE
        pages.go.set()
        await asyncio.gather(*visits)
        return pages

    pages = asyncio.run(ask_for_many())
    assert (pages.most, pages.made) == (AT_ONCE, MANY)


def test_who_takes_an_answer_slowly_holds_no_turn() -> None:
    async def ask_slowly() -> int:
        pages, never = Pages(), asyncio.Event()
        pages.go.set()
        guard = guarded(pages)

        async def take_nothing(_message: Any) -> None:
            await never.wait()

        visits = [
            asyncio.ensure_future(guard(dict(SCOPE), nothing, take_nothing)) for _ in range(MANY)
        ]
        await settle()
        made = pages.made
        for visit in visits:
            visit.cancel()
        await asyncio.gather(*visits, return_exceptions=True)
        return made

    assert asyncio.run(ask_slowly()) == MANY


def test_a_page_that_fails_gives_its_turn_back() -> None:
    async def fail_often() -> int:
        async def broken(_scope: Any, _receive: Any, _send: Any) -> None:
            raise ConnectionResetError

        guard = guarded(broken)
        visits = [guard(dict(SCOPE), nothing, nothing) for _ in range(MANY)]  # type: ignore[arg-type]
        return len(await asyncio.gather(*visits, return_exceptions=True))

    assert asyncio.run(fail_often()) == MANY
