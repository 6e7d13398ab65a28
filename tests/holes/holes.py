"""Holes to plant in the product, one at a time: each is a small mistake that a maintainer could make, and each must be found.

A hole replaces a piece of text of a file, which must stand there exactly once; `found_by` is the cheapest test that is
expected to fail then. `replay.py` plants them in a copy and says how many were found. Those of `packets` run in the lab.
"""

from __future__ import annotations

from dataclasses import dataclass

GUARDS = "tests/unit/test_guards.py"
DELIVERY = "tests/unit/test_delivery.py"


@dataclass(frozen=True, slots=True)
class Hole:
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


HOLES = (
    Hole(
        "the host answers on a transit link's address to whoever routes there from outside",
        "warpd/isolation/gateway.py",
        '        *_transit_from_outside("ip", 4),\n',
        "",
        "tests/packets/test_neighbour.py",
        packets=True,
    ),
    Hole(
        "the host's own addresses are open to whoever comes in by a transit link",
        "warpd/isolation/delivery.py",
        "(*_discovery(), *_closed((*LINK_WIDE, *local)))",
        "(*_discovery(), *_closed(LINK_WIDE))",
        DELIVERY,
    ),
    Hole(
        "neighbour discovery comes in by a tunnel",
        "warpd/isolation/delivery.py",
        "return TcIngress(netns, device, _closed(",
        "return TcIngress(netns, device, _discovery() + _closed(",
        DELIVERY,
    ),
    Hole(
        "multicast and link-local addresses of the host are open to a network",
        "warpd/isolation/delivery.py",
        '("224.0.0.0/4", "255.255.255.255/32", "fe80::/10", "ff00::/8")',
        '("224.0.0.0/4", "255.255.255.255/32", "fe80::/10")',
        DELIVERY,
    ),
    Hole(
        "transit links of other networks are open to a network",
        "warpd/isolation/delivery.py",
        "*(ip_network(item) for item in local), transit, TRANSIT6]",
        "*(ip_network(item) for item in local), TRANSIT6]",
        DELIVERY,
    ),
    Hole(
        "the unreachable default of one family is missing",
        "warpd/isolation/vrf.py",
        'for prefix in ("0.0.0.0/0", "::/0"):\n',
        'for prefix in ("0.0.0.0/0",):\n',
    ),
    Hole(
        "unreachable routes come after what they stop",
        "warpd/objects/route.py",
        "return Rank.ROUTE if self.device else Rank.ROOM",
        "return Rank.ROUTE",
    ),
    Hole(
        "the guard comes after the links",
        "warpd/state.py",
        "    GUARD = 1\n    ROOM = 2\n    DEVICE = 3\n    SETTING = 4\n",
        "    GUARD = 4\n    ROOM = 1\n    DEVICE = 2\n    SETTING = 3\n",
    ),
    Hole(
        "grants come before the devices",
        "warpd/objects/nft.py",
        'return Rank.GUARD if role_of(self.set) == "fence" else Rank.GRANT',
        "return Rank.GUARD",
    ),
    Hole(
        "removal does not reverse the order",
        "warpd/plan.py",
        "return (-step.change.subject.rank, step.group, step.key)",
        "return (step.change.subject.rank, step.group, step.key)",
    ),
    Hole(
        "the rule against spoofed IPv6 sources is forgotten",
        "warpd/networks/tunnel.py",
        '        *drops(label, "spoofed", match(payload("ip6", "saddr"), "@endpoints6", op="!=")),\n',
        "",
    ),
    Hole(
        "sites are let through without a look at the source",
        "warpd/networks/l3vpn.py",
        "[*tunnel.spoofed(site), *routed,",
        "[*routed,",
    ),
    Hole(
        "a resource's ports are ignored",
        "warpd/networks/remote_resource.py",
        "_protocols(resource), _ports(resource.ports or ()))",
        "_protocols(resource), ())",
    ),
    Hole(
        "a resource's protocol is ignored where it has no ports",
        "warpd/networks/policy.py",
        '    return [match(meta("l4proto"), numbers), *port]',
        "    return [*port]",
    ),
    Hole(
        "what no resource lists passes",
        "warpd/networks/remote_resource.py",
        '"out": [*egress.out(site, network, beyond), *unlisted],',
        '"out": egress.out(site, network, beyond),',
    ),
    Hole(
        "the conntrack zone of what stays inside is dropped",
        "warpd/isolation/vrf.py",
        '        yield rule("stays inside", inside, mangle(ZONE, site.routing_table), RETURN)\n',
        '        yield rule("stays inside", inside, RETURN)\n',
        "tests/packets/test_twins.py",
        packets=True,
    ),
    Hole(
        "two networks in the root have one mark",
        "warpd/isolation/gateway.py",
        "    return MARKS + table\n",
        "    return MARKS + 1\n",
    ),
    Hole(
        "networks without a way out are marked for the uplink",
        "warpd/isolation/vrf.py",
        "    if not wants.egress:\n        return\n",
        "",
    ),
    Hole(
        "a leg in the root believes every network",
        "warpd/networks/segment.py",
        "    if not place.mark:\n        return []\n",
        "    return []\n",
    ),
    Hole(
        "GRETAP legs hang on the WireGuard device in a VRF",
        "warpd/isolation/vrf.py",
        "site.routing_table, vrf, vrf, suffix",
        'site.routing_table, vrf, f"wg-{site.vcid}", suffix',
    ),
    Hole(
        "a bridge does not look at VLANs",
        "warpd/objects/segment.py",
        "    filtering: bool = True\n",
        "    filtering: bool = False\n",
    ),
    Hole(
        "VLANs that were not granted pass a port",
        "warpd/networks/l2_mesh.py",
        "    tagged = segment.tagged_of(network)\n",
        "    tagged = ((2, 4094),)\n",
    ),
    Hole(
        "every VLAN is granted to a trunk",
        "warpd/networks/segment.py",
        "    return ((network.vlan_range.first, network.vlan_range.last),) if network.vlan_range else ()",
        "    return ((1, 4094),) if network.vlan_range else ()",
    ),
    Hole(
        "the gateway's services answer endpoints in a VRF",
        "warpd/isolation/vrf.py",
        '    entries = [("forwards", _vrf(site), "forward"), ("inputs", _vrf(site), "input")]\n',
        '    entries = [("forwards", _vrf(site), "forward")]\n',
        "tests/packets/matrix",
        packets=True,
    ),
    Hole(
        "endpoint to endpoint passes in a hub",
        "warpd/networks/secure_internet.py",
        "*(granted if open_ else ())",
        "*granted",
        "tests/packets/matrix",
        packets=True,
    ),
    Hole(
        "private ranges pass",
        "warpd/networks/secure_internet.py",
        '        Entry("private", version, f"@private{version}", denied="private"),\n',
        "",
        "tests/packets/matrix",
        packets=True,
    ),
    Hole(
        "a network's guard lets in what comes unasked",
        "warpd/networks/policy.py",
        "ANSWERS, REPLY, *nat)",
        "*nat)",
    ),
    Hole(
        "a reply does not meet the resources that are listed now",
        "warpd/networks/policy.py",
        '    original = (match(connection(f"{FAMILY[entry.version]} daddr", "original"), entry.target),) if entry.target else ()',
        "    original = ()",
    ),
    Hole(
        "replies of a connection pass whatever its port was",
        "warpd/networks/policy.py",
        "        if not entry.ports:\n            yield protocol\n",
        "        yield protocol\n",
        "tests/packets/test_revoked.py",
        packets=True,
    ),
    Hole(
        "a connection without NAT goes on where NAT is wanted now",
        "warpd/networks/egress.py",
        "        *_untranslated(label, network),\n",
        "",
        "tests/packets/test_revoked.py",
        packets=True,
    ),
    Hole(
        "protocols without ports leave by NAT",
        "warpd/networks/egress.py",
        "        *portless(label, carried),\n",
        "",
        also=(("warpd/networks/egress.py", "policy.requests(label, entries, carried)", "policy.requests(label, entries)"),),
    ),
    Hole(
        "what nft finds no protocol in leaves by NAT",
        "warpd/networks/egress.py",
        "policy.requests(label, entries, carried)",
        "policy.requests(label, entries)",
    ),
    Hole(
        "protocols that are listed for one family leave by the NAT of the other",
        "warpd/networks/egress.py",
        "    listed = () if version in translated(network) else network.protocols\n",
        "    listed = network.protocols\n",
    ),
    Hole(
        "ICMP other than echo leaves",
        "warpd/networks/egress.py",
        "        *_echo_only(label),\n",
        "",
        also=(("warpd/networks/egress.py", "policy.requests(label, entries, carried)", "policy.requests(label, entries)"),),
    ),
    Hole(
        "the gateway lets out what a network's own guard would have to stop",
        "warpd/isolation/gateway.py",
        '        rule("what NAT keeps apart", jump("carried")),\n',
        "",
    ),
    Hole(
        "the gateway's guard lets in what comes unasked",
        "warpd/isolation/gateway.py",
        'match(meta("oifname"), "@links"), ANSWERS, ACCEPT)',
        'match(meta("oifname"), "@links"), ACCEPT)',
    ),
    Hole(
        "what comes unasked from the uplink is let in",
        "warpd/networks/policy.py",
        "ANSWERS, REPLY, *nat)",
        "*nat)",
        "tests/packets/test_unasked.py",
        packets=True,
        also=(
            (
                "warpd/isolation/gateway.py",
                'match(meta("oifname"), "@links"), ANSWERS, ACCEPT)',
                'match(meta("oifname"), "@links"), ACCEPT)',
            ),
        ),
    ),
    Hole(
        "a network's link may lead to another one's",
        "warpd/isolation/gateway.py",
        '        *drops("gateway", "between-networks", _to_door()),\n',
        "",
    ),
    Hole(
        "networks meet in the root",
        "warpd/isolation/gateway.py",
        '        *drops("gateway", "between-networks", _to_door()),\n',
        "",
        "tests/packets/test_unasked.py",
        packets=True,
        also=(
            (
                "warpd/isolation/gateway.py",
                '        *drops("gateway", "hairpin", match(payload("ip", "daddr"), "@ranges4")),\n',
                "",
            ),
        ),
    ),
    Hole(
        "NAT takes the ports on which the gateway listens",
        "warpd/isolation/blocks.py",
        '    own = {"masquerade": {"port": between(block[0], block[1])}}\n',
        '    own = {"masquerade": None}\n',
        "tests/packets/test_shadow.py",
        packets=True,
    ),
    Hole(
        "unknown neighbours of one family are not limited",
        "warpd/isolation/gateway.py",
        "        *neighbours.judges(),\n",
        "        *neighbours.judges()[:1],\n",
        "tests/unit/test_limits.py",
    ),
    Hole(
        "networks share the log lines of the gateway's rules",
        "warpd/isolation/rules.py",
        "    if label == GATEWAY:\n",
        "    if False:\n",
        "tests/unit/test_limits.py",
    ),
    Hole(
        "all networks have one block of ports",
        "warpd/isolation/blocks.py",
        "return site.link_number % BLOCKS",
        "return 0",
        "tests/unit/test_limits.py",
    ),
    Hole(
        "new connections to the gateway itself meet no share",
        "warpd/isolation/namespace.py",
        '        limits.new_connections(match(meta("iifname"), place.tunnel)),\n',
        "",
        "tests/unit/test_limits.py",
    ),
    Hole(
        "an endpoint's routes have no share",
        "warpd/networks/tunnel.py",
        "p.share, p.ranges) for p in peers)",
        "p.share, p.ranges[:1]) for p in peers)",
        "tests/unit/test_limits.py",
    ),
    Hole(
        "shares of connections are counted by address",
        "warpd/isolation/limits.py",
        '            found[source.version].add(f"{plain(source)} : {_written((kind << _NUMBERS) + number)}")\n',
        '            found[source.version].add(f"{plain(source)} : {_written((kind << _NUMBERS) + hash(source) % 65536)}")\n',
        "tests/unit/test_limits.py",
    ),
    Hole(
        "an endpoint's connections are not counted",
        "warpd/isolation/limits.py",
        '        yield rule("connections of an endpoint", _of(kind), over, jump("over-count"))\n',
        "",
        "tests/unit/test_limits.py",
    ),
    Hole(
        "AllowedIPs forget what is behind an endpoint",
        "warpd/networks/tunnel.py",
        "        return tuple(sorted(str(item) for item in self.ranges))\n",
        "        return tuple(sorted(str(item) for item in self.ranges[:2]))\n",
    ),
    Hole(
        "a bridge hands frames to its host",
        "warpd/networks/frames.py",
        "    return (TcFilter(_FIRST_RESERVED),)\n",
        "    return ()\n",
    ),
    Hole(
        "a bridge that somebody listens on hands frames to its host",
        "warpd/networks/frames.py",
        "    return (TcFilter(_FIRST_RESERVED),)\n",
        "    return ()\n",
        "tests/packets/test_frames.py",
        packets=True,
    ),
    Hole(
        "frames to some reserved addresses are handed to the host",
        "warpd/networks/frames.py",
        '    "01:80:c2:00:00:08/ff:ff:ff:ff:ff:f8",\n',
        "",
    ),
    Hole(
        "a tag behind a tag passes",
        "warpd/networks/frames.py",
        "*(_stacked() if judged else ())",
        "*()",
    ),
    Hole(
        "a tag behind a tag comes out as the VLAN of the frame",
        "warpd/networks/frames.py",
        "*(_stacked() if judged else ())",
        "*()",
        "tests/packets/test_frames.py",
        packets=True,
    ),
    Hole(
        "first tags of 802.1ad pass",
        "warpd/networks/frames.py",
        "return (*outer, *inner)",
        "return tuple(inner)",
    ),
    Hole(
        "broadcasts of a mesh have no limit",
        "warpd/networks/l2_mesh.py",
        "storms=True",
        "storms=False",
    ),
    Hole(
        "what exceeds a limit passes",
        "warpd/kernel/live_tc.py",
        "    tbf = TBF.pack(0, TC_ACT_SHOT, 0,",
        "    tbf = TBF.pack(0, TC_ACT_OK, 0,",
        "tests/live/test_filters.py",
        packets=True,
    ),
    Hole(
        "filters come after the links are up",
        "warpd/objects/tc.py",
        """    @property
    def rank(self) -> Rank:
        return Rank.SETTING

    @property
    def needs(self) -> tuple[Key, ...]:
        maker""",
        """    @property
    def rank(self) -> Rank:
        return Rank.ROUTE

    @property
    def needs(self) -> tuple[Key, ...]:
        maker""",
    ),
    Hole(
        "filters of somebody else are taken for ours",
        "warpd/kernel/live_tc.py",
        "    return keys if told == written else None\n",
        "    return keys\n",
        "tests/unit/test_live_tc.py",
    ),
    Hole(
        "a bridge learns for one leg only",
        "warpd/objects/segment.py",
        "    return LEARNED_PER_LEG * max(legs, 1)\n",
        "    return LEARNED_PER_LEG\n",
    ),
)
