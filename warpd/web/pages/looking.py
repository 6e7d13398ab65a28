"""Read-only pages for operators on call and the help desk."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from warpd.web import listing, picture, summary, wizards
from warpd.web.daemon_client import DaemonError
from warpd.web.happenings import happenings
from warpd.web.phases import phase_rows
from warpd.web.rendering import trusted
from warpd.web.sparkline import charts
from warpd.web.visit import Visit, arrive, both, see_other, with_query

NUMBER: Final = re.compile(r"[0-9]{1,9}")
NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
HAPPENINGS_SHOWN: Final = 8
EVENTS_MAX: Final = 500
CHANGES_SHOWN: Final = 5
EXPIRING_SHOWN: Final = 12
NO_STEPS: Final[dict[str, Any]] = {"steps": (), "blocked": ()}
IN_THE_BAR: Final = frozenset({"confirm-pending"})  # which says it better
CHECK_ORDER: Final = ("fail", "warn", "ok")


class NoSuchPage(Exception):
    """A path names what cannot be."""


async def now(request: Request) -> Response:
    """What is wrong and why, what waits, and the last changes."""
    visit = await arrive(request)
    status, samples = await both(visit, "/v1/summary", "/v1/samples")
    history = await optional(visit, "/v1/history")
    recent = await events_of(visit, EVENTS_MAX)
    networks = status["networks"]
    expiring = summary.expiring(networks)
    failing = summary.failing_names(visit.about_daemon)
    states = [summary.network_state(network, failing) for network in networks]
    return visit.page(
        "now.html",
        command="warpctl status",
        status=status,
        conditions=[row for row in status["conditions"] if row["code"] not in IN_THE_BAR],
        daemon=visit.about_daemon,
        wrong=summary.wrong_networks(networks, failing),
        network_count=len(networks),
        wizards=wizards.WIZARDS,
        network_states={name: states.count(name) for name in dict.fromkeys(states)},
        endpoint_states=summary.count_states(networks),
        charts=charts(samples),
        expiring=expiring[:EXPIRING_SHOWN],
        expiring_more=max(0, len(expiring) - EXPIRING_SHOWN),
        dropped=sum(summary.dropped(network) for network in networks),
        history=(history or {}).get("history", ())[: -CHANGES_SHOWN - 1 : -1],
        events=happenings(recent)[:HAPPENINGS_SHOWN],
    )


async def networks(request: Request) -> Response:
    """All networks."""
    visit = await arrive(request)
    found = await visit.get("/v1/summary")
    failing = summary.failing_names(visit.about_daemon)
    rows = [summary.network_row(network, failing) for network in found["networks"]]
    chosen = request.query_params.get("state", "")
    states = [row["state"] for row in rows]
    return visit.page(
        "networks.html",
        command="warpctl network list",
        rows=[row for row in rows if chosen in ("", row["state"])],
        chosen=chosen,
        states={name: states.count(name) for name in dict.fromkeys(states)},
        total=len(rows),
    )


async def network(request: Request) -> Response:
    """One network: its picture, its objects by phase, its endpoints, what it drops."""
    visit = await arrive(request)
    name = name_in(request, "network")
    about, page, samples = await both(
        visit,
        with_query("/v1/summary", network=name),
        with_query("/v1/endpoints", network=name, limit=listing.PAGE),
        with_query("/v1/samples", network=name),
    )
    found = about["networks"][0]
    row = summary.network_row(found, summary.failing_names(visit.about_daemon))
    endpoints = [summary.endpoint_row(item) for item in page["endpoints"]]
    drawn = picture.draw(found, endpoints, row["total"], visit.frame.gateway)
    return visit.page(
        "network.html",
        command=f"warpctl network show {name}",
        network=row,
        endpoints=endpoints,
        picture=trusted(drawn),
        phases=phase_rows(found, await _steps_of(visit, found)),
        why=summary.why_wrong(found),
        charts=charts(samples),
    )


async def _steps_of(visit: Visit, network: dict[str, Any]) -> dict[str, Any]:
    """The plan, for a network that is not in sync: a plan costs a look at the kernel."""
    if network["in_sync"] and not network["blocked"]:
        return NO_STEPS
    return await visit.get("/v1/plan")


async def endpoints(request: Request) -> Response:
    """All endpoints, a page at a time."""
    visit = await arrive(request)
    wanted = listing.Search.of(request.query_params)
    answer = await visit.get("/v1/endpoints", **wanted.asked())
    rows = [summary.endpoint_row(row) for row in answer["endpoints"]]
    is_quick = set(request.query_params) == {"q"}  # the field on every page, not the filters
    if answer["total"] == 1 and rows and (is_quick or wanted.is_exact(rows[0])):
        return see_other(f"/endpoints/{rows[0]['network']}/{rows[0]['name']}")
    return visit.page(
        "endpoints.html",
        command="warpctl endpoint list",
        wanted=wanted,
        found=listing.found(answer, wanted, rows),
        networks=await network_names(visit),
        states=summary.STATE_WORDS,
        sorts=listing.SORTS,
    )


async def endpoint(request: Request) -> Response:
    """One endpoint, and why it cannot reach something."""
    visit = await arrive(request)
    network_name, row = await endpoint_of(visit, request)
    name = f"{network_name}/{row['name']}"
    query = {key: request.query_params.get(key, "").strip() for key in ("target", "proto", "port")}
    answer, refusal = await _explained(visit, name, query)
    return visit.page(
        "endpoint.html",
        command=f"warpctl endpoint show {name}",
        endpoint=row,
        session=summary.session_state(row),
        query=query,
        answer=answer,
        refusal=refusal,
    )


async def _explained(
    visit: Visit, endpoint: str, query: dict[str, str]
) -> tuple[dict[str, Any] | None, DaemonError | None]:
    """What the gateway would do with a packet, or why it cannot say."""
    if not query["target"]:
        return None, None
    asked = {"endpoint": endpoint, "target": query["target"], "proto": query["proto"] or "icmp"}
    if asked["proto"] in ("tcp", "udp"):
        asked["port"] = query["port"]
    try:
        return await visit.get("/v1/explain", **asked), None
    except DaemonError as failure:
        if failure.status in (401, 403, 503):
            raise
        return None, failure


async def history(request: Request) -> Response:
    """What was applied, when and by whom, and for how long it was in force."""
    visit = await arrive(request)
    found = await visit.get("/v1/history")
    return visit.page("history.html", command="warpctl history", rows=found["history"][::-1])


async def compare(request: Request) -> Response:
    """How the files of any two entries differ."""
    visit = await arrive(request)
    older, newer = (number_in(request.query_params.get(side, "")) for side in ("from", "to"))
    found = await visit.get(f"/v1/history/{older}..{newer}")
    return visit.page(
        "compare.html",
        command=f"warpctl history --show {older}; warpctl history --show {newer}",
        older=found["from"],
        newer=found["to"],
        diff=found["diff"],
    )


async def history_entry(request: Request) -> Response:
    """One entry with its difference to what is in force."""
    visit = await arrive(request)
    number = request.path_params["number"]
    found = await visit.get(f"/v1/history/{number}")
    return visit.page(
        "entry.html", command=f"warpctl history --show {number}", number=number, entry=found
    )


async def plan(request: Request) -> Response:
    """What would change, to be read before it is done."""
    visit = await arrive(request)
    answer = await visit.daemon.get(with_query("/v1/plan", fresh=_fresh(request)))
    return visit.page(
        "plan.html",
        command="warpctl plan",
        plan=answer.data,
        findings=answer.data["findings"],
        as_of=answer.as_of,
    )


def _fresh(request: Request) -> str:
    """What is said to the daemon for somebody who wants to see all as of just now."""
    return "1" if request.query_params.get("fresh") else ""


async def events(request: Request) -> Response:
    """What happened, the newest first."""
    visit = await arrive(request)
    chosen = request.query_params.get("kind", "")
    rows = await events_of(visit, EVENTS_MAX)
    kinds = sorted({row["kind"] for row in rows})
    shown = [row for row in rows if chosen in ("", row["kind"])]
    return visit.page(
        "events.html", command="warpctl events", rows=happenings(shown), kinds=kinds, chosen=chosen
    )


async def system(request: Request) -> Response:
    """The checks of the machine, and what the daemon says of itself."""
    visit = await arrive(request)
    paths = (with_query(path, fresh=_fresh(request)) for path in ("/v1/doctor", "/v1/validate"))
    doctor, validation = await asyncio.gather(*(visit.daemon.get(path) for path in paths))
    return visit.page(
        "system.html",
        command="warpctl doctor",
        checks=sorted(doctor.data["checks"], key=lambda check: CHECK_ORDER.index(check["state"])),
        validation=validation.data,
        as_of=doctor.as_of,
        daemon=visit.about_daemon,
    )


async def optional(visit: Visit, what: str) -> dict[str, Any] | None:
    """What the daemon says, or None where this user may not know it. Raises: DaemonError."""
    try:
        return await visit.get(what)
    except DaemonError as failure:
        if failure.status == 403:
            return None
        raise


async def events_of(visit: Visit, maximum: int) -> list[dict[str, Any]]:
    """The latest events, the newest first. Raises: DaemonError."""
    found = await visit.daemon.lines("/v1/events?follow=0", maximum)
    return found[::-1]


async def network_names(visit: Visit) -> list[str]:
    """The networks that this user sees. Raises: DaemonError."""
    found = await visit.get("/v1/summary")
    return [str(network["name"]) for network in found["networks"]]


async def endpoint_of(
    visit: Visit, request: Request, *, as_of_now: bool = False
) -> tuple[str, dict[str, Any]]:
    """The network and the endpoint that the path names; `as_of_now`: the kernel is looked at.

    Raises: NoSuchPage, DaemonError.
    """
    network, name = name_in(request, "network"), name_in(request, "endpoint")
    query = {"fresh": 1} if as_of_now else {}
    try:
        found = await visit.get(f"/v1/endpoints/{network}/{name}", **query)
    except DaemonError as failure:
        if failure.status == 404:
            raise NoSuchPage from failure
        raise
    return network, summary.endpoint_row(found)


def number_in(text: str) -> int:
    """The number of an entry. Raises: NoSuchPage for what none looks like."""
    if not NUMBER.fullmatch(text):
        raise NoSuchPage
    return int(text)


def id_in(request: Request) -> str:
    """An id in the path. Raises: NoSuchPage for what none looks like."""
    found = str(request.path_params["id"])
    if not (found.isascii() and found.isalnum() and len(found) <= 64):
        raise NoSuchPage
    return found


def name_in(request: Request, part: str) -> str:
    """A name in the path. Raises: NoSuchPage for what no name looks like."""
    name = str(request.path_params[part])
    if not NAME.fullmatch(name):
        raise NoSuchPage
    return name


ROUTES: Final = (
    Route("/", now),
    Route("/networks", networks),
    Route("/networks/{network}", network),
    Route("/endpoints", endpoints),
    Route("/endpoints/{network}/{endpoint}", endpoint),
    Route("/plan", plan),
    Route("/history", history),
    Route("/history/compare", compare),
    Route("/history/{number:int}", history_entry),
    Route("/events", events),
    Route("/system", system),
)
