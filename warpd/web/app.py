"""The application: routes, failures as pages, and the guard around them."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from warpd.web import sessions
from warpd.web.catalogue import TEXT
from warpd.web.daemon_client import DaemonError
from warpd.web.guard import AccessLog, Guard, Scope
from warpd.web.pages import (
    access,
    changing,
    devices,
    downloading,
    handing_out,
    looking,
    signing_in,
    streaming,
    taking,
)
from warpd.web.pages.looking import NoSuchPage
from warpd.web.rendering import render
from warpd.web.visit import FormRefused, NotSignedIn, daemon_of, see_other, token_of

STATIC: Final = Path(__file__).with_name("static")
KINDS: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
PAGES: Final = (
    looking,
    downloading,
    changing,
    devices,
    access,
    handing_out,
    signing_in,
    streaming,
    taking,
)
FRESH: Final = "no-cache"  # static files hold nothing of anybody, and change with the package


def make_application(socket: Path, origins: Iterable[str], log: AccessLog) -> Guard:
    """The dashboard of the daemon at `socket`, under these origins."""
    routes = [route for page in PAGES for route in page.ROUTES]
    routes += [*_static_routes(), Route("/healthz", healthy)]
    handlers: dict[Any, Any] = {
        NotSignedIn: sign_in_first,
        DaemonError: daemon_failed,
        FormRefused: form_refused,
        NoSuchPage: nothing_there,
        HTTPException: http_failed,
        Exception: broken,
    }
    inner = Starlette(routes=routes, exception_handlers=handlers)
    inner.state.socket = socket
    inner.router.redirect_slashes = False
    return Guard(inner, frozenset(origins), log, functools.partial(_is_signed_in, inner))


async def _is_signed_in(application: Starlette, scope: Scope) -> bool:
    """Whether the daemon knows the session of a request; False where it does not answer."""
    request = Request({**scope, "app": application})
    token = token_of(request)
    try:
        if token:
            await daemon_of(request, token).get("/v1/session")
    except DaemonError:
        return False
    return bool(token)


async def healthy(_request: Request) -> Response:
    """This process answers; it says nothing of the gateway."""
    return PlainTextResponse("ok\n")


def _static_routes() -> list[Route]:
    """A route for each file, from memory: no path of a request names a file."""
    return [_static_route(path) for path in sorted(STATIC.iterdir()) if path.suffix in KINDS]


def _static_route(path: Path) -> Route:
    content, headers = path.read_bytes(), {"cache-control": FRESH}

    async def static_file(_request: Request) -> Response:
        return Response(content, media_type=KINDS[path.suffix], headers=headers)

    return Route(f"/static/{path.name}", static_file)


# -- failures


async def sign_in_first(request: Request, _failure: Exception) -> Response:
    """Nobody is told what there is before they have signed in."""
    response = see_other("/login")
    if request.headers.get("cookie"):
        response.headers["set-cookie"] = sessions.clear_cookie()
    return response


async def daemon_failed(request: Request, failure: Exception) -> Response:
    """What the daemon says, as a page."""
    assert isinstance(failure, DaemonError)  # noqa: S101  # registered for these only
    title = "error.denied" if failure.status == 403 else "error.daemon"
    return _failure_page(request, failure.status, title, failure.message, failure.hint)


async def form_refused(request: Request, _failure: Exception) -> Response:
    return _failure_page(
        request, 403, "error.form", TEXT["error.form.why"], TEXT["error.form.hint"]
    )


async def nothing_there(request: Request, _failure: Exception) -> Response:
    return _failure_page(request, 404, "error.missing", TEXT["error.missing.why"], "")


async def http_failed(request: Request, failure: Exception) -> Response:
    assert isinstance(failure, HTTPException)  # noqa: S101  # registered for these only
    if failure.status_code == 404:
        return await nothing_there(request, failure)
    return _failure_page(request, failure.status_code, "error.daemon", failure.detail, "")


async def broken(request: Request, _failure: Exception) -> Response:
    """A mistake of ours: it is in the journal, and nothing of it is shown."""
    return _failure_page(request, 500, "error.bug", TEXT["error.bug.why"], TEXT["error.bug.hint"])


def _failure_page(request: Request, status: int, title: str, why: str, hint: str) -> Response:
    values = {"title": TEXT[title], "why": why, "hint": hint, "nonce": request.state.nonce}
    return HTMLResponse(render("error.html", **values), status)
