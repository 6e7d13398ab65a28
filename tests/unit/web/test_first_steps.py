"""From no network to the first one, and where forms lead; what the help desk is offered."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.daemon.http.gateway import Gateway, served
from tests.unit.daemon.http.served import OUTER, SEEN
from tests.unit.daemon.http.served import served as by_the_clock
from tests.unit.web.visitor import Visitor
from warpd.daemon.http.lookups import GAP_S
from warpd.kernel.api import Dump
from warpd.kernel.state import PeerTraffic
from warpd.service.web_setup import FIRST_YAML
from warpd.web import wizards

NEW = {"network": "staff", "expected_users": "30"}
KEY = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    with served(tmp_path, monkeypatch, FIRST_YAML) as made:
        yield made


def visitor(gateway: Gateway, role: str) -> Visitor:
    gateway.become(role)
    return Visitor(gateway.sock, gateway.token)


def test_where_there_is_no_network_the_first_page_offers_them(gateway: Gateway) -> None:
    link = 'href="/change/network/secure-internet"'
    assert link in visitor(gateway, "operator").get("/").text
    assert link not in visitor(gateway, "helpdesk").get("/").text
    change = gateway_change(gateway)
    assert gateway.apply(change)[0] == 200
    gateway.daemon.turn(2)
    assert link not in visitor(gateway, "operator").get("/").text


def gateway_change(gateway: Gateway) -> dict[str, object]:
    gateway.become("operator")
    return gateway.change(*wizards.network_edits(wizards.WIZARDS[0], NEW))


def test_a_new_network_leads_to_its_page_and_is_kept_there(gateway: Gateway) -> None:
    hand = visitor(gateway, "operator")
    review = hand.post("/change/network/secure-internet", NEW).text
    assert '<input type="hidden" name="back" value="staff">' in review
    change = gateway_change(gateway)
    fields = {"digest": str(change["digest"]), "back": "staff"}
    applied = hand.post(f"/changes/{change['id']}/apply", fields)
    assert (applied.status, applied.headers["location"]) == (303, "/networks/staff")
    gateway.daemon.turn(2)
    page = hand.get("/networks/staff").text
    bar = page.partition('action="/confirm"')[2].partition("</form>")[0]
    assert 'name="back" value="staff"' in bar
    assert hand.post("/confirm", {"back": "staff"}).headers["location"] == "/networks/staff"


@pytest.mark.parametrize(
    ("back", "place"),
    [
        ("", "/"),
        ("staff", "/networks/staff"),
        ("staff/anna", "/endpoints/staff/anna"),
        ("staff/", "/networks/staff"),
        ("/evil.example.com", "/"),
        ("https://evil.example.com", "/"),
        ("staff/../..", "/"),
        ("staff/anna/hand-out", "/"),
        ("evil\r\nlocation: x", "/"),
    ],
)
def test_a_form_leads_to_a_page_of_ours_alone(gateway: Gateway, back: str, place: str) -> None:
    change = gateway_change(gateway)
    hand = visitor(gateway, "operator")
    fields = {"digest": str(change["digest"]), "back": back}
    assert hand.post(f"/changes/{change['id']}/apply", fields).headers["location"] == place


def test_the_help_desk_keeps_what_it_has_applied_and_nothing_else(gateway: Gateway) -> None:
    edits = wizards.network_edits(wizards.WIZARDS[0], {**NEW, "endpoints": "anna"})
    gateway.become("operator")
    assert gateway.apply(gateway.change(*edits))[0] == 200
    gateway.daemon.turn(2)
    desk = visitor(gateway, "helpdesk")
    page = desk.get("/endpoints/staff/anna").text
    link = "/change/device?network=staff&amp;endpoint=anna&amp;replace=on"
    assert f'href="{link}"' in page and 'href="/change/endpoint' not in page
    token = gateway.token
    keys = wizards.device_edits(
        {"network": "staff", "endpoint": "anna", "replace": "on", "key": "own", "public_key": KEY}
    )
    assert gateway.apply(gateway.change(*keys), confirm_within_s=60)[0] == 200
    gateway.daemon.turn(2)
    assert 'action="/confirm"' in desk.get("/").text
    assert 'action="/confirm"' not in visitor(gateway, "helpdesk").get("/").text
    gateway.token = token
    assert gateway.post("/v1/confirm", {})[0] == 200


def test_keys_of_the_gateway_are_never_those_of_a_former_device() -> None:
    form = {"network": "n", "endpoint": "e", "replace": "on", "key": "derived"}
    about = {"network": "n", "endpoint": "e"}
    assert wizards.device_edits(form) == [
        {"op": "set_endpoint", **about, "fields": {"public_key": None}},
        {"op": "rotate_endpoint", **about},
    ]
    assert wizards.device_edits({**form, "key": "own", "public_key": KEY}) == [
        {"op": "set_endpoint", **about, "fields": {"public_key": KEY}}
    ]


def test_a_page_that_waits_for_a_handshake_sees_it_at_once(tmp_path: Path) -> None:
    """No look of the daemon's own falls due meanwhile."""
    with by_the_clock(tmp_path) as made:
        hand = Visitor(made.path, made.token("helpdesk"))
        place, kernel = f"/endpoints/{SEEN}/e1/session", made.daemon.kernel
        assert json.loads(hand.get(place).text)["from"].startswith(OUTER)
        dump, row = kernel.dump, PeerTraffic(1, 1, int(time.time()), "192.0.2.2:51820")

        def moved(*words: Any, **named: Any) -> Dump:
            found = dump(*words, **named)
            return dataclasses.replace(found, traffic=dict.fromkeys(found.traffic, row))

        kernel.dump = moved  # type: ignore[method-assign]
        time.sleep(GAP_S)  # two looks for readers are apart
        found = json.loads(hand.get(place).text)
        assert (found["state"], found["from"]) == ("connected", "192.0.2.2:51820")
