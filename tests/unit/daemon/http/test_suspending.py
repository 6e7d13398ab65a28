"""Suspensions over the control socket: who may, of which networks, and what is answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.daemon.http.served import SEEN, UNSEEN, Served, served


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as made:
        yield made


def test_the_help_desk_takes_an_endpoint_out_and_gives_it_back(gateway: Served) -> None:
    token = gateway.token("helpdesk", SEEN)
    name = f"{SEEN}/e1"
    body = {"endpoint": name, "for_s": 3600, "reason": "lost phone"}
    answer = gateway.ask("POST", "/v1/suspensions", token, body)
    assert answer.status == 200 and answer.json["done"] and answer.json["unwritten"] is None
    assert answer.json["suspended"]["by"].startswith("helpdesk-bot (token ")
    row = gateway.ask("GET", f"/v1/endpoints/{name}", token).json
    assert row["state"] == "suspended" and not row["in_kernel"]
    body = {"endpoint": name, "reason": "new phone"}
    refused = gateway.ask("POST", "/v1/exports", token, body)
    assert (refused.status, refused.json["code"]) == (422, "suspended")
    found = gateway.ask("GET", "/v1/suspensions", token).json["suspensions"]
    assert [(item["network"], item["endpoint"], item["reason"]) for item in found] == [
        (SEEN, "e1", "lost phone")
    ]
    assert gateway.ask("DELETE", f"/v1/suspensions/{name}", token).json["done"]
    assert gateway.ask("GET", "/v1/suspensions", token).json["suspensions"] == []
    again = gateway.ask("DELETE", f"/v1/suspensions/{name}", token)
    assert (again.status, again.json["code"]) == (404, "not-suspended")


def test_nobody_hears_of_networks_of_others(gateway: Served) -> None:
    scoped, admin = gateway.token("helpdesk", SEEN), gateway.token("admin")
    body = {"endpoint": "zebra/lima-phone"}
    assert gateway.ask("POST", "/v1/suspensions", scoped, body).status == 404
    assert gateway.ask("POST", "/v1/suspensions", admin, body).status == 200
    assert gateway.ask("DELETE", "/v1/suspensions/zebra/lima-phone", scoped).status == 404
    for path in ("/v1/suspensions", "/v1/status", "/v1/events?follow=0", "/v1/plan"):
        text = gateway.ask("GET", path, scoped).body.decode()
        assert not [word for word in UNSEEN if word in text], path
    assert len(gateway.ask("GET", "/v1/suspensions", admin).json["suspensions"]) == 1


def test_a_viewer_may_not(gateway: Served) -> None:
    token = gateway.token("viewer")
    answer = gateway.ask("POST", "/v1/suspensions", token, {"endpoint": f"{SEEN}/e1"})
    assert (answer.status, answer.json["code"]) == (403, "denied")
    assert gateway.ask("DELETE", f"/v1/suspensions/{SEEN}/e1", token).status == 403


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"endpoint": SEEN}, 400),
        ({"endpoint": f"{SEEN}/e1", "for_s": 0}, 400),
        ({"endpoint": f"{SEEN}/e1", "for_s": True}, 400),
        ({"endpoint": f"{SEEN}/e1", "for_s": 10**9}, 400),
        ({"endpoint": f"{SEEN}/e1", "reason": "x" * 201}, 400),
        ({"endpoint": f"{SEEN}/e1", "by": "somebody else"}, 400),
        ({"endpoint": f"{SEEN}/e9"}, 404),
        ({"endpoint": "nowhere/e1"}, 404),
    ],
)
def test_what_is_none_is_refused(gateway: Served, body: dict[str, object], status: int) -> None:
    token = gateway.token("admin")
    assert gateway.ask("POST", "/v1/suspensions", token, body).status == status
    assert gateway.ask("GET", "/v1/suspensions", token).json["suspensions"] == []
