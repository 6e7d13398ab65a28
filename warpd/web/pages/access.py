"""Who has access to the gateway: tokens of programs, and open sessions. For whoever administers."""

from __future__ import annotations

import re
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from warpd.web.daemon_client import DaemonError
from warpd.web.pages.looking import id_in
from warpd.web.visit import Visit, arrive, both, see_other

ROLES: Final = ("viewer", "helpdesk", "operator", "admin")
DAYS: Final = "90"
COMMAND: Final = "warpctl token list"
SHOWN_AGAIN: Final = frozenset({400, 401, 403, 429})  # what the form can fix
PLACE: Final = "/access"


async def access(request: Request) -> Response:
    """Tokens and sessions, each with a way to end it."""
    return await _page(await arrive(request), {"days": DAYS}, None)


async def make_token(request: Request) -> Response:
    """Make a token and show it, once."""
    visit = await arrive(request)
    form = await visit.form()
    try:
        await visit.prove(form)
        made = await visit.daemon.post("/v1/tokens", _wish(form))
    except DaemonError as failure:
        if failure.status not in SHOWN_AGAIN or (failure.status == 401 and failure.code == "token"):
            raise
        return await _page(visit, form, failure)
    return visit.page("token.html", command="warpctl token create", made=made.data)


async def revoke_token(request: Request) -> Response:
    """End a token at once."""
    return await _end(request, "tokens")


async def end_session(request: Request) -> Response:
    """End a session at once, of whomever."""
    return await _end(request, "sessions")


async def _end(request: Request, kind: str) -> Response:
    visit, name = await arrive(request), id_in(request)
    await visit.form()
    await visit.daemon.delete(f"/v1/{kind}/{name}")
    return see_other(PLACE)


def _wish(form: dict[str, str]) -> dict[str, Any]:
    """What the daemon is asked for; it says what is wrong with it."""
    days = form.get("days", "").strip()
    networks = [name for name in re.split(r"[\s,]+", form.get("networks", "")) if name]
    return {
        "name": form.get("name", "").strip(),
        "role": form.get("role", ""),
        "networks": networks or ["*"],
        "days": int(days) if days.isascii() and days.isdigit() and len(days) < 6 else 0,
    }


async def _page(visit: Visit, form: dict[str, str], failure: DaemonError | None) -> Response:
    tokens, sessions = await both(visit, "/v1/tokens", "/v1/sessions")
    own = visit.identity.credential
    return visit.page(
        "access.html",
        200 if failure is None else failure.status,
        command=COMMAND,
        tokens=tokens["tokens"],
        # one's own first, then the one that was used last
        sessions=sorted(
            sessions["sessions"],
            key=lambda row: (row["id"] == own, row["last_used"] or row["created"]),
            reverse=True,
        ),
        own=own,
        roles=ROLES,
        form={name: value for name, value in form.items() if name not in ("password", "otp")},
        failure=failure,
    )


ROUTES: Final = (
    Route(PLACE, access),
    Route(f"{PLACE}/tokens", make_token, methods=["POST"]),
    Route(f"{PLACE}/tokens/{{id}}/revoke", revoke_token, methods=["POST"]),
    Route(f"{PLACE}/sessions/{{id}}/end", end_session, methods=["POST"]),
)
