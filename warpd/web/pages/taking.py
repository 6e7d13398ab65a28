"""The owner of a device takes a config by a one-time link: no session, and nothing but that config.

The link's secret stands in the fragment of the address, which no server and no log ever sees, and
is sent by the form that the owner submits: whoever only looks at the address (a mail filter, a
preview) redeems nothing.
"""

from __future__ import annotations

import base64
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from warpd.web.daemon_client import DaemonError
from warpd.web.qr import as_picture
from warpd.web.rendering import render
from warpd.web.visit import daemon_of, form_of

FIELD_MAX: Final = 200  # characters


async def link_page(request: Request) -> Response:
    """The form; the browser puts the fragment into it."""
    return _form(request, 200, None)


async def take(request: Request) -> Response:
    """Redeem the link, and show what it leads to."""
    fields = {name: value[:FIELD_MAX] for name, value in (await form_of(request)).items()}
    body = {"secret": fields.get("secret", "")}
    if fields.get("pin"):
        body["pin"] = fields["pin"]
    daemon = daemon_of(request)
    try:
        found = (await daemon.post("/v1/links/redeem", body)).data
    except DaemonError as failure:
        return _form(request, failure.status, failure)
    config = str(found["config"])
    values = {"found": found, "qr": as_picture(config), "download": _as_file(config)}
    return HTMLResponse(render("taken.html", nonce=request.state.nonce, **values))


def _form(request: Request, status: int, failure: DaemonError | None) -> Response:
    html = render("take.html", nonce=request.state.nonce, failure=failure)
    return HTMLResponse(html, status)


def _as_file(config: str) -> str:
    """The config as an address that a browser saves."""
    return "data:application/octet-stream;base64," + base64.b64encode(config.encode()).decode()


ROUTES: Final = (
    Route("/h", link_page),
    Route("/h", take, methods=["POST"]),
)
