"""What a plan means for clients in the field: risks, configs that go stale, what rests; and when an
account ends.
"""

from __future__ import annotations

import dataclasses
import json
import socket
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests import world
from warpd.cli import change, output
from warpd.cli.tables import state
from warpd.clients import FORMATS
from warpd.clients.current import current_config, stale_configs
from warpd.errors import Finding, WarpError
from warpd.kernel.state import Host
from warpd.networks.resolved import permitted_on
from warpd.reconcile.engine import Target
from warpd.reconcile.incremental import planned_run
from warpd.service.views.render import Paint, client_impact_lines, quarantine_lines
from warpd.service.views.report import status_data
from warpd.service.views.status import quarantine_json
from warpd.service.workspace import Workspace
from warpd.store.state_folder import Store
from warpd.testing.fake_kernel import FakeKernel

HOST = Host(uplink_addresses=("203.0.113.1",))


def exported(store: Store, target: Target, network: str, endpoint: str) -> None:
    made = current_config(target, HOST, network, endpoint)
    numbered, _ = store.versioned(made, FORMATS["wg-quick"].text)
    store.log_export(numbered, numbered.version, "wg-quick", "me")


def test_the_plan_names_the_configs_that_go_stale(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = world.target(world.intent(a=world.network(2), b=world.network(2)))
    for network, name in (("a", "e1"), ("b", "e1")):
        exported(store, first, network, name)
    assert stale_configs(first, HOST, store.delivered()) == []
    one = world.target(
        world.intent(a=world.network(2, rotation=1), b=world.network(2)), first.allocations
    )
    assert stale_configs(one, HOST, store.delivered()) == ["a/e1"]  # e2 was never given any
    every = world.target(
        world.intent({"rotation": 1}, a=world.network(2), b=world.network(2)), first.allocations
    )
    assert stale_configs(every, HOST, store.delivered()) == ["a/e1", "b/e1"]
    exported(store, one, "a", "e1")
    assert stale_configs(one, HOST, store.delivered()) == []
    assert stale_configs(first, HOST, store.delivered()) == [
        "a/e1"
    ]  # taken back: the device has the newer one
    exported(store, first, "a", "e1")
    assert stale_configs(first, HOST, store.delivered()) == []


def test_a_renamed_endpoint_is_not_stale_and_keeps_its_history(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = world.target(world.intent(a=world.network(2)))
    exported(store, first, "a", "e1")
    body: dict[str, Any] = world.network(2, renamed_from="a")
    body["endpoints"]["phone"] = {**body["endpoints"].pop("e1"), "renamed_from": "e1"}
    second = world.target(world.intent(z=body), first.allocations)
    assert stale_configs(second, HOST, store.delivered()) == []
    exported(store, second, "z", "phone")
    assert [len(row["exports"]) for row in store.history("a", "e1")] == [2]


def test_risks_and_stale_configs_are_shown_and_quarantine_has_a_line_an_owner() -> None:
    data = {
        "risks": [{"message": "the network moves", "hint": "say so"}],
        "stale_configs": ["a/x", "a/y"],
        "warnings": [],
    }
    assert client_impact_lines(data, Paint(False)) == [
        "risk    the network moves\n        say so",
        "stale   these devices then need their configs again: a/x, a/y",
    ]
    rows = [
        {"network": "n", "endpoint": f"e{i}", "until": "T", "values": {"address": "10.0.0.1"}}
        for i in range(12)
    ]
    lines = quarantine_lines(rows)
    assert (
        lines[0] == "quarantined n/e0 until T: address 10.0.0.1"
        and lines[-1] == "and 2 more"
        and len(lines) == 11
    )


def test_growth_is_a_risk_that_somebody_must_agree_to(tmp_path: Path) -> None:
    yaml = tmp_path / "warp.yaml"
    text = (
        "version: 1\nnetworks:\n  a: {type: secure-internet, expected_users: 1, endpoints: {x:"
        " {type: mobile}}}\n"
    )
    yaml.write_text(text + "  b: {type: secure-internet, endpoints: {x: {type: mobile}}}\n")
    workspace = Workspace(yaml, tmp_path / "state")
    workspace.commit(workspace.read())
    yaml.write_text(yaml.read_text().replace("expected_users: 1", "expected_users: 6"))
    read = workspace.read()
    assert [(item.code, item.path) for item in read.risks] == [
        ("subnet-moves", "networks.a.expected_users")
    ]
    with pytest.raises(WarpError) as caught:
        change.require_consent("Apply?", output.Format.json, [item.message for item in read.risks])
    assert (
        caught.value.exit_code == 1
        and "--yes" in caught.value.hint
        and "10.100.0.0/31" in caught.value.hint
    )
    change.Agreement(None, None).refuse_new_risks(read)
    agreed = frozenset(item.message for item in read.risks)
    change.Agreement(None, agreed).refuse_new_risks(read)
    with pytest.raises(WarpError) as stale:
        change.Agreement(None, frozenset()).refuse_new_risks(read)
    assert stale.value.exit_code == 5
    workspace.commit(read)
    assert workspace.read().risks == ()


def test_quarantine_as_json(tmp_path: Path) -> None:
    yaml = tmp_path / "warp.yaml"
    yaml.write_text(
        "version: 1\nnetworks:\n  a: {type: l3vpn-gateway, endpoints: {x: {type: cpe}, y: {type:"
        " cpe}}}\n"
    )
    workspace = Workspace(yaml, tmp_path / "state")
    workspace.commit(workspace.read())
    yaml.write_text(yaml.read_text().replace(", y: {type: cpe}", ""))
    workspace.commit(workspace.read())
    (row,) = quarantine_json(workspace.read().quarantine)
    assert (row["network"], row["endpoint"], row["values"]["address"]) == ("a", "y", "10.50.0.2")
    assert row["until"].endswith("+00:00") and json.dumps(row)
    yaml.write_text(
        yaml.read_text().replace("version: 1\n", "version: 1\ngateway: {quarantine: 0s}\n")
    )
    assert quarantine_json(workspace.read().quarantine) == []


def test_expires_takes_effect_on_its_day_and_status_counts_down() -> None:
    day = date(2030, 6, 1)
    body = world.network(1)
    body["endpoints"]["e1"]["expires"] = day.isoformat()
    one = world.intent(n=body).networks["n"].endpoints["e1"]
    assert permitted_on(one, day - timedelta(days=1)) and not permitted_on(one, day)
    row = {"in_force": True, "in_kernel": True, "expires_in_days": 12}
    assert state(row) == "present, expires in 12 days"
    assert (
        state({**row, "expires_in_days": 1, "config_exported": False})
        == "present, expires in 1 day, not exported"
    )
    assert (
        state({**row, "in_force": False}) == "off"
        and state({**row, "expires_in_days": None}) == "present"
    )


def test_an_idle_rotation_is_named() -> None:
    from warpd.intent.validation import check

    found: list[Finding] = list(
        check(world.intent(n=world.network(1, rotation=1, private_key_file="/etc/key")))
    )
    assert [(item.code, item.path, item.severity) for item in found] == [
        ("field-idle", "networks.n.rotation", "warning")
    ]


def test_the_kernel_gets_only_a_new_alias_when_a_network_is_renamed() -> None:
    from warpd.networks.compiler import compile_state

    host = Host(uplink="eth0", wireguard_kernel=True, uplink_mtu=1500)
    old = world.target(world.intent(a=world.network(2)))
    new = world.target(world.intent(b=world.network(2, renamed_from="a")), old.allocations)
    before, after = (
        compile_state(one.intent, one.allocations, one.master, host, world.TODAY).state
        for one in (old, new)
    )
    left, right = ({item.key: item for item in state} for state in (before, after))
    assert left.keys() == right.keys() and len(left) > 10
    changed = [(left[key], right[key]) for key in left if left[key] != right[key]]
    for was, now in changed:
        fields = {
            item.name
            for item in dataclasses.fields(was)
            if getattr(was, item.name) != getattr(now, item.name)
        }  # type: ignore[arg-type]
        assert fields <= {"alias", "peer_alias", "label"}, fields


def test_status_says_which_program_has_the_port_of_a_network(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "warp.yaml", tmp_path / "state")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        document = {"version": 1, "networks": {"web": world.network(1, port=port)}}
        (tmp_path / "warp.yaml").write_text(json.dumps(document))
        read = workspace.read()
        target = workspace.target(read, create=False)
        found = planned_run(FakeKernel(), target)
        [warning] = status_data(workspace, read, target, found)["warnings"]
    assert warning["message"].startswith(f"UDP port {port} is taken by ")
    assert warning["message"].endswith(": network web cannot come up")
    assert status_data(workspace, read, target, found)["warnings"] == [], "it was given back"
