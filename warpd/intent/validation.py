"""Check what is sound by itself and wrong beside something else.

Pure: the rules return findings and raise nothing.

Only rules that the intent alone decides are here. `allocation.allocator` checks what depends on
previous allocations, `networks.compiler` what depends on the host. Networks may overlap each other,
because no packet passes between them; inside one network nothing may overlap.
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
ULA: Final = IPv6Network("fd00::/8")  # automatic IPv6 subnets are taken from it

# No network can use these ranges: each has another meaning to every host.
RESERVED: Final[dict[str, tuple[IPNetwork, ...]]] = {
    "multicast": (IPv4Network("224.0.0.0/4"), IPv6Network("ff00::/8")),
    "loopback": (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")),
    "link-local": (IPv4Network("169.254.0.0/16"), IPv6Network("fe80::/10")),
    "reserved": (IPv4Network("0.0.0.0/8"), IPv4Network("240.0.0.0/4"), IPv6Network("::/128")),
    "IPv4 inside IPv6": (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96")),
}

# Fields that have a meaning in some network types only. In other types a field of the first table
# is an error; one of the second does nothing there and causes a warning.
BELONGS: Final = {field: types_with_field(field) for row in ROWS for field in sorted(row.fields)}
IDLE_ELSEWHERE: Final = {
    field: types_with_field(field) for row in ROWS for field in sorted(row.options)
}


def check(intent: Intent) -> tuple[Finding, ...]:
    """Return every problem between objects, errors and warnings, in a fixed order."""
    findings = [*_gateway(intent), *_unique(intent), *_pools(intent), *_return_paths(intent)]
    for name, network in sorted(intent.networks.items()):
        findings += _network(f"networks.{name}", network, intent)
    return tuple(findings)


def _error(code: str, path: str, message: str, hint: str = "") -> Finding:
    return Finding(code, path, message, hint)


def _warning(code: str, path: str, message: str, hint: str = "") -> Finding:
    return Finding(code, path, message, hint, "warning")


# -- between networks


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
    """Check that enough ports in a row are left for NAT.

    All networks behind NAT share one run of ports on which the gateway does not listen.
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
    """Check that no two endpoints have the same key.

    The kernel identifies a peer by its public key, so that they would replace each other.
    """
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
    """Check `renamed_from`: the former name must not be in use, and have one successor only.

    Args:
        path: the path of the mapping.
        what: what its values are, for messages.
        named: the mapping.
        some: names of `named`, in order; all others have no `renamed_from`.
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
            article = "an" if what.startswith("e") else "a"
            text = f"there still is {article} {what} named {before}{chain}"
            hint = f"rename one at a time and apply in between, or remove {before} or this line"
            yield _error("renamed-from", where, text, hint)
        elif before in first:
            text = f"{before} cannot become both {first[before]} and {name}"
            yield _error("renamed-from", where, text, "leave one of them out")
        first.setdefault(before, name)


def _explicit_endpoints(intent: Intent) -> Iterator[tuple[str, Endpoint]]:
    for name, network in sorted(intent.networks.items()):
        for key, endpoint in network.explicit_endpoints.items():
            yield f"networks.{name}.endpoints.{key}", endpoint


def _vni_pools(intent: Intent) -> Iterator[Finding]:
    earlier: list[tuple[str, Range]] = []
    for name, network in sorted(intent.networks.items()):
        pool = network.vni_pool
        if pool is None:
            continue
        for other, taken in earlier:
            if pool.overlaps(taken):
                text = f"VNIs {pool} overlap {taken} of networks.{other}.vni_pool"
                yield _error(
                    "vni-twice",
                    f"networks.{name}.vni_pool",
                    text,
                    "a VNI is used once on a gateway",
                )
        earlier.append((name, pool))


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
    """Check that the pools hold the automatic subnets.

    Aligned blocks fill a pool without gaps, so that the sum of their sizes decides.
    """
    wanted: dict[str, int] = defaultdict(int)
    for network in intent.networks.values():
        if network.subnet is None:
            wanted[network.type] += 2 ** (32 - prefix_for(expected_users(network)))
    for kind, size in sorted(wanted.items()):
        pool = pools.subnets[kind]
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
    """Check that answers to networks without NAT find their way.

    Only the client's address says which network an answer belongs to.
    """
    for field, subnet in (("nat", "subnet"), ("nat6", "subnet6")):
        earlier: list[tuple[str, Any]] = []
        for name, network in sorted(intent.networks.items()):
            block = getattr(network, subnet)
            if block is None or getattr(network, field) or not network.traits.egress:
                continue
            for other, taken in earlier:
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
            earlier.append((name, block))


# -- inside one network


def _network(path: str, network: Network, intent: Intent) -> Iterator[Finding]:
    """Check one network by all rules."""
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
    yield from _routing_table(f"{path}.routing_table", network.routing_table)


def _routing_table(path: str, table: int | None) -> Iterator[Finding]:
    """Check that a routing table is not in use for something else."""
    if table is None:
        return
    if table in KERNEL_TABLES:
        yield _error("routing-table", path, f"table {table} is the kernel's own")
    if table in OWN_TABLES:
        yield _error("routing-table", path, f"table {table} is the gateway's own")


def _name_servers(path: str, network: Network, intent: Intent) -> Iterator[Finding]:
    """Warn of name servers in client configs that the clients cannot reach."""
    for index, server in enumerate(network.dns or ()):
        if server.version == 6 and not network.ipv6:
            continue  # _six warns of it
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
                "add a route to the endpoint in front of it",
            )


def _answers(resource: Resource, server: IPAddress) -> bool:
    """Whether a resource permits DNS queries to this server."""
    ports = resource.ports
    return (
        server in resource.subnet
        and resource.protocol in (None, "udp", "tcp")
        and (ports is None or any(53 in some for some in ports))
    )


def _lies_inside(server: IPAddress, network: Network, intent: Intent) -> bool:
    """Whether an address is, or may become, one of the network.

    An automatic subnet may be any of its pool.
    """
    own: IPNetwork = network.subnet6 or ULA
    if server.version == 4:
        own = network.subnet or intent.gateway.pools.subnets[network.type]
    return server in own or any(server in route for route in _routes(network))


def _routes(network: Network) -> Iterator[IPNetwork]:
    """Yield the routes of all endpoints."""
    for endpoint in network.explicit_endpoints.values():
        yield from endpoint.routes


def check_day(intent: Intent, today: date) -> tuple[Finding, ...]:
    """Warn of endpoints that have expired: warpd has removed them from the kernel.

    Args:
        intent: the intent.
        today: the date in UTC.
    """
    findings = []
    for name, network in sorted(intent.networks.items()):
        for endpoint_name, endpoint in network.endpoints.items():
            if endpoint.expires is not None and endpoint.expires <= today:
                text = f"{endpoint.expires} is past: this endpoint is out of the kernel"
                path = f"networks.{name}.endpoints.{endpoint_name}.expires"
                hint = "remove the endpoint, or give a later day"
                findings.append(_warning("expired", path, text, hint))
    return tuple(findings)


def _zoned(path: str, network: Network, intent: Intent) -> Iterator[Finding]:
    """Check that the routing table of a network in a VRF is a possible conntrack zone.

    The zone has the number of the table, and zones have 16 bits.
    """
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
    """Check that other protocols than TCP, UDP and ICMP echo do not need NAT.

    Nothing in their packets tells which of the clients behind one address an answer belongs to.
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
    """Report fields that have no meaning in this type of network."""
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
    if network.subnet is not None:
        hosts = network.subnet.num_addresses
    else:
        hosts = max(expected_users(network), len(network.endpoints)) + 2
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
    """Check that type, `expected_users` and subnet hold the endpoints."""
    found = (
        _more_than_the_type_joins(path, network)
        or _more_than_expected(path, network)
        or _more_than_the_subnet_holds(path, network)
    )
    if found is not None:
        yield found
    users = network.expected_users
    room = _room(network)
    if room is not None and users is not None and users > room > 0:
        text = f"{network.subnet} holds {room}, expected_users is {users}"
        hint = f"a /{prefix_for(users)} holds them"
        yield _error("subnet-too-small", f"{path}.subnet", text, hint)


def _room(network: Network) -> int | None:
    """Return how many endpoints the subnet holds; None where the YAML gives no subnet."""
    return None if network.subnet is None else capacity(network.subnet.prefixlen)


def _more_than_the_type_joins(path: str, network: Network) -> Finding | None:
    count, most = len(network.endpoints), network.traits.endpoints_max
    if most is None or count <= most:
        return None
    text = f"has {count} endpoints; {network.type} joins exactly {most}"
    return _error("too-many-endpoints", f"{path}.endpoints", text, "take l2-mesh for more")


def _more_than_expected(path: str, network: Network) -> Finding | None:
    """A subnet in the YAML decides alone where `expected_users` is absent."""
    count, users = len(network.endpoints), network.expected_users
    if users is None and network.subnet is not None:
        return None
    most = expected_users(network)
    if count <= most:
        return None
    if users is None:
        field, limit = "endpoints", f"{network.type} without expected_users holds {most}"
    else:
        field, limit = "expected_users", f"expected_users is {users}"
    text = f"{count} endpoints, but {limit}"
    return _error("too-many-endpoints", f"{path}.{field}", text, f"write expected_users: {count}")


def _more_than_the_subnet_holds(path: str, network: Network) -> Finding | None:
    count, room = len(network.endpoints), _room(network)
    if room is None or count <= room:
        return None
    text = f"has {count} endpoints, {network.subnet} holds {room}"
    return _error("subnet-too-small", f"{path}.subnet", text, f"a /{prefix_for(count)} holds them")


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
    """Check a network that carries Ethernet."""
    if not network.traits.ethernet:
        return
    enabled = sum(endpoint.enabled for endpoint in network.endpoints.values())
    if network.traits.endpoints_max is not None and enabled == 1:
        text = "only one endpoint is enabled, so that no frame passes"
        yield _warning("wire-open", f"{path}.endpoints", text, "it joins exactly two endpoints")
    count = len(network.endpoints)
    if count > BRIDGE_PORTS:
        text = f"has {count} endpoints, a bridge holds {BRIDGE_PORTS}"
        yield _error("bridge-full", f"{path}.endpoints", text)
    if network.traits.leg == "vxlan":
        yield from _vni_pool_size(path, network)
    if network.bridge_name is not None:
        yield from _bridge_name(f"{path}.bridge_name", network.bridge_name, network, intent)
    yield from _vlans(path, network)


def _vni_pool_size(path: str, network: Network) -> Iterator[Finding]:
    """Check that legs beyond those that a VLAN id numbers have a VNI."""
    legs = len(network.endpoints) - LEGS_BY_VLAN
    pool = network.vni_pool
    if legs <= 0 or (pool is not None and len(pool) >= legs):
        return
    text = f"{legs} legs beyond the {LEGS_BY_VLAN}th need VNIs of their own"
    hint = f"give vni_pool {legs} numbers, as 1000000-{1000000 + legs - 1}"
    field = "endpoints" if pool is None else "vni_pool"
    yield _error("vni-pool", f"{path}.{field}", text, hint)


def _vlans(path: str, network: Network) -> Iterator[Finding]:
    """Check that the access VLAN is not passed with a tag too."""
    if network.vlan_id is None or network.vlan_range is None:
        return
    if network.vlan_id in network.vlan_range:
        text = f"VLAN {network.vlan_id} is both untagged (vlan_id) and tagged (vlan_range)"
        yield _error("vlan-conflict", f"{path}.vlan_id", text, "leave it out of one of them")


def _bridge_name(path: str, name: str, network: Network, intent: Intent) -> Iterator[Finding]:
    """Check that a bridge name is not the uplink's, one of the kernel's own links, or one by which
    warpd recognises another link.
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
    """Check the MTU against IPv6, and warn of IPv6 fields of a network without IPv6."""
    if not network.ipv6:
        for where in (*_ipv6_fields(path, network), *_endpoints_ipv6_fields(path, network)):
            yield _warning("field-idle", where, "does nothing: ipv6 is false", "remove it")
    elif network.mtu is not None and network.mtu < IPV6_MINIMUM_MTU:
        text = f"{network.mtu} is below {IPV6_MINIMUM_MTU}, the least that IPv6 works with"
        hint = f"write {IPV6_MINIMUM_MTU} or more, or ipv6: false"
        yield _error("mtu-ipv6", f"{path}.mtu", text, hint)


def _ipv6_fields(path: str, network: Network) -> Iterator[str]:
    """Yield the paths of the network's own values that concern IPv6."""
    if network.subnet6 is not None:
        yield f"{path}.subnet6"
    for index, server in enumerate(network.dns or ()):
        if server.version == 6:
            yield f"{path}.dns[{index}]"
    for index, block in enumerate(network.allow_private):
        if block.version == 6:
            yield f"{path}.allow_private[{index}]"
    for index, resource in enumerate(network.resources):
        if resource.subnet.version == 6:
            yield f"{path}.resources[{index}].subnet"


def _endpoints_ipv6_fields(path: str, network: Network) -> Iterator[str]:
    """Yield the paths of the endpoints' values that concern IPv6."""
    for name, endpoint in network.explicit_endpoints.items():
        for index, route in enumerate(endpoint.routes):
            if route.version == 6:
                yield f"{path}.endpoints.{name}.routes[{index}]"
    for name, endpoint in network.explicit_endpoints.items():
        if endpoint.address6 is not None:
            yield f"{path}.endpoints.{name}.address6"


def _addresses(path: str, network: Network, intent: Intent) -> Iterator[Finding]:
    """Check that given addresses lie in their subnet and are used once."""
    pool = intent.gateway.pools.subnets[network.type]
    if network.gateway_address is not None:
        yield from _inside(f"{path}.gateway_address", network.gateway_address, network.subnet, pool)
    holders = _gateway_addresses(network)
    for name, endpoint in network.explicit_endpoints.items():
        here = f"{path}.endpoints.{name}"
        given: tuple[tuple[str, IPAddress | None, IPNetwork | None, IPNetwork | None], ...] = (
            ("address", endpoint.address, network.subnet, pool),
            ("address6", endpoint.address6, network.subnet6, None),
        )
        for field, address, subnet, pool_of_family in given:
            if address is None:
                continue
            where = f"{here}.{field}"
            yield from _inside(where, address, subnet, pool_of_family)
            if address in holders:
                text = f"{address} is used twice: {holders[address]} has it"
                yield _error("address-twice", where, text, "give another one")
            holders.setdefault(address, f"endpoint {name}")


def _gateway_addresses(network: Network) -> dict[IPAddress, str]:
    """Return the addresses that no endpoint can have, with what holds them."""
    holders: dict[IPAddress, str] = {}
    if network.gateway_address is not None:
        holders[network.gateway_address] = "the gateway"
    elif network.subnet is not None:
        holders[network.subnet.network_address] = "the gateway"
    if network.subnet6 is not None:
        # RFC 4291 section 2.6.1: every router answers to the first address of a subnet.
        holders[network.subnet6[1]] = "the gateway"
        holders[network.subnet6[0]] = "routers (the subnet's anycast address)"
    return holders


def _inside(
    path: str, address: IPAddress, subnet: IPNetwork | None, pool: IPNetwork | None
) -> Iterator[Finding]:
    """Check that an address lies in its subnet, or in the pool where the subnet is automatic."""
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


def _overlaps(path: str, network: Network, intent: Intent) -> Iterator[Finding]:
    """Check the routes of a network by themselves, and against each other and its subnets."""
    subnets: tuple[IPNetwork | None, ...] = (network.subnet, network.subnet6)
    blocks: list[tuple[IPNetwork, str]] = [(subnet, "") for subnet in subnets if subnet is not None]
    for name, endpoint in network.explicit_endpoints.items():
        for index, route in enumerate(endpoint.routes):
            where = f"{path}.endpoints.{name}.routes[{index}]"
            blocks.append((route, where))
            yield from _route(where, route, network, intent)
    for version in (4, 6):
        yield from _sweep(path, [item for item in blocks if item[0].version == version])


def _sweep(path: str, blocks: list[tuple[IPNetwork, str]]) -> Iterator[Finding]:
    """Report blocks that overlap; each has the path of its field, "" for the network's own subnet.

    In the order of first addresses, a block that overlaps another one also overlaps the widest of
    those before it.
    """
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
    """Check that a route of an endpoint takes in nothing that warpd or the kernel uses."""
    pool = intent.gateway.pools.subnets[network.type]
    if network.subnet is None and isinstance(route, IPv4Network) and pool.subnet_of(route):
        text = f"{route} takes in {pool}, from which this network's subnet is taken"
        yield _error("overlap", path, text, "narrow it, or give the network a subnet elsewhere")
    transit = intent.gateway.pools.transit if route.version == 4 else TRANSIT6
    if network.traits.egress and route.overlaps(transit):
        text = f"overlaps {transit}, the links to the uplink"
        yield _error("transit-overlap", path, text, "narrow it")
    if _stays_on_its_link(route):
        yield _error("reserved-range", path, f"{route} is never behind an endpoint", "remove it")


def _stays_on_its_link(route: IPNetwork) -> bool:
    """Whether no router forwards to these addresses; a default route is forwarded."""
    if route.prefixlen == 0:
        return False
    return route.is_multicast or route.is_loopback or route.is_link_local


def _resource(path: str, resource: Resource, network: Network) -> Iterator[Finding]:
    """Check one resource of a remote-resource-gateway."""
    yield from _resource_ports(f"{path}.ports", resource)
    subnet = network.subnet if resource.subnet.version == 4 else network.subnet6
    if subnet is not None and resource.subnet.overlaps(subnet):
        text = f"{resource.subnet} overlaps {subnet}, the network's own subnet"
        hint = "endpoints never reach each other in remote-resource-gateway"
        yield _error("overlap", f"{path}.subnet", text, hint)
    yield from _via(path, resource, network)


def _resource_ports(path: str, resource: Resource) -> Iterator[Finding]:
    """Check that ports have a protocol with ports, and are listed once."""
    ports = resource.ports
    if ports is None:
        return
    if resource.protocol not in ("tcp", "udp"):
        text = "ports need a protocol that has them"
        yield _error("ports-without-protocol", path, text, "protocol: tcp or udp")
    for index, listed in enumerate(ports):
        if any(listed.overlaps(other) for other in ports[:index]):
            yield _error("overlap", f"{path}[{index}]", f"{listed} is listed already", "remove it")


def _via(path: str, resource: Resource, network: Network) -> Iterator[Finding]:
    """Check that `via` names the endpoint that has the resource behind it."""
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
