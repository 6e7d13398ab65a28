"""One-time links: made by who may hand out, redeemed once, over in time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.daemon.http.gateway import Gateway, served
from warpd.daemon.http.kept_links import LINKS_MAX, PIN_TRIES, Links
from warpd.daemon.http.messages import HttpError
from warpd.service.exports import ExportRequest
from warpd.service.rights import ROLES, Identity
from warpd.store.export_log import FILE

TEXT = """\
version: 1
gateway: {public_endpoint: vpn.example.com}
networks:
  corp: {type: l3vpn-gateway, endpoints: {lap: {type: mobile}}}
  lan: {type: l2-mesh, endpoints: {a: {type: cpe}}}
"""
REQUEST = ExportRequest("corp", "lap", "wg-quick", None)
LIFE_S = 900.0


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    with served(tmp_path, monkeypatch, TEXT) as made:
        yield made


def linked(gateway: Gateway, **more: object) -> dict[str, str]:
    status, body = gateway.post("/v1/links", {"endpoint": "corp/lap", **more})
    assert status == 200, body
    return body


def test_a_link_leads_to_the_config_once(gateway: Gateway) -> None:
    gateway.become("helpdesk")
    made = linked(gateway)
    status, body = gateway.post("/v1/links/redeem", {"secret": made["secret"]})
    assert status == 200 and "PrivateKey = " in body["config"]
    assert set(body) == {"version", "network", "file", "config"}
    assert gateway.post("/v1/links/redeem", {"secret": made["secret"]})[0] == 410
    (event,) = gateway.daemon.told("exported")
    assert event["by"].startswith("helpdesk-bot (token ") and made["id"] in event["by"]
    assert made["secret"] not in json.dumps(event)


def test_nothing_is_handed_out_before_it_is_redeemed(gateway: Gateway) -> None:
    linked(gateway)
    assert not (gateway.daemon.state / FILE).exists()


def test_a_pin_is_asked_for_and_its_tries_are_counted(gateway: Gateway) -> None:
    made = linked(gateway, pin="4711")
    for _ in range(PIN_TRIES - 1):
        assert gateway.post("/v1/links/redeem", {"secret": made["secret"], "pin": "1"})[0] == 410
    right = {"secret": made["secret"], "pin": "4711"}
    assert gateway.post("/v1/links/redeem", right)[0] == 200
    other = linked(gateway, pin="4711")
    for _ in range(PIN_TRIES):
        assert gateway.post("/v1/links/redeem", {"secret": other["secret"], "pin": ""})[0] == 410
    assert gateway.post("/v1/links/redeem", {"secret": other["secret"], "pin": "4711"})[0] == 410


def test_a_link_of_which_nothing_came_can_be_redeemed_again(gateway: Gateway) -> None:
    made = linked(gateway)
    (gateway.daemon.state / FILE).mkdir()
    assert gateway.post("/v1/links/redeem", {"secret": made["secret"]})[0] == 500
    (gateway.daemon.state / FILE).rmdir()
    assert gateway.post("/v1/links/redeem", {"secret": made["secret"]})[0] == 200


def test_whoever_made_it_ends_it(gateway: Gateway) -> None:
    made = linked(gateway)
    gateway.become("helpdesk", "lan")
    assert gateway.ask("DELETE", f"/v1/links/{made['id']}")[0] == 404
    gateway.become("helpdesk", "corp")
    assert gateway.ask("DELETE", f"/v1/links/{made['id']}")[0] == 200
    assert gateway.post("/v1/links/redeem", {"secret": made["secret"]})[0] == 410


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({}, 400),
        ({"endpoint": "corp/none"}, 404),
        ({"endpoint": "none/lap"}, 404),
        ({"endpoint": "corp/lap", "minutes": 4}, 400),
        ({"endpoint": "corp/lap", "minutes": 1441}, 400),
        ({"endpoint": "corp/lap", "minutes": True}, 400),
        ({"endpoint": "corp/lap", "pin": "1"}, 400),
        ({"endpoint": "corp/lap", "secret": "mine"}, 400),
    ],
)
def test_what_is_refused(gateway: Gateway, asked: dict[str, object], status: int) -> None:
    assert gateway.post("/v1/links", asked)[0] == status


@pytest.mark.parametrize(
    ("role", "networks", "status"),
    [("viewer", (), 403), ("helpdesk", ("lan",), 404), ("helpdesk", ("corp",), 200)],
)
def test_who_may_make_one(
    gateway: Gateway, role: str, networks: tuple[str, ...], status: int
) -> None:
    gateway.become(role, *networks)
    assert gateway.post("/v1/links", {"endpoint": "corp/lap"})[0] == status


def test_a_link_is_over_in_time_and_their_number_is_bounded() -> None:
    now = 0.0
    links = Links(lambda: now)
    secrets = [links.make(REQUEST, "anna", LIFE_S, "")[1] for _ in range(LINKS_MAX)]
    assert len(set(secrets)) == LINKS_MAX
    with pytest.raises(HttpError, match="links"):
        links.make(REQUEST, "anna", LIFE_S, "")
    now = LIFE_S - 1
    assert links.take(secrets[0], "") is not None
    now = LIFE_S
    assert links.take(secrets[1], "") is None
    name = links.make(REQUEST, "anna", LIFE_S, "")[0].id
    assert links.end(name, Identity("x", ROLES["admin"], ("lan",))) is None
    assert links.end(name, Identity("x", ROLES["admin"])) is not None
