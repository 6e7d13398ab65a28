"""One request of a browser: who asks, by which token, and what every page shows around its own
content.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from warpd.web import sessions
from warpd.web.daemon_client import DaemonClient, DaemonError
from warpd.web.frame import Frame, frame_of
from warpd.web.rendering import render

FIELDS_MAX: Final = 2000


class NotSignedIn(Exception):
    """There is no session, or it has ended."""


class FormRefused(Exception):
    """A form was not made for this session; it is made again with the page."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who asks, as the daemon says.

    - `user`: the name.
    - `rights`: words such as `view` and `change`; pages offer only what these allow, and the daemon
      decides.
    - `sees_all`: no network is kept from this user.
    - `credential`: the id of the session, or of the token.
    """

    user: str
    role: str
    rights: frozenset[str]
    sees_all: bool
    credential: str

    @staticmethod
    def of(data: Mapping[str, Any]) -> SignedIn:
        networks = data.get("networks", ["*"])
        return SignedIn(
            str(data.get("user") or ""),
            str(data.get("role") or ""),
            frozenset(data.get("rights", ())),
            "*" in networks,
            str(data.get("credential") or ""),
        )


@dataclass(frozen=True, slots=True)
class Visit:
    """A request of somebody who is signed in."""

    request: Request
    daemon: DaemonClient
    token: str
    identity: SignedIn
    frame: Frame
    about_daemon: Mapping[str, Any] = field(default_factory=dict)

    def page(self, template: str, status_code: int = 200, **values: Any) -> HTMLResponse:
        """The page of a template, with its frame."""
        shown = {
            "frame": self.frame,
            "me": self.identity,
            "form_token": sessions.form_token(self.token),
            "nonce": self.request.state.nonce,
            "path": self.request.url.path,
            "now_ms": int(time.time() * 1000),
            **values,
        }
        return HTMLResponse(render(template, **shown), status_code)

    async def get(self, what: str, **query: object) -> dict[str, Any]:
        """What the daemon says. Raises: DaemonError."""
        return (await self.daemon.get(with_query(what, **query))).data

    async def form(self) -> dict[str, str]:
        """The fields of a form of this session.

        Raises:
            FormRefused: it was made for another session.
        """
        fields = await form_of(self.request)
        if not sessions.is_form_token(fields.pop("form_token", ""), self.token):
            raise FormRefused
        return fields

    async def prove(self, form: Mapping[str, str]) -> None:
        """Prove again who this is, where the form has a password. Raises: DaemonError."""
        if form.get("password"):
            proof = {name: form[name] for name in ("password", "otp") if form.get(name)}
            await self.daemon.post("/v1/session/step-up", proof)


async def arrive(request: Request) -> Visit:
    """Ask the daemon who this is, and how it is.

    Raises:
        NotSignedIn: there is no session. DaemonError: the daemon does not answer.
    """
    token = token_of(request)
    if not token:
        raise NotSignedIn
    daemon = daemon_of(request, token)
    try:
        identity = SignedIn.of((await daemon.get("/v1/session")).data)
        state = await _state(daemon, identity)
    except DaemonError as failure:
        if failure.status == 401:
            raise NotSignedIn from failure
        raise
    frame = frame_of(state, str(state.get("gateway") or ""))
    return Visit(request, daemon, token, identity, frame, state)


def daemon_of(request: Request, token: str = "") -> DaemonClient:
    """The daemon, asked for whoever sends this request."""
    source = request.client.host if request.client is not None else ""
    return DaemonClient(request.app.state.socket, token, source)


def origin_of(request: Request) -> str:
    """The address of this dashboard by which the browser came, as the guard has let it in."""
    return f"https://{request.headers['host']}"


def token_of(request: Request) -> str:
    """The token of the session; "" for none."""
    return sessions.token_of(request.headers.get("cookie", ""))


async def _state(daemon: DaemonClient, identity: SignedIn) -> dict[str, Any]:
    """What the frame needs: of the daemon, or of the status where not all may be seen."""
    if identity.sees_all:
        return (await daemon.get("/v1/daemon")).data
    status = (await daemon.get("/v1/summary")).data
    return {**(status.get("daemon") or {}), "gateway": status.get("gateway")}


async def both(visit: Visit, *paths: str) -> list[dict[str, Any]]:
    """Several things of the daemon at a time. Raises: DaemonError."""
    return list(await asyncio.gather(*(visit.get(path) for path in paths)))


async def form_of(request: Request) -> dict[str, str]:
    """The fields of an urlencoded form; of a name that is there twice, the last.

    A body that is no such form has no fields.
    """
    raw = await request.body()
    try:
        return dict(parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX))
    except ValueError:
        return {}


def with_query(what: str, **query: object) -> str:
    """A path of the daemon with a query; empty values are left out."""
    parts = [f"{name}={quote(str(value), safe='')}" for name, value in query.items() if value]
    return what + ("?" + "&".join(parts) if parts else "")


def see_other(path: str) -> Response:
    """Go on with a page of ours."""
    return RedirectResponse(path, 303)


def to_provider(address: str) -> Response:
    """Send the browser to the provider by which people sign in: the one redirect elsewhere. The
    address is the operator's, as the daemon has it, and never of a request.
    """
    return RedirectResponse(address, 303)
