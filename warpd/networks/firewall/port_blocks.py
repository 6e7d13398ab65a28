"""Assign each network a block of NAT ports in the root (RFC 6888), so that no network uses all.

The block follows from the number of the network's transit link. If there are more networks than
blocks, some networks share a block.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from warpd.kernel.kinds.nft_table import NftChain, NftElements
from warpd.kernel.nftables.rules import between, rule, transport
from warpd.kernel.state import ROOT
from warpd.networks.resolved import ResolvedNetwork

BLOCKS: Final = 24
MAP: Final = "port-blocks"
_CHAIN: Final = "block"


def block_of(network: ResolvedNetwork) -> int:
    """Return the number of a network's block."""
    return network.link_number % BLOCKS


def elements(network: ResolvedNetwork, links: Iterable[str]) -> list[NftElements]:
    """Return the map elements that assign packets from these links of the root to the block."""
    chain = _chain(block_of(network))
    return [NftElements(ROOT, MAP, frozenset({f"{link} : jump {chain}"}), link) for link in links]


def block_number(found: Iterable[NftElements]) -> int | None:
    """Return the number of the block in the elements of one network, or None if they name none."""
    texts = (text for item in found if item.set == MAP for text in item.elements)
    return next((int(text.rpartition(_CHAIN)[2]) for text in texts if _CHAIN in text), None)


def ports(first: int, last: int, block: int) -> tuple[int, int]:
    """Return the first and the last port of a block."""
    width = (last - first + 1) // BLOCKS
    if not width:
        return first, last
    return first + block * width, last if block == BLOCKS - 1 else first + (block + 1) * width - 1


def width(first: int, last: int) -> int:
    """Return the number of ports of the smallest block."""
    low, high = ports(first, last, 0)
    return high - low + 1


def chains(first: int, last: int, blocks: Iterable[int]) -> list[NftChain]:
    """Return one chain for each block in use.

    For ICMP echo, NAT uses the identifier as the port (nf_nat_l4proto_unique_tuple() in
    net/netfilter/nf_nat_core.c).
    """
    return [
        NftChain(_chain(block), tuple(_translated(ports(first, last, block))))
        for block in sorted(set(blocks))
    ]


def _chain(block: int) -> str:
    return f"{_CHAIN}{block}"


def _translated(block: Sequence[int]) -> list[str]:
    own = {"masquerade": {"port": between(block[0], block[1])}}
    return [
        rule("a port of its block", transport("tcp", "udp", "icmp", "ipv6-icmp"), own),
        rule("everything else", {"masquerade": None}),
    ]
