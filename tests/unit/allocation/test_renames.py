"""New names, names that come back, and what rests before anybody else gets it."""

from __future__ import annotations

from typing import Any

import pytest

from tests import world
from tests.clients import config_of
from warpd.allocation.allocator import allocate
from warpd.allocation.model import Allocations
from warpd.errors import Finding
from warpd.intent.model import Intent
from warpd.intent.validation import check
from warpd.networks import peer_keys
from warpd.networks.resolved import resolve_named
from warpd.testing.fake_kernel import PLAIN

HOUR_S = 3600
NOW = 1_800_000_000


def give(intent: Intent, old: Allocations | None = None, now_s: int = NOW) -> Allocations:
    allocations, findings = allocate(intent, old or Allocations(), now_s)
    assert not [item for item in findings if item.is_error], findings
    return allocations


def net(*names: str, **fields: Any) -> dict[str, Any]:
    ends = {name: {"type": "mobile"} for name in names}
    return {"type": "secure-internet", "expected_users": 6, "endpoints": ends, **fields}


def successor(body: dict[str, Any], name: str, before: str) -> dict[str, Any]:
    return {
        **body,
        "endpoints": {**body["endpoints"], name: {"type": "mobile", "renamed_from": before}},
    }


def address(allocations: Allocations, network: str, endpoint: str) -> str:
    return str(allocations.networks[network].endpoints[endpoint].address)


def keys_of(intent: Intent, allocations: Allocations, network: str) -> list[tuple[str, Any]]:
    resolved = resolve_named(network, intent, allocations, PLAIN, world.TODAY)
    peers = [
        peer_keys.keys_of(one.key_name, one.intent, resolved.vcid, world.MASTER)
        for one in resolved.endpoints_in_force()
    ]
    return sorted(
        (peer.public_key, peer.preshared_key.reveal() if peer.preshared_key else b"")
        for peer in peers
    )


# names


def test_a_renamed_endpoint_keeps_address_and_keys_whether_the_line_stays_or_goes() -> None:
    old = world.intent(n=net("phone", "b"))
    first = give(old)
    new = world.intent(n=successor(net("b"), "handset", "phone"))
    second = give(new, first)
    assert (
        address(second, "n", "handset") == address(first, "n", "phone") and second.tombstones == ()
    )
    assert keys_of(new, second, "n") == keys_of(old, first, "n")
    assert give(new, second) == second
    assert give(world.intent(n=net("b", "handset")), second) == second


def test_a_renamed_network_keeps_everything() -> None:
    old = world.intent(a=net("x"), z=net("x"))
    first = give(old)
    new = world.intent(b=net("x", renamed_from="a"), z=net("x"))
    second = give(new, first)
    before, after = first.networks["a"], second.networks["b"]
    assert (before.vcid, before.port, before.subnet, before.subnet6) == (
        after.vcid,
        after.port,
        after.subnet,
        after.subnet6,
    )
    assert before.endpoints == after.endpoints and keys_of(new, second, "b") == keys_of(
        old, first, "a"
    )
    assert give(world.intent(b=net("x"), z=net("x")), second) == second


def test_a_new_endpoint_under_a_name_that_somebody_had_gets_keys_of_its_own() -> None:
    first = give(world.intent(n=net("phone")))
    second = give(world.intent(n=successor(net(), "handset", "phone")), first)
    wanted = world.intent(n=net("handset", "phone"))
    third = give(wanted, second)
    assert third.networks["n"].endpoints["handset"].key_name == "phone"
    assert third.networks["n"].endpoints["phone"].key_name == "phone+2"
    assert len({key for key, _ in keys_of(wanted, third, "n")}) == 2


def test_without_any_allocations_the_old_name_still_decides_keys_and_circuit() -> None:
    first = give(world.intent(a=net("phone")))
    again = give(world.intent(b=successor(net(renamed_from="a"), "handset", "phone")))
    assert again.networks["b"].vcid == first.networks["a"].vcid
    assert again.networks["b"].subnet6 == first.networks["a"].subnet6
    assert again.networks["b"].endpoints["handset"].key_name == "phone"


def test_a_new_name_alone_is_no_new_config() -> None:
    old, new = (
        world.intent(a=net("phone")),
        world.intent(b=successor(net(renamed_from="a"), "handset", "phone")),
    )
    first = give(old)
    second = give(new, first)
    one = config_of(old, first, world.MASTER, "a", "phone", public_host="h", mtu=1420)
    two = config_of(new, second, world.MASTER, "b", "handset", public_host="h", mtu=1420)
    assert (
        one.digest() == two.digest()
        and two.first_names == ("a", "phone")
        and one.first_names is None
    )
    assert two.title.startswith("network b, ") and "endpoint handset" in two.title


@pytest.mark.parametrize(
    ("networks", "paths"),
    [
        (
            {"a": net(renamed_from="b"), "b": net(renamed_from="a")},
            ["networks.a.renamed_from", "networks.b.renamed_from"],
        ),
        ({"b": net(renamed_from="a"), "c": net(renamed_from="b")}, ["networks.c.renamed_from"]),
        ({"b": net(renamed_from="a"), "c": net(renamed_from="a")}, ["networks.c.renamed_from"]),
        ({"a": net(renamed_from="a")}, ["networks.a.renamed_from"]),
        ({"n": successor(net("x"), "y", "x")}, ["networks.n.endpoints.y.renamed_from"]),
    ],
)
def test_names_that_cannot_succeed_each_other(networks: dict[str, Any], paths: list[str]) -> None:
    findings: list[Finding] = [
        item for item in check(world.intent(**networks)) if item.code == "renamed-from"
    ]
    assert [item.path for item in findings] == paths and all(item.is_error for item in findings)


# rest


def test_a_lost_phones_address_goes_to_nobody_for_a_day() -> None:
    first = give(world.intent(n=net("phone", "b")))
    lost = address(first, "n", "phone")
    second = give(world.intent(n=net("b", "new")), first)  # lost and replaced by the same edit
    assert address(second, "n", "new") != lost
    for hours, free in ((1, False), (23, False), (24, True)):
        third = give(world.intent(n=net("b", "new", "next", "other")), second, NOW + hours * HOUR_S)
        assert (lost in (address(third, "n", "next"), address(third, "n", "other"))) is free


def test_what_was_released_while_the_clock_was_ahead_rests_for_one_period_from_now() -> None:
    first = give(world.intent(n=net("phone", "b")))
    lost = address(first, "n", "phone")
    years = 10 * 365 * 24
    ahead = give(world.intent(n=net("b")), first, NOW + years * HOUR_S)
    assert [row.released_s for row in ahead.tombstones] == [NOW + years * HOUR_S]
    right = give(world.intent(n=net("b")), ahead, NOW)
    assert [row.released_s for row in right.tombstones] == [NOW], "the clock is right again"
    for hours, free in ((23, False), (24, True)):
        now_s = NOW + hours * HOUR_S
        # The lock file still has the time of the clock that was ahead.
        third, _ = allocate(world.intent(n=net("b", "next", "x", "y")), right, now_s, ahead)
        given = {address(third, "n", name) for name in ("next", "x", "y")}
        assert (lost in given) is free


def test_the_same_name_gets_its_own_again_during_quarantine() -> None:
    full = world.intent(n=net("phone", "b"), z=net("x"))
    first = give(full)
    gone = give(world.intent(n=net("b")), first)
    assert {(row.network, row.endpoint) for row in gone.tombstones} == {
        ("n", "phone"),
        ("z", ""),
        ("z", "x"),
    }
    back = give(full, gone, NOW + HOUR_S)
    assert back.networks == first.networks and back.tombstones == ()


def test_no_quarantine_when_it_is_turned_off() -> None:
    off = {"quarantine": 0}
    first = give(world.intent(off, n=net("phone", "b")))
    second = give(world.intent(off, n=net("b", "new")), first)
    assert address(second, "n", "new") == address(first, "n", "phone") and second.tombstones == ()


def test_a_full_subnet_waits_and_says_until_when() -> None:
    first = give(world.intent(n=net("phone", expected_users=1)))
    _, findings = allocate(world.intent(n=net("new", expected_users=1)), first, NOW)
    assert [(item.code, item.path) for item in findings] == [
        ("quarantined", "networks.n.endpoints.new")
    ]
    assert (
        "gateway.quarantine" in findings[0].message and "2027-01-16 08:00 UTC" in findings[0].hint
    )
    give(
        world.intent(n=net("new", expected_users=1)),
        give(world.intent(n=net(expected_users=1)), first),
        NOW + 24 * HOUR_S,
    )


def test_ports_are_given_again_when_nothing_else_is_left_circuits_and_subnets_are_not() -> None:
    pools = {"pools": {"ports": "51820-51820"}}
    first = give(world.intent(pools, a=net("x")))
    second = give(world.intent(pools, b=net("x")), first)
    before, after = first.networks["a"], second.networks["b"]
    assert (
        before.port == after.port
        and before.vcid != after.vcid
        and not before.subnet.overlaps(after.subnet)
    )
    assert before.routing_table != after.routing_table and before.transit != after.transit


def test_legs_vlans_and_vnis_are_quarantined_too() -> None:
    def mesh(*names: str) -> dict[str, Any]:
        return {
            "type": "l2-mesh",
            "expected_users": 6,
            "endpoints": {name: {"type": "cpe"} for name in names},
        }

    first = give(world.intent(m=mesh("a", "b"), o=mesh("x")))
    second = give(world.intent(m=mesh("b", "c"), p=mesh("x")), first)
    new, old = second.networks["m"].endpoints["c"], first.networks["m"].endpoints["a"]
    assert (
        new.leg != old.leg
        and new.vni != old.vni
        and second.networks["p"].vlan != first.networks["o"].vlan
    )


def test_what_the_yaml_says_goes_before_any_quarantine_but_not_in_silence() -> None:
    first = give(world.intent(n=net("phone", "b")))
    body = net("b")
    body["endpoints"]["new"] = {"type": "mobile", "address": address(first, "n", "phone")}
    allocations, findings = allocate(world.intent(n=body), first, NOW)
    assert address(allocations, "n", "new") == address(first, "n", "phone")
    assert [(item.code, item.severity, item.path) for item in findings] == [
        ("quarantine-overridden", "warning", "networks.n.endpoints.new.address")
    ]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [("24h", False), ("90s", False), (0, False), ("1w", True), (24, True), ("-1h", True)],
)
def test_lengths_of_time(text: Any, wrong: bool) -> None:
    if wrong:
        with pytest.raises(ValueError, match="length of time"):
            world.intent({"quarantine": text})
    else:
        world.intent({"quarantine": text})


def test_growing_around_its_addresses_moves_nobody() -> None:
    """10.100.0.8/29 becomes 10.100.0.0/28 when its lower half is free: the block moves, the
    addresses stay.
    """
    first = give(world.intent({"quarantine": 0}, a=net("x"), b=net("x", "y")))
    wide = world.intent(
        {"quarantine": 0}, b=net("x", "y", *(f"e{n}" for n in range(9)), expected_users=14)
    )
    allocations, findings = allocate(
        wide, give(world.intent({"quarantine": 0}, b=net("x", "y")), first), NOW
    )
    assert findings == () and str(allocations.networks["b"].subnet) == "10.100.0.0/28"
    assert address(allocations, "b", "x") == address(first, "b", "x") == "10.100.0.9"
    assert allocations.networks["b"].gateway_address == first.networks["b"].gateway_address


# rotation


def test_rotating_a_network_or_the_gateway_changes_only_the_gateways_side() -> None:
    made = {}
    for name, gateway, own in (
        ("plain", 0, 0),
        ("network", 0, 1),
        ("gateway", 1, 0),
        ("both", 1, 1),
    ):
        intent = world.intent({"rotation": gateway}, n=net("x", rotation=own))
        made[name] = config_of(
            intent, give(intent), world.MASTER, "n", "x", public_host="h", mtu=1420
        )
    assert len({each.gateway_public_key for each in made.values()}) == 4
    assert len({each.digest() for each in made.values()}) == 4
    assert (
        len({each.private_text for each in made.values()})
        == len({each.shared_text for each in made.values()})
        == 1
    )
