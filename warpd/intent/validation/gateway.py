"""What networks share: the pools of the gateway, its ports, the paths back to clients. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from warpd.errors import Finding
from warpd.intent.capacity import expected_users, prefix_for
from warpd.intent.model import Intent, Pools
from warpd.intent.network_types import traits
from warpd.intent.reserved import free_ports
from warpd.intent.types import Range
from warpd.intent.validation.finding import error
from warpd.intent.validation.reserved_ranges import reserved

NAT_PORTS_MIN: Final = 4096
DEFAULT_PORTS: Final = Pools().ports


def check_gateway(intent: Intent) -> Iterator[Finding]:
    pools = intent.gateway.pools
    for kind, pool in sorted(pools.subnets.items()):
        yield from reserved(f"gateway.pools.subnets.{kind}", pool)
        if traits(kind).egress and pool.overlaps(pools.transit):
            text = f"{pools.transit} overlaps {pool}, gateway.pools.subnets.{kind}"
            yield error("pool-overlap", "gateway.pools.transit", text, "move one of them")
    yield from reserved("gateway.pools.transit", pools.transit)
    yield from _nat_ports(intent)


def _nat_ports(intent: Intent) -> Iterator[Finding]:
    """Check that enough ports in a row are left for NAT.

    All networks behind NAT share one run of ports on which the gateway does not listen.
    """
    pool = intent.gateway.pools.ports
    own = {network.port for network in intent.networks.values() if network.port is not None}
    first, last = free_ports((pool.first, pool.last), own)
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
        yield error("nat-ports", "gateway.pools.ports", text, hint)


def check_pools(intent: Intent) -> Iterator[Finding]:
    pools, networks = intent.gateway.pools, list(intent.networks.values())
    yield from _numbers("ports", pools.ports, [network.port for network in networks])
    yield from _numbers("vcids", pools.vcids, [network.vcid for network in networks])
    yield from _numbers(
        "routing_tables", pools.routing_tables, [network.routing_table for network in networks]
    )
    links = pools.transit.num_addresses // 2
    if len(networks) > links:
        text = f"{pools.transit} has {links} links for {len(networks)} networks"
        yield error("pool-exhausted", "gateway.pools.transit", text, "widen gateway.pools.transit")
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
        yield error("pool-exhausted", f"gateway.pools.{key}", text, wider)


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
            yield error(
                "pool-exhausted", path, text, f"widen {path} to a /{32 - (size - 1).bit_length()}"
            )


def check_return_paths(intent: Intent) -> Iterator[Finding]:
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
                    yield error(
                        "return-path",
                        f"networks.{name}.{field}",
                        text,
                        "answers could go to either: use NAT in one",
                    )
            earlier.append((name, block))
