"""The look after an apply: at what the plan touched and at the gateway's own part, and nothing
there is overlooked.
"""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Sequence
from typing import Any

import pytest

from tests import world
from warpd import naming
from warpd.kernel.api import Dump, FailureKind, OperationError
from warpd.kernel.kinds.link import LinkUp, link_key
from warpd.kernel.kinds.nft_table import STRANGE, NftSet, NftTable, table_key
from warpd.kernel.kinds.route import Route
from warpd.kernel.kinds.sysctl import Sysctl
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import ROOT, Action, Change, KernelObject, Key
from warpd.reconcile import incremental
from warpd.reconcile.engine import ApplyResult, PlannedRun, Target, converge
from warpd.reconcile.incremental import IncrementalPlanner, planned_run, replan
from warpd.reconcile.observe import Scope
from warpd.testing.fake_kernel import FakeKernel

BEFORE = world.target(world.intent(a=world.network(2), b=world.network(2), c=world.network(2)))
AFTER = world.target(
    world.intent(a=world.network(3), b=world.network(2), c=world.network(2)), BEFORE.allocations
)
A, B = (naming.namespace(BEFORE.allocations.networks[name].vcid) for name in ("a", "b"))


class Watched(FakeKernel):
    """Remembers which namespaces were looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[str] = []

    def dump(self, netns: str, uplink: str = "auto", targets: Sequence[str] = ()) -> Dump:
        self.looks.append(netns)
        return super().dump(netns, uplink, targets)


def running(target: Target) -> Watched:
    kernel = Watched()
    found = planned_run(kernel, target)
    assert converge(kernel, lambda: replan(kernel, target, found), found).complete
    return kernel


def lose_a_peer(kernel: FakeKernel, netns: str) -> None:
    del kernel.objects[
        next(
            key
            for key, item in kernel.objects.items()
            if isinstance(item, WireguardPeer) and key.netns == netns
        )
    ]


def test_only_what_was_touched_is_looked_at_again() -> None:
    kernel = running(BEFORE)
    found = planned_run(kernel, AFTER)
    kernel.looks.clear()
    assert converge(kernel, lambda: replan(kernel, AFTER, found), found).complete
    assert kernel.looks == [ROOT, A]
    assert planned_run(kernel, AFTER).plan.empty


def test_what_is_lost_meanwhile_in_a_touched_network_is_made_again() -> None:
    kernel = running(BEFORE)
    found = planned_run(kernel, AFTER)

    losses = [A]

    def look_again() -> PlannedRun:
        while losses:
            lose_a_peer(kernel, losses.pop())
        return replan(kernel, AFTER, found)

    outcome = converge(kernel, look_again, found)
    assert outcome.complete
    assert planned_run(kernel, AFTER).plan.empty


def test_the_other_networks_are_left_to_the_next_pass() -> None:
    kernel = running(BEFORE)
    found = planned_run(kernel, AFTER)
    lose_a_peer(kernel, B)
    assert converge(kernel, lambda: replan(kernel, AFTER, found), found).complete
    assert {step.group for step in planned_run(kernel, AFTER).plan.steps} == {B}


class Raced(Watched):
    """Another program makes one object, as it thinks right, just before we do; with `stays`,
    whatever we do.
    """

    def __init__(self, quicker: KernelObject, theirs: KernelObject, stays: bool = False) -> None:
        super().__init__()
        self.quicker, self.theirs, self.stays = quicker.key, theirs, stays

    def send(self, changes: Sequence[Change]) -> list[OperationError | None]:
        if (
            self.theirs is not None
            and changes[0].action is Action.CREATE
            and self.quicker in {c.subject.key for c in changes}
        ):
            if self.stays:
                self.foreign[self.quicker] = "somebody else's"
            else:
                self.objects[self.quicker], self.theirs = self.theirs, None
        return super().send(changes)


def raced(change: dict[str, Any], stays: bool = False) -> tuple[Raced, ApplyResult]:
    state = planned_run(FakeKernel(), BEFORE).compiled.state
    ours = next(item for item in state if isinstance(item, Route) and item.group == A)
    kernel = Raced(ours, dataclasses.replace(ours, **change), stays)
    found = planned_run(kernel, BEFORE)
    return kernel, converge(kernel, lambda: replan(kernel, BEFORE, found), found)


def test_who_was_quicker_and_made_the_same_has_done_our_work() -> None:
    kernel, outcome = raced({})
    assert kernel.theirs is None
    assert outcome.complete, outcome.failed
    assert planned_run(kernel, BEFORE).plan.empty


def test_who_was_quicker_and_made_it_otherwise_is_put_right_at_once() -> None:
    kernel, outcome = raced({"via": "192.0.2.7"})
    assert kernel.theirs is None
    assert outcome.complete, outcome.failed
    assert planned_run(kernel, BEFORE).plan.empty


def test_who_was_quicker_and_owns_it_is_told_of() -> None:
    kernel, outcome = raced({}, stays=True)
    assert [(step.key, fault.kind) for step, fault in outcome.failed] == [
        (kernel.quicker, FailureKind.FOREIGN)
    ]
    assert not outcome.complete
    assert {item.key for item in planned_run(kernel, BEFORE).plan.blocked} == {kernel.quicker}


class Undermined(Watched):
    """Another program takes the network's device away while we apply, `times` times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def send(self, changes: Sequence[Change]) -> list[OperationError | None]:
        for change in changes if self.times else ():
            if (
                isinstance(change.subject, LinkUp)
                and change.subject.name.startswith("wg-")
                and change.subject.group == A
            ):
                self.times -= 1
                self._remove(link_key(change.subject.netns, change.subject.name))
        return super().send(changes)


@pytest.mark.parametrize(("times", "complete"), [(1, True), (2, True), (9, False)])
def test_what_is_taken_away_while_we_build_on_it_is_built_again_at_once(
    times: int, complete: bool
) -> None:
    kernel = Undermined(times)
    found = planned_run(kernel, BEFORE)
    outcome = converge(kernel, lambda: replan(kernel, BEFORE, found), found)
    assert outcome.complete is complete
    assert planned_run(kernel, BEFORE).plan.empty is complete
    assert kernel.times == max(0, times - 3)


class Refusing(Watched):
    """Refuses every peer of network a."""

    def _one(self, change: Change) -> OperationError | None:
        subject = change.subject
        if not isinstance(subject, WireguardPeer) or subject.group != A:
            return super()._one(change)
        verb, code = change.action.value, errno.EADDRINUSE
        return OperationError(FailureKind.REFUSED, verb, subject.key, code, "in use")


@pytest.mark.parametrize("readable", [True, False])
def test_a_network_that_is_refused_keeps_no_other_from_another_round(readable: bool) -> None:
    """It is told as refused, also if no later look can read it."""
    kernel, losses = Refusing(), [B]
    found = planned_run(kernel, BEFORE)

    def look_again() -> PlannedRun:
        while losses:
            lose_a_peer(kernel, losses.pop())
        kernel.unreadable = {} if readable else {A: "no answer"}
        return planned_run(kernel, BEFORE)

    outcome = converge(kernel, look_again, found)
    assert {step.group for step, _fault in outcome.failed} == {A}
    assert {step.group for step in outcome.unverified} <= {A}
    kernel.unreadable = {}
    assert {step.group for step in planned_run(kernel, BEFORE).plan.steps} == {A}


class Prepared(Watched):
    """Remembers what was prepared, in order, and what was sent without that."""

    def __init__(self) -> None:
        super().__init__()
        self.prepared: list[Key] = []
        self.unprepared: list[Key] = []

    def prepare(self, changes: Sequence[Change]) -> None:
        self.prepared += [change.subject.key for change in changes]

    def _one(self, change: Change) -> OperationError | None:
        if change.subject.key not in self.prepared:
            self.unprepared.append(change.subject.key)
        return super()._one(change)


def test_what_only_a_later_round_makes_is_prepared_too() -> None:
    """So a peer with a host name has its address; what was prepared is not asked for again."""
    kernel = Prepared()
    before = planned_run(kernel, BEFORE)
    assert converge(kernel, lambda: replan(kernel, BEFORE, before), before).complete
    kernel.prepared.clear()
    found, losses = planned_run(kernel, AFTER), [A]

    def look_again() -> PlannedRun:
        while losses:
            lose_a_peer(kernel, losses.pop())
        return replan(kernel, AFTER, found)

    assert converge(kernel, look_again, found).complete
    assert not kernel.unprepared
    assert len(kernel.prepared) == len(set(kernel.prepared)) > len(found.plan.steps)


def test_what_goes_with_the_root_table_is_made_again_too() -> None:
    """To be woken it is rebuilt, and holds what every network in the root has in it; no other look
    shows these to differ.
    """
    target = world.target(
        world.intent({"pools": {"ports": "51820-51899"}}, **world.every_type("vrf"))
    )
    kernel = running(target)
    last = planned_run(kernel, target)
    key = table_key(ROOT)
    table = kernel.objects[key]
    assert isinstance(table, NftTable)
    strange = NftSet("flag dormant", STRANGE)
    kernel.objects[key] = dataclasses.replace(table, sets=(strange, *table.sets))
    for follow_root in (False, True):
        planner = IncrementalPlanner(kernel)
        planner.remember(last)
        found = planner.plan(target, Scope(frozenset(), follow_root))
        assert {step.group for step in found.plan.steps} == {ROOT, *last.compiled.parts}
    assert converge(kernel, lambda: replan(kernel, target, found), found).complete
    assert planned_run(kernel, target).plan.empty


def test_of_a_paused_network_the_root_is_not_followed() -> None:
    kernel = running(BEFORE)
    planner = IncrementalPlanner(kernel)
    planner.plan(BEFORE)
    lost = next(
        key
        for key, item in sorted(kernel.objects.items())
        if item.group == A and key.netns == ROOT and key.kind == "nft-elements"
    )
    del kernel.objects[lost]
    waiting = planner.plan(BEFORE, Scope(frozenset({ROOT}), True, frozenset({A})))
    assert waiting.plan.empty
    followed = planner.plan(BEFORE, Scope(frozenset({ROOT}), True))
    assert [step.key for step in followed.plan.steps] == [lost]


def test_a_setting_that_is_not_ours_to_undo_is_no_difference() -> None:
    kernel = running(BEFORE)
    read = Sysctl(ROOT, "net/ipv6/conf/dn-1/accept_ra", "0", owner=A)
    kernel.objects[read.key] = read
    planner = IncrementalPlanner(kernel)
    planner.plan(BEFORE)
    run = planner.plan(BEFORE, Scope(frozenset({ROOT}), True))
    assert run.scope.groups == {ROOT} and run.plan.empty


def test_a_first_look_without_an_uplink_keeps_the_mtu_that_the_host_remembers() -> None:
    kernel = running(BEFORE)
    kernel.host = dataclasses.replace(kernel.host, uplink="", uplink_mtu=1460)
    planner = IncrementalPlanner(kernel)
    planner.plan(BEFORE)
    assert planner.host is not None and planner.host.uplink_mtu == 1460


def test_a_look_after_an_apply_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = running(BEFORE)
    found = planned_run(kernel, AFTER)

    def refuse(*_arguments: object) -> None:
        raise AssertionError("a network was compiled again")

    monkeypatch.setattr(incremental, "compile_network", refuse)
    assert replan(kernel, AFTER, found).plan.steps == found.plan.steps


def test_a_removed_network_has_its_name_until_everything_was_looked_at() -> None:
    kernel = running(BEFORE)
    planner = IncrementalPlanner(kernel)
    planner.plan(AFTER)
    planner.plan(AFTER, Scope.of([B]))
    assert planner.names[A] == "a"


def test_a_host_that_changed_meanwhile_is_looked_at_whole() -> None:
    kernel = running(BEFORE)
    found = planned_run(kernel, AFTER)
    kernel.host = dataclasses.replace(kernel.host, uplink_mtu=1400)
    kernel.looks.clear()
    later = replan(kernel, AFTER, found)
    assert set(kernel.looks) >= {ROOT, A, B}
    assert {step.group for step in later.plan.steps} >= {A, B}
