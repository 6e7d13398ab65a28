"""Subnets, addresses and routes of one network: inside, free, and nothing overlaps. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network

from warpd.errors import Finding
from warpd.intent.capacity import expected_users
from warpd.intent.model import Intent, Network
from warpd.intent.types import IPAddress, IPNetwork
from warpd.intent.validation.finding import error
from warpd.intent.validation.reserved_ranges import reserved
from warpd.kernel.state import TRANSIT6


def check_subnets(path: str, network: Network, intent: Intent) -> Iterator[Finding]:
    if network.subnet is not None:
        yield from reserved(f"{path}.subnet", network.subnet)
        if network.subnet.prefixlen == 32:
            yield error(
                "subnet-size",
                f"{path}.subnet",
                "holds no endpoint beside the gateway",
                "write /31 or wider",
            )
        transit = intent.gateway.pools.transit
        if network.traits.egress and network.subnet.overlaps(transit):
            yield error(
                "transit-overlap",
                f"{path}.subnet",
                f"overlaps {transit}, gateway.pools.transit",
                "take another",
            )
    if network.subnet6 is not None:
        yield from _subnet6(f"{path}.subnet6", network.subnet6, network)


def _subnet6(path: str, subnet6: IPv6Network, network: Network) -> Iterator[Finding]:
    yield from reserved(path, subnet6)
    if subnet6.overlaps(TRANSIT6):
        yield error(
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
        yield error(
            "subnet-size", path, text, f"write /{128 - hosts.bit_length()} or wider; a /64 is usual"
        )


def check_addresses(path: str, network: Network, intent: Intent) -> Iterator[Finding]:
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
                yield error("address-twice", where, text, "give another one")
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
        yield error(
            "address-outside",
            path,
            f"{address} lies outside of the subnet {subnet}",
            f"take one of {subnet}",
        )
    elif subnet is None and pool is not None and address not in pool:
        text = f"{address} lies outside of {pool}, from which this network's subnet is taken"
        yield error("address-outside", path, text, "give the network a subnet that holds it")


def check_overlaps(path: str, network: Network, intent: Intent) -> Iterator[Finding]:
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
            yield error(
                "overlap", later or path, text, "an address lies in one place: narrow or remove one"
            )
        else:
            widest = block, where


def _route(path: str, route: IPNetwork, network: Network, intent: Intent) -> Iterator[Finding]:
    """Check that a route of an endpoint takes in nothing that warpd or the kernel uses."""
    pool = intent.gateway.pools.subnets[network.type]
    if network.subnet is None and isinstance(route, IPv4Network) and pool.subnet_of(route):
        text = f"{route} takes in {pool}, from which this network's subnet is taken"
        yield error("overlap", path, text, "narrow it, or give the network a subnet elsewhere")
    transit = intent.gateway.pools.transit if route.version == 4 else TRANSIT6
    if network.traits.egress and route.overlaps(transit):
        text = f"overlaps {transit}, the links to the uplink"
        yield error("transit-overlap", path, text, "narrow it")
    if _stays_on_its_link(route):
        yield error("reserved-range", path, f"{route} is never behind an endpoint", "remove it")


def _stays_on_its_link(route: IPNetwork) -> bool:
    """Whether no router forwards to these addresses; a default route is forwarded."""
    if route.prefixlen == 0:
        return False
    return route.is_multicast or route.is_loopback or route.is_link_local
