"""Routes that look: answered from the published view, or by the loop."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, cast

from warpd.daemon.http import answers, visibility
from warpd.daemon.http.lookups import Looked
from warpd.daemon.http.messages import (
    HttpError,
    HttpRequest,
    HttpResponse,
    json_response,
)
from warpd.daemon.http.parameters import Parameter
from warpd.daemon.http.route import (
    LOOKED,
    METRICS_PATH,
    NAMED,
    HttpRoute,
    NetworkScope,
    TextAnswer,
    no_network,
)
from warpd.daemon.http.services import LINES, SERVER_SENT, Services
from warpd.daemon.http.view import View, blocks
from warpd.daemon.http.visibility import sees_everything, unseen
from warpd.daemon.metric import CONTENT_TYPE, Counted
from warpd.daemon.metrics import metrics_text
from warpd.daemon.process import process_stats
from warpd.service.explain import Protocol
from warpd.service.queries import PROTOCOLS, ExplainRequest
from warpd.service.rights import Right

PORT_MAX: Final = 65535
AS_OF: Final = b"warpd-as-of"  # the header with the time of a look
EVENT_MAX: Final = 10**15 - 1


# -- answered from the published view


async def show_status(services: Services, request: HttpRequest) -> HttpResponse:
    """What runs, as `warpctl status -o json`, and `daemon`; `?fresh=1`: as of just now."""
    view = await seen_view(services, request)
    return _from_view(services, request, view, view.status(_seen_daemon(services, request)))


async def show_summary(services: Services, request: HttpRequest) -> HttpResponse:
    """The status without endpoints, but with what is `counted` of them; `?network=`: of one."""
    view, name = await seen_view(services, request), request.query.get("network", "")
    if name and name not in view.networks:
        raise no_network(name)
    return _from_view(services, request, view, view.summary(_seen_daemon(services, request), name))


async def show_networks(services: Services, request: HttpRequest) -> HttpResponse:
    """All networks with their endpoints."""
    view = await seen_view(services, request)
    return _from_view(services, request, view, view.all_networks())


async def show_network(services: Services, request: HttpRequest) -> HttpResponse:
    """One network."""
    name, view = await _network_view(services, request)
    return _from_view(services, request, view, view.network(name))


async def show_endpoints(services: Services, request: HttpRequest) -> HttpResponse:
    """The endpoints of one network."""
    name, view = await _network_view(services, request)
    return _from_view(services, request, view, view.endpoints(name))


async def show_daemon(services: Services, _request: HttpRequest) -> HttpResponse:
    """How the daemon is, with its conditions: `daemon` of the status, without a look."""
    return json_response({"version": 1, **services.daemon()})


async def show_metrics(services: Services, _request: HttpRequest) -> HttpResponse:
    """Figures for Prometheus."""
    mailbox = services.mailbox
    parts = mailbox.stats, mailbox.socket, process_stats(), mailbox.stale_configs
    text = metrics_text(Counted(*parts))
    return HttpResponse(kind=CONTENT_TYPE, parts=(text.encode(),))


async def show_events(services: Services, request: HttpRequest) -> HttpResponse:
    """What happens, a line of JSON each, or server-sent events for who accepts those;
    `?after=N`, or `Last-Event-ID`: begin after that; `?follow=0`: end.
    """
    headers = dict(request.headers)
    is_server_sent = SERVER_SENT.kind.encode() in headers.get(b"accept", b"")
    form = SERVER_SENT if is_server_sent else LINES
    after = _event_number(headers.get(b"last-event-id", b"").decode("latin-1") or _after(request))
    if not request.who.sees_all:
        await seen_view(services, request)  # with it the names are known that are not shown
    if request.query.get("follow") != "0":
        return HttpResponse(kind=form.kind, stream=services.stream(request, after, form))
    lines = services.event_lines(services.mailbox.events(after), request.who, form)
    return HttpResponse(kind=form.kind, parts=(lines or form.pause,))


# -- answered by the loop, the same for all who ask meanwhile


async def show_plan(services: Services, request: HttpRequest) -> HttpResponse:
    """The steps from the kernel to the YAML, as `warpctl plan -o json`."""
    looked = await _looked(services, request, "plan")
    if sees_everything(request.who):
        return _as_looked(looked, looked.value)
    names = await _unseen(services, request)
    return _as_looked(looked, visibility.plan(looked.value, request.who, names))


async def show_history(services: Services, request: HttpRequest) -> HttpResponse:
    """What was applied, as `warpctl history -o json`."""
    # Read from the disk, where commands write too, and for that cheap: always as it is.
    looked = await services.lookups.shared("history", request.is_urgent, True)
    return _as_looked(looked, looked.value)


async def show_doctor(services: Services, request: HttpRequest) -> HttpResponse:
    """The checks of this machine, as `warpctl doctor -o json`."""
    looked = await _looked(services, request, "doctor")
    return _as_looked(looked, looked.value)


async def show_validation(services: Services, request: HttpRequest) -> HttpResponse:
    """The problems of the YAML as it is, as `warpctl validate -o json`."""
    looked = await _looked(services, request, "validate")
    return _as_looked(looked, looked.value)


# -- answered by the loop, each for itself


async def show_entry(services: Services, request: HttpRequest) -> HttpResponse:
    """One number of the history with its files, as `warpctl history --show`."""
    number = _digits(request.names["number"], 9, "an entry of the history has a number")
    arguments = {"number": number}
    return json_response(await services.lookups.single("entry", arguments, request.is_urgent))


async def compare_entries(services: Services, request: HttpRequest) -> HttpResponse:
    """How the files of two numbers of the history differ."""
    error = "an entry of the history has a number"
    names = request.names
    arguments = {name: _digits(names[name], 9, error) for name in ("older", "newer")}
    return json_response(await services.lookups.single("between", arguments, request.is_urgent))


async def explain(services: Services, request: HttpRequest) -> HttpResponse:
    """Would it pass: `?endpoint=NETWORK/NAME&target=ADDRESS&proto=tcp&port=443`."""
    explain_request = _explain_request(request.query)
    for name in (explain_request.endpoint, explain_request.target):
        network, slash, _endpoint = name.partition("/")
        if slash and not request.who.sees(network):
            raise no_network(network)
    arguments = {"request": explain_request}
    data = await services.lookups.single("explain", arguments, request.is_urgent)
    if sees_everything(request.who):
        return json_response(data)
    names = await _unseen(services, request)
    return json_response(visibility.explanation(data, request.who, names))


# -- what they share


async def seen_view(services: Services, request: HttpRequest) -> View:
    """The view, as far as who asks sees it."""
    view = await services.lookups.view(_is_fresh(request), request.is_urgent)
    return view.seen_by(request.who)


def _is_fresh(request: HttpRequest) -> bool:
    return request.query.get("fresh") == "1"


async def _looked(services: Services, request: HttpRequest, verb: str) -> Looked[Any]:
    """What the loop has answered to one of those who asked for the same."""
    return await services.lookups.shared(verb, request.is_urgent, _is_fresh(request))


def _as_looked(looked: Looked[Any], data: Mapping[str, Any]) -> HttpResponse:
    """This, with the time of the look."""
    return replace(json_response(data), headers=((AS_OF, looked.as_of.encode()),))


async def _unseen(services: Services, request: HttpRequest) -> frozenset[str]:
    """The names of networks that who asks does not see."""
    view = await services.lookups.view(False, request.is_urgent)
    return unseen(view.networks, request.who)


def _seen_daemon(services: Services, request: HttpRequest) -> Mapping[str, Any]:
    """What the daemon says of itself, as far as who asks sees it."""
    daemon = services.daemon()
    return daemon if request.who.sees_all else visibility.daemon(daemon, request.who)


async def _network_view(services: Services, request: HttpRequest) -> tuple[str, View]:
    """The name in the path, and a view that has it. Raises: HttpError 404."""
    name, view = request.names["network"], await seen_view(services, request)
    if name not in view.networks:
        raise no_network(name)
    return name, view


def _from_view(
    services: Services, request: HttpRequest, view: View, pieces: Iterable[bytes]
) -> HttpResponse:
    """The bytes that all readers share; 304 for a reader who has them already."""
    who = request.who
    share = [*who.networks, who.may(Right.SEE_ADDRESSES), who.user]
    state = zlib.crc32(json.dumps([services.mailbox.daemon, share]).encode())
    tag = f'"{view.generation}-{state}"'.encode()
    headers = ((b"etag", tag), (AS_OF, view.as_of.encode()))
    if (b"if-none-match", tag) in request.headers:
        return HttpResponse(304, headers=headers)
    return HttpResponse(parts=tuple(blocks(pieces)), headers=headers)


def _after(request: HttpRequest) -> str:
    return request.query.get("after", "0")


def _event_number(text: str) -> int:
    return _digits(text, 15, "`after` is the number of an event")


def _explain_request(query: Mapping[str, str]) -> ExplainRequest:
    protocol = cast(Protocol, query.get("proto", "icmp"))
    endpoint, target = query.get("endpoint", ""), query.get("target", "")
    return ExplainRequest(endpoint, target, protocol, int(query.get("port", "0")))


def _digits(text: str, length_max: int, error: str) -> int:
    """Raises: HttpError with this message for what is no number of so many digits."""
    if not (text.isascii() and text.isdigit()) or len(text) > length_max:
        raise HttpError(400, error)
    return int(text)


VIEW = Right.VIEW
FILTERED, GATEWAY, NETWORK = NetworkScope.FILTERED, NetworkScope.GATEWAY, NetworkScope.NETWORK
FRESH: Final = Parameter("fresh", "1: as of just now", ("0", "1"))
EXPLAINED: Final = (
    Parameter("endpoint", "the sender, as NETWORK/NAME"),
    Parameter("target", "an address, or another endpoint as NETWORK/NAME"),
    Parameter("proto", "what is sent", PROTOCOLS),
    Parameter("port", "where to; 443 by default", bounds=(0, PORT_MAX)),
)
FOLLOWED: Final = (
    Parameter("after", "the number of an event: begin after that", bounds=(0, EVENT_MAX)),
    Parameter("follow", "0: end after the events that there are", ("0", "1")),
)
VIEWED: Final[Mapping[str, Any]] = {
    "query": (FRESH,),
    "refusals": LOOKED,
    "is_tagged": True,
}
KEPT: Final[Mapping[str, Any]] = {"query": (FRESH,), "refusals": LOOKED}
VIEWED_ONE: Final = {**VIEWED, "refusals": NAMED}
SUMMED: Final = {**VIEWED_ONE, "query": (Parameter("network", "of this network only"), FRESH)}
EVENTS: Final = TextAnswer((LINES.kind, SERVER_SENT.kind), answers.EventLine)
NETWORK_PATH: Final = "/v1/networks/{network}"
ENDPOINTS_PATH: Final = "/v1/networks/{network}/endpoints"
PAIR_PATH: Final = "/v1/history/{older}..{newer}"
ENTRY_PATH: Final = "/v1/history/{number}"
ROUTES: Final = (
    HttpRoute("GET", "/v1/status", VIEW, FILTERED, show_status, answers.Status, **VIEWED),
    HttpRoute("GET", "/v1/summary", VIEW, FILTERED, show_summary, answers.StatusSummary, **SUMMED),
    HttpRoute("GET", "/v1/networks", VIEW, FILTERED, show_networks, answers.Networks, **VIEWED),
    HttpRoute(
        "GET", NETWORK_PATH, VIEW, NETWORK, show_network, answers.NetworkAnswer, **VIEWED_ONE
    ),
    HttpRoute(
        "GET", ENDPOINTS_PATH, VIEW, NETWORK, show_endpoints, answers.Endpoints, **VIEWED_ONE
    ),
    HttpRoute("GET", "/v1/plan", VIEW, FILTERED, show_plan, answers.PlanAnswer, **KEPT),
    HttpRoute(
        "GET", "/v1/history", VIEW, GATEWAY, show_history, answers.HistoryList, refusals=LOOKED
    ),
    HttpRoute(
        "GET", PAIR_PATH, VIEW, GATEWAY, compare_entries, answers.EntryDifference, refusals=NAMED
    ),
    HttpRoute("GET", ENTRY_PATH, VIEW, GATEWAY, show_entry, answers.EntryAnswer, refusals=NAMED),
    HttpRoute(
        "GET",
        "/v1/explain",
        VIEW,
        FILTERED,
        explain,
        answers.Explanation,
        query=EXPLAINED,
        refusals=NAMED,
    ),
    HttpRoute("GET", "/v1/doctor", VIEW, GATEWAY, show_doctor, answers.Checks, **KEPT),
    HttpRoute("GET", "/v1/validate", VIEW, GATEWAY, show_validation, answers.Validation, **KEPT),
    HttpRoute("GET", "/v1/daemon", VIEW, GATEWAY, show_daemon, answers.DaemonAnswer),
    HttpRoute(
        "GET", "/v1/events", VIEW, FILTERED, show_events, EVENTS, query=FOLLOWED, refusals=LOOKED
    ),
    HttpRoute("GET", METRICS_PATH, VIEW, GATEWAY, show_metrics, TextAnswer((CONTENT_TYPE,))),
)
