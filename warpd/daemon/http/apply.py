"""Routes that apply the YAML, keep what was applied, or go back."""

from __future__ import annotations

from typing import Final

from warpd.daemon.http import answers
from warpd.daemon.http.bodies import ApplyBody, NoBody, RollbackBody
from warpd.daemon.http.change_requests import Body, body_of
from warpd.daemon.http.credentials import require_fresh
from warpd.daemon.http.messages import HttpError, HttpRequest, HttpResponse, json_response
from warpd.daemon.http.route import LOOKED, NAMED, HttpRoute, NetworkScope, require_right
from warpd.daemon.http.services import Services
from warpd.service.rights import Identity, Right


async def apply(services: Services, request: HttpRequest) -> HttpResponse:
    """Apply the YAML; `yes` agrees to risks, `digest` to a plan, `confirm_within_s`: undone."""
    asked = body_of(ApplyBody, request.arguments)
    if asked.yes:
        require_right(request.who, Right.ADMINISTER)
    return await _change(services, request, "apply", asked)


async def confirm(services: Services, request: HttpRequest) -> HttpResponse:
    """Keep what was applied with a time to confirm."""
    asked = body_of(NoBody, request.arguments)
    _refuse_of_others(services, request.who)
    return await _change(services, request, "confirm", asked)


async def rollback(services: Services, request: HttpRequest) -> HttpResponse:
    """Undo what waits to be confirmed; `to`: a number of the history; `files`: the YAML too."""
    asked = body_of(RollbackBody, request.arguments)
    if asked.to is not None:
        require_right(request.who, Right.ADMINISTER)
        require_fresh(request.who)
    _refuse_of_others(services, request.who)
    return await _change(services, request, "rollback", asked)


def _refuse_of_others(services: Services, who: Identity) -> None:
    """Whoever sees some networks only, or may only rotate keys, keeps or undoes what they have
    applied themselves.

    Raises:
        HttpError: 409 for what somebody else has applied, and where nothing waits.
    """
    pending = services.daemon().get("pending_confirm") or {}
    is_trusted = who.sees_all and who.may(Right.CHANGE)
    if not is_trusted and pending.get("by") != who.user:
        text = f"nothing that {who.user} has applied waits to be confirmed"
        raise HttpError(409, text, code="not-yours", hint="see /v1/status: pending_confirm")


async def _change(services: Services, request: HttpRequest, verb: str, asked: Body) -> HttpResponse:
    """Ask the loop for a change; the history names who has asked."""
    arguments = {"by": request.who.user, **asked.model_dump(exclude_defaults=True)}
    return json_response(await services.lookups.ask(verb, arguments))


CHANGE, ROTATE = Right.CHANGE, Right.ROTATE
ROUTES: Final = (
    HttpRoute(
        "POST",
        "/v1/apply",
        CHANGE,
        NetworkScope.GATEWAY,
        apply,
        answers.Outcome,
        ApplyBody,
        refusals=LOOKED,
    ),
    HttpRoute(
        "POST",
        "/v1/confirm",
        ROTATE,
        NetworkScope.FILTERED,
        confirm,
        answers.Confirmed,
        NoBody,
        refusals=LOOKED,
    ),
    HttpRoute(
        "POST",
        "/v1/rollback",
        ROTATE,
        NetworkScope.FILTERED,
        rollback,
        answers.RollbackOutcome,
        RollbackBody,
        refusals=NAMED,
    ),
)
