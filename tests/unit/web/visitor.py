"""A visitor of the dashboard: its ASGI application, asked without a browser, on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from warpd.web.app import make_application
from warpd.web.sessions import COOKIE, form_token

HOST, ORIGIN = "gw.example.com:8443", "https://gw.example.com:8443"
TOKEN = "warp_1a2b_0123456789abcdefghijkl"
SAME_ORIGIN = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}


@dataclass(frozen=True, slots=True)
class Page:
    """An answer; `parts` are the bytes of each part in which it came."""

    status: int
    headers: dict[str, str]
    text: str
    parts: tuple[int, ...] = ()


class Visitor:
    """Asks for pages as somebody with a session, or without one."""

    def __init__(self, socket: Path, token: str = TOKEN) -> None:
        self.logged: list[tuple[str, str, int]] = []
        self.token, self.address = token, ""
        self.application = make_application(
            socket, {ORIGIN}, lambda method, route, status, _s: self.log(method, route, status)
        )

    def log(self, method: str, route: str, status: int) -> None:
        self.logged.append((method, route, status))

    def get(self, path: str, **headers: str) -> Page:
        return self.ask("GET", path, {}, b"", headers)

    def post(self, path: str, fields: Mapping[str, str] | None = None, **headers: str) -> Page:
        """A form of a page of ours, unless `headers` say otherwise."""
        given = {"form_token": form_token(self.token), **(fields or {})}
        return self.ask("POST", path, SAME_ORIGIN, urlencode(given).encode(), headers)

    def ask(
        self,
        method: str,
        path: str,
        usual: Mapping[str, str],
        body: bytes,
        changed: Mapping[str, str],
    ) -> Page:
        """One request; a header of `changed` that is "" is not sent."""
        cookie = {"cookie": f"{COOKIE}={self.token}"} if self.token else {}
        named = {name.replace("_", "-"): value for name, value in changed.items()}
        headers = {"host": HOST, **cookie, **usual, **named}
        sent = [(name.encode(), value.encode()) for name, value in headers.items() if value]
        client = (self.address, 50_000) if self.address else None
        return asyncio.run(_ask(self.application, method, path, sent, body, client))


async def _ask(
    application: Any,
    method: str,
    path: str,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
    client: tuple[str, int] | None,
) -> Page:
    plain, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": plain,
        "raw_path": plain.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": headers,
        "client": client,
    }
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    answered: list[Any] = []

    async def receive() -> Any:
        if messages:
            return messages.pop(0)
        await asyncio.sleep(3600)
        raise AssertionError

    async def send(message: Any) -> None:
        answered.append(message)

    await application(scope, receive, send)
    start, *parts = answered
    bodies = [part.get("body", b"") for part in parts]
    named: dict[str, str] = {}
    for raw, value in start["headers"]:
        name = raw.decode().lower()
        named[name] = f"{named[name]}\n{value.decode()}" if name in named else value.decode()
    sizes = tuple(map(len, bodies))
    return Page(start["status"], named, b"".join(bodies).decode(), sizes)
