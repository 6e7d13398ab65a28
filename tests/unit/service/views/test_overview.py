"""A plan as people read it: a line per network and endpoint, names for what goes, risks; and its
text at 80 columns.
"""

from __future__ import annotations

import dataclasses
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests import world
from warpd.allocation.model import Allocations
from warpd.intent.types import natural
from warpd.kernel.kinds.nft_table import NftElements, NftTable, table_key
from warpd.kernel.kinds.route import Route
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import PeerTraffic
from warpd.reconcile.engine import PlannedRun, Target, converge, removal
from warpd.reconcile.incremental import planned_run, replan
from warpd.reconcile.plan import Plan
from warpd.service.views.changes import network_changes
from warpd.service.views.overview import Overview, Side, overview
from warpd.service.views.render import Paint, plan_json, plan_text, row_text, step_json, step_text
from warpd.testing.fake_kernel import FakeKernel

NOW_S = 2_000_000_000
DAY = date(2026, 1, 1)


def running(target: Target) -> FakeKernel:
    kernel = FakeKernel()
    found = planned_run(kernel, target)
    assert converge(kernel, lambda: replan(kernel, target, found), found).complete
    return kernel


def corp(*names: str, **fields: Any) -> dict[str, Any]:
    endpoints = {name: {"type": "mobile"} for name in names}
    return {
        "type": "remote-resource-gateway",
        "expected_users": 14,
        "endpoints": endpoints,
        **fields,
    }


def seen(
    kernel: FakeKernel, before: Target, after: Target, traffic: dict[str, int] | None = None
) -> tuple[PlannedRun, Overview]:
    """The overview of what leads from one target to the next; `traffic` is seconds since the
    handshake by endpoint.
    """
    found = planned_run(kernel, after)
    ages = traffic or {}
    peers = {
        item.key: item.label for item in kernel.objects.values() if isinstance(item, WireguardPeer)
    }
    counted = {
        key: PeerTraffic(1, 1, NOW_S - ages[label], "")
        for key, label in peers.items()
        if label in ages
    }
    sides = Side(before.intent, before.allocations), Side(after.intent, after.allocations)
    return found, overview(found.plan, *sides, counted, NOW_S, DAY)


def texts(view: Overview) -> list[str]:
    return [row_text(row.as_json()) for row in view.rows]


def shown(found: PlannedRun, view: Overview, verbose: bool = False) -> str:
    data = plan_json(found.plan, (), [row.as_json() for row in view.rows])
    data["risks"] = [risk.as_json() for risk in view.risks]
    return plan_text(data, Paint(False), verbose)


def test_an_endpoint_comes_another_goes_and_a_resource_is_added() -> None:
    resource = {"subnet": "172.21.0.0/16", "protocol": "tcp", "ports": [443]}
    before = world.target(
        world.intent(
            bravo=corp("berlin", "carl"), corp=corp("x", resources=[{"subnet": "10.1.0.0/16"}])
        )
    )
    wanted = world.intent(
        bravo=corp("anna", "carl"), corp=corp("x", resources=[{"subnet": "10.1.0.0/16"}, resource])
    )
    after = world.target(wanted, before.allocations)
    found, view = seen(running(before), before, after, {"berlin": 7, "carl": 3})
    assert texts(view) == [
        "- endpoint bravo/berlin 10.200.0.1, connected 7 s ago: removed from the YAML",
        "+ endpoint bravo/anna 10.200.0.3",
        "~ network corp: resources +172.21.0.0/16 tcp/443",
    ]
    assert [(risk.code, risk.path) for risk in view.risks] == [
        ("endpoint-connected", "networks.bravo.endpoints.berlin")
    ]
    text = shown(found, view)
    assert text.startswith(
        "risk    connected endpoints of bravo are cut off: berlin (handshake 7 s ago)"
    )
    assert "1 endpoint to add, 1 network to change, 1 endpoint to remove" in text


def test_what_goes_carries_its_name_also_when_only_tombstones_know_it() -> None:
    before = world.target(world.intent(bravo=corp("anna", "berlin")))
    after = world.target(world.intent(bravo=corp("anna")), before.allocations)
    kernel = running(before)
    for key, item in list(kernel.objects.items()):  # the kernel knows no labels
        if isinstance(item, WireguardPeer):
            kernel.objects[key] = dataclasses.replace(item, label="")
    assert after.allocations.tombstones
    view = overview(
        planned_run(kernel, after).plan,
        Side(None, after.allocations),
        Side(after.intent, after.allocations),
        {},
        NOW_S,
        DAY,
    )
    assert texts(view) == ["- endpoint bravo/berlin 10.200.0.2: removed from the YAML"]
    blind = overview(
        planned_run(kernel, after).plan,
        Side(),
        Side(after.intent, after.allocations),
        {},
        NOW_S,
        DAY,
    )
    assert "with key" in texts(blind)[0]


def test_a_network_that_goes_is_a_risk_and_says_how_many_are_connected() -> None:
    before = world.target(world.intent(alpha=corp("a", "b"), bravo=corp("c")))
    after = world.target(
        world.intent(alpha=corp("a", "b"), bravo=corp("c", enabled=False)), before.allocations
    )
    _found, view = seen(running(before), before, after, {"c": 170, "a": 1})
    assert texts(view)[1:] == ["- network bravo: 1 endpoint; 1 connected; disabled"]
    assert (
        view.risks[0].code == "network-goes" and "1 of them connected now" in view.risks[0].message
    )
    found = removal(running(before))
    everything = overview(
        found.plan, Side(None, before.allocations), Side(), found.observed.traffic, NOW_S, DAY
    )
    assert [row.action for row in everything.rows] == ["delete"] * 3 and len(everything.risks) == 2


@pytest.mark.parametrize("age_s", [181, -86_400])  # the clock was set back by a day since
def test_old_and_future_handshakes_are_no_connection(age_s: int) -> None:
    before = world.target(world.intent(a=corp("x", "y")))
    after = world.target(world.intent(a=corp("x")), before.allocations)
    _found, view = seen(running(before), before, after, {"y": age_s})
    assert view.risks == () and view.rows[0].connected_s is None


def test_renames_are_shown_and_counted_though_the_kernel_hardly_changes() -> None:
    before = world.target(world.intent(a=corp("x", "y")))
    body = corp("y")
    body["endpoints"]["z"] = {"type": "mobile", "renamed_from": "x"}
    after = world.target(world.intent(a=body), before.allocations)
    found, view = seen(running(before), before, after)
    assert found.plan.empty and texts(view) == ["~ endpoint a/z: renamed from x"]
    data = plan_json(found.plan, (), [row.as_json() for row in view.rows])
    assert data["changes"] is True and "1 endpoint to change" in plan_text(data, Paint(False))
    again = overview(
        found.plan,
        Side(after.intent, after.allocations),
        Side(after.intent, after.allocations),
        {},
        NOW_S,
        DAY,
    )
    assert again.rows == ()
    renamed = world.target(world.intent(b=corp("x", "y", renamed_from="a")), before.allocations)
    _found, view = seen(running(before), before, renamed)
    assert texts(view) == ["~ network b: renamed from a"]


def test_a_repair_names_the_object_and_the_endpoint() -> None:
    target = world.target(world.intent(a=corp("x", "y")))
    kernel = running(target)
    routes = [
        key
        for key, item in kernel.objects.items()
        if isinstance(item, Route) and item.prefix == "10.200.0.0/28"
    ]
    del kernel.objects[routes[0]]
    _found, view = seen(kernel, target, target)
    assert texts(view) == ["~ network a: repair: route 10.200.0.0/28 missing"]
    kernel = running(target)
    peers = [
        key
        for key, item in kernel.objects.items()
        if isinstance(item, WireguardPeer) and item.label == "y"
    ]
    del kernel.objects[peers[0]]
    _found, view = seen(kernel, target, target)
    assert texts(view) == ["+ endpoint a/y 10.200.0.2: missing in the kernel"]
    kernel = running(target)
    key, item = next(
        (k, i)
        for k, i in kernel.objects.items()
        if isinstance(i, NftElements) and i.set == "endpoints4"
    )
    kernel.objects[key] = dataclasses.replace(item, elements=item.elements - {"10.200.0.1"})
    _found, view = seen(kernel, target, target)
    assert texts(view) == ["~ network a: repair: firewall set endpoints4 (+10.200.0.1) changed"]


def test_a_flushed_guard_is_a_repair_of_the_gateway() -> None:
    target = world.target(world.intent(a=corp("x", isolation="vrf")))
    kernel = running(target)
    table = kernel.objects[table_key("")]
    assert isinstance(table, NftTable)
    kernel.objects[table_key("")] = dataclasses.replace(table, chains=table.chains[1:])
    _found, view = seen(kernel, target, target)
    assert texts(view)[0] == "~ gateway: firewall rules changed"


def test_a_new_key_and_new_routes_of_an_endpoint() -> None:
    cpe = {"type": "cpe", "routes": ["192.168.1.0/24"]}
    body = {
        "type": "l3vpn-gateway",
        "expected_users": 6,
        "endpoints": {"b": cpe, "p": {"type": "cpe"}},
    }
    before = world.target(world.intent(s=body))
    moved = {
        **body,
        "endpoints": {
            "b": {**cpe, "routes": ["192.168.2.0/24"], "keepalive": 25},
            "p": {"type": "cpe", "rotation": 1},
        },
    }
    after = world.target(world.intent(s=moved), before.allocations)
    _found, view = seen(running(before), before, after, {"p": 5})
    assert texts(view) == [
        "~ endpoint s/b 10.50.0.1: routes +192.168.2.0/24 -192.168.1.0/24; keepalive 0 s -> 25 s",
        "~ endpoint s/p 10.50.0.2, connected 5 s ago: new key",
    ]


@pytest.mark.parametrize("isolation", ["namespace", "vrf"])
def test_the_text_holds_no_raw_values_and_fits_a_terminal(isolation: str) -> None:
    target = world.target(world.intent(**world.every_type(isolation)))
    kernel = FakeKernel()
    found, view = seen(kernel, dataclasses.replace(target, allocations=Allocations({})), target)
    plain = shown(found, view)
    assert max(len(line) for line in plain.splitlines()) <= 80
    assert f"+ network {isolation[0]}-web: secure-internet; 10.100.0.0/29; port 5182" in plain
    verbose = shown(found, view, verbose=True)
    for raw in ("mounted", "kind 1", "kind 7", "['", "inside netns", "True", "{", "metric 1024,"):
        assert raw not in verbose, raw
    addresses = [line for line in verbose.splitlines() if line.startswith("  + address")]
    assert addresses and all(line.count("/") == 1 for line in addresses)
    json.dumps([row.as_json() for row in view.rows])


def test_a_plan_with_nothing_to_do_is_one_line() -> None:
    target = world.target(world.intent(a=corp("x")))
    found, view = seen(running(target), target, target)
    assert shown(found, view) == "In sync: the kernel is what the YAML says. Nothing to do."


def test_many_endpoints_are_counted() -> None:
    target = world.target(world.intent(a=world.network(100)))
    found, view = seen(
        FakeKernel(), dataclasses.replace(target, allocations=Allocations({})), target
    )
    text = shown(found, view)
    assert (
        "+ and 80 more endpoints of a" in text
        and len(text.splitlines()) < 30
        and len(view.rows) == 102
    )


def test_set_changes_show_what_changes() -> None:
    target = world.target(world.intent(a=corp("x", "y")))
    kernel = running(target)
    after = world.target(world.intent(a=corp("x", "y", "z")), target.allocations)
    steps = [
        step for step in planned_run(kernel, after).plan.steps if step.key.kind == "nft-elements"
    ]
    assert any(
        "elements: +10.200.0.3" in step_text(step_json(step, 1), Paint(False)) for step in steps
    )


def test_names_sort_as_people_count() -> None:
    assert sorted(["laptop-10", "laptop-2", "a1b", "laptop"], key=natural) == [
        "a1b",
        "laptop",
        "laptop-2",
        "laptop-10",
    ]


def test_fields_of_a_network_in_words() -> None:
    before = world.intent(n=corp("x", mtu=1400, resources=[{"subnet": "10.0.0.0/8"}])).networks["n"]
    after = world.intent(n=corp("x", isolation="vrf", resources=[], dns=["10.0.0.1"])).networks["n"]
    assert network_changes(before, after) == (
        "isolation default -> vrf",
        "mtu 1400 -> default",
        "dns +10.0.0.1",
        "resources -10.0.0.0/8",
    )
    assert overview(Plan((), (), {}), Side(), Side(), {}, 0, DAY).rows == ()


def test_the_command_line_shows_a_rename_with_exit_code_2(tmp_path: Path) -> None:
    """Through the files: allocations of before are those in the state folder."""
    from warpd.service.views.report import overview_of
    from warpd.service.workspace import Workspace

    yaml = tmp_path / "warp.yaml"
    yaml.write_text(
        "version: 1\nnetworks:\n  a: {type: l3vpn-gateway, endpoints: {x: {type: cpe}}}\n"
    )
    workspace = Workspace(yaml, tmp_path / "state")
    first = workspace.read()
    target = workspace.commit(first)
    kernel = running(target)
    yaml.write_text(yaml.read_text().replace("x: {type: cpe}", "y: {type: cpe, renamed_from: x}"))
    read = workspace.read()
    after = workspace.target(read, create=False)
    assert [
        row.action for row in overview_of(workspace, after, planned_run(kernel, after), read).rows
    ] == ["rename"]
    workspace.commit(read)
    again = workspace.read()
    assert overview_of(workspace, after, planned_run(kernel, after), again).rows == ()
