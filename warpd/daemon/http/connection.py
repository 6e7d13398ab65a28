"""One connection of HTTP/1.1 between a socket and an ASGI application, with a bound on everything
that a peer can hold.

The protocol is h11's; here are the socket, the times and the order. A request that is not there
whole in time, a body that does not come, an answer that is not taken: each ends the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import h11

HEADERS_MAX: Final = 16 * 1024
SLOW_S: Final = 10.0  # a request, or a part of an answer, that does not pass in this time
IDLE_S: Final = 5.0  # between two requests
AHEAD_MAX: Final = 64 * 1024  # bytes that may come before they are asked for
UNREAD_MAX: Final = 64 * 1024  # bytes of a body that nobody has asked for
READ_BYTES: Final = 16 * 1024
WRITE_BYTES: Final = 256 * 1024

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def short_answer(status: int, reason: str, body: bytes) -> bytes:
    """A whole answer that ends its connection, to be written in one go."""
    head = (
        f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length:"
        f" {len(body)}\r\n"
    )
    return head.encode() + b"connection: close\r\n\r\n" + body


class Connection:
    """Serve requests of one connected, non-blocking socket until either side ends."""

    def __init__(self, sock: socket.socket, application: Application, more_scope: Scope) -> None:
        self._sock, self._application, self._more_scope = sock, application, more_scope
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADERS_MAX)
        self._method = b""

    async def serve(self) -> None:
        """Raises: what the application raises for a mistake of its own."""
        wait_s = SLOW_S
        try:
            while await self._serve_one(wait_s):
                self._http.start_next_cycle()
                wait_s = IDLE_S
        except (TimeoutError, OSError):
            return
        except h11.RemoteProtocolError as failure:
            await self._refuse(failure.error_status_hint)

    async def _serve_one(self, wait_s: float) -> bool:
        """Answer one request; whether another one may follow."""
        async with asyncio.timeout(wait_s):
            event = await self._next_event()
        if not isinstance(event, h11.Request):
            return False
        self._method = event.method
        try:
            await self._application(self._scope(event), self._receive, self._send)
        except h11.LocalProtocolError:
            return False  # the peer has gone, or the application sent too much
        if self._http.their_state is h11.SEND_BODY:
            await self._drain()
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _drain(self) -> None:
        """Take in a body that was not read, so that who sends it comes to read the answer.

        A socket that is closed with unread bytes ends the peer's next read or write with an error
        (unix_release_sock in net/unix/af_unix.c). What is too large is left.

        Raises: TimeoutError, OSError, h11.RemoteProtocolError.
        """
        size = 0
        async with asyncio.timeout(SLOW_S):
            while self._http.their_state is h11.SEND_BODY and size <= UNREAD_MAX:
                event = await self._next_event()
                size += len(event.data) if isinstance(event, h11.Data) else 0

    def _scope(self, request: h11.Request) -> Scope:
        path, _, query = request.target.partition(b"?")
        return {
            "type": "http",
            "method": request.method.decode("ascii"),
            "path": unquote_to_bytes(path).decode("latin-1"),
            "query_string": query,
            "headers": list(request.headers),
            **self._more_scope,
        }

    async def _next_event(self) -> Any:
        """The next event of the protocol. Raises: OSError, h11.RemoteProtocolError."""
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._http.they_are_waiting_for_100_continue:
                await self._write(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(await self._read())

    async def _read(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self._sock, READ_BYTES)

    async def _receive(self) -> dict[str, Any]:
        """ASGI's `receive`: parts of the body, and in the end that the peer has gone."""
        if self._http.their_state is h11.SEND_BODY:
            event = await self._next_event()
            if isinstance(event, h11.Data):
                return {"type": "http.request", "body": bytes(event.data), "more_body": True}
            if isinstance(event, h11.EndOfMessage):
                return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone()
        return {"type": "http.disconnect"}

    async def _gone(self) -> None:
        """Wait until the peer goes, or sends more than it should while it waits for an answer."""
        ahead = 0
        with contextlib.suppress(OSError):
            while ahead < AHEAD_MAX and (more := await self._read()):
                ahead += len(more)
                self._http.receive_data(more)

    async def _send(self, message: dict[str, Any]) -> None:
        """ASGI's `send`."""
        if message["type"] == "http.response.start":
            await self._write(
                h11.Response(status_code=message["status"], headers=message["headers"])
            )
            return
        if message["body"] and self._method != b"HEAD":
            await self._write(h11.Data(data=message["body"]))
        if not message.get("more_body"):
            await self._write(h11.EndOfMessage())

    async def _write(self, event: Any) -> None:
        """Raises: TimeoutError when the peer takes nothing; OSError when it has gone."""
        loop = asyncio.get_running_loop()
        for piece in self._http.send_with_data_passthrough(event) or ():
            view = memoryview(piece)
            for begin in range(0, len(view), WRITE_BYTES):
                async with asyncio.timeout(SLOW_S):
                    await loop.sock_sendall(self._sock, view[begin : begin + WRITE_BYTES])

    async def _refuse(self, status: int) -> None:
        """Answer what is no HTTP request, where an answer can still be sent."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = b'{"version": 1, "error": "this is no HTTP request"}\n'
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(SLOW_S):
                    await asyncio.get_running_loop().sock_sendall(
                        self._sock, short_answer(status, "Refused", body)
                    )
