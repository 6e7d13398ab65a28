"""Drop ICMP errors of an endpoint that are not about its own connections.

An ICMP error quotes the packet that it is about. conntrack finds the connection of the quoted
packet and gives the error the state `related`. It checks that the error goes to the source of the
quoted packet, but it does not check the sender (nf_conntrack_inet_error() in
net/netfilter/nf_conntrack_proto_icmp.c). Therefore an endpoint that knows or guesses addresses and
ports could end a connection of another endpoint, or reduce its path MTU.

A genuine error comes from the far end of the connection, or from a router on the way to it. Both
are behind the same endpoint. The map `endpoint_ids4` or `endpoint_ids6` gives the number of the
endpoint that sent the error (`connection_limits`). The set `endpoint_addrs4` or `endpoint_addrs6`
holds the number of each endpoint with each of its addresses and routes. The check compares the
sender's endpoint with one side of the connection: its original source if the error goes in the
original direction, otherwise its original destination.

This module holds rules, sets and elements. It does not check errors from beyond the uplink, since
every router there may send one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from warpd.kernel.kinds.nft_table import JOINT, NftElements, NftSet
from warpd.kernel.nftables.rules import (
    ORIGINAL,
    RELATED,
    REPLY,
    RETURN,
    connection,
    jump,
    match,
    members,
    payload,
    rule,
    together,
)
from warpd.networks.firewall import connection_limits
from warpd.networks.firewall.connection_limits import Owned, Shares
from warpd.networks.firewall.rules import drops

REASON: Final = "forged-error"
CHAIN: Final = "icmp-errors"
_TYPES4: Final = (
    "destination-unreachable",
    "source-quench",
    "redirect",
    "time-exceeded",
    "parameter-problem",
)
_TYPES6: Final = ("destination-unreachable", "packet-too-big", "time-exceeded", "parameter-problem")


def related(*matches: Mapping[str, Any]) -> str:
    """Return the rule, for a chain that packets of endpoints pass, that checks related packets."""
    return rule("errors", *matches, RELATED, jump(CHAIN))


def forwarded(*matches: Mapping[str, Any]) -> list[str]:
    """Return the rules for forwarded packets. They also drop errors about unknown connections."""
    types = (("icmp", _TYPES4), ("icmpv6", _TYPES6))
    about_nothing = [
        rule("errors", *matches, match(payload(name, "type"), members(*own)), jump(CHAIN))
        for name, own in types
    ]
    return [related(*matches), *about_nothing]


def chains(label: str) -> dict[str, tuple[str, ...]]:
    """Return the chain to which `related` and `forwarded` jump. It returns for genuine errors."""
    return {CHAIN: (*connection_limits.numbered(), *_of_its_side(), *drops(label, REASON))}


def sets() -> tuple[NftSet, ...]:
    """Return the sets of endpoint numbers with their addresses. `elements` fills them."""
    kinds = (("endpoint_addrs4", "ipv4_addr"), ("endpoint_addrs6", "ipv6_addr"))
    return tuple(NftSet(name, f"classid{JOINT}{kind}", True) for name, kind in kinds)


def elements(
    netns: str, suffix: str, shares: Shares, endpoints: Iterable[Owned]
) -> list[NftElements]:
    """Return each endpoint's number with every address and route of the endpoint."""
    found: dict[int, set[str]] = {4: set(), 6: set()}
    for number, sources in connection_limits.numbers(shares, endpoints):
        for source in sources:
            found[source.version].add(f"{number}{JOINT}{source.element}")
    return [
        NftElements(netns, f"endpoint_addrs{version}{suffix}", frozenset(own))
        for version, own in found.items()
        if own
    ]


def _of_its_side() -> Iterator[str]:
    for family, version in (("ip", 4), ("ip6", 6)):
        for direction, end in ((ORIGINAL, "saddr"), (REPLY, "daddr")):
            side = together(connection_limits.ENDPOINT, connection(f"{family} {end}", "original"))
            yield rule(
                "of its own",
                direction,
                match(side, f"@endpoint_addrs{version}"),
                connection_limits.NOT_A_PRIORITY,
                RETURN,
            )
