"""Holes to plant in the product, one at a time: each is a small mistake that a maintainer could make, and each must be found.

A mutant replaces a piece of text of a file, which must stand there exactly once; `found_by` is the cheapest test that is
expected to fail then. `replay.py` plants them in a copy and says how many were found. Those of `packets` run in the lab.
"""

from __future__ import annotations

from dataclasses import dataclass

GUARDS = "tests/unit/networks/firewall/test_firewalls.py"
DELIVERY = "tests/unit/networks/firewall/test_local_delivery.py"
ROOT_GUARD = "tests/unit/networks/firewall/test_root.py"
LIMITS = "tests/unit/networks/test_limits.py"
ADMISSION = "tests/unit/daemon/http/test_admission.py"
API = "tests/unit/daemon/http/test_routes.py"
RESTRICT = "tests/unit/intent/test_intersection.py"
UNWRITTEN = "tests/unit/service/test_commitment.py"
OWNERSHIP = "tests/unit/intent/test_ownership.py"
PRIVATE_FILE = "tests/unit/store/test_private_file.py"
RANGES = "tests/unit/networks/test_special_ranges.py"
LINKS = "tests/live/test_links_of_others.py"
FLUSH = "tests/packets/test_under_fire.py"


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    file: str
    right: str
    wrong: str
    found_by: str = GUARDS
    packets: bool = False
    also: tuple[tuple[str, str, str], ...] = ()  # file, right, wrong: where two guards stand, both must be open to let packets in

    @property
    def edits(self) -> tuple[tuple[str, str, str], ...]:
        return ((self.file, self.right, self.wrong), *self.also)


MUTANTS = (
    Mutant(
        "the host answers on a transit link's address to whoever routes there from outside",
        "warpd/networks/firewall/root.py",
        '        *_transit_from_outside("ip", 4),\n',
        "",
        "tests/packets/test_neighbour.py",
        packets=True,
    ),
    Mutant(
        "the host's own addresses are open to whoever comes in by a transit link",
        "warpd/networks/firewall/local_delivery.py",
        "(*_discovery(), *_closed((*LINK_WIDE, *local)))",
        "(*_discovery(), *_closed(LINK_WIDE))",
        DELIVERY,
    ),
    Mutant(
        "neighbour discovery comes in by a tunnel",
        "warpd/networks/firewall/local_delivery.py",
        "return TcIngress(netns, device, _closed(",
        "return TcIngress(netns, device, _discovery() + _closed(",
        DELIVERY,
    ),
    Mutant(
        "multicast and link-local addresses of the host are open to a network",
        "warpd/networks/firewall/local_delivery.py",
        '("224.0.0.0/4", "255.255.255.255/32", "fe80::/10", "ff00::/8")',
        '("224.0.0.0/4", "255.255.255.255/32", "fe80::/10")',
        DELIVERY,
    ),
    Mutant(
        "transit links of other networks are open to a network",
        "warpd/networks/firewall/local_delivery.py",
        "*(ip_network(item) for item in local), transit, TRANSIT6]",
        "*(ip_network(item) for item in local), TRANSIT6]",
        DELIVERY,
    ),
    Mutant(
        "the unreachable default of one family is missing",
        "warpd/networks/isolation/vrf.py",
        'for prefix in ("0.0.0.0/0", "::/0"):\n',
        'for prefix in ("0.0.0.0/0",):\n',
    ),
    Mutant(
        "unreachable routes come after what they stop",
        "warpd/kernel/kinds/route.py",
        "return Phase.ROUTE if self.device else Phase.NAMESPACE",
        "return Phase.ROUTE",
    ),
    Mutant(
        "the guard comes after the links",
        "warpd/kernel/state.py",
        "    GUARD = 1\n    NAMESPACE = 2\n    DEVICE = 3\n    SETTING = 4\n",
        "    GUARD = 4\n    ROOM = 1\n    DEVICE = 2\n    SETTING = 3\n",
    ),
    Mutant(
        "allocations come before the devices",
        "warpd/kernel/kinds/nft_table.py",
        'return Phase.GUARD if role_of(self.set) == "fence" else Phase.PERMIT',
        "return Phase.GUARD",
    ),
    Mutant(
        "removal does not reverse the order",
        "warpd/reconcile/plan.py",
        "return (-step.change.subject.phase, step.group, step.key)",
        "return (step.change.subject.phase, step.group, step.key)",
    ),
    Mutant(
        "the rule against spoofed IPv6 sources is forgotten",
        "warpd/networks/tunnel.py",
        '        *drops(label, "spoofed", match(payload("ip6", "saddr"), "@endpoints6", op="!=")),\n',
        "",
    ),
    Mutant(
        "sites are let through without a look at the source",
        "warpd/networks/types/l3vpn.py",
        "[*tunnel.spoofed(site), *routed,",
        "[*routed,",
    ),
    Mutant(
        "a resource's ports are ignored",
        "warpd/networks/types/remote_resource.py",
        "_protocols(resource), _ports(resource.ports or ()))",
        "_protocols(resource), ())",
    ),
    Mutant(
        "a resource's protocol is ignored where it has no ports",
        "warpd/networks/policy.py",
        '    return [match(meta("l4proto"), numbers), *port]',
        "    return [*port]",
    ),
    Mutant(
        "what no resource lists passes",
        "warpd/networks/types/remote_resource.py",
        '"out": [*egress.out(site, network, beyond), *unlisted],',
        '"out": egress.out(site, network, beyond),',
    ),
    Mutant(
        "the conntrack zone of what stays inside is dropped",
        "warpd/networks/isolation/vrf.py",
        '        yield rule("stays inside", inside, mangle(ZONE, site.routing_table), RETURN)\n',
        '        yield rule("stays inside", inside, RETURN)\n',
        "tests/packets/test_twins.py",
        packets=True,
    ),
    Mutant(
        "two networks in the root have one mark",
        "warpd/networks/firewall/root.py",
        "    return MARKS + table\n",
        "    return MARKS + 1\n",
    ),
    Mutant(
        "networks without a way out are marked for the uplink",
        "warpd/networks/isolation/vrf.py",
        "    if not wants.egress:\n        return\n",
        "",
    ),
    Mutant(
        "a leg in the root believes every network",
        "warpd/networks/ethernet.py",
        "    if not place.mark:\n        return []\n",
        "    return []\n",
    ),
    Mutant(
        "GRETAP legs hang on the WireGuard device in a VRF",
        "warpd/networks/isolation/vrf.py",
        "site.routing_table, vrf, vrf, suffix",
        'site.routing_table, vrf, f"wg-{site.vcid}", suffix',
    ),
    Mutant(
        "a bridge does not look at VLANs",
        "warpd/kernel/kinds/ethernet.py",
        "    filtering: bool = True\n",
        "    filtering: bool = False\n",
    ),
    Mutant(
        "VLANs that were not granted pass a port",
        "warpd/networks/types/l2_mesh.py",
        "    tagged = ethernet.tagged_of(network)\n",
        "    tagged = ((2, 4094),)\n",
    ),
    Mutant(
        "every VLAN is granted to a trunk",
        "warpd/networks/ethernet.py",
        "    return ((network.vlan_range.first, network.vlan_range.last),) if network.vlan_range else ()",
        "    return ((1, 4094),) if network.vlan_range else ()",
    ),
    Mutant(
        "the gateway's services answer endpoints in a VRF",
        "warpd/networks/isolation/vrf.py",
        '    entries = [("forwards", _vrf(site), "forward"), ("inputs", _vrf(site), "input")]\n',
        '    entries = [("forwards", _vrf(site), "forward")]\n',
        "tests/packets/matrix",
        packets=True,
    ),
    Mutant(
        "endpoint to endpoint passes in a hub",
        "warpd/networks/types/secure_internet.py",
        "*(granted if open_ else ())",
        "*granted",
        "tests/packets/matrix",
        packets=True,
    ),
    Mutant(
        "private ranges pass",
        "warpd/networks/types/secure_internet.py",
        '        PolicyEntry("private", version, f"@private{version}", denied="private"),\n',
        "",
        "tests/packets/matrix",
        packets=True,
    ),
    Mutant(
        "a network's guard lets in what comes unasked",
        "warpd/networks/policy.py",
        "ANSWERS, REPLY, *nat)",
        "*nat)",
    ),
    Mutant(
        "a reply does not meet the resources that are listed now",
        "warpd/networks/policy.py",
        '    original = (match(connection(f"{FAMILY[entry.version]} daddr", "original"), entry.target),) if entry.target else ()',
        "    original = ()",
    ),
    Mutant(
        "replies of a connection pass whatever its port was",
        "warpd/networks/policy.py",
        "        if not entry.ports:\n            yield protocol\n",
        "        yield protocol\n",
        "tests/packets/test_revoked.py",
        packets=True,
    ),
    Mutant(
        "a connection without NAT goes on where NAT is wanted now",
        "warpd/networks/egress.py",
        "        *_untranslated(label, network),\n",
        "",
        "tests/packets/test_revoked.py",
        packets=True,
    ),
    Mutant(
        "protocols without ports leave by NAT",
        "warpd/networks/egress.py",
        "        *portless(label, carried),\n",
        "",
        also=(("warpd/networks/egress.py", "policy.requests(label, entries, carried)", "policy.requests(label, entries)"),),
    ),
    Mutant(
        "what nft finds no protocol in leaves by NAT",
        "warpd/networks/egress.py",
        "policy.requests(label, entries, carried)",
        "policy.requests(label, entries)",
    ),
    Mutant(
        "protocols that are listed for one family leave by the NAT of the other",
        "warpd/networks/egress.py",
        "    listed = () if version in translated(network) else network.protocols\n",
        "    listed = network.protocols\n",
    ),
    Mutant(
        "ICMP other than echo leaves",
        "warpd/networks/egress.py",
        "        *_echo_only(label),\n",
        "",
        also=(("warpd/networks/egress.py", "policy.requests(label, entries, carried)", "policy.requests(label, entries)"),),
    ),
    Mutant(
        "the gateway lets out what a network's own guard would have to stop",
        "warpd/networks/firewall/root.py",
        '        rule("what NAT keeps apart", jump("carried")),\n',
        "",
    ),
    Mutant(
        "the gateway's guard lets in what comes unasked",
        "warpd/networks/firewall/root.py",
        'match(meta("oifname"), "@links"), ANSWERS, ACCEPT)',
        'match(meta("oifname"), "@links"), ACCEPT)',
    ),
    Mutant(
        "what comes unasked from the uplink is let in",
        "warpd/networks/policy.py",
        "ANSWERS, REPLY, *nat)",
        "*nat)",
        "tests/packets/test_unasked.py",
        packets=True,
        also=(
            (
                "warpd/networks/firewall/root.py",
                'match(meta("oifname"), "@links"), ANSWERS, ACCEPT)',
                'match(meta("oifname"), "@links"), ACCEPT)',
            ),
        ),
    ),
    Mutant(
        "a network's link may lead to another one's",
        "warpd/networks/firewall/root.py",
        '        *drops("gateway", "between-networks", _to_door()),\n',
        "",
    ),
    Mutant(
        "networks meet in the root",
        "warpd/networks/firewall/root.py",
        '        *drops("gateway", "between-networks", _to_door()),\n',
        "",
        "tests/packets/test_unasked.py",
        packets=True,
        also=(
            (
                "warpd/networks/firewall/root.py",
                '        *drops("gateway", "hairpin", match(payload("ip", "daddr"), "@ranges4")),\n',
                "",
            ),
        ),
    ),
    Mutant(
        "NAT takes the ports on which the gateway listens",
        "warpd/networks/firewall/port_blocks.py",
        '    own = {"masquerade": {"port": between(block[0], block[1])}}\n',
        '    own = {"masquerade": None}\n',
        "tests/packets/test_shadow.py",
        packets=True,
    ),
    Mutant(
        "unknown neighbours of one family are not limited",
        "warpd/networks/firewall/root.py",
        "        *neighbours.judges(),\n",
        "        *neighbours.judges()[:1],\n",
        LIMITS,
    ),
    Mutant(
        "networks share the log lines of the gateway's rules",
        "warpd/networks/firewall/rules.py",
        "    if label == GATEWAY:\n",
        "    if False:\n",
        LIMITS,
    ),
    Mutant(
        "all networks have one block of ports",
        "warpd/networks/firewall/port_blocks.py",
        "return site.link_number % BLOCKS",
        "return 0",
        LIMITS,
    ),
    Mutant(
        "new connections to the gateway itself meet no share",
        "warpd/networks/isolation/namespace.py",
        '        connection_limits.new_connections(match(meta("iifname"), place.tunnel)),\n',
        "",
        LIMITS,
    ),
    Mutant(
        "an endpoint's routes have no share",
        "warpd/networks/tunnel.py",
        "p.share, p.ranges) for p in peers]",
        "p.share, p.ranges[:1]) for p in peers]",
        LIMITS,
    ),
    Mutant(
        "shares of connections are counted by address",
        "warpd/networks/firewall/connection_limits.py",
        '            found[source.version].add(f"{plain(source)} : {number}")\n',
        '            found[source.version].add(f"{plain(source)} : 100:{hash(source) % 65536:x}")\n',
        LIMITS,
    ),
    Mutant(
        "an endpoint's connections are not counted",
        "warpd/networks/firewall/connection_limits.py",
        '        yield rule("connections of an endpoint", _of(kind), over, jump("over-count"))\n',
        "",
        LIMITS,
    ),
    Mutant(
        "AllowedIPs forget what is behind an endpoint",
        "warpd/networks/tunnel.py",
        "        return tuple(sorted(str(item) for item in self.ranges))\n",
        "        return tuple(sorted(str(item) for item in self.ranges[:2]))\n",
    ),
    Mutant(
        "a bridge hands frames to its host",
        "warpd/networks/frames.py",
        "    return (TcFilter(_FIRST_RESERVED),)\n",
        "    return ()\n",
    ),
    Mutant(
        "a bridge that somebody listens on hands frames to its host",
        "warpd/networks/frames.py",
        "    return (TcFilter(_FIRST_RESERVED),)\n",
        "    return ()\n",
        "tests/packets/test_frames.py",
        packets=True,
    ),
    Mutant(
        "frames to some reserved addresses are handed to the host",
        "warpd/networks/frames.py",
        '    "01:80:c2:00:00:08/ff:ff:ff:ff:ff:f8",\n',
        "",
    ),
    Mutant(
        "a tag behind a tag passes",
        "warpd/networks/frames.py",
        "*(_stacked() if judged else ())",
        "*()",
    ),
    Mutant(
        "a tag behind a tag comes out as the VLAN of the frame",
        "warpd/networks/frames.py",
        "*(_stacked() if judged else ())",
        "*()",
        "tests/packets/test_frames.py",
        packets=True,
    ),
    Mutant(
        "first tags of 802.1ad pass",
        "warpd/networks/frames.py",
        "return (*outer, *inner)",
        "return tuple(inner)",
    ),
    Mutant(
        "broadcasts of a mesh have no limit",
        "warpd/networks/types/l2_mesh.py",
        "storms=True",
        "storms=False",
    ),
    Mutant(
        "what exceeds a limit passes",
        "warpd/kernel/netlink/tc.py",
        "    tbf = TBF.pack(0, TC_ACT_SHOT, 0,",
        "    tbf = TBF.pack(0, TC_ACT_OK, 0,",
        "tests/live/test_filters.py",
        packets=True,
    ),
    Mutant(
        "filters come after the links are up",
        "warpd/kernel/kinds/tc_filter.py",
        """    @property
    def phase(self) -> Phase:
        return Phase.SETTING

    @property
    def needs(self) -> tuple[Key, ...]:
        maker""",
        """    @property
    def phase(self) -> Phase:
        return Phase.ROUTE

    @property
    def needs(self) -> tuple[Key, ...]:
        maker""",
    ),
    Mutant(
        "filters of somebody else are taken for ours",
        "warpd/kernel/netlink/tc.py",
        "    return keys if told == written else None\n",
        "    return keys\n",
        "tests/unit/kernel/netlink/test_tc.py",
    ),
    Mutant(
        "a bridge learns for one leg only",
        "warpd/kernel/kinds/ethernet.py",
        "    return LEARNED_PER_LEG * max(legs, 1)\n",
        "    return LEARNED_PER_LEG\n",
    ),
    Mutant(
        "what a VRF's packets are routed by asks for no mark",
        "warpd/networks/isolation/vrf.py",
        "        *unguarded(ROOT, [vrf], (4, 6), group),\n",
        "",
    ),
    Mutant(
        "endpoints of a VRF reach each other unmarked, by IPv4",
        "warpd/networks/isolation/vrf.py",
        "    yield from unguarded_within(place.tunnel, collapse_addresses(own), group)\n",
        "",
        ROOT_GUARD,
    ),
    Mutant(
        "a VRF without a way out routes IPv4 unmarked",
        "warpd/networks/isolation/vrf.py",
        "        *unguarded(ROOT, [place.tunnel], (4,), group),\n",
        "",
        ROOT_GUARD,
    ),
    Mutant(
        "a VRF's IPv4 leaves unmarked where the kernel takes no rule for its VRF",
        "warpd/networks/compiler.py",
        "    own += root.unguarded_beyond(sorted(_ways_out4(host)), collapse_addresses(_of_vrfs(leaving)))\n",
        "",
        ROOT_GUARD,
    ),
    Mutant(
        "a namespace routes what nothing has marked",
        "warpd/networks/isolation/namespace.py",
        '    out += unguarded(place.netns, _links(site, place, wants), versions, owner="", inside=inside)\n',
        "",
    ),
    Mutant(
        "a namespace routes what comes in by its transit link unmarked",
        "warpd/networks/isolation/namespace.py",
        "    return [place.tunnel, _exit(site)] if wants.egress else [place.tunnel]\n",
        "    return [place.tunnel]\n",
    ),
    Mutant(
        "the root routes IPv6 of a namespace unmarked",
        "warpd/networks/isolation/namespace.py",
        "        out += unguarded(ROOT, [_outer(site)], (6,), owner=place.netns)\n",
        "",
    ),
    Mutant(
        "the root routes IPv4 of transit links unmarked",
        "warpd/networks/compiler.py",
        "*root.unguarded_ranges(_transits(parts, intent)), ",
        "",
    ),
    Mutant(
        "marks of other programs open the way",
        "warpd/networks/firewall/root.py",
        "MARK_BYTE = 0xFF000000\n",
        "MARK_BYTE = 0xFFFFFFFF\n",
        ROOT_GUARD,
    ),
    Mutant(
        "the host's tables are asked before the mark is",
        "warpd/networks/firewall/root.py",
        "WITHIN_PRIORITY, OWN_PRIORITY, GUARD_PRIORITY = 983, 984, 985",
        "WITHIN_PRIORITY, OWN_PRIORITY, GUARD_PRIORITY = 983, 984, 995",
        ROOT_GUARD,
    ),
    Mutant(
        "rules that drop come after the links that they guard",
        "warpd/kernel/kinds/rule.py",
        "return Phase.NAMESPACE if self.blackhole else Phase.ROUTE",
        "return Phase.ROUTE",
    ),
    Mutant(
        "a routing rule that is to drop does nothing",
        "warpd/kernel/kinds/rule.py",
        "        return FR_ACT_BLACKHOLE\n",
        "        return FR_ACT_NOP\n",
        FLUSH,
        packets=True,
    ),
    Mutant(
        "a VRF's WireGuard device has no filters",
        "warpd/networks/isolation/vrf.py",
        "        local_delivery.of_tunnel(ROOT, place.tunnel, site.host.local, _own(site), group),\n",
        "",
        ROOT_GUARD,
    ),
    Mutant(
        "a namespace's WireGuard device has no filters",
        "warpd/networks/isolation/namespace.py",
        "    out.append(local_delivery.of_tunnel(place.netns, place.tunnel, _transits(site) if wants.egress else (), ()))\n",
        "",
        ROOT_GUARD,
    ),
    Mutant(
        "a transit link has no filters",
        "warpd/networks/isolation/namespace.py",
        "        local_delivery.of_transit(outer, site.host.local, place.netns),\n",
        "",
        ROOT_GUARD,
    ),
    Mutant(
        "a bridge has no filter",
        "warpd/networks/ethernet.py",
        "    out.append(TcIngress(place.netns, bridge.name, frames.of_bridge(), owner=group))\n",
        "",
    ),
    Mutant(
        "legs have no filters",
        "warpd/networks/ethernet.py",
        "        out.append(TcIngress(place.netns, leg.name, admission.filters, owner=group))\n",
        "",
    ),
    Mutant(
        "legs answer ARP",
        "warpd/networks/ethernet.py",
        '/arp_ignore": "8"',
        '/arp_ignore": "0"',
        ROOT_GUARD,
    ),
    Mutant(
        "legs have IPv6 addresses of their own",
        "warpd/networks/ethernet.py",
        '/disable_ipv6": "1"',
        '/disable_ipv6": "0"',
        ROOT_GUARD,
    ),
    Mutant(
        "a wire with VLANs carries tags behind tags",
        "warpd/networks/types/l2_point_to_point.py",
        "judged=not whole",
        "judged=False",
    ),
    Mutant(
        "the host forwards IPv4 for others because of us",
        "warpd/networks/firewall/root.py",
        '        rules.append(rule(f"{FENCE4} {link}", *matches, count("fenced"), DROP))\n',
        '        rules.append(rule(f"{FENCE4} {link}", *matches, count("fenced")))\n',
        ROOT_GUARD,
    ),
    Mutant(
        "the host forwards IPv6 for others because of us",
        "warpd/networks/firewall/root.py",
        '        rules.append(rule(FENCE6, match(meta("nfproto"), "ipv6"), count("fenced"), DROP))\n',
        '        rules.append(rule(FENCE6, match(meta("nfproto"), "ipv6"), count("fenced")))\n',
        ROOT_GUARD,
    ),
    Mutant(
        "a network without a block of ports leaves with its inner source",
        "warpd/networks/firewall/root.py",
        '        rule("no block", _from_door(), count("not-granted"), DROP),\n',
        "",
        ROOT_GUARD,
    ),
    Mutant(
        "networks leave by every link",
        "warpd/networks/firewall/root.py",
        'match(together(*pair), f"@uplinks{version}"), ACCEPT)',
        "ACCEPT)",
    ),
    Mutant(
        "IPv6 leaves by the uplink of IPv4",
        "warpd/networks/firewall/root.py",
        "for door, link, own in uplinks if own == version})",
        "for door, link, own in uplinks})",
    ),
    Mutant(
        "a link's name stands for others in a rule",
        "warpd/networks/compiler.py",
        "    return [(link, version) for link, version in named if is_plain_link_name(link)]\n",
        "    return named\n",
    ),
    Mutant(
        "a way to what a network may reach leads everywhere",
        "warpd/networks/firewall/root.py",
        'key = together(*pair, payload(family, "daddr"))',
        'key = together(*pair, payload(family, "saddr"))',
    ),
    Mutant(
        "the rate of an endpoint is not limited",
        "warpd/networks/firewall/connection_limits.py",
        '        yield rule("rate of an endpoint", _of(kind), over, jump("over-rate"))\n',
        "",
        LIMITS,
    ),
    Mutant(
        "the connections of a network are not counted",
        "warpd/networks/firewall/connection_limits.py",
        '    yield rule("connections of the network", _together(own.connections), jump("over-count"))\n',
        "",
        LIMITS,
    ),
    Mutant(
        "the rate of a network is not limited",
        "warpd/networks/firewall/connection_limits.py",
        '    yield rule("rate of the network", rate_over(own.per_second, own.per_second * BURST_S), jump("over-rate"))\n',
        "",
        LIMITS,
    ),
    Mutant(
        "all networks together may fill the table",
        "warpd/networks/firewall/connection_limits.py",
        '        rule("all networks", _together(table * 3 // 4), jump("over-count")),\n',
        "",
        LIMITS,
    ),
    Mutant(
        "one network may take every port to a service",
        "warpd/networks/firewall/connection_limits.py",
        '        rules.append(rule("one service", transports, over, jump("over-ports")))\n',
        "",
        ROOT_GUARD,
    ),
    Mutant(
        "new connections meet no share of the gateway",
        "warpd/networks/firewall/root.py",
        "        connection_limits.new_connections(),\n",
        "",
        ROOT_GUARD,
    ),
    Mutant(
        "new connections from a VRF meet no share",
        "warpd/networks/isolation/vrf.py",
        "        *off,\n        connection_limits.new_connections(),\n",
        "        *off,\n",
        LIMITS,
    ),
    Mutant(
        "who chooses the part that a connection is counted in is its sender",
        "warpd/networks/firewall/connection_limits.py",
        "random_of(parts)",
        'payload("ip", "saddr")',
        LIMITS,
    ),
    Mutant(
        "an endpoint has the share of its whole network",
        "warpd/networks/limits.py",
        "    default = Share(max(network.connections // connections, 1), max(network.per_second // rate, 1))\n",
        "    default = network\n",
        LIMITS,
    ),
    Mutant(
        "one network may scan for all",
        "warpd/networks/firewall/neighbours.py",
        '            rule("of a network", own, jump("over-unresolved")),\n',
        "",
        ROOT_GUARD,
    ),
    Mutant(
        "all networks together may fill the neighbour table",
        "warpd/networks/firewall/neighbours.py",
        '            rule("of all networks", rate_over(*OF_ALL), jump("over-unresolved")),\n',
        "",
        ROOT_GUARD,
    ),
    Mutant(
        "who sends unasked has answered",
        "warpd/networks/firewall/neighbours.py",
        "            ANSWERS,\n",
        "",
        LIMITS,
    ),
    Mutant(
        "a bridge learns without a bound",
        "warpd/networks/ethernet.py",
        "    limit = max_learned(legs)\n",
        "    limit = 0\n",
    ),
    Mutant(
        "6to4 leads inside",
        "warpd/networks/special_ranges.py",
        '    "2002::/16",  # 6to4\n',
        "",
        RANGES,
    ),
    Mutant(
        "IPv4-translated addresses lead inside",
        "warpd/networks/special_ranges.py",
        '    "::ffff:0:0:0/96",  # IPv4-translated\n',
        "",
        RANGES,
    ),
    Mutant(
        "a cloud's host is part of the internet",
        "warpd/networks/special_ranges.py",
        '    "168.63.129.16/32",  # Azure\'s host: metadata, DNS, health\n',
        "",
        RANGES,
    ),
    Mutant(
        "a link of somebody else is marked when its creation was refused",
        "warpd/kernel/linux/live_kernel.py",
        """        if refusal is not None:
            return refusal
        return self._bridge_options(change) or self._in_turn(mark)
""",
        "        return self._bridge_options(change) or self._in_turn(mark)\n",
        LINKS,
        packets=True,
    ),
    Mutant(
        "a link is ours by its name alone",
        "warpd/kernel/linux/dump.py",
        '        unmarked = not row.alias and (row.kind == "veth" or',
        '        unmarked = not row.alias and (row.kind != "" or',
        LINKS,
        packets=True,
    ),
    Mutant(
        "routes that an endpoint gets wait for no disk",
        "warpd/intent/intersection.py",
        '    "routes": _ranges,\n',
        '    "routes": lambda _previous, wanted: wanted,\n',
        RESTRICT,
    ),
    Mutant(
        "an endpoint that was switched off stays while the disk is full",
        "warpd/intent/intersection.py",
        """    "enabled": _both,
    "routes": _ranges,
""",
        """    "enabled": KEPT,
    "routes": _ranges,
""",
        RESTRICT,
    ),
    Mutant(
        "a device with other keys goes on while the disk is full",
        "warpd/intent/intersection.py",
        'IDENTITY: Final = ("public_key", "preshared_key", "preshared_key_file", "rotation")',
        'IDENTITY: Final = ("public_key", "preshared_key", "preshared_key_file")',
        RESTRICT,
    ),
    Mutant(
        "resources that a network gets wait for no disk",
        "warpd/intent/intersection.py",
        '    "resources": _resources,\n',
        '    "resources": lambda _previous, wanted: wanted,\n',
        RESTRICT,
    ),
    Mutant(
        "what was private again stays open while the disk is full",
        "warpd/intent/intersection.py",
        '    "allow_private": _ranges,\n',
        '    "allow_private": KEPT,\n',
        RESTRICT,
    ),
    Mutant(
        "a network of another type goes on while the disk is full",
        "warpd/intent/intersection.py",
        "    if previous.type != wanted.type or _without_vlans(previous, wanted):\n",
        "    if _without_vlans(previous, wanted):\n",
        RESTRICT,
    ),
    Mutant(
        "nothing is taken away while the disk is full",
        "warpd/service/commitment.py",
        "intent=restrict(previous.read.intent, read.intent))",
        "intent=previous.read.intent)",
        UNWRITTEN,
    ),
    Mutant(
        "everything is given while the disk is full",
        "warpd/service/commitment.py",
        "intent=restrict(previous.read.intent, read.intent))",
        "intent=read.intent)",
        UNWRITTEN,
    ),
    Mutant(
        "a lost master secret is replaced while devices are there",
        "warpd/service/commitment.py",
        """        if has_devices(kernel):
            raise lost_master(IN_KERNEL)
""",
        "",
        UNWRITTEN,
    ),
    Mutant(
        "lost allocations are replaced while devices are there",
        "warpd/service/commitment.py",
        "and read.intent.networks and has_devices(kernel):",
        "and False:",
        UNWRITTEN,
    ),
    Mutant(
        "who is removed stays when the state is lost",
        "warpd/service/recovery.py",
        "    if len(missing) > len(by_routes):\n",
        "    if True:\n",
        "tests/unit/service/test_recovery.py",
    ),
    Mutant(
        "another master secret tells of endpoints",
        "warpd/service/recovery.py",
        "        master = None\n    pool",
        "        pass\n    pool",
        "tests/unit/service/test_recovery.py",
    ),
    Mutant(
        "a lost master secret is replaced",
        "warpd/service/commitment.py",
        "        session.refuse_lost_master()\n",
        "        pass\n",
        UNWRITTEN,
        also=(
            (
                "warpd/service/commitment.py",
                "        if has_devices(kernel):\n            raise lost_master(IN_KERNEL)\n",
                "",
            ),
            ("warpd/service/workspace.py", "            self.refuse_lost_master()\n", ""),
        ),
    ),
    Mutant(
        "one user takes the places of all",
        "warpd/daemon/http/admission.py",
        " or self._by_user[peer.uid] >= places.per_user:",
        ":",
        ADMISSION,
    ),
    Mutant(
        "others take root's places on the socket",
        "warpd/daemon/http/admission.py",
        '        return "root" if self.uid == 0 else self.right.name.lower()\n',
        '        return "read"\n',
        ADMISSION,
    ),
    Mutant(
        "a place on the socket is not given back",
        "warpd/daemon/http/admission.py",
        "        self._by_place[peer.place] -= 1\n",
        "",
        ADMISSION,
    ),
    Mutant(
        "who has no right has a place on the socket",
        "warpd/daemon/http/server.py",
        """        if peer.right is AccessLevel.NOTHING:
            self._refuse(sock, NO_RIGHT, "right")
            self._watch_flood(STRANGERS)
        elif""",
        "        if",
        API,
    ),
    Mutant(
        "a flood of strangers is not kept out",
        "warpd/daemon/http/admission.py",
        "        return self._count > self._refused_max\n",
        "        return False\n",
        ADMISSION,
    ),
    Mutant(
        "readers may apply",
        "warpd/daemon/http/routes.py",
        'if route.method == "POST" and peer.right is not AccessLevel.CHANGE:',
        'if route.method == "POST" and peer.right is AccessLevel.NOTHING:',
        API,
    ),
    Mutant(
        "readers have all of the CPU",
        "warpd/daemon/http/admission.py",
        "        return max(0.0, -self._left_s / self._rate)\n",
        "        return 0.0\n",
        ADMISSION,
    ),
    Mutant(
        "a link in the configuration that leads out is read",
        "warpd/intent/ownership.py",
        """    if _is_inside(real, os.path.realpath(folder)) or (named and public and ours):
        return None
""",
        """    if real:
        return None
""",
        OWNERSHIP,
    ),
    Mutant(
        "another name of a file of root is read",
        "warpd/intent/ownership.py",
        "    if seen.st_nlink > 1 and not public and not ours:\n",
        "    if seen.st_nlink > 9 and not public and not ours:\n",
        OWNERSHIP,
    ),
    Mutant(
        "a link to a file of root that was named is read",
        "warpd/intent/ownership.py",
        "(named and public and ours)",
        "(named and ours)",
        OWNERSHIP,
    ),
    Mutant(
        "lines of somebody's file are quoted to all",
        "warpd/intent/ownership.py",
        '    return "" if known else f"the file',
        '    return "" if file else f"the file',
        OWNERSHIP,
    ),
    Mutant(
        "what is written goes where a link of somebody leads",
        "warpd/store/private_file.py",
        """    _refuse_foreign(path, seen)
    return Path(os.readlink(path))
""",
        "    return Path(os.readlink(path))\n",
        PRIVATE_FILE,
    ),
    Mutant(
        "what is written goes into somebody's pipe",
        "warpd/store/private_file.py",
        "        _refuse_foreign(target, seen)\n        _write_to(target, data)\n",
        "        _write_to(target, data)\n",
        PRIVATE_FILE,
        also=(("warpd/store/private_file.py", "        _refuse_foreign(path, os.fstat(fd))\n", ""),),
    ),
    Mutant(
        "what is written can be read by all",
        "warpd/store/private_file.py",
        "def write_private(path: Path, data: bytes, mode: int = 0o600)",
        "def write_private(path: Path, data: bytes, mode: int = 0o644)",
        PRIVATE_FILE,
    ),
    Mutant(
        "errors about connections of others pass",
        "warpd/networks/firewall/icmp_errors.py",
        '    return rule("errors", *matches, RELATED, jump(CHAIN))\n',
        '    return rule("errors", *matches, RELATED)\n',
        "tests/unit/networks/test_icmp_errors.py",
    ),
    Mutant(
        "errors about connections of others pass, with packets",
        "warpd/networks/firewall/icmp_errors.py",
        '    return rule("errors", *matches, RELATED, jump(CHAIN))\n',
        '    return rule("errors", *matches, RELATED)\n',
        "tests/packets/test_icmp_errors.py",
        packets=True,
    ),
    Mutant(
        "routers behind an endpoint send no errors",
        "warpd/networks/firewall/icmp_errors.py",
        "        for source in sources:\n",
        "        for source in sources[:1]:\n",
        "tests/unit/networks/test_icmp_errors.py",
    ),
    Mutant(
        "errors about nothing pass between endpoints",
        "warpd/networks/firewall/icmp_errors.py",
        "    return [related(*matches), *about_nothing]\n",
        "    return [related(*matches)]\n",
        "tests/unit/networks/test_icmp_errors.py",
    ),
    Mutant(
        "a network's end of a transit link is reached over IPv6 while nothing is marked",
        "warpd/networks/compiler.py",
        "*([TRANSIT6] if any(part.terms.network.ipv6 for part in links) else ())",
        "*()",
    ),
    Mutant(
        "a network's IPv6 addresses are reached from outside while nothing is marked",
        "warpd/networks/isolation/namespace.py",
        "unguarded_ranges(_kept(site, wants), owner",
        "unguarded_ranges([item for item in _kept(site, wants) if item.version == 4], owner",
    ),
    Mutant(
        "answers over IPv6 bear no mark",
        "warpd/networks/firewall/root.py",
        'for family, version in (("ip", 4), ("ip6", 6)):\n        yield match({"ct"',
        'for family, version in (("ip", 4),):\n        yield match({"ct"',
        "tests/packets/test_forged_answers.py",
        packets=True,
    ),
    Mutant(
        "events of one network push out those of others",
        "warpd/daemon/event_buffer.py",
        "key=lambda item: (len(item[1]), -item[1][0].number)",
        "key=lambda item: -item[1][0].number",
        "tests/unit/daemon/test_event_buffer.py",
    ),
    Mutant(
        "log lines of one network have no limit",
        "warpd/daemon/event_buffer.py",
        "        if bucket.lines < 1:\n",
        "        if bucket.lines < -1e9:\n",
        "tests/unit/daemon/test_event_buffer.py",
    ),
    Mutant(
        "root waits behind all who connected before",
        "warpd/daemon/http/server.py",
        "        if uid == 0:\n            self._judge(sock)\n            return\n",
        "",
        API,
    ),
    Mutant(
        "nothing holds the storm of an endpoint",
        "warpd/networks/types/l2_mesh.py",
        "storms=True",
        "storms=False",
        "tests/packets/test_storm.py",
        packets=True,
    ),
)
