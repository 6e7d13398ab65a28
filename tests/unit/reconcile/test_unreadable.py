"""A namespace that cannot be read: its network stays as it is and is named, all others go on."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests import world
from warpd import naming
from warpd.kernel.api import DumpError
from warpd.kernel.state import ROOT, KernelObject, Key
from warpd.reconcile.engine import PlannedRun, Target, converge
from warpd.reconcile.incremental import IncrementalPlanner, planned_run, replan
from warpd.reconcile.observe import observe
from warpd.testing.fake_kernel import FakeKernel

WHY = "dump 26: no answer"
BEFORE = world.target(world.intent(**world.every_type("namespace"), v=world.network(2)))


def changed(*without: str) -> Target:
    """Every network gets an endpoint more, or another one; those `without` are not there."""
    bodies = {
        name: {**body, "endpoints": {**body["endpoints"], "new": {"type": "cpe"}}}
        for name, body in {**world.every_type("namespace"), "v": world.network(2)}.items()
        if name.replace("_", "-") not in without and body["type"] != "l2-point-to-point"
    }
    return world.target(world.intent(**bodies), BEFORE.allocations)


def group_of(network: str) -> str:
    return naming.namespace(BEFORE.allocations.networks[network].vcid)


def running() -> FakeKernel:
    kernel = FakeKernel()
    found = planned_run(kernel, BEFORE)
    assert converge(kernel, lambda: replan(kernel, BEFORE, found), found).complete
    return kernel


def objects_of(kernel: FakeKernel, group: str) -> Mapping[Key, KernelObject]:
    return {key: item for key, item in kernel.objects.items() if item.group == group}


@pytest.mark.parametrize("network", sorted(changed().intent.networks))
def test_it_stays_as_it_is_and_the_others_go_on(network: str) -> None:
    kernel, after, group = running(), changed(), group_of(network)
    before = objects_of(kernel, group)
    kernel.unreadable[group] = WHY
    found = planned_run(kernel, after)
    assert [(item.group, item.unread) for item in found.plan.blocked] == [(group, WHY)]
    outcome = converge(kernel, lambda: replan(kernel, after, found), found)
    assert outcome.complete and outcome.done
    assert objects_of(kernel, group) == before
    assert not planned_run(kernel, after).plan.steps
    del kernel.unreadable[group]
    left = planned_run(kernel, after)
    assert {step.group for step in left.plan.steps} == {group} and not left.plan.blocked
    assert converge(kernel, lambda: replan(kernel, after, left), left).complete
    assert planned_run(kernel, after).plan.empty


@pytest.mark.parametrize("network", sorted(changed().intent.networks))
def test_one_that_should_not_exist_goes_with_its_namespace(network: str) -> None:
    kernel, after, group = running(), changed(network), group_of(network)
    kernel.unreadable[group] = WHY
    found = planned_run(kernel, after)
    assert not found.plan.blocked
    assert converge(kernel, lambda: replan(kernel, after, found), found).complete
    del kernel.unreadable[group]
    assert not objects_of(kernel, group)
    assert planned_run(kernel, after).plan.empty


def test_what_cannot_be_read_afterwards_is_not_verified() -> None:
    kernel, after, group = running(), changed(), group_of("v")
    found = planned_run(kernel, after)

    def verify() -> PlannedRun:
        kernel.unreadable[group] = WHY
        return replan(kernel, after, found)

    outcome = converge(kernel, verify, found)
    assert not outcome.complete
    assert {step.group for step in outcome.unverified} == {group}


def test_a_planner_with_a_memory_looks_again_when_it_is_asked_for_the_network() -> None:
    kernel, after, group = running(), changed(), group_of("v")
    planner = IncrementalPlanner(kernel)
    planner.plan(BEFORE)
    kernel.unreadable[group] = WHY
    assert [item.group for item in planner.plan(after).plan.blocked] == [group]
    del kernel.unreadable[group]
    left = planner.plan(after)
    assert not left.plan.blocked and group in {step.group for step in left.plan.steps}


def test_the_root_has_to_be_readable() -> None:
    kernel = running()
    kernel.unreadable[ROOT] = WHY
    with pytest.raises(DumpError, match="no answer"):
        planned_run(kernel, BEFORE)


def test_whoever_needs_to_know_everything_is_told_that_something_is_missing() -> None:
    kernel = running()
    kernel.unreadable[group_of("v")] = WHY
    with pytest.raises(DumpError, match="no answer"):
        observe(kernel)
