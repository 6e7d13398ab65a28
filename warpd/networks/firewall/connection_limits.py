"""Shares of the connection table: how many connections a network and each of its endpoints hold and
open a second.

The table has one size for the whole machine (`nf_conntrack_max`), and the root's holds the NATed
connections of every network beside those of the host. An entry is inserted only after the last hook
(nf_conntrack_confirm), so that a drop in FORWARD or INPUT leaves none.

An endpoint is told by a number, not by its source address: it may use every address of its routes.
The map `shares4` or `shares6` gives that number for a source, and `meta priority` carries it from
rule to rule; at this point the kernel has set it from the TOS of this one packet
(net/ipv4/ip_forward.c), and nothing needs that of the first packet of a connection.

`ct count` looks at every connection that it counts, at most once a jiffy
(net/netfilter/nf_conncount.c). Rates are judged first for that reason, and many connections are
counted in parts: each new one falls into one at random, so that nobody can fill the part of
another. Only first packets are judged, so that a connection is counted once.

Lives here: rules, sets and elements. Does not: which numbers are in force
(`warpd.networks.limits`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
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
from warpd.networks.firewall.rules import drops, plain

RATE, COUNT = "connection-rate", "too-many-connections"
PORTS: Final = "no-free-port"
REASONS: Final = (RATE, COUNT)
BURST_S: Final = 10  # seconds' worth of new connections that may be opened at once
PART: Final = 256  # connections that are counted together, about
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
    """Connections held at once, and new ones a second."""

    connections: int
    per_second: int


LEAST: Final = Share(1, 1)


@dataclass(frozen=True, slots=True)
class Shares:
    """What one network may use, and the kinds of shares among its endpoints, in order."""

    network: Share
    kinds: tuple[Share, ...]


def new_connections(*matches: Mapping[str, Any]) -> str:
    """Where packets of endpoints come by: new connections meet the shares."""
    return rule("new connections", *matches, NEW, jump("new"))


def chains(shares: Shares, label: str) -> dict[str, tuple[str, ...]]:
    """The chains that `new_connections` leads to."""
    return {
        "new": tuple(_limits(shares)),
        "over-rate": drops(label, RATE),
        "over-count": drops(label, COUNT),
    }


def gateway_chains(table: int, ports: int) -> dict[str, tuple[str, ...]]:
    """The chains of the root's guard that `new_connections` leads to.

    All networks together leave a quarter of the `table` to the host and to the tunnels' own
    packets. To one service a network has as many connections as its block of `ports`.
    """
    transports = transport("tcp", "udp")
    rules = [
        rule("has an entry", _HELD, RETURN),
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
    """The names of all meters in `chains`."""
    kinds = range(1, len(shares.kinds) + 1)
    return (
        *(f"rate{kind}" for kind in kinds),
        *(f"held{kind}" for kind in kinds),
        f"all{parts_of(shares.network.connections)}",
    )


def sets() -> tuple[NftSet, ...]:
    """The maps from source to endpoint; their elements are `elements`."""
    return tuple(
        NftSet(name, kind, True, map="classid")
        for name, kind in (("shares4", "ipv4_addr"), ("shares6", "ipv6_addr"))
    )


def _limits(shares: Shares) -> Iterator[str]:
    yield rule("has an entry", _HELD, RETURN)
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
    """From here on, ENDPOINT is the number of the endpoint that sent the packet; NOT_A_PRIORITY
    ends that.
    """
    for family, version in (("ip", 4), ("ip6", 6)):
        yield rule(
            "endpoint", mangle(ENDPOINT, mapped(payload(family, "saddr"), f"shares{version}"))
        )


def parts_of(connections: int) -> int:
    """In how many parts so many connections are counted."""
    return min(max(connections // PART, 2), PARTS_MAX)


def _together(connections: int) -> dict[str, Any]:
    """Matches new connections beyond so many of all that come by."""
    parts = parts_of(connections)
    return meter(
        f"all{parts}", parts, random_of(parts), connections_over(max(connections // parts, 1))
    )


def _of(kind: int) -> dict[str, Any]:
    first = kind << _NUMBERS
    return match(ENDPOINT, {"range": [_written(first), _written(first + (1 << _NUMBERS) - 1)]})


def _written(number: int) -> str:
    """As nft lists a traffic class: its two halves in hexadecimal."""
    return f"{number >> 16:x}:{number & 0xFFFF:x}"


Owned = tuple[
    int, Share, Sequence[IPv4Network | IPv6Network]
]  # an endpoint's number, its share, its sources


def elements(
    netns: str, suffix: str, shares: Shares, endpoints: Iterable[Owned]
) -> list[NftElements]:
    """Which source is which endpoint's."""
    found: dict[int, set[str]] = {4: set(), 6: set()}
    for number, sources in numbers(shares, endpoints):
        for source in sources:
            found[source.version].add(f"{plain(source)} : {number}")
    return [
        NftElements(netns, f"shares{version}{suffix}", frozenset(own))
        for version, own in found.items()
        if own
    ]


def numbers(
    shares: Shares, endpoints: Iterable[Owned]
) -> Iterator[tuple[str, Sequence[IPv4Network | IPv6Network]]]:
    """Each endpoint's number as nft lists it, with its sources."""
    for number, share, sources in endpoints:
        kind = shares.kinds.index(share) + 1
        yield _written((kind << _NUMBERS) + number), sources
