"""ICMP errors of endpoints: each is about a connection that its sender's own endpoint is one side
of.

An ICMP error quotes the packet that it is about. conntrack finds the connection of that packet and
calls the error related, whoever sent it: of its sender it asks nothing, only that it goes to where
the quoted packet came from (nf_conntrack_inet_error, net/netfilter/nf_conntrack_proto_icmp.c). So
an endpoint that knows or guesses addresses and ports could end a connection of another one, or make
its packets small.

An error comes either from the far end of the connection or from a router on the way there, and both
are behind the same endpoint. The map `shares4` or `shares6` gives the endpoint of the error's
sender as a number (`connection_limits`); the set `sides4` or `sides6` holds every number together
with each address and route of that endpoint. The side that the error comes from is the source of
the connection's original direction where the error goes in that direction, else its destination.

Lives here: rules, sets and elements. Does not: errors that come from beyond the uplink, where every
router may send one.
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
from warpd.networks.firewall.rules import drops, plain

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
    """Where packets of endpoints come by: those that conntrack calls related meet the chain."""
    return rule("errors", *matches, RELATED, jump(CHAIN))


def forwarded(*matches: Mapping[str, Any]) -> list[str]:
    """The same for what is forwarded, where an error about no known connection is none that an
    endpoint may send.
    """
    types = (("icmp", _TYPES4), ("icmpv6", _TYPES6))
    about_nothing = [
        rule("errors", *matches, match(payload(name, "type"), members(*own)), jump(CHAIN))
        for name, own in types
    ]
    return [related(*matches), *about_nothing]


def chains(label: str) -> dict[str, tuple[str, ...]]:
    """The chain that `related` and `forwarded` lead to: it returns with what may pass on."""
    return {CHAIN: (*connection_limits.numbered(), *_of_its_side(), *drops(label, REASON))}


def sets() -> tuple[NftSet, ...]:
    """Which number has which addresses; their elements are `elements`."""
    kinds = (("sides4", "ipv4_addr"), ("sides6", "ipv6_addr"))
    return tuple(NftSet(name, f"classid{JOINT}{kind}", True) for name, kind in kinds)


def elements(
    netns: str, suffix: str, shares: Shares, endpoints: Iterable[Owned]
) -> list[NftElements]:
    """Each endpoint's number with every address and route of that endpoint."""
    found: dict[int, set[str]] = {4: set(), 6: set()}
    for number, sources in connection_limits.numbers(shares, endpoints):
        for source in sources:
            found[source.version].add(f"{number}{JOINT}{plain(source)}")
    return [
        NftElements(netns, f"sides{version}{suffix}", frozenset(own))
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
                match(side, f"@sides{version}"),
                connection_limits.NOT_A_PRIORITY,
                RETURN,
            )
