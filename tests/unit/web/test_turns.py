"""So many answers of the dashboard are made at a time, and who takes an answer slowly holds no
turn.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tests.unit.web.visitor import HOST, ORIGIN
from warpd.web.guard import AT_ONCE, Guard

SCOPE: dict[str, Any] = {
    "type": "http",
    "method": "GET",
    "path": "/",
    "headers": [(b"host", HOST.encode())],
}
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


class Browser:
    """ASGI's `receive` of a request without a body, until the browser leaves."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self._is_asked = False

    async def __call__(self) -> dict[str, Any]:
        if not self._is_asked:
            self._is_asked = True
            return {"type": "http.request", "body": b""}
        await self.left.wait()
        return {"type": "http.disconnect"}


async def nobody(_scope: Any) -> bool:
    return False


def guarded(pages: Any) -> Guard:
    return Guard(pages, frozenset({ORIGIN}), lambda *_line: None, nobody)


async def take(_message: Any) -> None:
    """ASGI's `send`, to a browser that takes what comes."""


async def settle() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


def test_so_many_pages_are_made_at_a_time_and_all_in_the_end() -> None:
    async def ask_for_many() -> Pages:
        pages = Pages()
        guard = guarded(pages)

        visits = [asyncio.ensure_future(guard(dict(SCOPE), Browser(), take)) for _ in range(MANY)]
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
            asyncio.ensure_future(guard(dict(SCOPE), Browser(), take_nothing)) for _ in range(MANY)
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
        visits = [guard(dict(SCOPE), Browser(), take) for _ in range(MANY)]
        return len(await asyncio.gather(*visits, return_exceptions=True))

    assert asyncio.run(fail_often()) == MANY


def test_who_has_gone_holds_no_turn_and_waits_for_none() -> None:
    async def leave() -> tuple[int, int]:
        pages, browsers = Pages(), [Browser() for _ in range(MANY)]
        guard = guarded(pages)
        visits = [asyncio.ensure_future(guard(dict(SCOPE), each, take)) for each in browsers]
        await settle()
        for each in browsers:
            each.left.set()
        await asyncio.wait_for(asyncio.gather(*visits), 10)
        after = asyncio.ensure_future(guard(dict(SCOPE), Browser(), take))
        await settle()
        at_work = pages.at_work
        pages.go.set()
        await after
        return at_work, pages.made

    assert asyncio.run(leave()) == (1, 1)


def test_what_a_form_asks_for_is_done_though_its_sender_has_gone() -> None:
    async def send_and_leave() -> int:
        pages, browser = Pages(), Browser()
        own = [(b"origin", ORIGIN.encode()), (b"sec-fetch-site", b"same-origin")]
        scope = {**SCOPE, "method": "POST", "headers": [*SCOPE["headers"], *own]}
        visit = asyncio.ensure_future(guarded(pages)(scope, browser, take))
        await settle()
        browser.left.set()
        await settle()
        pages.go.set()
        await visit
        return pages.made

    assert asyncio.run(send_and_leave()) == 1


def test_the_style_sheet_and_the_sign_in_wait_for_nobody() -> None:
    async def ask_beside_many() -> int:
        pages = Pages()
        guard = guarded(pages)
        visits = [asyncio.ensure_future(guard(dict(SCOPE), Browser(), take)) for _ in range(MANY)]
        await settle()
        before = pages.at_work
        for path in ("/static/style.css", "/healthz", "/login"):
            scope = {**SCOPE, "path": path}
            visits.append(asyncio.ensure_future(guard(scope, Browser(), take)))
        await settle()
        beside = pages.at_work - before
        pages.go.set()
        await asyncio.gather(*visits)
        return beside

    assert asyncio.run(ask_beside_many()) == 3
