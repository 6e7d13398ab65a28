"""One network: fields that belong to its type, and everything that is in it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Final

from warpd.errors import Finding
from warpd.intent.capacity import LIMITS_MAX
from warpd.intent.model import Intent, Network
from warpd.intent.network_types import ROWS, types_with_field
from warpd.intent.reserved import TABLES_LAST, UPLINK_TABLE
from warpd.intent.types import Range
from warpd.intent.validation.addresses import check_addresses, check_overlaps, check_subnets
from warpd.intent.validation.finding import error, warning
from warpd.intent.validation.l2 import check_l2
from warpd.intent.validation.name_servers import check_name_servers
from warpd.intent.validation.resources import check_resource
from warpd.intent.validation.sizes import check_sizes

IPV6_MINIMUM_MTU: Final = 1280
KERNEL_TABLES: Final = Range(253, 255)
OWN_TABLES: Final = Range(UPLINK_TABLE, UPLINK_TABLE)
# Fields that have a meaning in some network types only. In other types a field of the first table
# is an error; one of the second does nothing there and causes a warning.
BELONGS: Final = {field: types_with_field(field) for row in ROWS for field in sorted(row.fields)}
IDLE_ELSEWHERE: Final = {
    field: types_with_field(field) for row in ROWS for field in sorted(row.options)
}


def check_network(path: str, network: Network, intent: Intent) -> Iterator[Finding]:
    """Check one network by all rules."""
    yield from _belonging(path, network)
    yield from check_subnets(path, network, intent)
    yield from check_sizes(path, network)
    yield from _limits(path, network)
    yield from check_l2(path, network, intent)
    yield from _check_ipv6(path, network)
    yield from check_addresses(path, network, intent)
    yield from check_overlaps(path, network, intent)
    for index, resource in enumerate(network.resources):
        yield from check_resource(f"{path}.resources[{index}]", resource, network)
    if network.traits.lists_resources and not network.resources:
        yield warning(
            "no-resources",
            path,
            "lists no resources: its endpoints reach nothing",
            "add resources:",
        )
    if network.rotation and network.private_key_file is not None:
        text = "changes nothing: the key of this network is the one in private_key_file"
        yield warning("field-idle", f"{path}.rotation", text, "put a new key into that file")
    yield from check_name_servers(path, network, intent)
    yield from _zoned(path, network, intent)
    yield from _protocols(path, network)
    yield from _routing_table(f"{path}.routing_table", network.routing_table)


def _routing_table(path: str, table: int | None) -> Iterator[Finding]:
    """Check that a routing table is not in use for something else."""
    if table is None:
        return
    if table in KERNEL_TABLES:
        yield error("routing-table", path, f"table {table} is the kernel's own")
    if table in OWN_TABLES:
        yield error("routing-table", path, f"table {table} is the gateway's own")


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
                findings.append(warning("expired", path, text, hint))
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
        yield error("routing-table", f"{path}.routing_table", text, hint)
    elif network.routing_table is None and pool.first > TABLES_LAST:
        text = (
            f"isolation: vrf needs a routing table up to {TABLES_LAST}, and"
            f" gateway.pools.routing_tables is {pool}"
        )
        yield error("routing-table", f"{path}.isolation", text, hint)


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
        yield error("protocols-behind-nat", f"{path}.protocols", text, hint)


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
            yield error(
                "field-of-other-type",
                f"{path}.{field}",
                text,
                f"it belongs to {' and '.join(types)}",
            )
    for field, types in IDLE_ELSEWHERE.items():
        if field in given and network.type not in types:
            yield warning(
                "field-idle", f"{path}.{field}", f"does nothing in {network.type}", "remove it"
            )


def _limits(path: str, network: Network) -> Iterator[Finding]:
    different = {(endpoint.type, endpoint.limits) for endpoint in network.endpoints.values()}
    if len(different) > LIMITS_MAX:
        text = (
            f"its endpoints have {len(different)} different limits; a network has {LIMITS_MAX} at"
            " most"
        )
        yield error(
            "too-many-limits", f"{path}.endpoints", text, "let endpoints have the same limits"
        )


def _check_ipv6(path: str, network: Network) -> Iterator[Finding]:
    """Check the MTU against IPv6, and warn of IPv6 fields of a network without IPv6."""
    if not network.ipv6:
        for where in (*_ipv6_fields(path, network), *_endpoints_ipv6_fields(path, network)):
            yield warning("field-idle", where, "does nothing: ipv6 is false", "remove it")
    elif network.mtu is not None and network.mtu < IPV6_MINIMUM_MTU:
        text = f"{network.mtu} is below {IPV6_MINIMUM_MTU}, the least that IPv6 works with"
        hint = f"write {IPV6_MINIMUM_MTU} or more, or ipv6: false"
        yield error("mtu-ipv6", f"{path}.mtu", text, hint)


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
