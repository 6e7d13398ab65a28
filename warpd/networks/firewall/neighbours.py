"""Limit how many unknown neighbours on the host's links a network can make the kernel resolve.

The kernel has one neighbour table per family for all namespaces (gc_thresh3 of
net/ipv4/neigh/default, 1024 entries), and each unresolved destination takes an entry. Therefore
destinations in on-link prefixes of the host are limited, per network and for all networks together,
unless they answered recently. A destination that was permitted is not counted again for some
seconds, since its entry exists already.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from typing import Any, Final

from warpd.kernel.kinds.nft_table import NftSet
from warpd.kernel.nftables.rules import (
    ANSWERS,
    RETURN,
    jump,
    match,
    meta,
    meter,
    payload,
    rate_over,
    rule,
    update,
)
from warpd.networks.firewall.rules import GATEWAY, LINKS_MAX, drops, merged

REASON: Final = "unresolved"
# Unanswered destinations per second, and at once. One that does not answer keeps its entry for some
# 20 s.
OF_NETWORK: Final = (4, 16)
OF_ALL: Final = (16, 128)
REMEMBERED_S: Final = 600
TRIED_S: Final = 10
ANSWERED_MAX: Final = 1 << 16
TRIED_MAX: Final = 1 << 10  # more than OF_ALL permits in this time
FAMILIES: Final = (("ip", 4), ("ip6", 6))


def sets(onlink: Iterable[str]) -> tuple[NftSet, ...]:
    """Return the sets of the host's on-link prefixes, and of destinations that answered there."""
    ranges = [ip_network(text) for text in onlink]
    kinds = {4: "ipv4_addr", 6: "ipv6_addr"}
    fixed = (
        NftSet(f"onlink{version}", kind, True, merged(ranges, version))
        for version, kind in kinds.items()
    )
    learned = (
        NftSet(f"neighbours_known{version}", kind, timeout=REMEMBERED_S, size=ANSWERED_MAX)
        for version, kind in kinds.items()
    )
    tried = (
        NftSet(f"neighbours_pending{version}", kind, timeout=TRIED_S, size=TRIED_MAX)
        for version, kind in kinds.items()
    )
    return (*fixed, *learned, *tried)


def learn_rules(*matches: Any) -> list[str]:
    """Return the rules, for a chain that replies pass, that store the sender as answered."""
    return [
        rule(
            "has answered",
            *matches,
            match(payload(family, "saddr"), f"@onlink{version}"),
            ANSWERS,
            update(f"neighbours_known{version}", payload(family, "saddr")),
        )
        for family, version in FAMILIES
    ]


def limit_rules() -> list[str]:
    """Return the rules, for a chain that packets of networks pass, that apply the limits."""
    return [
        rule("on-link", match(payload(family, "daddr"), f"@onlink{version}"), jump("neighbours"))
        for family, version in FAMILIES
    ]


def chains() -> dict[str, tuple[str, ...]]:
    """Return the chains to which `limit_rules` jumps."""
    known = (
        rule(comment, match(payload(family, "daddr"), f"@{name}{version}"), RETURN)
        for comment, name in (
            ("has answered", "neighbours_known"),
            ("is being resolved", "neighbours_pending"),
        )
        for family, version in FAMILIES
    )
    tries = (
        rule(
            "remember destination", update(f"neighbours_pending{version}", payload(family, "daddr"))
        )
        for family, version in FAMILIES
    )
    own = meter("unresolved", LINKS_MAX, meta("iifname"), rate_over(*OF_NETWORK))
    return {
        "neighbours": (
            *known,
            rule("limit of each network", own, jump("over-unresolved")),
            rule("limit of all networks", rate_over(*OF_ALL), jump("over-unresolved")),
            *tries,
        ),
        "over-unresolved": drops(GATEWAY, REASON),
    }
