"""What every request passes before a page is looked for, and what every answer carries.

- The Host header names this dashboard, or the answer is 421: a page of another name that was made
  to lead here (DNS rebinding) gets nothing.
- A request that changes something comes from a page of ours, by two headers that no page can
  forge: `Sec-Fetch-Site: same-origin` and our own `Origin`. Forms carry a token of their session
  besides (`sessions.form_token`).
- A body has a bound, and a time to come. Bodies of lists and files are read of those who are signed
  in, and only so many at a time: those of strangers would fill the memory of this process.
- Nothing of another origin runs, frames this page or reads it; nothing is kept by caches.
- So many pages are made at a time, the others in turn: what is read for a page takes memory. Who
  has gone waits for none, and no page is made for them.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

from warpd.web.catalogue import TEXT

BODY_MAX: Final = 64 * 1024
LARGE_BODY_MAX: Final = 1024 * 1024
LARGE_PATHS: Final = ("/changes/csv", "/changes/yaml")  # lists and files are longer than forms
LARGE_AT_ONCE: Final = 4
BODY_S: Final = 10.0
# More than one source has connections (`connections.Bounds.per_source`), so that none takes all.
AT_ONCE: Final = 24
# What has to be answered whoever else is here, and takes next to nothing.
WITHOUT_TURN: Final = ("/static/", "/healthz", "/login")
PURE: Final = frozenset({"GET", "HEAD"})
CHANGING: Final = frozenset({"POST"})

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
AccessLog = Callable[[str, str, int, float], None]
IsSignedIn = Callable[[Scope], Awaitable[bool]]

POLICY: Final = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final = (
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    # Nothing to other origins. With `no-referrer` browsers send `Origin: null` with our own forms
    # (Fetch, append a request `Origin` header).
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
STRICT_TRANSPORT: Final = ("strict-transport-security", "max-age=31536000")


class BodyTooLarge(Exception):
    """A body is longer than its path may have."""


@dataclass(frozen=True, slots=True)
class Guard:
    """An ASGI application around another one.

    Attributes:
        application: what is guarded.
        origins: of this dashboard, such as `https://gw.example.com:8443`; their hosts are those
            that may be asked for.
        log: takes method, route, status and seconds; neither path nor query, which name people.
        is_signed_in: whether a request is of a session that the daemon knows.
        turns: of those whose answers are made. A turn ends when the answer begins to be sent.
        large: of those whose body may be large.
    """

    application: Application
    origins: frozenset[str]
    log: AccessLog
    is_signed_in: IsSignedIn
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    large: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LARGE_AT_ONCE))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.application(scope, receive, send)
            return
        nonce = secrets.token_urlsafe(16)
        scope.setdefault("state", {})["nonce"] = nonce
        answer = _Answer(send, self._headers(nonce))
        began = time.monotonic()
        await self._pass(scope, receive, answer)
        route = getattr(scope.get("route"), "path", "-")
        self.log(scope["method"], route, answer.status, time.monotonic() - began)

    async def _pass(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        headers = _single_headers(scope)
        refusal = self._refusal(scope, headers)
        if refusal:
            await answer.refuse(*refusal)
        elif scope["method"] in PURE or scope["path"] not in LARGE_PATHS:
            await self._read(scope, headers, receive, answer, BODY_MAX)
        elif await self.is_signed_in(scope):
            async with self.large:
                await self._read(scope, headers, receive, answer, LARGE_BODY_MAX)
        else:
            await self._answer(scope, _Replay(b"", receive), answer)  # it asks to sign in first

    async def _read(
        self,
        scope: Scope,
        headers: Mapping[str, str],
        receive: Receive,
        answer: _Answer,
        maximum: int,
    ) -> None:
        """Read the body, of at most so many bytes, and have the request answered."""
        try:
            whole = await asyncio.wait_for(_body(receive, headers, maximum), BODY_S)
        except BodyTooLarge:
            await answer.refuse(413, "refused.large")
        except TimeoutError:
            await answer.refuse(408, "refused.slow")
        else:
            await self._answer(scope, _Replay(whole, receive), answer)

    async def _answer(self, scope: Scope, receive: _Replay, answer: _Answer) -> None:
        """Have it answered in its turn. A page whose reader has gone is not made; what a form asks
        for is done all the same.
        """
        work = asyncio.ensure_future(self._in_turn(scope, receive, answer))
        gone = asyncio.ensure_future(receive.gone())
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if scope["method"] in PURE:
                work.cancel()
            await asyncio.wait({work})
            if not work.cancelled():
                work.result()  # raises what the application has raised
        finally:
            gone.cancel()
            work.cancel()

    async def _in_turn(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        if scope["path"].startswith(WITHOUT_TURN):
            await self.application(scope, receive, answer)
            return
        async with _Turn(self.turns) as turn:
            answer.begins = turn.end
            await self.application(scope, receive, answer)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """Status and text for what is not let in."""
        hosts = {origin.partition("://")[2] for origin in self.origins}
        if headers.get("host", "").lower() not in hosts:
            return 421, "refused.host"
        if scope["method"] in PURE:
            return None
        if scope["method"] not in CHANGING:
            return 405, "refused.method"
        own = headers.get("origin") in self.origins
        if not own or headers.get("sec-fetch-site") != "same-origin":
            return 403, "refused.cross-site"
        return None

    def _headers(self, nonce: str) -> list[tuple[bytes, bytes]]:
        rows = [*HEADERS, ("content-security-policy", POLICY.format(nonce=nonce))]
        if all(origin.startswith("https://") for origin in self.origins):
            rows.append(STRICT_TRANSPORT)
        return [(name.encode(), value.encode()) for name, value in rows]


def _single_headers(scope: Scope) -> dict[str, str]:
    """By name; one that is there twice has no value, so that nobody can hide one behind another."""
    found: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1").lower()
        found[name] = "" if name in found else value.decode("latin-1")
    return found


async def _body(receive: Receive, headers: Mapping[str, str], maximum: int) -> bytes:
    """Raises: BodyTooLarge."""
    length = headers.get("content-length", "0")
    if length.isdigit() and int(length) > maximum:
        raise BodyTooLarge
    raw = bytearray()
    while True:
        message = await receive()
        raw += message.get("body", b"")
        if len(raw) > maximum:
            raise BodyTooLarge
        if message["type"] != "http.request" or not message.get("more_body"):
            return bytes(raw)


class _Replay:
    """ASGI's `receive` for a body that is there whole."""

    def __init__(self, body: bytes, then: Receive) -> None:
        self._body: bytes | None = body
        self._then = then

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._then()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def gone(self) -> None:
        """Wait until the browser disconnects or has its answer."""
        while (await self._then())["type"] != "http.disconnect":
            pass


class _Turn:
    """One of those who are answered, until `end`, or the end of the block."""

    def __init__(self, turns: asyncio.Semaphore) -> None:
        self._turns, self._is_over = turns, False

    async def __aenter__(self) -> _Turn:
        await self._turns.acquire()
        return self

    async def __aexit__(self, *_failure: object) -> None:
        self.end()

    def end(self) -> None:
        """Release the turn. Idempotent."""
        if not self._is_over:
            self._is_over = True
            self._turns.release()


class _Answer:
    """ASGI's `send`, with the headers that every answer has.

    `begins` is called when the answer is made, and before it is sent.
    """

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send, self._headers = send, headers
        self.begins: Callable[[], None] = lambda: None
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.begins()
            own = [*message.get("headers", ()), *self._headers]
            if not any(name.lower() == b"cache-control" for name, _ in own):
                own.append((b"cache-control", b"no-store"))
            message = {**message, "headers": own}
        await self._send(message)

    async def refuse(self, status: int, text: str) -> None:
        """Answer in plain text: there is no page yet."""
        body = f"{TEXT[text]}\n".encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        headers.append((b"content-length", str(len(body)).encode()))
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self({"type": "http.response.body", "body": body})
