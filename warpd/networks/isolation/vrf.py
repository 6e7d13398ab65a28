"""Isolation by VRF: all objects of a network are in the root, behind a VRF device with its own
routing table.

Routing table: it gets an unreachable default route for both families before anything uses it, so
that no lookup continues in the host's own tables.

Connections: a conntrack zone, whose number is that of the routing table, separates connections.
Therefore two networks may use the same addresses. Packets that stay inside the network are in the
zone in both directions. Packets that leave by the uplink are in it only in the original direction.
A reply is addressed to the uplink, so nothing in it identifies the network. NAT made its tuple
unique in the common zone, and the mark of its connection selects the routing table
(`firewall/root.py`).

Routing: packets from a network are marked in prerouting, and a rule looks up packets with this mark
in the network's table. If the network has egress, this rule skips the default routes of the table,
and the lookup continues with the host's own routing rules, after those of VRFs. Therefore egress
follows changes of the host's rules and routes at once, as it does in a namespace. If the network
has no egress, the lookup ends at the unreachable routes.

The table also has copies of the host's default routes, for packets that the gateway itself sends.
The kernel looks up ICMPv6 errors in the VRF of the link that the packet was meant for
(icmp6_send() in net/ipv6/icmp.c). One rule of ours equals the kernel's own l3mdev rule, so that
warpd restores it after the rules were flushed.

Hooks: a packet from a port of a VRF passes the hooks twice, first with the port and then with the
VRF as the incoming link (vrf_ip_rcv() in drivers/net/vrf.c). Conntrack, zones and marks act in the
first pass. FORWARD and INPUT see the VRF as the incoming link.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network, collapse_addresses

from warpd import naming
from warpd.intent.reserved import MARKS, TABLES_LAST
from warpd.kernel.kinds.link import LinkUp, link_key
from warpd.kernel.kinds.nft_table import NetworkSubtable, NftChain, NftElements, NftSet
from warpd.kernel.kinds.route import LAST_RESORT, RTN_UNREACHABLE, Route, default_metric
from warpd.kernel.kinds.rule import Rule
from warpd.kernel.kinds.sysctl import Sysctl
from warpd.kernel.kinds.vrf import MTU, Vrf
from warpd.kernel.nftables.rules import (
    ACCEPT,
    ANSWERS,
    RETURN,
    goto,
    jump,
    mangle,
    match,
    meta,
    payload,
    renamed,
    rule,
    with_accept_as,
)
from warpd.kernel.state import ROOT, Host, KernelObject
from warpd.networks.firewall import (
    connection_limits,
    icmp_errors,
    local_delivery,
    port_blocks,
    second_guard,
)
from warpd.networks.firewall.root import (
    OF_A_TABLE,
    OWN_PRIORITY,
    drop_unmarked,
    drop_unmarked_within,
    mark_of,
    tag,
)
from warpd.networks.firewall.rules import clamp, drops, merged
from warpd.networks.placement import (
    EgressRequirements,
    FirewallPolicy,
    Placement,
    RootContribution,
)
from warpd.networks.resolved import ResolvedNetwork

NAME = "vrf"
# These are after the kernel's rule for the local table (0) and before that for l3mdev (1000).
ANSWER_PRIORITY, LEAVE_PRIORITY, L3MDEV_PRIORITY = 970, 980, 990
# A rule that does nothing, directly after the kernel's l3mdev rule. The host's own rules follow it.
HOST_PRIORITY = 1001
ZONE = {"ct": {"key": "zone"}}
ZONE_OUT = {"ct": {"key": "zone", "dir": "original"}}


def placement_of(network: ResolvedNetwork) -> Placement:
    vrf = _vrf(network)
    return Placement(
        ROOT,
        naming.tunnel(network.vcid),
        network.routing_table,
        vrf,
        vrf,
        suffix=f"-{network.vcid}",
        mark=mark_of(network.routing_table),
    )


def _vrf(network: ResolvedNetwork) -> str:
    return naming.vrf(network.vcid)


def unsupported_reason(network: ResolvedNetwork) -> str:
    """Return why this host cannot build the network in this mode, or "" if it can."""
    if not network.host.vrf:
        return (
            "this kernel has no VRF (module vrf; Debian: linux-image-amd64, not the cloud kernel)"
        )
    if network.routing_table > TABLES_LAST:
        return (
            "a conntrack zone has its table's number: routing_table"
            f" {network.routing_table} is above {TABLES_LAST}"
        )
    return ""


def build(
    network: ResolvedNetwork,
    requirements: EgressRequirements,
    policy: FirewallPolicy,
    inner: Sequence[KernelObject],
) -> RootContribution:
    """Return the VRF with its unreachable routes, its settings, its part of the gateway's guard,
    and `inner`.
    """
    placement, vrf = placement_of(network), _vrf(network)
    group = naming.namespace(network.vcid)
    link = link_key(ROOT, vrf)
    out: list[KernelObject] = [
        Vrf(ROOT, vrf, naming.alias(network.vcid, network.name), MTU, table=network.routing_table),
        LinkUp(ROOT, vrf, link),
        *_last_resort(network, group),
        *_marked(network, placement, requirements, group),
        *drop_unmarked(ROOT, [vrf], (4, 6), group),
        *drop_unmarked(ROOT, [placement.tunnel], (4,), group),
        *_settings(network, placement, group),
        local_delivery.of_tunnel(ROOT, placement.tunnel, network.host.local, _own(network), group),
        *(
            NftElements(ROOT, "guarded_ifaces", frozenset({name}), name)
            for name in (vrf, placement.tunnel)
        ),
    ]
    if requirements.egress:
        out += [
            NftElements(ROOT, "permitted_ifaces", frozenset({name}), name)
            for name in (vrf, placement.tunnel)
        ]
        out += port_blocks.elements(network, (vrf, placement.tunnel))
        out += _leak(network, group)
        out += _answered(network, placement, group)
    return RootContribution(
        group,
        (*out, *inner, _part(network, placement, requirements, policy)),
        tuple(
            item
            for item in network.inside
            if not (requirements.nat4 if item.version == 4 else requirements.nat6)
        ),
        network.inside if requirements.egress else (),
        (vrf, placement.tunnel),
        (port_blocks.block_of(network),) if requirements.egress else (),
    )


def shared(has_ipv6: bool, host: Host) -> list[KernelObject]:
    """Return the routing rules that all networks of this mode share, with `has_ipv6` also IPv6's.

    Packets that leave a network are looked up by the host's own rules, which follow the kernel's
    l3mdev rule, as packets that leave a namespace are.
    """
    out: list[KernelObject] = []
    for version in (4, 6) if has_ipv6 else (4,):
        # A GRE tunnel of a VRF looks up its route without a mark, on behalf of the VRF
        # (ip_tunnel_init_flow() in include/net/ip_tunnels.h). `drop_unmarked` must not match it.
        out.append(Rule(ROOT, version, OWN_PRIORITY, link="lo"))
        out.append(Rule(ROOT, version, L3MDEV_PRIORITY))
        if version not in host.steered:  # otherwise `firewall.root.steering` has the rules
            out.append(
                Rule(ROOT, version, LEAVE_PRIORITY, MARKS, mask=OF_A_TABLE, goto=HOST_PRIORITY)
            )
            out.append(Rule(ROOT, version, HOST_PRIORITY, nop=True))
    return out


def _own(network: ResolvedNetwork) -> list[str]:
    """Return the gateway's addresses in the network."""
    return [
        str(address) for address in (network.gateway_address, network.gateway_address6) if address
    ]


def _versions(network: ResolvedNetwork) -> tuple[int, ...]:
    return (4,) if network.subnet6 is None else (4, 6)


def _marked(
    network: ResolvedNetwork, placement: Placement, requirements: EgressRequirements, group: str
) -> Iterator[KernelObject]:
    """Yield the rules that look up packets with the network's mark in its table.

    If the network has egress, they skip the default routes of the table, so that the lookup
    continues with the rules of the host. The check of the source address (rp_filter) makes the same
    lookup in reverse.
    """
    for version in _versions(network):
        longer = 0 if requirements.egress else -1
        yield Rule(
            ROOT,
            version,
            ANSWER_PRIORITY,
            placement.mark,
            network.routing_table,
            group,
            suppress=longer,
        )


def _answered(network: ResolvedNetwork, placement: Placement, group: str) -> Iterator[KernelObject]:
    """Yield the rules that let replies pass the check of their source (rp_filter of the uplink).

    This check looks up the reverse route, as if the reply came in by the tunnel: without a mark,
    and since Linux 6.13 as a packet of the VRF. `drop_unmarked` must not match this lookup, so a
    rule before it looks in the network's table. Packets that really came in by the tunnel match
    this rule too. Without a mark they are dropped before, by `drop_unmarked_within`, or by the
    check of their own source (`drop_unmarked_beyond`).

    Example: a reply to 10.9.0.2 of the tunnel wg-7 comes in by eth0, from 198.51.100.1. The check
    looks up 198.51.100.1 without a mark, as if a packet had come in by wg-7. Without this rule it
    would meet `drop_unmarked` for wg-7, and the reply would be dropped.
    """
    own = [item for item in network.inside if isinstance(item, IPv4Network)]
    yield from drop_unmarked_within(placement.tunnel, collapse_addresses(own), group)
    yield Rule(ROOT, 4, OWN_PRIORITY, 0, network.routing_table, group, link=placement.tunnel)


def _last_resort(network: ResolvedNetwork, group: str) -> Iterator[KernelObject]:
    for prefix in ("0.0.0.0/0", "::/0"):
        yield Route(
            ROOT,
            prefix,
            "",
            None,
            table=network.routing_table,
            metric=LAST_RESORT,
            kind=RTN_UNREACHABLE,
            owner=group,
        )


def _leak(network: ResolvedNetwork, group: str) -> Iterator[KernelObject]:
    """Yield copies of the host's default routes in the network's table.

    They are for packets that the gateway itself sends on behalf of the network (ICMP errors).
    """
    for hop in network.host.hops:
        prefix = "0.0.0.0/0" if hop.version == 4 else "::/0"
        if hop.version in _versions(network):
            yield Route(
                ROOT,
                prefix,
                hop.device,
                None,
                hop.via or None,
                network.routing_table,
                default_metric(prefix),
                owner=group,
                onlink=bool(hop.via),
            )


def _settings(network: ResolvedNetwork, placement: Placement, group: str) -> Iterator[KernelObject]:
    four, six = "net/ipv4/conf", "net/ipv6/conf"
    off = "1" if network.subnet6 is None else "0"
    link = link_key(ROOT, _vrf(network))
    yield Sysctl(ROOT, f"{four}/{_vrf(network)}/tag", tag(network.host), link, owner=group)
    for name in (_vrf(network), placement.tunnel):
        values = {
            f"{four}/{name}/forwarding": "1",
            f"{four}/{name}/rp_filter": "1",
            f"{six}/{name}/disable_ipv6": off,
        }
        # With this setting the reverse lookup of rp_filter uses the packet's mark. Without a mark
        # it would match `drop_unmarked` since Linux 6.13.
        values[f"{four}/{name}/src_valid_mark"] = "1"
        for path, value in values.items():
            yield Sysctl(ROOT, path, value, link_key(ROOT, name), owner=group)


# -- the part of the gateway's guard


def _part(
    network: ResolvedNetwork,
    placement: Placement,
    requirements: EgressRequirements,
    policy: FirewallPolicy,
) -> NetworkSubtable:
    """Return the network's part of the table in the root, in which all names have its suffix."""
    chains = _chains(network, placement, requirements, policy)
    sets = [*policy.sets, *connection_limits.sets(), *icmp_errors.sets(), *_inside(network)]
    counters = (*policy.counters, *connection_limits.REASONS, icmp_errors.REASON)
    meters = connection_limits.meters(network.shares)
    names = frozenset((*chains, *(item.name for item in sets), *counters, *meters))
    named_sets = [_named(item, placement) for item in sets]
    entries = [
        (name, link, placement.named(chain))
        for name, link, chain in _entries(network, placement, requirements)
    ]
    return NetworkSubtable(
        network.vcid,
        tuple(sorted(named_sets, key=lambda item: item.name)),
        tuple(sorted(placement.named(name) for name in counters)),
        tuple(_built(chains, names, placement)),
        tuple(sorted(entries)),
    )


def _chains(
    network: ResolvedNetwork,
    placement: Placement,
    requirements: EgressRequirements,
    policy: FirewallPolicy,
) -> Mapping[str, Sequence[str]]:
    """Return the rules of each chain, by name without the network's suffix."""
    back = [*clamp(network.mtu), rule("back", jump("back"))]
    return {
        **policy.chains,
        "forward": _forward(network, placement, requirements, policy),
        "return": back if requirements.egress else [],
        "input": [
            icmp_errors.related(),
            rule("answers to the gateway", ANSWERS, ACCEPT),
            connection_limits.new_connections(),
            rule("from an endpoint", jump("local")),
        ],
        **connection_limits.chains(network.shares, str(network.vcid)),
        **icmp_errors.chains(str(network.vcid)),
        "zone": [*policy.untracked, *_zone(network)],
        "zone-out": [
            *policy.untracked_out,
            rule("the gateway's own", mangle(ZONE, network.routing_table)),
        ],
        "steer": list(_steer(network, placement, requirements)),
    }


def _built(
    chains: Mapping[str, Sequence[str]], names: frozenset[str], placement: Placement
) -> Iterator[NftChain]:
    """Yield the chains with the names that they have in the root, sorted by these names."""
    for name in sorted(chains, key=placement.named):
        rules = [renamed(text, names, placement.suffix) for text in chains[name]]
        if name == "out":
            rules = [_passed_on(text) for text in rules]
        if rules:
            yield NftChain(placement.named(name), second_guard.marking(rules))


def _entries(
    network: ResolvedNetwork, placement: Placement, requirements: EgressRequirements
) -> Iterator[tuple[str, str, str]]:
    """Yield (map in the root's table, link, chain): packets of the link go to the chain."""
    yield ("forward_map", _vrf(network), "forward")
    yield ("input_map", _vrf(network), "input")
    yield ("zones", placement.tunnel, "zone")
    yield ("zones-out", placement.tunnel, "zone-out")
    yield ("steering_map", placement.tunnel, "steer")
    if requirements.egress:
        yield ("reply_map", placement.tunnel, "return")


def _named(item: NftSet, placement: Placement) -> NftSet:
    return dataclasses.replace(item, name=placement.named(item.name))


def _inside(network: ResolvedNetwork) -> list[NftSet]:
    return [
        NftSet(f"inside{version}", kind, True, merged(network.inside, version))
        for version, kind in ((4, "ipv4_addr"), (6, "ipv6_addr"))
    ]


def _passed_on(text: str) -> str:
    """Return a rule of the network's `out` chain in which `accept` is replaced by the shared
    checks, the chain `out` of the gateway's table.
    """
    return with_accept_as(text, goto("out"))


def _forward(
    network: ResolvedNetwork,
    placement: Placement,
    requirements: EgressRequirements,
    policy: FirewallPolicy,
) -> list[str]:
    label = str(network.vcid)
    off = (
        drops(label, "ipv6-off", match(meta("nfproto"), "ipv6")) if network.subnet6 is None else ()
    )
    hooks = (
        [rule("peers", match(meta("oifname"), placement.tunnel), jump("peers"))]
        if "peers" in policy.chains
        else []
    )
    hooks += [rule("out", jump("out"))] if requirements.egress else []
    return [
        *clamp(network.mtu),
        *off,
        connection_limits.new_connections(),
        *icmp_errors.forwarded(),
        *hooks,
        *drops(label, "not-permitted"),
    ]


def _zone(network: ResolvedNetwork) -> Iterator[str]:
    for family, version in (("ip", 4), ("ip6", 6)):
        inside = match(payload(family, "daddr"), f"@inside{version}")
        yield rule("within the network", inside, mangle(ZONE, network.routing_table), RETURN)
    yield rule("leaves", mangle(ZONE_OUT, network.routing_table))


def _steer(
    network: ResolvedNetwork, placement: Placement, requirements: EgressRequirements
) -> Iterator[str]:
    """Yield the rules that mark the network's packets, and the connections that leave it.

    The mark of a connection leads its replies to the network's table.
    """
    yield rule("of this network", mangle(meta("mark"), placement.mark))
    if not requirements.egress:
        return
    for family, version in (("ip", 4), ("ip6", 6)):
        yield rule(
            "within the network", match(payload(family, "daddr"), f"@inside{version}"), RETURN
        )
    yield rule("mark replies", mangle({"ct": {"key": "mark"}}, placement.mark))
