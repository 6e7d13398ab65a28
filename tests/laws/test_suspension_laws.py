"""A suspension only takes away, from one network only, and from nobody else in it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests import world
from tests.laws.test_intersection_laws import INTENTS, inside, peers, permits, state
from warpd.allocation.suspensions import Suspension, by_name, first_names, without_removed
from warpd.intent.model import Intent
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.reconcile.engine import Target
from warpd.reconcile.incremental import IncrementalPlanner
from warpd.testing.fake_kernel import PLAIN, FakeKernel


@st.composite
def suspended(draw: st.DrawFn) -> tuple[Target, Target]:
    """A target, and the same with some of its endpoints suspended, and names that nobody has."""
    target = world.target(draw(INTENTS))
    names = [
        (network, name)
        for network, body in sorted(target.intent.networks.items())
        for name in sorted(body.endpoints)
    ]
    chosen = draw(st.sets(st.sampled_from(names))) if names else set()
    strangers = draw(st.sets(st.sampled_from([("a", "nobody"), ("nowhere", "x")])))
    rows = [first_names(target.allocations, *name) for name in sorted(chosen)]
    items = tuple(Suspension(*row, 0, None, "anna", "") for row in sorted({*rows, *strangers}))
    assert target.suspended == {}
    without = replace(target, suspensions=items)
    assert without.suspended.keys() == chosen
    return target, without


@settings(max_examples=80, deadline=None)
@given(suspended())
def test_it_only_takes_away(targets: tuple[Target, Target]) -> None:
    """No permit, no peer and no range of a peer is there that would not be without it."""
    with_all, without = targets
    wide, narrow = state(with_all), state(without)
    for name, elements in permits(narrow).items():
        assert inside(elements, permits(wide).get(name, set())), name
    for key, ranges in peers(narrow).items():
        assert ranges == peers(wide)[key], key
    left = {(item.group, item.label) for item in narrow if isinstance(item, WireguardPeer)}
    for network, name in without.suspended:
        group = f"warp-{without.allocations.networks[network].vcid}"
        assert (group, name) not in left


@settings(max_examples=40, deadline=None)
@given(suspended())
def test_everything_of_the_others_is_the_same_object(targets: tuple[Target, Target]) -> None:
    """And the keys of its neighbours are not derived anew."""
    with_all, without = targets
    planner = IncrementalPlanner(FakeKernel())
    before = planner.compile(with_all, PLAIN)
    after = planner.compile(without, PLAIN)
    touched = {network for network, _name in without.suspended}
    for group, part in after.parts.items():
        if part.inputs.name not in touched:
            assert part is before.parts[group]
    neighbours = [
        item
        for item in before.state
        if isinstance(item, WireguardPeer)
        and (before.names[item.group], item.label) not in without.suspended
    ]
    for item in neighbours:
        assert after.state.get(item.key) == item


@settings(max_examples=40, deadline=None)
@given(suspended())
def test_only_those_whose_endpoint_is_gone_are_forgotten(
    targets: tuple[Target, Target],
) -> None:
    _with_all, without = targets
    kept = without_removed(without.allocations, (), without.suspensions)
    assert {item.first_names for item in kept} == {
        item.first_names for item in by_name(without.allocations, without.suspensions).values()
    }
    assert without_removed(world.target(EMPTY).allocations, (), without.suspensions) == ()


EMPTY = Intent.model_validate({"version": 1, "networks": {}})
