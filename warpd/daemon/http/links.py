"""Routes of one-time links to a config: made by whoever may hand it out, redeemed once by whoever
has the link. The config is made when it is redeemed and never before.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

from warpd.clients import DEFAULT
from warpd.daemon.http import answers
from warpd.daemon.http.bodies import MINUTES_MAX, MINUTES_MIN, LinkBody, RedeemBody
from warpd.daemon.http.change_requests import body_of
from warpd.daemon.http.credentials import require_fresh
from warpd.daemon.http.endpoints import require_endpoint
from warpd.daemon.http.exports import endpoint_of, reason_of
from warpd.daemon.http.messages import (
    HttpError,
    HttpRequest,
    HttpResponse,
    json_response,
    private_response,
)
from warpd.daemon.http.route import NAMED, HttpRoute, NetworkScope
from warpd.daemon.http.services import Services
from warpd.service.exports import ExportRequest
from warpd.service.rights import Right

PIN_LENGTHS: Final = range(4, 33)
# One text whatever was wrong.
WRONG: Final = "the link is unknown, used or over, or the PIN is wrong"


async def create_link(services: Services, request: HttpRequest) -> HttpResponse:
    """Make a link by {"endpoint", "minutes", "pin", "reason"}; its secret is shown once."""
    asked = body_of(LinkBody, request.arguments)
    network, endpoint = endpoint_of(request.who, asked.endpoint)
    minutes, pin = asked.minutes, asked.pin
    if not MINUTES_MIN <= minutes <= MINUTES_MAX:
        raise HttpError(400, f"`minutes` is a number from {MINUTES_MIN} to {MINUTES_MAX}")
    if pin and len(pin) not in PIN_LENGTHS:
        raise HttpError(400, f"`pin` has {PIN_LENGTHS[0]} to {PIN_LENGTHS[-1]} characters")
    require_fresh(request.who)
    by, reason = request.who.user, reason_of(asked.reason)
    export_request = ExportRequest(network, endpoint, DEFAULT.name, None, reason=reason)
    await require_endpoint(services, request, network, endpoint)
    link, secret = services.links.make(export_request, by, minutes * 60.0, pin)
    expires = datetime.fromtimestamp(time.time() + minutes * 60.0, UTC)
    services.credentials.log.info(
        "link made", id=link.id, network=network, endpoint=endpoint, by=by, minutes=minutes
    )
    data = {"id": link.id, "secret": secret, "expires": expires.isoformat(timespec="seconds")}
    return private_response({"version": 1, **data})


async def redeem_link(services: Services, request: HttpRequest) -> HttpResponse:
    """Take the config that {"secret", "pin"} leads to; the link is gone then."""
    asked = body_of(RedeemBody, request.arguments)
    secret = asked.secret
    link = services.links.take(secret, asked.pin)
    if link is None:
        raise HttpError(410, WRONG, code="unknown-link", hint="ask for a new one")
    by = f"{link.by}, by link {link.id}"
    try:
        data = await services.lookups.ask("export", {"request": link.export_request, "by": by})
    except Exception:
        services.links.give_back(secret, link)
        raise
    shown = {name: data[name] for name in ("version", "network", "file", "config")}
    return private_response(shown)


async def end_link(services: Services, request: HttpRequest) -> HttpResponse:
    """End a link before it is redeemed."""
    name = request.names["id"]
    if services.links.end(name, request.who) is None:
        raise HttpError(404, f"there is no link {name[:8]}", code="unknown-link")
    return json_response({"version": 1, "ended": name})


FILTERED: Final = NetworkScope.FILTERED
ROUTES: Final = (
    HttpRoute(
        "POST",
        "/v1/links",
        Right.EXPORT,
        FILTERED,
        create_link,
        answers.NewLink,
        LinkBody,
        refusals=NAMED,
    ),
    HttpRoute(
        "POST",
        "/v1/links/redeem",
        None,
        FILTERED,
        redeem_link,
        answers.Redeemed,
        RedeemBody,
        refusals=(*NAMED, 410),
    ),
    HttpRoute(
        "DELETE", "/v1/links/{id}", Right.EXPORT, FILTERED, end_link, answers.Ended, refusals=(404,)
    ),
)
