"""P4 and P5: killed after any step, or any call failing, hanging or losing its answer, the next
pass finishes.

The kernel is the one in memory; every fault is asserted to have fired. Printed: points survived of
all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pytest

from tests import world
from warpd.intent.model import Intent
from warpd.kernel.api import FailureKind, OperationError
from warpd.kernel.state import Action, Change, KernelObject, Key, Phase
from warpd.reconcile.engine import apply, converge, removal
from warpd.reconcile.incremental import planned_run, replan
from warpd.reconcile.plan import Step
from warpd.testing.fake_kernel import FakeKernel


class Killed(Exception):
    """The process is gone: nothing after this point ran."""


class Faulty(FakeKernel):
    """Fails at the n-th changing call, in one way."""

    def __init__(self, at: int, way: str) -> None:
        super().__init__()
        self.at, self.way, self.fired = at, way, False
        self._number = 0

    def _one(self, change: Change) -> OperationError | None:
        self._number += 1
        if self._number != self.at:
            return super()._one(change)
        self.fired = True
        if self.way == "killed before":
            raise Killed
        if self.way == "refused":
            return OperationError(
                FailureKind.REFUSED,
                change.action.value,
                change.subject.key,
                12,
                "Cannot allocate memory",
            )
        fault = super()._one(change)
        if self.way == "killed after":
            raise Killed
        return fault or OperationError(
            FailureKind.UNSETTLED,
            change.action.value,
            change.subject.key,
            0,
            "no answer from the kernel",
        )


START = world.intent(
    a=world.network(2), b=world.network(3, peer_communication=True), gone=world.network(1)
)
CHANGED = world.intent(
    a=world.network(3, port=51821, mtu=1380),
    b=world.network(2, port=51820, nat=False, allow_private=["10.9.0.0/16"]),
    fresh=world.network(2, ipv6=False),
)
NONE = world.intent()
VRF = {
    name: body
    for name, body in world.every_type("vrf").items()
    if name in ("v_corp", "v_wire", "v_campus")
}
ROOMS = {name: {**body, "isolation": "namespace"} for name, body in VRF.items()}
IN_VRFS, IN_ROOMS = world.intent(**VRF), world.intent(**ROOMS)
MOVES = [
    ("from nothing into VRFs", NONE, IN_VRFS),
    ("from VRFs into namespaces", IN_VRFS, IN_ROOMS),
    ("from namespaces into VRFs", IN_ROOMS, IN_VRFS),
    ("from nothing", NONE, START),
    ("a change", START, CHANGED),
    ("back to nothing", CHANGED, NONE),
    ("VRFs to nothing", IN_VRFS, NONE),
]
WAYS = ["killed before", "killed after", "refused", "answer lost"]


def settled(wanted: Intent) -> FakeKernel:
    kernel = FakeKernel()
    run_to(kernel, wanted)
    return kernel


def run_to(kernel: FakeKernel, wanted: Intent) -> None:
    target = world.target(wanted)
    if not wanted.networks:
        outcome = converge(kernel, lambda: removal(kernel), removal(kernel))
    else:
        first = planned_run(kernel, target)
        outcome = converge(kernel, lambda: replan(kernel, target, first), first)
    assert outcome.complete, (outcome.failed, outcome.unverified)


def steps_to(kernel: FakeKernel, wanted: Intent) -> Sequence[Step]:
    found = planned_run(kernel, world.target(wanted)) if wanted.networks else removal(kernel)
    return found.plan.steps


def faulty_from(base: FakeKernel, at: int, way: str) -> Faulty:
    kernel = Faulty(at, way)
    kernel.objects, kernel.settings = dict(base.objects), dict(base.settings)
    return kernel


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("name", "before", "after"), MOVES, ids=[name for name, _, _ in MOVES])
def test_every_point(
    name: str, before: Intent, after: Intent, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base = settled(before)
    steps = steps_to(base, after)
    total = len(steps)
    assert total > 10
    final = settled(after).objects
    survived = 0
    for at in range(1, total + 1):
        kernel = faulty_from(base, at, way)
        with contextlib.suppress(Killed):
            apply(kernel, steps)
        assert kernel.fired, f"the fault at call {at} never happened"
        assert_no_more_reach(kernel, base.objects, final)
        run_to(kernel, after)
        assert kernel.objects == final, f"{way} at {at} of {total}"
        survived += 1
    with capsys.disabled():
        print(f"\n  {name}, {way}: survived {survived} of {total}")


def assert_no_more_reach(
    kernel: FakeKernel, before: dict[Key, KernelObject], after: dict[Key, KernelObject]
) -> None:
    """Half-way, nothing is permitted that is permitted neither before nor after (P7)."""
    for key, item in kernel.objects.items():
        if item.phase is not Phase.PERMIT:
            continue
        allowed = _elements(before.get(key)) | _elements(after.get(key))
        assert _elements(item) <= allowed, key
        assert item.needs[0] in kernel.objects, "a permit without its guard"


def _elements(item: KernelObject | None) -> frozenset[str]:
    return getattr(item, "elements", frozenset())


def test_a_guarded_interface_is_guarded_before_it_exists() -> None:
    kernel = FakeKernel()
    steps = planned_run(kernel, world.target(START)).plan.steps
    order = [step.key for step in steps]
    for step in steps:
        if step.key.kind == "link" and step.key.name.startswith("dn-"):
            guarded = Key("nft-elements", "", f"guarded_ifaces {step.key.name}")
            assert order.index(guarded) < order.index(step.key)
    gone = removal(settled(START)).plan.steps
    order = [step.key for step in gone]
    assert all(step.change.action is Action.DELETE for step in gone)
    links = [order.index(key) for key in order if key.kind == "link"]
    assert max(links) < order.index(Key("nft-table", "", "warpd"))


def test_one_network_that_fails_leaves_the_others_alone() -> None:
    kernel = Faulty(0, "refused")
    target = world.target(START)
    plan = planned_run(kernel, target).plan
    bad = plan.steps[len(plan.steps) // 2].group
    calls: Sequence[int] = [n for n, step in enumerate(plan.steps, 1) if step.group == bad]
    kernel.at = calls[0]
    outcome = apply(kernel, plan.steps)
    assert kernel.fired
    assert {step.group for step, _ in outcome.failed} == {bad}
    assert {step.group for step in outcome.skipped} == {bad}
    assert {step.group for step in outcome.done} == {step.group for step in plan.steps} - {bad}


def test_without_the_gateways_guard_nothing_is_given() -> None:
    kernel = Faulty(1, "refused")
    plan = planned_run(kernel, world.target(START)).plan
    assert plan.steps[0].key == Key("nft-table", "", "warpd")
    outcome = apply(kernel, plan.steps)
    assert not outcome.done
    assert not kernel.objects
