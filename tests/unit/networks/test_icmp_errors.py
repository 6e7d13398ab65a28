"""ICMP errors of endpoints: every guard asks whether the sender's own endpoint is a side of the
connection.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.networks.firewall.test_firewalls import MODES, base, compiled, guards
from warpd.kernel.kinds.nft_table import NftElements
from warpd.networks.firewall.icmp_errors import CHAIN

DECIDES = ("out", "peers", "from an endpoint", "answers to the gateway", "not-permitted")


@pytest.mark.parametrize("mode", MODES)
def test_every_error_of_an_endpoint_is_checked_before_anything_lets_it_pass(mode: str) -> None:
    for name, guard in guards(mode).items():
        named = {
            base(chain.name): [json.loads(text) for text in chain.rules] for chain in guard.chains
        }
        for chain in ("forward", "input"):
            rules = named[chain]
            first = next(number for number, rule in enumerate(rules) if rule["comment"] in DECIDES)
            leading = [rule["expr"] for rule in rules[:first] if leads_to_errors(rule)]
            assert any("related" in json.dumps(expressions) for expressions in leading), (
                f"{name} {chain}"
            )
            assert len(leading) == (3 if chain == "forward" else 1), (
                f"{name} {chain}: errors about no connection"
            )


def leads_to_errors(rule: dict[str, Any]) -> bool:
    jumps = [item["jump"]["target"] for item in rule["expr"] if "jump" in item]
    return [base(target) for target in jumps] == [CHAIN]


@pytest.mark.parametrize("mode", MODES)
def test_what_is_not_of_a_side_is_dropped(mode: str) -> None:
    for name, guard in guards(mode).items():
        rules = next(
            [json.loads(text) for text in chain.rules]
            for chain in guard.chains
            if base(chain.name) == CHAIN
        )
        assert {"drop": None} in rules[-1]["expr"], name
        passing = [rule for rule in rules if {"return": None} in rule["expr"]]
        looked_at = {
            base(item["match"]["right"])
            for rule in passing
            for item in rule["expr"]
            if "concat" in str(item)
        }
        assert (len(passing), looked_at) == (4, {"@endpoint_addrs4", "@endpoint_addrs6"}), name


@pytest.mark.parametrize("mode", MODES)
def test_every_address_and_route_is_a_side_of_its_own_endpoint(mode: str) -> None:
    """The set says of each address what the map says of it as the source of a packet."""
    state = compiled(mode).state
    found = {
        (item.netns, item.set): item.elements for item in state if isinstance(item, NftElements)
    }
    maps = {key: own for key, own in found.items() if base(key[1]).startswith("endpoint_ids")}
    assert any(".0/" in text for own in maps.values() for text in own), "no endpoint has routes"
    for (netns, name), own in maps.items():
        pairs = {tuple(text.split(" : ")) for text in own}
        sides = {
            tuple(text.split(" . "))
            for text in found[netns, name.replace("endpoint_ids", "endpoint_addrs")]
        }
        assert sides == {(number, address) for address, number in pairs}
