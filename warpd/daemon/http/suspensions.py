"""Routes that take an endpoint out at once, and give it back; the YAML stays as it is."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from warpd.allocation.suspensions import FOR_MAX_S, REASON_MAX
from warpd.daemon.http import answers
from warpd.daemon.http.bodies import EndpointName
from warpd.daemon.http.change_requests import Body, body_of
from warpd.daemon.http.messages import HttpError, HttpRequest, HttpResponse, json_response
from warpd.daemon.http.route import LOOKED, NAMED, HttpRoute, NetworkScope, no_network
from warpd.daemon.http.services import Services
from warpd.errors import WarpError
from warpd.service.rights import Right

# Statuses of failures that the client can fix, by code.
STATUSES: Final = {
    "unknown-network": 404,
    "unknown-endpoint": 404,
    "not-suspended": 404,
    "too-many": 409,
    "state-unusable": 503,
    "state-unwritable": 503,
    "state-broken": 503,
}


class SuspendBody(Body):
    """Which endpoint to suspend: NETWORK/NAME."""

    endpoint: EndpointName
    for_s: Annotated[int, Field(ge=1, le=FOR_MAX_S)] | None = None
    reason: Annotated[str, Field(max_length=REASON_MAX)] = ""


async def show_suspensions(services: Services, request: HttpRequest) -> HttpResponse:
    """The endpoints that are suspended, by whom, why, and until when."""
    data = await services.lookups.single("suspensions", {}, request.is_urgent)
    rows = [row for row in data["suspensions"] if request.who.sees(row["network"])]
    return json_response({**data, "suspensions": rows})


async def suspend(services: Services, request: HttpRequest) -> HttpResponse:
    """Disconnect an endpoint at once by {"endpoint", "for_s", "reason"}, whatever the YAML says."""
    asked = body_of(SuspendBody, request.arguments)
    network, slash, _name = asked.endpoint.partition("/")
    if not slash:
        raise HttpError(400, "`endpoint` is NETWORK/NAME")
    if not request.who.sees(network):
        raise no_network(network)
    arguments = {"endpoint": asked.endpoint, "for_s": asked.for_s, "reason": asked.reason}
    return await _asked(services, request, "suspend", arguments)


async def resume(services: Services, request: HttpRequest) -> HttpResponse:
    """Restore the access of a suspended endpoint."""
    name = f"{request.names['network']}/{request.names['endpoint']}"
    return await _asked(services, request, "resume", {"endpoint": name})


async def _asked(
    services: Services, request: HttpRequest, verb: str, arguments: dict[str, Any]
) -> HttpResponse:
    """The loop's answer; events name who has asked."""
    try:
        data = await services.lookups.ask(verb, {**arguments, "by": request.who.user})
    except WarpError as failure:
        if failure.code not in STATUSES:
            raise
        more = {"code": failure.code, "exit_code": failure.exit_code}
        if request.who.sees_all:
            more["hint"] = failure.hint
        raise HttpError(STATUSES[failure.code], failure.message, **more) from failure
    return json_response(data)


SUSPEND: Final = Right.SUSPEND
PLACE: Final = "/v1/suspensions/{network}/{endpoint}"
ROUTES: Final = (
    HttpRoute(
        "GET",
        "/v1/suspensions",
        Right.VIEW,
        NetworkScope.FILTERED,
        show_suspensions,
        answers.Suspensions,
        refusals=LOOKED,
    ),
    HttpRoute(
        "POST",
        "/v1/suspensions",
        SUSPEND,
        NetworkScope.FILTERED,
        suspend,
        answers.Suspended,
        SuspendBody,
        refusals=NAMED,
    ),
    HttpRoute(
        "DELETE", PLACE, SUSPEND, NetworkScope.NETWORK, resume, answers.Suspended, refusals=NAMED
    ),
)
