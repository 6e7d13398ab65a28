"""Routes that apply the YAML, keep what was applied, or go back."""

from __future__ import annotations

from typing import Final

from warpd.daemon.http import answers
from warpd.daemon.http.bodies import ApplyBody, NoBody, RollbackBody
from warpd.daemon.http.change_requests import Body, body_of
from warpd.daemon.http.credentials import require_fresh
from warpd.daemon.http.messages import HttpRequest, HttpResponse, json_response
from warpd.daemon.http.route import LOOKED, NAMED, HttpRoute, NetworkScope, require_right
from warpd.daemon.http.services import Services
from warpd.service.rights import Identity, Right


async def apply(services: Services, request: HttpRequest) -> HttpResponse:
    """Apply the YAML. `yes` accepts risks, `digest` names the reviewed plan; with
    `confirm_within_s` the apply is rolled back unless it is confirmed.
    """
    asked = body_of(ApplyBody, request.arguments)
    if asked.yes:
        require_right(request.who, Right.ADMINISTER)
    return await _change(services, request, "apply", asked)


async def confirm(services: Services, request: HttpRequest) -> HttpResponse:
    """Keep what was applied with a time to confirm."""
    asked = body_of(NoBody, request.arguments)
    return await _change(services, request, "confirm", asked, **_own(request.who))


async def rollback(services: Services, request: HttpRequest) -> HttpResponse:
    """Undo what waits to be confirmed; `to`: a number of the history; `files`: the YAML too."""
    asked = body_of(RollbackBody, request.arguments)
    if asked.to is not None:
        require_right(request.who, Right.ADMINISTER)
        require_fresh(request.who)
    return await _change(services, request, "rollback", asked, **_own(request.who))


def _own(who: Identity) -> dict[str, str]:
    """What tells the loop that somebody keeps or undoes only what they have applied themselves:
    whoever sees some networks only, or may only rotate keys.

    The loop judges it, which alone knows what waits at that moment.
    """
    is_trusted = who.sees_all and who.may(Right.CHANGE)
    return {} if is_trusted else {"applied_by": who.user}


async def _change(
    services: Services, request: HttpRequest, verb: str, asked: Body, **more: str
) -> HttpResponse:
    """Ask the loop for a change; the history names who has asked."""
    arguments = {"by": request.who.user, **more, **asked.model_dump(exclude_defaults=True)}
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
