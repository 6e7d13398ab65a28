"""Rules that the guards of all modes share: drops that are counted and logged at a limited rate,
the TCP segment size, and untracked packets.
"""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses
from typing import Literal, NamedTuple

from warpd.kernel.nftables.rules import (
    DROP,
    count,
    log_limited,
    mangle,
    match,
    members,
    meta,
    meter,
    payload,
    rule,
)

Range = IPv4Network | IPv6Network
# Protocols (IANA numbers) that NAT separates by port or by echo identifier. Any other protocol has
# one tuple per remote address: the first sender would receive that address's packets to everybody,
# also those for the host's own tunnels.
BY_PORT: Mapping[Literal[4, 6], tuple[int, ...]] = {4: (1, 6, 17), 6: (6, 17, 58)}

# NAT does not translate packets that conntrack does not track. They would leave with their inner
# source address.
UNTRACKED = match({"ct": {"key": "state"}}, ["invalid", "untracked"], op="in")
# Our rules did not check a destination that other programs' rules changed (a published container
# port).
REDIRECTED = match({"ct": {"key": "status"}}, "dnat", op="in")


class SourceRange(NamedTuple):
    """Addresses from which an endpoint sends.

    version: 4 or 6.
    prefix: as WireGuard has them, always with a prefix length.
    element: as nft lists them in a set.
    """

    version: int
    prefix: str
    element: str


def source_of(item: Range | IPv4Address | IPv6Address) -> SourceRange:
    """The source for a range, or for one address."""
    if isinstance(item, (IPv4Network, IPv6Network)):
        return SourceRange(item.version, str(item), plain(item))
    text = str(item)
    return SourceRange(item.version, f"{text}/{item.max_prefixlen}", text)


GATEWAY = "gateway"  # the label of rules that all networks share
LINKS_MAX = 1 << 14


def drops(label: str, reason: str, *matches: object) -> tuple[str, str]:
    """Return rules that log at a limited rate, count and drop.

    If networks share the rules, the log is limited for each incoming link.
    """
    limit, log = log_limited(f"warpd {label} {reason}: ")
    if label == GATEWAY:
        # a meter's name is unique in its table
        which = zlib.crc32(json.dumps([reason, *matches], sort_keys=True).encode())
        limit = meter(f"log{which}", LINKS_MAX, meta("iifname"), limit)
    return rule(f"{reason} (log)", *matches, limit, log), rule(
        reason, *matches, count(reason), DROP
    )


def portless(
    label: str,
    permitted: Mapping[Literal[4, 6], Sequence[int]],
    *matches: Mapping[Literal[4, 6], object],
) -> list[str]:
    """Return rules that drop every protocol that a family does not permit.

    `matches` restricts the rule of a family to some of its packets.
    """
    out: list[str] = []
    for version, numbers in permitted.items():
        narrowed = [each[version] for each in matches]
        other = match(meta("l4proto"), members(*numbers), op="!=")
        out += drops(
            label, "protocol", *(narrowed or [match(meta("nfproto"), f"ipv{version}")]), other
        )
    return out


def clamp(mtu: int) -> list[str]:
    """Return rules that reduce the TCP segment size to fit a tunnel of `mtu` bytes, both ways."""
    headers = (("ipv4", 40), ("ipv6", 60))  # IP and TCP without options, bytes
    size = {"tcp option": {"name": "maxseg", "field": "size"}}
    syn = match(payload("tcp", "flags"), "syn", op="in")
    return [
        rule(
            "segment size",
            match(meta("nfproto"), family),
            syn,
            match(size, mtu - cost, op=">"),
            mangle(size, mtu - cost),
        )
        for family, cost in headers
    ]


def merged(ranges: Iterable[Range], version: int) -> tuple[str, ...]:
    """Return the ranges of one family without overlaps, as nft lists them.

    The kernel's interval sets do not allow overlaps.
    """
    own = [item for item in ranges if item.version == version]
    flat: list[Range] = [*collapse_addresses(own)]  # type: ignore[type-var]  # one family only, the stub cannot know
    return tuple(sorted(plain(item) for item in flat))


@functools.lru_cache(maxsize=4096)
def plain(item: Range) -> str:
    """Return a prefix as nft lists it: a single address has no prefix length."""
    return str(item.network_address) if item.prefixlen == item.max_prefixlen else str(item)
