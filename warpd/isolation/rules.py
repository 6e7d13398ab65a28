"""Rules that guards of every mode share: drops that are counted and logged a little, TCP's segment size, what is untracked."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from warpd.objects.nft_rules import DROP, count, log_limited, mangle, match, meta, meter, payload, rule

Range = IPv4Network | IPv6Network

# What conntrack does not follow is not translated either: it would leave with its inner source.
UNTRACKED = match({"ct": {"key": "state"}}, ["invalid", "untracked"], op="in")
# A destination that somebody else's rules turned aside (a published container port) has not been judged by us.
REDIRECTED = match({"ct": {"key": "status"}}, "dnat", op="in")


GATEWAY = "gateway"  # the label of rules that networks share
LINKS_MAX = 1 << 14


def drops(label: str, reason: str, *matches: object) -> tuple[str, str]:
    """Log a little, count all, drop. Where networks share a rule, each has lines of its own: by the link it came in by."""
    limit, log = log_limited(f"warpd {label} {reason}: ")
    if label == GATEWAY:
        # a meter's name is unique in its table
        which = zlib.crc32(json.dumps([reason, *matches], sort_keys=True).encode())
        limit = meter(f"log{which}", LINKS_MAX, meta("iifname"), limit)
    return rule(f"{reason} (log)", *matches, limit, log), rule(reason, *matches, count(reason), DROP)


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
    """Ranges of one family without overlaps (a kernel interval set takes none), in the kernel's spelling."""
    own = [item for item in ranges if item.version == version]
    flat: list[Range] = [*collapse_addresses(own)]  # type: ignore[type-var]  # one family only, the stub cannot know
    return tuple(sorted(plain(item) for item in flat))


def plain(item: Range) -> str:
    """A prefix as nft lists it: a single address without its length."""
    return str(item.network_address) if item.prefixlen == item.max_prefixlen else str(item)
