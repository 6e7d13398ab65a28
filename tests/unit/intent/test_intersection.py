"""What two intents both permit: one rule for each field of the YAML, and never more than either of
them.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests import world
from warpd.intent.intersection import ENDPOINT, NETWORK, restrict
from warpd.intent.model import Endpoint, Intent, Network


def one(**fields: Any) -> Intent:
    return world.intent(a={**world.network(2), **fields})


def of(intent: Intent) -> Network:
    return intent.networks["a"]


def resources(*items: dict[str, Any]) -> Intent:
    behind = {"hq": {"type": "cpe", "routes": ["192.168.0.0/16"]}}
    return world.intent(
        a={"type": "remote-resource-gateway", "resources": list(items), "endpoints": behind}
    )


def test_every_field_of_the_yaml_has_its_rule() -> None:
    """A new field stands here before it is in use: does it permit something?"""
    assert NETWORK.keys() | {"resources"} == Network.model_fields.keys()
    assert ENDPOINT.keys() == Endpoint.model_fields.keys()


def test_what_is_added_waits_and_what_is_removed_goes() -> None:
    previous = world.intent(a=world.network(2), b=world.network(1))
    wanted = world.intent(
        a={**world.network(0), "endpoints": {"e2": {"type": "mobile"}, "e3": {"type": "mobile"}}},
        c=world.network(1),
    )
    both = restrict(previous, wanted)
    assert list(both.networks) == ["a"] and list(of(both).endpoints) == ["e2"]


def test_the_same_is_the_same() -> None:
    intent = world.intent(**world.every_type("vrf"), **world.every_type("namespace"))
    assert restrict(intent, intent) == intent


@pytest.mark.parametrize(
    "change",
    [
        {"rotation": 1},
        {"public_key": "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="},
        {"preshared_key": False},
    ],
)
def test_a_device_with_other_keys_is_another_device(change: dict[str, Any]) -> None:
    wanted = one(endpoints={"e1": {"type": "mobile", **change}, "e2": {"type": "mobile"}})
    assert list(of(restrict(one(), wanted)).endpoints) == ["e2"]


def test_switched_off_and_expired_counts_at_once() -> None:
    wanted = one(
        endpoints={
            "e1": {"type": "mobile", "enabled": False},
            "e2": {"type": "mobile", "expires": "2020-01-01"},
        }
    )
    both = of(restrict(one(), wanted))
    assert not both.endpoints["e1"].enabled and both.endpoints["e2"].expires is not None
    assert of(restrict(wanted, one())) == of(wanted), "switched on again waits"


def test_what_was_renamed_keeps_its_former_name() -> None:
    wanted = world.intent(
        z={
            **world.network(0),
            "renamed_from": "a",
            "endpoints": {"new": {"type": "mobile", "renamed_from": "e1"}},
        },
    )
    both = restrict(one(), wanted)
    assert list(both.networks) == ["a"] and list(of(both).endpoints) == ["e1"]


@pytest.mark.parametrize(
    ("had", "gets", "both"),
    [
        (["10.0.0.0/8"], ["10.1.0.0/16"], ["10.1.0.0/16"]),
        (["10.1.0.0/16"], ["10.0.0.0/8"], ["10.1.0.0/16"]),
        (["10.1.0.0/16", "10.2.0.0/16"], ["10.2.0.0/16", "10.3.0.0/16"], ["10.2.0.0/16"]),
        (["10.1.0.0/16"], [], []),
    ],
)
def test_of_ranges_the_narrower_one_counts(
    had: list[str], gets: list[str], both: list[str]
) -> None:
    found = of(restrict(one(allow_private=had), one(allow_private=gets)))
    assert [str(item) for item in found.allow_private] == both


def test_of_what_is_behind_an_endpoint_the_narrower_one_counts() -> None:
    def behind(*routes: str) -> Intent:
        return one(endpoints={"e1": {"type": "cpe", "routes": list(routes)}})

    both = of(
        restrict(behind("192.168.0.0/16", "10.1.0.0/24"), behind("192.168.7.0/24", "10.2.0.0/24"))
    ).endpoints["e1"]
    assert [str(item) for item in both.routes] == ["192.168.7.0/24"]


@pytest.mark.parametrize(
    ("had", "gets", "both"),
    [
        ({"subnet": "10.0.0.0/8"}, {"subnet": "10.1.0.0/16", "protocol": "tcp", "ports": [443]}, 1),
        (
            {"subnet": "10.1.0.0/16", "protocol": "tcp", "ports": ["1-500"]},
            {"subnet": "10.1.0.0/16", "protocol": "tcp"},
            0,
        ),
        (
            {"subnet": "10.1.0.0/16", "protocol": "tcp"},
            {"subnet": "10.1.0.0/16", "protocol": "udp"},
            None,
        ),
        ({"subnet": "10.1.0.0/16"}, {"subnet": "192.168.1.0/24", "via": "hq"}, None),
    ],
)
def test_of_resources_the_narrower_one_counts(
    had: dict[str, Any], gets: dict[str, Any], both: int | None
) -> None:
    pair = of(resources(had)).resources, of(resources(gets)).resources
    assert of(restrict(resources(had), resources(gets))).resources == (
        () if both is None else pair[both]
    )


def test_a_resource_goes_with_the_endpoint_that_it_lies_behind() -> None:
    behind = {"subnet": "192.168.1.0/24", "via": "hq"}
    without = resources(behind).model_copy(update={})
    networks = {"a": Network.model_validate({"type": "remote-resource-gateway"})}
    assert of(restrict(without, without.model_copy(update={"networks": networks}))).resources == ()


def test_what_was_computed_of_a_network_is_not_taken_along() -> None:
    sites: dict[str, Any] = {
        "type": "l3vpn-gateway",
        "endpoints": {"x": {"type": "cpe", "routes": ["10.9.0.0/16"]}},
    }
    previous, wanted = world.intent(a=sites), world.intent(a={**sites, "endpoints": {}})
    assert of(previous).explicit_endpoints
    assert not of(restrict(previous, wanted)).explicit_endpoints


def test_a_name_server_inside_is_permitted_when_both_name_it() -> None:
    had, gets = one(dns=["10.8.8.8", "9.9.9.9"]), one(dns=["9.9.9.9"])
    assert [str(item) for item in of(restrict(had, gets)).dns or ()] == ["9.9.9.9"]
    assert of(restrict(had, one())).dns == of(gets).dns, (
        "what the gateway says counts where the network says nothing"
    )


def test_of_vlans_those_in_both_pass() -> None:
    def wire(**fields: Any) -> Intent:
        return world.intent(a={"type": "l2-point-to-point", "endpoints": {}, **fields})

    assert str(of(restrict(wire(), wire(vlan_range="100-110"))).vlan_range) == "100-110"
    assert (
        str(of(restrict(wire(vlan_range="100-110"), wire(vlan_range="105-120"))).vlan_range)
        == "105-110"
    )
    assert not of(restrict(wire(vlan_range="100-110"), wire(vlan_range="200-210"))).enabled


def test_another_type_is_another_network() -> None:
    assert not of(
        restrict(one(), world.intent(a={"type": "l3vpn-gateway", "endpoints": {}}))
    ).enabled


@pytest.mark.parametrize(
    ("had", "gets", "both"),
    [(True, False, False), (False, True, False), (True, None, False), (None, True, None)],
)
def test_endpoints_meet_when_both_say_so(
    had: bool | None, gets: bool | None, both: bool | None
) -> None:
    pair = [one() if value is None else one(peer_communication=value) for value in (had, gets)]
    assert bool(of(restrict(*pair)).peer_communication) is bool(both)
