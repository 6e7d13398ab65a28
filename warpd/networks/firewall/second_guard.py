"""A second chain after each guard chain, which drops what the guard chain did not permit.

If a single chain checked the packets, then emptying it, deleting it, or inserting an `accept` at
its top would let everything pass. Therefore every rule that accepts first sets a bit of the
packet's mark. A second chain at the same hook drops packets from a network's link without this bit.
This works because `accept` ends only one chain and not the hook (nft(8), "verdict statement"). If
the second chain is deleted, the first one still checks.

A mark that another program sets between the two chains keeps the bit, unless the program overwrites
the whole mark. Only chains of the same priorities can be between the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from warpd.kernel.kinds.nft_table import NftChain
from warpd.kernel.nftables.rules import (
    ACCEPT,
    mangle,
    match,
    meta,
    only_bits,
    with_accept_as,
    with_bits,
)
from warpd.networks.firewall.rules import drops

# A bit in the highest byte of the mark, which other programs do not use. It is not a bit of MARKS.
PERMITTED: Final = 0x08000000
_PRIORITY: Final = 1  # directly after `filter` (0)
_REASONS: Final = {"forward": "not-permitted", "input": "host-service"}
_MARKED: Final = mangle(meta("mark"), with_bits(meta("mark"), PERMITTED))
_UNMARKED: Final = match(only_bits(meta("mark"), PERMITTED), 0)


def permits(chain: NftChain) -> NftChain:
    """Return the chain with `marking` applied. A chain of type nat is not changed."""
    if chain.type == "nat":
        return chain
    return NftChain(
        chain.name,
        marking(chain.rules),
        chain.hook,
        chain.type,
        chain.priority,
        chain.policy,
    )


def marking(rules: Iterable[str]) -> tuple[str, ...]:
    """Return the rules, in which each rule that accepts sets the bit first."""
    return tuple(with_accept_as(text, _MARKED, ACCEPT) for text in rules)


def chains(label: str, guarded: Mapping[str, Any]) -> list[NftChain]:
    """Return the chains that drop packets without the bit.

    `guarded` matches the packets that came in by a link of a network.
    """
    return [
        NftChain(
            f"permitted-{hook}",
            drops(label, reason, _UNMARKED, guarded),
            hook,
            "filter",
            _PRIORITY,
        )
        for hook, reason in _REASONS.items()
    ]
