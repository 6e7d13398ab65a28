"""Change the YAML: a form, then a review, and only then an apply that is undone unless it is
confirmed. Where the YAML comes from git, a patch instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from warpd.web import wizards
from warpd.web.daemon_client import DaemonError
from warpd.web.pages.looking import NAME, NoSuchPage, endpoint_of, id_in, network_names
from warpd.web.visit import Visit, arrive, see_other

CONFIRM_S: Final = 60
CONFIRM_CHOICES_S: Final = (30, 60, 300, 1800)
SHOWN_AGAIN: Final = frozenset({400, 404, 409, 413, 422})  # what the form can fix
# Why files cannot be put back: the kernel goes back all the same.
FILES_STAY: Final = frozenset({"file-changed", "nothing-kept", "source"})
UNDONE_OPS: Final = ("remove_endpoint", "rotate_endpoint")


async def change(request: Request) -> Response:
    """What can be changed."""
    visit = await arrive(request)
    return visit.page(
        "change.html", command="warpctl network add; warpctl endpoint add", wizards=wizards.WIZARDS
    )


# -- forms


async def network_form(request: Request) -> Response:
    """A new network of one type."""
    visit, wizard = await arrive(request), _wizard(request)
    form = {"endpoints": wizard["endpoints"], "expected_users": str(wizard.get("users", ""))}
    return _network_page(visit, wizard, form, None)


async def add_network(request: Request) -> Response:
    """Review a new network."""
    visit, wizard = await arrive(request), _wizard(request)
    form = await visit.form()
    try:
        return await review(visit, {"edits": wizards.network_edits(wizard, form)})
    except DaemonError as failure:
        return _network_page(visit, wizard, form, mendable(failure))


def _network_page(
    visit: Visit, wizard: Mapping[str, Any], form: wizards.Form, failure: DaemonError | None
) -> Response:
    return visit.page(
        "wizard.html",
        status_of(failure),
        command=f"warpctl network add NAME --type {wizard['type']}",
        wizard=wizard,
        form=form,
        failure=failure,
    )


async def endpoints_form(request: Request) -> Response:
    """More endpoints of a network."""
    visit = await arrive(request)
    return await _adding_page(visit, ADD_ENDPOINTS, dict(request.query_params), None)


async def add_endpoints(request: Request) -> Response:
    """Review more endpoints."""
    visit = await arrive(request)
    form = await visit.form()
    edits = wizards.endpoint_edits(
        form.get("network", ""), form.get("type", ""), form.get("endpoints", "")
    )
    try:
        return await review(visit, {"edits": edits})
    except DaemonError as failure:
        return await _adding_page(visit, ADD_ENDPOINTS, form, mendable(failure))


ADD_ENDPOINTS: Final = "add-endpoints.html", "warpctl endpoint add NETWORK NAME --type TYPE"
ADD_LIST: Final = "csv.html", "warpctl endpoint add NETWORK --from-csv FILE"


async def _adding_page(
    visit: Visit, page: tuple[str, str], form: wizards.Form, failure: DaemonError | None
) -> Response:
    """A page (its template and command) that adds endpoints to one of the networks."""
    template, command = page
    return visit.page(
        template,
        status_of(failure),
        command=command,
        networks=await network_names(visit),
        types=wizards.ENDPOINT_TYPES,
        form=form,
        failure=failure,
    )


async def endpoint_form(request: Request) -> Response:
    """What an endpoint is, to be changed."""
    visit = await arrive(request)
    network, row = await endpoint_of(visit, request)
    return _endpoint_page(visit, network, row, _form_of(row), None)


async def set_endpoint(request: Request) -> Response:
    """Review a change of an endpoint, or its removal, or new keys for it."""
    visit = await arrive(request)
    network, row = await endpoint_of(visit, request)
    form = await visit.form()
    about = {"network": network, "endpoint": row["name"]}
    edits = wizards.changed_endpoint(network, row, form)
    if form.get("op") in UNDONE_OPS:
        edits = [{"op": form["op"], **about}]
    elif form.get("to", row["name"]) != row["name"]:
        edits = [*edits, {"op": "rename_endpoint", **about, "to": form["to"].strip()}]
    try:
        return await review(visit, {"edits": edits})
    except DaemonError as failure:
        return _endpoint_page(visit, network, row, form, mendable(failure))


def _endpoint_page(
    visit: Visit,
    network: str,
    row: Mapping[str, Any],
    form: wizards.Form,
    failure: DaemonError | None,
) -> Response:
    return visit.page(
        "set-endpoint.html",
        status_of(failure),
        command=f"warpctl endpoint set {network}/{row['name']}",
        network=network,
        endpoint=row,
        form=form,
        failure=failure,
    )


def _form_of(row: Mapping[str, Any]) -> dict[str, str]:
    """An endpoint as its form shows it."""
    return {
        "to": row["name"],
        "description": row["description"],
        "expires": row["expires"] or "",
        "routes": " ".join(row["routes"]),
        **({"enabled": "on"} if row["enabled"] else {}),
    }


async def gateway_form(request: Request) -> Response:
    """What the YAML says of the gateway itself, to be changed."""
    visit = await arrive(request)
    section = (await visit.get("/v1/yaml"))["gateway"]
    return _gateway_page(visit, wizards.gateway_form(section), None)


async def set_gateway(request: Request) -> Response:
    """Review a change of the gateway."""
    visit = await arrive(request)
    form = await visit.form()
    section = (await visit.get("/v1/yaml"))["gateway"]
    try:
        return await review(visit, {"edits": wizards.changed_gateway(section, form)})
    except DaemonError as failure:
        return _gateway_page(visit, form, mendable(failure))


def _gateway_page(visit: Visit, form: wizards.Form, failure: DaemonError | None) -> Response:
    return visit.page(
        "set-gateway.html",
        status_of(failure),
        command="warpctl plan",
        form=form,
        failure=failure,
        choices=wizards.GATEWAY_CHOICES,
    )


async def csv_form(request: Request) -> Response:
    """Many endpoints from a list."""
    visit = await arrive(request)
    return await _adding_page(visit, ADD_LIST, dict(request.query_params), None)


async def add_csv(request: Request) -> Response:
    """Review many endpoints; all problems of the list at once."""
    visit = await arrive(request)
    form = await visit.form()
    body = {"csv": form.get("csv", ""), "network": form.get("network", "")}
    if form.get("type"):
        body["type"] = form["type"]
    try:
        return await review(visit, body)
    except DaemonError as failure:
        return await _adding_page(visit, ADD_LIST, form, mendable(failure))


async def yaml_form(request: Request) -> Response:
    """The files of the YAML, to be edited."""
    visit = await arrive(request)
    found = await visit.get("/v1/yaml")
    return _yaml_page(visit, found["files"], None)


async def set_yaml(request: Request) -> Response:
    """Review other texts of the files."""
    visit = await arrive(request)
    form = await visit.form()
    # Browsers send CRLF (HTML, form data set).
    files = {
        name.removeprefix("file."): text.replace("\r\n", "\n")
        for name, text in form.items()
        if name.startswith("file.")
    }
    try:
        return await review(visit, {"files": files})
    except DaemonError as failure:
        return _yaml_page(visit, files, mendable(failure))


def _yaml_page(visit: Visit, files: Mapping[str, str], failure: DaemonError | None) -> Response:
    return visit.page(
        "yaml.html",
        status_of(failure),
        command="warpctl validate; warpctl plan",
        files=files,
        failure=failure,
    )


# -- review and apply


async def review(visit: Visit, body: Mapping[str, Any]) -> Response:
    """What a change would do, to be agreed to. Raises: DaemonError."""
    found = (await visit.daemon.post("/v1/changes", body)).data
    return visit.page(
        "review-change.html",
        command="warpctl plan",
        change=found,
        plan=found["plan"],
        findings=found["findings"],
        confirm_choices=CONFIRM_CHOICES_S,
        confirm_s=CONFIRM_S,
    )


async def apply(request: Request) -> Response:
    """Write and apply what was reviewed; it is undone unless somebody confirms it in time."""
    visit = await arrive(request)
    form = await visit.form()
    within = form.get("confirm_within_s", "")
    body = {
        "digest": form.get("digest", ""),
        "agree": wizards.agreed(form),
        "confirm_within_s": int(within) if within.isdigit() and len(within) < 6 else CONFIRM_S,
    }
    answer = await visit.daemon.post(f"/v1/changes/{id_in(request)}/apply", body)
    if answer.data.get("complete"):
        return _back(form)
    return visit.page("applied.html", command="warpctl apply", done=answer.data)


async def propose(request: Request) -> Response:
    """The change as a branch, or as a file for `git am`."""
    visit = await arrive(request)
    form = await visit.form()
    branch = form.get("as") == "branch"
    body = {"message": form.get("message", ""), "branch": branch}
    answer = await visit.daemon.post(f"/v1/changes/{id_in(request)}/propose", body)
    if branch:
        made = answer.data["branch"]
        return visit.page("proposed.html", command=f"git fetch origin {made['name']}", made=made)
    headers = {"content-disposition": 'attachment; filename="warpd-change.patch"'}
    return Response(answer.data["patch"], media_type="text/x-patch", headers=headers)


async def confirm(request: Request) -> Response:
    """Keep what was applied, and stay where that was pressed."""
    visit = await arrive(request)
    form = await visit.form()
    await visit.daemon.post("/v1/confirm", {})
    return _back(form)


async def rollback(request: Request) -> Response:
    """Undo what waits to be confirmed, and put the files back where that loses no edit."""
    visit = await arrive(request)
    form = await visit.form()
    body = {"files": True} if form.get("files") else {}
    try:
        await visit.daemon.post("/v1/rollback", body)
    except DaemonError as failure:
        if not body or failure.code not in FILES_STAY:
            raise
        await visit.daemon.post("/v1/rollback", {})
    return see_other("/")


async def go_back(request: Request) -> Response:
    """Go back to an entry of the history; asks for the password where the sign-in is old."""
    visit, number = await arrive(request), request.path_params["number"]
    form = await visit.form()
    try:
        await visit.prove(form)
        await visit.daemon.post("/v1/rollback", {"to": number})
    except DaemonError as failure:
        if failure.code not in ("step-up", "sign-in"):
            raise
        command = f"warpctl rollback --to {number}"
        about = {"command": command, "number": number, "failure": failure}
        return visit.page("step-up.html", failure.status, **about)
    return see_other("/")


def _back(form: Mapping[str, str]) -> Response:
    """To the page of the network, or of the endpoint, that a form names as `back`; or to Now."""
    network, _, endpoint = form.get("back", "").partition("/")
    if not NAME.fullmatch(network):
        return see_other("/")
    if NAME.fullmatch(endpoint):
        return see_other(f"/endpoints/{network}/{endpoint}")
    return see_other("/") if endpoint else see_other(f"/networks/{network}")


def _wizard(request: Request) -> dict[str, Any]:
    found = wizards.wizard_of(str(request.path_params["type"]))
    if found is None:
        raise NoSuchPage
    return found


def mendable(failure: DaemonError) -> DaemonError:
    """A refusal that the form shows. Raises: the failure, where the form cannot fix it."""
    if failure.status not in SHOWN_AGAIN:
        raise failure
    return failure


def status_of(failure: DaemonError | None) -> int:
    return 200 if failure is None else failure.status


def _both(path: str, show: Any, act: Any) -> tuple[Route, Route]:
    return Route(path, show), Route(path, act, methods=["POST"])


ROUTES: Final = (
    Route("/change", change),
    *_both("/change/network/{type}", network_form, add_network),
    *_both("/change/endpoints", endpoints_form, add_endpoints),
    *_both("/change/endpoint/{network}/{endpoint}", endpoint_form, set_endpoint),
    *_both("/change/gateway", gateway_form, set_gateway),
    *_both("/changes/csv", csv_form, add_csv),
    *_both("/changes/yaml", yaml_form, set_yaml),
    Route("/changes/{id}/apply", apply, methods=["POST"]),
    Route("/changes/{id}/propose", propose, methods=["POST"]),
    Route("/confirm", confirm, methods=["POST"]),
    Route("/rollback", rollback, methods=["POST"]),
    Route("/history/{number:int}/back", go_back, methods=["POST"]),
)
