"""Search, sort and page through endpoints. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from warpd.web.summary import ENDPOINT_STATES, Row, endpoint_row

PAGE: Final = 200
SORTS: Final = ("name", "network", "handshake", "traffic")
TEXT_MAX: Final = 100
SEARCHED: Final = (
    "name",
    "network",
    "description",
    "address",
    "address6",
    "public_key",
    "endpoint",
)


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for.

    - `text`: is part of a name, description, address or key.
    - `network`, `state`: "" for all.
    - `sort`: one of `SORTS`.
    - `after`: how many rows are passed over.
    """

    text: str = ""
    network: str = ""
    state: str = ""
    sort: str = "name"
    after: int = 0

    @staticmethod
    def of(query: Mapping[str, str]) -> Search:
        """Of the query of an address; what makes no sense there is left out."""
        state, sort, after = query.get("state", ""), query.get("sort", ""), query.get("after", "")
        return Search(
            text=query.get("q", "")[:TEXT_MAX].strip(),
            network=query.get("network", "")[:TEXT_MAX],
            state=state if state in ENDPOINT_STATES else "",
            sort=sort if sort in SORTS else "name",
            after=int(after) if after.isascii() and after.isdigit() and len(after) < 9 else 0,
        )

    def address(self, **other: object) -> str:
        """The address of the same search with other values."""
        now = {"q": self.text, "network": self.network, "state": self.state, "sort": self.sort}
        chosen = {name: value for name, value in {**now, **other}.items() if value}
        if chosen.get("sort") == "name":
            del chosen["sort"]
        return "/endpoints" + ("?" + urlencode(chosen) if chosen else "")

    def is_exact(self, row: Row) -> bool:
        """Whether the whole name, address or key of an endpoint was written."""
        exact = (row["name"], f"{row['network']}/{row['name']}", row["address"], row["public_key"])
        return bool(self.text) and not self.network and not self.state and self.text in exact


@dataclass(frozen=True, slots=True)
class Found:
    """A page of what was found, how many there are in all, and where the pages beside it begin."""

    rows: list[dict[str, Any]]
    total: int
    all: int
    networks: list[str]
    previous: int | None
    next: int | None


def search(networks: Iterable[Row], wanted: Search) -> Found:
    """The endpoints of these networks that are looked for, a page of them."""
    known = list(networks)
    rows = sorted(_matching(known, wanted), key=_ORDERS[wanted.sort])
    page = rows[wanted.after : wanted.after + PAGE]
    end = wanted.after + PAGE
    return Found(
        rows=page,
        total=len(rows),
        all=sum(len(network["endpoints"]) for network in known),
        networks=[str(network["name"]) for network in known],
        previous=max(0, wanted.after - PAGE) if wanted.after else None,
        next=end if end < len(rows) else None,
    )


def _matching(networks: Iterable[Row], wanted: Search) -> Iterator[dict[str, Any]]:
    for network in networks:
        if wanted.network in ("", network["name"]):
            yield from _in_network(network, wanted)


def _in_network(network: Row, wanted: Search) -> Iterator[dict[str, Any]]:
    for endpoint in network["endpoints"]:
        row = endpoint_row(endpoint)
        if wanted.state in ("", row["state"]) and _has_text(row, wanted.text.casefold()):
            yield row


def _has_text(row: Row, text: str) -> bool:
    if not text:
        return True
    if text in f"{row['network']}/{row['name']}".casefold():
        return True
    return any(text in str(row.get(name) or "").casefold() for name in SEARCHED)


def _by_handshake(row: Row) -> tuple[float, str]:
    age_s = row["handshake_age_s"]
    return (float("inf") if age_s is None else float(age_s), str(row["name"]))


_ORDERS: Final[Mapping[str, Any]] = {
    "name": lambda row: (row["name"], row["network"]),
    "network": lambda row: (row["network"], row["name"]),
    "handshake": _by_handshake,
    "traffic": lambda row: (-(row["received_bytes"] + row["sent_bytes"]), row["name"]),
}
