"""A planner that remembers gives what one that has just started gives: through changes of the
intent, of the day and of the host, and through drift.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests import world
from warpd.allocation.model import Allocations
from warpd.kernel.state import ROOT, Key
from warpd.reconcile.engine import converge
from warpd.reconcile.incremental import IncrementalPlanner, planned_run, replan
from warpd.reconcile.observe import EVERYTHING, Scope
from warpd.testing.fake_kernel import PLAIN, FakeKernel

NAMES = st.sampled_from(["a", "a", "b", "c"])
FIRST_DAY = date(2030, 1, 1)
TYPES = ["secure-internet", "remote-resource-gateway", "l3vpn-gateway", "l2-mesh"]
LOST_WITH = {"peer", "nft-elements", "route", "address"}  # kinds of which objects are taken away


FIELDS: dict[str, list[Any]] = {
    "rotation": [0, 1, 2],
    "preshared_key": [True, False],
    "expires": [None, "2030-01-02", "2030-01-04"],
    "enabled": [True, False],
    "keepalive": [0, 25],
}
NETWORK_FIELDS: dict[str, list[Any]] = {
    "enabled": [True, True, False],
    "rotation": [0, 1],
    "mtu": [1380, 1400],
}


@dataclass(frozen=True)
class Turn:
    """What happens before one pass.

    edits: of the YAML: a network, an endpoint of it or "", a field and its value.
    day: days since the first.
    mtu: of the host's uplink, in bytes.
    losses: which objects of the kernel another program takes away, by their place in order.
    everything: whether the pass makes a full observation; else where the losses were.
    follow_root: whether it also looks where the root differs.
    """

    edits: tuple[tuple[str, str, str, Any], ...]
    day: int
    mtu: int
    losses: tuple[int, ...]
    everything: bool
    follow_root: bool


def values(fields: dict[str, list[Any]]) -> st.SearchStrategy[tuple[str, Any]]:
    return st.sampled_from([(name, value) for name, each in fields.items() for value in each])


EDITS = st.one_of(
    st.tuples(NAMES, st.sampled_from(["x", "y"]), values(FIELDS)),
    st.tuples(NAMES, st.just(""), values(NETWORK_FIELDS)),
).map(lambda edit: (edit[0], edit[1], *edit[2]))
TURNS = st.builds(
    Turn,
    edits=st.lists(EDITS, max_size=3).map(tuple),
    day=st.integers(0, 4),
    mtu=st.sampled_from([1500, 1500, 1400]),
    losses=st.lists(st.integers(0, 500), max_size=2).map(tuple),
    everything=st.booleans(),
    follow_root=st.booleans(),
)
BEGINNING = st.fixed_dictionaries(
    {
        name: st.tuples(st.sampled_from(TYPES), st.sampled_from(["namespace", "vrf"]))
        for name in "ab"
    }
)


def yaml_of(beginning: dict[str, tuple[str, str]]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "type": type_,
            "isolation": isolation,
            "expected_users": 6,
            "endpoints": {"x": {"type": "mobile"}, "y": {"type": "mobile"}},
        }
        for name, (type_, isolation) in beginning.items()
    }


def on_day(day: int, *edits: tuple[str, str, str, Any], mtu: int = 1500) -> Turn:
    """A turn of such changes alone, whose pass looks only at what they concern."""
    return Turn(edits, day, mtu, (), False, False)


# What few random turns show: an endpoint expires, and does so later; it has other keys; the host
# changes and nothing else.
RARE = [
    on_day(0, ("a", "x", "expires", "2030-01-02")),
    on_day(2),
    on_day(2, ("a", "x", "expires", "2030-01-04")),
    on_day(4),
    on_day(4, ("a", "y", "rotation", 1)),
    on_day(4, mtu=1400),
]


def edit(networks: dict[str, dict[str, Any]], turn: Turn) -> None:
    """Change the networks as the turn says; a network that is not there yet is added."""
    for network, endpoint, field, value in turn.edits:
        body = networks.setdefault(network, yaml_of({network: (TYPES[0], "namespace")})[network])
        place = body["endpoints"][endpoint] if endpoint else body
        place[field] = value


@settings(max_examples=40, deadline=None)
@given(beginning=BEGINNING, turns=st.lists(TURNS, min_size=3, max_size=6))
@example(dict.fromkeys("ab", ("secure-internet", "namespace")), RARE)
def test_a_planner_with_a_memory_plans_what_a_new_one_plans(
    beginning: dict[str, tuple[str, str]], turns: list[Turn]
) -> None:
    kernel, networks = FakeKernel(), yaml_of(beginning)
    planner = IncrementalPlanner(kernel)
    allocations = Allocations({})
    for turn in turns:
        edit(networks, turn)
        target = world.target(world.intent(**networks), allocations)
        target = dataclasses.replace(target, today=FIRST_DAY + timedelta(days=turn.day))
        allocations = target.allocations
        kernel.host = dataclasses.replace(PLAIN, uplink_mtu=turn.mtu)
        groups = frozenset(_lose(kernel, turn.losses))
        scope = EVERYTHING if turn.everything else Scope(groups, turn.follow_root)
        fresh = planned_run(kernel, target)
        run = planner.plan(target, scope)
        assert run.compiled == fresh.compiled
        assert run.plan.steps == fresh.plan.steps
        look_again = functools.partial(replan, kernel, target, run)
        assert converge(kernel, look_again, run).complete
        assert planned_run(kernel, target).plan.empty


def _lose(kernel: FakeKernel, losses: tuple[int, ...]) -> set[str]:
    """Take objects away; the groups that they were of."""
    groups = set()
    for number in losses:
        keys: list[Key] = [key for key in sorted(kernel.objects) if key.kind in LOST_WITH]
        if keys:
            key = keys[number % len(keys)]
            groups.add(kernel.objects[key].group)
            del kernel.objects[key]
    return groups - {ROOT}
