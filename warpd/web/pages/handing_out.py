"""Hand a config out, and take an endpoint out at once: what the help desk does."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from warpd.web.daemon_client import DaemonError
from warpd.web.pages.looking import endpoint_of
from warpd.web.qr import as_picture
from warpd.web.visit import Visit, arrive, origin_of, see_other

FORMATS: Final = (
    "wg-quick",
    "networkd",
    "networkmanager",
    "openwrt",
    "mikrotik",
    "vyos",
    "json",
)
LINK_MINUTES: Final = (5, 15, 60, 1440)
SUSPEND_S: Final = {"1h": 3600, "8h": 8 * 3600, "1d": 86_400}


async def hand_out_form(request: Request) -> Response:
    """Why, and in which form."""
    visit = await arrive(request)
    network, row = await endpoint_of(visit, request)
    return _form_page(visit, network, row, {}, None)


async def hand_out(request: Request) -> Response:
    """Show a config once, or a link to it that works once."""
    visit = await arrive(request)
    network, row = await endpoint_of(visit, request)
    form = await visit.form()
    name = f"{network}/{row['name']}"
    try:
        await visit.prove(form)
        found = await _exported(visit, name, form)
    except DaemonError as failure:
        if failure.status in (401, 503) and not form.get("password"):
            raise
        return _form_page(visit, network, row, form, failure)
    return visit.page(
        "handed-out.html",
        command=f"warpctl endpoint config {name}",
        network=network,
        endpoint=row,
        found=found,
        qr=as_picture(found["config"]) if form.get("way", "qr") == "qr" else "",
        origin=origin_of(request),
    )


async def _exported(visit: Visit, name: str, form: dict[str, str]) -> dict[str, Any]:
    body: dict[str, Any] = {"endpoint": name, "reason": form.get("reason", "")}
    if form.get("way") == "link":
        body["minutes"] = _minutes(form.get("minutes", ""))
        if form.get("pin"):
            body["pin"] = form["pin"]
        return (await visit.daemon.post("/v1/links", body)).data
    if form.get("way") == "file":
        body["format"] = form.get("format", FORMATS[0])
    else:
        body["qr"] = True
    return (await visit.daemon.post("/v1/exports", body)).data


def _form_page(
    visit: Visit,
    network: str,
    row: dict[str, Any],
    form: dict[str, str],
    failure: DaemonError | None,
) -> Response:
    shown = {name: value for name, value in form.items() if name != "password"}
    return visit.page(
        "hand-out.html",
        200 if failure is None else failure.status,
        command=f"warpctl endpoint config {network}/{row['name']}",
        network=network,
        endpoint=row,
        form=shown,
        failure=failure,
        formats=FORMATS,
        link_minutes=LINK_MINUTES,
    )


def _minutes(text: str) -> int:
    return int(text) if text.isdigit() and int(text) in LINK_MINUTES else LINK_MINUTES[1]


async def session_of(request: Request) -> Response:
    """Whether an endpoint is connected: what a page asks that waits for a first handshake.

    The kernel tells nobody of a handshake: without a look the page would wait for the next one of
    the daemon's own.
    """
    visit = await arrive(request)
    _network, row = await endpoint_of(visit, request, as_of_now=True)
    address = row.get("endpoint") or ""
    shown = {"state": row["state"], "age_s": row["handshake_age_s"], "from": address}
    return JSONResponse(shown)


async def suspend(request: Request) -> Response:
    """Take an endpoint out at once; the YAML stays as it is."""
    visit = await arrive(request)
    network, row = await endpoint_of(visit, request)
    form = await visit.form()
    body: dict[str, Any] = {"endpoint": f"{network}/{row['name']}"}
    if form.get("reason"):
        body["reason"] = form["reason"]
    if form.get("for") in SUSPEND_S:
        body["for_s"] = SUSPEND_S[form["for"]]
    await visit.daemon.post("/v1/suspensions", body)
    return see_other(f"/endpoints/{network}/{row['name']}")


async def resume(request: Request) -> Response:
    """Give an endpoint back what the YAML gives it."""
    visit = await arrive(request)
    network, row = await endpoint_of(visit, request)
    await visit.form()
    await visit.daemon.delete(f"/v1/suspensions/{network}/{row['name']}")
    return see_other(f"/endpoints/{network}/{row['name']}")


PLACE: Final = "/endpoints/{network}/{endpoint}"
ROUTES: Final = (
    Route(f"{PLACE}/hand-out", hand_out_form),
    Route(f"{PLACE}/hand-out", hand_out, methods=["POST"]),
    Route(f"{PLACE}/session", session_of),
    Route(f"{PLACE}/suspend", suspend, methods=["POST"]),
    Route(f"{PLACE}/resume", resume, methods=["POST"]),
)
