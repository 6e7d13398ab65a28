"""Ranges of addresses that have another meaning to every host. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from warpd.errors import Finding
from warpd.intent.types import IPNetwork
from warpd.intent.validation.finding import error

# No network can use these ranges: each has another meaning to every host.
RESERVED: Final[dict[str, tuple[IPNetwork, ...]]] = {
    "multicast": (IPv4Network("224.0.0.0/4"), IPv6Network("ff00::/8")),
    "loopback": (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")),
    "link-local": (IPv4Network("169.254.0.0/16"), IPv6Network("fe80::/10")),
    "reserved": (IPv4Network("0.0.0.0/8"), IPv4Network("240.0.0.0/4"), IPv6Network("::/128")),
    "IPv4 inside IPv6": (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96")),
}


def reserved(path: str, subnet: IPNetwork) -> Iterator[Finding]:
    for what, ranges in RESERVED.items():
        for block in ranges:
            if block.version == subnet.version and subnet.overlaps(block):
                yield error(
                    "reserved-range",
                    path,
                    f"{subnet} meets {block} ({what})",
                    "take a private range, as 10.20.0.0/24",
                )
