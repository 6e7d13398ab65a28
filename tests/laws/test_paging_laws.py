"""Pages of endpoints: the same ones forward and back, and no network is read for nothing."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from warpd.daemon.http.endpoints import Page, page_of, search_of
from warpd.daemon.http.view import View
from warpd.service.views.endpoint_list import BY_NETWORK, Order, matches, order_key, presence

Row = dict[str, Any]
NETWORKS = ("a", "a2", "a10", "b")
NAMES = ("x1", "x2", "x10", "y")
FEW = st.integers(0, 2)  # many rows are alike


@st.composite
def rows_of(draw: st.DrawFn, network: str) -> list[Row]:
    """Endpoints of one network."""
    names = draw(st.sets(st.sampled_from(NAMES)))
    return [
        {
            "network": network,
            "name": name,
            "address": f"10.0.0.{draw(st.integers(0, 255))}",
            "handshake_age_s": draw(st.none() | FEW),
            "received_bytes": draw(FEW),
            "sent_bytes": draw(FEW),
            "enabled": draw(st.booleans()),
            "in_force": True,
            "in_kernel": True,
        }
        for name in sorted(names)
    ]


def view_of(networks: dict[str, list[Row]]) -> View:
    rows = [{"name": name, "endpoints": rows} for name, rows in networks.items()]
    return View.of({"version": 1, "networks": rows}, 1, 1, "", 0.0)


VIEWED = st.fixed_dictionaries({name: rows_of(name) for name in NETWORKS})
ASKED = st.fixed_dictionaries(
    {"sort": st.sampled_from(tuple(Order)), "limit": st.integers(1, 5).map(str)},
    optional={
        "q": st.sampled_from(("x", "a", "a/x1", "10.0.0.1")),
        "state": st.sampled_from(("online", "disabled", "present")),
        "network": st.sampled_from(NETWORKS),
    },
)


def page(view: View, asked: dict[str, str], **edge: str) -> Page:
    return asyncio.run(page_of(view, search_of({**asked, **edge})))


def wanted_rows(networks: dict[str, list[Row]], asked: dict[str, str]) -> list[Row]:
    """All that is asked for, in order, by the plainest way."""
    whole = [{**row, "state": presence(row)} for rows in networks.values() for row in rows]
    found = [
        row
        for row in whole
        if asked.get("network", row["network"]) == row["network"]
        and asked.get("state", row["state"]) == row["state"]
        and matches(row, asked.get("q", ""))
    ]
    return sorted(found, key=lambda row: order_key(row, Order(asked["sort"])))


def pages(view: View, asked: dict[str, str]) -> list[Page]:
    """All pages by `next`, from the first."""
    found = [page(view, asked)]
    while after := found[-1].next:
        found.append(page(view, asked, after=after))
    return found


@settings(max_examples=150, deadline=None)
@given(VIEWED, ASKED)
def test_forward_and_back_are_the_same_pages(
    networks: dict[str, list[Row]], asked: dict[str, str]
) -> None:
    view, whole = view_of(networks), wanted_rows(networks, asked)
    forward, limit = pages(view, asked), int(asked["limit"])
    for number, found in enumerate(forward):
        first = number * limit
        assert found.rows == whole[first : first + limit]
        assert (found.first, found.total) == (first + 1, len(whole))
    assert sum(len(found.rows) for found in forward) == len(whole)
    assert forward[0].previous is None
    back = [forward[-1]]
    while before := back[-1].previous:
        back.append(page(view, asked, before=before))
    assert back[::-1] == forward


def spoiled(view: View, names: set[str]) -> View:
    """The same view, in which the endpoints of these networks cannot be read."""
    networks = {
        name: replace(network, endpoints=b"unread") if name in names else network
        for name, network in view.networks.items()
    }
    return replace(view, networks=networks)


@settings(max_examples=150, deadline=None)
@given(VIEWED, ASKED, st.data())
def test_networks_that_cannot_be_on_the_page_are_not_read(
    networks: dict[str, list[Row]], asked: dict[str, str], data: st.DataObject
) -> None:
    """Those between the edge of the page and its last row may be."""
    asked = {name: value for name, value in asked.items() if name != "q"}
    asked["sort"] = data.draw(st.sampled_from(sorted(BY_NETWORK)))
    view, limit = view_of(networks), int(asked["limit"])
    ways: list[tuple[dict[str, str], Page]] = [({}, page(view, asked))]
    for found in pages(view, asked):
        ways += [({"after": found.next}, found)] if found.next else []
        ways += [({"before": found.previous}, found)] if found.previous else []
    for edge, beside in ways:
        found = page(view, asked, **edge)
        is_back = "before" in edge
        walked = NETWORKS[::-1] if is_back else NETWORKS
        begins, ends = 0, len(walked)
        if edge:
            begins = walked.index(beside.rows[0 if is_back else -1]["network"])
        if len(found.rows) == limit:
            ends = walked.index(found.rows[0 if is_back else -1]["network"]) + 1
        unread = {*walked[:begins], *walked[ends:]}
        assert page(spoiled(view, unread), asked, **edge) == found


def test_a_spoiled_network_cannot_be_read() -> None:
    """What the law above rests on."""
    view = spoiled(view_of({"a": []}), {"a"})
    try:
        page(view, {"sort": "name"})
    except json.JSONDecodeError:
        return
    raise AssertionError("it was read")
