"""Holes to plant in the product, one at a time: each is a small mistake that a maintainer could
make, and each must be found.

A mutant replaces a piece of code of one function (planting.py); `found_by` is the cheapest test
that is expected to fail then. `replay.py` plants them in a copy and says how many were found. Those
of `packets` run in the lab.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.mutants.planting import Edit

GUARDS = "tests/unit/networks/firewall/test_firewalls.py"
SECOND = "tests/unit/networks/firewall/test_second_guard.py"
DELIVERY = "tests/unit/networks/firewall/test_local_delivery.py"
ROOT_GUARD = "tests/unit/networks/firewall/test_root.py"
LIMITS = "tests/unit/networks/test_limits.py"
ADMISSION = "tests/unit/daemon/http/test_admission.py"
API = "tests/unit/daemon/http/test_routes.py"
CHANGES = "tests/unit/daemon/http/test_changes.py"
ROTATING = "tests/unit/daemon/http/test_rotating.py"
ON_RECORD = "tests/unit/daemon/http/test_on_record.py"
OPENAPI = "tests/unit/daemon/http/test_openapi.py"
KILLED_CHANGE = "tests/unit/daemon/test_change_killed.py"
RESTORED = "tests/unit/service/test_restored_files.py"
RESTRICT = "tests/unit/intent/test_intersection.py"
UNWRITTEN = "tests/unit/service/test_commitment.py"
OWNERSHIP = "tests/unit/intent/test_ownership.py"
PRIVATE_FILE = "tests/unit/store/test_private_file.py"
RANGES = "tests/unit/networks/test_special_ranges.py"
LINKS = "tests/live/test_links_of_others.py"
FLUSH = "tests/packets/test_under_fire.py"
IN_FORCE = "tests/unit/networks/test_in_force.py"
INCREMENTAL = "tests/laws/test_incremental_laws.py"
SUSPENSIONS = "tests/laws/test_suspension_laws.py"
SUSPENDED = "tests/unit/daemon/test_suspended.py"
RIGHTS_OF_ROUTES = "tests/unit/daemon/http/test_rights_of_routes.py"
ROLES = "tests/unit/service/test_rights.py"
TOKENS = "tests/unit/store/test_tokens.py"
SESSIONS = "tests/unit/daemon/http/test_sessions.py"
PROVIDER = "tests/unit/web/test_provider.py"
ONE_TIME_LINKS = "tests/unit/daemon/http/test_links.py"
EXPORTS = "tests/unit/daemon/http/test_exports.py"
MOVED = "tests/unit/daemon/http/test_moved.py"
SUSPENDING = "tests/unit/daemon/http/test_suspending.py"
PAGE_GUARD = "tests/unit/web/test_guard_of_pages.py"
TABLE = "tests/unit/web/test_table.py"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake; where two guards stand, `edits` opens both, since one alone lets nothing in.

    packets: only packets find it: the test runs in the lab.
    """

    name: str
    found_by: str
    edits: tuple[Edit, ...]
    packets: bool = False


MUTANTS = (
    Mutant(
        "what no chain of the gateway has permitted is forwarded",
        SECOND,
        (
            Edit(
                "warpd.networks.firewall.root:guard",
                "*second_guard.chains(GATEWAY, _from_ours())",
                None,
            ),
        ),
    ),
    Mutant(
        "what no chain of a namespace has permitted is forwarded",
        SECOND,
        (
            Edit(
                "warpd.networks.isolation.namespace:_guard",
                "chains += second_guard.chains(str(network.vcid), match(meta('iifname'), 'lo',"
                " op='!='))",
                None,
            ),
        ),
    ),
    Mutant(
        "a chain of a VRF that is empty leaves its packets to the gateway's",
        SECOND,
        (
            Edit(
                "warpd.networks.firewall.root:_forward",
                "*drops(GATEWAY, 'not-permitted', _from_ours(), _OF_A_VRF)",
                None,
            ),
        ),
    ),
    Mutant(
        "what leaves untranslated is not looked at again",
        SECOND,
        (
            Edit(
                "warpd.networks.firewall.root:guard",
                "NftChain('translated', (_leaves(),), 'postrouting', 'filter',"
                " TRANSLATED_PRIORITY)",
                None,
            ),
        ),
    ),
    Mutant(
        "the fence is a part of the ruleset alone",
        SECOND,
        (Edit("warpd.networks.firewall.root:settings", "out += _fenced(host, has_ipv6)", None),),
    ),
    Mutant(
        "what is accepted bears no bit",
        SECOND,
        (
            Edit(
                "warpd.networks.firewall.second_guard:marking",
                "with_accept_as(text, _MARKED, ACCEPT)",
                "text",
            ),
        ),
    ),
    Mutant(
        "large bodies are read of strangers",
        "tests/unit/web/test_large_bodies.py",
        (Edit("warpd.web.guard:Guard._pass", "await self.is_signed_in(scope)", "True"),),
    ),
    Mutant(
        "WireGuard's answers follow the host's own routes beside a named uplink",
        ROOT_GUARD,
        (Edit("warpd.networks.firewall.root:socket_mark", "host.steered", "False"),),
    ),
    Mutant(
        "what an endpoint sends by the leg of a mesh is tracked",
        GUARDS,
        (
            Edit(
                "warpd.networks.tunnel:firewall_policy",
                "_of_leg(network, untracked, NOTRACK, RETURN)",
                "()",
            ),
        ),
    ),
    Mutant(
        "what the gateway sends by the leg of a mesh is tracked",
        GUARDS,
        (
            Edit(
                "warpd.networks.tunnel:firewall_policy",
                "_to_leg(network, untracked, NOTRACK, RETURN)",
                "()",
            ),
        ),
    ),
    Mutant(
        "bridged frames are tracked where br_netfilter is on",
        GUARDS,
        (
            Edit(
                "warpd.networks.firewall.root:guard",
                "rule('frames within a segment', _bridged(), NOTRACK)",
                None,
            ),
        ),
    ),
    Mutant(
        "a leg takes in GRE of every sort",
        GUARDS,
        (
            Edit(
                "warpd.kernel.nftables.rules:plain_gre",
                "(transport('gre'), match(head, ethertype))",
                "(transport('gre'),)",
            ),
        ),
    ),
    Mutant(
        "the host answers on a transit link's address to whoever routes there from outside",
        "tests/packets/test_neighbour.py",
        (Edit("warpd.networks.firewall.root:_input", "*_transit_from_outside('ip', 4)", None),),
        packets=True,
    ),
    Mutant(
        "the host's own addresses are open to whoever comes in by a transit link",
        DELIVERY,
        (
            Edit(
                "warpd.networks.firewall.local_delivery:of_transit",
                "(*LINK_WIDE, *local)",
                "LINK_WIDE",
            ),
        ),
    ),
    Mutant(
        "neighbour discovery comes in by a tunnel",
        DELIVERY,
        (
            Edit(
                "warpd.networks.firewall.local_delivery:of_tunnel",
                "_closed((*LINK_WIDE, *(item for item in closed if item not in own)))",
                "_discovery() + _closed((*LINK_WIDE, *(item for item in closed if item not in"
                " own)))",
            ),
        ),
    ),
    Mutant(
        "multicast and link-local addresses of the host are open to a network",
        DELIVERY,
        (Edit("warpd.networks.firewall.local_delivery:", "'ff00::/8'", None),),
    ),
    Mutant(
        "transit links of other networks are open to a network",
        DELIVERY,
        (Edit("warpd.networks.firewall.local_delivery:with_transit", "transit", None),),
    ),
    Mutant(
        "the unreachable default of one family is missing",
        GUARDS,
        (Edit("warpd.networks.isolation.vrf:_last_resort", "'::/0'", None),),
    ),
    Mutant(
        "unreachable routes come after what they stop",
        GUARDS,
        (
            Edit(
                "warpd.kernel.kinds.route:Route.phase",
                "Phase.ROUTE if self.device else Phase.NAMESPACE",
                "Phase.ROUTE",
            ),
        ),
    ),
    Mutant(
        "the guard comes after the links",
        GUARDS,
        (
            Edit("warpd.kernel.state:Phase", "GUARD = 1", "GUARD = 4"),
            Edit("warpd.kernel.state:Phase", "NAMESPACE = 2", "NAMESPACE = 1"),
            Edit("warpd.kernel.state:Phase", "DEVICE = 3", "DEVICE = 2"),
            Edit("warpd.kernel.state:Phase", "SETTING = 4", "SETTING = 3"),
        ),
    ),
    Mutant(
        "allocations come before the devices",
        GUARDS,
        (
            Edit(
                "warpd.kernel.kinds.nft_table:NftElements.phase",
                "Phase.GUARD if role_of(self.set) == 'limit' else Phase.PERMIT",
                "Phase.GUARD",
            ),
        ),
    ),
    Mutant(
        "removal does not reverse the order",
        GUARDS,
        (
            Edit(
                "warpd.reconcile.plan:_last_first",
                "-step.change.subject.phase",
                "step.change.subject.phase",
            ),
        ),
    ),
    Mutant(
        "the rule against spoofed IPv6 sources is forgotten",
        GUARDS,
        (
            Edit(
                "warpd.networks.tunnel:spoofed",
                "*drops(label, 'spoofed', match(payload('ip6', 'saddr'), '@endpoints6', op='!='))",
                None,
            ),
        ),
    ),
    Mutant(
        "sites are let through without a look at the source",
        GUARDS,
        (Edit("warpd.networks.types.l3vpn:firewall_policy", "*tunnel.spoofed(network)", None),),
    ),
    Mutant(
        "a resource's ports are ignored",
        GUARDS,
        (
            Edit(
                "warpd.networks.types.remote_resource:_entry", "_ports(resource.ports or ())", "()"
            ),
        ),
    ),
    Mutant(
        "a resource's protocol is ignored where it has no ports",
        GUARDS,
        (Edit("warpd.networks.policy:_service", "match(meta('l4proto'), numbers)", None),),
    ),
    Mutant(
        "what no resource lists passes",
        GUARDS,
        (
            Edit(
                "warpd.networks.types.remote_resource:firewall_policy",
                "[*egress.out(network, beyond), *unlisted]",
                "egress.out(network, beyond)",
            ),
        ),
    ),
    Mutant(
        "the conntrack zone of what stays inside is dropped",
        "tests/packets/test_twins.py",
        (Edit("warpd.networks.isolation.vrf:_zone", "mangle(ZONE, network.routing_table)", None),),
        packets=True,
    ),
    Mutant(
        "two networks in the root have one mark",
        GUARDS,
        (Edit("warpd.networks.firewall.root:mark_of", "table", "1"),),
    ),
    Mutant(
        "networks without a way out are marked for the uplink",
        GUARDS,
        (
            Edit(
                "warpd.networks.isolation.vrf:_steer",
                """if not requirements.egress:
    return""",
                None,
            ),
        ),
    ),
    Mutant(
        "a leg in the root believes every network",
        GUARDS,
        (
            Edit(
                "warpd.networks.ethernet:_own_only",
                """if not placement.mark:
    return []""",
                "return []",
            ),
        ),
    ),
    Mutant(
        "GRETAP legs hang on the WireGuard device in a VRF",
        GUARDS,
        (
            Edit(
                "warpd.networks.isolation.vrf:placement_of",
                "Placement(ROOT, naming.tunnel(network.vcid), network.routing_table, vrf, vrf,"
                " suffix=f'-{network.vcid}', mark=mark_of(network.routing_table))",
                "Placement(ROOT, naming.tunnel(network.vcid), network.routing_table, vrf,"
                " f'wg-{network.vcid}', suffix=f'-{network.vcid}',"
                " mark=mark_of(network.routing_table))",
            ),
        ),
    ),
    Mutant(
        "a bridge does not look at VLANs",
        GUARDS,
        (
            Edit(
                "warpd.kernel.kinds.ethernet:Bridge",
                "filtering: bool = True",
                "filtering: bool = False",
            ),
        ),
    ),
    Mutant(
        "VLANs that were not permitted pass a port",
        GUARDS,
        (
            Edit(
                "warpd.networks.types.l2_mesh:objects",
                "ethernet.tagged_of(network.intent)",
                "((2, 4094),)",
            ),
        ),
    ),
    Mutant(
        "every VLAN is permitted to a trunk",
        GUARDS,
        (
            Edit(
                "warpd.networks.ethernet:tagged_of",
                "(network.vlan_range.first, network.vlan_range.last)",
                "(1, 4094)",
            ),
        ),
    ),
    Mutant(
        "the gateway's services answer endpoints in a VRF",
        "tests/packets/matrix",
        (
            Edit(
                "warpd.networks.isolation.vrf:_entries",
                "yield ('input_map', _vrf(network), 'input')",
                None,
            ),
        ),
        packets=True,
    ),
    Mutant(
        "endpoint to endpoint passes in a hub",
        "tests/packets/matrix",
        (
            Edit(
                "warpd.networks.types.secure_internet:_peers",
                "permitted if open_ else ()",
                "permitted",
            ),
        ),
        packets=True,
    ),
    Mutant(
        "private ranges pass",
        "tests/packets/matrix",
        (
            Edit(
                "warpd.networks.types.secure_internet:",
                "PolicyEntry('private', version, f'@private{version}', denied='private')",
                None,
            ),
        ),
        packets=True,
    ),
    Mutant(
        "a network's guard lets in what comes unasked",
        GUARDS,
        (
            Edit(
                "warpd.networks.policy:replies",
                "(match(payload(FAMILY[entry.version], 'daddr'), f'@endpoints{entry.version}'),"
                " ANSWERS, REPLY, *nat)",
                "(match(payload(FAMILY[entry.version], 'daddr'), f'@endpoints{entry.version}'),"
                " *nat)",
            ),
        ),
    ),
    Mutant(
        "a reply does not meet the resources that are listed now",
        GUARDS,
        (
            Edit(
                "warpd.networks.policy:_connections",
                "(match(connection(f'{FAMILY[entry.version]} daddr', 'original'), entry.target),)"
                " if entry.target else ()",
                "()",
            ),
        ),
    ),
    Mutant(
        "replies of a connection pass whatever its port was",
        "tests/packets/test_revoked.py",
        (
            Edit(
                "warpd.networks.policy:_connections",
                """for number in entry.protocols:
    protocol = (*original, match(connection('protocol'), number))
    if not entry.ports:
        yield protocol
    for first, last in entry.ports:
        yield (*protocol, match(connection('proto-dst', 'original'), between(first, last)))""",
                """for number in entry.protocols:
    protocol = (*original, match(connection('protocol'), number))
    yield protocol
    for first, last in entry.ports:
        yield (*protocol, match(connection('proto-dst', 'original'), between(first, last)))""",
            ),
        ),
        packets=True,
    ),
    Mutant(
        "a connection without NAT goes on where NAT is wanted now",
        GUARDS,  # packets do not find it: the root looks again at what leaves untranslated
        (Edit("warpd.networks.egress:out", "*_untranslated(label, network)", None),),
    ),
    Mutant(
        "protocols without ports leave by NAT",
        GUARDS,
        (
            Edit("warpd.networks.egress:out", "*portless(label, carried)", None),
            Edit(
                "warpd.networks.egress:out",
                "policy.requests(label, entries, carried)",
                "policy.requests(label, entries)",
            ),
        ),
    ),
    Mutant(
        "what nft finds no protocol in leaves by NAT",
        GUARDS,
        (
            Edit(
                "warpd.networks.egress:out",
                "policy.requests(label, entries, carried)",
                "policy.requests(label, entries)",
            ),
        ),
    ),
    Mutant(
        "protocols that are listed for one family leave by the NAT of the other",
        GUARDS,
        (
            Edit(
                "warpd.networks.egress:_protocols",
                "() if version in translated(network) else network.intent.protocols",
                "network.protocols",
            ),
        ),
    ),
    Mutant(
        "ICMP other than echo leaves",
        GUARDS,
        (
            Edit("warpd.networks.egress:out", "*_echo_only(label)", None),
            Edit(
                "warpd.networks.egress:out",
                "policy.requests(label, entries, carried)",
                "policy.requests(label, entries)",
            ),
        ),
    ),
    Mutant(
        "the gateway lets out what a network's own guard would have to stop",
        GUARDS,
        (
            Edit(
                "warpd.networks.firewall.root:_out",
                "rule('protocols that NAT can separate', jump('nat-protocols'))",
                None,
            ),
        ),
    ),
    Mutant(
        "the gateway's guard lets in what comes unasked",
        GUARDS,
        (Edit("warpd.networks.firewall.root:_back", "ANSWERS", None),),
    ),
    Mutant(
        "what comes unasked from the uplink is let in",
        GUARDS,  # packets do not find it: what NAT has not translated stops it as well
        (
            Edit(
                "warpd.networks.policy:replies",
                "(match(payload(FAMILY[entry.version], 'daddr'), f'@endpoints{entry.version}'),"
                " ANSWERS, REPLY, *nat)",
                "(match(payload(FAMILY[entry.version], 'daddr'), f'@endpoints{entry.version}'),"
                " *nat)",
            ),
            Edit("warpd.networks.firewall.root:_back", "ANSWERS", None),
        ),
    ),
    Mutant(
        "a network's link may lead to another one's",
        GUARDS,
        (
            Edit(
                "warpd.networks.firewall.root:_out",
                "*drops('gateway', 'between-networks', _to_ours())",
                None,
            ),
        ),
    ),
    Mutant(
        "networks meet in the root",
        GUARDS,  # packets do not find it: no other network's link is a way out, either
        (
            Edit(
                "warpd.networks.firewall.root:_out",
                "*drops('gateway', 'between-networks', _to_ours())",
                None,
            ),
            Edit(
                "warpd.networks.firewall.root:_out",
                "*drops('gateway', 'hairpin', match(payload('ip', 'daddr'), '@ranges4'))",
                None,
            ),
        ),
    ),
    Mutant(
        "NAT takes the ports on which the gateway listens",
        "tests/packets/test_shadow.py",
        (
            Edit(
                "warpd.networks.firewall.port_blocks:_translated",
                "{'port': between(block[0], block[1])}",
                "None",
            ),
        ),
        packets=True,
    ),
    Mutant(
        "unknown neighbours of one family are not limited",
        LIMITS,
        (
            Edit(
                "warpd.networks.firewall.root:_out",
                "neighbours.limit_rules()",
                "neighbours.limit_rules()[:1]",
            ),
        ),
    ),
    Mutant(
        "networks share the log lines of the gateway's rules",
        LIMITS,
        (Edit("warpd.networks.firewall.rules:drops", "label == GATEWAY", "False"),),
    ),
    Mutant(
        "all networks have one block of ports",
        LIMITS,
        (
            Edit(
                "warpd.networks.firewall.port_blocks:block_of", "network.link_number % BLOCKS", "0"
            ),
        ),
    ),
    Mutant(
        "new connections to the gateway itself meet no share",
        LIMITS,
        (
            Edit(
                "warpd.networks.isolation.namespace:_input",
                "connection_limits.new_connections(match(meta('iifname'), placement.tunnel))",
                None,
            ),
        ),
    ),
    Mutant(
        "an endpoint's routes have no share",
        LIMITS,
        (Edit("warpd.networks.tunnel:objects", "p.sources", "p.sources[:1]"),),
    ),
    Mutant(
        "shares of connections are counted by address",
        LIMITS,
        (
            Edit(
                "warpd.networks.firewall.connection_limits:elements",
                "f'{source.element} : {number}'",
                "f'{source.element} : 100:{hash(source) % 65536:x}'",
            ),
        ),
    ),
    Mutant(
        "an endpoint's connections are not counted",
        LIMITS,
        (
            Edit(
                "warpd.networks.firewall.connection_limits:_limits",
                "yield rule('connections of an endpoint', _of(kind), over, jump('over-count'))",
                None,
            ),
        ),
    ),
    Mutant(
        "AllowedIPs forget what is behind an endpoint",
        GUARDS,
        (Edit("warpd.networks.tunnel:TunnelPeer.allowed_ips", "self.sources", "self.sources[:2]"),),
    ),
    Mutant(
        "a bridge hands frames to its host",
        GUARDS,
        (Edit("warpd.networks.frames:bridge_filters", "TcFilter(_FIRST_RESERVED)", None),),
    ),
    Mutant(
        "a bridge that somebody listens on hands frames to its host",
        GUARDS,  # packets do not find it: filters of the legs and a silent bridge stand behind it
        (Edit("warpd.networks.frames:bridge_filters", "TcFilter(_FIRST_RESERVED)", None),),
    ),
    Mutant(
        "frames to some reserved addresses are handed to the host",
        GUARDS,
        (Edit("warpd.networks.frames:", "'01:80:c2:00:00:08/ff:ff:ff:ff:ff:f8'", None),),
    ),
    Mutant(
        "a tag behind a tag passes",
        GUARDS,
        (Edit("warpd.networks.frames:leg_filters", "_stacked() if permits_vlans else ()", "()"),),
    ),
    Mutant(
        "a tag behind a tag comes out as the VLAN of the frame",
        "tests/packets/test_frames.py",
        (Edit("warpd.networks.frames:leg_filters", "_stacked() if permits_vlans else ()", "()"),),
        packets=True,
    ),
    Mutant(
        "first tags of 802.1ad pass",
        GUARDS,
        (Edit("warpd.networks.frames:_stacked", "(*outer, *inner)", "tuple(inner)"),),
    ),
    Mutant(
        "broadcasts of a mesh have no limit",
        GUARDS,
        (
            Edit(
                "warpd.networks.types.l2_mesh:objects",
                "frames.leg_filters(permits_vlans=True, storms=True)",
                "frames.leg_filters(permits_vlans=True, storms=False)",
            ),
        ),
    ),
    Mutant(
        "what exceeds a limit passes",
        "tests/live/test_filters.py",
        (Edit("warpd.kernel.netlink.tc:_police", "TC_ACT_SHOT", "TC_ACT_OK"),),
        packets=True,
    ),
    Mutant(
        "filters come after the links are up",
        GUARDS,
        (Edit("warpd.kernel.kinds.tc_filter:TcIngress.phase", "Phase.SETTING", "Phase.ROUTE"),),
    ),
    Mutant(
        "filters of somebody else are taken for ours",
        "tests/unit/kernel/netlink/test_tc.py",
        (Edit("warpd.kernel.netlink.tc:_keys", "keys if present == written else None", "keys"),),
    ),
    Mutant(
        "a bridge learns for one leg only",
        GUARDS,
        (
            Edit(
                "warpd.kernel.kinds.ethernet:max_learned",
                "LEARNED_PER_LEG * max(legs, 1)",
                "LEARNED_PER_LEG",
            ),
        ),
    ),
    Mutant(
        "what a VRF's packets are routed by asks for no mark",
        GUARDS,
        (
            Edit(
                "warpd.networks.isolation.vrf:build",
                "*drop_unmarked(ROOT, [vrf], (4, 6), group)",
                None,
            ),
        ),
    ),
    Mutant(
        "endpoints of a VRF reach each other unmarked, by IPv4",
        ROOT_GUARD,
        (
            Edit(
                "warpd.networks.isolation.vrf:_answered",
                "yield from drop_unmarked_within(placement.tunnel, collapse_addresses(own), group)",
                None,
            ),
        ),
    ),
    Mutant(
        "a VRF without a way out routes IPv4 unmarked",
        ROOT_GUARD,
        (
            Edit(
                "warpd.networks.isolation.vrf:build",
                "*drop_unmarked(ROOT, [placement.tunnel], (4,), group)",
                None,
            ),
        ),
    ),
    Mutant(
        "a VRF's IPv4 leaves unmarked where the kernel takes no rule for its VRF",
        ROOT_GUARD,
        (
            Edit(
                "warpd.networks.gateway:objects",
                "*root.drop_unmarked_beyond(default_links, ranges_of_vrfs)",
                None,
            ),
        ),
    ),
    Mutant(
        "a namespace routes what nothing has marked",
        GUARDS,
        (
            Edit(
                "warpd.networks.isolation.namespace:build",
                "out += drop_unmarked(placement.netns, links, versions, owner='', inside=inside)",
                None,
            ),
        ),
    ),
    Mutant(
        "a namespace routes what comes in by its transit link unmarked",
        GUARDS,
        (
            Edit(
                "warpd.networks.isolation.namespace:_links",
                "[placement.tunnel, _exit(network)] if requirements.egress else [placement.tunnel]",
                "[placement.tunnel]",
            ),
        ),
    ),
    Mutant(
        "the root routes IPv6 of a namespace unmarked",
        GUARDS,
        (
            Edit(
                "warpd.networks.isolation.namespace:build",
                "out += drop_unmarked(ROOT, [_outer(network)], (6,), owner=placement.netns)",
                None,
            ),
        ),
    ),
    Mutant(
        "the root routes IPv4 of transit links unmarked",
        GUARDS,
        (
            Edit(
                "warpd.networks.gateway:objects",
                "*root.drop_unmarked_to(_transits(members, gateway))",
                None,
            ),
        ),
    ),
    Mutant(
        "marks of other programs open the way",
        ROOT_GUARD,
        (Edit("warpd.networks.firewall.root:", "4278190080", "4294967295"),),
    ),
    Mutant(
        "the host's tables are asked before the mark is",
        ROOT_GUARD,
        (Edit("warpd.networks.firewall.root:", "985", "995"),),
    ),
    Mutant(
        "rules that drop come after the links that they guard",
        GUARDS,
        (
            Edit(
                "warpd.kernel.kinds.rule:Rule.phase",
                "Phase.NAMESPACE if self.blackhole else Phase.ROUTE",
                "Phase.ROUTE",
            ),
        ),
    ),
    Mutant(
        "a routing rule that is to drop does nothing",
        FLUSH,
        (Edit("warpd.kernel.kinds.rule:_action", "FR_ACT_BLACKHOLE", "FR_ACT_NOP"),),
        packets=True,
    ),
    Mutant(
        "a VRF's WireGuard device has no filters",
        ROOT_GUARD,
        (
            Edit(
                "warpd.networks.isolation.vrf:build",
                "local_delivery.of_tunnel(ROOT, placement.tunnel, network.host.local,"
                " _own(network), group)",
                None,
            ),
        ),
    ),
    Mutant(
        "a namespace's WireGuard device has no filters",
        ROOT_GUARD,
        (
            Edit(
                "warpd.networks.isolation.namespace:build",
                "out.append(local_delivery.of_tunnel(placement.netns, placement.tunnel,"
                " _transits(network) if requirements.egress else (), ()))",
                None,
            ),
        ),
    ),
    Mutant(
        "a transit link has no filters",
        ROOT_GUARD,
        (
            Edit(
                "warpd.networks.isolation.namespace:_way_out",
                "local_delivery.of_transit(outer, network.host.local, placement.netns)",
                None,
            ),
        ),
    ),
    Mutant(
        "a bridge has no filter",
        GUARDS,
        (
            Edit(
                "warpd.networks.ethernet:objects",
                "out.append("
                "TcIngress(placement.netns, bridge.name, frames.bridge_filters(), owner=group))",
                None,
            ),
        ),
    ),
    Mutant(
        "legs have no filters",
        GUARDS,
        (
            Edit(
                "warpd.networks.ethernet:objects",
                "out.append(TcIngress(placement.netns, leg.name, admission.filters, owner=group))",
                None,
            ),
        ),
    ),
    Mutant("legs answer ARP", ROOT_GUARD, (Edit("warpd.networks.ethernet:_quiet", "'8'", "'0'"),)),
    Mutant(
        "legs have IPv6 addresses of their own",
        ROOT_GUARD,
        (
            Edit(
                "warpd.networks.ethernet:_quiet",
                "{f'net/ipv6/conf/{name}/disable_ipv6': '1', f'net/ipv4/conf/{name}/forwarding':"
                " '0'}",
                "{f'net/ipv6/conf/{name}/disable_ipv6': '0', f'net/ipv4/conf/{name}/forwarding':"
                " '0'}",
            ),
        ),
    ),
    Mutant(
        "a wire with VLANs carries tags behind tags",
        GUARDS,
        (Edit("warpd.networks.types.l2_point_to_point:objects", "not whole", "False"),),
    ),
    Mutant(
        "the host forwards IPv4 for others because of us",
        ROOT_GUARD,
        (
            Edit(
                "warpd.networks.firewall.root:_forward",
                "rule(f'{FENCE4} {link}', *matches, count('fenced'), DROP)",
                "rule(f'{FENCE4} {link}', *matches, count('fenced'))",
            ),
        ),
    ),
    Mutant(
        "the host forwards IPv6 for others because of us",
        ROOT_GUARD,
        (
            Edit(
                "warpd.networks.firewall.root:_forward",
                "rule(FENCE6, match(meta('nfproto'), 'ipv6'), count('fenced'), DROP)",
                "rule(FENCE6, match(meta('nfproto'), 'ipv6'), count('fenced'))",
            ),
        ),
    ),
    Mutant(
        "a network without a block of ports leaves with its inner source",
        ROOT_GUARD,
        (
            Edit(
                "warpd.networks.firewall.root:_postrouting",
                "rule('no block', _from_ours(), count('not-permitted'), DROP)",
                None,
            ),
        ),
    ),
    Mutant(
        "networks leave by every link",
        GUARDS,
        (
            Edit(
                "warpd.networks.firewall.root:_permitted_links",
                "match(together(*pair), f'@uplinks{version}')",
                None,
            ),
        ),
    ),
    Mutant(
        "IPv6 leaves by the uplink of IPv4",
        GUARDS,
        (
            Edit(
                "warpd.networks.firewall.root:_egress_sets",
                "{f'{iface}{JOINT}{link}' for iface, link, own in uplinks if own == version}",
                "{f'{iface}{JOINT}{link}' for iface, link, own in uplinks}",
            ),
        ),
    ),
    Mutant(
        "a link's name stands for others in a rule",
        GUARDS,
        (
            Edit(
                "warpd.networks.gateway:_uplinks",
                "[(link, version) for link, version in named if is_plain_link_name(link)]",
                "named",
            ),
        ),
    ),
    Mutant(
        "a way to what a network may reach leads everywhere",
        GUARDS,
        (Edit("warpd.networks.firewall.root:_permitted_links", "'daddr'", "'saddr'"),),
    ),
    Mutant(
        "the rate of an endpoint is not limited",
        LIMITS,
        (
            Edit(
                "warpd.networks.firewall.connection_limits:_limits",
                "yield rule('rate of an endpoint', _of(kind), over, jump('over-rate'))",
                None,
            ),
        ),
    ),
    Mutant(
        "the connections of a network are not counted",
        LIMITS,
        (
            Edit(
                "warpd.networks.firewall.connection_limits:_limits",
                "yield rule('connections of the network', _together(own.connections),"
                " jump('over-count'))",
                None,
            ),
        ),
    ),
    Mutant(
        "the rate of a network is not limited",
        LIMITS,
        (
            Edit(
                "warpd.networks.firewall.connection_limits:_limits",
                "yield rule('rate of the network', rate_over(own.per_second, own.per_second *"
                " BURST_S), jump('over-rate'))",
                None,
            ),
        ),
    ),
    Mutant(
        "all networks together may fill the table",
        LIMITS,
        (
            Edit(
                "warpd.networks.firewall.connection_limits:gateway_chains",
                "rule('all networks', _together(table * 3 // 4), jump('over-count'))",
                None,
            ),
        ),
    ),
    Mutant(
        "one network may take every port to a service",
        ROOT_GUARD,
        (
            Edit(
                "warpd.networks.firewall.connection_limits:gateway_chains",
                "rules.append(rule('one service', transports, over, jump('over-ports')))",
                None,
            ),
        ),
    ),
    Mutant(
        "new connections meet no share of the gateway",
        ROOT_GUARD,
        (Edit("warpd.networks.firewall.root:_out", "connection_limits.new_connections()", None),),
    ),
    Mutant(
        "new connections from a VRF meet no share",
        LIMITS,
        (
            Edit(
                "warpd.networks.isolation.vrf:_forward", "connection_limits.new_connections()", None
            ),
        ),
    ),
    Mutant(
        "who chooses the part that a connection is counted in is its sender",
        LIMITS,
        (
            Edit(
                "warpd.networks.firewall.connection_limits:_together",
                "random_of(parts)",
                "payload('ip', 'saddr')",
            ),
        ),
    ),
    Mutant(
        "an endpoint has the share of its whole network",
        LIMITS,
        (
            Edit(
                "warpd.networks.limits:endpoint_share",
                "Share(max(network.connections // connections, 1), max(network.per_second //"
                " rate, 1))",
                "network",
            ),
        ),
    ),
    Mutant(
        "one network may scan for all",
        ROOT_GUARD,
        (
            Edit(
                "warpd.networks.firewall.neighbours:chains",
                "rule('limit of each network', own, jump('over-unresolved'))",
                None,
            ),
        ),
    ),
    Mutant(
        "all networks together may fill the neighbour table",
        ROOT_GUARD,
        (
            Edit(
                "warpd.networks.firewall.neighbours:chains",
                "rule('limit of all networks', rate_over(*OF_ALL), jump('over-unresolved'))",
                None,
            ),
        ),
    ),
    Mutant(
        "who sends unasked has answered",
        LIMITS,
        (Edit("warpd.networks.firewall.neighbours:learn_rules", "ANSWERS", None),),
    ),
    Mutant(
        "a bridge learns without a bound",
        GUARDS,
        (Edit("warpd.networks.ethernet:bridge", "max_learned(legs)", "0"),),
    ),
    Mutant(
        "6to4 leads inside", RANGES, (Edit("warpd.networks.special_ranges:", "'2002::/16'", None),)
    ),
    Mutant(
        "IPv4-translated addresses lead inside",
        RANGES,
        (Edit("warpd.networks.special_ranges:", "'::ffff:0:0:0/96'", None),),
    ),
    Mutant(
        "a cloud's host is part of the internet",
        RANGES,
        (Edit("warpd.networks.special_ranges:", "'168.63.129.16/32'", None),),
    ),
    Mutant(
        "a link of somebody else is marked when its creation was refused",
        LINKS,
        (
            Edit(
                "warpd.kernel.linux.live_kernel:LiveKernel._make_link",
                """if refusal is not None:
    return refusal""",
                None,
            ),
        ),
        packets=True,
    ),
    Mutant(
        "a link is ours by its name alone",
        LINKS,
        (
            Edit(
                "warpd.kernel.linux.dump:NamespaceDumper._is_ours",
                "row.kind == 'veth'",
                "row.kind != ''",
            ),
        ),
        packets=True,
    ),
    Mutant(
        "routes that an endpoint gets wait for no disk",
        RESTRICT,
        (
            Edit(
                "warpd.intent.intersection:",
                "{**dict.fromkeys(('type', 'description', 'address', 'address6', 'endpoint',"
                " 'keepalive', 'limits', 'renamed_from'), KEPT), **dict.fromkeys(IDENTITY, KEPT),"
                " 'enabled': _both, 'routes': _ranges, 'expires': _earlier}",
                "{**dict.fromkeys(('type', 'description', 'address', 'address6', 'endpoint',"
                " 'keepalive', 'limits', 'renamed_from'), KEPT), **dict.fromkeys(IDENTITY, KEPT),"
                " 'enabled': _both, 'routes': lambda _previous, wanted: wanted, 'expires':"
                " _earlier}",
            ),
        ),
    ),
    Mutant(
        "an endpoint that was switched off stays while the disk is full",
        RESTRICT,
        (
            Edit(
                "warpd.intent.intersection:",
                "{**dict.fromkeys(('type', 'description', 'address', 'address6', 'endpoint',"
                " 'keepalive', 'limits', 'renamed_from'), KEPT), **dict.fromkeys(IDENTITY, KEPT),"
                " 'enabled': _both, 'routes': _ranges, 'expires': _earlier}",
                "{**dict.fromkeys(('type', 'description', 'address', 'address6', 'endpoint',"
                " 'keepalive', 'limits', 'renamed_from'), KEPT), **dict.fromkeys(IDENTITY, KEPT),"
                " 'enabled': KEPT, 'routes': _ranges, 'expires': _earlier}",
            ),
        ),
    ),
    Mutant(
        "a device with other keys goes on while the disk is full",
        RESTRICT,
        (
            Edit(
                "warpd.intent.intersection:",
                "('public_key', 'preshared_key', 'preshared_key_file', 'rotation')",
                "('public_key', 'preshared_key', 'preshared_key_file')",
            ),
        ),
    ),
    Mutant(
        "resources that a network gets wait for no disk",
        RESTRICT,
        (Edit("warpd.intent.intersection:", "_resources", "lambda _previous, wanted: wanted"),),
    ),
    Mutant(
        "what was private again stays open while the disk is full",
        RESTRICT,
        (
            Edit(
                "warpd.intent.intersection:",
                "{**dict.fromkeys(('description', 'isolation', 'expected_users', 'vcid', 'subnet',"
                " 'subnet6', 'gateway_address'), KEPT), **dict.fromkeys(('nat', 'nat6', 'port',"
                " 'private_key_file', 'rotation', 'renamed_from', 'routing_table', 'mtu'), KEPT),"
                " **dict.fromkeys(('limits', 'vlan_id', 'bridge_name', 'vni_pool'), KEPT), 'type':"
                " KEPT, 'dns': KEPT, 'enabled': _both, 'ipv6': _both, 'allow_private': _ranges,"
                " 'protocols': _listed, 'peer_communication': _mesh, 'resources': _resources,"
                " 'vlan_range': _vlans, 'endpoints': _endpoints}",
                "{**dict.fromkeys(('description', 'isolation', 'expected_users', 'vcid', 'subnet',"
                " 'subnet6', 'gateway_address'), KEPT), **dict.fromkeys(('nat', 'nat6', 'port',"
                " 'private_key_file', 'rotation', 'renamed_from', 'routing_table', 'mtu'), KEPT),"
                " **dict.fromkeys(('limits', 'vlan_id', 'bridge_name', 'vni_pool'), KEPT), 'type':"
                " KEPT, 'dns': KEPT, 'enabled': _both, 'ipv6': _both, 'allow_private': KEPT,"
                " 'protocols': _listed, 'peer_communication': _mesh, 'resources': _resources,"
                " 'vlan_range': _vlans, 'endpoints': _endpoints}",
            ),
        ),
    ),
    Mutant(
        "a network of another type goes on while the disk is full",
        RESTRICT,
        (
            Edit(
                "warpd.intent.intersection:_network",
                "previous.type != wanted.type or _without_vlans(previous, wanted)",
                "_without_vlans(previous, wanted)",
            ),
        ),
    ),
    Mutant(
        "nothing is taken away while the disk is full",
        UNWRITTEN,
        (
            Edit(
                "warpd.service.commitment:restricted",
                "restrict(previous.read.intent, read.intent)",
                "previous.read.intent",
            ),
        ),
    ),
    Mutant(
        "everything is given while the disk is full",
        UNWRITTEN,
        (
            Edit(
                "warpd.service.commitment:restricted",
                "restrict(previous.read.intent, read.intent)",
                "read.intent",
            ),
        ),
    ),
    Mutant(
        "a lost master secret is replaced while devices are there",
        UNWRITTEN,
        (
            Edit(
                "warpd.service.commitment:refuse_lost_state",
                """if has_devices(kernel):
    raise lost_master(IN_KERNEL)""",
                None,
            ),
        ),
    ),
    Mutant(
        "lost allocations are replaced while devices are there",
        UNWRITTEN,
        (
            Edit(
                "warpd.service.commitment:refuse_lost_state",
                "not read.previous.networks and read.lockfile is None and read.intent.networks and"
                " has_devices(kernel)",
                "not read.previous.networks and read.lockfile is None and False",
            ),
        ),
    ),
    Mutant(
        "who is removed stays when the state is lost",
        "tests/unit/service/test_recovery.py",
        (Edit("warpd.service.recovery:_matched", "len(missing) > len(by_routes)", "True"),),
    ),
    Mutant(
        "another master secret tells of endpoints",
        "tests/unit/service/test_recovery.py",
        (Edit("warpd.service.recovery:recover", "master = None", "pass"),),
    ),
    Mutant(
        "a lost master secret is replaced",
        UNWRITTEN,
        (
            Edit(
                "warpd.service.commitment:refuse_lost_state",
                "workspace.refuse_lost_master()",
                "pass",
            ),
            Edit(
                "warpd.service.commitment:refuse_lost_state",
                """if has_devices(kernel):
    raise lost_master(IN_KERNEL)""",
                None,
            ),
            Edit("warpd.service.workspace:Workspace.target", "self.refuse_lost_master()", None),
        ),
    ),
    Mutant(
        "one user takes the places of all",
        ADMISSION,
        (
            Edit(
                "warpd.daemon.http.admission:Admission.enter",
                "self._by_place[peer.place] >= places.total or self._by_user[peer.uid] >="
                " places.per_user",
                "self._by_place[peer.place] >= places.total",
            ),
        ),
    ),
    Mutant(
        "others take root's places on the socket",
        ADMISSION,
        (
            Edit(
                "warpd.daemon.http.auth:PeerCredentials.place",
                "'root' if self.uid == 0 else self.right.name.lower()",
                "'read'",
            ),
        ),
    ),
    Mutant(
        "the proxy of metrics may look at everything",
        API,
        (Edit("warpd.daemon.http.api:Api._respond", "route.require_path(peer)", None),),
    ),
    Mutant(
        "a place on the socket is not given back",
        ADMISSION,
        (
            Edit(
                "warpd.daemon.http.admission:Admission.leave",
                "self._by_place[peer.place] -= 1",
                None,
            ),
        ),
    ),
    Mutant(
        "who has no right has a place on the socket",
        API,
        (
            Edit(
                "warpd.daemon.http.server:Server._admit",
                """if peer.right is AccessLevel.NOTHING:
    self._refuse(sock, NO_RIGHT, 'right')
    self._watch_flood(STRANGERS)
elif self._admission.enter(peer):
    self._begin(self._attend(sock, peer))
else:
    self._refuse(sock, NO_PLACE, 'place')
    self._watch_flood(peer.uid)""",
                """if self._admission.enter(peer):
    self._begin(self._attend(sock, peer))
else:
    self._refuse(sock, NO_PLACE, 'place')
    self._watch_flood(peer.uid)""",
            ),
        ),
    ),
    Mutant(
        "a flood of strangers is not kept out",
        ADMISSION,
        (
            Edit(
                "warpd.daemon.http.admission:FloodGate.refused",
                "self._count > self._refused_max",
                "False",
            ),
        ),
    ),
    Mutant(
        "readers may apply",
        API,
        (
            Edit(
                "warpd.daemon.http.route:HttpRoute.require",
                "require_right(identity, self.right)",
                "require_right(identity, Right.VIEW)",
            ),
        ),
    ),
    Mutant(
        "a change is applied though its files have moved",
        CHANGES,
        (
            Edit(
                "warpd.service.candidates:_refuse_moved",
                "identity(workspace.files()) != base",
                "False",
            ),
        ),
    ),
    Mutant(
        "a change is applied by another plan than reviewed",
        CHANGES,
        (
            Edit(
                "warpd.service.candidates:still_reviewed",
                "refuse_stale(kernel, workspace.target(read, create=False), digest)",
                "None",
            ),
        ),
    ),
    Mutant(
        "who may only rotate keys applies what others have written",
        ROTATING,
        (
            Edit(
                "warpd.daemon.http.changes:_refuse_more_than_keys",
                "not candidate.applies.is_of_keys and not who.may(Right.CHANGE)",
                "False",
            ),
        ),
    ),
    Mutant(
        "who may only rotate keys gives a site other ones",
        ROTATING,
        (
            Edit(
                "warpd.service.candidates:_keyless",
                'endpoint.type == "mobile"',
                "True",
            ),
        ),
    ),
    Mutant(
        "who may only rotate keys keeps what others have applied",
        ROTATING,
        (
            Edit(
                "warpd.daemon.http.apply:_own",
                "who.sees_all and who.may(Right.CHANGE)",
                "who.sees_all",
            ),
        ),
    ),
    Mutant(
        "the loop confirms for a user what somebody else has applied meanwhile",
        MOVED,
        (Edit("warpd.daemon.handlers:confirm", "_refuse_of_others(workspace, arguments)", None),),
    ),
    Mutant(
        "a change puts in force what was undone after its review",
        MOVED,
        (
            Edit(
                "warpd.service.candidates:still_reviewed",
                "digest != candidate.digest or touched(in_force, read) != candidate.applies",
                "False",
            ),
        ),
    ),
    Mutant(
        "an own change applies what others have written",
        CHANGES,
        (
            Edit(
                "warpd.daemon.http.changes:apply_change",
                "candidate.applies.outside(request.who.sees)",
                "candidate.changes.outside(request.who.sees)",
            ),
        ),
    ),
    Mutant(
        "a parameter that is given twice is taken",
        OPENAPI,
        (
            Edit(
                "warpd.daemon.http.parameters:check_query",
                "len(values) > 1",
                "len(values) > 2",
            ),
        ),
    ),
    Mutant(
        "a field that is not described is answered",
        OPENAPI,
        (
            Edit(
                "warpd.daemon.http.reads:show_doctor",
                "_as_looked(looked, looked.value)",
                '_as_looked(looked, {**looked.value, "more": 1})',
            ),
        ),
    ),
    Mutant(
        "whoever sees some networks edits the gateway",
        ON_RECORD,
        (
            Edit(
                "warpd.daemon.http.change_requests:EditsBody.names_gateway",
                "any(isinstance(edit, SetGateway) for edit in self.edits)",
                "False",
            ),
            Edit(
                "warpd.service.candidates:Touched.outside",
                '("gateway", *names) if self.gateway else tuple(names)',
                "tuple(names)",
            ),
        ),
    ),
    Mutant(
        "a page of exports begins with the last row of the page before",
        ON_RECORD,
        (
            Edit(
                "warpd.store.export_log:rows_before",
                "max(number - 1, 0)",
                "max(number, 0)",
            ),
        ),
    ),
    Mutant(
        "a rollback to what is in force begins its time anew",
        "tests/unit/service/test_history.py",
        (
            Edit(
                "warpd.service.history:History._point_at",
                'before.get("since_s", now) if before.get("number") == number else now',
                "now",
            ),
        ),
    ),
    Mutant(
        "half of a change outlives a kill",
        KILLED_CHANGE,
        (
            Edit(
                "warpd.daemon.desired_state:DesiredState._read_if_changed",
                "undo_partial_write(self._workspace)",
                "None",
            ),
        ),
    ),
    Mutant(
        "a rollback of files loses an edit",
        RESTORED,
        (
            Edit(
                "warpd.service.restored_files:_refuse_edited",
                'digest not in (history.refused, entry.digest if entry is not None else "")',
                "False",
            ),
        ),
    ),
    Mutant(
        "readers have all of the CPU",
        ADMISSION,
        (
            Edit(
                "warpd.daemon.http.admission:Budget.wait_s",
                "max(0.0, -self._left_s / self._rate)",
                "0.0",
            ),
        ),
    ),
    Mutant(
        "a link in the configuration that leads out is read",
        OWNERSHIP,
        (
            Edit(
                "warpd.intent.ownership:why_untrusted",
                "_is_inside(real, os.path.realpath(folder)) or (named and public and ours)",
                "real",
            ),
        ),
    ),
    Mutant(
        "another name of a file of root is read",
        OWNERSHIP,
        (Edit("warpd.intent.ownership:why_untrusted", "1", "9"),),
    ),
    Mutant(
        "a link to a file of root that was named is read",
        OWNERSHIP,
        (
            Edit(
                "warpd.intent.ownership:why_untrusted",
                "named and public and ours",
                "named and ours",
            ),
        ),
    ),
    Mutant(
        "lines of somebody's file are quoted to all",
        OWNERSHIP,
        (Edit("warpd.intent.ownership:why_hidden", "known", "file"),),
    ),
    Mutant(
        "what is written goes where a link of somebody leads",
        PRIVATE_FILE,
        (Edit("warpd.store.private_file:_link", "_refuse_foreign(path, seen)", None),),
    ),
    Mutant(
        "what is written goes into somebody's pipe",
        PRIVATE_FILE,
        (
            Edit("warpd.store.private_file:write_private", "_refuse_foreign(target, seen)", None),
            Edit("warpd.store.private_file:_write_to", "_refuse_foreign(path, os.fstat(fd))", None),
        ),
    ),
    Mutant(
        "what is written can be read by all",
        PRIVATE_FILE,
        (Edit("warpd.store.private_file:write_private", "384", "420"),),
    ),
    Mutant(
        "errors about connections of others pass",
        "tests/unit/networks/test_icmp_errors.py",
        (Edit("warpd.networks.firewall.icmp_errors:related", "jump(CHAIN)", None),),
    ),
    Mutant(
        "errors about connections of others pass, with packets",
        "tests/packets/test_icmp_errors.py",
        (Edit("warpd.networks.firewall.icmp_errors:related", "jump(CHAIN)", None),),
        packets=True,
    ),
    Mutant(
        "an export gives the consent that the daemon waits for",
        "tests/unit/cli/test_export_consent.py",
        (Edit("warpd.cli.export:_commit", "consent_needed(read, read.previous)", "''"),),
    ),
    Mutant(
        "new keys are made for a gateway that has lost its own",
        "tests/live/test_export.py",
        (
            Edit(
                "warpd.cli.export:_lost_state", "refuse_lost_state(workspace, read, kernel)", "pass"
            ),
        ),
        packets=True,
    ),
    Mutant(
        "a key file that is written later is never looked for",
        "tests/unit/daemon/test_reconciler.py",
        (
            Edit(
                "warpd.daemon.desired_state:DesiredState._must_read",
                "request.groups is None and self._lacks_key_file",
                "False",
            ),
        ),
    ),
    Mutant(
        "a flush within a repair counts as refused",
        "tests/live/test_flush_in_a_repair.py",
        (
            Edit(
                "warpd.kernel.linux.libnftables:Nft.run",
                "errno.ENOENT if first.endswith(ABSENT) else errno.EINVAL",
                "errno.EINVAL",
            ),
        ),
        packets=True,
    ),
    Mutant(
        "after a flush every egress link counts as turned on by warpd",
        "tests/live/test_neighbours.py",
        (
            Edit(
                "warpd.kernel.linux.host:_fences",
                "fence4 or fenced_by_rules(look.rules)",
                "fence4",
            ),
        ),
        packets=True,
    ),
    Mutant(
        "after a flush the fence is lost where no network leaves",
        "tests/live/test_neighbours.py",
        (
            Edit(
                "warpd.kernel.linux.host:_fences",
                "fenced_by_rules(look.rules)",
                "(look.tag & TAG_FENCE4 and fenced_by_rules(look.rules) or ())",
            ),
        ),
        packets=True,
    ),
    Mutant(
        "routers behind an endpoint send no errors",
        "tests/unit/networks/test_icmp_errors.py",
        (Edit("warpd.networks.firewall.icmp_errors:elements", "sources", "sources[:1]"),),
    ),
    Mutant(
        "errors about nothing pass between endpoints",
        "tests/unit/networks/test_icmp_errors.py",
        (Edit("warpd.networks.firewall.icmp_errors:forwarded", "*about_nothing", None),),
    ),
    Mutant(
        "a network's end of a transit link is reached over IPv6 while nothing is marked",
        GUARDS,
        (
            Edit(
                "warpd.networks.gateway:_transits",
                "ranges.append(TRANSIT6)",
                "pass",
            ),
        ),
    ),
    Mutant(
        "a network's IPv6 addresses are reached from outside while nothing is marked",
        GUARDS,
        (
            Edit(
                "warpd.networks.isolation.namespace:build",
                "drop_unmarked_to(_kept(network, requirements), owner=placement.netns)",
                "drop_unmarked_to([item for item in _kept(network, requirements)"
                " if item.version == 4], owner=placement.netns)",
            ),
        ),
    ),
    Mutant(
        "answers over IPv6 bear no mark",
        "tests/packets/test_forged_answers.py",
        (Edit("warpd.networks.firewall.root:_of_a_network", "('ip6', 6)", None),),
        packets=True,
    ),
    Mutant(
        "events of one network push out those of others",
        "tests/unit/daemon/test_event_buffer.py",
        (
            Edit(
                "warpd.daemon.event_buffer:EventRow._forget_one",
                "(len(item[1]), -item[1][0].number)",
                "-item[1][0].number",
            ),
        ),
    ),
    Mutant(
        "log lines of one network have no limit",
        "tests/unit/daemon/test_event_buffer.py",
        (
            Edit(
                "warpd.daemon.event_buffer:LineRate.admit",
                "bucket.lines < 1",
                "bucket.lines < -1000000000.0",
            ),
        ),
    ),
    Mutant(
        "root waits behind all who connected before",
        API,
        (
            Edit(
                "warpd.daemon.http.server:Server._sort",
                """if uid == 0:
    self._admit(sock)
    return""",
                None,
            ),
        ),
    ),
    Mutant(
        "replies to clients follow the routing rules of others",
        "tests/packets/test_ways_out.py::test_replies_reach_clients_beside_routing_rules_of_others",
        (Edit("warpd.networks.firewall.root:", "986", "33000"),),
        packets=True,
    ),
    Mutant(
        "an endpoint that comes back is not called",
        "tests/packets/test_suspended.py::test_the_gateway_calls_an_endpoint_that_comes_back",
        (
            Edit(
                "warpd.kernel.linux.live_kernel:_calling",
                "write.keepalive or 1",
                "write.keepalive",
            ),
        ),
        packets=True,
    ),
    Mutant(
        "an address of long ago is called",
        "tests/unit/store/test_last_addresses.py",
        (
            Edit(
                "warpd.store.last_addresses:LastAddresses._rows",
                "0 <= now_s - row[1] <= KEPT_S",
                "0 <= now_s - row[1]",
            ),
        ),
    ),
    Mutant(
        "nothing holds the storm of an endpoint",
        "tests/packets/test_storm.py",
        (
            Edit(
                "warpd.networks.types.l2_mesh:objects",
                "frames.leg_filters(permits_vlans=True, storms=True)",
                "frames.leg_filters(permits_vlans=True, storms=False)",
            ),
        ),
        packets=True,
    ),
    Mutant(
        "a pass looks only where events were, and not at networks of which something else is"
        " wanted",
        INCREMENTAL,
        (
            Edit(
                "warpd.reconcile.incremental:_plan_part",
                "scope = scope.with_groups(compiled.changed_groups(previous))",
                None,
            ),
        ),
    ),
    Mutant(
        "an endpoint with a new rotation keeps its keys",
        INCREMENTAL,
        (Edit("warpd.reconcile.incremental:_key_inputs", "endpoint.rotation", None),),
    ),
    Mutant(
        "a host that is another one is not compiled for",
        INCREMENTAL,
        (
            Edit(
                "warpd.reconcile.incremental:_plan_part",
                "policy_facts(now) != policy_facts(host)",
                "False",
            ),
        ),
    ),
    Mutant(
        "an endpoint that expires stays connected",
        IN_FORCE,
        (
            Edit(
                "warpd.networks.resolved:is_in_force",
                "self.intent.endpoints[name].enabled and name not in self.withheld",
                "self.intent.endpoints[name].enabled",
            ),
        ),
    ),
    Mutant(
        "a suspended endpoint stays connected",
        SUSPENSIONS,
        (
            Edit(
                "warpd.networks.resolved:withheld_endpoints",
                'found.setdefault(each, "suspended")',
                "pass",
            ),
        ),
    ),
    Mutant(
        "a suspension goes by the name of now, so that a rename ends it",
        SUSPENDED,
        (
            Edit(
                "warpd.allocation.suspensions:suspended_in",
                "allocation.first_name or network",
                "network",
            ),
        ),
    ),
    Mutant(
        "a lost file of suspensions is taken for an empty one",
        SUSPENDED,
        (
            Edit(
                "warpd.store.suspensions:refresh",
                "found is None and self._on_disk",
                "False",
            ),
        ),
    ),
    Mutant(
        "a clock that is set back prolongs a suspension",
        SUSPENDED,
        (
            Edit(
                "warpd.store.suspensions:_is_over",
                "self._since_epoch() >= item.until_s or self._monotonic() >= self._ends[item]",
                "self._since_epoch() >= item.until_s",
            ),
        ),
    ),
    Mutant(
        "an endpoint is resumed although that could not be written down",
        SUSPENDED,
        (
            Edit(
                "warpd.store.suspensions:remove",
                "self._write(left)",
                "self._store.stamp(SUSPENDED)",
            ),
        ),
    ),
    Mutant(
        "the day that an endpoint expires on does not count for what was compiled",
        INCREMENTAL,
        (
            Edit(
                "warpd.reconcile.incremental:_compile_network",
                "self._memory.recall('network', inputs.name, inputs, lambda inputs:"
                " compile_network(inputs, keys))",
                "self._memory.recall('network', inputs.name, (inputs.network, inputs.host), lambda"
                " _inputs: compile_network(inputs, keys))",
            ),
        ),
    ),
    Mutant(
        "the help desk may change",
        ROLES,
        (
            Edit(
                "warpd.service.rights:",
                "frozenset({Right.VIEW, Right.SEE_ADDRESSES, Right.EXPORT, Right.SUSPEND,"
                " Right.ROTATE})",
                "frozenset(Right) - {Right.ADMINISTER}",
            ),
        ),
    ),
    Mutant(
        "a pattern is also good for networks whose names only begin like it",
        ROLES,
        (
            Edit(
                "warpd.service.rights:Identity.sees",
                "fnmatchcase(network, pattern)",
                "network.startswith(pattern.rstrip('*'))",
            ),
        ),
    ),
    Mutant(
        "a pattern with a star in it is taken for the whole gateway",
        ROLES,
        (
            Edit(
                "warpd.service.rights:Identity.sees_all",
                "'*' in self.networks",
                "any('*' in pattern for pattern in self.networks)",
            ),
        ),
    ),
    Mutant(
        "the process of the dashboard may look without a token",
        f"{RIGHTS_OF_ROUTES}::test_peers_of_each_group",
        (
            Edit(
                "warpd.daemon.http.auth:identity_of",
                "peer.right is AccessLevel.READ",
                "peer.right >= AccessLevel.TOKEN",
            ),
        ),
    ),
    Mutant(
        "what is no bearer token counts as none, and the peer's own rights as its",
        f"{RIGHTS_OF_ROUTES}::test_without_a_credential_nothing_is_answered",
        (
            Edit(
                "warpd.daemon.http.credentials:Credentials.identify",
                "[value for name, value in headers if name == b'authorization']",
                "[value for _, value in headers if value[:7] == b'Bearer ']",
            ),
        ),
    ),
    Mutant(
        "a login code is a token as well",
        f"{RIGHTS_OF_ROUTES}::test_without_a_credential_nothing_is_answered",
        (
            Edit(
                "warpd.daemon.http.credentials:Credentials._known",
                "(TokenKind.TOKEN, TokenKind.SESSION)",
                "tuple(TokenKind)",
            ),
        ),
    ),
    Mutant(
        "a route of one network answers about every network",
        f"{RIGHTS_OF_ROUTES}::test_every_role_on_every_route_by_every_method",
        (
            Edit(
                "warpd.daemon.http.route:HttpRoute.require",
                "not identity.sees(names.get('network', ''))",
                "not identity.networks",
            ),
        ),
    ),
    Mutant(
        "a route of the whole gateway answers those who see some networks",
        f"{RIGHTS_OF_ROUTES}::test_every_role_on_every_route_by_every_method",
        (
            Edit(
                "warpd.daemon.http.route:HttpRoute.require",
                "not identity.sees_all",
                "not identity.networks",
            ),
        ),
    ),
    Mutant(
        "a session that nobody uses goes on",
        TOKENS,
        (
            Edit(
                "warpd.store.tokens:is_over",
                "now >= token.expires_s or is_idle or is_ahead",
                "now >= token.expires_s or is_ahead",
            ),
        ),
    ),
    Mutant(
        "a session of a clock that was ahead goes on",
        TOKENS,
        (
            Edit(
                "warpd.store.tokens:is_over",
                "now >= token.expires_s or is_idle or is_ahead",
                "now >= token.expires_s or is_idle",
            ),
        ),
    ),
    Mutant(
        "a login code signs in twice",
        TOKENS,
        (
            Edit(
                "warpd.store.tokens:TokenStore.redeem",
                "tokens.pop(code.id, None) is None",
                "code.id not in tokens",
            ),
        ),
    ),
    Mutant(
        "a revoked token is good until the daemon starts again",
        TOKENS,
        (
            Edit(
                "warpd.store.tokens:TokenStore.tokens",
                "cached is not None and cached[0] == stamp",
                "cached is not None",
            ),
        ),
    ),
    Mutant(
        "a user who is disabled signs in",
        SESSIONS,
        (
            Edit(
                "warpd.daemon.http.credentials:Credentials.proved",
                "user is not None and not user.disabled and is_right and step is not None",
                "user is not None and is_right and step is not None",
            ),
            Edit(
                "warpd.service.credentials:identity_of",
                "user is None or user.disabled or user.state != token.account",
                "user is None or user.state != token.account",
            ),
        ),
    ),
    Mutant(
        "the sessions of a user outlive another password",
        SESSIONS,
        (
            Edit(
                "warpd.service.credentials:identity_of",
                "user is None or user.disabled or user.state != token.account",
                "user is None or user.disabled",
            ),
        ),
    ),
    Mutant(
        "a one-time password is good twice",
        SESSIONS,
        (
            Edit(
                "warpd.daemon.http.credentials:Credentials._first_use",
                "step is None or not user.totp",
                "True",
            ),
        ),
    ),
    Mutant(
        "tries to sign in by name are not counted",
        SESSIONS,
        (
            Edit(
                "warpd.daemon.http.credentials:Credentials.proved",
                "self._take_try(counted, source)",
                None,
            ),
        ),
    ),
    Mutant(
        "a token is made with an old sign-in",
        SESSIONS,
        (Edit("warpd.daemon.http.sessions:create_token", "require_fresh(request.who)", None),),
    ),
    Mutant(
        "a key is handed out with an old sign-in",
        EXPORTS,
        (Edit("warpd.daemon.http.exports:export_config", "require_fresh(request.who)", None),),
    ),
    Mutant(
        "a key of another network is handed out",
        EXPORTS,
        (
            Edit(
                "warpd.daemon.http.exports:endpoint_of",
                "not identity.sees(network)",
                "not identity.networks",
            ),
        ),
    ),
    Mutant(
        "a one-time link is good again and again",
        ONE_TIME_LINKS,
        (
            Edit(
                "warpd.daemon.http.kept_links:Links.take",
                "self._links.pop(digest, None)",
                "self._links.get(digest)",
            ),
        ),
    ),
    Mutant(
        "wrong PINs are borne without end",
        ONE_TIME_LINKS,
        (
            Edit(
                "warpd.daemon.http.kept_links:Links.take",
                "replace(link, tries_left=link.tries_left - 1)",
                "link",
            ),
        ),
    ),
    Mutant(
        "a one-time link is never over",
        ONE_TIME_LINKS,
        (Edit("warpd.daemon.http.kept_links:Links.take", "self._forget_those_over()", None),),
    ),
    Mutant(
        "a one-time link of another network can be ended",
        ONE_TIME_LINKS,
        (
            Edit(
                "warpd.daemon.http.kept_links:Links.end",
                "link.id == name and identity.sees(link.export_request.network)",
                "link.id == name",
            ),
        ),
    ),
    Mutant(
        "the provider's token for another program signs in here",
        PROVIDER,
        (
            Edit(
                "warpd.service.oidc:_is_for",
                "audience != client_id and audience != [client_id]",
                "client_id not in (audience or ())",
            ),
        ),
    ),
    Mutant(
        "an address that the provider has not verified names a user",
        PROVIDER,
        (
            Edit(
                "warpd.service.oidc:user_of",
                "settings.user_claim != 'email' or claims.get('email_verified') is True",
                "True",
            ),
        ),
    ),
    Mutant(
        "the provider's token of another sign-in is good",
        PROVIDER,
        (
            Edit(
                "warpd.service.oidc:problem_of",
                "_is_same(claims.get('nonce'), nonce)",
                "'nonce' in claims",
            ),
        ),
    ),
    Mutant(
        "any key of the provider will do, whatever the token names",
        PROVIDER,
        (
            Edit(
                "warpd.oidc.exchange:verified",
                "jwt.decode(token, signers, algorithms=list(ALGORITHMS))",
                "jwt.decode(token, signers.keys[0], algorithms=list(ALGORITHMS))",
            ),
        ),
    ),
    Mutant(
        "an answer of the provider that another browser has begun is taken",
        PROVIDER,
        (
            Edit(
                "warpd.web.provider:proof",
                "bool(seed) and hmac.compare_digest(query.get('state', '').encode(),"
                " derived(seed, 'state').encode())",
                "bool(seed) and bool(query.get('state'))",
            ),
        ),
    ),
    Mutant(
        "a form of a sibling site is taken for ours",
        PAGE_GUARD,
        (
            Edit(
                "warpd.web.guard:Guard._refusal",
                "headers.get('sec-fetch-site') != 'same-origin'",
                "headers.get('sec-fetch-site') == 'cross-site'",
            ),
        ),
    ),
    Mutant(
        "a page answers under any name",
        PAGE_GUARD,
        (
            Edit(
                "warpd.web.guard:Guard._refusal",
                "headers.get('host', '').lower() not in hosts",
                "not headers.get('host', '').lower().endswith(tuple(hosts))",
            ),
        ),
    ),
    Mutant(
        "a cell of the list is a formula where a spreadsheet splits at semicolons",
        TABLE,
        (
            Edit(
                "warpd.web.table:guarded",
                'RISKY.sub("\'", text)',
                "re.sub('^' + FORMULA, \"'\", text)",
            ),
        ),
    ),
)
