"""Sign in and out. The only pages that need no session."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from warpd.web import sessions
from warpd.web.daemon_client import DaemonError
from warpd.web.rendering import render
from warpd.web.visit import arrive, daemon_of, form_of, see_other, token_of

CREDENTIALS_MAX: Final = 1024  # characters of a field


async def login_page(request: Request) -> Response:
    """The form; a one-time code in the fragment of the address is put into it by the browser."""
    return _page(request, 200, None)


async def login(request: Request) -> Response:
    """Begin a session by a one-time code, or by user and password."""
    fields = {name: value[:CREDENTIALS_MAX] for name, value in (await form_of(request)).items()}
    daemon = daemon_of(request)
    try:
        answer = await daemon.post("/v1/sessions", _credentials(fields))
    except DaemonError as failure:
        return _page(request, failure.status, failure)
    response = see_other("/")
    response.headers["set-cookie"] = sessions.set_cookie(str(answer.data["token"]))
    return response


async def logout(request: Request) -> Response:
    """End the session, here and in the daemon."""
    if token_of(request):
        visit = await arrive(request)
        await visit.form()
        await visit.daemon.delete("/v1/session")
    response = see_other("/login")
    response.headers["set-cookie"] = sessions.clear_cookie()
    return response


def _credentials(fields: dict[str, str]) -> dict[str, str]:
    if fields.get("login"):
        return {"login": fields["login"]}
    given = {"user": fields.get("user", ""), "password": fields.get("password", "")}
    return {**given, "otp": fields["otp"]} if fields.get("otp") else given


def _page(request: Request, status: int, failure: DaemonError | None) -> Response:
    html = render("login.html", nonce=request.state.nonce, failure=failure)
    return HTMLResponse(html, status)


ROUTES: Final = (
    Route("/login", login_page),
    Route("/login", login, methods=["POST"]),
    Route("/logout", logout, methods=["POST"]),
)
