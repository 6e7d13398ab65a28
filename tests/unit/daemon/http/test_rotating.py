"""The right `rotate`: the help desk gives phones and laptops other keys, and does nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.daemon.http.gateway import Gateway, served
from warpd.intent.model import Intent
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.service.candidates import _only_keys

KEY, OTHER = (
    "q2N4kQ0mZ0Yd3xq6l3xqXb6l3Yd4kQ0mZ0Yd3xq6l3w=",
    "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=",
)
TEXT = f"""\
version: 1
gateway: {{public_endpoint: vpn.example.com}}
networks:
  corp:
    type: remote-resource-gateway
    expected_users: 6
    resources: [{{subnet: 172.20.0.0/16}}]
    endpoints:
      laptop: {{type: mobile}}
      phone: {{type: mobile, public_key: "{OTHER}"}}
      hq: {{type: cpe, routes: [192.168.77.0/24]}}
  web:
    type: secure-internet
    expected_users: 6
    endpoints:
      tele: {{type: mobile}}
"""


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    with served(tmp_path, monkeypatch, TEXT) as made:
        yield made


def edit(op: str, endpoint: str = "laptop", network: str = "corp", **more: Any) -> dict[str, Any]:
    return {"op": op, "network": network, "endpoint": endpoint, **more}


def keys(gateway: Gateway) -> dict[str, tuple[Any, Any]]:
    """What the kernel knows each endpoint by."""
    objects = gateway.daemon.kernel.objects.values()
    peers = [item for item in objects if isinstance(item, WireguardPeer)]
    return {item.label: (item.public_key, item.preshared_key) for item in peers}


def given(endpoint: str = "laptop", **more: Any) -> dict[str, Any]:
    return edit("set_endpoint", endpoint, fields={"public_key": KEY, **more})


@pytest.mark.parametrize("networks", [(), ("corp",)])
def test_the_help_desk_gives_other_keys_and_keeps_them(
    gateway: Gateway, networks: tuple[str, ...]
) -> None:
    gateway.become("helpdesk", *networks)
    for edits in (
        [given(), edit("rotate_endpoint", "phone")],
        [edit("rotate_endpoint")],
        [given("phone", public_key=None), edit("rotate_endpoint", "phone")],
    ):
        before = keys(gateway)
        assert gateway.apply(gateway.change(*edits), confirm_within_s=60)[0] == 200
        after, named = keys(gateway), {item["endpoint"] for item in edits}
        assert before.keys() == after.keys()
        assert {name for name in before if before[name] != after[name]} == named
        assert gateway.post("/v1/confirm", {})[0] == 200


def test_it_takes_back_what_it_has_applied(gateway: Gateway) -> None:
    before = gateway.daemon.config.read_text()
    gateway.become("helpdesk")
    assert gateway.apply(gateway.change(given()), confirm_within_s=60)[0] == 200
    assert gateway.post("/v1/rollback", {"files": True})[0] == 200
    assert gateway.daemon.config.read_text() == before
    assert gateway.post("/v1/rollback", {"to": 1})[1]["code"] == "denied"


def test_it_neither_keeps_nor_undoes_what_others_have_applied(gateway: Gateway) -> None:
    gateway.become("operator")
    assert gateway.apply(gateway.change(given()), confirm_within_s=60)[0] == 200
    gateway.become("helpdesk")
    for path in ("/v1/confirm", "/v1/rollback"):
        status, answer = gateway.post(path, {})
        assert (status, answer["code"]) == (409, "not-yours")


MORE: list[dict[str, Any]] = [
    {"edits": [given("hq")]},  # a site, with networks behind it
    {"edits": [edit("rotate_endpoint", "hq")]},
    {"edits": [given(enabled=True)]},
    {"edits": [given(), edit("set_endpoint", fields={"description": "x"})]},
    {"edits": [given(), edit("remove_endpoint", "phone")]},
    {"edits": [edit("rename_endpoint", to="other")]},
    {"edits": [edit("add_endpoint", "new", fields={"type": "mobile", "public_key": KEY})]},
    {"edits": [{"op": "set_network", "network": "corp", "fields": {"rotation": 1}}]},
    {"edits": [{"op": "set_gateway", "fields": {"rotation": 1}}]},
    {"csv": "name,type\nnew,mobile\n", "network": "corp"},
    {"files": {"warp.yaml": TEXT.replace(OTHER, KEY)}},
]


def test_it_changes_nothing_else(gateway: Gateway) -> None:
    """What an operator may do."""
    for body in MORE:
        before = gateway.everything
        gateway.become("helpdesk")
        status, answer = gateway.post("/v1/changes", body)
        assert (status, answer["code"]) == (403, "denied"), body
        assert answer["hint"] == "roles with it: operator, admin"
        gateway.become("operator")
        assert gateway.post("/v1/changes", body)[0] == 200
        assert gateway.everything == before


def test_a_change_of_an_operator_is_not_for_it(gateway: Gateway) -> None:
    gateway.become("operator")
    change = gateway.change(edit("set_endpoint", fields={"description": "x"}))
    before = gateway.everything
    gateway.become("helpdesk")
    assert gateway.apply(change)[0] == 403
    assert gateway.everything == before


def test_what_others_have_written_is_not_applied_along_with_its_keys(gateway: Gateway) -> None:
    gateway.daemon.config.write_text(TEXT.replace("tele: {type", "fax: {type"))
    gateway.become("helpdesk")
    change = gateway.change(given())
    before = gateway.everything
    status, answer = gateway.apply(change)
    assert (status, answer["code"]) == (403, "denied") and "not applied yet" in answer["error"]
    assert gateway.everything == before


def test_only_keys_of_phones_and_laptops_are_keys() -> None:
    def network(**fields: Any) -> Any:
        phone = {"type": "mobile", **fields.pop("phone", {})}
        site = {"type": "cpe", "routes": ["192.168.77.0/24"], **fields.pop("site", {})}
        body = {"type": "l3vpn-gateway", "endpoints": {"phone": phone, "site": site}, **fields}
        return Intent.model_validate({"version": 1, "networks": {"n": body}}).networks["n"]

    same = network()
    for fields in ({"public_key": KEY}, {"rotation": 2}, {"public_key": KEY, "rotation": 1}):
        assert _only_keys(same, network(phone=fields))
        assert not _only_keys(same, network(site=fields))
        assert not _only_keys(same, network(phone={**fields, "enabled": False}))
    assert not _only_keys(same, network(rotation=1))
    assert not _only_keys(same, None) and not _only_keys(None, same)
