"""Endpoints found over the socket: what is searched, how it is ordered, and page after page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests import world
from tests.unit.daemon.http.gateway import Gateway, served
from warpd.daemon.handlers import ANSWERS
from warpd.intent.types import natural

NAMES = [f"laptop-{number}" for number in (1, 2, 3, 10, 11, 20, 100)]
OTHERS = ["phone-1", "phone-2"]


def text() -> str:
    corp = world.network(0, expected_users=20)
    corp["endpoints"] = {name: {"type": "mobile"} for name in NAMES}
    corp["endpoints"]["laptop-3"] |= {"description": "Ünter den Linden <b>", "enabled": False}
    web = world.network(0)
    web["endpoints"] = {name: {"type": "mobile"} for name in OTHERS}
    return json.dumps({"version": 1, "networks": {"web": web, "corp": corp}})


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    patch = pytest.MonkeyPatch()
    with served(tmp_path_factory.mktemp("endpoints"), patch, text()) as made:
        yield made
    patch.undo()


@pytest.fixture(autouse=True)
def as_root(gateway: Gateway) -> None:
    gateway.token = ""


def found(gateway: Gateway, query: str = "") -> dict[str, Any]:
    status, answer = gateway.ask("GET", f"/v1/endpoints?{query}")
    assert status == 200, answer
    return answer


def names(answer: dict[str, Any]) -> list[str]:
    return [row["name"] for row in answer["endpoints"]]


def test_all_in_natural_order(gateway: Gateway) -> None:
    answer = found(gateway)
    assert names(answer) == NAMES + OTHERS
    assert (answer["total"], answer["next"], answer["version"]) == (9, None, 1)
    # The kernel in memory counts no traffic, so that it shows no peer.
    assert {row["state"] for row in answer["endpoints"]} == {"missing", "disabled"}


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("network=web", OTHERS),
        ("q=LAPTOP-1", ["laptop-1", "laptop-10", "laptop-11", "laptop-100"]),
        ("q=" + quote("ünter DEN"), ["laptop-3"]),
        ("q=" + quote("<b>"), ["laptop-3"]),
        ("q=web/phone-2", ["phone-2"]),
        ("q=nothing", []),
        ("state=disabled", ["laptop-3"]),
        ("state=online", []),
        ("q=phone&network=corp", []),
    ],
)
def test_what_is_searched_for(gateway: Gateway, query: str, wanted: list[str]) -> None:
    answer = found(gateway, query)
    assert names(answer) == wanted and answer["total"] == len(wanted)


@pytest.mark.parametrize("sort", ["name", "address", "handshake", "traffic"])
@pytest.mark.parametrize("limit", [1, 2, 4, 9])
def test_pages_hold_each_endpoint_once(gateway: Gateway, sort: str, limit: int) -> None:
    whole = names(found(gateway, f"sort={sort}"))
    paged: list[str] = []
    after = ""
    for _ in range(20):
        answer = found(gateway, f"sort={sort}&limit={limit}&after={after}")
        assert answer["total"] == 9 and len(answer["endpoints"]) <= limit
        paged += names(answer)
        if answer["next"] is None:
            break
        after = answer["next"]
    assert paged == whole and sorted(paged, key=natural) == NAMES + OTHERS
    back = names(answer)
    while answer["previous"]:
        answer = found(gateway, f"sort={sort}&limit={limit}&before={answer['previous']}")
        assert answer["first"] == whole.index(names(answer)[0]) + 1
        back = names(answer) + back
    assert back == whole


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=x",
        "sort=colour",
        "state=fine",
        "page=2",
        "after=x",
        "after=%00",
        "after=" + "A" * 5000,
        "after=WzEsMl0",
        "after=W10",
        "before=x",
        "before=" + "A" * 5000,
        "before=W10",
    ],
)
def test_what_is_no_search(gateway: Gateway, query: str) -> None:
    is_cursor = query.startswith(("after=", "before=")) and len(query) < 1000
    assert gateway.ask("GET", f"/v1/endpoints?{query}")[0] == (422 if is_cursor else 400)


def test_two_cursors_are_two_pages(gateway: Gateway) -> None:
    cursor = found(gateway, "limit=1")["next"]
    query = f"after={cursor}&before={cursor}"
    status, answer = gateway.ask("GET", f"/v1/endpoints?{query}")
    assert (status, answer["code"]) == (422, "bad-cursor") and "before" in answer["error"]


def test_the_loop_is_not_asked(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """One look for all: what is published answers searches from then on."""
    found(gateway)
    looks = []
    look = ANSWERS["status"]

    def counted(*words: Any) -> Any:
        looks.append(words)
        return look(*words)

    monkeypatch.setitem(ANSWERS, "status", counted)  # type: ignore[arg-type]
    for number in range(50):
        found(gateway, f"q=laptop-{number}")
    assert looks == []


def test_one_endpoint(gateway: Gateway) -> None:
    status, row = gateway.ask("GET", "/v1/endpoints/corp/laptop-10")
    assert status == 200 and (row["version"], row["network"], row["name"]) == (
        1,
        "corp",
        "laptop-10",
    )
    assert row["config_version"] == 1 and row["state"] == "missing" and row["public_key"]
    assert "private" not in json.dumps(row)
    for path in ("corp/none", "none/laptop-10", "corp/..", "corp/laptop-10/x"):
        assert gateway.ask("GET", f"/v1/endpoints/{path}")[0] == 404


def test_somebody_of_one_network(gateway: Gateway) -> None:
    gateway.become("viewer", "web")
    answer = found(gateway)
    assert names(answer) == OTHERS and answer["total"] == 2
    assert gateway.ask("GET", "/v1/endpoints?network=corp")[0] == 404
    assert gateway.ask("GET", "/v1/endpoints/corp/laptop-1")[0] == 404
    # A cursor of somebody else's page leads nowhere else.
    gateway.token = ""
    after = found(gateway, "limit=1")["next"]
    gateway.become("viewer", "web")
    assert names(found(gateway, f"after={after}")) == OTHERS
