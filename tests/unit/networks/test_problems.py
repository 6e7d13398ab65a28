"""What a machine lacks is a problem of the networks that need it; the others go on, and revocations
are carried out.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests import world
from warpd import naming
from warpd.cli.tables import network_state
from warpd.daemon.metric import Counted
from warpd.daemon.metrics import metrics_text
from warpd.daemon.stats import Stats, seen
from warpd.errors import EXIT_PARTIAL
from warpd.intent.model import Intent
from warpd.kernel.kinds.link import link_key
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import ROOT, EgressLink, Host, Phase, RangeRoute
from warpd.networks.compiler import compile_state
from warpd.reconcile.engine import ApplyResult, PlannedRun, Target, converge
from warpd.reconcile.incremental import planned_run
from warpd.reconcile.plan import Step
from warpd.service.views.render import headline, problems_json
from warpd.service.views.report import exit_code_of, outcome_json
from warpd.service.views.status import status_json
from warpd.testing.fake_kernel import PLAIN, FakeKernel

NO_UPLINK = dataclasses.replace(PLAIN, uplink="", uplink_addresses=(), exits=(), hops=())
SITES: dict[str, Any] = {
    "type": "l3vpn-gateway",
    "endpoints": {"r": {"type": "mobile"}, "s": {"type": "mobile"}},
}


def open_groups(found: PlannedRun) -> set[str]:
    """Groups that nothing was done for yet."""
    return {step.group for step in found.plan.steps}


def run(kernel: FakeKernel, target: Target) -> tuple[PlannedRun, ApplyResult]:
    found = planned_run(kernel, target)
    return found, converge(kernel, lambda: planned_run(kernel, target), found)


def problems(found: PlannedRun) -> set[tuple[str, str, bool]]:
    return {(item.network, item.finding.code, item.whole) for item in found.compiled.problems}


def peers(kernel: FakeKernel, network: str) -> set[str]:
    """The labels of the peers of a network."""
    return {
        item.label
        for item in kernel.objects.values()
        if isinstance(item, WireguardPeer) and item.group == network
    }


def two(**sites: Any) -> Intent:
    return world.intent(web=world.network(2), sites={**SITES, **sites})


def exit_code(outcome: ApplyResult, found: PlannedRun) -> int:
    data = {**headline(found.plan), "problems": problems_json(found.compiled.problems)}
    return exit_code_of(outcome_json(outcome, data))


def test_without_an_uplink_all_networks_come_up() -> None:
    kernel, target = FakeKernel(NO_UPLINK), world.target(two())
    found, outcome = run(kernel, target)
    assert outcome.complete and exit_code(outcome, found) == EXIT_PARTIAL
    assert problems(found) == {("web", "uplink-missing", False)}
    for name in ("web", "sites"):
        vcid = target.allocations.networks[name].vcid
        assert link_key(naming.namespace(vcid), f"wg-{vcid}") in kernel.objects
    again = planned_run(kernel, target)
    assert again.plan.empty and problems(again) == problems(found)


def test_an_uplink_that_goes_and_comes_back_changes_nothing_inside() -> None:
    host = dataclasses.replace(PLAIN, uplink_mtu=1400)
    kernel, target = FakeKernel(host), world.target(two(isolation="vrf"))
    found, _outcome = run(kernel, target)
    for now in (dataclasses.replace(NO_UPLINK, uplink_mtu=1400), host):
        kernel.host = now
        found = planned_run(kernel, target)
        touched = [
            step for step in found.plan.steps if step.group != ROOT and not allowed_to_change(step)
        ]
        assert touched == []
        converge(kernel, lambda: planned_run(kernel, target), found)
        assert planned_run(kernel, target).plan.empty


def allowed_to_change(step: Step) -> bool:
    """The host's default route, that a VRF's table repeats for what the gateway itself sends."""
    return step.key.kind == "route" and " 0.0.0.0/0 " in f" {step.key.name} "


@pytest.mark.parametrize(
    "host", [NO_UPLINK, dataclasses.replace(PLAIN, wireguard_kernel=False, vrf=False)]
)
def test_a_removed_endpoint_is_cut_off_whatever_the_machine_lacks(host: Host) -> None:
    kernel, target = FakeKernel(PLAIN), world.target(two())
    run(kernel, target)
    kernel.host = host
    web, sites = (
        naming.namespace(target.allocations.networks[name].vcid) for name in ("web", "sites")
    )
    less = world.target(
        world.intent(web=world.network(1), sites={**SITES, "endpoints": {"s": {"type": "mobile"}}}),
        target.allocations,
    )
    found, _outcome = run(kernel, less)
    assert (peers(kernel, web), peers(kernel, sites)) == ({"e1"}, {"s"})
    assert found.compiled.problems
    run(kernel, less)
    assert (peers(kernel, web), peers(kernel, sites)) == ({"e1"}, {"s"})


def test_a_mode_that_the_kernel_lacks_stops_its_own_network_only() -> None:
    """What was there in the other mode stays, less what was taken from it."""
    kernel, target = FakeKernel(dataclasses.replace(PLAIN, vrf=False)), world.target(two())
    run(kernel, target)
    vcid = target.allocations.networks["sites"].vcid
    moved = world.target(
        two(isolation="vrf", endpoints={"s": {"type": "mobile"}, "t": {"type": "mobile"}}),
        target.allocations,
    )
    found, outcome = run(kernel, moved)
    assert problems(found) == {("sites", "isolation-unsupported", True)}
    assert exit_code(outcome, found) == EXIT_PARTIAL
    assert peers(kernel, naming.namespace(vcid)) == {"s"}
    assert link_key(naming.namespace(vcid), f"wg-{vcid}") in kernel.objects


def test_a_closed_exit_is_a_problem_of_the_networks_that_use_it() -> None:
    def corp(subnet: str) -> dict[str, Any]:
        return {
            "type": "remote-resource-gateway",
            "resources": [{"subnet": subnet}],
            "endpoints": {"a": {"type": "mobile"}},
        }

    target = world.target(world.intent(near=corp("10.9.0.0/16"), far=corp("172.20.0.0/16")))
    host = dataclasses.replace(
        PLAIN,
        forwarding4=True,
        exits=(EgressLink("eth0", forwarding4=True), EgressLink("lan0", forwarding4=False)),
        range_routes=(RangeRoute("10.9.0.0/16", ("lan0",), "lan0", False),),
    )
    found, _outcome = run(FakeKernel(host), target)
    assert problems(found) == {("near", "exit-closed", False)}


def test_a_table_of_another_vrf_is_not_shared() -> None:
    kernel, target = FakeKernel(PLAIN), world.target(two(isolation="vrf"))
    table = target.allocations.networks["sites"].routing_table
    kernel.host = dataclasses.replace(PLAIN, foreign_vrfs=((table, "blue"), (table + 1, "red")))
    found, outcome = run(kernel, target)
    assert (
        problems(found) == {("sites", "table-taken", True)}
        and exit_code(outcome, found) == EXIT_PARTIAL
    )
    assert not peers(kernel, naming.namespace(target.allocations.networks["sites"].vcid))
    kernel.host = PLAIN
    found, outcome = run(kernel, target)
    assert outcome.complete and not problems(found)


def test_without_wireguard_nothing_is_given() -> None:
    kernel, target = (
        FakeKernel(dataclasses.replace(PLAIN, wireguard_kernel=False)),
        world.target(two()),
    )
    found, _outcome = run(kernel, target)
    assert problems(found) == {(name, "wireguard-missing", True) for name in ("web", "sites")}
    assert not [
        item for item in kernel.objects.values() if item.group and item.phase is not Phase.GUARD
    ]


def test_two_networks_with_one_object_are_a_problem_of_the_later_one() -> None:
    """`validate` refuses such a YAML; what it does not know of must not end the daemon."""
    cpe = {"type": "cpe"}
    mesh = {"type": "l2-mesh", "isolation": "vrf", "endpoints": {"a": cpe}}
    target = world.target(
        world.intent(
            a={**mesh, "bridge_name": "same"},
            b={**mesh, "bridge_name": "same"},
            web=world.network(1),
        )
    )
    built = compile_state(target.intent, target.allocations, target.master, PLAIN, world.TODAY)
    assert [(item.network, item.finding.code) for item in built.problems] == [("b", "clash")]
    assert set(built.names.values()) == {"a", "web"}


@pytest.mark.parametrize(
    ("host", "in_sync", "state"),
    [
        (PLAIN, {"web": True, "sites": True}, {"web": "in sync", "sites": "in sync"}),
        (
            NO_UPLINK,
            {"web": True, "sites": True},
            {"web": "in sync (uplink-missing)", "sites": "in sync"},
        ),
        (
            dataclasses.replace(PLAIN, vrf=False),
            {"web": True, "sites": False},
            {"web": "in sync", "sites": "not in sync (isolation-unsupported)"},
        ),
    ],
)
def test_plan_status_and_metrics_agree(
    host: Host, in_sync: dict[str, bool], state: dict[str, str]
) -> None:
    """In sync: there is nothing that warpd would do, and nothing that it holds back.

    A problem is named beside that.
    """
    kernel, target = FakeKernel(host), world.target(two(isolation="vrf"))
    run(kernel, target)
    found = planned_run(kernel, target)
    status = status_json(target, found, 0)
    assert {item["name"]: item["in_sync"] for item in status["networks"]} == in_sync
    assert {item["name"]: network_state(item) for item in status["networks"]} == state
    assert status["in_sync"] == all(in_sync.values())
    assert {item.name: item.in_sync for item in seen(target, found, open_groups(found))} == in_sync
    assert headline(found.plan)["changes"] == 0
    codes = [(problem.network, problem.finding.code) for problem in found.compiled.problems]
    text = metrics_text(
        Counted(Stats(networks=seen(target, found, open_groups(found)), problems=codes))
    )
    for network, code in codes:
        vcid = target.allocations.networks[network].vcid
        assert f'warpd_problem{{network="{network}",vcid="{vcid}",code="{code}"}} 1' in text
    assert text.count("warpd_problem{") == len(codes)


@pytest.mark.parametrize("name", ["eth0", "lan0"])
def test_a_bridge_with_the_name_of_a_link_of_the_host_is_blocked_by_that_link(name: str) -> None:
    exits = (EgressLink("eth0"), EgressLink("lan0"))
    kernel = FakeKernel(dataclasses.replace(PLAIN, exits=exits))
    kernel.others = {link_key(ROOT, "eth0"): "physical", link_key(ROOT, "lan0"): "bridge"}
    mesh = {"type": "l2-mesh", "isolation": "vrf", "bridge_name": name}
    lan = {**mesh, "endpoints": {"a": {"type": "cpe"}}}
    target = world.target(world.intent(lan=lan, web=world.network(1)))
    found, outcome = run(kernel, target)
    assert not found.compiled.problems
    [blocked] = found.plan.blocked
    assert blocked.key == link_key(ROOT, name) and "without our alias" in blocked.foreign
    assert exit_code(outcome, found) == EXIT_PARTIAL
    again, nothing = run(kernel, target)
    assert not again.plan.steps and not again.plan.empty, "plan ends with 2"
    assert not nothing.done and exit_code(nothing, again) == EXIT_PARTIAL, "as the first apply"


def test_a_bridge_of_ours_that_is_named_as_uplink_keeps_its_settings() -> None:
    host = dataclasses.replace(PLAIN, uplink="lan0", exits=(EgressLink("lan0", ours=True),))
    mesh = {"type": "l2-mesh", "isolation": "vrf", "bridge_name": "lan0"}
    lan = {**mesh, "endpoints": {"a": {"type": "cpe"}}}
    target = world.target(world.intent({"uplink": "lan0"}, lan=lan, web=world.network(1)))
    built = compile_state(target.intent, target.allocations, target.master, host, world.TODAY)
    assert [(item.network, item.finding.code) for item in built.problems] == [("lan", "clash")]
