"""Limit how many connections a network and each of its endpoints hold, and open per second.

The size limit of the conntrack table is one setting for the whole machine (`nf_conntrack_max`). The
table of the root holds the NATed connections of every network and those of the host. An entry is
inserted after the last hook (__nf_conntrack_confirm() in net/netfilter/nf_conntrack_core.c), so a
packet that is dropped in FORWARD or INPUT makes no entry.

An endpoint is identified by a number and not by its source address, since it may use every address
of its routes. The map `endpoint_ids4` or `endpoint_ids6` gives the number for a source address, and
`meta priority` carries it from rule to rule. The kernel has set the priority from the TOS of the
packet before (net/ipv4/ip_forward.c); this value is overwritten only for the first packet of a
connection.

`ct count` walks all connections that it counts, at most once per jiffy
(net/netfilter/nf_conncount.c). Therefore rates are checked first, and large counts are divided into
parts. Every new connection falls into a random part, so that nobody can fill a chosen part. Only
the first packet of a connection is checked, so that a connection is counted once.

This module holds rules, sets and elements; `warpd.networks.limits` decides the numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from warpd.kernel.kinds.nft_table import NftElements, NftSet
from warpd.kernel.nftables.rules import (
    RETURN,
    connections_over,
    jump,
    mangle,
    mapped,
    match,
    meta,
    meter,
    payload,
    random_of,
    rate_over,
    rule,
    transport,
)
from warpd.networks.firewall.rules import SourceRange, drops

RATE, COUNT = "connection-rate", "too-many-connections"
PORTS: Final = "no-free-port"
REASONS: Final = (RATE, COUNT)
BURST_S: Final = 10  # the new connections of so many seconds may be opened at once
PART: Final = 256  # approximate number of connections that are counted together
PARTS_MAX: Final = 256
_NUMBERS: Final = 24  # bits of an endpoint's number; the bits above are its kind
ENDPOINTS_MAX: Final = 1 << 16  # that open connections at the same time
SERVICES_MAX: Final = 1 << 16
ENDPOINT: Final = meta("priority")
NOT_A_PRIORITY: Final = mangle(ENDPOINT, "none")
NEW: Final = match({"ct": {"key": "state"}}, "new", op="in")
# A one-way flow stays `new`; its entry stands from its first packet on.
_HELD: Final = match({"ct": {"key": "status"}}, "confirmed", op="in")


@dataclass(frozen=True, slots=True, order=True)
class Share:
    """How many connections may be open at once, and how many may be opened per second."""

    connections: int
    per_second: int


LEAST: Final = Share(1, 1)


@dataclass(frozen=True, slots=True)
class Shares:
    """The share of one network, and the kinds of shares of its endpoints, in order."""

    network: Share
    kinds: tuple[Share, ...]


def new_connections(*matches: Mapping[str, Any]) -> str:
    """Return the rule, for a chain that packets of endpoints pass, that checks new connections."""
    return rule("new connections", *matches, NEW, jump("new"))


def chains(shares: Shares, label: str) -> dict[str, tuple[str, ...]]:
    """Return the chains to which `new_connections` jumps."""
    return {
        "new": tuple(_limits(shares)),
        "over-rate": drops(label, RATE),
        "over-count": drops(label, COUNT),
    }


def gateway_chains(table: int, ports: int) -> dict[str, tuple[str, ...]]:
    """Return the chains of the root's guard to which `new_connections` jumps.

    All networks together leave a quarter of the conntrack table (`table` entries) to the host and
    to the tunnels' own packets. A network can have as many connections to one service as its block
    has `ports`.
    """
    transports = transport("tcp", "udp")
    rules = [
        rule("already in conntrack", _HELD, RETURN),
        rule("all networks", _together(table * 3 // 4), jump("over-count")),
    ]
    for family, version in (("ip", 4), ("ip6", 6)):
        service = [
            meta("iifname"),
            meta("l4proto"),
            payload(family, "daddr"),
            payload("th", "dport"),
        ]
        over = meter(
            f"service{version}", SERVICES_MAX, {"concat": service}, connections_over(ports)
        )
        rules.append(rule("one service", transports, over, jump("over-ports")))
    return {
        "new": tuple(rules),
        "over-count": drops("gateway", COUNT),
        "over-ports": drops("gateway", PORTS),
    }


def meters(shares: Shares) -> tuple[str, ...]:
    """Return the names of all meters in `chains`."""
    kinds = range(1, len(shares.kinds) + 1)
    return (
        *(f"rate{kind}" for kind in kinds),
        *(f"held{kind}" for kind in kinds),
        f"all{parts_of(shares.network.connections)}",
    )


def sets() -> tuple[NftSet, ...]:
    """Return the maps from source address to endpoint number. `elements` fills them."""
    return tuple(
        NftSet(name, kind, True, map="classid")
        for name, kind in (("endpoint_ids4", "ipv4_addr"), ("endpoint_ids6", "ipv6_addr"))
    )


def _limits(shares: Shares) -> Iterator[str]:
    yield rule("already in conntrack", _HELD, RETURN)
    yield from numbered()
    for kind, share in enumerate(shares.kinds, 1):
        over = meter(
            f"rate{kind}",
            ENDPOINTS_MAX,
            ENDPOINT,
            rate_over(share.per_second, share.per_second * BURST_S),
        )
        yield rule("rate of an endpoint", _of(kind), over, jump("over-rate"))
    own = shares.network
    yield rule(
        "rate of the network",
        rate_over(own.per_second, own.per_second * BURST_S),
        jump("over-rate"),
    )
    for kind, share in enumerate(shares.kinds, 1):
        over = meter(f"held{kind}", ENDPOINTS_MAX, ENDPOINT, connections_over(share.connections))
        yield rule("connections of an endpoint", _of(kind), over, jump("over-count"))
    yield rule("connections of the network", _together(own.connections), jump("over-count"))
    yield rule("not a priority", NOT_A_PRIORITY)


def numbered() -> Iterator[str]:
    """Return rules that set ENDPOINT to the number of the endpoint that sent the packet.

    NOT_A_PRIORITY resets it.
    """
    for family, version in (("ip", 4), ("ip6", 6)):
        yield rule(
            "endpoint", mangle(ENDPOINT, mapped(payload(family, "saddr"), f"endpoint_ids{version}"))
        )


def parts_of(connections: int) -> int:
    """Return the number of parts in which a number of connections is counted."""
    return min(max(connections // PART, 2), PARTS_MAX)


def _together(connections: int) -> dict[str, Any]:
    """Return matches for new connections above a limit on all connections together."""
    parts = parts_of(connections)
    return meter(
        f"all{parts}", parts, random_of(parts), connections_over(max(connections // parts, 1))
    )


def _of(kind: int) -> dict[str, Any]:
    first = kind << _NUMBERS
    return match(ENDPOINT, {"range": [_written(first), _written(first + (1 << _NUMBERS) - 1)]})


def _written(number: int) -> str:
    """Write a number as nft lists a traffic class: its two halves in hexadecimal."""
    return f"{number >> 16:x}:{number & 0xFFFF:x}"


Owned = tuple[int, Share, Sequence[SourceRange]]  # an endpoint's number, its share, its sources


def elements(
    netns: str, suffix: str, shares: Shares, endpoints: Iterable[Owned]
) -> list[NftElements]:
    """Return the map elements from source address to endpoint number."""
    found: dict[int, set[str]] = {4: set(), 6: set()}
    for number, sources in numbers(shares, endpoints):
        for source in sources:
            found[source.version].add(f"{source.element} : {number}")
    return [
        NftElements(netns, f"endpoint_ids{version}{suffix}", frozenset(own))
        for version, own in found.items()
        if own
    ]


def numbers(
    shares: Shares, endpoints: Iterable[Owned]
) -> Iterator[tuple[str, Sequence[SourceRange]]]:
    """Yield each endpoint's number, as nft lists it, with its source addresses."""
    for number, share, sources in endpoints:
        kind = shares.kinds.index(share) + 1
        yield _written((kind << _NUMBERS) + number), sources
