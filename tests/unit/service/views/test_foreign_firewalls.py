"""Firewalls of others, as real kernels list them: what they certainly drop of ours is named by
plan, status and doctor, what they may drop by doctor alone. A firewall that lets us through is
named by nobody.

The folder `rulesets` has `nft -j list ruleset` (.json) and `nft -a list ruleset` (.nft) of nft
1.0.6: ufw 0.36.2 and firewalld 1.3.3 as Debian 12 installs them, the chains of Docker 28, each
closed as after its installation and opened for warpd (`-open`); and firewalls by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import world
from warpd.kernel.linux import foreign_chains
from warpd.kernel.state import DefaultRoute, Host
from warpd.service.views.advice import host_warnings, uncertain_chains

RULESETS = Path(__file__).parent / "rulesets"
# Their UDP ports are 51820, 51821 and 51822.
TARGET = world.target(
    world.intent(
        a=world.network(1),
        v=world.network(1, isolation="vrf"),
        sites={"type": "l3vpn-gateway"},
    )
)
PORT = {name: item.port for name, item in TARGET.allocations.networks.items()}


class RecordedNft:
    """Answers list commands from a recorded ruleset, as a libnftables context does."""

    def __init__(self, name: str) -> None:
        self._entries = json.loads((RULESETS / f"{name}.json").read_text())["nftables"]
        self._text = (RULESETS / f"{name}.nft").read_text()
        self._json = True

    def set_json_output(self, on: bool) -> None:
        self._json = on

    def set_handle_output(self, on: bool) -> None:
        """Texts were recorded with handles."""

    def cmd(self, command: str) -> tuple[int, str, str]:
        _list, what, *name = command.split()
        if not self._json:
            return 0, self._chain_text(name), ""
        found = [entry for entry in self._entries if self._is_listed(entry, what, name)]
        return 0, json.dumps({"nftables": found}), ""

    def _is_listed(self, entry: dict[str, Any], what: str, name: list[str]) -> bool:
        if what == "chains":
            return "chain" in entry
        if "rule" in entry:
            rule = entry["rule"]
            return what == "chain" and [rule["family"], rule["table"], rule["chain"]] == name
        body = entry.get(what, {})
        return [body.get("family"), body.get("table"), body.get("name")] == name

    def _chain_text(self, name: list[str]) -> str:
        family, table, chain = name
        inside = self._text.partition(f"table {family} {table} {{")[2].partition("\n}")[0]
        return inside.partition(f"\tchain {chain} {{")[2].partition("\n\t}")[0]


def host(name: str) -> Host:
    """A host with both IP versions on its uplink, and this firewall."""
    return Host(
        uplink="eth0",
        uplink_addresses=("203.0.113.1", "2001:db8:113::1"),
        hops=(
            DefaultRoute(4, "eth0", "203.0.113.254"),
            DefaultRoute(6, "eth0", "2001:db8:113::fe"),
        ),
        foreign_rules=foreign_chains.read(RecordedNft(name)),
    )


def named(name: str) -> list[str]:
    """What plan, status and doctor say."""
    found = host_warnings(host(name), TARGET.allocations, TARGET.intent)
    return [warning["message"] for warning in found]


def unclear(name: str) -> list[str]:
    """What doctor says beside that."""
    return uncertain_chains(host(name), TARGET.allocations, TARGET.intent)


CERTAIN = {
    "docker": {"ip filter FORWARD": "drops by its policy what clients send of a, v"},
    "dynamic-sets": {
        "inet f i": "rejects by a rule what clients send to UDP port 51820, 51821, 51822",
        "netdev n i": "drops by a rule what clients send to UDP port 51820",
    },
    "firewalld": {"inet firewalld filter_INPUT": "rejects by a rule what clients send to UDP port"},
    "forward-sources": {"inet filter forward": "rejects by a rule what clients send of a, v"},
    "netdev": {
        "netdev edge in": "drops by a rule what clients send to UDP port 51820, 51821",
        "netdev edge out": "drops by a rule what the gateway answers to clients from UDP port",
    },
    "output": {
        "inet host output": "drops by its policy what the gateway answers to clients from UDP port"
    },
    "postrouting": {"ip mangle POSTROUTING": "drops by a rule what clients send of a, v"},
    "prerouting-networks": {"inet edge pre": "drops by a rule what clients send of a, v"},
    "raw-prerouting": {
        "ip raw PREROUTING": "drops by a rule what clients send to UDP port 51821, 51822"
    },
    "ufw": {
        "ip filter INPUT": "drops by its policy what clients send to UDP port",
        "ip6 filter INPUT": "drops by its policy what clients send to UDP port",
        "ip filter FORWARD": "drops by its policy what clients send of a, v",
        "ip6 filter FORWARD": "drops by its policy what clients send of a, v",
    },
}


@pytest.mark.parametrize("name", CERTAIN)
def test_what_a_firewall_certainly_drops_is_named(name: str) -> None:
    messages = named(name)
    expected = [f"chain {chain} (not ours) {how}" for chain, how in CERTAIN[name].items()]
    assert len(messages) == len(expected) and unclear(name) == []
    for text in expected:
        assert any(message.startswith(text) for message in messages), (text, messages)


@pytest.mark.parametrize("name", ["docker-open", "firewalld-open", "ufw-open", "silent"])
def test_a_firewall_that_lets_us_through_is_not_named(name: str) -> None:
    assert (named(name), unclear(name)) == ([], [])


def test_what_a_firewall_may_drop_is_named_by_doctor_alone() -> None:
    """A mark, and a limit, which only the packet itself has: without them it is dropped."""
    assert (named("uncertain"), unclear("uncertain")) == (
        [],
        ["inet filter forward", "inet filter pre"],
    )


def test_a_chain_of_a_link_sees_the_packets_of_that_link_only() -> None:
    """`netdev edge lan` drops everything that comes in by lo."""
    chains = {chain.name: chain for chain in host("netdev").foreign_rules.chains}
    devices = {name: chain.devices for name, chain in chains.items()}
    assert devices == {"in": ("eth0",), "out": ("eth0", "lo"), "lan": ("lo",)}
    assert chains["lan"].policy == "drop" and not any(
        "edge lan" in text for text in named("netdev")
    )


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("raw-prerouting", "nft insert rule ip raw PREROUTING udp dport { 51821, 51822 } accept"),
        (
            "output",
            "nft insert rule inet host output udp sport { 51820, 51821, 51822 } accept",
        ),
        ("postrouting", 'nft insert rule ip mangle POSTROUTING iifname { "dn-*", "vrf-*" } accept'),
    ],
)
def test_the_hint_is_a_rule_for_that_hook(name: str, command: str) -> None:
    """A kernel takes them in tests/live/test_firewalls.py."""
    (warning,) = host_warnings(host(name), TARGET.allocations, TARGET.intent)
    assert warning["hint"].splitlines() == ["let them through:", command]


def test_matches_of_iptables_are_read_where_their_text_says_it_all() -> None:
    """What nft lists as `xt` is taken from its text, and stays unknown where that has more than
    warpd looks for: source ports, the direction of a connection, several types, an interface.
    """
    (chain,) = host("xt-matches").foreign_rules.chains
    matches = [json.loads(text)[-2] for text in chain.rules]
    assert [match.get("match", {}).get("right", "unknown") for match in matches] == [
        [51820, 51821, {"range": [60000, 60010]}],
        [51820],
        "unknown",  # --sports
        "unknown",  # --dport with --sports
        "unknown",  # --ports
        "unknown",  # --src-type and --dst-type
        "unknown",  # several types
        ["local"],
        "unknown",  # --limit-iface-in
        "unknown",  # ! --ctstate ...,DNAT
        "unknown",  # --ctdir
        "unknown",  # --ctorigdst
        "unknown",  # --ctstate DNAT
    ]
