"""What every guard must hold whatever the type and the mode: laws over the compiled state, not
copies of its rules.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from ipaddress import IPv4Network, ip_network
from typing import Any

import pytest

from tests import world
from warpd.intent.reserved import MARKS
from warpd.kernel.kinds.bridge_port import BridgePort
from warpd.kernel.kinds.ethernet import LEARNED_PER_LEG, Bridge, Gretap, Leg, Vxlan
from warpd.kernel.kinds.link import Veth, WireguardLink
from warpd.kernel.kinds.nft_table import (
    IngressFilter,
    NetworkSubtable,
    NftChain,
    NftElements,
    NftTable,
)
from warpd.kernel.kinds.route import LAST_RESORT, RTN_UNREACHABLE, Route
from warpd.kernel.kinds.rule import Rule
from warpd.kernel.kinds.tc_filter import ETH_P_ALL, Filters, TcFilter, TcIngress
from warpd.kernel.kinds.vrf import Vrf
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.nftables.simulator import Packet, Ruleset
from warpd.kernel.state import ROOT, Phase, RangeRoute
from warpd.networks.compiler import Compiled, compile_state
from warpd.networks.firewall.root import MARK_BYTE, OF_A_TABLE, mark_of
from warpd.networks.firewall.second_guard import PERMITTED
from warpd.reconcile.engine import removal
from warpd.reconcile.incremental import planned_run
from warpd.testing.fake_kernel import PLAIN, FakeKernel

MODES = ("namespace", "vrf")
GATEWAY = {"pools": {"ports": "51820-51899"}}


def compiled(*modes: str) -> Compiled:
    networks = {name: body for mode in modes for name, body in world.every_type(mode).items()}
    wanted = world.target(world.intent(GATEWAY, **networks))
    built = compile_state(wanted.intent, wanted.allocations, wanted.master, PLAIN, wanted.today)
    assert not built.problems
    return built


def guards(mode: str) -> dict[str, NftTable | NetworkSubtable]:
    """Each network's own guard, by its name."""
    built = compiled(mode)
    found = [
        item
        for item in built.state
        if isinstance(item, NftTable | NetworkSubtable) and item.group != ROOT
    ]
    out = {built.names[item.group]: item for item in found}
    assert len(out) == len(world.every_type(mode))
    return out


def base(name: str) -> str:
    head, dash, tail = name.rpartition("-")
    return head if dash and tail.isdigit() else name


def chains(guard: NftTable | NetworkSubtable) -> dict[str, list[dict[str, Any]]]:
    return {base(chain.name): [json.loads(text) for text in chain.rules] for chain in guard.chains}


def is_drop(rule: dict[str, Any]) -> bool:
    """Drops everything that comes so far: nothing before the verdict looks at the packet."""
    return {"drop": None} in rule["expr"] and not any("match" in item for item in rule["expr"])


@pytest.mark.parametrize("mode", MODES)
def test_what_was_not_let_through_is_dropped(mode: str) -> None:
    for name, guard in guards(mode).items():
        for chain, rules in chains(guard).items():
            if chain in ("forward", "peers", "back", "local") or (
                chain == "out" and "web" not in name
            ):
                assert is_drop(rules[-1]), f"{name} {chain}"


LEGS = ("its leg", "to a leg")


def test_bridged_frames_are_not_tracked_in_the_root() -> None:
    """br_netfilter would make a connection of each flow within a segment."""
    (table,) = (item for item in compiled("vrf").state if isinstance(item, NftTable))
    first = chains(table)["zone"][0]
    assert first["expr"][-1] == {"notrack": None} and "@bridge_ifaces" in json.dumps(first)


@pytest.mark.parametrize(
    ("mode", "chains"),
    [("namespace", ("untracked-prerouting", "untracked-output")), ("vrf", ("zone", "zone-out"))],
)
def test_what_a_leg_of_a_mesh_carries_is_not_tracked(mode: str, chains: tuple[str, str]) -> None:
    """Before conntrack sees it, in both directions, and nothing after that tracks it again. GRE of
    a wire is one connection, and conntrack judges ICMP errors about it.
    """
    seen = 0
    for guard in guards(mode).values():
        before = [chain for chain in guard.chains if base(chain.name) in chains]
        rules = {base(chain.name): json.loads(chain.rules[0]) for chain in before}
        if not any(rule["comment"] in LEGS for rule in rules.values()):
            continue
        seen += 1
        assert [rules[name]["comment"] for name in chains] == list(LEGS)
        for rule in rules.values():
            assert rule["expr"][-2:] == [{"notrack": None}, {"return": None}]
    meshes = {item.master for item in compiled(mode).state if isinstance(item, Vxlan)}
    assert seen == len(meshes) > 0


@pytest.mark.parametrize("mode", MODES)
def test_both_families_are_filtered_alike(mode: str) -> None:
    """A rule that looks at endpoints of one family has its like for the other."""
    for name, guard in guards(mode).items():
        for chain in guard.chains:
            seen = {4: list(looks(chain, "@endpoints4")), 6: list(looks(chain, "@endpoints6"))}
            if "wire" in name or "whole" in name or "campus" in name or "trunk" in name:
                seen[4] = [item for item in seen[4] if item not in LEGS]  # legs are IPv4 only
            # A resource is of one family.
            seen = {
                version: [item for item in found if not item.endswith(": resource")]
                for version, found in seen.items()
            }
            assert seen[4] == seen[6], f"{name} {chain.name}"


def looks(chain: NftChain, name: str) -> Iterator[str]:
    for text in chain.rules:
        if name in text:
            yield json.loads(text)["comment"]


@pytest.mark.parametrize("mode", MODES)
def test_only_what_an_endpoint_owns_comes_from_it(mode: str) -> None:
    """Before anything is let out or over, sources that are nobody's are dropped."""
    for name, guard in guards(mode).items():
        for chain, rules in chains(guard).items():
            if chain not in ("out", "peers"):
                continue
            passing = [
                n
                for n, rule in enumerate(rules)
                if {"drop": None} not in rule["expr"] and "(log)" not in rule["comment"]
            ]
            for family in ("ip", "ip6"):
                guarded = [n for n, rule in enumerate(rules) if spoof(rule, family)]
                assert guarded, f"{name} {chain} {family}"
                assert not passing or guarded[0] < passing[0], f"{name} {chain}"


@pytest.mark.parametrize("mode", MODES)
def test_only_replies_come_back(mode: str) -> None:
    """Two guards stand on the way in, and each looks for itself."""
    seen = 0
    for name, guard in (guards(mode) | {"gateway": root_guard(mode)}).items():
        for rule in chains(guard).get("back", []):
            if {"accept": None} in rule["expr"]:
                assert any(
                    "state" in json.dumps(item) and "established" in json.dumps(item)
                    for item in rule["expr"]
                ), name
                seen += 1
    assert seen > 2 * 2


@pytest.mark.parametrize("mode", MODES)
def test_a_reply_meets_what_is_permitted_now(mode: str) -> None:
    """What lets a request out has its like for the replies, by the connection's original tuple;
    each alternative is a rule.
    """
    seen = 0
    for name, guard in guards(mode).items():
        own = chains(guard)
        for out, back in (("out", "back"), ("peers", "peers")):
            asked = [
                text
                for rule in own.get(out, [])
                for text in permitted(rule, "daddr")
                if "replies" not in rule["comment"]
            ]
            told = {text for rule in own.get(back, []) for text in permitted(rule, "original")}
            if back == "back" or "corp" in name:
                assert {text for text in asked if text} == told, f"{name} {out}"
                seen += len(told)
    assert seen == 2 * 2 + 4  # opened and dns4/6 of one type; four resources of the other


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("listed", [False, True])
def test_what_has_no_ports_does_not_share_an_address(mode: str, listed: bool) -> None:
    """Every IP protocol, asked of the rules: only what NAT can tell apart gets out, and more where
    IPv4 has no NAT.
    """
    nat = {"nat": False, "protocols": ["gre", 50]} if listed else {}
    built, vcid = alone(world.network(2, isolation=mode, subnet="10.33.0.0/28", **nat))
    beyond = {47, 50} if listed else set()
    for netns, links in egress_links(mode, vcid):
        book = Ruleset(item for item in built.state if getattr(item, "netns", None) == netns)
        translated = (mode, netns, listed) == ("namespace", ROOT, False)
        left = leaving(book, links, "198.19.0.1" if translated else "10.33.0.1", "198.51.100.7")
        if (mode, netns, listed) == ("namespace", ROOT, True):
            assert (
                left >= {1, 6, 17} | beyond
            )  # without NAT the network's own guard, before this one, is the judge
        else:
            assert left == {1, 6, 17} | beyond
        six = source_in(book, 6)
        assert leaving(book, links, six, "2001:db8:51::7") == {6, 17, 58}
        unknown = Packet(
            six, "2001:db8:51::7", "", iif=links[0], oif=links[1]
        )  # extension headers without an end
        assert book.evaluate("forward", unknown).what == "drop", netns


@pytest.mark.parametrize("mode", MODES)
def test_of_icmp_only_echo_leaves(mode: str) -> None:
    built, vcid = alone(world.network(2, isolation=mode))
    netns, (iif, oif) = egress_links(mode, vcid)[0]
    book = Ruleset(item for item in built.state if getattr(item, "netns", None) == netns)
    for version, target in ((4, "198.51.100.7"), (6, "2001:db8:51::7")):
        for kind in (
            "timestamp-request",
            "redirect",
            "nd-router-advert",
            "destination-unreachable",
        ):
            packet = Packet(
                source_in(book, version), target, "icmp", iif=iif, oif=oif, icmp_type=kind
            )
            found = book.evaluate("forward", packet)
            assert (found.what, found.rule in ("protocol", "forged-error")) == ("drop", True), (
                version,
                kind,
            )


def alone(body: dict[str, Any]) -> tuple[Compiled, int]:
    """A network by itself, and its VCID."""
    wanted = world.target(world.intent(GATEWAY, web=body))
    built = compile_state(wanted.intent, wanted.allocations, wanted.master, PLAIN, wanted.today)
    assert not built.problems
    return built, wanted.allocations.networks["web"].vcid


def egress_links(mode: str, vcid: int) -> list[tuple[str, tuple[str, str]]]:
    """The rooms whose forward chain a packet meets on its way out, and its links there."""
    if mode == "vrf":
        return [(ROOT, (f"vrf-{vcid}", PLAIN.uplink))]
    return [(f"warp-{vcid}", (f"wg-{vcid}", f"up-{vcid}")), (ROOT, (f"dn-{vcid}", PLAIN.uplink))]


def source_in(book: Ruleset, version: int) -> str:
    """An address that the rules take for one of the network's own."""
    names = [name for name in book.sets if base(name) == f"endpoints{version}"] or [
        f"sources{version}"
    ]
    return sorted(book.sets[names[0]])[-1].partition("/")[0]


def leaving(book: Ruleset, links: tuple[str, str], source: str, target: str) -> set[int]:
    """The IP protocols that the forward chain accepts."""
    iif, oif = links
    packets = {
        number: Packet(source, target, str(number), iif=iif, oif=oif) for number in range(256)
    }
    return {
        number
        for number, packet in packets.items()
        if book.evaluate("forward", packet).what == "accept"
    }


@pytest.mark.parametrize("mode", MODES)
def test_of_gre_a_leg_takes_in_its_own_frames_only(mode: str) -> None:
    """Any other would go to a tunnel that the host has for itself."""
    body = {"type": "l2-point-to-point", "endpoints": {"a": {"type": "cpe"}, "b": {"type": "cpe"}}}
    built, _vcid = alone({**body, "isolation": mode})
    items = [item for item in built.state if isinstance(item, NftTable | NetworkSubtable)]
    (guard,) = (item for item in items if item.group != ROOT)
    found = chains(guard)["local"]
    (expressions,) = (each["expr"] for each in found if each["comment"] == "its leg")
    source = source_in(Ruleset(built.state), 4)
    (target,) = (
        item["match"]["right"]
        for item in expressions
        if item.get("match", {}).get("left") == {"payload": {"protocol": "ip", "field": "daddr"}}
    )
    chain = next(chain.name for chain in guard.chains if base(chain.name) == "local")
    book = Ruleset(built.state)
    for head, verdict in {0x6558: "accept", 0x0800: "drop", 0x20006558: "drop"}.items():
        packet = Packet(source, target, "gre", head=head)
        assert book.evaluate(chain, packet).what == verdict, hex(head)


def permitted(rule: dict[str, Any], word: str) -> Iterator[str]:
    """What a rule that lets pass compares a destination with, as text."""
    lets = {"accept": None} in rule["expr"] or {"goto": {"target": "out"}} in rule["expr"]
    if lets and "errors" not in rule["comment"]:
        for item in rule["expr"]:
            left = json.dumps(item.get("match", {}).get("left"))
            if "daddr" in left and word in left and "@endpoints" not in str(item["match"]["right"]):
                yield json.dumps(item["match"]["right"])


@pytest.mark.parametrize("mode", MODES)
def test_networks_do_not_meet_in_the_root(mode: str) -> None:
    """Neither by the link that a packet would leave by, nor by the address that it goes to: before
    anything is let out.
    """
    rules = chains(root_guard(mode))["out"]
    first = next(number for number, rule in enumerate(rules) if {"accept": None} in rule["expr"])
    stopped = [json.dumps(rule["expr"]) for rule in rules[:first] if {"drop": None} in rule["expr"]]
    for what in ('"oifname"', '"@ranges4"', '"@ranges6"'):
        assert sum(what in text for text in stopped) == 1, what


@pytest.mark.parametrize("mode", MODES)
def test_a_connection_that_began_without_nat_ends_before_anything_is_let_out(mode: str) -> None:
    """NAT looks at the first packet of a connection only; the check is for both families."""
    found = 0
    for rules in chains(guards(mode)[f"{mode[0]}-web"]).values():
        for number, rule in enumerate(rules):
            if "untranslated" in rule["comment"] and {"drop": None} in rule["expr"]:
                found += "snat" in json.dumps(rule["expr"])
                assert not any({"accept": None} in before["expr"] for before in rules[:number])
    assert found == 2


def root_guard(mode: str) -> NftTable:
    return next(item for item in compiled(mode).shared if isinstance(item, NftTable))


def spoof(rule: dict[str, Any], family: str) -> bool:
    wanted = {"payload": {"protocol": family, "field": "saddr"}}
    return {"drop": None} in rule["expr"] and any(
        item.get("match", {}).get("left") == wanted and item["match"]["op"] == "!="
        for item in rule["expr"]
    )


@pytest.mark.parametrize("mode", MODES)
def test_a_resource_is_its_address_protocol_and_ports(mode: str) -> None:
    rules = chains(guards(mode)[f"{mode[0]}-corp"])
    listed = [
        rule["expr"]
        for chain in ("out", "peers")
        for rule in rules[chain]
        if rule["comment"] == "resource"
    ]
    shown = [json.dumps(expr) for expr in listed]
    assert len(shown) == 5
    assert any(
        '"172.20.0.0"' in text and '"tcp"' in text and "443" in text and "[8000, 8100]" in text
        for text in shown
    )
    assert sum('"172.21.1.5"' in text for text in shown) == 2  # TCP and UDP; echo
    assert any(
        '"172.21.1.5"' in text and '"l4proto"' in text and "[17, 6]" in text for text in shown
    )
    assert any(
        '"172.21.1.5"' in text and '"icmp"' in text and '"echo-request"' in text for text in shown
    )
    assert any(
        '"fd55::"' in text and '"icmpv6"' in text and '"echo-request"' in text for text in shown
    )
    within = [json.dumps(rule["expr"]) for rule in rules["peers"] if rule["comment"] == "resource"]
    assert len(within) == 1
    assert '"192.168.77.0"' in within[0] and '"right": 17' in within[0]


def test_every_vrf_ends_in_unreachable_routes_before_it_exists() -> None:
    built = compiled("vrf")
    for vrf in (item for item in built.state if isinstance(item, Vrf)):
        ends = [
            item
            for item in built.state
            if isinstance(item, Route)
            and item.table == vrf.table
            and item.metric == LAST_RESORT
            and not item.device
        ]
        assert {item.prefix for item in ends} == {"0.0.0.0/0", "::/0"}
        assert all(item.kind == RTN_UNREACHABLE and item.phase <= vrf.phase for item in ends)


def test_networks_in_the_root_share_neither_table_zone_nor_mark() -> None:
    built = compiled("vrf")
    tables = [item.table for item in built.state if isinstance(item, Vrf)]
    assert (
        len(set(tables))
        == len(tables)
        == len(world.every_type("vrf"))
        == len({mark_of(table) for table in tables})
    )
    for item in built.state:
        if not isinstance(item, NetworkSubtable):
            continue
        text = "\n".join(rule for chain in item.chains for rule in chain.rules)
        zones = {
            int(part.split("}")[0])
            for part in text.split('"key":"zone"')[1:]
            for part in [part.split('"value":')[1]]
        }
        assert len(zones) == 1
        (zone,) = zones
        assert zone in tables
        tables.remove(zone)
        assert str(mark_of(zone)) in text
    assert not tables


def test_a_vrf_without_a_way_out_has_none() -> None:
    """Types without egress: no mark that leads to the host's table, no leaked route, no grant in
    the gateway's table.
    """
    built = compiled("vrf")
    closed = {group for group, name in built.names.items() if name not in ("v-web", "v-corp")}
    for item in built.state:
        if isinstance(item, NetworkSubtable) and item.group in closed:
            assert not [entry for entry in item.entries if entry[0] == "reply_map"]
            steer = [
                text for chain in item.chains if base(chain.name) == "steer" for text in chain.rules
            ]
            assert steer and not [text for text in steer if '"key":{"ct":{"key":"mark"}}' in text]
        if item.group in closed:
            assert not (isinstance(item, Rule) and item.suppress >= 0)
            assert not (isinstance(item, Route) and item.device == PLAIN.uplink)
            assert not (isinstance(item, NftElements) and item.set == "permitted_ifaces")


def test_a_leg_in_the_root_believes_its_own_network_only() -> None:
    built = compiled("vrf")
    marks = {item.group: item.table for item in built.state if isinstance(item, Vrf)}
    gates = [item for item in built.state if isinstance(item, IngressFilter)]
    assert len(gates) == 9
    for gate in gates:
        first = json.loads(gate.rules[0])["expr"]
        assert first[0]["match"] == {
            "op": "!=",
            "left": {"&": [{"meta": {"key": "mark"}}, 0xFFFFFFFF ^ PERMITTED]},
            "right": mark_of(marks[gate.group]),
        }
        assert {"drop": None} in first
    for leg in (item for item in built.state if isinstance(item, Gretap)):
        assert leg.underlay.startswith("vrf-"), (
            "two tunnels with the same two ends are told apart by nothing else"
        )


@pytest.mark.parametrize("mode", MODES)
def test_segments_let_in_the_permitted_vlans(mode: str) -> None:
    built = compiled(mode)
    ports = {}
    for item in built.state:
        if isinstance(item, BridgePort):
            ports.setdefault(built.names[item.group].split("-")[1], set()).add(
                (item.untagged, item.tagged, item.learning)
            )
    assert ports["wire"] == {(0, ((100, 110),), False)}
    assert ports["whole"] == {(1, ((2, 4094),), False)}
    assert ports["trunk"] == {(0, ((200, 210),), True)}
    ((untagged, tagged, learning),) = ports["campus"]
    assert untagged and not tagged and learning
    for item in built.state:
        if isinstance(item, Bridge):
            assert item.filtering and not item.default_pvid


@pytest.mark.parametrize(
    "modes", [("namespace",), ("vrf",), MODES], ids=["namespaces", "VRFs", "both"]
)
def test_reach_comes_last_and_goes_first(modes: tuple[str, ...]) -> None:
    networks = {name: body for mode in modes for name, body in world.every_type(mode).items()}
    wanted = world.target(world.intent(GATEWAY, **networks))
    kernel = FakeKernel()
    steps = planned_run(kernel, wanted).plan.steps
    for group in {step.group for step in steps} - {ROOT}:
        own = [step for step in steps if step.group == group]
        ranks = [step.change.subject.phase for step in own]
        assert ranks[-1] is Phase.PERMIT
        assert all(phase is Phase.PERMIT for phase in ranks[ranks.index(Phase.PERMIT) :]), group
        assert ranks[0] in (Phase.GUARD, Phase.NAMESPACE)
        guard = next(
            n
            for n, step in enumerate(own)
            if isinstance(step.change.subject, NftTable | NetworkSubtable)
        )
        links = [
            n
            for n, step in enumerate(own)
            if step.key.kind == "link" and not isinstance(step.change.subject, Vrf)
        ]
        assert min(links) > guard, group
    for step in steps:
        kernel.objects[step.key] = step.change.after
    gone = removal(kernel).plan.steps
    for group in {step.group for step in gone} - {ROOT}:
        ranks = [
            step.change.subject.phase
            for step in gone
            if step.group == group and step.key.kind not in ("route", "address")
        ]
        assert ranks == sorted(ranks, reverse=True), group


@pytest.mark.parametrize("mode", MODES)
def test_allowed_ips_are_what_the_guard_believes(mode: str) -> None:
    built = compiled(mode)
    for group in built.names:
        held = {
            ip.removesuffix("/32").removesuffix("/128")
            for item in built.state
            for ip in allowed(item, group)
        }
        permitted = {element for item in built.state for element in elements(item, group)}
        assert held == permitted, built.names[group]


def allowed(item: Any, group: str) -> tuple[str, ...]:
    return item.allowed_ips if isinstance(item, WireguardPeer) and item.group == group else ()


def elements(item: Any, group: str) -> frozenset[str]:
    own = isinstance(item, NftElements) and item.group == group and item.set.startswith("endpoints")
    return item.elements if own else frozenset()


def test_rules_lead_answers_home_and_only_the_marked_out() -> None:
    built = compiled("vrf")
    rules = [item for item in built.state if isinstance(item, Rule)]
    tables = {item.table for item in built.state if isinstance(item, Vrf)}
    for version in (4, 6):
        own = [
            rule for rule in rules if rule.version == version and not (rule.blackhole or rule.link)
        ]
        assert {(rule.mark, rule.table) for rule in own if rule.group} == {
            (mark_of(table), table) for table in tables
        }
        shared = {
            (rule.priority, rule.mark, rule.mask, rule.goto, rule.nop)
            for rule in own
            if not rule.group
        }
        # past the kernel's own rule for l3mdev (1000), on with the host's rules
        assert shared == {
            (980, MARKS, OF_A_TABLE, 1001, False),
            (990, 0, 0, 0, False),
            (1001, 0, 0, 0, True),
        }


@pytest.mark.parametrize("isolation", ["namespace", "vrf"])
def test_what_no_table_of_ours_has_marked_is_routed_nowhere(isolation: str) -> None:
    """Every link by which packets come in that are routed has a rule that drops the unmarked, made
    before the link.
    """
    built = compiled(isolation)
    rules = [item for item in built.state if isinstance(item, Rule) and item.blackhole]
    assert {(rule.mark, rule.mask, rule.phase) for rule in rules} == {
        (0, MARK_BYTE, Phase.NAMESPACE)
    }
    guarded = {(rule.netns, rule.link, rule.version) for rule in rules}
    for group in built.names:
        own = [item for item in built.state if item.group == group]
        if isolation == "vrf":
            links = [(ROOT, item.name) for item in own if isinstance(item, Vrf)]
        else:
            links = [(item.netns, item.name) for item in own if isinstance(item, WireguardLink)]
            pairs = [item for item in own if isinstance(item, Veth)]
            links += [(ROOT, item.name) for item in pairs] + [
                (item.peer_netns, item.peer_name) for item in pairs
            ]
        assert links
        for netns, link in links:
            by_source = (
                netns == ROOT and isolation == "namespace"
            )  # what comes by a transit link has a transit address
            assert (netns, link, 4) in guarded or (
                by_source and transit_is_guarded(built, group, rules)
            )
            assert (netns, link, 6) in guarded or (netns != ROOT and not has_ipv6(built, group))


@pytest.mark.parametrize("nat", [True, False])
def test_what_no_table_of_ours_has_marked_reaches_no_namespace(nat: bool) -> None:
    """Every route of the root by a transit link leads to a range that only marked packets, and the
    host itself, look up.
    """
    built, vcid = alone(world.network(2, nat=nat, nat6=nat))
    led = [
        item
        for item in built.state
        if isinstance(item, Route) and (item.netns, item.device) == (ROOT, f"dn-{vcid}")
    ]
    assert {ip_network(item.prefix).version for item in led} == {4, 6}
    assert len(led) == (2 if nat else 4)
    rules = [
        item for item in built.state if isinstance(item, Rule) and item.netns == ROOT and item.to
    ]
    guarded = [
        ip_network(item.to)
        for item in rules
        if item.blackhole and (item.mark, item.mask) == (0, MARK_BYTE)
    ]
    spared = [ip_network(item.to) for item in rules if item.link == "lo" and not item.blackhole]
    assert guarded == spared
    for item in led:
        prefix = ip_network(item.prefix)
        assert any(prefix.subnet_of(one) for one in guarded if one.version == prefix.version), (
            item.prefix
        )  # type: ignore[arg-type]


def transit_is_guarded(built: Compiled, group: str, rules: list[Rule]) -> bool:
    ranges = [ip_network(rule.to) for rule in rules if rule.version == 4 and rule.to]
    transit = built.parts[group].inputs.allocation.transit
    return any(isinstance(item, IPv4Network) and transit.subnet_of(item) for item in ranges)


def has_ipv6(built: Compiled, group: str) -> bool:
    return built.parts[group].inputs.network.ipv6


Frame = tuple[str, tuple[int, ...]]  # destination, and the types from the outside in
TAG_TYPES = (0x8100, 0x88A8, 0x9100, 0x9200, 0x9300)
PAYLOADS = (0x0800, 0x86DD, 0x0806, 0x88CC, 0x8809)


def fate(filters: Filters, frame: Frame) -> tuple[str, str]:
    """What the first filter does that matches and does not go on; "pass" without one."""
    for item in sorted(filters, key=lambda each: each.preference):
        if item.verdict != "limit" and takes(item, frame):
            return item.verdict, item.reason
    return "pass", ""


def takes(item: TcFilter, frame: Frame) -> bool:
    address, types = frame
    behind = types[1] if len(types) > 1 else 0
    same_type = item.ethertype in (ETH_P_ALL, types[0]) and item.vlan_ethertype in (0, behind)
    return same_type and (not item.destination_mac or within(address, item.destination_mac))


def within(address: str, pattern: str) -> bool:
    wanted, _, mask = pattern.partition("/")
    bits = octets(mask) if mask else (1 << 48) - 1
    return octets(address) & bits == octets(wanted) & bits


def octets(text: str) -> int:
    return int(text.replace(":", ""), 16)


def ingress(built: Compiled, kind: type) -> dict[str, list[Filters]]:
    """By the network's type, the filters at the ingress of its bridge or of its legs."""
    links = {item.key for item in built.state if isinstance(item, kind)}
    out: dict[str, list[Filters]] = {}
    for item in built.state:
        if isinstance(item, TcIngress) and item.container in links:
            out.setdefault(built.names[item.group].split("-")[1], []).append(item.filters)
    return out


@pytest.mark.parametrize("mode", MODES)
def test_every_link_of_a_segment_has_filters_before_it_is_up(mode: str) -> None:
    built = compiled(mode)
    links = [item for item in built.state if isinstance(item, Bridge | Leg)]
    assert len(links) == 13
    for link in links:
        (guard,) = [
            item
            for item in built.state
            if isinstance(item, TcIngress) and item.container == link.key
        ]
        assert guard.phase < Phase.UP
        assert guard.filters
        assert guard.group == link.group


@pytest.mark.parametrize("mode", MODES)
def test_what_a_bridge_would_hand_to_its_host_ends_before_it(mode: str) -> None:
    built = compiled(mode)
    depths = [types for depth in range(3) for types in itertools.product(TAG_TYPES, repeat=depth)]
    for name, legs in ingress(built, Leg).items():
        for filters, number, tags, payload in itertools.product(legs, range(16), depths, PAYLOADS):
            verdict, reason = fate(filters, (f"01:80:c2:00:00:{number:02x}", (*tags, payload)))
            assert number == 0 or (verdict, reason) == ("drop", "reserved-mac"), (
                name,
                number,
                tags,
            )
    for filters in itertools.chain.from_iterable(ingress(built, Bridge).values()):
        for address, payload in itertools.product(
            ("02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff"), PAYLOADS
        ):
            assert fate(filters, (address, (payload,)))[0] == "drop"


@pytest.mark.parametrize("mode", MODES)
def test_a_frame_has_no_more_tags_than_its_network_permits(mode: str) -> None:
    for name, legs in ingress(compiled(mode), Leg).items():
        for filters, first, second in itertools.product(legs, TAG_TYPES, TAG_TYPES):
            verdict = fate(filters, ("ff:ff:ff:ff:ff:ff", (first, second, 0x0800)))
            assert verdict == (("pass", "") if name == "whole" else ("drop", "vlan-stacked")), (
                name,
                first,
                second,
            )
        for filters, first in itertools.product(legs, TAG_TYPES):
            verdict = fate(filters, ("ff:ff:ff:ff:ff:ff", (first, 0x0800)))
            assert verdict[0] == ("pass" if name == "whole" or first == 0x8100 else "drop"), (
                name,
                first,
            )


@pytest.mark.parametrize("mode", MODES)
def test_one_endpoint_does_not_fill_a_segment(mode: str) -> None:
    """Where one frame becomes many, broadcasts are limited; what a bridge learns is bounded
    everywhere.
    """
    built = compiled(mode)
    for name, legs in ingress(built, Leg).items():
        for filters in legs:
            limits = [item for item in filters if item.verdict == "limit"]
            assert bool(limits) == (name in ("campus", "trunk"))
            assert all(
                takes(item, ("ff:ff:ff:ff:ff:ff", (0x0806,))) and item.packets_per_s
                for item in limits
            )
    for bridge in (item for item in built.state if isinstance(item, Bridge)):
        legs_of = [
            item for item in built.state if isinstance(item, Leg) and item.master == bridge.name
        ]
        assert bridge.max_learned == LEARNED_PER_LEG * len(
            [leg for leg in legs_of if leg.netns == bridge.netns]
        )


@pytest.mark.parametrize("mode", MODES)
def test_each_network_leaves_by_links_of_its_own(mode: str) -> None:
    """By the uplink of the packet's family, or by a link of the host towards what the network may
    reach; by nothing else.
    """
    host = dataclasses.replace(
        PLAIN,
        uplinks4=("eth0", "eth9"),
        uplinks6=("eth1",),
        range_routes=(
            RangeRoute("10.9.0.0/16", ("lan0",)),
            RangeRoute("172.20.0.0/16", ("lan0", "lan1")),
            RangeRoute("10.0.0.0/8", ("lan7",)),
        ),
    )
    wanted = world.target(world.intent(GATEWAY, **world.every_type(mode)))
    built = compile_state(wanted.intent, wanted.allocations, wanted.master, host, world.TODAY)
    table = next(item for item in built.state if isinstance(item, NftTable) and item.netns == ROOT)
    sets = {item.name: set(item.elements) for item in table.sets}
    guarded = {
        name: part.contribution.guarded_ifaces
        for name, part in ((part.inputs.name[2:], part) for part in built.parts.values())
    }
    assert set(guarded) >= {"web", "corp", "sites", "campus"}
    leaving = [iface for name in ("web", "corp") for iface in guarded[name]]
    assert sets["uplinks4"] == {
        f"{iface} . {link}" for iface in leaving for link in ("eth0", "eth9")
    }
    assert sets["uplinks6"] == {f"{iface} . eth1" for iface in leaving}
    web = {f"{iface} . lan0 . 10.9.0.0/16" for iface in guarded["web"]}
    assert sets["egress_routes4"] == web | {
        f"{iface} . {link} . 172.20.0.0/16"
        for iface in guarded["corp"]
        for link in ("lan0", "lan1")
    }
    assert sets["egress_routes6"] == set()
    out = [rule for rule in chains(table)["out"] if {"accept": None} in rule["expr"]]
    assert len(out) == 4 and all(
        "@uplinks" in json.dumps(rule) or "@egress_routes" in json.dumps(rule) for rule in out
    )
    towards = [
        item["match"]
        for rule in out
        for item in rule["expr"]
        if "@egress_routes" in json.dumps(item)
    ]
    fields = [
        [part["payload"] for part in match["left"]["concat"] if "payload" in part]
        for match in towards
    ]
    assert fields == [[{"protocol": family, "field": "daddr"}] for family in ("ip", "ip6")]


def test_a_link_with_a_name_that_means_more_lets_nothing_out() -> None:
    host = dataclasses.replace(
        PLAIN, uplinks4=("e*",), uplinks6=(), range_routes=(RangeRoute("10.9.0.0/16", ("lan*",)),)
    )
    wanted = world.target(
        world.intent(GATEWAY, web=world.network(1, allow_private=["10.9.0.0/16"]))
    )
    built = compile_state(wanted.intent, wanted.allocations, wanted.master, host, world.TODAY)
    table = next(item for item in built.state if isinstance(item, NftTable) and item.netns == ROOT)
    assert not any(
        item.elements for item in table.sets if item.name.startswith(("uplinks", "ways"))
    )
