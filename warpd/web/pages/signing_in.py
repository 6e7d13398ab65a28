"""Sign in and out. The only pages that need no session."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from warpd.web import provider, sessions
from warpd.web.catalogue import TEXT
from warpd.web.daemon_client import DaemonError
from warpd.web.rendering import render
from warpd.web.visit import arrive, daemon_of, form_of, origin_of, see_other, to_provider, token_of

CREDENTIALS_MAX: Final = 1024  # characters of a field


async def login_page(request: Request) -> Response:
    """The form; a one-time code in the fragment of the address is put into it by the browser."""
    return await _page(request, 200, None)


async def login(request: Request) -> Response:
    """Begin a session by a one-time code, or by user and password."""
    fields = {name: value[:CREDENTIALS_MAX] for name, value in (await form_of(request)).items()}
    daemon = daemon_of(request)
    try:
        answer = await daemon.post("/v1/sessions", _credentials(fields))
    except DaemonError as failure:
        return await _page(request, failure.status, failure)
    response = see_other("/")
    response.headers["set-cookie"] = sessions.set_cookie(str(answer.data["token"]))
    return response


async def start(request: Request) -> Response:
    """Send the browser to the provider."""
    offer = await _offer(request)
    if not offer:
        return see_other("/login")
    seed = provider.new_seed()
    response = to_provider(provider.address(offer, seed, origin_of(request)))
    response.headers["set-cookie"] = provider.set_cookie(seed)
    return response


async def finish(request: Request) -> Response:
    """Begin a session by what the provider has answered.

    The page leads on by itself: after a redirect the browser would not send the new cookie, since
    the provider's page, of another site, has begun the navigation.
    """
    seed = provider.seed_of(request.headers.get("cookie", ""))
    body = provider.proof(request.query_params, seed, origin_of(request))
    response = await _finished(request, body)
    response.headers.append("set-cookie", provider.clear_cookie())
    return response


async def _finished(request: Request, body: dict[str, str] | None) -> Response:
    if body is None:
        return await _page(request, 401, DaemonError(401, {"error": TEXT["login.not-begun"]}))
    try:
        answer = await daemon_of(request).post("/v1/sessions", body)
    except DaemonError as failure:
        return await _page(request, failure.status, failure)
    html = render("signed-in.html", nonce=request.state.nonce)
    cookie = sessions.set_cookie(str(answer.data["token"]))
    return HTMLResponse(html, headers={"set-cookie": cookie})


async def _offer(request: Request) -> dict[str, Any]:
    """The provider, as the daemon says; {} for none."""
    try:
        found = (await daemon_of(request).get("/v1/oidc")).data
    except DaemonError:
        return {}
    return found if found.get("offered") else {}


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


async def _page(request: Request, status: int, failure: DaemonError | None) -> Response:
    offer = await _offer(request)
    way = {"provider": offer.get("name", ""), "start": provider.START}
    html = render("login.html", nonce=request.state.nonce, failure=failure, **way)
    return HTMLResponse(html, status)


ROUTES: Final = (
    Route("/login", login_page),
    Route("/login", login, methods=["POST"]),
    Route(provider.START, start),
    Route(provider.CALLBACK, finish),
    Route("/logout", logout, methods=["POST"]),
)
