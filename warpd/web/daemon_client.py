"""HTTP to the daemon's unix socket, with the token of the user who asks.

A connection a request: it costs less than keeping track of connections that may have been closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h11

READ_S: Final = 20.0
CHANGE_S: Final = 130.0  # as the daemon itself waits for its loop
# Read, an answer takes five times as much, and the unit has 96 MiB (MemoryMax).
ANSWER_MAX: Final = 8 * 1024 * 1024
READ_BYTES: Final = 64 * 1024


class DaemonError(Exception):
    """The daemon gives no answer, or refuses.

    - `status`: the status of the page that says so.
    - `message`, `code`, `hint`: as the daemon says; safe to be shown.
    - `body`: the whole refusal.
    """

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        self.status, self.body = status, body
        self.message = str(body.get("error", ""))
        self.code = str(body.get("code", ""))
        self.hint = str(body.get("hint", ""))
        super().__init__(self.message)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the daemon says.

    - `data`: its JSON.
    - `as_of`: when the kernel was looked at for it; "" where that is now.
    """

    data: dict[str, Any]
    as_of: str = ""


class DaemonClient:
    """The socket at `path`, for one user: without a token nothing but a login is answered.

    The daemon counts tries to sign in by `source`, the address of the browser; "" for none known.
    """

    def __init__(self, path: Path, token: str = "", source: str = "") -> None:
        self._path, self._token, self._source = path, token, source

    async def get(self, what: str) -> Answer:
        """Raises: DaemonError."""
        return await self._ask("GET", what, None, READ_S)

    async def post(self, what: str, body: Mapping[str, Any]) -> Answer:
        """Raises: DaemonError."""
        return await self._ask("POST", what, body, CHANGE_S)

    async def delete(self, what: str) -> Answer:
        """Raises: DaemonError."""
        return await self._ask("DELETE", what, None, READ_S)

    async def _ask(
        self, method: str, what: str, body: Mapping[str, Any] | None, within_s: float
    ) -> Answer:
        try:
            async with asyncio.timeout(within_s):
                return await self._exchange(method, what, body)
        except (OSError, TimeoutError, h11.ProtocolError) as failure:
            raise DaemonError(503, NO_ANSWER) from failure

    async def _exchange(self, method: str, what: str, body: Mapping[str, Any] | None) -> Answer:
        async with self._connected() as line:
            response = await line.ask(method, what, self._headers(), body)
            raw = bytearray()
            async for part in line.body():
                raw += part
                if len(raw) > ANSWER_MAX:
                    raise DaemonError(503, TOO_LARGE)
        return _answer(response, raw)

    async def lines(self, what: str, maximum: int) -> list[dict[str, Any]]:
        """The last lines of an answer that has an object of JSON in each.

        Raises: DaemonError.
        """
        kept: deque[bytes] = deque(maxlen=maximum)
        rest = b""
        try:
            async with asyncio.timeout(READ_S):
                async for part in self.stream(what, ""):
                    *whole, rest = (rest + part).split(b"\n")
                    kept.extend(line for line in whole if line.strip())
        except TimeoutError as failure:
            raise DaemonError(503, NO_ANSWER) from failure
        return [json.loads(line) for line in kept]

    async def stream(self, what: str, last_event: str) -> AsyncGenerator[bytes, None]:
        """The parts of an answer that goes on, as they come.

        Raises: DaemonError.
        """
        headers = self._headers()
        if last_event:
            headers += [("accept", "text/event-stream"), ("last-event-id", last_event)]
        try:
            async with self._connected() as line:
                response = await line.ask("GET", what, headers, None)
                if response.status_code != 200:
                    raise DaemonError(response.status_code, {})
                async for part in line.body():
                    yield part
        except (OSError, h11.ProtocolError) as failure:
            raise DaemonError(503, NO_ANSWER) from failure

    def _headers(self) -> list[tuple[str, str]]:
        headers = [("host", "warpd"), ("connection", "close")]
        if self._token:
            headers.append(("authorization", f"Bearer {self._token}"))
        if self._source:
            headers.append(("warpd-source", self._source))
        return headers

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[_Line]:
        reader, writer = await asyncio.open_unix_connection(str(self._path))
        try:
            yield _Line(reader, writer)
        finally:
            writer.close()


NO_ANSWER: Final = {
    "error": "warpd does not answer",
    "code": "no-daemon",
    "hint": "networks go on as they are; on the gateway: systemctl status warpd",
}
TOO_LARGE: Final = {
    "error": "the answer of warpd is too large for a page",
    "code": "too-large",
    "hint": "on the gateway, warpctl shows it, such as by: warpctl plan",
}
NO_JSON: Final = {"error": "the answer of warpd is not JSON", "code": "no-json"}


class _Line:
    """One request and its answer on a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=READ_BYTES)

    async def ask(
        self,
        method: str,
        what: str,
        headers: list[tuple[str, str]],
        body: Mapping[str, Any] | None,
    ) -> h11.Response:
        raw = json.dumps(body).encode() if body is not None else b""
        sized = [*headers, ("content-length", str(len(raw)))]
        self._write(h11.Request(method=method, target=what, headers=sized))
        if raw:
            self._write(h11.Data(data=raw))
        self._write(h11.EndOfMessage())
        await self._writer.drain()
        event = await self._next()
        if not isinstance(event, h11.Response):
            raise h11.RemoteProtocolError("no response")
        return event

    async def body(self) -> AsyncIterator[bytes]:
        while isinstance(event := await self._next(), h11.Data):
            yield bytes(event.data)

    def _write(self, event: Any) -> None:
        self._writer.write(self._http.send(event) or b"")

    async def _next(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(READ_BYTES))
        return event


def _answer(response: h11.Response, raw: bytes | bytearray) -> Answer:
    """Raises: DaemonError for a refusal, and for what is no JSON object."""
    try:
        data = json.loads(raw)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise DaemonError(503, NO_JSON)
    if response.status_code >= 300:
        raise DaemonError(response.status_code, data)
    as_of = dict(response.headers).get(b"warpd-as-of", b"").decode("latin-1")
    return Answer(data, as_of)
