"""The gateway's own guard: our table in the root namespace, which all networks share.

Packets from a network's guarded interface do not reach a service of the host, another network,
another network's range by way of the uplink, or the uplink itself, unless they are permitted. NAT
uses only ports on which the gateway does not listen. A mapping on a listening port would deliver
packets for that port to a client.

A network in the root itself (VRF) has its own part in this table: maps first send packets of its
links to its chains. Packets that these chains let out pass the same checks as those of all other
networks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from warpd import naming
from warpd.intent.reserved import MARKS, TABLES_LAST, UPLINK_TABLE, free_ports
from warpd.kernel.kinds.nft_table import JOINT, NftChain, NftSet, NftTable
from warpd.kernel.kinds.route import DEFAULT_BITS, TABLE_MAIN, Route, default_metric
from warpd.kernel.kinds.rule import Rule
from warpd.kernel.kinds.sysctl import (
    FORWARDING6,
    FORWARDING6_BY_OTHERS,
    FORWARDING6_BY_US,
    TAG_FENCE4,
    TAG_FENCE6,
    TAG_SET,
    Sysctl,
)
from warpd.kernel.nftables.rules import (
    ACCEPT,
    ANSWERS,
    DROP,
    NOTRACK,
    RETURN,
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
from warpd.kernel.rows import RuleRow
from warpd.kernel.state import ROOT, Host, KernelObject, Key
from warpd.networks.firewall import connection_limits, neighbours, second_guard
from warpd.networks.firewall import port_blocks as blocks
from warpd.networks.firewall.rules import (
    BY_PORT,
    GATEWAY,
    REDIRECTED,
    UNTRACKED,
    Range,
    drops,
    merged,
)

FENCE4 = "warpd: fence4"
FENCE6 = "warpd: fence6"
# Before the source NAT of other programs (100), in any order of loading. Their NAT would keep the
# source port of a client.
NAT_PRIORITY = 90
TRANSLATED_PRIORITY = 110  # after the source NAT of all programs
RAW_PRIORITY, MANGLE_PRIORITY = -300, -150
PAIR = f"ifname{JOINT}ifname"
# Routing rules for packets that leave. They are before the kernel's l3mdev rule (1000).
BETTER_PRIORITY, STEER_PRIORITY = 980, 981
# Our tables set this mark on packets that came in by a transit link, or are routed inside a
# namespace. The routing rules of `drop_unmarked` drop a packet whose highest mark byte is zero. In
# every mark of ours this byte is that of MARKS, to which `second_guard.PERMITTED` adds a bit.
GUARDED = MARKS + 0x10000
MARK_BYTE = 0xFF000000
OF_A_TABLE = 0xFFFF0000  # the bits that the marks of all networks in the root have in common
# After the rules for marks of ours, before the rules for VRFs.
WITHIN_PRIORITY, OWN_PRIORITY, GUARD_PRIORITY, REPLY_PRIORITY = 983, 984, 985, 986


def mark_of(table: int) -> int:
    return MARKS + table


def fences(table: NftTable | None) -> tuple[tuple[str, ...], bool]:
    """Return the links that the fence rules of an observed table fence for IPv4, and whether it
    fences IPv6.
    """
    rules = (
        [text for chain in table.chains if chain.name == "forward" for text in chain.rules]
        if table
        else []
    )
    comments = [str(json.loads(text)["comment"]) for text in rules]
    links = (
        comment.removeprefix(FENCE4).strip() for comment in comments if comment.startswith(FENCE4)
    )
    return tuple(sorted(links)), FENCE6 in comments


def fenced_by_rules(rows: Iterable[RuleRow | Rule]) -> tuple[str, ...]:
    """Return the links of others for which routing rules of ours repeat the IPv4 fence."""
    links = (
        row.link
        for row in rows
        if row.priority == GUARD_PRIORITY and row.version == 4 and row.blackhole and not row.to
    )
    return tuple(sorted({link for link in links if link and not naming.is_link(link)}))


def guard(
    host: Host,
    ranges: Sequence[Range],
    routed: Sequence[Range],
    sources: Sequence[Range],
    transits: Sequence[Range],
    port_pool: tuple[int, int],
    ports: Iterable[int],
    guarded_ifaces: Iterable[str],
    port_blocks: Iterable[int],
    uplinks: Iterable[tuple[str, str, int]],
    egress_routes: Iterable[tuple[str, str, Range]],
) -> NftTable:
    """Return our table in the root.

    - `uplinks`: (guarded interface, link, IP version): packets from the interface may leave by the
      link to any destination.
    - `egress_routes`: (guarded interface, link, range): packets may leave by the link to this
      range.
    - `ranges`: the ranges of all networks; `routed`: those without NAT.
    - `sources`: the source ranges that may come in by guarded interfaces.
    - `transits`: the links between networks and the root.
    - `port_pool`: the first and the last UDP port of those that networks are given.
    - `ports`: the UDP ports on which the gateway listens, also beside that pool.
    - `guarded_ifaces`: the links by which packets of networks come in.
    - `port_blocks`: the blocks in use.
    """
    sets = (
        *(
            NftSet(name, "ifname", map="verdict")
            for name in (
                "reply_map",
                "forward_map",
                "input_map",
                "steering_map",
                "zones",
                "zones-out",
            )
        ),
        NftSet(blocks.MAP, "ifname", map="verdict"),
        NftSet("bridge_ifaces", "ifname"),
        NftSet("guarded_ifaces", "ifname"),
        NftSet("permitted_ifaces", "ifname"),
        *neighbours.sets(host.onlink),
        NftSet("ranges4", "ipv4_addr", True, merged(ranges, 4)),
        NftSet("ranges6", "ipv6_addr", True, merged(ranges, 6)),
        *_egress_sets(list(uplinks), egress_routes),
        NftSet("sources4", "ipv4_addr", True, merged(sources, 4)),
        NftSet("sources6", "ipv6_addr", True, merged(sources, 6)),
        NftSet("transits4", "ipv4_addr", True, merged(transits, 4)),
        NftSet("transits6", "ipv6_addr", True, merged(transits, 6)),
        NftSet("routed4", "ipv4_addr", True, merged(routed, 4)),
        NftSet("routed6", "ipv6_addr", True, merged(routed, 6)),
    )
    counters = (
        "between-networks",
        "fenced",
        "hairpin",
        "host-service",
        connection_limits.PORTS,
        "not-permitted",
        "protocol",
        "redirected",
        "spoofed",
        connection_limits.COUNT,
        neighbours.REASON,
        "unsolicited",
        "untracked",
        "untranslated",
        "wrong-uplink",
    )
    first, last = free_ports(port_pool, ports)
    shares = connection_limits.gateway_chains(host.conntrack_max, blocks.width(first, last))
    chains = (
        NftChain("forward", _forward(host), "forward"),
        NftChain("input", tuple(_input()), "input"),
        NftChain("postrouting", tuple(_postrouting()), "postrouting", "nat", NAT_PRIORITY),
        NftChain(
            "zone",
            (
                # br_netfilter passes bridged frames here
                rule("frames within a segment", _bridged(), NOTRACK),
                rule("networks", dispatch("iifname", "zones")),
            ),
            "prerouting",
            "filter",
            RAW_PRIORITY,
        ),
        NftChain(
            "zone-out",
            (rule("networks", dispatch("oifname", "zones-out")),),
            "output",
            "filter",
            RAW_PRIORITY,
        ),
        NftChain("steer", tuple(_steer()), "prerouting", "filter", MANGLE_PRIORITY),
        NftChain("back", tuple(_back())),
        NftChain("nat-protocols", tuple(_nat_protocols())),
        NftChain("out", tuple(_out())),
        *(NftChain(name, rules) for name, rules in shares.items()),
        *(NftChain(name, rules) for name, rules in neighbours.chains().items()),
        *blocks.chains(first, last, port_blocks),
        *second_guard.chains(GATEWAY, _from_ours()),
        NftChain("translated", (_leaves(),), "postrouting", "filter", TRANSLATED_PRIORITY),
        NftChain("untranslated", tuple(_untranslated())),
    )
    by_name = sorted(map(second_guard.permits, chains), key=lambda chain: chain.name)
    return NftTable(
        ROOT,
        tuple(sorted(sets, key=lambda s: s.name)),
        tuple(sorted(counters)),
        tuple(by_name),
        tuple(sorted(guarded_ifaces)),
    )


def _egress_sets(
    uplinks: Sequence[tuple[str, str, int]], egress_routes: Iterable[tuple[str, str, Range]]
) -> Iterator[NftSet]:
    """Return the links by which each network may leave.

    Every element names a guarded interface too, so that no network leaves by the link of another.
    """
    towards: dict[str, list[Range]] = {}
    for iface, link, target in egress_routes:
        towards.setdefault(f"{iface}{JOINT}{link}", []).append(target)
    for version, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        pairs = sorted({f"{iface}{JOINT}{link}" for iface, link, own in uplinks if own == version})
        yield NftSet(f"uplinks{version}", PAIR, False, tuple(pairs))
        elements = (
            f"{pair}{JOINT}{block}"
            for pair, blocks in towards.items()
            for block in merged(blocks, version)
        )
        yield NftSet(
            f"egress_routes{version}", f"{PAIR}{JOINT}{kind}", True, tuple(sorted(elements))
        )


def _from_ours() -> dict[str, object]:
    return match(meta("iifname"), "@guarded_ifaces")


_UNMARKED = match(meta("mark"), 0)
# The mark of packets from a network in the root (VRF). Its own part of the table gives the verdict.
_OF_A_VRF = match(meta("mark"), between(MARKS, MARKS + TABLES_LAST))
_BY_TRANSIT = match(
    meta("iifname"), "dn-*"
)  # not by the guarded interfaces of networks in the root


def drop_unmarked(
    netns: str, links: Sequence[str], versions: Sequence[int], owner: str, inside: Key | None = None
) -> list[KernelObject]:
    """Return routing rules that drop packets from these links without a mark of ours.

    Our table sets the marks in prerouting, before the route lookup. After `nft flush ruleset` there
    are no marks, and nothing is forwarded. Packets to this namespace itself do not meet these
    rules: the kernel looks them up before (rule 0, table local).
    """
    return [
        Rule(
            netns,
            version,
            GUARD_PRIORITY,
            0,
            0,
            owner,
            inside,
            link=link,
            mask=MARK_BYTE,
            blackhole=True,
        )
        for link in links
        for version in versions
    ]


def drop_unmarked_within(link: str, prefixes: Iterable[Range], owner: str) -> list[KernelObject]:
    """Return such rules for IPv4 packets that came in by a port of a VRF, to addresses of the VRF's
    own network.

    They are before the rule of `OWN_PRIORITY` for that link. The kernel looks up an IPv4 packet of
    a VRF with the port that it came in by and not with the VRF (ip_rcv_finish() in
    net/ipv4/ip_input.c keeps the device from before l3mdev_ip_rcv()).
    """
    return [
        Rule(
            ROOT,
            4,
            WITHIN_PRIORITY,
            0,
            0,
            owner,
            link=link,
            to=str(prefix),
            mask=MARK_BYTE,
            blackhole=True,
        )
        for prefix in prefixes
    ]


def drop_unmarked_beyond(links: Iterable[str], prefixes: Iterable[Range]) -> list[KernelObject]:
    """Return such rules for IPv4 packets of VRFs to other addresses, by their source ranges.

    They act on the check of the source (rp_filter). This check looks up the reverse route, as if a
    packet came in by the link that the checked packet would leave by, on behalf of its VRF
    (__fib_validate_source() in net/ipv4/fib_frontend.c). Since Linux 6.15, and in stable kernels
    with this change, the rules of `drop_unmarked` for the VRF match this lookup. Older kernels need
    these rules. No other lookup matches them, since packets that really come in by such a link
    belong to no VRF.

    Example, after a flush: 10.9.0.2 of the VRF vrf-7 sends to 198.51.100.1, and the packet would
    leave by eth0. The check looks up 10.9.0.2 as if a packet without a mark had come in by eth0, on
    behalf of vrf-7. It meets the rule `from eth0 to 10.9.0.0/24 l3mdev`, and the packet is dropped.
    """
    return [
        Rule(
            ROOT,
            4,
            WITHIN_PRIORITY,
            link=link,
            to=str(prefix),
            mask=MARK_BYTE,
            blackhole=True,
            of_vrf=True,
        )
        for link in links
        for prefix in prefixes
    ]


def drop_unmarked_to(prefixes: Iterable[Range], owner: str = "") -> list[KernelObject]:
    """Return such rules for the root, by ranges of namespaces: for packets to these ranges, and for
    IPv4 packets from them.

    Packets to these ranges, mostly replies from the uplink, have a mark of ours too. Without our
    table nobody reaches the network's end of a transit link, or what is behind it.

    IPv4 packets from these ranges cannot be dropped by a rule for the incoming link. Such a rule
    would also match the source check of every reply (rp_filter of the uplink), which looks up the
    reverse route without a mark, as if the reply came in by the link that it will leave by
    (__fib_validate_source() in net/ipv4/fib_frontend.c). Instead, these rules let the source check
    on the transit link itself fail: there it uses the packet's mark (src_valid_mark), and without a
    mark the source is unreachable. IPv6 has no source check, so `drop_unmarked` can be used. The
    host's own packets to these ranges come in by lo. What has a mark goes by table main: a rule of
    others that leads everything into another VPN would lead replies to clients there too.

    Example, after a flush: a packet from 198.19.0.1, the network's end of a transit link, comes in
    by dn-7. Its source check looks up 198.19.0.1 with the mark 0. It meets the rule with
    GUARD_PRIORITY `to` the ranges of transit links, and the packet is dropped. While our table
    marks the packet, the same lookup passes this rule, and the next one finds the route in table
    main.
    """
    out: list[KernelObject] = []
    for prefix in prefixes:
        to = str(prefix)
        out.append(Rule(ROOT, prefix.version, REPLY_PRIORITY, 0, TABLE_MAIN, owner, to=to))
        out.append(Rule(ROOT, prefix.version, OWN_PRIORITY, 0, TABLE_MAIN, owner, link="lo", to=to))
        out.append(
            Rule(
                ROOT,
                prefix.version,
                GUARD_PRIORITY,
                0,
                0,
                owner,
                to=to,
                mask=MARK_BYTE,
                blackhole=True,
            )
        )
    return out


def _bridged() -> dict[str, object]:
    return match(meta("iifname"), "@bridge_ifaces")


def _to_ours() -> dict[str, object]:
    return match(meta("oifname"), "@guarded_ifaces")


def _forward(host: Host) -> tuple[str, ...]:
    rules = [
        *neighbours.learn_rules(_to_ours()),
        rule("networks in the root", dispatch("iifname", "forward_map")),
        *drops(GATEWAY, "not-permitted", _from_ours(), _OF_A_VRF),
        rule("from a network", _from_ours(), jump("out")),
        rule("networks in the root", dispatch("oifname", "reply_map")),
        rule("replies to a network", _to_ours(), jump("back")),
        # This rule returns and does not accept, so that no mark is set. A bridged packet, which
        # br_netfilter passes here, would keep the mark in its tunnel and be routed by it.
        rule("frames within a segment", _bridged(), RETURN),
    ]
    for link in sorted(host.fence4):
        matches = (match(meta("nfproto"), "ipv4"), match(meta("iifname"), link))
        rules.append(rule(f"{FENCE4} {link}", *matches, count("fenced"), DROP))
    if host.fence6:
        rules.append(rule(FENCE6, match(meta("nfproto"), "ipv6"), count("fenced"), DROP))
    return tuple(rules)


def _input() -> list[str]:
    """Return the rules of the chain `input`.

    Neighbour discovery is accepted only on transit links, since a WireGuard device needs none. It
    comes in by the device itself and not by its VRF (vrf_ip6_rcv() in drivers/net/vrf.c), so
    `input_map` does not match it.
    """
    neighbours = members("nd-neighbor-solicit", "nd-neighbor-advert")
    discovery = match(payload("icmpv6", "type"), neighbours)
    return [
        rule("networks in the root", dispatch("iifname", "input_map")),
        rule("neighbour discovery", _from_ours(), _BY_TRANSIT, discovery, ACCEPT),
        *drops("gateway", "host-service", _from_ours()),
        *_transit_from_outside("ip", 4),
        *_transit_from_outside("ip6", 6),
    ]


def _transit_from_outside(family: str, version: int) -> Sequence[str]:
    """Return rules that drop packets from outside to addresses of transit links.

    A host answers on all of its addresses, whatever link a packet comes in by.
    """
    outside = match(meta("iifname"), "lo", op="!=")
    return drops(
        "gateway", "unsolicited", outside, match(payload(family, "daddr"), f"@transits{version}")
    )


def _steer() -> list[str]:
    """Return the rules that set marks.

    Replies to a network in the root get the mark of their connection, which leads them to its
    routing table. Packets from transit links that have no mark get GUARDED, and those of a network
    in the root get a mark by its own part; `steering` and `drop_unmarked` use these marks.
    """
    answered = match({"ct": {"key": "direction"}}, "reply")
    own = match({"ct": {"key": "mark"}}, between(MARKS, MARKS + TABLES_LAST))
    outside = match(meta("iifname"), "@guarded_ifaces", op="!=")
    return [
        rule("networks in the root", dispatch("iifname", "steering_map")),
        rule("answers", outside, answered, own, mangle(meta("mark"), {"ct": {"key": "mark"}})),
        rule("guarded", _from_ours(), _BY_TRANSIT, _UNMARKED, mangle(meta("mark"), GUARDED)),
        *(
            rule(
                "guarded answers",
                outside,
                answered,
                _UNMARKED,
                began,
                mangle(meta("mark"), GUARDED),
            )
            for began in _of_a_network()
        ),
    ]


def _of_a_network() -> Iterator[dict[str, object]]:
    """Return matches for packets of a connection that a network opened.

    They match the connection, since the address of a reply is not translated back yet.
    """
    for family, version in (("ip", 4), ("ip6", 6)):
        yield match({"ct": {"key": f"{family} saddr", "dir": "original"}}, f"@sources{version}")


def _out() -> list[str]:
    return [
        *drops("gateway", "untracked", UNTRACKED),
        *drops("gateway", "redirected", REDIRECTED),
        connection_limits.new_connections(),
        *drops("gateway", "spoofed", match(payload("ip", "saddr"), "@sources4", op="!=")),
        *drops("gateway", "spoofed", match(payload("ip6", "saddr"), "@sources6", op="!=")),
        rule("protocols that NAT can separate", jump("nat-protocols")),
        *drops("gateway", "between-networks", _to_ours()),
        *drops("gateway", "hairpin", match(payload("ip", "daddr"), "@ranges4")),
        *drops("gateway", "hairpin", match(payload("ip6", "daddr"), "@ranges6")),
        *neighbours.limit_rules(),
        *_permitted_links(),
        *drops("gateway", "wrong-uplink", match(meta("iifname"), "@permitted_ifaces")),
        *drops("gateway", "not-permitted"),
    ]


def _nat_protocols() -> list[str]:
    """Return rules that drop translated packets, unless their protocol is one that NAT separates.

    The permitted protocols are listed, since nft finds no protocol in some packets
    (`networks.policy`).
    """
    return [
        rule("source not translated", match(payload("ip", "saddr"), "@routed4"), RETURN),
        rule("source not translated", match(payload("ip6", "saddr"), "@routed6"), RETURN),
        *(
            rule(
                "by ports",
                match(meta("nfproto"), f"ipv{version}"),
                match(meta("l4proto"), members(*numbers)),
                RETURN,
            )
            for version, numbers in BY_PORT.items()
        ),
        *drops("gateway", "protocol"),
    ]


def _permitted_links() -> Iterator[str]:
    """Return rules that permit packets by the network's uplink, or by a link of the host that leads
    to a range that the network may reach.
    """
    permitted, pair = (
        match(meta("iifname"), "@permitted_ifaces"),
        (meta("iifname"), meta("oifname")),
    )
    for family, version in (("ip", 4), ("ip6", 6)):
        own = match(meta("nfproto"), f"ipv{version}")
        yield rule(
            "permitted, by the uplink",
            own,
            permitted,
            match(together(*pair), f"@uplinks{version}"),
            ACCEPT,
        )
        key = together(*pair, payload(family, "daddr"))
        yield rule(
            "permitted, by a link that leads there",
            permitted,
            match(key, f"@egress_routes{version}"),
            ACCEPT,
        )


def _back() -> list[str]:
    return [
        rule("permitted", match(meta("oifname"), "@permitted_ifaces"), ANSWERS, ACCEPT),
        *drops("gateway", "unsolicited"),
    ]


def _postrouting() -> list[str]:
    return [
        rule("within a network", _from_ours(), _to_ours(), ACCEPT),
        rule(
            "source not translated", _from_ours(), match(payload("ip", "saddr"), "@routed4"), ACCEPT
        ),
        rule(
            "source not translated",
            _from_ours(),
            match(payload("ip6", "saddr"), "@routed6"),
            ACCEPT,
        ),
        rule("source NAT to the port block of the network", dispatch("iifname", blocks.MAP)),
        rule("no block", _from_ours(), count("not-permitted"), DROP),
    ]


def _leaves() -> str:
    outside = match(meta("oifname"), "@guarded_ifaces", op="!=")
    return rule("from a network", _from_ours(), outside, jump("untranslated"))


def _untranslated() -> Iterator[str]:
    """Return rules that drop packets that leave with an inner source of a network with NAT.

    They work also if somebody deleted the chains that translate.
    """
    for family, version in (("ip", 4), ("ip6", 6)):
        source = payload(family, "saddr")
        inner, kept = match(source, f"@sources{version}"), match(source, f"@routed{version}")
        yield rule("source not translated", kept, RETURN)
        yield from drops(GATEWAY, "untranslated", inner)


def steering(host: Host) -> list[KernelObject]:
    """Return the routes and rules that send packets over the uplink that `uplink:` names, if the
    host's default route uses another link.

    More specific routes of the host still take precedence, but not the parts of a default route
    that a VPN has split (`DEFAULT_BITS`).
    """
    out: list[KernelObject] = []
    for hop in host.hops:
        if hop.version in host.steered:
            prefix = "0.0.0.0/0" if hop.version == 4 else "::/0"
            metric = default_metric(prefix)
            out += [
                Route(
                    ROOT,
                    prefix,
                    hop.device,
                    None,
                    hop.via or None,
                    UPLINK_TABLE,
                    metric,
                    onlink=bool(hop.via),
                ),
                Rule(
                    ROOT,
                    hop.version,
                    BETTER_PRIORITY,
                    MARKS,
                    TABLE_MAIN,
                    mask=MARK_BYTE,
                    suppress=DEFAULT_BITS[hop.version],
                ),
                Rule(ROOT, hop.version, STEER_PRIORITY, MARKS, UPLINK_TABLE, mask=MARK_BYTE),
            ]
    return out


def socket_mark(host: Host) -> int:
    """Return the mark of what WireGuard itself sends, which `steering` leads over the uplink.

    Otherwise its answers to clients would follow the host's own routes.
    """
    return GUARDED if host.steered else 0


def tag(host: Host) -> str:
    """Return the `tag` that records our fences at a network's link, also those that other programs
    have taken over.
    """
    fenced4 = host.uplink in host.fence4 if host.uplink else host.tagged4
    four = TAG_FENCE4 if fenced4 or host.taken4 else 0
    six = TAG_FENCE6 if host.fence6 or host.taken6 else 0
    return str(TAG_SET + four + six)


def _fenced(host: Host, has_ipv6: bool) -> list[KernelObject]:
    """Return routing rules that repeat the fence without our table.

    If the host did not forward before, packets from the links that carry networks are forwarded
    only with a mark of our tables.
    """
    carry = {link.name for link in host.exits} | {*host.uplinks6}
    ipv6_links = sorted(carry) if has_ipv6 and host.fence6 else []
    return [
        *drop_unmarked(ROOT, sorted(host.fence4), (4,), owner=""),
        *drop_unmarked(ROOT, ipv6_links, (6,), owner=""),
    ]


def settings(host: Host, has_ipv6: bool) -> list[KernelObject]:
    """Return the host's forwarding settings: IPv4 on the egress links, for replies, and IPv6."""
    out: list[KernelObject] = [
        Sysctl(
            ROOT,
            f"net/ipv4/conf/{link.name}/forwarding",
            "1",
            restore="0" if link.name in host.fence4 else None,
        )
        for link in host.exits
    ]
    out += _fenced(host, has_ipv6)
    if not has_ipv6:
        return out
    # A forwarding host ignores router advertisements unless accept_ra is 2, and would lose its
    # routes from them. So this is set on every link before forwarding is turned on. If forwarding
    # was on already, the operator decides about accept_ra.
    accept_ra: list[KernelObject] = []
    if host.fence6:
        paths = (f"net/ipv6/conf/{name}/accept_ra" for name in host.ra_links)
        accept_ra = [Sysctl(ROOT, path, "2", restore="1") for path in paths]
    after = tuple(item.key for item in accept_ra)
    restore = "0" if host.fence6 else None
    value = FORWARDING6_BY_US if host.fence6 else FORWARDING6_BY_OTHERS
    return [*out, *accept_ra, Sysctl(ROOT, FORWARDING6, value, restore=restore, after=after)]
