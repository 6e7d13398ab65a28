"""Rules between objects: what is sound alone and wrong beside something else.

Pure; findings, never exceptions.

Only what the intent alone decides is judged here. What depends on earlier grants is `allocator`' to
say, what depends on the host `compiler`'s. Networks may overlap each other, they never meet; inside
one network nothing may.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from datetime import date
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final

from warpd import naming
from warpd.errors import Finding
from warpd.intent.capacity import (
    LEG_MAX,
    LEGS_BY_VLAN,
    LIMITS_MAX,
    capacity,
    expected_users,
    prefix_for,
)
from warpd.intent.model import Endpoint, Intent, Network, Pools, Resource
from warpd.intent.network_types import ROWS, traits, types_with_field
from warpd.intent.reserved import TABLES_LAST, UPLINK_TABLE, free_ports
from warpd.intent.types import IPAddress, IPNetwork, Range
from warpd.kernel.kinds.link import KERNEL_NAMES
from warpd.kernel.state import TRANSIT6

IPV6_MINIMUM_MTU: Final = 1280
BRIDGE_PORTS: Final = LEG_MAX  # the kernel would take 1023 ports
NAT_PORTS_MIN: Final = 4096
DEFAULT_PORTS: Final = Pools().ports
KERNEL_TABLES: Final = Range(253, 255)
OWN_TABLES: Final = Range(UPLINK_TABLE, UPLINK_TABLE)

# Ranges that no network can be numbered from: each means something else to every host.
RESERVED: Final[dict[str, tuple[IPNetwork, ...]]] = {
    "multicast": (IPv4Network("224.0.0.0/4"), IPv6Network("ff00::/8")),
    "loopback": (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")),
    "link-local": (IPv4Network("169.254.0.0/16"), IPv6Network("fe80::/10")),
    "reserved": (IPv4Network("0.0.0.0/8"), IPv4Network("240.0.0.0/4"), IPv6Network("::/128")),
    "IPv4 inside IPv6": (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96")),
}

# Fields that mean something to some types only; elsewhere they are an error, or idle and worth a
# warning.
BELONGS: Final = {field: types_with_field(field) for row in ROWS for field in sorted(row.fields)}
IDLE_ELSEWHERE: Final = {
    field: types_with_field(field) for row in ROWS for field in sorted(row.options)
}


def check(intent: Intent) -> tuple[Finding, ...]:
    """Every problem between objects, errors and warnings, in a fixed order."""
    findings = [*_gateway(intent), *_unique(intent), *_pools(intent), *_return_paths(intent)]
    for name, network in sorted(intent.networks.items()):
        findings += _network(f"networks.{name}", network, intent)
    return tuple(findings)


def _error(code: str, path: str, message: str, hint: str = "") -> Finding:
    return Finding(code, path, message, hint)


def _warning(code: str, path: str, message: str, hint: str = "") -> Finding:
    return Finding(code, path, message, hint, "warning")


# Between networks


def _gateway(intent: Intent) -> Iterator[Finding]:
    pools = intent.gateway.pools
    for kind, pool in sorted(pools.subnets.items()):
        yield from _reserved(f"gateway.pools.subnets.{kind}", pool)
        if traits(kind).egress and pool.overlaps(pools.transit):
            text = f"{pools.transit} overlaps {pool}, gateway.pools.subnets.{kind}"
            yield _error("pool-overlap", "gateway.pools.transit", text, "move one of them")
    yield from _reserved("gateway.pools.transit", pools.transit)
    yield from _nat_ports(intent)


def _nat_ports(intent: Intent) -> Iterator[Finding]:
    """NAT maps onto one run of ports on which the gateway does not listen: every network behind it
    shares them.
    """
    pool = intent.gateway.pools.ports
    own = {network.port for network in intent.networks.values() if network.port is not None}
    first, last = free_ports({*pool, *own})
    behind = [
        one
        for one in intent.networks.values()
        if one.traits.egress and (one.nat or (one.ipv6 and one.nat6))
    ]
    if behind and last - first + 1 < NAT_PORTS_MIN:
        text = (
            f"{pool} leaves {last - first + 1} ports in a row for NAT, which needs {NAT_PORTS_MIN}"
            " or more"
        )
        hint = (
            f"a network takes one port: {DEFAULT_PORTS} is enough for {len(DEFAULT_PORTS)} of them"
        )
        yield _error("nat-ports", "gateway.pools.ports", text, hint)


def _unique(intent: Intent) -> Iterator[Finding]:
    yield from _twice("port", "UDP port", _values(intent, lambda network: network.port))
    yield from _twice("vcid", "VCID", _values(intent, lambda network: network.vcid))
    yield from _twice(
        "routing_table", "routing table", _values(intent, lambda network: network.routing_table)
    )
    yield from _twice(
        "private_key_file",
        "private key file",
        _values(intent, lambda network: network.private_key_file),
    )
    yield from _twice("bridge_name", "bridge", _values(intent, lambda network: network.bridge_name))
    if intent.gateway.vlan_scope == "gateway":
        hint = "give another id, or set gateway.vlan_scope: network"
        yield from _twice(
            "vlan_id",
            "VLAN id",
            _values(intent, lambda network: network.vlan_id),
            hint,
            "vlan-twice",
        )
    yield from _keys(intent)
    yield from _vni_pools(intent)
    yield from _renamed("networks", "network", intent.networks, sorted(intent.networks))
    for name, network in sorted(intent.networks.items()):
        yield from _renamed(
            f"networks.{name}.endpoints",
            f"endpoint of {name}",
            network.endpoints,
            network.explicit_endpoints,
        )


def _values(intent: Intent, field: Callable[[Network], Any]) -> list[tuple[str, Any]]:
    return [
        (f"networks.{name}", field(network)) for name, network in sorted(intent.networks.items())
    ]


def _twice(
    field: str, what: str, values: Iterable[tuple[str, Hashable]], hint: str = "", code: str = ""
) -> Iterator[Finding]:
    first: dict[Hashable, str] = {}
    for path, value in values:
        if value is None:
            continue
        if value in first:
            text = f"{what} {value} is used twice: {first[value]}.{field} has it too"
            yield _error(
                code or f"{field.replace('_', '-')}-twice",
                f"{path}.{field}",
                text,
                hint or "give another one",
            )
        first.setdefault(value, path)


def _keys(intent: Intent) -> Iterator[Finding]:
    """A peer is its public key: two endpoints with one key would take each other's place."""
    first: dict[str, str] = {}
    for path, endpoint in _explicit_endpoints(intent):
        if endpoint.preshared_key_file is not None and not endpoint.preshared_key:
            text = "names a preshared key, but preshared_key is false"
            yield _error(
                "preshared-key", f"{path}.preshared_key_file", text, "leave one of them out"
            )
        if endpoint.public_key is None:
            continue
        if endpoint.public_key in first:
            text = f"the public key of {first[endpoint.public_key]} is used a second time"
            yield _error(
                "key-twice",
                f"{path}.public_key",
                text,
                "every endpoint needs a key pair of its own",
            )
        first.setdefault(endpoint.public_key, path)


def _renamed(
    path: str, what: str, named: Mapping[str, Network | Endpoint], some: Iterable[str]
) -> Iterator[Finding]:
    """A successor takes the whole place of a name: that one must be gone, and have no second
    successor.

    `some` are names of `named`, in order; all others have no former name.
    """
    first: dict[str, str] = {}
    for name in some:
        before = named[name].renamed_from
        if before is None:
            continue
        where = f"{path}.{name}.renamed_from"
        if before == name:
            yield _error(
                "renamed-from",
                where,
                f"{name} is its own name",
                "write the name that it had before",
            )
        elif before in named:
            again = named[before].renamed_from
            chain = f", itself renamed from {again}" if again is not None else ""
            text = (
                f"there still is an {what}" if what.startswith("e") else f"there still is a {what}"
            )
            hint = f"rename one at a time and apply in between, or remove {before} or this line"
            yield _error("renamed-from", where, f"{text} named {before}{chain}", hint)
        elif before in first:
            text = f"{before} cannot become both {first[before]} and {name}"
            yield _error("renamed-from", where, text, "leave one of them out")
        first.setdefault(before, name)


def _explicit_endpoints(intent: Intent) -> Iterator[tuple[str, Endpoint]]:
    for name, network in sorted(intent.networks.items()):
        for key, endpoint in network.explicit_endpoints.items():
            yield f"networks.{name}.endpoints.{key}", endpoint


def _vni_pools(intent: Intent) -> Iterator[Finding]:
    held: list[tuple[str, Range]] = []
    for name, network in sorted(intent.networks.items()):
        pool = network.vni_pool
        if pool is None:
            continue
        for other, taken in held:
            if pool.overlaps(taken):
                text = f"VNIs {pool} overlap {taken} of networks.{other}.vni_pool"
                yield _error(
                    "vni-twice",
                    f"networks.{name}.vni_pool",
                    text,
                    "a VNI is used once on a gateway",
                )
        held.append((name, pool))


def _pools(intent: Intent) -> Iterator[Finding]:
    pools, networks = intent.gateway.pools, list(intent.networks.values())
    yield from _numbers("ports", pools.ports, [network.port for network in networks])
    yield from _numbers("vcids", pools.vcids, [network.vcid for network in networks])
    yield from _numbers(
        "routing_tables", pools.routing_tables, [network.routing_table for network in networks]
    )
    links = pools.transit.num_addresses // 2
    if len(networks) > links:
        text = f"{pools.transit} has {links} links for {len(networks)} networks"
        yield _error("pool-exhausted", "gateway.pools.transit", text, "widen gateway.pools.transit")
    yield from _subnet_pools(intent, pools)


def _numbers(key: str, pool: Range, given: list[int | None]) -> Iterator[Finding]:
    wanted = sum(number is None for number in given)
    free = len(pool) - len({number for number in given if number is not None and number in pool})
    if wanted > free:
        text = (
            f"the pool {pool} is exhausted: {free} free for {wanted} networks that name none of"
            " their own"
        )
        wider = f"widen gateway.pools.{key}, as {pool.first}-{pool.last + wanted - free}"
        yield _error("pool-exhausted", f"gateway.pools.{key}", text, wider)


def _subnet_pools(intent: Intent, pools: Pools) -> Iterator[Finding]:
    """Aligned blocks fill a pool without gaps, so that the sum of the sizes decides."""
    wanted: dict[str, int] = defaultdict(int)
    for network in intent.networks.values():
        if network.subnet is None:
            wanted[network.type] += 2 ** (32 - prefix_for(expected_users(network)))
    for kind, size in sorted(wanted.items()):
        pool = pools.subnets[kind]  # type: ignore[index]
        if size > pool.num_addresses:
            path = f"gateway.pools.subnets.{kind}"
            text = (
                f"{pool} is exhausted: it has {pool.num_addresses} addresses, its networks need"
                f" {size}"
            )
            yield _error(
                "pool-exhausted", path, text, f"widen {path} to a /{32 - (size - 1).bit_length()}"
            )


def _return_paths(intent: Intent) -> Iterator[Finding]:
    """Without NAT the answer finds its network by the client's address alone."""
    for field, subnet in (("nat", "subnet"), ("nat6", "subnet6")):
        held: list[tuple[str, Any]] = []
        for name, network in sorted(intent.networks.items()):
            block = getattr(network, subnet)
            if block is None or getattr(network, field) or not network.traits.egress:
                continue
            for other, taken in held:
                if block.overlaps(taken):
                    text = (
                        f"{field}: false, and {block} overlaps {taken} of networks.{other}, which"
                        " has no NAT either"
                    )
                    yield _error(
                        "return-path",
                        f"networks.{name}.{field}",
                        text,
                        "answers could go to either: use NAT in one",
                    )
            held.append((name, block))


# Inside one network


def _network(path: str, network: Network, intent: Intent) -> Iterator[Finding]:
    yield from _belonging(path, network)
    yield from _subnets(path, network, intent)
    yield from _capacity(path, network)
    yield from _limits(path, network)
    yield from _l2(path, network, intent)
    yield from _six(path, network)
    yield from _addresses(path, network, intent)
    yield from _overlaps(path, network, intent)
    for index, resource in enumerate(network.resources):
        yield from _resource(f"{path}.resources[{index}]", resource, network)
    if network.traits.lists_resources and not network.resources:
        yield _warning(
            "no-resources",
            path,
            "lists no resources: its endpoints reach nothing",
            "add resources:",
        )
    if network.rotation and network.private_key_file is not None:
        text = "changes nothing: the key of this network is the one in private_key_file"
        yield _warning("field-idle", f"{path}.rotation", text, "put a new key into that file")
    yield from _name_servers(path, network, intent)
    yield from _zoned(path, network, intent)
    yield from _protocols(path, network)
    if network.routing_table is not None and network.routing_table in KERNEL_TABLES:
        yield _error(
            "routing-table",
            f"{path}.routing_table",
            f"table {network.routing_table} is the kernel's own",
        )
    if network.routing_table is not None and network.routing_table in OWN_TABLES:
        yield _error(
            "routing-table",
            f"{path}.routing_table",
            f"table {network.routing_table} is the gateway's own",
        )


def _name_servers(path: str, network: Network, intent: Intent) -> Iterator[Finding]:
    """Name servers that clients are told of, but never reach."""
    for index, server in enumerate(network.dns or ()):
        if server.version == 6 and not network.ipv6:
            continue  # said as idle
        if network.traits.lists_resources and not any(
            _answers(one, server) for one in network.resources
        ):
            text = f"no client reaches {server}: no resource holds it for port 53"
            hint = f"add {{subnet: {server}, protocol: udp, ports: [53]}} to resources"
            yield _warning("dns-unreachable", f"{path}.dns[{index}]", text, hint)
        if network.traits.reach == "sites" and not _lies_inside(server, network, intent):
            text = f"no client reaches {server}: it lies in no subnet or route of this network"
            yield _warning(
                "dns-unreachable",
                f"{path}.dns[{index}]",
                text,
                "add a route to the endpoint that has it behind it",
            )


def _answers(resource: Resource, server: IPAddress) -> bool:
    """Whether a resource lets name queries through to this server."""
    ports = resource.ports
    return (
        server in resource.subnet
        and resource.protocol in (None, "udp", "tcp")
        and (ports is None or any(53 in some for some in ports))
    )


def _lies_inside(server: IPAddress, network: Network, intent: Intent) -> bool:
    """Whether it is, or may be, an address of the network: a subnet that is granted may be any of
    the pool.
    """
    own = (
        network.subnet or intent.gateway.pools.subnets[network.type]
        if server.version == 4
        else network.subnet6
    )
    if own is None:
        own = IPv6Network("fd00::/8")
    routes = (
        route for endpoint in network.explicit_endpoints.values() for route in endpoint.routes
    )
    return server in own or any(server in route for route in routes)


def check_day(intent: Intent, today: date) -> tuple[Finding, ...]:
    """Endpoints whose day has come: they are in no kernel any more, which a reader of the YAML may
    not see.
    """
    out = []
    for name, network in sorted(intent.networks.items()):
        for each, endpoint in network.endpoints.items():
            if endpoint.expires is not None and endpoint.expires <= today:
                text = f"{endpoint.expires} is past: this endpoint is out of the kernel"
                path = f"networks.{name}.endpoints.{each}.expires"
                out.append(
                    _warning("expired", path, text, "remove the endpoint, or give a later day")
                )
    return tuple(out)


def _zoned(path: str, network: Network, intent: Intent) -> Iterator[Finding]:
    """In a VRF the conntrack zone has the routing table's number, and zones have 16 bits."""
    if (network.isolation or intent.gateway.isolation) != "vrf":
        return
    hint = f"take one up to {TABLES_LAST}, or write `isolation: namespace`"
    pool = intent.gateway.pools.routing_tables
    if network.routing_table is not None and network.routing_table > TABLES_LAST:
        text = (
            f"routing table {network.routing_table} has no conntrack zone, which networks with"
            " isolation: vrf need"
        )
        yield _error("routing-table", f"{path}.routing_table", text, hint)
    elif network.routing_table is None and pool.first > TABLES_LAST:
        text = (
            f"isolation: vrf needs a routing table up to {TABLES_LAST}, and"
            f" gateway.pools.routing_tables is {pool}"
        )
        yield _error("routing-table", f"{path}.isolation", text, hint)


def _protocols(path: str, network: Network) -> Iterator[Finding]:
    """What has no ports needs an address of the network's own: behind a shared one nothing tells
    whose an answer is.
    """
    six = network.ipv6 and not network.nat6
    if network.protocols and network.traits.egress and network.nat and not six:
        text = (
            "only TCP, UDP and ICMP echo can share the gateway's address, and this network is"
            " behind NAT"
        )
        hint = (
            "write nat: false (IPv4) or nat6: false (IPv6), with a route back to the network's"
            " subnet, or remove it"
        )
        yield _error("protocols-behind-nat", f"{path}.protocols", text, hint)


def _belonging(path: str, network: Network) -> Iterator[Finding]:
    given = network.model_fields_set
    for field, types in BELONGS.items():
        if (
            field in given
            and getattr(network, field) not in (None, ())
            and network.type not in types
        ):
            text = f"has no place in {network.type}"
            yield _error(
                "field-of-other-type",
                f"{path}.{field}",
                text,
                f"it belongs to {' and '.join(types)}",
            )
    for field, types in IDLE_ELSEWHERE.items():
        if field in given and network.type not in types:
            yield _warning(
                "field-idle", f"{path}.{field}", f"does nothing in {network.type}", "remove it"
            )


def _subnets(path: str, network: Network, intent: Intent) -> Iterator[Finding]:
    if network.subnet is not None:
        yield from _reserved(f"{path}.subnet", network.subnet)
        if network.subnet.prefixlen == 32:
            yield _error(
                "subnet-size",
                f"{path}.subnet",
                "holds no endpoint beside the gateway",
                "write /31 or wider",
            )
        transit = intent.gateway.pools.transit
        if network.traits.egress and network.subnet.overlaps(transit):
            yield _error(
                "transit-overlap",
                f"{path}.subnet",
                f"overlaps {transit}, gateway.pools.transit",
                "take another",
            )
    if network.subnet6 is not None:
        yield from _subnet6(f"{path}.subnet6", network.subnet6, network)


def _subnet6(path: str, subnet6: IPv6Network, network: Network) -> Iterator[Finding]:
    yield from _reserved(path, subnet6)
    if subnet6.overlaps(TRANSIT6):
        yield _error(
            "transit-overlap",
            path,
            f"overlaps {TRANSIT6}, the transit links of IPv6",
            "take another",
        )
    hosts = (
        network.subnet.num_addresses
        if network.subnet
        else max(expected_users(network), len(network.endpoints)) + 2
    )
    if subnet6.num_addresses < hosts + 1:
        text = f"has {subnet6.num_addresses} addresses, the network needs {hosts + 1}"
        yield _error(
            "subnet-size", path, text, f"write /{128 - hosts.bit_length()} or wider; a /64 is usual"
        )


def _reserved(path: str, subnet: IPNetwork) -> Iterator[Finding]:
    for what, ranges in RESERVED.items():
        for block in ranges:
            if block.version == subnet.version and subnet.overlaps(block):
                yield _error(
                    "reserved-range",
                    path,
                    f"{subnet} meets {block} ({what})",
                    "take a private range, as 10.20.0.0/24",
                )


def _capacity(path: str, network: Network) -> Iterator[Finding]:
    count = len(network.endpoints)
    users = network.expected_users
    room = capacity(network.subnet.prefixlen) if network.subnet is not None else None
    if network.traits.endpoints_max is not None and count > network.traits.endpoints_max:
        text = f"has {count} endpoints; {network.type} joins exactly {network.traits.endpoints_max}"
        yield _error("too-many-endpoints", f"{path}.endpoints", text, "take l2-mesh for more")
    elif (users is not None or room is None) and count > expected_users(network):
        limit = (
            f"expected_users is {users}"
            if users
            else f"{network.type} without expected_users holds {expected_users(network)}"
        )
        where = f"{path}.expected_users" if users else f"{path}.endpoints"
        yield _error(
            "too-many-endpoints",
            where,
            f"{count} endpoints, but {limit}",
            f"write expected_users: {count}",
        )
    elif room is not None and count > room:
        text = f"has {count} endpoints, {network.subnet} holds {room}"
        yield _error(
            "subnet-too-small", f"{path}.subnet", text, f"a /{prefix_for(count)} holds them"
        )
    if room is not None and users is not None and users > room > 0:
        text = f"{network.subnet} holds {room}, expected_users is {users}"
        yield _error(
            "subnet-too-small", f"{path}.subnet", text, f"a /{prefix_for(users)} holds them"
        )


def _limits(path: str, network: Network) -> Iterator[Finding]:
    different = {(endpoint.type, endpoint.limits) for endpoint in network.endpoints.values()}
    if len(different) > LIMITS_MAX:
        text = (
            f"its endpoints have {len(different)} different limits; a network has {LIMITS_MAX} at"
            " most"
        )
        yield _error(
            "too-many-limits", f"{path}.endpoints", text, "let endpoints have the same limits"
        )


def _l2(path: str, network: Network, intent: Intent) -> Iterator[Finding]:
    if not network.traits.ethernet:
        return
    count = len(network.endpoints)
    if (
        network.traits.endpoints_max is not None
        and sum(one.enabled for one in network.endpoints.values()) == 1
    ):
        text = "a wire with one end: nothing comes out anywhere"
        yield _warning("wire-open", f"{path}.endpoints", text, "it joins exactly two endpoints")
    if count > BRIDGE_PORTS:
        yield _error(
            "bridge-full",
            f"{path}.endpoints",
            f"has {count} endpoints, a bridge holds {BRIDGE_PORTS}",
        )
    legs = max(0, count - LEGS_BY_VLAN)
    if (
        network.traits.leg == "vxlan"
        and legs
        and (network.vni_pool is None or len(network.vni_pool) < legs)
    ):
        text = f"{legs} legs beyond the {LEGS_BY_VLAN}th need VNIs of their own"
        hint = f"give vni_pool {legs} numbers, as 1000000-{1000000 + legs - 1}"
        yield _error(
            "vni-pool", f"{path}.{'vni_pool' if network.vni_pool else 'endpoints'}", text, hint
        )
    if network.bridge_name is not None:
        yield from _bridge_name(f"{path}.bridge_name", network.bridge_name, network, intent)
    if (
        network.vlan_id is not None
        and network.vlan_range is not None
        and network.vlan_id in network.vlan_range
    ):
        text = f"VLAN {network.vlan_id} is both untagged (vlan_id) and tagged (vlan_range)"
        yield _error("vlan-conflict", f"{path}.vlan_id", text, "leave it out of one of them")


def _bridge_name(path: str, name: str, network: Network, intent: Intent) -> Iterator[Finding]:
    """A name that is always somebody else's: the uplink's, the kernel's, or one by which we know
    another kind of link.
    """
    if name == intent.gateway.uplink:
        yield _error("bridge-is-uplink", path, f"{name} is the uplink", "take another name")
    elif name in KERNEL_NAMES:
        yield _error(
            "bridge-name",
            path,
            f"{name} is a link of the kernel's own",
            "take another name, as br-lan",
        )
    elif name.startswith(naming.OWN_PREFIXES):
        text = (
            f"{name} is read as the name of a link that warpd makes for other things"
            f" ({', '.join(naming.OWN_PREFIXES)})"
        )
        yield _error("bridge-name", path, text, "take another name, as br-lan")
    elif naming.is_link(name) and naming.vcid_of_link(name) != network.vcid:
        text = (
            f"{name} is the name of the bridge of the network with VCID {name.removeprefix('br-')}"
        )
        yield _error(
            "bridge-name",
            path,
            text,
            "leave bridge_name out, or take a name that does not end in a VCID, as br-lan",
        )


def _six(path: str, network: Network) -> Iterator[Finding]:
    if network.ipv6:
        if network.mtu is not None and network.mtu < IPV6_MINIMUM_MTU:
            text = f"{network.mtu} is below {IPV6_MINIMUM_MTU}, the least that IPv6 works with"
            yield _error(
                "mtu-ipv6", f"{path}.mtu", text, f"write {IPV6_MINIMUM_MTU} or more, or ipv6: false"
            )
        return
    idle = [f"{path}.subnet6"] if network.subnet6 else []
    idle += [
        f"{path}.dns[{index}]"
        for index, server in enumerate(network.dns or ())
        if server.version == 6
    ]
    idle += [
        f"{path}.allow_private[{index}]"
        for index, block in enumerate(network.allow_private)
        if block.version == 6
    ]
    idle += [
        f"{path}.resources[{index}].subnet"
        for index, one in enumerate(network.resources)
        if one.subnet.version == 6
    ]
    for name, endpoint in network.explicit_endpoints.items():
        routes = enumerate(endpoint.routes)
        idle += [
            f"{path}.endpoints.{name}.routes[{index}]"
            for index, route in routes
            if route.version == 6
        ]
    idle += [
        f"{path}.endpoints.{name}.address6"
        for name, endpoint in network.explicit_endpoints.items()
        if endpoint.address6
    ]
    for where in idle:
        yield _warning("field-idle", where, "does nothing: ipv6 is false", "remove it")


def _addresses(path: str, network: Network, intent: Intent) -> Iterator[Finding]:
    gateway = network.gateway_address or (
        network.subnet.network_address if network.subnet else None
    )
    pool = intent.gateway.pools.subnets[network.type]
    if network.gateway_address is not None:
        yield from _inside(f"{path}.gateway_address", network.gateway_address, network.subnet, pool)
    first: dict[IPAddress, str] = {gateway: "the gateway"} if gateway else {}
    if (
        network.subnet6 is not None
    ):  # the gateway is host 1; the first address of a subnet answers to routers (anycast)
        first[network.subnet6[1]] = "the gateway"
        first[network.subnet6[0]] = "routers (the subnet's anycast address)"
    for name, endpoint in network.explicit_endpoints.items():
        for field, subnet in (("address", network.subnet), ("address6", network.subnet6)):
            address = getattr(endpoint, field)
            if address is None:
                continue
            where = f"{path}.endpoints.{name}.{field}"
            yield from _inside(where, address, subnet, pool if field == "address" else None)
            if address in first:
                yield _error(
                    "address-twice",
                    where,
                    f"{address} is used twice: {first[address]} has it",
                    "give another one",
                )
            first.setdefault(address, f"endpoint {name}")


def _inside(
    path: str, address: IPAddress, subnet: IPNetwork | None, pool: IPNetwork | None
) -> Iterator[Finding]:
    if subnet is not None and address not in subnet:
        yield _error(
            "address-outside",
            path,
            f"{address} lies outside of the subnet {subnet}",
            f"take one of {subnet}",
        )
    elif subnet is None and pool is not None and address not in pool:
        text = f"{address} lies outside of {pool}, from which this network's subnet is taken"
        yield _error("address-outside", path, text, "give the network a subnet that holds it")


# Overlaps: sorted by first address, an overlap always shows between a block and the widest one
# before it.


def _overlaps(path: str, network: Network, intent: Intent) -> Iterator[Finding]:
    blocks: list[tuple[IPNetwork, str]] = [
        (subnet, "") for subnet in (network.subnet, network.subnet6) if subnet
    ]
    for name, endpoint in network.explicit_endpoints.items():
        for index, route in enumerate(endpoint.routes):
            where = f"{path}.endpoints.{name}.routes[{index}]"
            blocks.append((route, where))
            yield from _route(where, route, network, intent)
    for version in (4, 6):
        yield from _sweep(path, [item for item in blocks if item[0].version == version])


def _sweep(path: str, blocks: list[tuple[IPNetwork, str]]) -> Iterator[Finding]:
    widest: tuple[IPNetwork, str] | None = None
    for block, where in sorted(
        blocks, key=lambda item: (int(item[0].network_address), item[0].prefixlen, item[1])
    ):
        if widest is not None and int(block.network_address) <= int(widest[0].broadcast_address):
            later, (other, there) = (where, widest) if where else (widest[1], (block, where))
            mine = block if later == where else widest[0]
            text = f"{mine} overlaps {other}, " + (there or "the network's own subnet")
            yield _error(
                "overlap", later or path, text, "an address lies in one place: narrow or remove one"
            )
        else:
            widest = block, where


def _route(path: str, route: IPNetwork, network: Network, intent: Intent) -> Iterator[Finding]:
    pool = intent.gateway.pools.subnets[network.type]
    if network.subnet is None and isinstance(route, IPv4Network) and pool.subnet_of(route):
        text = f"{route} takes in {pool}, from which this network's subnet is granted"
        yield _error("overlap", path, text, "narrow it, or give the network a subnet elsewhere")
    transit = intent.gateway.pools.transit if route.version == 4 else TRANSIT6
    if network.traits.egress and route.overlaps(transit):
        yield _error(
            "transit-overlap", path, f"overlaps {transit}, the links to the uplink", "narrow it"
        )
    if route.is_multicast or route.is_loopback or (route.is_link_local and route.prefixlen):
        yield _error("reserved-range", path, f"{route} is never behind an endpoint", "remove it")


def _resource(path: str, resource: Resource, network: Network) -> Iterator[Finding]:
    if resource.ports is not None and resource.protocol not in ("tcp", "udp"):
        yield _error(
            "ports-without-protocol",
            f"{path}.ports",
            "ports need a protocol that has them",
            "protocol: tcp or udp",
        )
    for index, ports in enumerate(resource.ports or ()):
        if any(ports.overlaps(other) for other in (resource.ports or ())[:index]):
            yield _error(
                "overlap", f"{path}.ports[{index}]", f"{ports} is listed already", "remove it"
            )
    subnet = network.subnet if resource.subnet.version == 4 else network.subnet6
    if subnet is not None and resource.subnet.overlaps(subnet):
        text = f"{resource.subnet} overlaps {subnet}, the network's own subnet"
        yield _error(
            "overlap",
            f"{path}.subnet",
            text,
            "endpoints never reach each other in remote-resource-gateway",
        )
    yield from _via(path, resource, network)


def _via(path: str, resource: Resource, network: Network) -> Iterator[Finding]:
    if resource.via is None:
        behind = [
            name
            for name, endpoint in network.explicit_endpoints.items()
            if _holds(endpoint, resource.subnet)
        ]
        if behind:
            text = f"{resource.subnet} lies behind endpoint {behind[0]}"
            yield _error("via-missing", path, text, f"write via: {behind[0]}")
    elif resource.via not in network.endpoints:
        known = ", ".join(sorted(network.endpoints)[:8])
        hint = f"endpoints here: {known}" if known else "this network has no endpoints"
        yield _error(
            "via-unknown",
            f"{path}.via",
            f"there is no endpoint {resource.via} in this network",
            hint,
        )
    elif not _holds(network.endpoints[resource.via], resource.subnet):
        text = f"endpoint {resource.via} has no route that holds {resource.subnet}"
        yield _error("via-unknown", f"{path}.via", text, f"add {resource.subnet} to its routes")


def _holds(endpoint: Endpoint, subnet: IPNetwork) -> bool:
    return any(
        route.version == subnet.version and subnet.subnet_of(route)  # type: ignore[arg-type]
        for route in endpoint.routes
    )
