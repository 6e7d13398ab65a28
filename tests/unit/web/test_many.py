"""Ten thousand endpoints: what a page may read, and how large it may be. Times are measured by hand
(`tests.browser.measure`).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.daemon.http.served import Served, served
from tests.unit.web.many import Read, counted, network_name, publish
from tests.unit.web.visitor import Visitor
from warpd.daemon.http.endpoints import STATES

NETWORKS = ENDPOINTS = 100
ROWS_MAX = 200
PAGE_MAX = 220_000  # bytes of HTML
READ_MAX = 320_000  # bytes that are read from the daemon for a page
ONE = network_name(7)


@dataclass(frozen=True, slots=True)
class Many:
    visitor: Visitor
    read: Read
    gateway: Served

    def total(self, query: str) -> int:
        """How many endpoints the daemon finds."""
        return int(self.gateway.ask("GET", f"/v1/endpoints?limit=1&{query}").json["total"])


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Many]:
    folder: Path = tmp_path_factory.mktemp("many")
    with served(folder) as gateway, counted(folder / "relay", gateway.path) as read:
        publish(gateway, NETWORKS, ENDPOINTS)
        yield Many(Visitor(folder / "relay", gateway.token("admin")), read, gateway)


# Requests to the daemon for each page; two of each are about the session and the daemon itself.
PAGES = {
    "/": 6,
    "/networks": 3,
    f"/networks/{ONE}": 5,
    "/endpoints": 4,
    "/endpoints?sort=traffic": 4,
    f"/endpoints?network={ONE}&state=online": 4,
    "/endpoints?q=device-77": 4,
    f"/endpoints/{ONE}/device-7": 3,
    f"/endpoints/{ONE}/device-7/session": 3,
    f"/endpoints/{ONE}/device-7/hand-out": 3,
    f"/change/endpoint/{ONE}/device-7": 3,
    "/change/endpoints": 3,
    "/changes/csv": 3,
    "/history": 3,
    "/events": 3,
    "/access": 4,
}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_reads_and_shows_no_more_than_it_needs(many: Many, path: str) -> None:
    many.read.take()
    page = many.visitor.get(path)
    requests, answered = many.read.take()
    assert page.status == 200
    rows = page.text.count("<tr>") - 1
    print(f"\n{path}: {requests} requests, {answered} bytes read, {len(page.text)} of HTML")
    assert requests == PAGES[path]
    assert answered < READ_MAX and len(page.text) < PAGE_MAX and rows <= ROWS_MAX


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of the list.

    - `shown`: which of all endpoints it says it shows, from the first to the last.
    - `names`: of those endpoints.
    """

    shown: tuple[int, int]
    names: tuple[str, ...]


def listed(many: Many, way: str, path: str) -> tuple[list[Listed], str]:
    """The pages from this one on by the links of one way (`next`, `prev`), and the last address."""
    found: list[Listed] = []
    while True:
        text = many.visitor.get(path).text
        first, last = map(int, re.findall(r"<span>(\d+)\u2013(\d+) of 10000</span>", text)[0])
        names = tuple(re.findall(r'<a href="/endpoints/([a-z0-9/-]+)"', text))
        found.append(Listed((first, last), names))
        link = re.search(rf'rel="{way}" href="([^"]+)"', text)
        if link is None:
            return found, path
        path = html.unescape(link[1])


def test_every_endpoint_is_on_one_of_the_pages(many: Many) -> None:
    """From the first to the last by the links alone, and back."""
    forward, end = listed(many, "next", "/endpoints")
    assert [page.shown for page in forward] == [(n + 1, n + 200) for n in range(0, 10_000, 200)]
    assert len({name for page in forward for name in page.names}) == NETWORKS * ENDPOINTS
    back, _start = listed(many, "prev", end)
    assert back[::-1] == forward


def test_the_counts_are_of_all(many: Many) -> None:
    assert f"<b>{NETWORKS * ENDPOINTS}</b>" in many.visitor.get("/").text
    assert many.visitor.get("/networks").text.count(f"/{ENDPOINTS}</td>") == NETWORKS


@pytest.mark.parametrize("where", ["", f"&network={ONE}"])
def test_every_state_is_counted_whether_or_not_its_rows_are_read(many: Many, where: str) -> None:
    """What is not on the page is counted by the summary; with a text, by its rows."""
    totals = []
    for text in ("", "&q=device"):
        found = [many.total(f"state={state}{where}{text}") for state in STATES]
        totals.append(dict(zip(STATES, found, strict=True)))
    assert totals[0] == totals[1] and sum(totals[0].values()) == many.total(where)
    assert len([count for count in totals[0].values() if count]) >= 3
