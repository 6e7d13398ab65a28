"""Requests and responses over ASGI: what a route takes, and what it gives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs

from warpd.daemon.http.attempts import source_of
from warpd.daemon.http.auth import AccessLevel, PeerCredentials
from warpd.daemon.http.connection import SLOW_S, Receive, Scope, Send
from warpd.service.rights import Identity, Right

BODY_MAX: Final = 64 * 1024
QUERY_MAX: Final = 20  # parameters
EXACT_MAX: Final = 2.0**53  # up to here a float holds every whole number
JSON: Final = "application/json"
SOURCE_HEADER: Final = b"warpd-source"  # the address of a browser
# Codes of refusals that have none of their own, by status.
CODES: Final[Mapping[int, str]] = {
    400: "bad-request",
    401: "token",
    403: "denied",
    404: "not-found",
    405: "method",
    408: "slow",
    409: "busy",
    413: "too-large",
    422: "refused",
    502: "push",
    503: "unavailable",
}

Headers = Iterable[tuple[bytes, bytes]]


class HttpError(Exception):
    """An answer that is not what was asked for.

    Attributes:
        status: of the response.
        body: what is sent as JSON; every refusal has `error`, `code` and `hint`.
        headers: of the response.
    """

    def __init__(self, status: int, message: str, **more: Any) -> None:
        super().__init__(message)
        head = {"version": 1, "error": message, "code": CODES.get(status, "failed"), "hint": ""}
        said = {name: value for name, value in more.items() if value is not None}
        self.status, self.body = status, {**head, **said}
        self.headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is asked.

    Attributes:
        peer: the user at the other end.
        identity: who asks, with at least the right that the route needs; None for a peer without
            any, on a route that needs none.
        names: the parts of the path that the route calls `{word}`, by that word.
        query: the last value of each name in the query.
        headers: names in lower case.
        arguments: the JSON object of the body; {} for an empty body.
        body_bytes: the length of the body.
        gone: ends when the peer has gone.
    """

    method: str
    path: str
    peer: PeerCredentials
    identity: Identity | None
    names: Mapping[str, str]
    query: Mapping[str, str]
    headers: Headers
    arguments: Mapping[str, Any]
    body_bytes: int
    gone: Callable[[], Awaitable[Any]]

    @property
    def who(self) -> Identity:
        """Who asks, on a route that needs a right."""
        assert self.identity is not None  # noqa: S101  # the route has been held against it
        return self.identity

    @property
    def source(self) -> str:
        """Where a try to sign in comes from (`attempts`).

        `warpd-web` says it of the browsers that speak to it. Of anybody else the header is not
        read, and all of one user are one source.
        """
        if self.peer.right is not AccessLevel.TOKEN:
            return f"uid {self.peer.uid}"
        given = [value for name, value in self.headers if name == SOURCE_HEADER]
        return source_of(given[0].decode("latin-1")) if len(given) == 1 else ""

    @property
    def is_urgent(self) -> bool:
        """Whether it does not wait for readers: of somebody who may change."""
        return self.identity is not None and self.identity.may(Right.CHANGE)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What is answered: parts of a body of known length, or `stream` for one that goes on."""

    status: int = 200
    kind: str = JSON
    parts: tuple[bytes, ...] = ()
    headers: tuple[tuple[bytes, bytes], ...] = ()
    stream: AsyncIterator[bytes] | None = field(default=None, compare=False)


def json_line(data: Mapping[str, Any]) -> bytes:
    """`data` as a line of JSON."""
    return json.dumps(data).encode() + b"\n"


def json_response(data: Mapping[str, Any], status: int = 200) -> HttpResponse:
    """`data` as a line of JSON."""
    return HttpResponse(status, JSON, (json_line(data),))


def private_response(data: Mapping[str, Any]) -> HttpResponse:
    """`data` as a line of JSON that nothing on its way may keep."""
    return HttpResponse(parts=(json_line(data),), headers=((b"cache-control", b"no-store"),))


def query_of(scope: Scope) -> dict[str, list[str]]:
    """The values of each name in the query.

    Raises:
        HttpError: there are more than QUERY_MAX.
    """
    try:
        text = scope["query_string"].decode("latin-1")
        return parse_qs(text, keep_blank_values=True, max_num_fields=QUERY_MAX)
    except ValueError:
        raise HttpError(400, f"the query has more than {QUERY_MAX} parameters") from None


async def arguments_of(receive: Receive, body_max: int) -> tuple[dict[str, Any], int]:
    """The JSON object of the body, {} for an empty one; and the length of the body.

    Raises:
        HttpError: it is too large, too slow or no JSON object.
    """
    try:
        async with asyncio.timeout(SLOW_S):
            raw = await _body(receive, body_max)
    except TimeoutError:
        raise HttpError(408, "the body did not come") from None
    try:
        found = json.loads(raw, parse_float=_number) if raw.strip() else {}
        _refuse_surrogates(raw, found)
    except (ValueError, RecursionError):
        raise HttpError(400, "the body is not JSON") from None
    if not isinstance(found, dict):
        raise HttpError(400, "the body is not a JSON object")
    return found, len(raw)


def _number(text: str) -> float:
    """A number without a fraction is a whole one, however it is written: 60.0 as 60."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < EXACT_MAX else value


def _refuse_surrogates(raw: bytes, found: Any) -> None:
    """Raises: ValueError for a text with half of a surrogate pair, which no file can hold."""
    if b"\\u" in raw:
        json.dumps(found, ensure_ascii=False).encode()


async def _body(receive: Receive, body_max: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        parts.append(bytes(message.get("body", b"")))
        size += len(parts[-1])
        if size > body_max:
            raise HttpError(413, "the body is too large")
        if message["type"] != "http.request" or not message.get("more_body"):
            return b"".join(parts)


async def send_response(send: Send, response: HttpResponse) -> None:
    """Send it, part by part, as fast as the peer takes it."""
    headers = [*response.headers]
    has_body = response.status != 304
    if has_body:
        headers.append((b"content-type", response.kind.encode()))
    if has_body and response.stream is None:
        size = sum(len(part) for part in response.parts)
        headers.append((b"content-length", str(size).encode()))
    start = {"type": "http.response.start", "status": response.status, "headers": headers}
    await send(start)
    for part in response.parts:
        await _send_part(send, part)
    if response.stream is not None:
        async with aclosing(response.stream) as stream:  # type: ignore[type-var]  # a generator
            async for part in stream:
                await _send_part(send, part)
    await send({"type": "http.response.body", "body": b""})


async def _send_part(send: Send, part: bytes) -> None:
    await send({"type": "http.response.body", "body": part, "more_body": True})
