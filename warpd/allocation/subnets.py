"""Subnets of networks: IPv4 blocks out of the pools, IPv6 prefixes out of a hash.

A part of `allocator`, pure like it.

Lives here: which block a network gets, and how it grows. Does not: the addresses in it
(`addresses`). The order is that of `pools`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from warpd.allocation.model import NetworkAllocation, Tombstone
from warpd.allocation.pools import BlockPool, Findings, exhausted
from warpd.allocation.quarantine import Quarantine
from warpd.errors import Finding
from warpd.intent.capacity import expected_users, prefix_for
from warpd.intent.model import Network, Pools
from warpd.kernel.state import TRANSIT6

ULA_PREFIX: Final = 64
_TURNS: Final = 1 << 16  # prefixes that one name may ask for before another one is near


# ---- IPv4 -------------------------------------------------------------------------------------


def assign_subnets(
    networks: Mapping[str, Network],
    previous: Mapping[str, NetworkAllocation],
    pools: Pools,
    quarantine: Quarantine,
) -> tuple[dict[str, IPv4Network], Findings]:
    """(network -> subnet, findings). A network that gets none is named by an error.

    networks: in the order in which they are served.
    previous: what those of them hold that were there before.
    """
    blocks = _held_blocks(networks, previous, quarantine)
    automatic = {name: network for name, network in networks.items() if network.subnet is None}
    for name, network in automatic.items():
        _take_pinned(blocks, name, network)
    findings: list[Finding] = []
    without: dict[str, list[str]] = {}
    for name, network in automatic.items():
        previous_block = blocks.values.get(name)
        if previous_block is not None and previous_block.prefixlen <= _prefix(network):
            continue
        block = _new_block(blocks, name, network, pool_of(pools, network))
        if block is None:
            without.setdefault(network.type, []).append(name)
            continue
        if previous_block is not None and not previous_block.subnet_of(block):
            findings.append(_moved(name, previous_block, block))
            _release(blocks, name, previous_block, quarantine)
        blocks.values[name] = block
    for of_type, names in sorted(without.items()):
        pool = pool_of(pools, networks[names[0]])
        findings.append(_exhausted(blocks, of_type, pool, names, networks, quarantine))
    return blocks.values, tuple(findings)


def _release(
    blocks: BlockPool[IPv4Network], name: str, block: IPv4Network, quarantine: Quarantine
) -> None:
    """Withhold the block that a network has just released from those that are served later."""
    if quarantine.period_s:
        blocks.quarantined.append((name, block))


def _exhausted(
    blocks: BlockPool[IPv4Network],
    of_type: str,
    pool: IPv4Network,
    names: list[str],
    networks: Mapping[str, Network],
    quarantine: Quarantine,
) -> Finding:
    """These networks of one type get no subnet; nor do they keep one that is too small."""
    for name in names:
        blocks.values.pop(name, None)
    rows = _in_the_way(blocks, pool, names[0], networks[names[0]], quarantine)
    return exhausted(f"gateway.pools.subnets.{of_type}", str(pool), names, quarantine, rows)


def pool_of(pools: Pools, network: Network) -> IPv4Network:
    """The block that automatic subnets of this type of network come from."""
    return pools.subnets.get(network.type) or Pools().subnets[network.type]


def _prefix(network: Network) -> int:
    return prefix_for(expected_users(network))


def _held_blocks(
    networks: Mapping[str, Network],
    previous: Mapping[str, NetworkAllocation],
    quarantine: Quarantine,
) -> BlockPool[IPv4Network]:
    """What the YAML chooses, what is held from before, and what is quarantined."""
    quarantined = sorted(quarantine.of_networks("subnet").items())
    blocks = BlockPool([(row.network, IPv4Network(text)) for text, row in quarantined])
    for name, network in networks.items():
        if network.subnet is not None:
            blocks.values[name] = network.subnet
        elif name in previous:
            blocks.values[name] = previous[name].subnet
    return blocks


def _take_pinned(blocks: BlockPool[IPv4Network], name: str, network: Network) -> None:
    """Give a new network the block around the first address that the YAML chooses in it, if any.

    What the YAML chooses goes before the quarantine.
    """
    if name in blocks.values:
        return
    endpoints = network.explicit_endpoints.values()
    chosen = (network.gateway_address, *(endpoint.address for endpoint in endpoints))
    first = next((address for address in chosen if address is not None), None)
    if first is None:
        return
    block = IPv4Network((int(first), _prefix(network)), strict=False)
    if blocks.is_free(block, name, with_quarantine=False):
        blocks.values[name] = block


def _new_block(
    blocks: BlockPool[IPv4Network], name: str, network: Network, pool: IPv4Network
) -> IPv4Network | None:
    """A block that is large enough: around the held one, so that all addresses stay; or another."""
    prefix = _prefix(network)
    held = blocks.values.get(name)
    if held is not None:
        around = held.supernet(new_prefix=prefix)
        if around.subnet_of(pool) and blocks.is_free(around, name):
            return around
    return blocks.lowest(pool, prefix, name)


def _in_the_way(
    blocks: BlockPool[IPv4Network],
    pool: IPv4Network,
    name: str,
    network: Network,
    quarantine: Quarantine,
) -> Iterator[Tombstone]:
    """The tombstones without which the network would find a block in the pool."""
    if blocks.lowest(pool, _prefix(network), name, with_quarantine=False) is None:
        return
    for text, row in quarantine.of_networks("subnet").items():
        if IPv4Network(text).overlaps(pool):
            yield row


def _moved(name: str, previous: IPv4Network, block: IPv4Network) -> Finding:
    return Finding(
        "subnet-moves",
        f"networks.{name}.expected_users",
        f"{previous} cannot grow where it is: the network moves to {block}, and every endpoint of"
        " it gets a new address",
        "its clients need their configs again",
        "warning",
    )


# ---- IPv6 -------------------------------------------------------------------------------------


def assign_subnets6(
    networks: Mapping[str, Network],
    previous: Mapping[str, NetworkAllocation],
    vcids: Mapping[str, int],
    quarantine: Quarantine,
) -> dict[str, IPv6Network]:
    """The IPv6 prefix of every network: the YAML's, the previous one, or a /64 of its own.

    vcids: by network; a network without one gets a prefix all the same.
    """
    given: dict[str, IPv6Network] = {}
    for name, network in networks.items():
        if network.subnet6 is not None:
            given[name] = network.subnet6
        elif name in previous:
            given[name] = previous[name].subnet6
    taken = set(map(_at_least_64, given.values()))
    wide = [block for block in taken if block.prefixlen < ULA_PREFIX]
    for name, network in networks.items():
        if name not in given:
            quarantined = _quarantined_for(name, quarantine)
            candidates = _local_prefixes(network.renamed_from or name, vcids.get(name, 0))
            given[name] = next(
                block
                for block in candidates
                if block not in taken and not _overlaps_any(block, (*wide, *quarantined))
            )
            taken.add(given[name])
    return given


def _at_least_64(block: IPv6Network) -> IPv6Network:
    """The /64 around a longer prefix, so that prefixes can be compared by being equal."""
    return block.supernet(new_prefix=ULA_PREFIX) if block.prefixlen > ULA_PREFIX else block


def _quarantined_for(name: str, quarantine: Quarantine) -> set[IPv6Network]:
    rows = quarantine.of_networks("subnet6").items()
    return {IPv6Network(text) for text, row in rows if row.network != name}


def _overlaps_any(block: IPv6Network, others: Iterable[IPv6Network]) -> bool:
    return any(block.overlaps(other) for other in others)


def _local_prefixes(first_name: str, vcid: int) -> Iterator[IPv6Network]:
    return (_local_prefix(first_name, vcid, turn) for turn in range(_TURNS))


def _local_prefix(first_name: str, vcid: int, turn: int) -> IPv6Network:
    """fd, 40 bits of global id, 16 bits of subnet id (RFC 4193), from a hash."""
    suffix = f"/{turn}" if turn else ""
    digest = hashlib.sha256(f"{first_name}/{vcid}{suffix}".encode()).digest()
    if digest[:5] == TRANSIT6.network_address.packed[1:6]:
        return _local_prefix(first_name, vcid, turn + _TURNS)
    return IPv6Network((b"\xfd" + digest[:7] + bytes(8), ULA_PREFIX))
