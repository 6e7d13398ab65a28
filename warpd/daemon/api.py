"""The control socket: HTTP over a unix socket, on a thread of its own.

Who may do what is decided for each connection by the credentials that the kernel vouches for (SO_PEERCRED and
SO_PEERGROUPS, unix(7)): root and the group `warpd` may change, the group `warpd-read` may look, nobody else may
anything. Questions go over the desk to the loop, which alone touches kernel and files; a slow, large or malformed
request never reaches it. Nothing here wakes up while nobody asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import errno
import grp
import json
import os
import socket
import stat
import struct
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from warpd import __version__
from warpd.daemon.desk import Desk
from warpd.daemon.metrics import CONTENT_TYPE, metrics_text
from warpd.errors import Busy, InvalidIntent, WarpError, render_finding

CHANGERS, READERS = "warpd", "warpd-read"
SO_PEERGROUPS: Final = 59
GROUPS_BYTES: Final = 1024  # what Python can ask for: a user of more than 256 groups is refused
BODY_MAX: Final = 64 * 1024
HEADERS_MAX: Final = 16 * 1024
CONNECTIONS_MAX: Final = 64
SLOW_S: Final = 10.0  # a request that is not there whole by then is given up
STREAM_PAUSE_S: Final = 15.0  # an empty line in a stream of events, so that a reader who has gone is noticed
ANSWER_S: Final = 120.0

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Right(enum.IntEnum):
    """What a connection may do."""

    NOTHING = 0
    READ = 1
    CHANGE = 2


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, by the kernel's word."""

    uid: int
    groups: frozenset[int]

    @property
    def right(self) -> Right:
        if self.uid == 0 or _gid(CHANGERS) in self.groups:
            return Right.CHANGE
        return Right.READ if _gid(READERS) in self.groups else Right.NOTHING


def _gid(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return -1


def peer_of(sock: socket.socket) -> Peer:
    """Raises: OSError when the kernel does not say."""
    _pid, uid, gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    raw = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, GROUPS_BYTES)
    return Peer(uid, frozenset([gid, *struct.unpack(f"{len(raw) // 4}I", raw)]))


@dataclass(frozen=True, slots=True)
class Route:
    """One thing that can be asked."""

    method: str
    path: str
    verb: str  # what the desk is asked; "" for what is answered here
    says: str
    part: str = ""  # of the answer


ROUTES: Final = (
    Route("GET", "/v1/status", "status", "What runs, as `warpctl status -o json`; `daemon` says how the daemon is."),
    Route("GET", "/v1/networks", "status", "All networks with their endpoints.", "networks"),
    Route("GET", "/v1/networks/{name}", "status", "One network.", "network"),
    Route("GET", "/v1/networks/{name}/endpoints", "status", "The endpoints of one network.", "endpoints"),
    Route("GET", "/v1/plan", "plan", "The steps from the kernel to the YAML, as `warpctl plan -o json`."),
    Route("GET", "/v1/history", "history", "What was applied, as `warpctl history -o json`."),
    Route("GET", "/v1/events", "", "What happens, a line of JSON each; `?after=N`: begin after that; `?follow=0`: end."),
    Route("POST", "/v1/apply", "apply", 'Apply the YAML; the body {"yes": true} agrees to its risks.'),
    Route("POST", "/v1/confirm", "confirm", "Keep what was applied with a time to confirm."),
    Route("POST", "/v1/rollback", "rollback", 'Undo what waits to be confirmed; {"to": N} goes back to a number of the history.'),
    Route("GET", "/v1/openapi.json", "", "This description."),
    Route("GET", "/metrics", "", "Figures for Prometheus."),
)


ARGUMENTS: Final[Mapping[str, Mapping[str, type]]] = {"apply": {"yes": bool}, "rollback": {"to": int}}


class Refused(Exception):
    """An answer that is not what was asked for."""

    def __init__(self, status: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status, self.body = status, {"version": 1, "error": message, **more}


def openapi() -> dict[str, Any]:
    """The table of routes as OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        named = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}] if "{name}" in route.path else []
        kind = "text/plain" if route.path == "/metrics" else "application/json"
        answers = {"200": {"description": "the answer", "content": {kind: {}}}, "403": {"description": "not for you"}}
        operation: dict[str, Any] = {"summary": route.says, "responses": answers}
        paths.setdefault(route.path, {})[route.method.lower()] = operation | ({"parameters": named} if named else {})
    return {"openapi": "3.1.0", "info": {"title": "warpd", "version": __version__}, "paths": paths}


def find(method: str, path: str) -> tuple[Route, str]:
    """The route, and the name in its path. Raises: Refused for what there is not."""
    words = path.strip("/").split("/")
    known = False
    for route in ROUTES:
        shape = route.path.strip("/").split("/")
        if len(shape) == len(words) and all(a in (b, "{name}") for a, b in zip(shape, words, strict=True)):
            known = True
            if route.method == method:
                return route, words[shape.index("{name}")] if "{name}" in shape else ""
    raise Refused(405 if known else 404, f"there is no {method} {path[:80]}", hint="see /v1/openapi.json")


def refused(failure: WarpError) -> Refused:
    """A failure of ours, as an answer."""
    status = 409 if isinstance(failure, Busy) else 422 if isinstance(failure, InvalidIntent) else 500
    findings = [render_finding(item) for item in failure.findings] if isinstance(failure, InvalidIntent) else []
    more = {"code": failure.code, "hint": failure.hint, "exit_code": failure.exit_code, "findings": findings}
    return Refused(status, failure.message, **more)


def part_of(answer: Mapping[str, Any], route: Route, name: str) -> Mapping[str, Any]:
    """Raises: Refused when there is no such network."""
    if not route.part:
        return answer
    if route.part == "networks":
        return {"version": answer["version"], "networks": answer["networks"]}
    for network in answer["networks"]:
        if network["name"] == name:
            found = {"endpoints": network["endpoints"]} if route.part == "endpoints" else network
            return {"version": answer["version"], **found}
    raise Refused(404, f"there is no network {name[:80]}")


class Api:
    """The ASGI application."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._streams: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        desk.listeners.append(self._told)

    def _told(self) -> None:
        """On the thread of the daemon's loop: something has happened."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the server is stopping
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for event in self._streams:
            event.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            await self._answer(scope, receive, send)
        except Refused as failure:
            await _say(send, failure.status, failure.body)
        except WarpError as failure:
            answer = refused(failure)
            await _say(send, answer.status, answer.body)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer: Peer | None = scope.get("warpd.peer")
        right = peer.right if peer is not None else Right.NOTHING
        if right is Right.NOTHING:
            raise Refused(403, "not for you", hint=f"root and the group {CHANGERS} may change, the group {READERS} may look")
        route, name = find(scope["method"], scope["path"])
        if route.method == "POST" and right is not Right.CHANGE:
            raise Refused(403, "you may only look", hint=f"root and the group {CHANGERS} may change")
        arguments = await _body(receive)
        if route.verb:
            by = {"by": f"uid {peer.uid}"} if peer is not None and route.method == "POST" else {}
            answer = await asyncio.to_thread(self._desk.ask, route.verb, ANSWER_S, **by, **_chosen(route, arguments))
            await _say(send, 200, part_of(answer, route, name))
        elif route.path == "/metrics":
            await _send(send, 200, CONTENT_TYPE, metrics_text(self._desk.figures).encode())
        elif route.path == "/v1/events":
            await self._stream(scope, receive, send)
        else:
            await _say(send, 200, openapi())

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        after, follow = _after(scope), b"follow=0" not in scope["query_string"]
        changed = asyncio.Event()
        self._streams.add(changed)
        gone = asyncio.ensure_future(receive())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/x-ndjson")]})
            while not gone.done():
                changed.clear()
                events = self._desk.events(after)
                after = events[-1].number if events else after
                text = "".join(json.dumps(event.as_json()) + "\n" for event in events)
                await send({"type": "http.response.body", "body": (text or "\n").encode(), "more_body": follow})
                if not follow:
                    return
                waiting = asyncio.ensure_future(changed.wait())
                await asyncio.wait({gone, waiting}, timeout=STREAM_PAUSE_S, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
        finally:
            gone.cancel()
            self._streams.discard(changed)


def _after(scope: Scope) -> int:
    given = parse_qs(scope["query_string"].decode("latin-1")).get("after", ["0"])[-1]
    if not given.isdigit() or len(given) > 15:
        raise Refused(400, "`after` is the number of an event")
    return int(given)


def _chosen(route: Route, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Raises: Refused for arguments of the wrong kind."""
    wanted = ARGUMENTS.get(route.verb, {})
    for name, value in arguments.items():
        if name not in wanted or type(value) is not wanted[name]:
            raise Refused(400, f"{route.path} takes no such argument: {name[:40]}", hint=route.says)
    return dict(arguments)


async def _body(receive: Receive) -> dict[str, Any]:
    """The JSON object that was sent; {} for nothing. Raises: Refused when it is too large, too slow or no JSON object."""
    raw = b""
    try:
        async with asyncio.timeout(SLOW_S):
            while True:
                message = await receive()
                raw += message.get("body", b"")
                if len(raw) > BODY_MAX:
                    raise Refused(413, "the body is too large")
                if message["type"] != "http.request" or not message.get("more_body"):
                    break
    except TimeoutError:
        raise Refused(408, "the body did not come") from None
    try:
        found = json.loads(raw) if raw.strip() else {}
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None
    if not isinstance(found, dict):
        raise Refused(400, "the body is not a JSON object")
    return found


async def _say(send: Send, status: int, data: Mapping[str, Any]) -> None:
    await _send(send, status, "application/json", json.dumps(data).encode() + b"\n")


async def _send(send: Send, status: int, kind: str, body: bytes) -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Connection(H11Protocol):
    """One connection, with its peer; given up when its first request is not there in time."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        try:
            peer: Peer | None = peer_of(sock)
        except OSError:
            peer = None
        app = self.app

        async def with_peer(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "warpd.peer": peer}, receive, send)

        self.app = with_peer
        self._slow = asyncio.get_running_loop().call_later(SLOW_S, self._give_up)

    def _give_up(self) -> None:
        if self.cycle is None:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._slow.cancel()
        super().connection_lost(exc)


class _Quiet(uvicorn.Server):
    """uvicorn looks at its flags ten times a second; this one waits to be told."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.over: asyncio.Event | None = None
        self.up = threading.Event()

    async def main_loop(self) -> None:
        self.over = asyncio.Event()
        self.up.set()
        await self.over.wait()


class Server:
    """The socket and its thread."""

    def __init__(self, desk: Desk, path: Path) -> None:
        self._path = path
        self._sock: socket.socket | None = None
        config = uvicorn.Config(
            Api(desk),
            http=_Connection,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            date_header=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=HEADERS_MAX,
        )
        self._server = _Quiet(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="control socket", daemon=True)

    def start(self) -> None:
        """Raises: WarpError when the socket cannot be made, or another warpd serves it."""
        try:
            self._sock = listen(self._path)
        except OSError as failure:
            hint = "another warpd is at work there" if failure.errno == errno.EADDRINUSE else "is its folder there?"
            raise WarpError(f"{self._path}: {failure.strerror}", code="socket", who="operator", hint=hint) from failure
        self._thread.start()
        self._server.up.wait(10)

    def _run(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            assert self._sock is not None  # noqa: S101  # start() has made it
            await self._server.serve(sockets=[self._sock])

        asyncio.run(serve())

    def stop(self) -> None:
        """Streams are cut; the socket's name goes."""
        if self._sock is None or self._loop is None:
            return
        over = self._server.over
        if over is not None:
            self._loop.call_soon_threadsafe(over.set)
        self._thread.join(5)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)


def listen(path: Path) -> socket.socket:
    """A listening socket with this name; one that a dead process left there is replaced, a living one is not.

    Raises:
        OSError: EADDRINUSE when somebody answers there, or something else has the name; or the folder is not there.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EADDRINUSE, "something that is no socket has this name")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(path))
            except (ConnectionRefusedError, FileNotFoundError):
                os.unlink(path)
            else:
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        made.bind(str(path))
        os.chmod(path, 0o666)  # noqa: S103  # who may do what is decided by credentials, connection by connection
        made.listen(CONNECTIONS_MAX)
    except OSError:
        made.close()
        raise
    return made
