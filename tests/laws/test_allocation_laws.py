"""Laws of allocations: nothing is given twice, order does not matter, and what was given never
moves.
"""

from __future__ import annotations

import itertools
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from warpd.allocation.allocator import allocate
from warpd.allocation.model import Allocations
from warpd.allocation.state_json import from_json, to_json
from warpd.intent.capacity import expected_users, prefix_for
from warpd.intent.model import Intent

NAMES = st.text("abc-", min_size=1, max_size=4).map(lambda text: "n" + text)
ENDPOINTS = st.lists(st.text("xyz", min_size=1, max_size=3), max_size=6, unique=True)
TYPES = st.sampled_from(["secure-internet", "l3vpn-gateway", "remote-resource-gateway"])
NETWORK = st.tuples(TYPES, ENDPOINTS, st.integers(6, 40), st.booleans()).map(
    lambda parts: {
        "type": parts[0],
        "endpoints": {name: {"type": "mobile"} for name in parts[1]},
        "expected_users": parts[2],
        "enabled": parts[3],
    }
)
WORLD = st.dictionaries(NAMES, NETWORK, max_size=10)


def intent(world: dict[str, Any]) -> Intent:
    """Nothing rests here: what was given up has laws of its own (`test_quarantine_laws`)."""
    gateway = {"pools": {"ports": "51820-51899"}, "quarantine": 0}
    return Intent.model_validate({"version": 1, "gateway": gateway, "networks": world})


def give(world: dict[str, Any], old: Allocations | None = None) -> Allocations:
    allocations, findings = allocate(intent(world), old or Allocations())
    assert not [finding for finding in findings if finding.is_error]
    return allocations


def shuffled(world: dict[str, Any], seed: int) -> dict[str, Any]:
    order = random.Random(seed)
    out = {}
    for name in order.sample(sorted(world), len(world)):
        ends = world[name]["endpoints"]
        out[name] = {
            **world[name],
            "endpoints": {end: ends[end] for end in order.sample(sorted(ends), len(ends))},
        }
    return out


def assert_disjoint(world: dict[str, Any], allocations: Allocations) -> None:
    ones = list(allocations.networks.values())
    for field in ("vcid", "port", "routing_table", "transit", "subnet", "subnet6"):
        assert len({getattr(one, field) for one in ones}) == len(ones)
    for left, right in itertools.combinations(ones, 2):
        assert not left.subnet.overlaps(right.subnet) and not left.subnet6.overlaps(right.subnet6)
    networks = intent(world).networks
    for name, one in allocations.networks.items():
        assert one.subnet.prefixlen <= prefix_for(expected_users(networks[name]))
        four = [one.gateway_address, *(end.address for end in one.endpoints.values())]
        six = [one.gateway_address6, *(end.address6 for end in one.endpoints.values())]
        assert len(set(four)) == len(four) == len(set(six))
        assert all(address in one.subnet for address in four) and all(
            address in one.subnet6 for address in six
        )
        assert set(one.endpoints) == set(networks[name].endpoints)


@given(WORLD)
def test_nothing_is_given_twice_and_everyone_gets_everything(world: dict[str, Any]) -> None:
    allocations = give(world)
    assert set(allocations.networks) == set(world)
    assert_disjoint(world, allocations)


@given(WORLD, st.integers())
def test_order_does_not_matter(world: dict[str, Any], seed: int) -> None:
    assert to_json(give(world)) == to_json(give(shuffled(world, seed)))


@given(WORLD)
def test_giving_again_gives_the_same(world: dict[str, Any]) -> None:
    allocations = give(world)
    assert give(world, allocations) == allocations == from_json(to_json(allocations))


@settings(max_examples=200, deadline=None)
@given(st.lists(WORLD, min_size=2, max_size=4))
def test_nothing_moves_through_a_history_of_edits(history: list[dict[str, Any]]) -> None:
    allocations = Allocations()
    before: dict[str, Any] = {}
    for world in history:
        new = give(world, allocations)
        assert_disjoint(world, new)
        for name in set(before) & set(world):
            had, has = allocations.networks[name], new.networks[name]
            stays = ("vcid", "port", "routing_table", "transit", "subnet6", "gateway_address6")
            assert all(getattr(had, field) == getattr(has, field) for field in stays)
            grew = has.subnet.prefixlen < had.subnet.prefixlen
            assert grew or has.subnet == had.subnet
            for end in set(had.endpoints) & set(has.endpoints):
                assert had.endpoints[end].address6 == has.endpoints[end].address6
                assert grew or had.endpoints[end].address == has.endpoints[end].address
        allocations, before = new, world
