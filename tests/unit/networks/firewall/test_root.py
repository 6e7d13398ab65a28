"""What must hold of the second guards: routing rules, settings of links, fences, shares.

Laws, not copies of their rules.
"""

from __future__ import annotations

import dataclasses
import json
from ipaddress import ip_network
from typing import Any

import pytest

from tests import world
from tests.unit.networks.firewall.test_firewalls import GATEWAY, MODES, compiled, is_drop
from warpd.intent.reserved import MARKS, TABLES_LAST
from warpd.kernel.kinds.ethernet import Bridge, Leg
from warpd.kernel.kinds.link import Veth, WireguardLink
from warpd.kernel.kinds.nft_table import NftTable
from warpd.kernel.kinds.route import Route
from warpd.kernel.kinds.rule import Rule
from warpd.kernel.kinds.sysctl import Sysctl
from warpd.kernel.kinds.tc_filter import TcIngress
from warpd.kernel.kinds.wireguard import WireguardDevice
from warpd.kernel.state import ROOT, DefaultRoute, Host
from warpd.networks.compiler import Compiled, compile_state
from warpd.networks.firewall.root import BETTER_PRIORITY, GUARDED, STEER_PRIORITY, fences
from warpd.testing.fake_kernel import PLAIN

# What wg-quick, kube-proxy, Tailscale, Calico, strongSwan, firewalls by hand and VPN managers write
# into packets.
OTHERS_MARKS = (
    0x1,
    0x2A,
    0xCA6C,
    0x4000,
    0x8000,
    0x40000,
    0x80000,
    0xFF0000,
    0x10000,
    0xE0000,
    0x200,
    0x8E00,
)


def on(host: Host, mode: str) -> Compiled:
    target = world.target(world.intent(GATEWAY, **world.every_type(mode)))
    return compile_state(target.intent, target.allocations, target.master, host, target.today)


def root_chains(built: Compiled) -> dict[str, list[dict[str, Any]]]:
    table = next(item for item in built.shared if isinstance(item, NftTable))
    return {chain.name: [json.loads(text) for text in chain.rules] for chain in table.chains}


@pytest.mark.parametrize("mode", MODES)
def test_a_mark_of_another_program_opens_no_way(mode: str) -> None:
    """A routing rule that drops what no table of ours has marked drops what others have marked, and
    nothing of ours.
    """
    drops = [item for item in compiled(mode).state if isinstance(item, Rule) and item.blackhole]
    assert drops
    for rule in drops:
        assert all(mark & rule.mask == rule.mark for mark in (0, *OTHERS_MARKS))
        assert not any(
            mark & rule.mask == rule.mark for mark in (MARKS + 1, MARKS + TABLES_LAST, GUARDED)
        )


@pytest.mark.parametrize("mode", MODES)
def test_what_is_unmarked_is_dropped_before_a_table_is_asked(mode: str) -> None:
    """Rules of the host come after the kernel's own for its main table and VRFs; ours that lead
    anywhere without a mark, too.
    """
    rules = [item for item in compiled(mode).state if isinstance(item, Rule)]
    drops = [item for item in rules if item.blackhole]
    leads = [item for item in rules if not (item.blackhole or item.nop or item.mark or item.link)]
    assert drops and leads
    for rule in drops:
        assert all(
            rule.priority < min(other.priority, 1000)
            for other in leads
            if other.netns == rule.netns
        )


def test_what_is_looked_up_as_of_a_port_of_a_vrf_is_dropped_unmarked() -> None:
    """IPv4.

    Where a rule leads such packets to their table, those before it drop what stays inside, and the
    check of sources that is made for all others.
    """
    built = on(dataclasses.replace(PLAIN, hops=(DefaultRoute(4, "eth0", "203.0.113.254"),)), "vrf")
    rules = [item for item in built.state if isinstance(item, Rule) and item.version == 4]
    drops = [item for item in rules if item.blackhole]
    leads = {item.link: item for item in rules if item.table and item.link.startswith("wg-")}
    assert len(leads) == 2  # two types have a way out
    tunnels = [item.name for item in built.state if isinstance(item, WireguardLink)]
    assert all(any((item.link, item.to) == (name, "") for item in drops) for name in tunnels)
    for link, lead in leads.items():
        before = [item for item in drops if item.priority < lead.priority]
        inside = [
            item
            for item in built.state
            if isinstance(item, Route) and (item.device, item.table) == (link, lead.table)
        ]
        inner = [ip_network(item.prefix) for item in inside if "." in item.prefix]
        assert inner
        for device, of_vrf in ((link, False), ("eth0", True)):
            own = [
                ip_network(item.to)
                for item in before
                if (item.link, item.of_vrf) == (device, of_vrf)
            ]
            assert all(any(prefix.subnet_of(item) for item in own) for prefix in inner)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", MODES)
def test_legs_and_bridges_neither_answer_nor_forward(mode: str) -> None:
    built = compiled(mode)
    settings = {
        (item.netns, item.path): item.value for item in built.state if isinstance(item, Sysctl)
    }
    links = [item for item in built.state if isinstance(item, Bridge | Leg)]
    assert links
    for link in links:
        four, six = f"net/ipv4/conf/{link.name}", f"net/ipv6/conf/{link.name}"
        wanted = {
            f"{four}/arp_ignore": "8",
            f"{four}/forwarding": "0",
            f"{four}/rp_filter": "1",
            f"{six}/disable_ipv6": "1",
        }
        assert {path: settings.get((link.netns, path)) for path in wanted} == wanted


@pytest.mark.parametrize("mode", MODES)
def test_every_guarded_interface_of_a_network_has_filters(mode: str) -> None:
    """The transit link's end in the root, and the WireGuard device wherever it is."""
    built = compiled(mode)
    guarded = {
        (item.netns, item.device)
        for item in built.state
        if isinstance(item, TcIngress) and item.filters
    }
    for group in built.names:
        tunnel = (ROOT if mode == "vrf" else group, group.replace("warp-", "wg-"))
        assert tunnel in guarded
    assert all((ROOT, item.name) in guarded for item in built.state if isinstance(item, Veth))


@pytest.mark.parametrize("mode", MODES)
def test_nothing_leaves_untranslated_that_has_no_block_of_ports(mode: str) -> None:
    last = root_chains(compiled(mode))["postrouting"][-1]
    assert {"drop": None} in last["expr"]
    matches = [item["match"] for item in last["expr"] if "match" in item]
    assert [match["right"] for match in matches] == ["@guarded_ifaces"]


@pytest.mark.parametrize("mode", MODES)
def test_unknown_neighbours_have_a_limit_of_each_network_and_one_of_all(mode: str) -> None:
    """What has not answered falls through to both limits; nothing else returns before them."""
    rules = root_chains(compiled(mode))["neighbours"]
    limited = [rule for rule in rules if {"jump": {"target": "over-unresolved"}} in rule["expr"]]
    assert ["meter" in json.dumps(rule["expr"]) for rule in limited] == [True, False]
    assert all('"inv": true' in json.dumps(rule["expr"]) for rule in limited)
    before = rules[: rules.index(limited[0])]
    known = ("@neighbours_known", "@neighbours_pending")
    assert all(any(name in json.dumps(rule) for name in known) for rule in before)
    assert is_drop(root_chains(compiled(mode))["over-unresolved"][-1])


@pytest.mark.parametrize("mode", MODES)
def test_all_networks_together_meet_shares_before_they_leave(mode: str) -> None:
    chains = root_chains(compiled(mode))
    out = chains["out"]
    asked = next(
        number for number, rule in enumerate(out) if {"jump": {"target": "new"}} in rule["expr"]
    )
    assert asked < next(
        number for number, rule in enumerate(out) if {"accept": None} in rule["expr"]
    )
    targets = [
        item["jump"]["target"] for rule in chains["new"] for item in rule["expr"] if "jump" in item
    ]
    assert targets == ["over-count", "over-ports", "over-ports"]
    assert all(is_drop(chains[name][-1]) for name in set(targets))


@pytest.mark.parametrize("mode", MODES)
def test_a_host_that_forwarded_for_nobody_forwards_for_networks_only(mode: str) -> None:
    """Where forwarding is on because of us, what is not ours is dropped, and the table tells so
    when it is read.
    """
    host = dataclasses.replace(PLAIN, fence4=("eth0",), fence6=True)
    built = on(host, mode)
    table = next(item for item in built.shared if isinstance(item, NftTable))
    assert fences(table) == (("eth0",), True)
    rules = [rule for rule in root_chains(built)["forward"] if "fence" in rule["comment"]]
    assert len(rules) == 2 and all({"drop": None} in rule["expr"] for rule in rules)
    four, six = (
        [item["match"]["right"] for item in rule["expr"] if "match" in item] for rule in rules
    )
    assert (four, six) == (["ipv4", "eth0"], ["ipv6"])


@pytest.mark.parametrize("mode", MODES)
def test_wireguard_answers_clients_by_the_named_uplink(mode: str) -> None:
    """Its packets have a mark that the rules of steering match, and only where there are some."""
    hops = (DefaultRoute(4, "eth0", "203.0.113.254"),)
    steered = on(dataclasses.replace(PLAIN, elsewhere=(4,), steered=(4,), hops=hops), mode).state
    rules = [item for item in steered if isinstance(item, Rule) and item.priority == STEER_PRIORITY]
    assert rules
    for state, expected in ((steered, True), (on(PLAIN, mode).state, False)):
        devices = [item for item in state if isinstance(item, WireguardDevice)]
        assert devices and all(bool(device.mark) is expected for device in devices)
        for rule in rules if expected else []:
            assert all(device.mark & rule.mask == rule.mark for device in devices)


@pytest.mark.parametrize("mode", MODES)
def test_the_named_uplink_goes_before_the_halves_of_a_default_route(mode: str) -> None:
    """Beside a VPN of the host that splits the default route, packets of networks pass over its
    routes; routes that are longer count.
    """
    hops = (DefaultRoute(4, "eth0", "203.0.113.254"), DefaultRoute(6, "eth0", "2001:db8:113::fe"))
    host = dataclasses.replace(PLAIN, elsewhere=(4, 6), steered=(4, 6), hops=hops)
    passed_over = {
        item.version: item.suppress
        for item in on(host, mode).state
        if isinstance(item, Rule) and item.priority == BETTER_PRIORITY
    }
    for split in ("0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1", "2000::/3", "2000::/4"):
        block = ip_network(split)
        assert block.prefixlen <= passed_over[block.version], split
    for kept in ("10.0.0.0/8", "224.0.0.0/4", "fc00::/7", "2400::/12"):
        block = ip_network(kept)
        assert block.prefixlen > passed_over[block.version], kept
