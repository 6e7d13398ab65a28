"""What the kernel shows of an apply, where the state folder or the master secret is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests import world
from warpd.allocation.allocator import allocate
from warpd.allocation.model import Allocations
from warpd.errors import WarpError
from warpd.intent.intersection import UNNAMED, restrict
from warpd.intent.model import Intent
from warpd.kernel.kinds.address import Address
from warpd.kernel.kinds.route import Route
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import Host, State
from warpd.keys import derivation
from warpd.keys.derivation import Keyring, Secret
from warpd.networks.compiler import compile_state
from warpd.reconcile.engine import Target
from warpd.service.recovery import Recovered, recover, unnamed
from warpd.service.workspace import NO_MASTER

HOST = Host(uplink="eth0", vrf=True)
NOTHING = Allocations({})
# An endpoint's number says what kind of share it has.
SHARES = ("nft-part", "nft-table", "nft-elements/endpoint_ids", "nft-elements/endpoint_addrs")


def applied(target: Target) -> State:
    return compile_state(target.intent, target.allocations, target.master, HOST, target.today).state


def again(found: Recovered, intent: Intent) -> State:
    """What a pass would make of what was recovered."""
    ring = Keyring(NO_MASTER, {}, found.keys)
    return applied(Target(restrict(found.intent, intent), found.allocations, ring, world.TODAY))


def differences(have: State, wanted: State) -> list[str]:
    keys = have.objects.keys() | wanted.objects.keys()
    return sorted(str(key) for key in keys if have.get(key) != wanted.get(key))


def guess(intent: Intent) -> Allocations:
    return allocate(intent, NOTHING)[0]


def aged(intent: Intent) -> Target:
    """With other allocations than a first apply would make."""
    fewer = intent.model_copy(
        update={"networks": {name: intent.networks[name] for name in list(intent.networks)[1::2]}}
    )
    return world.target(intent, world.target(fewer).allocations)


@pytest.mark.parametrize("mode", ["namespace", "vrf"])
def test_with_the_record_everything_is_known_but_the_secret(mode: str) -> None:
    intent = world.intent(**world.every_type(mode))
    target = aged(intent)
    found = recover(
        intent, target.allocations, target.allocations, None, applied(target), world.TODAY
    )
    assert not unnamed(found.intent) and not found.gone
    assert differences(applied(target), again(found, intent)) == []


@pytest.mark.parametrize("mode", ["namespace", "vrf"])
def test_with_the_secret_alone_every_endpoint_is_known(mode: str) -> None:
    intent = world.intent(**world.every_type(mode))
    for target in (world.target(intent), aged(intent)):
        found = recover(intent, NOTHING, guess(intent), world.MASTER, applied(target), world.TODAY)
        assert not unnamed(found.intent)
        # Of a network without a way out, the transit link that it will never have is nowhere:
        # others must not use its range.
        assert set(differences(applied(target), again(found, intent))) <= {"root/nft-table/warpd"}


@pytest.mark.parametrize("mode", ["namespace", "vrf"])
def test_with_nothing_at_all_the_kernel_stays_as_it_is(mode: str) -> None:
    """But for shares of connections, where neither says whether a peer is a phone or a router."""
    intent = world.intent(**world.every_type(mode))
    target = world.target(intent)
    found = recover(intent, NOTHING, guess(intent), None, applied(target), world.TODAY)
    by_routes = {"berlin", "paris", "hq"}
    assert {
        name
        for one in found.intent.networks.values()
        for name in one.endpoints
        if not name.startswith(UNNAMED)
    } == by_routes
    changed = differences(applied(target), again(found, intent))
    assert [key for key in changed if not any(word in key for word in SHARES)] == []


def without(intent: Intent, network: str, *endpoints: str) -> Intent:
    one = intent.networks[network]
    left = {name: body for name, body in one.endpoints.items() if name not in endpoints}
    return intent.model_copy(
        update={
            "networks": {**intent.networks, network: one.model_copy(update={"endpoints": left})}
        }
    )


def peers(state: State) -> set[str]:
    return {item.public_key for item in state if isinstance(item, WireguardPeer)}


def one(**more: Any) -> Intent:
    return world.intent(a=world.network(3, **more))


def with_key(name: str) -> dict[str, Any]:
    return {
        "type": "mobile",
        "public_key": derivation.public_key(derivation.endpoint_key(world.MASTER, 7, name)),
    }


# How the YAML and what is on record tell endpoints apart, without the master secret.
EVIDENCE: dict[str, Callable[[], dict[str, Any]]] = {
    "its own key": lambda: {name: with_key(name) for name in ("e1", "e2", "e3")},
    "its address": lambda: {
        f"e{n}": {"type": "mobile", "address": f"10.1.0.{n}"} for n in (1, 2, 3)
    },
}


@pytest.mark.parametrize("evidence", EVIDENCE)
def test_who_is_removed_or_disabled_is_told_by(evidence: str) -> None:
    body = {
        **world.network(3, subnet="10.1.0.0/29", gateway_address="10.1.0.6"),
        "endpoints": EVIDENCE[evidence](),
    }
    intent = world.intent(a=body)
    target = world.target(intent)
    state = applied(target)
    fewer = without(intent, "a", "e2")
    left = peers(again(recover(fewer, NOTHING, guess(fewer), None, state, world.TODAY), fewer))
    assert len(left) == 2 and left < peers(state)


def test_who_cannot_be_told_stays_and_is_counted() -> None:
    intent = one()
    state = applied(world.target(intent))
    fewer = without(intent, "a", "e2")
    found = recover(fewer, NOTHING, guess(fewer), None, state, world.TODAY)
    assert unnamed(found.intent) == {"a": 3}
    assert all(name.startswith(UNNAMED) for name in found.intent.networks["a"].endpoints)
    assert peers(again(found, fewer)) == peers(state)


def test_no_endpoint_left_in_the_yaml_none_left_in_the_kernel() -> None:
    intent = one()
    empty = without(intent, "a", "e1", "e2", "e3")
    found = recover(empty, NOTHING, guess(empty), None, applied(world.target(intent)), world.TODAY)
    assert not unnamed(found.intent) and not peers(again(found, empty))


def test_networks_that_the_yaml_lacks_or_disables() -> None:
    intent = world.intent(a=world.network(1), b=world.network(1), c=world.network(1))
    off = intent.networks["b"].model_copy(update={"enabled": False})
    fewer = intent.model_copy(update={"networks": {"b": off, "c": intent.networks["c"]}})
    found = recover(fewer, NOTHING, guess(fewer), None, applied(world.target(intent)), world.TODAY)
    assert set(found.intent.networks) == {"c"} and found.gone == ("a",)


def test_a_network_that_shows_no_range_is_refused_not_guessed() -> None:
    intent = one()
    state = applied(world.target(intent))
    bare = State.of(item for item in state if not isinstance(item, Address | Route))
    with pytest.raises(WarpError, match="network a"):
        recover(intent, NOTHING, guess(intent), None, bare, world.TODAY)


def test_another_secret_is_no_evidence() -> None:
    """A master secret that made none of the devices' keys knows none of the peers either."""
    intent = one()
    state = applied(world.target(intent))
    found = recover(intent, NOTHING, guess(intent), Secret(bytes([7]) * 32), state, world.TODAY)
    assert unnamed(found.intent) == {"a": 3} and peers(again(found, intent)) == peers(state)
