"""Foreign nftables chains: what drops our packets for certain is said, with the rule that helps;
nothing else is claimed.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests import world
from warpd.kernel.nftables.foreign_rules import Probe, evaluate
from warpd.kernel.state import ForeignChain, ForeignRules, ForeignSet, Host
from warpd.reconcile.engine import Target
from warpd.service.views.advice import host_warnings, uncertain_chains

TARGET = world.target(
    world.intent(
        web=world.network(1),
        corp={
            "type": "remote-resource-gateway",
            "resources": [{"subnet": "10.9.0.0/16", "protocol": "tcp", "ports": [22]}],
        },
        sites={"type": "l3vpn-gateway", "isolation": "vrf"},
    )
)
PORTS = sorted(allocation.port for allocation in TARGET.allocations.networks.values())
ESTABLISHED = {
    "match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}
}
REJECT = {"reject": {"type": "icmp", "expr": "host-prohibited"}}
XT_REJECT = {"xt": {"type": "target", "name": "REJECT"}}
ACCEPT = {"accept": None}
DROP = {"drop": None}


def equals(left: dict[str, Any], right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def dport(right: Any, protocol: str = "udp") -> dict[str, Any]:
    return equals({"payload": {"protocol": protocol, "field": "dport"}}, right)


def chain(
    name: str, *rules: list[Any], hook: str = "", policy: str = "accept", family: str = "ip"
) -> ForeignChain:
    return ForeignChain(
        family, "filter", name, hook, policy, tuple(json.dumps(rule) for rule in rules)
    )


def host(*chains: ForeignChain, sets: tuple[ForeignSet, ...] = ()) -> Host:
    return Host(
        uplink="eth0", uplink_addresses=("203.0.113.1",), foreign_rules=ForeignRules(chains, sets)
    )


def messages(found: Host, target: Target = TARGET) -> list[str]:
    return [
        warning["message"] for warning in host_warnings(found, target.allocations, target.intent)
    ]


def inbound(
    *rules: list[Any], policy: str = "accept", more: tuple[ForeignChain, ...] = (), **options: Any
) -> list[str]:
    return messages(host(chain("INPUT", *rules, hook="input", policy=policy), *more, **options))


@pytest.mark.parametrize(
    "last", [[REJECT], [XT_REJECT], [DROP], [{"counter": {"packets": 1, "bytes": 1}}, REJECT]]
)
def test_a_last_rule_that_refuses_is_named_though_the_policy_accepts(last: list[Any]) -> None:
    lo = [equals({"meta": {"key": "iifname"}}, "lo"), ACCEPT]
    icmp = [equals({"payload": {"protocol": "ip", "field": "protocol"}}, "icmp"), ACCEPT]
    (text,) = inbound([ESTABLISHED, ACCEPT], lo, icmp, [dport(22, "tcp"), ACCEPT], last)
    assert "chain ip filter INPUT (not ours)" in text and all(str(port) in text for port in PORTS)


def test_a_policy_that_drops_is_named_and_a_port_that_is_let_through_is_not() -> None:
    (text,) = inbound([dport(PORTS[0]), ACCEPT], policy="drop")
    assert "by its policy" in text and str(PORTS[0]) not in text and str(PORTS[1]) in text
    assert inbound([dport({"range": [51820, 51829]}), ACCEPT], policy="drop") == []
    assert inbound([dport({"set": [53, {"range": [51820, 51829]}]}), ACCEPT], policy="drop") == []
    assert inbound([equals({"meta": {"key": "iifname"}}, "e*"), ACCEPT], policy="drop") == []
    assert inbound([equals({"meta": {"key": "l4proto"}}, "udp"), ACCEPT], policy="drop") == []


def test_jumps_gotos_and_returns_are_followed() -> None:
    services = chain("services", [dport({"range": [1, 65535]}), ACCEPT])
    assert inbound([{"jump": {"target": "services"}}], [REJECT], more=(services,)) == []
    nothing = chain(
        "services",
        [dport(22, "tcp"), ACCEPT],
        [{"return": None}],
        [dport({"range": [1, 65535]}), ACCEPT],
    )
    assert len(inbound([{"jump": {"target": "services"}}], [REJECT], more=(nothing,))) == 1
    assert (
        inbound([{"goto": {"target": "services"}}], [REJECT], more=(nothing,)) == []
    )  # the base chain is never gone on with
    assert (
        len(inbound([{"goto": {"target": "services"}}], [REJECT], policy="drop", more=(nothing,)))
        == 1
    )
    circle = chain("services", [{"jump": {"target": "services"}}])
    assert inbound([{"jump": {"target": "services"}}], [REJECT], more=(circle,)) == []


def test_verdict_maps_are_followed() -> None:
    zone = {
        "vmap": {
            "key": {"meta": {"key": "iifname"}},
            "data": {"set": [["lo", ACCEPT], ["eth0", {"goto": {"target": "public"}}]]},
        }
    }
    public = chain("public", [dport(22, "tcp"), ACCEPT], [REJECT])
    (text,) = inbound([zone], more=(public,))
    assert "INPUT" in text
    state = {
        "vmap": {
            "key": {"ct": {"key": "state"}},
            "data": {"set": [["established", ACCEPT], ["invalid", DROP]]},
        }
    }
    assert len(inbound([state], [REJECT])) == 1 and inbound([state]) == []
    named = {"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@zones"}}
    elements = ForeignSet(
        "ip", "filter", "zones", json.dumps([["eth0", {"jump": {"target": "public"}}]])
    )
    assert len(inbound([named], more=(public,), sets=(elements,))) == 1
    assert inbound([named], more=(public,)) == []  # a map that could not be read claims nothing


@pytest.mark.parametrize(
    "strange",
    [
        equals({"payload": {"protocol": "ip", "field": "saddr"}}, "192.0.2.1"),
        equals({"&": [{"meta": {"key": "mark"}}, 255]}, 1),
        equals({"fib": {"flags": ["saddr"], "result": "type"}}, "local"),
        equals({"never-seen": {"key": 1}}, 1),
        {"xt": {"type": "match", "name": "set"}},
        {"limit": {"rate": 3, "per": "minute"}},
        dport("@unread"),
    ],
)
def test_what_is_not_understood_is_never_claimed(strange: dict[str, Any]) -> None:
    found = host(chain("INPUT", [strange, ACCEPT], hook="input", policy="drop"))
    assert messages(found) == []
    assert uncertain_chains(found, TARGET.allocations, TARGET.intent) == ["ip filter INPUT"]
    assert (
        uncertain_chains(found, TARGET.allocations, TARGET.intent, PORTS) == []
    )  # sessions prove that packets pass
    assert len(inbound([strange, DROP], [REJECT])) == 1  # either way it ends in a drop


def test_an_unknown_statement_claims_nothing() -> None:
    assert (
        inbound([{"queue": {"num": 1}}], [REJECT]) == []
        and inbound([{"xt": {"type": "target", "name": "NFQUEUE"}}], [DROP]) == []
    )
    assert len(inbound([{"xt": {"type": "target", "name": "LOG"}}], [DROP])) == 1
    assert inbound([[{"mangle": None}, ACCEPT][0], ACCEPT], [DROP]) == []


def test_chains_that_were_not_read_claim_nothing() -> None:
    part = ForeignChain("ip", "filter", "INPUT", "input", "drop", complete=False)
    assert messages(host(part)) == []
    assert inbound([{"jump": {"target": "gone"}}], [REJECT]) == []


def test_forwarding_is_evaluated_network_by_network() -> None:
    found = messages(host(chain("FORWARD", [REJECT], hook="forward")))
    assert [text.partition(" what ")[2] for text in found] == [
        "clients send of corp, web"
    ]  # sites stays inside
    ssh = chain(
        "FORWARD", [dport(22, "tcp"), ACCEPT], [ESTABLISHED, ACCEPT], [REJECT], hook="forward"
    )
    assert [text.partition(" what ")[2] for text in messages(host(ssh))] == ["clients send of web"]
    web = chain(
        "FORWARD",
        [dport({"set": [80, 443]}, "tcp"), ACCEPT],
        [ESTABLISHED, ACCEPT],
        hook="forward",
        policy="drop",
    )
    assert [text.partition(" what ")[2] for text in messages(host(web))] == ["clients send of corp"]
    ours = [equals({"meta": {"key": "iifname"}}, "dn-*"), ACCEPT]
    (back,) = messages(host(chain("FORWARD", ours, hook="forward", policy="drop")))
    assert "the answers to clients of web" in back
    both = [equals({"meta": {"key": "oifname"}}, "dn-*"), ESTABLISHED, ACCEPT]
    assert messages(host(chain("FORWARD", ours, both, hook="forward", policy="drop"))) == []


def test_docker_lets_nothing_of_ours_through() -> None:
    user = chain("DOCKER-USER", [{"return": None}])
    docker0 = equals({"meta": {"key": "oifname"}}, "docker0")
    rules = (
        [{"jump": {"target": "DOCKER-USER"}}],
        [docker0, {"xt": {"type": "match", "name": "conntrack"}}, ACCEPT],
        [equals({"meta": {"key": "iifname"}}, "docker0"), ACCEPT],
    )
    found = host(chain("FORWARD", *rules, hook="forward", policy="drop"), user)
    assert len(messages(found)) == 1 and "by its policy" in messages(found)[0]


def test_a_family_in_which_no_client_comes_is_not_looked_at() -> None:
    six = chain("INPUT", hook="input", policy="drop", family="ip6")
    assert messages(host(six)) == []
    dual = Host(
        uplink="eth0",
        uplink_addresses=("203.0.113.1", "2001:db8::1"),
        foreign_rules=ForeignRules((six,)),
    )
    assert len(messages(dual)) == 1


def test_disabled_networks_need_no_port() -> None:
    target = world.target(world.intent(web=world.network(1, enabled=False)))
    assert messages(host(chain("INPUT", hook="input", policy="drop")), target) == []


def test_the_hint_lets_the_packet_through() -> None:
    """The very rule that the hint names, put in front, makes the warning go."""
    before = host(
        chain("INPUT", [REJECT], hook="input"), chain("FORWARD", [REJECT], hook="forward")
    )
    hints = " ".join(
        warning["hint"] for warning in host_warnings(before, TARGET.allocations, TARGET.intent)
    )
    assert "nft insert rule ip filter INPUT udp dport { " + ", ".join(map(str, PORTS)) in hints
    assert 'nft insert rule ip filter FORWARD iifname { "dn-*", "vrf-*" } accept' in hints
    inserted = [equals({"meta": {"key": "iifname"}}, {"set": ["dn-*", "vrf-*"]}), ACCEPT]
    answers = [equals({"meta": {"key": "oifname"}}, {"set": ["dn-*", "wg-*"]}), ESTABLISHED, ACCEPT]
    assert messages(host(chain("FORWARD", inserted, answers, [REJECT], hook="forward"))) == []


@pytest.mark.parametrize("state", ["new", "established"])
def test_the_state_of_the_connection_decides(state: str) -> None:
    rules = ForeignRules((chain("FORWARD", [ESTABLISHED, ACCEPT], [DROP], hook="forward"),))
    (found,) = evaluate(rules, Probe("forward", 4, state=state))
    assert found.end == ("dropped" if state == "new" else "passes")
