"""What can be asked over the control socket: an ASGI application behind it.

Root and the group `warpd` may change, the group `warpd-read` may look. Questions go over the desk
to the loop, which alone touches kernel and files; a slow, large or malformed request never reaches
it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import pwd
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

from warpd import __version__
from warpd.daemon.http.admission import AccessLevel, PeerCredentials
from warpd.daemon.http.connection import SLOW_S, Receive, Scope, Send
from warpd.daemon.http.lookups import Lookups
from warpd.daemon.http.peer_credentials import CHANGERS, NEEDS_CHANGE, READERS
from warpd.daemon.http.view import View, blocks
from warpd.daemon.mailbox import Mailbox
from warpd.daemon.metrics import CONTENT_TYPE, metrics_text
from warpd.errors import Busy, InvalidIntent, WarpError, render_finding
from warpd.service.queries import PROTOCOLS, ExplainRequest
from warpd.service.views.render import finding_json

BODY_MAX: Final = 64 * 1024
NAME_MAX: Final = 200  # characters of a name that is asked about
STREAM_PAUSE_S: Final = (
    15.0  # an empty line in a stream of events, so that a reader who has gone is noticed
)
RIGHTS: Final = f"root and the group {CHANGERS} may change, the group {READERS} may look"


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """One thing that can be asked."""

    method: str
    path: str
    verb: str  # what the desk is asked; "" for what is answered here
    says: str
    part: str = ""  # of the answer


ROUTES: Final = (
    HttpRoute(
        "GET",
        "/v1/status",
        "status",
        "What runs, as `warpctl status -o json`, and `daemon`; `?fresh=1`: as of just now.",
    ),
    HttpRoute("GET", "/v1/networks", "status", "All networks with their endpoints.", "networks"),
    HttpRoute("GET", "/v1/networks/{name}", "status", "One network.", "network"),
    HttpRoute(
        "GET",
        "/v1/networks/{name}/endpoints",
        "status",
        "The endpoints of one network.",
        "endpoints",
    ),
    HttpRoute(
        "GET",
        "/v1/plan",
        "plan",
        "The steps from the kernel to the YAML, as `warpctl plan -o json`.",
    ),
    HttpRoute("GET", "/v1/history", "history", "What was applied, as `warpctl history -o json`."),
    HttpRoute(
        "GET",
        "/v1/history/{name}",
        "entry",
        "One number of the history with its files, as `warpctl history --show`.",
    ),
    HttpRoute(
        "GET",
        "/v1/explain",
        "explain",
        "Would it pass: `?endpoint=NETWORK/NAME&target=ADDRESS&proto=tcp&port=443`.",
    ),
    HttpRoute(
        "GET", "/v1/doctor", "doctor", "The checks of this machine, as `warpctl doctor -o json`."
    ),
    HttpRoute(
        "GET",
        "/v1/validate",
        "validate",
        "The problems of the YAML as it is, as `warpctl validate -o json`.",
    ),
    HttpRoute(
        "GET",
        "/v1/daemon",
        "",
        "How the daemon is, with its conditions: `daemon` of the status, without a look.",
    ),
    HttpRoute(
        "GET",
        "/v1/events",
        "",
        "What happens, a line of JSON each; `?after=N`: begin after that; `?follow=0`: end.",
    ),
    HttpRoute(
        "POST",
        "/v1/apply",
        "apply",
        "Apply the YAML; `yes` agrees to risks, `digest` to a plan, `confirm_within_s`: undone.",
    ),
    HttpRoute("POST", "/v1/confirm", "confirm", "Keep what was applied with a time to confirm."),
    HttpRoute(
        "POST",
        "/v1/rollback",
        "rollback",
        'Undo what waits to be confirmed; {"to": N} goes back to a number of the history.',
    ),
    HttpRoute("GET", "/v1/openapi.json", "", "This description."),
    HttpRoute("GET", "/metrics", "", "Figures for Prometheus."),
)


ARGUMENTS: Final[Mapping[str, Mapping[str, type]]] = {
    "apply": {"yes": bool, "digest": str, "confirm_within_s": int},
    "rollback": {"to": int},
}


class HttpError(Exception):
    """An answer that is not what was asked for."""

    def __init__(self, status: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status, self.body = status, {"version": 1, "error": message, **more}


def openapi() -> dict[str, Any]:
    """The table of routes as OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        named = (
            [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
            if "{name}" in route.path
            else []
        )
        kind = "text/plain" if route.path == "/metrics" else "application/json"
        answers = {
            "200": {"description": "the answer", "content": {kind: {}}},
            "403": {"description": NEEDS_CHANGE},
        }
        operation: dict[str, Any] = {"summary": route.says, "responses": answers}
        paths.setdefault(route.path, {})[route.method.lower()] = operation | (
            {"parameters": named} if named else {}
        )
    return {"openapi": "3.1.0", "info": {"title": "warpd", "version": __version__}, "paths": paths}


def find(method: str, path: str) -> tuple[HttpRoute, str]:
    """The route, and the name in its path. Raises: Refused for what there is not."""
    words = path.strip("/").split("/")
    known = False
    for route in ROUTES:
        shape = route.path.strip("/").split("/")
        if len(shape) == len(words) and all(
            a in (b, "{name}") for a, b in zip(shape, words, strict=True)
        ):
            known = True
            if route.method == method:
                return route, words[shape.index("{name}")] if "{name}" in shape else ""
    raise HttpError(
        405 if known else 404, f"there is no {method} {path[:80]}", hint="see /v1/openapi.json"
    )


def refused(failure: WarpError) -> HttpError:
    """A failure of ours, as an answer."""
    status = (
        409 if isinstance(failure, Busy) else 422 if isinstance(failure, InvalidIntent) else 500
    )
    findings = failure.findings if isinstance(failure, InvalidIntent) else ()
    more = {
        "code": failure.code,
        "hint": failure.hint,
        "exit_code": failure.exit_code,
        "findings": [render_finding(item) for item in findings],
        "problems": [finding_json(item) for item in findings],
    }
    return HttpError(status, failure.message, **more)


def parts_of(view: View, route: HttpRoute, name: str, daemon: Mapping[str, Any]) -> Iterator[bytes]:
    """The bytes of an answer from the view. Raises: Refused when there is no such network."""
    if not route.part:
        return view.status(daemon)
    if route.part == "networks":
        return view.all_networks()
    if name not in view.networks:
        raise HttpError(404, f"there is no network {name[:80]}")
    return view.endpoints(name) if route.part == "endpoints" else view.network(name)


def aged(daemon: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """What the daemon has said of itself, so many seconds later: what is counted down has come
    nearer.
    """
    failing = [
        {**row, "next_try_s": round(max(0.0, row["next_try_s"] - seconds), 1)}
        for row in daemon.get("failing", ())
    ]
    next_look_s = round(max(0.0, daemon.get("next_look_s", 0.0) - seconds), 1)
    return {**daemon, "next_look_s": next_look_s, "failing": failing}


class Api:
    """The ASGI application."""

    def __init__(self, mailbox: Mailbox, interval_s: float) -> None:
        self._mailbox = mailbox
        self._lookups = Lookups(mailbox, interval_s)
        self._streams: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        mailbox.listeners.append(self._told)

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
        except HttpError as failure:
            await _say(send, failure.status, failure.body)
        except WarpError as failure:
            answer = refused(failure)
            await _say(send, answer.status, answer.body)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer: PeerCredentials = scope[
            "warpd.peer"
        ]  # with the right to look at least: others are refused at the door
        route, name = find(scope["method"], scope["path"])
        if route.method == "POST" and peer.right is not AccessLevel.CHANGE:
            raise HttpError(403, NEEDS_CHANGE, hint=RIGHTS)
        arguments = await _body(receive)
        urgent = peer.right is AccessLevel.CHANGE
        if route.method == "POST":
            chosen = {"by": user_of(peer), **_chosen(route, arguments)}
            await _say(send, 200, await self._lookups.ask(route.verb, chosen))
        elif route.verb == "status":
            await self._show(scope, send, route, name, urgent)
        elif route.verb in OWN:
            await _say(
                send,
                200,
                await self._lookups.single(route.verb, OWN[route.verb](scope, name), urgent),
            )
        elif route.verb:
            await _say(send, 200, await self._lookups.shared(route.verb, urgent))
        elif route.path == "/v1/daemon":
            await _say(send, 200, {"version": 1, **self._daemon()})
        elif route.path == "/metrics":
            await _send(
                send,
                200,
                CONTENT_TYPE,
                metrics_text(self._mailbox.stats, self._mailbox.socket).encode(),
            )
        elif route.path == "/v1/events":
            await self._stream(scope, receive, send)
        else:
            await _say(send, 200, openapi())

    async def _show(
        self, scope: Scope, send: Send, route: HttpRoute, name: str, urgent: bool
    ) -> None:
        """From the view; 304 when the reader has it already."""
        view = await self._lookups.view(_asked(scope, "fresh") == "1", urgent)
        tag = (
            f'"{view.generation}-{zlib.crc32(json.dumps(self._mailbox.daemon).encode())}"'.encode()
        )
        headers = [(b"etag", tag), (b"warpd-as-of", view.as_of.encode())]
        pieces = list(blocks(parts_of(view, route, name, self._daemon())))
        if (b"if-none-match", tag) in scope["headers"]:
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        size = str(sum(len(piece) for piece in pieces)).encode()
        headers += [(b"content-type", b"application/json"), (b"content-length", size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _daemon(self) -> dict[str, Any]:
        said, since_s = self._mailbox.daemon
        return aged(said, time.monotonic() - since_s)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        after, follow = _after(scope), b"follow=0" not in scope["query_string"]
        changed = asyncio.Event()
        self._streams.add(changed)
        gone = asyncio.ensure_future(receive())
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"content-type", b"application/x-ndjson")],
                }
            )
            while not gone.done():
                changed.clear()
                events = self._mailbox.events(after)
                after = events[-1].number if events else after
                text = "".join(json.dumps(event.as_json()) + "\n" for event in events)
                await send(
                    {
                        "type": "http.response.body",
                        "body": (text or "\n").encode(),
                        "more_body": follow,
                    }
                )
                if not follow:
                    return
                waiting = asyncio.ensure_future(changed.wait())
                await asyncio.wait(
                    {gone, waiting}, timeout=STREAM_PAUSE_S, return_when=asyncio.FIRST_COMPLETED
                )
                waiting.cancel()
        finally:
            gone.cancel()
            self._streams.discard(changed)


def _asked(scope: Scope, name: str, default: str = "") -> str:
    """The last value of this name in the query."""
    values: list[str] = parse_qs(scope["query_string"].decode("latin-1")).get(name, [default])
    return values[-1]


def _after(scope: Scope) -> int:
    given = _asked(scope, "after", "0")
    if not given.isdigit() or len(given) > 15:
        raise HttpError(400, "`after` is the number of an event")
    return int(given)


def _number(_scope: Scope, name: str) -> dict[str, Any]:
    """Raises: Refused when the name of the entry is no number."""
    if not name.isdigit() or len(name) > 9:
        raise HttpError(400, "an entry of the history has a number")
    return {"number": int(name)}


def _way(scope: Scope, _name: str) -> dict[str, Any]:
    """Raises: Refused for what cannot be asked."""
    protocol, port = _asked(scope, "proto", "icmp"), _asked(scope, "port", "0")
    if protocol not in PROTOCOLS:
        raise HttpError(400, f"`proto` is one of {', '.join(PROTOCOLS)}")
    if not port.isdigit() or len(port) > 5 or int(port) > 65535:
        raise HttpError(400, "`port` is a number up to 65535")
    asked = {name: _asked(scope, name)[:NAME_MAX] for name in ("endpoint", "target")}
    return {"way": ExplainRequest(asked["endpoint"], asked["target"], protocol, int(port))}


# What an answer depends on, of questions that are not the same for all.
OWN: Final[Mapping[str, Callable[[Scope, str], dict[str, Any]]]] = {
    "entry": _number,
    "explain": _way,
}


def user_of(peer: PeerCredentials) -> str:
    """Who did it, for history and events."""
    try:
        return f"{pwd.getpwuid(peer.uid).pw_name} (socket)"
    except KeyError:
        return f"uid {peer.uid} (socket)"


def _chosen(route: HttpRoute, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Raises: Refused for arguments of the wrong kind."""
    wanted = ARGUMENTS.get(route.verb, {})
    for name, value in arguments.items():
        if name not in wanted or type(value) is not wanted[name]:
            raise HttpError(
                400, f"{route.path} takes no such argument: {name[:40]}", hint=route.says
            )
    return dict(arguments)


async def _body(receive: Receive) -> dict[str, Any]:
    """The JSON object that was sent; {} for nothing.

    Raises: Refused when it is too large, too slow or no JSON object.
    """
    raw = b""
    try:
        async with asyncio.timeout(SLOW_S):
            while True:
                message = await receive()
                raw += message.get("body", b"")
                if len(raw) > BODY_MAX:
                    raise HttpError(413, "the body is too large")
                if message["type"] != "http.request" or not message.get("more_body"):
                    break
    except TimeoutError:
        raise HttpError(408, "the body did not come") from None
    try:
        found = json.loads(raw) if raw.strip() else {}
    except (ValueError, RecursionError):
        raise HttpError(400, "the body is not JSON") from None
    if not isinstance(found, dict):
        raise HttpError(400, "the body is not a JSON object")
    return found


async def _say(send: Send, status: int, data: Mapping[str, Any]) -> None:
    await _send(send, status, "application/json", json.dumps(data).encode() + b"\n")


async def _send(send: Send, status: int, kind: str, body: bytes) -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
