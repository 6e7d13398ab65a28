"""What can be asked over the control socket: an ASGI application behind it.

Each route has the right that it needs, and a handler whose description is the one in
`/v1/openapi.json`. Requests go through the mailbox to the loop, which alone touches kernel and
files; a slow, large or malformed one never reaches it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from warpd import __version__
from warpd.daemon.http.auth import NEEDS_CHANGE, RIGHTS, AccessLevel, PeerCredentials
from warpd.daemon.http.connection import Receive, Scope, Send
from warpd.daemon.http.lookups import Lookups
from warpd.daemon.http.messages import (
    HttpError,
    HttpRequest,
    HttpResponse,
    arguments_of,
    json_response,
    query_of,
    send_response,
)
from warpd.daemon.http.view import View, blocks
from warpd.daemon.mailbox import Mailbox
from warpd.daemon.metrics import CONTENT_TYPE, metrics_text
from warpd.errors import Busy, InvalidIntent, WarpError, render_finding
from warpd.service.queries import PROTOCOLS, ExplainRequest
from warpd.service.views.render import finding_json

READ, CHANGE = AccessLevel.READ, AccessLevel.CHANGE
NAME_MAX: Final = 200  # characters of a name that is asked about
SHOWN_MAX: Final = 80  # characters of what was asked that an error repeats
PORT_MAX: Final = 65535
# An empty line in a stream of events, so that a reader who has gone is noticed.
STREAM_PAUSE_S: Final = 15.0


class Api:
    """The ASGI application."""

    def __init__(self, mailbox: Mailbox, interval_s: float) -> None:
        """`interval_s` is the time between two looks of the loop at everything."""
        self.mailbox = mailbox
        self.lookups = Lookups(mailbox, interval_s)
        self._streams: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        mailbox.subscribe(self._event_added)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        self._loop = asyncio.get_running_loop()
        try:
            response = await self._respond(scope, receive)
        except HttpError as failure:
            response = json_response(failure.body, failure.status)
        except WarpError as failure:
            error = as_http_error(failure)
            response = json_response(error.body, error.status)
        await send_response(send, response)

    async def _respond(self, scope: Scope, receive: Receive) -> HttpResponse:
        """Raises: HttpError for what there is not, or for a peer without the right to it."""
        peer: PeerCredentials = scope["warpd.peer"]
        route, name = find(scope["method"], scope["path"])
        if not peer.may(route.right):
            raise HttpError(403, NEEDS_CHANGE, hint=RIGHTS)
        request = HttpRequest(
            method=route.method,
            path=route.path,
            peer=peer,
            name=name,
            query=query_of(scope),
            headers=scope["headers"],
            arguments=await arguments_of(receive),
            gone=receive,
        )
        return await route.handler(self, request)

    def daemon(self) -> dict[str, Any]:
        """What the daemon has last said of itself, as of now."""
        status, since_s = self.mailbox.daemon
        return aged(status, time.monotonic() - since_s)

    # -- streams

    def _event_added(self) -> None:
        """On the thread of the daemon's loop: something has happened."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the server is stopping
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for event in self._streams:
            event.set()

    async def stream(self, request: HttpRequest, after: int) -> AsyncGenerator[bytes, None]:
        """Events with a number above `after`, and those to come, until the peer has gone."""
        changed = asyncio.Event()
        self._streams.add(changed)
        gone = asyncio.ensure_future(request.gone())
        try:
            while not gone.done():
                changed.clear()
                events = self.mailbox.events(after)
                after = events[-1].number if events else after
                yield b"".join(_line(event.as_json()) for event in events) or b"\n"
                await _first_of(gone, changed)
        finally:
            gone.cancel()
            self._streams.discard(changed)


Handler = Callable[[Api, HttpRequest], Awaitable[HttpResponse]]


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """One thing that can be asked.

    Attributes:
        path: as a client writes it; `{name}` stands for one part.
        right: what a peer needs.
        handler: answers it; its docstring is the description that clients read.
    """

    method: str
    path: str
    right: AccessLevel
    handler: Handler

    @property
    def summary(self) -> str:
        return " ".join((self.handler.__doc__ or "").split())


# -- answered from the published view


async def show_status(api: Api, request: HttpRequest) -> HttpResponse:
    """What runs, as `warpctl status -o json`, and `daemon`; `?fresh=1`: as of just now."""
    view = await _view(api, request)
    return _from_view(api, request, view, view.status(api.daemon()))


async def show_networks(api: Api, request: HttpRequest) -> HttpResponse:
    """All networks with their endpoints."""
    view = await _view(api, request)
    return _from_view(api, request, view, view.all_networks())


async def show_network(api: Api, request: HttpRequest) -> HttpResponse:
    """One network."""
    view = await _view(api, request)
    _require_network(view, request.name)
    return _from_view(api, request, view, view.network(request.name))


async def show_endpoints(api: Api, request: HttpRequest) -> HttpResponse:
    """The endpoints of one network."""
    view = await _view(api, request)
    _require_network(view, request.name)
    return _from_view(api, request, view, view.endpoints(request.name))


async def show_daemon(api: Api, _request: HttpRequest) -> HttpResponse:
    """How the daemon is, with its conditions: `daemon` of the status, without a look."""
    return json_response({"version": 1, **api.daemon()})


async def show_metrics(api: Api, _request: HttpRequest) -> HttpResponse:
    """Figures for Prometheus."""
    text = metrics_text(api.mailbox.stats, api.mailbox.socket)
    return HttpResponse(kind=CONTENT_TYPE, parts=(text.encode(),))


async def show_events(api: Api, request: HttpRequest) -> HttpResponse:
    """What happens, a line of JSON each; `?after=N`: begin after that; `?follow=0`: end."""
    after, kind = _event_number(request), "application/x-ndjson"
    if request.query.get("follow") != "0":
        return HttpResponse(kind=kind, stream=api.stream(request, after))
    lines = [_line(event.as_json()) for event in api.mailbox.events(after)]
    return HttpResponse(kind=kind, parts=(b"".join(lines) or b"\n",))


async def show_openapi(_api: Api, _request: HttpRequest) -> HttpResponse:
    """This description."""
    return json_response(openapi())


# -- answered by the loop, the same for all who ask meanwhile


async def show_plan(api: Api, request: HttpRequest) -> HttpResponse:
    """The steps from the kernel to the YAML, as `warpctl plan -o json`."""
    return json_response(await api.lookups.shared("plan", _is_urgent(request)))


async def show_history(api: Api, request: HttpRequest) -> HttpResponse:
    """What was applied, as `warpctl history -o json`."""
    return json_response(await api.lookups.shared("history", _is_urgent(request)))


async def show_doctor(api: Api, request: HttpRequest) -> HttpResponse:
    """The checks of this machine, as `warpctl doctor -o json`."""
    return json_response(await api.lookups.shared("doctor", _is_urgent(request)))


async def show_validation(api: Api, request: HttpRequest) -> HttpResponse:
    """The problems of the YAML as it is, as `warpctl validate -o json`."""
    return json_response(await api.lookups.shared("validate", _is_urgent(request)))


# -- answered by the loop, each for itself


async def show_entry(api: Api, request: HttpRequest) -> HttpResponse:
    """One number of the history with its files, as `warpctl history --show`."""
    number = _digits(request.name, 9, "an entry of the history has a number")
    arguments = {"number": number}
    return json_response(await api.lookups.single("entry", arguments, _is_urgent(request)))


async def explain(api: Api, request: HttpRequest) -> HttpResponse:
    """Would it pass: `?endpoint=NETWORK/NAME&target=ADDRESS&proto=tcp&port=443`."""
    arguments = {"way": _way(request.query)}
    return json_response(await api.lookups.single("explain", arguments, _is_urgent(request)))


# -- changes


async def apply(api: Api, request: HttpRequest) -> HttpResponse:
    """Apply the YAML; `yes` agrees to risks, `digest` to a plan, `confirm_within_s`: undone."""
    types = {"yes": bool, "digest": str, "confirm_within_s": int}
    return await _change(api, request, "apply", types)


async def confirm(api: Api, request: HttpRequest) -> HttpResponse:
    """Keep what was applied with a time to confirm."""
    return await _change(api, request, "confirm", {})


async def rollback(api: Api, request: HttpRequest) -> HttpResponse:
    """Undo what waits to be confirmed; {"to": N} goes back to a number of the history."""
    return await _change(api, request, "rollback", {"to": int})


ROUTES: Final = (
    HttpRoute("GET", "/v1/status", READ, show_status),
    HttpRoute("GET", "/v1/networks", READ, show_networks),
    HttpRoute("GET", "/v1/networks/{name}", READ, show_network),
    HttpRoute("GET", "/v1/networks/{name}/endpoints", READ, show_endpoints),
    HttpRoute("GET", "/v1/plan", READ, show_plan),
    HttpRoute("GET", "/v1/history", READ, show_history),
    HttpRoute("GET", "/v1/history/{name}", READ, show_entry),
    HttpRoute("GET", "/v1/explain", READ, explain),
    HttpRoute("GET", "/v1/doctor", READ, show_doctor),
    HttpRoute("GET", "/v1/validate", READ, show_validation),
    HttpRoute("GET", "/v1/daemon", READ, show_daemon),
    HttpRoute("GET", "/v1/events", READ, show_events),
    HttpRoute("POST", "/v1/apply", CHANGE, apply),
    HttpRoute("POST", "/v1/confirm", CHANGE, confirm),
    HttpRoute("POST", "/v1/rollback", CHANGE, rollback),
    HttpRoute("GET", "/v1/openapi.json", READ, show_openapi),
    HttpRoute("GET", "/metrics", READ, show_metrics),
)


def find(method: str, path: str) -> tuple[HttpRoute, str]:
    """The route, and the name in its path.

    Raises:
        HttpError: 404 where no route has this path, 405 where none of them has this method.
    """
    words = path.strip("/").split("/")
    status = 404
    for route in ROUTES:
        name = _match(route.path.strip("/").split("/"), words)
        if name is None:
            continue
        if route.method == method:
            return route, name
        status = 405
    text = f"there is no {method} {path[:SHOWN_MAX]}"
    raise HttpError(status, text, hint="see /v1/openapi.json")


def _match(shape: list[str], words: list[str]) -> str | None:
    """The word in the place of `{name}`, "" where the shape has none; None: they differ."""
    if len(shape) != len(words):
        return None
    name = ""
    for expected, word in zip(shape, words, strict=True):
        if expected == "{name}":
            name = word
        elif expected != word:
            return None
    return name


def openapi() -> dict[str, Any]:
    """The table of routes as OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {"openapi": "3.1.0", "info": {"title": "warpd", "version": __version__}, "paths": paths}


def _operation(route: HttpRoute) -> dict[str, Any]:
    kind = "text/plain" if route.handler is show_metrics else "application/json"
    responses = {
        "200": {"description": "the answer", "content": {kind: {}}},
        "403": {"description": NEEDS_CHANGE},
    }
    operation: dict[str, Any] = {"summary": route.summary, "responses": responses}
    if "{name}" in route.path:
        name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
        operation["parameters"] = [name]
    return operation


def as_http_error(failure: WarpError) -> HttpError:
    """A failure of ours, as an answer."""
    findings = failure.findings if isinstance(failure, InvalidIntent) else ()
    more = {
        "code": failure.code,
        "hint": failure.hint,
        "exit_code": failure.exit_code,
        "findings": [render_finding(item) for item in findings],
        "problems": [finding_json(item) for item in findings],
    }
    return HttpError(_status_of(failure), failure.message, **more)


def _status_of(failure: WarpError) -> int:
    if isinstance(failure, Busy):
        return 409
    return 422 if isinstance(failure, InvalidIntent) else 500


def aged(daemon: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """What the daemon has said of itself, so many seconds later: what is counted down has come
    nearer.
    """
    failing = [
        {**row, "next_try_s": _nearer(row["next_try_s"], seconds)}
        for row in daemon.get("failing", ())
    ]
    next_look_s = _nearer(daemon.get("next_look_s", 0.0), seconds)
    return {**daemon, "next_look_s": next_look_s, "failing": failing}


def _nearer(left_s: float, seconds: float) -> float:
    return round(max(0.0, left_s - seconds), 1)


# -- what handlers share


def _is_urgent(request: HttpRequest) -> bool:
    """Who may change does not wait for readers."""
    return request.peer.may(CHANGE)


async def _view(api: Api, request: HttpRequest) -> View:
    is_fresh = request.query.get("fresh") == "1"
    return await api.lookups.view(is_fresh, _is_urgent(request))


def _require_network(view: View, name: str) -> None:
    if name not in view.networks:
        raise HttpError(404, f"there is no network {name[:SHOWN_MAX]}")


def _from_view(api: Api, request: HttpRequest, view: View, pieces: Iterable[bytes]) -> HttpResponse:
    """The bytes that all readers share; 304 for a reader who has them already."""
    state = zlib.crc32(json.dumps(api.mailbox.daemon).encode())
    tag = f'"{view.generation}-{state}"'.encode()
    headers = ((b"etag", tag), (b"warpd-as-of", view.as_of.encode()))
    if (b"if-none-match", tag) in request.headers:
        return HttpResponse(304, headers=headers)
    return HttpResponse(parts=tuple(blocks(pieces)), headers=headers)


async def _change(
    api: Api, request: HttpRequest, verb: str, types: Mapping[str, type]
) -> HttpResponse:
    """Ask the loop for a change; the history names who has asked.

    Raises:
        HttpError: an argument that is unknown, or of another type than `types` says.
    """
    for name, value in request.arguments.items():
        if type(value) is not types.get(name):
            text = f"{request.path} takes no such argument: {name[:40]}"
            raise HttpError(400, text, hint=find(request.method, request.path)[0].summary)
    arguments = {"by": request.peer.user, **request.arguments}
    return json_response(await api.lookups.ask(verb, arguments))


def _event_number(request: HttpRequest) -> int:
    return _digits(request.query.get("after", "0"), 15, "`after` is the number of an event")


def _way(query: Mapping[str, str]) -> ExplainRequest:
    protocol = query.get("proto", "icmp")
    if protocol not in PROTOCOLS:
        raise HttpError(400, f"`proto` is one of {', '.join(PROTOCOLS)}")
    error = f"`port` is a number up to {PORT_MAX}"
    port = _digits(query.get("port", "0"), 5, error)
    if port > PORT_MAX:
        raise HttpError(400, error)
    endpoint, target = query.get("endpoint", "")[:NAME_MAX], query.get("target", "")[:NAME_MAX]
    return ExplainRequest(endpoint, target, protocol, port)


def _digits(text: str, length_max: int, error: str) -> int:
    """Raises: HttpError with this message for what is no number of so many digits."""
    if not (text.isascii() and text.isdigit()) or len(text) > length_max:
        raise HttpError(400, error)
    return int(text)


def _line(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data).encode() + b"\n"


async def _first_of(gone: asyncio.Future[Any], changed: asyncio.Event) -> None:
    """Until the peer has gone, something has happened, or it is time for an empty line."""
    waiting = asyncio.ensure_future(changed.wait())
    await asyncio.wait({gone, waiting}, timeout=STREAM_PAUSE_S, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
