"""Routes that find endpoints: answered from the published view, page by page."""

from __future__ import annotations

import asyncio
import base64
import binascii
import heapq
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from warpd.daemon.http import answers
from warpd.daemon.http.messages import HttpError, HttpRequest, HttpResponse, json_response
from warpd.daemon.http.parameters import SHOWN_MAX, Parameter
from warpd.daemon.http.reads import FRESH, seen_view
from warpd.daemon.http.route import NAMED, HttpRoute, NetworkScope, no_network
from warpd.daemon.http.services import Services
from warpd.daemon.http.view import NetworkView, View
from warpd.intent.types import natural
from warpd.service.rights import Right
from warpd.service.views.endpoint_list import BY_NETWORK, Order, matches, order_key, presence

Row = dict[str, Any]

STATES: Final = (
    "online",
    "stale",
    "present",
    "missing",
    "suspended",
    "disabled",
    "expired",
    "off",
)
LIMIT: Final = 200
LIMIT_MAX: Final = 1000
CURSOR_MAX: Final = 2000
# What a cursor keeps of the last row of a page: all that rows are ordered by.
ORDERED_BY: Final[Mapping[str, tuple[type, ...]]] = {
    "network": (str,),
    "name": (str,),
    "address": (str,),
    "handshake_age_s": (int, type(None)),
    "received_bytes": (int,),
    "sent_bytes": (int,),
}


@dataclass(frozen=True, slots=True)
class EndpointSearch:
    """Which endpoints are asked for, and in which order.

    Attributes:
        network: of this network only; "" for all.
        text: what has to be in them, in small letters.
        state: one of STATES; "" for all.
        order: what comes first.
        after: what the last one of the page before is ordered by; None for the first page.
        limit: how many.
    """

    network: str
    text: str
    state: str
    order: Order
    after: Any
    limit: int

    def wants(self, row: Row) -> bool:
        """Whether an endpoint is one of those."""
        if self.state and row["state"] != self.state:
            return False
        return not self.text or matches(row, self.text)

    def later(self, rows: Iterable[Row]) -> Iterator[tuple[Any, Row]]:
        """Those that come behind the page before, with what they are ordered by."""
        for row in rows:
            key = order_key(row, self.order)
            if self.after is None or key > self.after:
                yield key, row

    def may_be_in(self, network: str, found: int) -> bool:
        """Whether endpoints of a network can be of the page, for which so many were found in
        networks that come before it.
        """
        if self.order not in BY_NETWORK:
            return True
        if found > self.limit:
            return False
        return self.after is None or natural(network) >= self.after[0]

    def counted(self, network: NetworkView) -> int:
        """How many of a network are asked for, where no text is searched: nothing else is read."""
        states: dict[str, int] = json.loads(network.counted)["states"]
        return states.get(self.state, 0) if self.state else sum(states.values())


async def find_endpoints(services: Services, request: HttpRequest) -> HttpResponse:
    """Endpoints of all networks: `network`, `q`, `state`, `sort`, `after`, `limit`."""
    search = _search(request.query)
    view = await seen_view(services, request)
    if search.network and search.network not in view.networks:
        raise no_network(search.network)
    rows, total = await _page(view, search)
    following = _cursor(rows[search.limit - 1]) if len(rows) > search.limit else None
    rows = rows[: search.limit]
    return _answer(view, {"endpoints": rows, "next": following, "total": total})


async def show_endpoint(services: Services, request: HttpRequest) -> HttpResponse:
    """One endpoint, with its state and the versions of its config."""
    view, names = await seen_view(services, request), request.names
    row = _row(view, names["network"], names["endpoint"])
    known = services.mailbox.first_names(names["network"], names["endpoint"])
    configs = await services.on_record(lambda store: store.history(*known)) or []
    return _answer(view, {**row, "configs": configs})


async def require_endpoint(
    services: Services, request: HttpRequest, network: str, name: str
) -> None:
    """Raises: HttpError 404 for an endpoint that is not in the view."""
    _row(await seen_view(services, request), network, name)


def _row(view: View, network: str, name: str) -> Row:
    """Raises: HttpError 404 for an endpoint that there is not."""
    if network not in view.networks:
        raise no_network(network)
    for row in _rows(view.networks[network]):
        if row["name"] == name:
            return row
    text = f"there is no endpoint {network}/{name[:SHOWN_MAX]}"
    raise HttpError(404, text, code="unknown-endpoint")


def _answer(view: View, data: Mapping[str, Any]) -> HttpResponse:
    parts = json_response({"version": view.version, **data}).parts
    return HttpResponse(parts=parts, headers=((b"warpd-as-of", view.as_of.encode()),))


async def _page(view: View, search: EndpointSearch) -> tuple[list[Row], int]:
    """The endpoints of a page, and one more if there is one; and how many there are of all pages.

    Between two networks others are answered.
    """
    page: list[tuple[Any, Row]] = []  # with what each is ordered by
    total = 0
    for name in sorted(view.networks, key=natural):
        if search.network not in ("", name):
            continue
        network, is_of_page = view.networks[name], search.may_be_in(name, len(page))
        if not is_of_page and not search.text:
            total += search.counted(network)
            continue
        found = [row for row in _rows(network) if search.wants(row)]
        total += len(found)
        if is_of_page:
            page = heapq.nsmallest(
                search.limit + 1, chain(page, search.later(found)), key=itemgetter(0)
            )
        await asyncio.sleep(0)
    return [row for _key, row in page], total


def _rows(network: NetworkView) -> Iterator[Row]:
    """The endpoints of a network, with their states."""
    for row in json.loads(network.endpoints):
        row["state"] = presence(row)
        yield row


# -- what is asked


def _search(query: Mapping[str, str]) -> EndpointSearch:
    """Raises: HttpError: the cursor is none."""
    order = Order(query.get("sort", Order.name))
    return EndpointSearch(
        query.get("network", ""),
        query.get("q", "").strip().casefold(),
        query.get("state", ""),
        order,
        _after(query["after"], order) if query.get("after") else None,
        int(query.get("limit", LIMIT)),
    )


def _cursor(row: Row) -> str:
    """What a client sends as `after` for the next page."""
    values = [row[name] for name in ORDERED_BY]
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def _after(text: str, order: Order) -> Any:
    """What the last endpoint of the page before is ordered by. Raises: HttpError: it is none."""
    try:
        padded = text + "=" * (-len(text) % 4)
        values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        row = dict(zip(ORDERED_BY, values, strict=True))
        if all(type(row[name]) in types for name, types in ORDERED_BY.items()):
            return order_key(row, order)
    except (binascii.Error, ValueError, TypeError, RecursionError):
        pass
    raise HttpError(422, "`after` is `next` of the page before", code="bad-cursor")


LOOK = Right.LOOK
SEARCHED: Final = (
    Parameter("network", "of this network only"),
    Parameter("q", "what has to be in name, address, description or key"),
    Parameter("state", "of this state only", ("", *STATES)),
    Parameter("sort", "what comes first", tuple(Order)),
    Parameter("after", "`next` of the page before", length_max=CURSOR_MAX),
    Parameter("limit", "how many", bounds=(1, LIMIT_MAX)),
    FRESH,
)
ENDPOINT_PATH: Final = "/v1/endpoints/{network}/{endpoint}"
ROUTES: Final = (
    HttpRoute(
        "GET",
        "/v1/endpoints",
        LOOK,
        NetworkScope.FILTERED,
        find_endpoints,
        answers.EndpointPage,
        query=SEARCHED,
        refusals=NAMED,
    ),
    HttpRoute(
        "GET",
        ENDPOINT_PATH,
        LOOK,
        NetworkScope.NETWORK,
        show_endpoint,
        answers.EndpointAnswer,
        query=(FRESH,),
        refusals=NAMED,
    ),
)
