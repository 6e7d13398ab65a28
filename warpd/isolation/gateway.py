"""The gateway's own guard: our table in the root namespace, shared by all networks.

Nothing from a network's door reaches a service of the host, another network, another network's range by way
of the uplink, or the uplink itself before it is granted. NAT goes to ports on which the gateway does not
listen: a mapping on a listening port would hand one client the answers meant for that port.

A network that lives in the root itself (VRF) has a part of its own here: maps send what concerns its links to its
chains, first of all. What its chains let out goes through the same checks as everybody's.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence

from warpd.isolation import blocks, limits, neighbours
from warpd.isolation.rules import REDIRECTED, UNTRACKED, Range, drops, merged
from warpd.objects.nft import JOINT, NftChain, NftSet, NftTable
from warpd.objects.nft_rules import (
    ACCEPT,
    ANSWERS,
    DROP,
    between,
    count,
    dispatch,
    jump,
    mangle,
    match,
    members,
    meta,
    payload,
    rule,
    together,
)
from warpd.objects.route import TABLE_MAIN, Route, default_metric
from warpd.objects.rule import Rule
from warpd.objects.sysctl import TAG_FENCE4, TAG_FENCE6, TAG_SET, Sysctl
from warpd.state import ROOT, Host, Object

FENCE4 = "warpd: fence4"
FENCE6 = "warpd: fence6"
# Before others' source NAT (100), whatever was loaded last: theirs would keep a client's source port.
NAT_PRIORITY = 90
RAW_PRIORITY, MANGLE_PRIORITY = -300, -150
FIRST_NAT_PORT = 1024
LAST_PORT = 65535
# Connection marks of networks that live in the root: this, and the routing table in the low 16 bits.
MARKS = 0x77000000
TABLES_LAST = 0xFFFF
PAIR = f"ifname{JOINT}ifname"
UPLINK_TABLE = MARKS + TABLES_LAST + 1  # a routing table of our own, in the root
# Routing rules for what leaves; all before the kernel's own for l3mdev (1000).
BETTER_PRIORITY, STEER_PRIORITY = 980, 981
LEAVING = MARKS  # on packets only: what a network in the root sends to the uplink


def mark_of(table: int) -> int:
    return MARKS + table


def fences(table: NftTable | None) -> tuple[tuple[str, ...], bool]:
    """What our own fence rules say in a table that was read: the links fenced for IPv4, and whether IPv6 is."""
    rules = [text for chain in table.chains if chain.name == "forward" for text in chain.rules] if table else []
    comments = [str(json.loads(text)["comment"]) for text in rules]
    links = (comment.removeprefix(FENCE4).strip() for comment in comments if comment.startswith(FENCE4))
    return tuple(sorted(links)), FENCE6 in comments


def free_ports(listening: Iterable[int]) -> tuple[int, int]:
    """The widest run of ports from 1024 on which the gateway does not listen. First and last, inclusive."""
    taken = sorted({port for port in listening if port >= FIRST_NAT_PORT})
    edges = [FIRST_NAT_PORT - 1, *taken, LAST_PORT + 1]
    runs = [(low + 1, high - 1) for low, high in itertools.pairwise(edges)]
    return max(runs, key=lambda run: (run[1] - run[0], -run[0]))


def guard(
    host: Host,
    ranges: Sequence[Range],
    routed: Sequence[Range],
    sources: Sequence[Range],
    listening: Iterable[int],
    doors: Iterable[str],
    port_blocks: Iterable[int],
    uplinks: Iterable[tuple[str, str, int]],
    ways: Iterable[tuple[str, str, Range]],
) -> NftTable:
    """Our table in the root.

    What comes in by a door leaves by the links that `uplinks` says, as (door, link, IP version), wherever it goes, and by
    those of `ways`, as (door, link, range), towards that range.
    `ranges` are all networks' own ranges, `routed` those that keep their source, `sources` all that may come out of
    the networks' doors, `listening` the UDP ports, `doors` the links by which networks come in, `port_blocks` those in use.
    """
    sets = (
        *(NftSet(name, "ifname", map="verdict") for name in ("backs", "forwards", "inputs", "steers", "zones", "zones-out")),
        NftSet(blocks.MAP, "ifname", map="verdict"),
        NftSet("bridges", "ifname"),
        NftSet("doors", "ifname"),
        NftSet("links", "ifname"),
        *neighbours.sets(host.onlink),
        NftSet("ranges4", "ipv4_addr", True, merged(ranges, 4)),
        NftSet("ranges6", "ipv6_addr", True, merged(ranges, 6)),
        *_ways(list(uplinks), ways),
        NftSet("sources4", "ipv4_addr", True, merged(sources, 4)),
        NftSet("sources6", "ipv6_addr", True, merged(sources, 6)),
        NftSet("routed4", "ipv4_addr", True, merged(routed, 4)),
        NftSet("routed6", "ipv6_addr", True, merged(routed, 6)),
    )
    counters = (
        "between-networks",
        "fenced",
        "hairpin",
        "host-service",
        limits.PORTS,
        "not-granted",
        "redirected",
        "spoofed",
        limits.COUNT,
        neighbours.REASON,
        "unsolicited",
        "untracked",
        "wrong-uplink",
    )
    first, last = free_ports(listening)
    shares = limits.gateway_chains(host.conntrack_max, blocks.width(first, last))
    chains = (
        NftChain("forward", _forward(host), "forward"),
        NftChain("input", tuple(_input()), "input"),
        NftChain("postrouting", tuple(_postrouting()), "postrouting", "nat", NAT_PRIORITY),
        NftChain("zone", (rule("networks", dispatch("iifname", "zones")),), "prerouting", "filter", RAW_PRIORITY),
        NftChain("zone-out", (rule("networks", dispatch("oifname", "zones-out")),), "output", "filter", RAW_PRIORITY),
        NftChain("steer", tuple(_steer(host)), "prerouting", "filter", MANGLE_PRIORITY),
        NftChain("back", tuple(_back())),
        NftChain("out", tuple(_out())),
        *(NftChain(name, rules) for name, rules in shares.items()),
        *(NftChain(name, rules) for name, rules in neighbours.chains().items()),
        *blocks.chains(first, last, port_blocks),
    )
    by_name = sorted(chains, key=lambda chain: chain.name)
    return NftTable(
        ROOT, tuple(sorted(sets, key=lambda s: s.name)), tuple(sorted(counters)), tuple(by_name), tuple(sorted(doors))
    )


def _ways(uplinks: Sequence[tuple[str, str, int]], ways: Iterable[tuple[str, str, Range]]) -> Iterator[NftSet]:
    """Where each network may leave. A door stands beside a link of the host, so that no network leaves by another's way."""
    towards: dict[str, list[Range]] = {}
    for door, link, target in ways:
        towards.setdefault(f"{door}{JOINT}{link}", []).append(target)
    for version, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        pairs = sorted({f"{door}{JOINT}{link}" for door, link, own in uplinks if own == version})
        yield NftSet(f"uplinks{version}", PAIR, False, tuple(pairs))
        elements = (f"{pair}{JOINT}{block}" for pair, blocks in towards.items() for block in merged(blocks, version))
        yield NftSet(f"ways{version}", f"{PAIR}{JOINT}{kind}", True, tuple(sorted(elements)))


def _from_door() -> dict[str, object]:
    return match(meta("iifname"), "@doors")


def _to_door() -> dict[str, object]:
    return match(meta("oifname"), "@doors")


def _forward(host: Host) -> tuple[str, ...]:
    rules = [
        *neighbours.learns(_to_door()),
        rule("networks in the root", dispatch("iifname", "forwards")),
        rule("what leaves a network", _from_door(), jump("out")),
        rule("networks in the root", dispatch("oifname", "backs")),
        rule("what comes back to one", _to_door(), jump("back")),
        rule("frames within a segment", match(meta("iifname"), "@bridges"), ACCEPT),
    ]
    for link in sorted(host.fence4):
        matches = (match(meta("nfproto"), "ipv4"), match(meta("iifname"), link))
        rules.append(rule(f"{FENCE4} {link}", *matches, count("fenced"), DROP))
    if host.fence6:
        rules.append(rule(FENCE6, match(meta("nfproto"), "ipv6"), count("fenced"), DROP))
    return tuple(rules)


def _input() -> list[str]:
    neighbours = members("nd-neighbor-solicit", "nd-neighbor-advert")
    return [
        rule("networks in the root", dispatch("iifname", "inputs")),
        rule("neighbour discovery", _from_door(), match(payload("icmpv6", "type"), neighbours), ACCEPT),
        *drops("gateway", "host-service", _from_door()),
    ]


def _steer(host: Host) -> list[str]:
    """Answers to what a network in the root sent find their way to its table by the mark of their connection.

    Where the host's default route does not lead over the uplink, what leaves a namespace is marked like what leaves a VRF.
    """
    answered = match({"ct": {"key": "direction"}}, "reply")
    own = match({"ct": {"key": "mark"}}, between(MARKS, MARKS + TABLES_LAST))
    outside = match(meta("iifname"), "@doors", op="!=")
    return [
        rule("networks in the root", dispatch("iifname", "steers")),
        rule("answers", outside, answered, own, mangle(meta("mark"), {"ct": {"key": "mark"}})),
        *(
            rule("leaves", match(meta("nfproto"), f"ipv{version}"), _from_door(), _UNMARKED, mangle(meta("mark"), LEAVING))
            for version in host.steered
        ),
    ]


_UNMARKED = match(meta("mark"), 0)  # what a network in the root has marked already stays inside, or leaves


def _out() -> list[str]:
    return [
        *drops("gateway", "untracked", UNTRACKED),
        *drops("gateway", "redirected", REDIRECTED),
        limits.new_connections(),
        *drops("gateway", "spoofed", match(payload("ip", "saddr"), "@sources4", op="!=")),
        *drops("gateway", "spoofed", match(payload("ip6", "saddr"), "@sources6", op="!=")),
        *drops("gateway", "between-networks", _to_door()),
        *drops("gateway", "hairpin", match(payload("ip", "daddr"), "@ranges4")),
        *drops("gateway", "hairpin", match(payload("ip6", "daddr"), "@ranges6")),
        *neighbours.judges(),
        *_by_a_way(),
        *drops("gateway", "wrong-uplink", match(meta("iifname"), "@links")),
        *drops("gateway", "not-granted"),
    ]


def _by_a_way() -> Iterator[str]:
    """What is granted, by the uplink that is meant, or by a link of the host that leads to what the network may reach."""
    granted, pair = match(meta("iifname"), "@links"), (meta("iifname"), meta("oifname"))
    for family, version in (("ip", 4), ("ip6", 6)):
        own = match(meta("nfproto"), f"ipv{version}")
        yield rule("granted, by the uplink", own, granted, match(together(*pair), f"@uplinks{version}"), ACCEPT)
        key = together(*pair, payload(family, "daddr"))
        yield rule("granted, by a link that leads there", granted, match(key, f"@ways{version}"), ACCEPT)


def _back() -> list[str]:
    return [
        rule("granted", match(meta("oifname"), "@links"), ANSWERS, ACCEPT),
        *drops("gateway", "unsolicited"),
    ]


def _postrouting() -> list[str]:
    return [
        rule("within a network", _from_door(), _to_door(), ACCEPT),
        rule("keeps its source", _from_door(), match(payload("ip", "saddr"), "@routed4"), ACCEPT),
        rule("keeps its source", _from_door(), match(payload("ip6", "saddr"), "@routed6"), ACCEPT),
        rule("onto a port of its block", dispatch("iifname", blocks.MAP)),
        rule("no block", _from_door(), count("not-granted"), DROP),
    ]


def steering(host: Host) -> list[Object]:
    """Where the host's own default route leads over another link than the one named as uplink: the way over the uplink.

    Every better route of the host counts all the same.
    """
    out: list[Object] = []
    for hop in host.hops:
        if hop.version in host.steered:
            prefix = "0.0.0.0/0" if hop.version == 4 else "::/0"
            metric = default_metric(prefix)
            out += [
                Route(ROOT, prefix, hop.device, None, hop.via or None, UPLINK_TABLE, metric, onlink=bool(hop.via)),
                Rule(ROOT, hop.version, BETTER_PRIORITY, LEAVING, TABLE_MAIN, suppress=0),
                Rule(ROOT, hop.version, STEER_PRIORITY, LEAVING, UPLINK_TABLE),
            ]
    return out


def tag(host: Host) -> str:
    """What a link of a network remembers of our fences."""
    fenced4 = host.uplink in host.fence4 if host.uplink else host.tagged4
    return str(TAG_SET + (TAG_FENCE4 if fenced4 else 0) + (TAG_FENCE6 if host.fence6 else 0))


def settings(host: Host, six: bool) -> list[Object]:
    """What the host itself must forward: answers that come in by its exits, and IPv6 at all."""
    out: list[Object] = [
        Sysctl(ROOT, f"net/ipv4/conf/{link.name}/forwarding", "1", restore="0" if link.name in host.fence4 else None)
        for link in host.exits
    ]
    if not six:
        return out
    # A forwarding host believes no router unless told 2: it would lose the routes that it has from one. So every link
    # is told before forwarding goes on; where forwarding was on already, that choice is the operator's.
    told: list[Object] = []
    if host.fence6:
        paths = (f"net/ipv6/conf/{name}/accept_ra" for name in host.ra_links)
        told = [Sysctl(ROOT, path, "2", restore="1") for path in paths]
    after = tuple(item.key for item in told)
    restore = "0" if host.fence6 else None
    return [*out, *told, Sysctl(ROOT, "net/ipv6/conf/all/forwarding", "1", restore=restore, after=after)]
