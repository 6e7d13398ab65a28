"""Add a phone or laptop, or give it new keys. The pair is made by the browser that shows this page,
or on the device. Only its public key comes here, and goes into the YAML.

A browser that makes keys stays on the page, since the private one is in its memory alone: it sends
the form and takes the answer as JSON (`static/device.js`). Any other browser sends the form, and
goes on to the review that every change has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from warpd.web import wizards
from warpd.web.catalogue import TEXT
from warpd.web.daemon_client import DaemonError
from warpd.web.pages import changing
from warpd.web.pages.looking import endpoint_of, network_names
from warpd.web.visit import Visit, arrive

WITHIN_S: Final = 300  # to confirm: time to scan a code and to see the first handshake
REASON: Final = "keys made in the browser"
ADD_WITH_KEY: Final = "warpctl endpoint add NETWORK NAME --type mobile --public-key KEY"
SET_KEY: Final = "warpctl endpoint set NETWORK/NAME --public-key KEY"


async def device_form(request: Request) -> Response:
    """Name, network, and where the keys are made."""
    visit = await arrive(request)
    return await _page(visit, dict(request.query_params), None)


async def add_device(request: Request) -> Response:
    """Review the change that adds it: as a page, or for a browser that has just made the keys."""
    visit = await arrive(request)
    form = await visit.form()
    edits = wizards.device_edits(form)
    if _takes_json(request):
        return await _reviewed(visit, {"edits": edits})
    try:
        return await _review_page(visit, edits)
    except DaemonError as failure:
        return await _page(visit, form, changing.mendable(failure))


async def _review_page(visit: Visit, edits: list[wizards.Edit]) -> Response:
    """The review of edits; the first of several takes a key of its own away, where there is one.

    Raises: DaemonError.
    """
    try:
        return await changing.review(visit, {"edits": edits})
    except DaemonError as failure:
        if failure.code != "unknown-field" or len(edits) == 1:
            raise
    return await changing.review(visit, {"edits": edits[1:]})


async def device_config(request: Request) -> Response:
    """The config of a device with keys of its own: everything but the private one.

    The answer is JSON, also for a refusal: with the code `step-up` the browser asks for the
    password and sends it along. `public_key` is the one that is in force, so that the browser does
    not complete a config that is not its device's any more.
    """
    visit = await arrive(request)
    network, row = await endpoint_of(visit, request)
    form = await visit.form()
    body = {"endpoint": f"{network}/{row['name']}", "reason": REASON}
    try:
        if form.get("password"):
            proof = {name: form[name] for name in ("password", "otp") if form.get(name)}
            await visit.daemon.post("/v1/session/step-up", proof)
        found = (await visit.daemon.post("/v1/exports", body)).data
    except DaemonError as failure:
        return _refused(failure)
    shown = {name: found[name] for name in ("config", "file")}
    return JSONResponse({**shown, "public_key": row["public_key"]})


async def _reviewed(visit: Visit, body: Mapping[str, Any]) -> Response:
    """What the change would do, where nothing of it has to be agreed to."""
    try:
        found = (await visit.daemon.post("/v1/changes", body)).data
    except DaemonError as failure:
        return _refused(failure)
    if found.get("agree"):
        risks = [str(risk["message"]) for risk in found["risks"]]
        return JSONResponse({"error": " ".join([TEXT["device.risks"], *risks])}, 409)
    diff = "\n".join(str(file["diff"]) for file in found["files"])
    shown = {name: found[name] for name in ("id", "digest")}
    return JSONResponse({**shown, "diff": diff})


def _refused(failure: DaemonError) -> Response:
    """What the daemon refuses, in one line with everything that it found."""
    problems = failure.body.get("problems") or ()
    named = [f"{item['path']} {item['message']}" for item in problems]
    lines = [failure.message, *named, failure.hint]
    text = "; ".join(line for line in dict.fromkeys(lines) if line)
    return JSONResponse({"error": text, "code": failure.code}, failure.status)


def _takes_json(request: Request) -> bool:
    """Whether a script of ours asks, and not the form."""
    return request.headers.get("accept") == "application/json"


async def _page(visit: Visit, form: wizards.Form, failure: DaemonError | None) -> Response:
    """The form, with what was in it, and why that was refused."""
    return visit.page(
        "device.html",
        changing.status_of(failure),
        command=SET_KEY if form.get("replace") else ADD_WITH_KEY,
        networks=await network_names(visit),
        form=form,
        failure=failure,
        within_s=WITHIN_S,
    )


ROUTES: Final = (
    Route("/change/device", device_form),
    Route("/change/device", add_device, methods=["POST"]),
    Route("/endpoints/{network}/{endpoint}/config", device_config, methods=["POST"]),
)
