"""Routes that hand a config out: the only ones whose answers have keys."""

from __future__ import annotations

from typing import Any, Final

from warpd.daemon.http import answers
from warpd.daemon.http.bodies import ExportBody
from warpd.daemon.http.change_requests import body_of
from warpd.daemon.http.credentials import require_fresh
from warpd.daemon.http.messages import (
    HttpError,
    HttpRequest,
    HttpResponse,
    private_response,
)
from warpd.daemon.http.parameters import Parameter
from warpd.daemon.http.route import LOOKED, NAMED, HttpRoute, NetworkScope, no_network
from warpd.daemon.http.services import Services
from warpd.errors import WarpError
from warpd.service.exports import ExportRequest, refuse
from warpd.service.rights import Identity, Right
from warpd.store import export_log
from warpd.store.export_log import LoggedExport
from warpd.store.state_folder import Store

REASON_MAX: Final = 200  # characters
LIMIT: Final = 200  # rows of a page
LIMIT_MAX: Final = 1000


async def export_config(services: Services, request: HttpRequest) -> HttpResponse:
    """Hand out {"endpoint": NETWORK/NAME, "reason", "format", "qr"}: the config with its keys."""
    asked = body_of(ExportBody, request.arguments)
    network, endpoint = endpoint_of(request.who, asked.endpoint)
    reason = reason_of(asked.reason)
    export_request = ExportRequest(network, endpoint, asked.format, None, asked.qr, reason)
    try:
        refuse(export_request, None)
    except WarpError as failure:
        status = 422 if failure.code == "qr-format" else 400
        raise HttpError(status, failure.message, code=failure.code, hint=failure.hint) from failure
    require_fresh(request.who)
    data = await services.lookups.ask("export", {"request": export_request, "by": request.who.user})
    return private_response(data)


async def show_exports(services: Services, request: HttpRequest) -> HttpResponse:
    """Who took which config, when and why: the latest first."""
    limit = int(request.query.get("limit", LIMIT))
    before = int(request.query["before"]) if "before" in request.query else None

    def read(store: Store) -> tuple[list[LoggedExport], int | None]:
        text = store.export_log_text()
        rows = export_log.rows_before(text, before, limit + 1)
        return rows, export_log.first_altered(text)

    rows, altered = await services.on_record(read) or ([], None)
    following = rows[limit - 1].number if len(rows) > limit else None
    listed = {"exports": [_as_json(row) for row in rows[:limit]], "next": following}
    return private_response({"version": 1, **listed, "altered_before": altered})


def _as_json(row: LoggedExport) -> dict[str, Any]:
    return {
        "number": row.number,
        "time": row.time,
        "user": row.user,
        "network": row.network,
        "endpoint": row.endpoint,
        "config_version": row.version,
        "format": row.style,
        "reason": row.reason,
    }


def endpoint_of(identity: Identity, name: str) -> tuple[str, str]:
    """Network and endpoint of NETWORK/NAME. Raises: HttpError for a network that is not seen."""
    network, slash, endpoint = name.partition("/")
    if not slash:
        raise HttpError(400, "`endpoint` is written NETWORK/NAME")
    if not identity.sees(network):
        raise no_network(network)
    return network, endpoint


def reason_of(text: str) -> str:
    """The words for why. Raises: HttpError where there are none."""
    reason = "".join(char for char in text.strip() if char.isprintable())
    if not reason:
        raise HttpError(400, "a reason is needed: it is written into the log of exports")
    return reason[:REASON_MAX]


LISTED: Final = (
    Parameter("before", "`next` of the page before", bounds=(1, 10**9)),
    Parameter("limit", "how many", bounds=(1, LIMIT_MAX)),
)
ROUTES: Final = (
    HttpRoute(
        "GET",
        "/v1/exports",
        Right.ADMINISTER,
        NetworkScope.GATEWAY,
        show_exports,
        answers.ExportList,
        query=LISTED,
        refusals=LOOKED,
    ),
    HttpRoute(
        "POST",
        "/v1/exports",
        Right.EXPORT,
        NetworkScope.FILTERED,
        export_config,
        answers.Export,
        ExportBody,
        refusals=NAMED,
    ),
)
