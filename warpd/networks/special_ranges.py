"""Ranges that lead inside: private, local and special ones, and those that carry an IPv4 address in
another form.

The IANA special-purpose address registries of both families, as far as they say "globally
reachable: false", with multicast and what other rows of theirs can lead to: translation and tunnel
prefixes whose far end may be anybody's gateway, and addresses of clouds that stand in public
ranges. Documentation ranges are left out: nothing is there. The rows are in
`tests/unit/networks/registries.py`.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

INSIDE4: Final = (
    "0.0.0.0/8",  # this network
    "10.0.0.0/8",
    "100.64.0.0/10",  # carriers; Alibaba's metadata 100.100.100.200
    "127.0.0.0/8",
    "168.63.129.16/32",  # Azure's host: metadata, DNS, health
    "169.254.0.0/16",  # link-local; metadata of nearly all clouds
    "172.16.0.0/12",
    "192.0.0.0/24",  # IETF protocol assignments; Oracle's 192.0.0.192
    "192.88.99.0/24",  # 6to4 relays
    "192.168.0.0/16",
    "198.18.0.0/15",  # benchmarking
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, broadcast
)
INSIDE6: Final = (
    "::/96",  # unspecified, loopback, IPv4-compatible
    "::ffff:0:0/96",  # IPv4-mapped
    "::ffff:0:0:0/96",  # IPv4-translated
    "64:ff9b::/96",  # NAT64
    "64:ff9b:1::/48",  # NAT64 of one's own
    "100::/64",  # discard-only
    "100:0:0:1::/64",  # dummy
    "2001::/23",  # IETF protocol assignments: Teredo, benchmarking, ORCHID
    "2002::/16",  # 6to4
    "5f00::/16",  # segment routing SIDs
    "fc00::/7",  # unique local
    "fe80::/10",  # link-local
    "fec0::/10",  # site-local
    "ff00::/8",  # multicast
)
# Assignments within those, which the registries call globally reachable.
REACHABLE: Final = (
    "192.0.0.9/32",  # PCP anycast
    "192.0.0.10/32",  # TURN anycast
    "2001:1::1/128",  # PCP anycast
    "2001:1::2/128",  # TURN anycast
    "2001:1::3/128",  # DNS-SD service registration anycast
    "2001:3::/32",  # AMT
    "2001:4:112::/48",  # AS112
    "2001:20::/28",  # ORCHIDv2
    "2001:30::/28",  # drone remote identification
)


def _networks(texts: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(text) for text in texts)


INSIDE: Final = _networks((*INSIDE4, *INSIDE6))
REACHABLE_INSIDE: Final = _networks(REACHABLE)
