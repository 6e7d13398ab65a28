"""Routes that apply the YAML, keep what was applied, or go back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from warpd.daemon.http.credentials import require_fresh
from warpd.daemon.http.messages import HttpError, HttpRequest, HttpResponse, json_response
from warpd.daemon.http.route import HttpRoute, NetworkScope, require_right
from warpd.daemon.http.services import Services
from warpd.service.rights import Identity, Right


async def apply(services: Services, request: HttpRequest) -> HttpResponse:
    """Apply the YAML; `yes` agrees to risks, `digest` to a plan, `confirm_within_s`: undone."""
    types = {"yes": bool, "digest": str, "confirm_within_s": int}
    if request.arguments.get("yes"):
        require_right(request.who, Right.ADMINISTER)
    return await _change(services, request, "apply", types)


async def confirm(services: Services, request: HttpRequest) -> HttpResponse:
    """Keep what was applied with a time to confirm."""
    _refuse_of_others(services, request.who)
    return await _change(services, request, "confirm", {})


async def rollback(services: Services, request: HttpRequest) -> HttpResponse:
    """Undo what waits to be confirmed; `to`: a number of the history; `files`: the YAML too."""
    if "to" in request.arguments:
        require_right(request.who, Right.ADMINISTER)
        require_fresh(request.who)
    _refuse_of_others(services, request.who)
    return await _change(services, request, "rollback", {"to": int, "files": bool})


def _refuse_of_others(services: Services, who: Identity) -> None:
    """Whoever sees some networks only keeps or undoes what they have applied themselves.

    Raises:
        HttpError: 409 for what somebody else has applied, and where nothing waits.
    """
    pending = services.daemon().get("pending_confirm") or {}
    if not who.sees_all and pending.get("by") != who.user:
        text = f"nothing that {who.user} has applied waits to be confirmed"
        raise HttpError(409, text, code="not-yours", hint="see /v1/status: pending_confirm")


async def _change(
    services: Services, request: HttpRequest, verb: str, types: Mapping[str, type]
) -> HttpResponse:
    """Ask the loop for a change; the history names who has asked.

    Raises:
        HttpError: an argument that is unknown, or of another type than `types` says.
    """
    for name, value in request.arguments.items():
        if type(value) is not types.get(name):
            text = f"{request.path} takes no such argument: {name[:40]}"
            raise HttpError(400, text, hint=f"it takes: {', '.join(types) or 'none'}")
    arguments = {"by": request.who.user, **request.arguments}
    return json_response(await services.lookups.ask(verb, arguments))


CHANGE = Right.CHANGE
ROUTES: Final = (
    HttpRoute("POST", "/v1/apply", CHANGE, NetworkScope.GATEWAY, apply),
    HttpRoute("POST", "/v1/confirm", CHANGE, NetworkScope.FILTERED, confirm),
    HttpRoute("POST", "/v1/rollback", CHANGE, NetworkScope.FILTERED, rollback),
)
