"""Isolation by namespace: a network namespace per network, a veth pair to the root for what may
leave.

The inside NATs onto the transit link, the root NATs onto the uplink: so two networks may use the
same addresses, and the root never needs a route to either. With `nat: false` the inside keeps its
source and the root has one route back.

Forwarding in the root: IPv4 decides by the incoming link (`forwarding` of the veth, and of the
uplink for the answers); IPv6 only knows the global switch. Where it was off and we turn it on, a
*fence* in our table drops everything on that path that is not ours, so that the host does not
become a router for others. The fence, and a tag on each door, are also the memory that it was us:
in the kernel, where the loss of a state folder or a flushed ruleset cannot reach both.
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
from warpd.networks.firewall import connection_limits, icmp_errors, local_delivery, port_blocks
from warpd.networks.firewall.root import GUARDED, MANGLE_PRIORITY, tag, unguarded, unguarded_ranges
from warpd.networks.firewall.rules import clamp, drops
from warpd.networks.placement import (
    EgressRequirements,
    FirewallPolicy,
    NetworkSite,
    Placement,
    RootContribution,
)

NAME = "namespace"
# The kernel's own rule for its main table stands in every new namespace, but `ip rule flush` takes
# it and nothing brings it back: a rule of ours beside it is known as ours, and restored.
RULE_PRIORITY = 32765


def room(site: NetworkSite) -> Placement:
    tunnel = naming.tunnel(site.vcid)
    return Placement(naming.namespace(site.vcid), tunnel, TABLE_MAIN, underlay=tunnel)


def build(
    site: NetworkSite,
    wants: EgressRequirements,
    fragment: FirewallPolicy,
    inner: Sequence[KernelObject],
) -> RootContribution:
    """The namespace with `inner` in it, its settings and its guard, and the way out when one is
    wanted.
    """
    place = room(site)
    out: list[KernelObject] = [
        Netns(place.netns),
        LinkUp(place.netns, "lo", None),
        *_settings(site, place, wants),
    ]
    inside = Key(Netns.KIND, ROOT, place.netns)
    versions = (4,) if site.subnet6 is None else (4, 6)
    out += [
        Rule(place.netns, version, RULE_PRIORITY, table=TABLE_MAIN, inside=inside)
        for version in versions
    ]
    out.append(
        local_delivery.of_tunnel(
            place.netns, place.tunnel, _transits(site) if wants.egress else (), ()
        )
    )
    out += unguarded(place.netns, _links(site, place, wants), versions, owner="", inside=inside)
    if wants.egress:
        out += unguarded(ROOT, [_outer(site)], (6,), owner=place.netns)
        out += unguarded_ranges(_kept(site, wants), owner=place.netns)
        out += _way_out(site, place, wants)
    return RootContribution(
        place.netns,
        (*out, *inner, _guard(site, place, wants, fragment)),
        _kept(site, wants),
        (site.transit, transit6(site.transit)) if wants.egress else (),
        (_outer(site),) if wants.egress else (),
        (port_blocks.block_of(site),) if wants.egress else (),
        transit=wants.egress,
    )


def _kept(site: NetworkSite, wants: EgressRequirements) -> tuple[IPv4Network | IPv6Network, ...]:
    """The ranges that keep their source on the way out."""
    return tuple(
        item for item in site.inside if not (wants.nat4 if item.version == 4 else wants.nat6)
    )


def transit6(transit: IPv4Network) -> IPv6Network:
    """The IPv6 side of a transit link, a /127: the same 32 bits under a fixed prefix."""
    return IPv6Network((int(TRANSIT6.network_address) + int(transit.network_address), 127))


def _transits(site: NetworkSite) -> tuple[str, ...]:
    return str(site.transit), str(transit6(site.transit))


def _outer(site: NetworkSite) -> str:
    return naming.transit_outer(site.vcid)


def _exit(site: NetworkSite) -> str:
    return naming.transit_inner(site.vcid)


def _links(site: NetworkSite, place: Placement, wants: EgressRequirements) -> list[str]:
    """The links by which packets come in that are routed here."""
    return [place.tunnel, _exit(site)] if wants.egress else [place.tunnel]


# -- the guard


def _guard(
    site: NetworkSite, place: Placement, wants: EgressRequirements, fragment: FirewallPolicy
) -> NftTable:
    chains = [NftChain(name, rules) for name, rules in fragment.chains.items()]
    chains += [
        NftChain(name, rules)
        for name, rules in connection_limits.chains(site.shares, str(site.vcid)).items()
    ]
    chains += [NftChain(name, rules) for name, rules in icmp_errors.chains(str(site.vcid)).items()]
    chains.append(
        NftChain("forward", tuple(_forward(site, place, wants, fragment)), "forward", policy="drop")
    )
    chains.append(NftChain("input", tuple(_input(site, place, wants)), "input", policy="drop"))
    chains.append(
        NftChain(
            "steer", tuple(_steer(site, place, wants)), "prerouting", "filter", MANGLE_PRIORITY
        )
    )
    if wants.egress and (wants.nat4 or wants.nat6):
        chains.append(
            NftChain("postrouting", tuple(_postrouting(site, wants)), "postrouting", "nat", 100)
        )
    return NftTable(
        place.netns,
        tuple(
            sorted(
                (*fragment.sets, *connection_limits.sets(), *icmp_errors.sets()),
                key=lambda item: item.name,
            )
        ),
        tuple(sorted((*fragment.counters, *connection_limits.REASONS, icmp_errors.REASON))),
        tuple(sorted(chains, key=lambda chain: chain.name)),
    )


def _forward(
    site: NetworkSite, place: Placement, wants: EgressRequirements, fragment: FirewallPolicy
) -> list[str]:
    label = str(site.vcid)
    comes = {
        "out": (place.tunnel, _exit(site)),
        "back": (_exit(site), place.tunnel),
        "peers": (place.tunnel, place.tunnel),
    }
    used = [name for name in comes if name in fragment.chains and (wants.egress or name == "peers")]
    off = drops(label, "ipv6-off", match(meta("nfproto"), "ipv6")) if site.subnet6 is None else ()
    hooks = [
        rule(
            name,
            match(meta("iifname"), comes[name][0]),
            match(meta("oifname"), comes[name][1]),
            jump(name),
        )
        for name in used
    ]
    endpoints = match(meta("iifname"), place.tunnel)
    judged = [connection_limits.new_connections(endpoints), *icmp_errors.forwarded(endpoints)]
    return [*clamp(site.mtu), *off, *judged, *hooks, *drops(label, "not-granted")]


def _steer(site: NetworkSite, place: Placement, wants: EgressRequirements) -> list[str]:
    """Only what this table has marked is routed (`gateway.unguarded`)."""
    return [
        rule("guarded", match(meta("iifname"), link), mangle(meta("mark"), GUARDED))
        for link in _links(site, place, wants)
    ]


def _input(site: NetworkSite, place: Placement, wants: EgressRequirements) -> list[str]:
    out = [
        rule("own traffic", match(meta("iifname"), "lo"), ACCEPT),
        icmp_errors.related(match(meta("iifname"), place.tunnel)),
        rule("answers to the gateway", ANSWERS, ACCEPT),
        connection_limits.new_connections(match(meta("iifname"), place.tunnel)),
        rule("from an endpoint", match(meta("iifname"), place.tunnel), jump("local")),
    ]
    if wants.egress:
        neighbours = members("nd-neighbor-solicit", "nd-neighbor-advert")
        discovery = (
            match(meta("iifname"), _exit(site)),
            match(payload("icmpv6", "type"), neighbours),
        )
        out.append(rule("neighbour discovery", *discovery, ACCEPT))
    return [*out, *drops(str(site.vcid), "host-service")]


def _postrouting(site: NetworkSite, wants: EgressRequirements) -> list[str]:
    leaving = match(meta("oifname"), _exit(site))
    return [
        rule("onto the transit link", leaving, match(meta("nfproto"), family), {"masquerade": None})
        for family, nat in (("ipv4", wants.nat4), ("ipv6", wants.nat6))
        if nat
    ]


# -- settings


def _settings(site: NetworkSite, place: Placement, wants: EgressRequirements) -> list[KernelObject]:
    inside = Key(Netns.KIND, ROOT, place.netns)
    four = "net/ipv4/conf"
    values: list[tuple[str, str, Key]] = [
        (f"{four}/all/send_redirects", "0", inside),
        (f"{four}/{place.tunnel}/send_redirects", "0", place.link),
        (f"{four}/{place.tunnel}/forwarding", "1", place.link),
        (f"{four}/{place.tunnel}/rp_filter", "1", place.link),
        (f"{four}/{place.tunnel}/src_valid_mark", "1", place.link),
    ]
    if site.subnet6 is None:
        values.append(("net/ipv6/conf/all/disable_ipv6", "1", inside))
    else:
        values.append(("net/ipv6/conf/all/disable_ipv6", "0", inside))
        values.append(("net/ipv6/conf/all/forwarding", "1", inside))
        values.append((f"net/ipv6/conf/{place.tunnel}/disable_ipv6", "0", place.link))
    # Where the host has br_netfilter, frames within a bridge would meet the guard of what is
    # routed.
    values += [
        (f"net/bridge/bridge-nf-call-{name}", "0", inside) for name in site.host.bridge_netfilter
    ]
    if wants.egress:
        link = _door(site)
        values.append((f"{four}/{_exit(site)}/forwarding", "1", link))
        values.append((f"{four}/{_exit(site)}/src_valid_mark", "1", link))
        if site.subnet6 is not None:
            values += _six_link(_exit(site), link)
    return [Sysctl(place.netns, path, value, holder) for path, value, holder in values]


def _six_link(device: str, link: Key) -> list[tuple[str, str, Key]]:
    """IPv6 on; no router is believed on our own link, and its addresses are used at once."""
    names = ("disable_ipv6", "accept_ra", "accept_dad")
    return [(f"net/ipv6/conf/{device}/{name}", "0", link) for name in names]


# -- the way out


def _door(site: NetworkSite) -> Key:
    """The object that makes the pair of links."""
    return link_key(ROOT, _outer(site))


def _way_out(site: NetworkSite, place: Placement, wants: EgressRequirements) -> list[KernelObject]:
    mtu = max(site.host.uplink_mtu, 1280)
    mark = naming.alias(site.vcid, site.name)
    outer, inner = _outer(site), _exit(site)
    near, far = site.transit[0], site.transit[1]  # the root's end, the network's end
    out: list[KernelObject] = [
        Veth(outer, place.netns, inner, mark, mark, mtu, mtu),
        local_delivery.of_transit(outer, site.host.local, place.netns),
        LinkUp(ROOT, outer, _door(site)),
        LinkUp(place.netns, inner, _door(site)),
        NftElements(ROOT, "doors", frozenset({outer}), outer),
        NftElements(ROOT, "links", frozenset({outer}), outer),
        *port_blocks.elements(site, (outer,)),
        *_outer_settings(site, place),
        *_link_pair(site, str(near), str(far), f"{site.transit}", 32),
        _via(site, place.netns, "0.0.0.0/0", str(near), str(site.transit)),
    ]
    if not wants.nat4:
        out += _back_to(site, 4, str(far), str(site.transit))
    if site.subnet6 is not None:
        out += _way_out6(site, place, wants)
    return out


def _way_out6(site: NetworkSite, place: Placement, wants: EgressRequirements) -> list[KernelObject]:
    network = transit6(site.transit)
    near, far = str(network[0]), str(network[1])
    out = [
        *_link_pair(site, near, far, str(network), 128),
        _via(site, place.netns, "::/0", near, str(network)),
    ]
    return out if wants.nat6 else [*out, *_back_to(site, 6, far, str(network))]


def _back_to(site: NetworkSite, version: int, hop: str, network: str) -> list[KernelObject]:
    """Without NAT the root needs the way to everything inside."""
    return [
        _via(site, ROOT, str(item), hop, network) for item in site.inside if item.version == version
    ]


def _via(site: NetworkSite, netns: str, prefix: str, hop: str, network: str) -> Route:
    """A route across the transit link, which needs the route to that link's other end first."""
    device = _outer(site) if netns == ROOT else _exit(site)
    reach = route_key(netns, TABLE_MAIN, network, default_metric(network))
    return Route(
        netns, prefix, device, _door(site), hop, metric=default_metric(prefix), reach=reach
    )


def _link_pair(
    site: NetworkSite, near: str, far: str, network: str, bits: int
) -> list[KernelObject]:
    """Both ends' addresses, and on each side the one route to the other."""
    netns, link, outer, inner = naming.namespace(site.vcid), _door(site), _outer(site), _exit(site)
    length = bits - 1
    metric = default_metric(network)
    return [
        Address(ROOT, outer, f"{near}/{length}", link),
        Address(netns, inner, f"{far}/{length}", link),
        Route(ROOT, network, outer, link, metric=metric),
        Route(netns, network, inner, link, metric=metric),
    ]


def _outer_settings(site: NetworkSite, place: Placement) -> list[KernelObject]:
    outer, link = _outer(site), _door(site)
    values = [
        (f"net/ipv4/conf/{outer}/tag", tag(site.host), link),
        (f"net/ipv4/conf/{outer}/forwarding", "1", link),
        (f"net/ipv4/conf/{outer}/rp_filter", "1", link),
        (f"net/ipv4/conf/{outer}/src_valid_mark", "1", link),
    ]
    if site.subnet6 is None:
        values.append((f"net/ipv6/conf/{outer}/disable_ipv6", "1", link))
    else:
        values += _six_link(outer, link)
    return [Sysctl(ROOT, path, value, holder, owner=place.netns) for path, value, holder in values]


# -- what every mode answers


def unsupported_reason(_site: NetworkSite) -> str:
    """Why this network cannot be built so here: every kernel that warpd runs on has namespaces."""
    return ""


def shared(_six: bool, _host: Host) -> list[KernelObject]:
    """What networks of this mode need of the root together: nothing but the gateway's guard."""
    return []
