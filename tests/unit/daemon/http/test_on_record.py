"""What is on record, over the socket: who took which config, the history's pairs and times."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.daemon.http.gateway import Gateway, served

TEXT = """
version: 1
networks:
  corp:
    type: secure-internet
    expected_users: 6
    endpoints:
      laptop: {type: mobile}
      phone: {type: mobile}
"""


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    with served(tmp_path, monkeypatch, TEXT) as made:
        yield made


def take(gateway: Gateway, endpoint: str, reason: str) -> None:
    body = {"endpoint": f"corp/{endpoint}", "reason": reason}
    assert gateway.post("/v1/exports", body)[0] == 200


def exports(gateway: Gateway, query: str = "") -> dict[str, Any]:
    status, answer = gateway.ask("GET", f"/v1/exports{query}")
    assert status == 200
    found: dict[str, Any] = answer
    return found


def test_who_took_which_config(gateway: Gateway) -> None:
    nothing = {"version": 1, "exports": [], "next": None, "altered_before": None}
    assert exports(gateway) == nothing
    take(gateway, "laptop", "a new device")
    gateway.become("helpdesk")
    take(gateway, "phone", "lost")
    taker = gateway.token.split("_")[1]
    gateway.become("admin")
    rows = exports(gateway)["exports"]
    assert [(row["number"], row["endpoint"], row["reason"]) for row in rows] == [
        (2, "phone", "lost"),
        (1, "laptop", "a new device"),
    ]
    assert rows[0]["user"] == f"helpdesk-bot (token {taker})"
    assert rows[0]["config_version"] == 1


def test_pages_of_exports(gateway: Gateway) -> None:
    for number in range(5):
        take(gateway, "laptop", f"reason {number}")
    log = gateway.daemon.workspace.store.folder / "exports.log"
    log.write_text(log.read_text() + '{"time": "torn')
    numbers, query = [], "?limit=2"
    while query:
        page = exports(gateway, query)
        numbers += [row["number"] for row in page["exports"]]
        query = f"?limit=2&before={page['next']}" if page["next"] else ""
    assert numbers == [5, 4, 3, 2, 1]


def test_the_list_of_exports_is_for_administrators(gateway: Gateway) -> None:
    gateway.become("operator")
    assert gateway.ask("GET", "/v1/exports")[0] == 403
    gateway.become("admin", "corp")
    assert gateway.ask("GET", "/v1/exports")[0] == 403


def test_an_endpoint_shows_the_versions_of_its_config(gateway: Gateway) -> None:
    take(gateway, "laptop", "first")
    edit = {"op": "rotate_endpoint", "network": "corp", "endpoint": "laptop"}
    assert gateway.apply(gateway.change(edit))[0] == 200
    gateway.daemon.turn(60)
    take(gateway, "laptop", "second")
    rename = {"op": "rename_endpoint", "network": "corp", "endpoint": "laptop", "to": "tablet"}
    assert gateway.apply(gateway.change(rename))[0] == 200
    gateway.daemon.turn(60)
    status, answer = gateway.ask("GET", "/v1/endpoints/corp/tablet?fresh=1")
    assert status == 200
    versions = [(row["version"], len(row["exports"])) for row in answer["configs"]]
    assert versions == [(1, 1), (2, 1)]
    assert gateway.ask("GET", "/v1/endpoints/corp/phone")[1]["configs"] == []
    assert "PrivateKey" not in json.dumps(answer)


def test_two_entries_of_the_history(gateway: Gateway) -> None:
    remove = {"op": "remove_endpoint", "network": "corp", "endpoint": "phone"}
    assert gateway.apply(gateway.change(remove))[0] == 200
    status, answer = gateway.ask("GET", "/v1/history/1..2")
    assert status == 200
    assert (answer["from"]["number"], answer["to"]["number"]) == (1, 2)
    assert "-      phone: {type: mobile}" in answer["diff"].splitlines()
    back = gateway.ask("GET", "/v1/history/2..1")[1]
    assert "+      phone: {type: mobile}" in back["diff"].splitlines()
    assert gateway.ask("GET", "/v1/history/1..1")[1]["diff"] == ""
    assert gateway.ask("GET", "/v1/history/1..9")[0] == 404
    assert gateway.ask("GET", "/v1/history/1..x")[0] == 400


@pytest.mark.parametrize("text", [TEXT, TEXT + "gateway: {name: old, rotation: 1}\n"])
def test_the_gateway_is_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    with served(tmp_path, monkeypatch, text) as gateway:
        edit = {"op": "set_gateway", "fields": {"name": "gw-fra1", "dns": ["9.9.9.9"]}}
        change = gateway.change(edit)
        assert change["gateway"] is True
        assert gateway.apply(change)[0] == 200
        gateway.daemon.turn(60)
        assert gateway.ask("GET", "/v1/daemon")[1]["gateway"] == "gw-fra1"
        again = {"op": "set_gateway", "fields": {"name": None}}
        assert gateway.apply(gateway.change(again))[0] == 200
        assert "gw-fra1" not in gateway.daemon.config.read_text()


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"colour": "red"}, 400),
        ({}, 400),
        ({"name": 1.5}, 400),
        ({"isolation": "none"}, 422),
        ({"name": None}, 422),
    ],
)
def test_what_is_no_edit_of_the_gateway(
    gateway: Gateway, fields: dict[str, Any], status: int
) -> None:
    body = {"edits": [{"op": "set_gateway", "fields": fields}]}
    assert gateway.post("/v1/changes", body)[0] == status


@pytest.mark.parametrize("section", ["gateway:\n", "gateway: {}\n", "gateway: ~\n"])
def test_a_section_that_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str
) -> None:
    """It is filled, or it is said that it has to be written by hand."""
    with served(tmp_path, monkeypatch, TEXT + section) as gateway:
        body = {"edits": [{"op": "set_gateway", "fields": {"name": "gw"}}]}
        status, answer = gateway.post("/v1/changes", body)
        assert status in (200, 422), answer


def test_who_sees_some_networks_edits_no_gateway(gateway: Gateway) -> None:
    gateway.become("operator", "corp")
    body = {"edits": [{"op": "set_gateway", "fields": {"name": "mine"}}]}
    status, answer = gateway.post("/v1/changes", body)
    assert (status, answer["code"]) == (403, "denied")
