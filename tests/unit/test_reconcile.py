"""The look after an apply: at what the plan touched and at the gateway's own part, and nothing there is overlooked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tests import world
from warpd.kernel.memory import MemoryKernel
from warpd.kernel.protocol import Dump
from warpd.objects.netns import netns_name
from warpd.objects.nft import STRANGE, NftSet, NftTable, table_key
from warpd.objects.wireguard import WireguardPeer
from warpd.reconcile import Goal, Prospect, converge, glance, prospect, survey
from warpd.state import ROOT

BEFORE = world.goal(world.intent(a=world.network(2), b=world.network(2), c=world.network(2)))
AFTER = world.goal(world.intent(a=world.network(3), b=world.network(2), c=world.network(2)), BEFORE.grants)
A, B = (netns_name(BEFORE.grants.networks[name].vcid) for name in ("a", "b"))


class Watched(MemoryKernel):
    """Remembers which namespaces were looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[str] = []

    def dump(self, netns: str, uplink: str = "auto", targets: Sequence[str] = ()) -> Dump:
        self.looks.append(netns)
        return super().dump(netns, uplink, targets)


def running(goal: Goal) -> Watched:
    kernel = Watched()
    found = prospect(kernel, goal)
    assert converge(kernel, lambda: prospect(kernel, goal, found), found).complete
    return kernel


def lose_a_peer(kernel: MemoryKernel, netns: str) -> None:
    del kernel.objects[
        next(key for key, item in kernel.objects.items() if isinstance(item, WireguardPeer) and key.netns == netns)
    ]


def test_only_what_was_touched_is_looked_at_again() -> None:
    kernel = running(BEFORE)
    found = prospect(kernel, AFTER)
    kernel.looks.clear()
    assert converge(kernel, lambda: prospect(kernel, AFTER, found), found).complete
    assert kernel.looks == [ROOT, A]
    assert prospect(kernel, AFTER).plan.empty


def test_what_is_lost_meanwhile_in_a_touched_network_is_made_again() -> None:
    kernel = running(BEFORE)
    found = prospect(kernel, AFTER)

    losses = [A]

    def replan() -> Prospect:
        while losses:
            lose_a_peer(kernel, losses.pop())
        return prospect(kernel, AFTER, found)

    outcome = converge(kernel, replan, found)
    assert outcome.complete
    assert prospect(kernel, AFTER).plan.empty


def test_the_other_networks_are_left_to_the_next_pass() -> None:
    kernel = running(BEFORE)
    found = prospect(kernel, AFTER)
    lose_a_peer(kernel, B)
    assert converge(kernel, lambda: prospect(kernel, AFTER, found), found).complete
    assert {step.group for step in prospect(kernel, AFTER).plan.steps} == {B}


def test_what_goes_with_the_root_table_is_made_again_too() -> None:
    """To be woken it is rebuilt, and holds what every network in the root has in it; no other look shows these to differ."""
    goal = world.goal(world.intent({"pools": {"ports": "51820-51899"}}, **world.every_type("vrf")))
    kernel = running(goal)
    last = prospect(kernel, goal)
    key = table_key(ROOT)
    table = kernel.objects[key]
    assert isinstance(table, NftTable)
    strange = NftSet("flag dormant", STRANGE)
    kernel.objects[key] = dataclasses.replace(table, sets=(strange, *table.sets))
    for look in (glance, survey):
        found = look(kernel, goal, last, ())
        assert {step.group for step in found.plan.steps} == {ROOT, *last.compiled.parts}
    assert converge(kernel, lambda: prospect(kernel, goal, found), found).complete
    assert prospect(kernel, goal).plan.empty


def test_a_host_that_changed_meanwhile_is_looked_at_whole() -> None:
    kernel = running(BEFORE)
    found = prospect(kernel, AFTER)
    kernel.host = dataclasses.replace(kernel.host, uplink_mtu=1400)
    kernel.looks.clear()
    later = prospect(kernel, AFTER, found)
    assert set(kernel.looks) >= {ROOT, A, B}
    assert {step.group for step in later.plan.steps} >= {A, B}
