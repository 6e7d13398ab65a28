"""Routes that find endpoints: answered from the published view, page by page."""

from __future__ import annotations

import asyncio
import base64
import binascii
import heapq
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

from warpd.daemon.http import answers
from warpd.daemon.http.messages import HttpError, HttpRequest, HttpResponse, json_response
from warpd.daemon.http.parameters import SHOWN_MAX, Parameter
from warpd.daemon.http.reads import AS_OF, FRESH, seen_view
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
# What a cursor keeps of the first or last row of a page: all that rows are ordered by.
ORDERED_BY: Final[Mapping[str, tuple[type, ...]]] = {
    "network": (str,),
    "name": (str,),
    "address": (str,),
    "handshake_age_s": (int, type(None)),
    "received_bytes": (int,),
    "sent_bytes": (int,),
}


# A row, with what it is ordered by.
Keyed = tuple[Any, Row]


@dataclass(frozen=True, slots=True)
class EndpointSearch:
    """Which endpoints are asked for, and in which order.

    Attributes:
        network: of this network only; "" for all.
        text: what has to be in them, in small letters.
        state: one of STATES; "" for all.
        order: what comes first.
        edge: what the row is ordered by beside which the page lies; None for the first page.
        is_backward: whether the page ends before that row; else it begins after it.
        limit: how many.
    """

    network: str
    text: str
    state: str
    order: Order
    edge: Any
    is_backward: bool
    limit: int

    def wants(self, row: Row) -> bool:
        """Whether an endpoint is one of those."""
        if self.state and row["state"] != self.state:
            return False
        return not self.text or matches(row, self.text)

    def walked(self, names: Iterable[str]) -> list[str]:
        """The networks that are asked for: those beside the edge of the page come first."""
        chosen = (name for name in names if self.network in ("", name))
        return sorted(chosen, key=natural, reverse=self.is_backward)

    def ahead(self, rows: Iterable[Row]) -> list[Keyed]:
        """Those that lie on the page's side of its edge."""
        keyed = [(order_key(row, self.order), row) for row in rows]
        if self.edge is None:
            return keyed
        return [(key, row) for key, row in keyed if self._is_beyond(key, self.edge)]

    def _is_beyond(self, key: Any, edge: Any) -> bool:
        return bool(key < edge) if self.is_backward else bool(key > edge)

    def is_network_ahead(self, network: str) -> bool:
        """Whether the endpoints of a network lie on the page's side of its edge, in an order by
        network; of a network that is not the edge's.
        """
        return self.edge is None or self._is_beyond(natural(network), self.edge[0])

    def may_be_in(self, network: str, found: int) -> bool:
        """Whether endpoints of a network can be of the page, for which so many were found in
        networks that are walked before it.
        """
        if self.order not in BY_NETWORK:
            return True
        if found >= self.limit:
            return False
        is_of_edge = self.edge is not None and natural(network) == self.edge[0]
        return is_of_edge or self.is_network_ahead(network)

    def nearest(self, rows: Iterable[Keyed]) -> list[Keyed]:
        """Those of the page, the one beside its edge first."""
        pick = heapq.nlargest if self.is_backward else heapq.nsmallest
        return pick(self.limit, rows, key=itemgetter(0))

    def counted(self, network: NetworkView) -> int:
        """How many of a network are asked for: its rows are read only where a text is searched."""
        if self.text:
            return sum(map(self.wants, _rows(network)))
        states: dict[str, int] = json.loads(network.counted)["states"]
        return states.get(self.state, 0) if self.state else sum(states.values())


@dataclass(frozen=True, slots=True)
class Page:
    """Endpoints that were found.

    Attributes:
        rows: those of the page, in order.
        first: the number of the first of them, from 1, among those of all pages.
        total: how many there are on all pages.
    """

    rows: list[Row]
    first: int
    total: int

    @property
    def previous(self) -> str | None:
        """The cursor of its first row; None on the first page."""
        return _cursor(self.rows[0]) if self.rows and self.first > 1 else None

    @property
    def next(self) -> str | None:
        """The cursor of its last row; None on the last page."""
        is_last = self.first + len(self.rows) > self.total
        return None if is_last or not self.rows else _cursor(self.rows[-1])


async def find_endpoints(services: Services, request: HttpRequest) -> HttpResponse:
    """Endpoints of all networks: `network`, `q`, `state`, `sort`, `after` or `before`, `limit`."""
    search = search_of(request.query)
    view = await seen_view(services, request)
    if search.network and search.network not in view.networks:
        raise no_network(search.network)
    page = await page_of(view, search)
    beside = {"previous": page.previous, "next": page.next}
    data = {"endpoints": page.rows, **beside, "first": page.first, "total": page.total}
    return _answer(view, data)


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
    return HttpResponse(parts=parts, headers=((AS_OF, view.as_of.encode()),))


async def page_of(view: View, search: EndpointSearch) -> Page:
    """The endpoints of a page. Between two networks that are read others are answered."""
    page: list[Keyed] = []
    total = ahead = 0  # of those on the page's side of its edge
    for name in search.walked(view.networks):
        network, is_of_page = view.networks[name], search.may_be_in(name, len(page))
        if is_of_page:
            wanted = [row for row in _rows(network) if search.wants(row)]
            found = search.ahead(wanted)
            total, ahead = total + len(wanted), ahead + len(found)
            page = search.nearest([*page, *found])
        else:
            count = search.counted(network)
            total += count
            ahead += count if search.is_network_ahead(name) else 0
        if is_of_page or search.text:
            await asyncio.sleep(0)
    rows = [row for _key, row in page]
    if search.is_backward:
        return Page(rows[::-1], ahead - len(rows) + 1, total)
    return Page(rows, total - ahead + 1, total)


def _rows(network: NetworkView) -> Iterator[Row]:
    """The endpoints of a network, with their states."""
    for row in json.loads(network.endpoints):
        row["state"] = presence(row)
        yield row


# -- what is asked


def search_of(query: Mapping[str, str]) -> EndpointSearch:
    """Raises: HttpError: a cursor is none, or there are two."""
    order = Order(query.get("sort", Order.name))
    after, before = query.get("after"), query.get("before")
    if after and before:
        raise HttpError(422, "`after` and `before` ask for two pages", code="bad-cursor")
    cursor = after or before
    return EndpointSearch(
        query.get("network", ""),
        query.get("q", "").strip().casefold(),
        query.get("state", ""),
        order,
        _edge(cursor, order) if cursor else None,
        bool(before),
        int(query.get("limit", LIMIT)),
    )


def _cursor(row: Row) -> str:
    """What a client sends as `after` or `before` for the page beside this row."""
    values = [row[name] for name in ORDERED_BY]
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def _edge(text: str, order: Order) -> Any:
    """What the row of a cursor is ordered by. Raises: HttpError: it is no cursor."""
    try:
        padded = text + "=" * (-len(text) % 4)
        values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        row = dict(zip(ORDERED_BY, values, strict=True))
        if all(type(row[name]) in types for name, types in ORDERED_BY.items()):
            return order_key(row, order)
    except (binascii.Error, ValueError, TypeError, RecursionError):
        pass
    reason = "`after` is `next` of the page before, `before` is `previous` of the page behind"
    raise HttpError(422, reason, code="bad-cursor")


VIEW = Right.VIEW
SEARCHED: Final = (
    Parameter("network", "of this network only"),
    Parameter("q", "what has to be in name, address, description or key"),
    Parameter("state", "of this state only", ("", *STATES)),
    Parameter("sort", "what comes first", tuple(Order)),
    Parameter("after", "`next` of the page before", length_max=CURSOR_MAX),
    Parameter("before", "`previous` of the page behind", length_max=CURSOR_MAX),
    Parameter("limit", "how many", bounds=(1, LIMIT_MAX)),
    FRESH,
)
ENDPOINT_PATH: Final = "/v1/endpoints/{network}/{endpoint}"
ROUTES: Final = (
    HttpRoute(
        "GET",
        "/v1/endpoints",
        VIEW,
        NetworkScope.FILTERED,
        find_endpoints,
        answers.EndpointPage,
        query=SEARCHED,
        refusals=NAMED,
    ),
    HttpRoute(
        "GET",
        ENDPOINT_PATH,
        VIEW,
        NetworkScope.NETWORK,
        show_endpoint,
        answers.EndpointAnswer,
        query=(FRESH,),
        refusals=NAMED,
    ),
)
