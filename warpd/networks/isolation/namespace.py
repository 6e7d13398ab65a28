"""Isolation by network namespace: each network has a namespace, and a veth pair to the root if it
has egress.

The namespace translates addresses to those of the transit link (the veth pair), and the root
translates them to those of the uplink. Therefore two networks may use the same addresses, and the
root needs no routes to them. With `nat: false` packets keep their source address, and the root has
a route back to it.

Forwarding in the root is decided for IPv4 by the incoming link: `forwarding` of the veth, and of
the uplink for replies. IPv6 has only one switch for all links. If forwarding was off and warpd
turns it on, a *fence* in our table drops all forwarded packets that do not belong to our networks,
so that the host does not become a router for others. The fence, routing rules that repeat it, and a
tag on each transit link also record in the kernel that warpd turned it on. They survive the loss of
the state folder, and a flushed ruleset takes only the fence in the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network

from warpd import naming
from warpd.kernel.kinds.address import Address
from warpd.kernel.kinds.link import LinkUp, Veth, link_key
from warpd.kernel.kinds.netns import Netns
from warpd.kernel.kinds.nft_table import NftChain, NftElements, NftTable
from warpd.kernel.kinds.route import TABLE_MAIN, Route, default_metric, route_key
from warpd.kernel.kinds.rule import Rule
from warpd.kernel.kinds.sysctl import Sysctl
from warpd.kernel.nftables.rules import (
    ACCEPT,
    ANSWERS,
    jump,
    mangle,
    match,
    members,
    meta,
    payload,
    rule,
)
from warpd.kernel.state import ROOT, TRANSIT6, Host, KernelObject, Key
from warpd.networks.firewall import (
    connection_limits,
    icmp_errors,
    local_delivery,
    port_blocks,
    second_guard,
)
from warpd.networks.firewall.root import (
    GUARDED,
    MANGLE_PRIORITY,
    RAW_PRIORITY,
    drop_unmarked,
    drop_unmarked_to,
    tag,
)
from warpd.networks.firewall.rules import clamp, drops
from warpd.networks.placement import (
    EgressRequirements,
    FirewallPolicy,
    Placement,
    RootContribution,
)
from warpd.networks.resolved import ResolvedNetwork

NAME = "namespace"
# Every new namespace has the kernel's own rule for the main table. `ip rule flush` deletes it, and
# nothing restores it. Therefore we add the same rule with our protocol, which warpd restores.
RULE_PRIORITY = 32765


def placement_of(network: ResolvedNetwork) -> Placement:
    tunnel = naming.tunnel(network.vcid)
    return Placement(naming.namespace(network.vcid), tunnel, TABLE_MAIN, underlay=tunnel)


def build(
    network: ResolvedNetwork,
    requirements: EgressRequirements,
    policy: FirewallPolicy,
    inner: Sequence[KernelObject],
) -> RootContribution:
    """Return the namespace with its settings, its guard and `inner`, and its egress if
    `requirements` has one.
    """
    placement = placement_of(network)
    out: list[KernelObject] = [
        Netns(placement.netns),
        LinkUp(placement.netns, "lo", None),
        *_settings(network, placement, requirements),
    ]
    inside = Key(Netns.KIND, ROOT, placement.netns)
    versions = (4,) if network.subnet6 is None else (4, 6)
    out += [
        Rule(placement.netns, version, RULE_PRIORITY, table=TABLE_MAIN, inside=inside)
        for version in versions
    ]
    out.append(
        local_delivery.of_tunnel(
            placement.netns, placement.tunnel, _transits(network) if requirements.egress else (), ()
        )
    )
    links = _links(network, placement, requirements)
    out += drop_unmarked(placement.netns, links, versions, owner="", inside=inside)
    if requirements.egress:
        out += drop_unmarked(ROOT, [_outer(network)], (6,), owner=placement.netns)
        out += drop_unmarked_to(_kept(network, requirements), owner=placement.netns)
        out += _way_out(network, placement, requirements)
    return RootContribution(
        placement.netns,
        (*out, *inner, _guard(network, placement, requirements, policy)),
        _kept(network, requirements),
        (network.transit, transit6(network.transit)) if requirements.egress else (),
        (_outer(network),) if requirements.egress else (),
        (port_blocks.block_of(network),) if requirements.egress else (),
        transit=requirements.egress,
    )


def _kept(
    network: ResolvedNetwork, requirements: EgressRequirements
) -> tuple[IPv4Network | IPv6Network, ...]:
    """Return the ranges that keep their source address when they leave the network."""
    return tuple(
        item
        for item in network.inside
        if not (requirements.nat4 if item.version == 4 else requirements.nat6)
    )


def transit6(transit: IPv4Network) -> IPv6Network:
    """Return the IPv6 subnet of a transit link: a /127 whose last 32 bits are the IPv4 subnet's."""
    return IPv6Network((int(TRANSIT6.network_address) + int(transit.network_address), 127))


def _transits(network: ResolvedNetwork) -> tuple[str, ...]:
    return str(network.transit), str(transit6(network.transit))


def _outer(network: ResolvedNetwork) -> str:
    return naming.transit_outer(network.vcid)


def _exit(network: ResolvedNetwork) -> str:
    return naming.transit_inner(network.vcid)


def _links(
    network: ResolvedNetwork, placement: Placement, requirements: EgressRequirements
) -> list[str]:
    """Return the links from which packets come in that this namespace routes."""
    return [placement.tunnel, _exit(network)] if requirements.egress else [placement.tunnel]


# -- the guard


def _guard(
    network: ResolvedNetwork,
    placement: Placement,
    requirements: EgressRequirements,
    policy: FirewallPolicy,
) -> NftTable:
    chains = [NftChain(name, rules) for name, rules in policy.chains.items()]
    chains += [
        NftChain(name, rules)
        for name, rules in connection_limits.chains(network.shares, str(network.vcid)).items()
    ]
    chains += [
        NftChain(name, rules) for name, rules in icmp_errors.chains(str(network.vcid)).items()
    ]
    chains.append(
        NftChain(
            "forward",
            tuple(_forward(network, placement, requirements, policy)),
            "forward",
            policy="drop",
        )
    )
    chains.append(
        NftChain("input", tuple(_input(network, placement, requirements)), "input", policy="drop")
    )
    chains.append(
        NftChain(
            "steer",
            tuple(_steer(network, placement, requirements)),
            "prerouting",
            "filter",
            MANGLE_PRIORITY,
        )
    )
    for hook, rules in (("prerouting", policy.untracked), ("output", policy.untracked_out)):
        if rules:
            chains.append(NftChain(f"untracked-{hook}", rules, hook, "filter", RAW_PRIORITY))
    if requirements.egress and (requirements.nat4 or requirements.nat6):
        chains.append(
            NftChain(
                "postrouting", tuple(_postrouting(network, requirements)), "postrouting", "nat", 100
            )
        )
    chains += second_guard.chains(str(network.vcid), match(meta("iifname"), "lo", op="!="))
    return NftTable(
        placement.netns,
        tuple(
            sorted(
                (*policy.sets, *connection_limits.sets(), *icmp_errors.sets()),
                key=lambda item: item.name,
            )
        ),
        tuple(sorted((*policy.counters, *connection_limits.REASONS, icmp_errors.REASON))),
        tuple(sorted(map(second_guard.permits, chains), key=lambda chain: chain.name)),
    )


def _forward(
    network: ResolvedNetwork,
    placement: Placement,
    requirements: EgressRequirements,
    policy: FirewallPolicy,
) -> list[str]:
    label = str(network.vcid)
    comes = {
        "out": (placement.tunnel, _exit(network)),
        "back": (_exit(network), placement.tunnel),
        "peers": (placement.tunnel, placement.tunnel),
    }
    used = [
        name for name in comes if name in policy.chains and (requirements.egress or name == "peers")
    ]
    off = (
        drops(label, "ipv6-off", match(meta("nfproto"), "ipv6")) if network.subnet6 is None else ()
    )
    hooks = [
        rule(
            name,
            match(meta("iifname"), comes[name][0]),
            match(meta("oifname"), comes[name][1]),
            jump(name),
        )
        for name in used
    ]
    endpoints = match(meta("iifname"), placement.tunnel)
    limits = [connection_limits.new_connections(endpoints), *icmp_errors.forwarded(endpoints)]
    return [*clamp(network.mtu), *off, *limits, *hooks, *drops(label, "not-permitted")]


def _steer(
    network: ResolvedNetwork, placement: Placement, requirements: EgressRequirements
) -> list[str]:
    """Mark what comes in. Packets without this mark are not routed (`root.drop_unmarked`)."""
    return [
        rule("guarded", match(meta("iifname"), link), mangle(meta("mark"), GUARDED))
        for link in _links(network, placement, requirements)
    ]


def _input(
    network: ResolvedNetwork, placement: Placement, requirements: EgressRequirements
) -> list[str]:
    out = [
        rule("own traffic", match(meta("iifname"), "lo"), ACCEPT),
        icmp_errors.related(match(meta("iifname"), placement.tunnel)),
        rule("answers to the gateway", ANSWERS, ACCEPT),
        connection_limits.new_connections(match(meta("iifname"), placement.tunnel)),
        rule("from an endpoint", match(meta("iifname"), placement.tunnel), jump("local")),
    ]
    if requirements.egress:
        neighbours = members("nd-neighbor-solicit", "nd-neighbor-advert")
        discovery = (
            match(meta("iifname"), _exit(network)),
            match(payload("icmpv6", "type"), neighbours),
        )
        out.append(rule("neighbour discovery", *discovery, ACCEPT))
    return [*out, *drops(str(network.vcid), "host-service")]


def _postrouting(network: ResolvedNetwork, requirements: EgressRequirements) -> list[str]:
    leaving = match(meta("oifname"), _exit(network))
    return [
        rule("onto the transit link", leaving, match(meta("nfproto"), family), {"masquerade": None})
        for family, nat in (("ipv4", requirements.nat4), ("ipv6", requirements.nat6))
        if nat
    ]


# -- settings


def _settings(
    network: ResolvedNetwork, placement: Placement, requirements: EgressRequirements
) -> list[KernelObject]:
    inside = Key(Netns.KIND, ROOT, placement.netns)
    four = "net/ipv4/conf"
    values: list[tuple[str, str, Key]] = [
        (f"{four}/all/send_redirects", "0", inside),
        (f"{four}/{placement.tunnel}/send_redirects", "0", placement.link),
        (f"{four}/{placement.tunnel}/forwarding", "1", placement.link),
        (f"{four}/{placement.tunnel}/rp_filter", "1", placement.link),
        (f"{four}/{placement.tunnel}/src_valid_mark", "1", placement.link),
    ]
    if network.subnet6 is None:
        values.append(("net/ipv6/conf/all/disable_ipv6", "1", inside))
    else:
        values.append(("net/ipv6/conf/all/disable_ipv6", "0", inside))
        values.append(("net/ipv6/conf/all/forwarding", "1", inside))
        values.append((f"net/ipv6/conf/{placement.tunnel}/disable_ipv6", "0", placement.link))
    # With br_netfilter, frames inside a bridge would pass the guard, which is for routed packets.
    values += [
        (f"net/bridge/bridge-nf-call-{name}", "0", inside) for name in network.host.bridge_netfilter
    ]
    if requirements.egress:
        link = _pair_key(network)
        values.append((f"{four}/{_exit(network)}/forwarding", "1", link))
        values.append((f"{four}/{_exit(network)}/src_valid_mark", "1", link))
        if network.subnet6 is not None:
            values += _ipv6_link_settings(_exit(network), link)
    return [Sysctl(placement.netns, path, value, holder) for path, value, holder in values]


def _ipv6_link_settings(device: str, link: Key) -> list[tuple[str, str, Key]]:
    """Return settings that enable IPv6, ignore router advertisements, and skip duplicate address
    detection, so that addresses can be used at once.
    """
    names = ("disable_ipv6", "accept_ra", "accept_dad")
    return [(f"net/ipv6/conf/{device}/{name}", "0", link) for name in names]


# -- the way out


def _pair_key(network: ResolvedNetwork) -> Key:
    """Return the key of the veth pair."""
    return link_key(ROOT, _outer(network))


def _way_out(
    network: ResolvedNetwork, placement: Placement, requirements: EgressRequirements
) -> list[KernelObject]:
    mtu = max(network.host.uplink_mtu, 1280)
    mark = naming.alias(network.vcid, network.name)
    outer, inner = _outer(network), _exit(network)
    near, far = network.transit[0], network.transit[1]  # (end in the root, end in the namespace)
    out: list[KernelObject] = [
        Veth(outer, placement.netns, inner, mark, mark, mtu, mtu),
        local_delivery.of_transit(outer, network.host.local, placement.netns),
        LinkUp(ROOT, outer, _pair_key(network)),
        LinkUp(placement.netns, inner, _pair_key(network)),
        NftElements(ROOT, "guarded_ifaces", frozenset({outer}), outer),
        NftElements(ROOT, "permitted_ifaces", frozenset({outer}), outer),
        *port_blocks.elements(network, (outer,)),
        *_outer_settings(network, placement),
        *_link_pair(network, str(near), str(far), f"{network.transit}", 32),
        _via(network, placement.netns, "0.0.0.0/0", str(near), str(network.transit)),
    ]
    if not requirements.nat4:
        out += _back_to(network, 4, str(far), str(network.transit))
    if network.subnet6 is not None:
        out += _way_out6(network, placement, requirements)
    return out


def _way_out6(
    network: ResolvedNetwork, placement: Placement, requirements: EgressRequirements
) -> list[KernelObject]:
    link_range = transit6(network.transit)
    near, far = str(link_range[0]), str(link_range[1])
    out = [
        *_link_pair(network, near, far, str(link_range), 128),
        _via(network, placement.netns, "::/0", near, str(link_range)),
    ]
    return out if requirements.nat6 else [*out, *_back_to(network, 6, far, str(link_range))]


def _back_to(
    network: ResolvedNetwork, version: int, hop: str, link_range: str
) -> list[KernelObject]:
    """Return the root's routes to the ranges of a network without NAT."""
    return [
        _via(network, ROOT, str(item), hop, link_range)
        for item in network.inside
        if item.version == version
    ]


def _via(network: ResolvedNetwork, netns: str, prefix: str, hop: str, link_range: str) -> Route:
    """Return a route over the transit link. It needs the route to the other end of this link."""
    device = _outer(network) if netns == ROOT else _exit(network)
    reach = route_key(netns, TABLE_MAIN, link_range, default_metric(link_range))
    return Route(
        netns, prefix, device, _pair_key(network), hop, metric=default_metric(prefix), reach=reach
    )


def _link_pair(
    network: ResolvedNetwork, near: str, far: str, link_range: str, bits: int
) -> list[KernelObject]:
    """Return the addresses of both ends of the transit link, and the route between them."""
    netns, link, outer, inner = (
        naming.namespace(network.vcid),
        _pair_key(network),
        _outer(network),
        _exit(network),
    )
    length = bits - 1
    metric = default_metric(link_range)
    return [
        Address(ROOT, outer, f"{near}/{length}", link),
        Address(netns, inner, f"{far}/{length}", link),
        Route(ROOT, link_range, outer, link, metric=metric),
        Route(netns, link_range, inner, link, metric=metric),
    ]


def _outer_settings(network: ResolvedNetwork, placement: Placement) -> list[KernelObject]:
    outer, link = _outer(network), _pair_key(network)
    values = [
        (f"net/ipv4/conf/{outer}/tag", tag(network.host), link),
        (f"net/ipv4/conf/{outer}/forwarding", "1", link),
        (f"net/ipv4/conf/{outer}/rp_filter", "1", link),
        (f"net/ipv4/conf/{outer}/src_valid_mark", "1", link),
    ]
    if network.subnet6 is None:
        values.append((f"net/ipv6/conf/{outer}/disable_ipv6", "1", link))
    else:
        values += _ipv6_link_settings(outer, link)
    return [
        Sysctl(ROOT, path, value, holder, owner=placement.netns) for path, value, holder in values
    ]


# -- what every mode answers


def unsupported_reason(_network: ResolvedNetwork) -> str:
    """Return "", since every supported kernel has network namespaces."""
    return ""


def shared(_has_ipv6: bool, _host: Host) -> list[KernelObject]:
    """Return no objects: networks of this mode share only the gateway's guard in the root."""
    return []
