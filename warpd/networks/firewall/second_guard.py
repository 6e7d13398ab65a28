"""What a guard permits bears a bit of the mark, and another chain, right behind it, drops the rest.

One chain judges; whoever empties or deletes it, or puts an `accept` on top of it, lets pass what it
was to drop. The rules that accept therefore set a bit of the packet's mark first, and a second
chain at the same hook drops what came in by a network's link without that bit: an `accept` ends one
chain and not the hook (nft(8), "verdict statement"). Whoever takes the second chain away leaves the
first.

Marks that other programs set in between keep the bit unless they write the whole mark; the two
chains have nothing but others of the same priority between them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from warpd.kernel.kinds.nft_table import NftChain
from warpd.kernel.nftables.rules import (
    ACCEPT,
    mangle,
    match,
    meta,
    only_bits,
    rule,
    with_bits,
)
from warpd.networks.firewall.rules import drops

# In the highest byte of the mark, where no other program has its own; not one of the bits of MARKS.
PERMITTED: Final = 0x08000000
_PRIORITY: Final = 1  # right behind `filter` (0)
_REASONS: Final = {"forward": "not-granted", "input": "host-service"}
_MARKED: Final = mangle(meta("mark"), with_bits(meta("mark"), PERMITTED))
_UNMARKED: Final = match(only_bits(meta("mark"), PERMITTED), 0)


def permits(chain: NftChain) -> NftChain:
    """The chain with the bit set by each rule that accepts; one that translates stays as it is."""
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
    """Rules of which each that accepts sets the bit."""
    return tuple(_marking(text) for text in rules)


def _marking(text: str) -> str:
    body = json.loads(text)
    expressions: list[Any] = body["expr"]
    if expressions[-1] != ACCEPT:
        return text
    return rule(body["comment"], *expressions[:-1], _MARKED, ACCEPT)


def chains(label: str, guarded: Mapping[str, Any]) -> list[NftChain]:
    """The chains that drop what is not permitted, of what `guarded` matches: it came in by a link
    of a network.
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
