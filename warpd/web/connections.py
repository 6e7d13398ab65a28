"""Bounds on what strangers can hold: connections by source and in all, and the time for a request.

uvicorn bounds neither the time until a request is whole nor that in which an answer is taken, and
counts connections only after the TLS handshake. `BoundedConnection` stands before uvicorn's
protocol: it lets a connection in, does the handshake, hands everything on, and ends what takes too
long. It uses asyncio's protocols and nothing of uvicorn but its call of a class of protocols.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

SOURCE_PREFIX6: Final = 64  # bits of an IPv6 address that one customer has at least

Application = Callable[[Any, Any, Any], Awaitable[None]]
MakeProtocol = Callable[..., asyncio.Protocol]

_CURRENT: Final[ContextVar[BoundedConnection | None]] = ContextVar("connection", default=None)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What strangers can hold.

    - `total`: connections.
    - `per_source`: connections of one address; a browser opens six, and one for events a window.
    - `request_s`: seconds for the handshake and the headers of a request, and between two requests.
    - `taken_s`: seconds in which a part of an answer has to be taken.
    - `grace_s`: seconds that nobody has to give up a place in.
    """

    total: int = 96
    per_source: int = 16
    request_s: float = 10.0
    taken_s: float = 10.0
    grace_s: float = 1.0


def source_of(peer: object) -> str:
    """Who counts as one, of an address as sockets have it; "" for a program of this machine, such
    as a proxy that speaks for many.
    """
    if not isinstance(peer, tuple):
        return ""  # a unix socket
    address = ip_address(str(peer[0]).partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return ""
    if isinstance(address, IPv6Address):
        return f"{int(address) >> (128 - SOURCE_PREFIX6):x}"
    return str(address)


class ConnectionLimiter:
    """Limits how many connections there are, in all and of each source. For one event loop."""

    def __init__(self, bounds: Bounds, left: Callable[[], None] = lambda: None) -> None:
        """`left` is called, on the event loop, when a connection has ended."""
        self.bounds, self._left = bounds, left
        self._sources: dict[BoundedConnection, str] = {}
        self._counts: Counter[str] = Counter()

    def enter(self, connection: BoundedConnection, source: str) -> bool:
        """Give a place to a connection; False: there is none for this source.

        Where all places are taken, the connection that has waited longest for its request gives
        up its own, after its grace.
        """
        if source and self._counts[source] >= self.bounds.per_source:
            return False
        if len(self._sources) >= self.bounds.total and not self._make_room():
            return False
        self._sources[connection] = source
        self._counts[source] += 1
        return True

    def leave(self, connection: BoundedConnection) -> None:
        """Take the place back; nothing where it has none."""
        source = self._sources.pop(connection, None)
        if source is not None:
            self._counts[source] -= 1
            if not self._counts[source]:
                del self._counts[source]
            self._left()

    def _make_room(self) -> bool:
        waiting = ((item.waits_s, item) for item in self._sources)
        seconds, longest = max(waiting, key=lambda row: row[0])
        if seconds <= self.bounds.grace_s:
            return False
        longest.abort()
        self.leave(longest)
        return True


class BoundedConnection(asyncio.Protocol):
    """One connection: let in, encrypted, and ended in time."""

    def __init__(
        self,
        limiter: ConnectionLimiter,
        tls: ssl.SSLContext | None,
        make_http: MakeProtocol,
        **given: Any,
    ) -> None:
        """`given` is what uvicorn makes the protocol with that speaks HTTP."""
        self._loop = asyncio.get_running_loop()
        self._limiter, self._bounds, self._tls = limiter, limiter.bounds, tls
        self._http = make_http(**given)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._handshake: asyncio.Task[None] | None = None
        self._is_up = False  # the protocol of HTTP has its transport
        self._early = b""  # what came with the end of the handshake, before that
        self._waits_since: float | None = self._loop.time()

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # sockets have such
        self._transport = transport
        if not self._limiter.enter(self, source_of(transport.get_extra_info("peername"))):
            transport.abort()
            return
        self._end_in(self._bounds.request_s)
        if self._tls is None:
            self._start(transport)
        else:
            transport.pause_reading()
            self._handshake = self._loop.create_task(self._encrypt(transport, self._tls))

    def data_received(self, data: bytes) -> None:
        if not self._is_up:
            self._early += data
            return
        token = _CURRENT.set(self)
        try:
            self._http.data_received(data)
        finally:
            _CURRENT.reset(token)

    def eof_received(self) -> bool | None:
        return self._http.eof_received()

    def pause_writing(self) -> None:
        self._http.pause_writing()
        self._end_in(self._bounds.taken_s)

    def resume_writing(self) -> None:
        self._http.resume_writing()
        self._end_in(None if self._waits_since is None else self._bounds.request_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._limiter.leave(self)
        self._end_in(None)
        self._transport = None
        if self._handshake is not None:
            self._handshake.cancel()
        if self._is_up:
            self._http.connection_lost(exc)

    # -- bounds

    @property
    def waits_s(self) -> float:
        """For how many seconds the next request has been waited for; 0 while one is answered."""
        return 0.0 if self._waits_since is None else self._loop.time() - self._waits_since

    def request_began(self) -> None:
        """The headers are there, and the application has them."""
        self._waits_since = None
        self._end_in(None)

    def request_ended(self) -> None:
        """The application has answered."""
        self._waits_since = self._loop.time()
        self._end_in(self._bounds.request_s)

    def abort(self) -> None:
        """End the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    async def _encrypt(self, raw: asyncio.Transport, tls: ssl.SSLContext) -> None:
        try:
            made = await self._loop.start_tls(
                raw, self, tls, server_side=True, ssl_handshake_timeout=self._bounds.request_s
            )
        except (OSError, ssl.SSLError):
            raw.abort()
            self._limiter.leave(self)
            self._end_in(None)
            return
        if made is not None:
            self._transport = made
            self._start(made)

    def _start(self, transport: asyncio.Transport) -> None:
        self._is_up = True
        self._http.connection_made(transport)
        early, self._early = self._early, b""
        if early:
            self.data_received(early)

    def _end_in(self, seconds: float | None) -> None:
        """End the connection then, unless something happens before; None: not by the clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # An answer may end after its connection has.
        if seconds is not None and self._transport is not None:
            self._timer = self._loop.call_later(seconds, self.abort)


def counted(application: Application) -> Application:
    """The same application, of whose requests the connections are told."""

    async def told(scope: Any, receive: Any, send: Any) -> None:
        connection = _CURRENT.get()
        if connection is None:
            await application(scope, receive, send)
            return
        connection.request_began()
        try:
            await application(scope, receive, send)
        finally:
            connection.request_ended()

    return told
