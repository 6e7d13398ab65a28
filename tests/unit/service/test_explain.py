"""`explain` on what is wanted, in both modes: whether it passes, and what is named as the reason.

Packets have the last word in tests/packets/test_explain.py.
"""

from __future__ import annotations

import dataclasses

import pytest

from tests import world
from warpd.kernel.state import EgressLink, ForeignChain, ForeignRules, Host, RangeRoute, State
from warpd.reconcile.engine import Target
from warpd.reconcile.incremental import planned_run
from warpd.service.explain import Stage, explain, passes, question_of
from warpd.testing.fake_kernel import FakeKernel

MODES = ("namespace", "vrf")


def target_of(mode: str) -> Target:
    mesh = world.network(3, isolation=mode, peer_communication=True)
    four = world.network(2, isolation=mode, ipv6=False)
    gateway = {
        "pools": {"ports": "51820-51899"},
        "public_endpoint": "203.0.113.1",
        "vlan_scope": "network",
    }
    return world.target(world.intent(gateway, mesh=mesh, four=four, **world.every_type(mode)))


TARGETS = {mode: target_of(mode) for mode in MODES}


def looked(mode: str) -> tuple[State, Host]:
    found = planned_run(FakeKernel(), TARGETS[mode])
    exits = tuple(EgressLink(link.name, forwarding4=True) for link in found.observed.host.exits)
    host = dataclasses.replace(
        found.observed.host, uplink_addresses=("203.0.113.1", "2001:db8:113::1"), exits=exits
    )
    return State.of(found.compiled.state), host


SEEN = {mode: looked(mode) for mode in MODES}

# network (without the mode's letter), endpoint, target, protocol, port -> passes, a word of what
# decides
CASES = [
    ("web", "e1", "198.51.100.7", "tcp", 443, True, ""),
    ("web", "e1", "2001:db8:51::7", "udp", 53, True, ""),
    ("web", "e1", "e2", "icmp", 0, False, "peer-to-peer"),
    ("web", "e1", "gateway", "icmp", 0, True, "ping"),
    ("web", "e1", "gateway", "tcp", 22, False, "host-service"),
    ("web", "e1", "192.168.1.1", "tcp", 80, False, "private"),
    ("web", "e1", "169.254.169.254", "tcp", 80, False, "private"),
    ("web", "e1", "10.9.3.4", "tcp", 80, True, ""),
    ("web", "e1", "10.8.8.8", "udp", 53, True, ""),
    ("web", "e1", "10.8.8.8", "tcp", 80, False, "private"),
    ("web", "e1", "203.0.113.1", "tcp", 22, False, "host-service"),
    ("mesh", "e1", "e2", "tcp", 22, True, "to e2"),
    ("mesh", "e1", "unused", "tcp", 22, False, "peer-to-peer"),
    ("four", "e1", "198.51.100.7", "tcp", 443, True, ""),
    ("four", "e1", "2001:db8:51::7", "tcp", 443, False, "has no IPv6"),
    ("corp", "lap", "172.20.1.1", "tcp", 443, True, ""),
    ("corp", "lap", "172.20.1.1", "tcp", 8050, True, ""),
    ("corp", "lap", "172.20.1.1", "tcp", 22, False, "unlisted"),
    ("corp", "lap", "172.20.1.1", "udp", 443, False, "unlisted"),
    ("corp", "lap", "172.21.1.5", "udp", 9, True, ""),
    ("corp", "lap", "172.21.1.6", "udp", 9, False, "AllowedIPs lack it"),
    ("corp", "lap", "fd55::1", "icmp", 0, True, ""),
    ("corp", "lap", "fd55::1", "tcp", 80, False, "unlisted"),
    ("corp", "lap", "192.168.77.5", "udp", 9, True, "to hq"),
    ("corp", "lap", "192.168.77.5", "tcp", 9, False, "unlisted"),
    ("corp", "lap", "198.51.100.7", "tcp", 443, False, "AllowedIPs lack it"),
    ("sites", "berlin", "192.168.20.9", "tcp", 22, True, "to paris"),
    ("sites", "berlin", "paris", "icmp", 0, True, "to paris"),
    ("sites", "berlin", "198.51.100.7", "tcp", 443, False, "AllowedIPs lack it"),
    ("wire", "left", "gateway", "icmp", 0, True, "ping"),
    ("wire", "left", "192.0.2.9", "tcp", 80, False, "Ethernet"),
]


def ask(
    mode: str, network: str, endpoint: str, target: str, protocol: str, port: int
) -> tuple[Stage, ...]:
    wanted, (state, host) = TARGETS[mode], SEEN[mode]
    name = network if network in wanted.intent.networks else f"{mode[0]}-{network}"
    allocation = wanted.allocations.networks[name]
    if target in allocation.endpoints:
        target = str(allocation.endpoints[target].address)
    target = {"gateway": str(allocation.gateway_address), "unused": str(allocation.subnet[-1])}.get(
        target, target
    )
    return explain(state, host, question_of(wanted, name, endpoint, target, protocol, port))  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case[:5])))
def test_what_decides(mode: str, case: tuple[str, str, str, str, int, bool, str]) -> None:
    *question, expected, word = case
    way = ask(mode, *question)  # type: ignore[arg-type]
    text = "\n".join(f"{stage.where}: {stage.what}" for stage in way)
    assert passes(way) is expected, text
    assert word in way[-1].what, text
    assert all(stage.passes for stage in way[:-1])


@pytest.mark.parametrize("mode", MODES)
def test_what_is_not_in_the_kernel_decides(mode: str) -> None:
    wanted, (state, host) = TARGETS[mode], SEEN[mode]
    question = question_of(wanted, "mesh", "e1", "198.51.100.7", "tcp", 443)
    bare = State.of(item for item in state if type(item).__name__ != "WireguardPeer")
    assert "no such peer" in explain(bare, host, question)[-1].what
    revoked = State.of(
        item
        for item in state
        if getattr(item, "set", "").partition("-")[0] not in ("endpoints4", "permitted_ifaces")
    )
    way = explain(revoked, host, question)
    assert not passes(way) and way[-1].where == "rule"


@pytest.mark.parametrize("mode", MODES)
def test_the_link_by_which_the_host_leads_there_decides(mode: str) -> None:
    """By a link that the network may not leave by, or that does not forward, it does not pass; nor
    where no route leads.
    """
    wanted, (state, host) = TARGETS[mode], SEEN[mode]
    question = question_of(wanted, "mesh", "e1", "198.51.100.7", "tcp", 443)

    def last(way: RangeRoute, *forwarding: str) -> str:
        exits = tuple(EgressLink(name, forwarding4=True) for name in forwarding)
        return explain(
            state, dataclasses.replace(host, range_routes=(way,), exits=exits), question
        )[-1].what

    target = "198.51.100.7/32"
    assert "masquerade" not in last(
        RangeRoute(target, (), "lan0"), "eth0", "lan0"
    ) and "wrong-uplink" in last(RangeRoute(target, (), "lan0"))
    assert "no route of the host" in last(RangeRoute(target), "eth0")
    assert "does not forward" in last(RangeRoute(target, (), "eth0", by_default=True))
    assert "its source becomes" in last(RangeRoute(target, (), "eth0", by_default=True), "eth0")


@pytest.mark.parametrize("hook", ["prerouting", "forward", "postrouting", "egress"])
@pytest.mark.parametrize("mode", MODES)
def test_a_foreign_chain_at_any_hook_of_the_way_out_is_named(mode: str, hook: str) -> None:
    state, host = SEEN[mode]
    strict = ForeignChain("inet", "edge", "strict", hook, "drop", devices=("eth0",))
    closed = dataclasses.replace(host, foreign_rules=ForeignRules((strict,)))
    question = question_of(TARGETS[mode], f"{mode[0]}-web", "e1", "198.51.100.7", "tcp", 443)
    stages = explain(state, closed, question)
    assert not passes(stages)
    assert [stage for stage in stages if "inet edge strict (not ours) drops it" in stage.what]
