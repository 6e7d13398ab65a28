"""The bodies of lists and files: read of those who are signed in, and so many at a time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.unit.web.recorded import SESSION, serving
from tests.unit.web.test_turns import SCOPE, settle, take
from tests.unit.web.visitor import ORIGIN, SAME_ORIGIN, TOKEN, Visitor
from warpd.web.guard import BODY_MAX, LARGE_AT_ONCE, LARGE_BODY_MAX, LARGE_PATHS, Guard

PART = b"x" * 4096
HEADERS = [(name.encode(), value.encode()) for name, value in SAME_ORIGIN.items()]


class Sender:
    """ASGI's `receive` of a body that has no end, until it has paused."""

    def __init__(self, pause_after: int = LARGE_BODY_MAX * 2) -> None:
        self.sent, self.pause_after, self.go_on = 0, pause_after, asyncio.Event()

    async def __call__(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        if self.sent >= self.pause_after:
            await self.go_on.wait()
        self.sent += len(PART)
        return {"type": "http.request", "body": PART, "more_body": True}


class Application:
    """Keeps the bodies that it was given."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        self.bodies.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 303, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def guarded(application: Application, signed_in: bool) -> Guard:
    async def is_signed_in(_scope: Any) -> bool:
        return signed_in

    return Guard(application, frozenset({ORIGIN}), lambda *_line: None, is_signed_in)


def posted(path: str) -> dict[str, Any]:
    return {**SCOPE, "method": "POST", "path": path, "headers": [*SCOPE["headers"], *HEADERS]}


@pytest.mark.parametrize("path", LARGE_PATHS)
def test_the_body_of_a_stranger_is_not_kept(path: str) -> None:
    """The application, which asks to sign in first, has none of it."""
    application = Application()
    asyncio.run(guarded(application, signed_in=False)(posted(path), Sender(), take))
    assert application.bodies == [b""]


def test_so_many_large_bodies_are_read_at_a_time() -> None:
    async def send_many() -> list[int]:
        application = Application()
        guard = guarded(application, signed_in=True)
        senders = [Sender(pause_after=BODY_MAX) for _ in range(3 * LARGE_AT_ONCE)]
        visits = [
            asyncio.ensure_future(guard(posted(LARGE_PATHS[0]), each, take)) for each in senders
        ]
        await settle()
        begun = [each.sent for each in senders if each.sent]
        for each in senders:
            each.go_on.set()
        await asyncio.gather(*visits)
        assert not application.bodies, "each is too long in the end, and refused"
        return begun

    assert asyncio.run(send_many()) == [BODY_MAX] * LARGE_AT_ONCE


@pytest.mark.parametrize("path", LARGE_PATHS)
def test_who_is_signed_in_is_asked_of_the_daemon(path: str, tmp_path: Path) -> None:
    """A token that the daemon does not know is as good as none."""
    large = b"text=" + b"x" * BODY_MAX
    session = {"/v1/session": SESSION, "/v1/daemon": {}}
    cases = (({}, TOKEN, 404), (session, "", 303), (session, TOKEN, 403))
    for number, (documents, token, status) in enumerate(cases):
        socket = tmp_path / f"sock{number}"
        with serving(socket, documents):
            page = Visitor(socket, token).ask("POST", path, SAME_ORIGIN, large, {})
        assert page.status == status, "403: a form without its token was read"
