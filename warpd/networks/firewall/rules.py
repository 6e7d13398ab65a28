"""Rules that guards of every mode share: drops that are counted and logged a little, TCP's segment
size, what is untracked.
"""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import Literal

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
# The protocols that NAT keeps apart by ports or by the identifier of an echo, by IANA number. All
# others share one tuple a peer: who sends first would have the peer's packets to everybody, the
# host's own tunnels among them.
BY_PORT: Mapping[Literal[4, 6], tuple[int, ...]] = {4: (1, 6, 17), 6: (6, 17, 58)}

# What conntrack does not follow is not translated either: it would leave with its inner source.
UNTRACKED = match({"ct": {"key": "state"}}, ["invalid", "untracked"], op="in")
# A destination that somebody else's rules turned aside (a published container port) has not been
# judged by us.
REDIRECTED = match({"ct": {"key": "status"}}, "dnat", op="in")


GATEWAY = "gateway"  # the label of rules that networks share
LINKS_MAX = 1 << 14


def drops(label: str, reason: str, *matches: object) -> tuple[str, str]:
    """Log a little, count all, drop.

    Where networks share a rule, each has lines of its own: by the link it came in by.
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
    """Drop every protocol of a family that is not permitted; `matches` narrow a family's rule to
    some of its packets.
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
    """TCP's segment size down to what a tunnel of `mtu` bytes carries, in both directions."""
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
    """Ranges of one family without overlaps (a kernel interval set takes none), in the kernel's
    spelling.
    """
    own = [item for item in ranges if item.version == version]
    flat: list[Range] = [*collapse_addresses(own)]  # type: ignore[type-var]  # one family only, the stub cannot know
    return tuple(sorted(plain(item) for item in flat))


@functools.lru_cache(maxsize=4096)
def plain(item: Range) -> str:
    """A prefix as nft lists it: a single address without its length."""
    return str(item.network_address) if item.prefixlen == item.max_prefixlen else str(item)
