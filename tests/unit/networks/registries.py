"""Rows of the IANA special-purpose address registries, as of 2025-10-09: block, name, globally
reachable (None: the registry says N/A). https://www.iana.org/assignments/iana-ipv4-special-registry
and iana-ipv6-special-registry.
"""

from __future__ import annotations

Row = tuple[str, str, bool | None]

IPV4: tuple[Row, ...] = (
    ("0.0.0.0/8", "this network", False),
    ("0.0.0.0/32", "this host on this network", False),
    ("10.0.0.0/8", "private-use", False),
    ("100.64.0.0/10", "shared address space", False),
    ("127.0.0.0/8", "loopback", False),
    ("169.254.0.0/16", "link-local", False),
    ("172.16.0.0/12", "private-use", False),
    ("192.0.0.0/24", "IETF protocol assignments", False),
    ("192.0.0.0/29", "IPv4 service continuity prefix", False),
    ("192.0.0.8/32", "IPv4 dummy address", False),
    ("192.0.0.9/32", "port control protocol anycast", True),
    ("192.0.0.10/32", "TURN anycast", True),
    ("192.0.0.170/32", "NAT64/DNS64 discovery", False),
    ("192.0.0.171/32", "NAT64/DNS64 discovery", False),
    ("192.0.2.0/24", "documentation (TEST-NET-1)", False),
    ("192.31.196.0/24", "AS112-v4", True),
    ("192.52.193.0/24", "AMT", True),
    ("192.88.99.0/24", "deprecated (6to4 relay anycast)", None),
    ("192.88.99.2/32", "6a44 relay anycast", False),
    ("192.168.0.0/16", "private-use", False),
    ("192.175.48.0/24", "direct delegation AS112 service", True),
    ("198.18.0.0/15", "benchmarking", False),
    ("198.51.100.0/24", "documentation (TEST-NET-2)", False),
    ("203.0.113.0/24", "documentation (TEST-NET-3)", False),
    ("240.0.0.0/4", "reserved", False),
    ("255.255.255.255/32", "limited broadcast", False),
)
IPV6: tuple[Row, ...] = (
    ("::1/128", "loopback address", False),
    ("::/128", "unspecified address", False),
    ("::ffff:0:0/96", "IPv4-mapped address", False),
    ("64:ff9b::/96", "IPv4-IPv6 translation", True),
    ("64:ff9b:1::/48", "IPv4-IPv6 translation", False),
    ("100::/64", "discard-only address block", False),
    ("100:0:0:1::/64", "dummy IPv6 prefix", False),
    ("2001::/23", "IETF protocol assignments", False),
    ("2001::/32", "Teredo", None),
    ("2001:1::1/128", "port control protocol anycast", True),
    ("2001:1::2/128", "TURN anycast", True),
    ("2001:1::3/128", "DNS-SD service registration protocol anycast", True),
    ("2001:2::/48", "benchmarking", False),
    ("2001:3::/32", "AMT", True),
    ("2001:4:112::/48", "AS112-v6", True),
    ("2001:10::/28", "deprecated (ORCHID)", False),
    ("2001:20::/28", "ORCHIDv2", True),
    ("2001:30::/28", "drone remote ID protocol entity tags", True),
    ("2001:db8::/32", "documentation", False),
    ("2002::/16", "6to4", None),
    ("2620:4f:8000::/48", "direct delegation AS112 service", True),
    ("3fff::/20", "documentation", False),
    ("5f00::/16", "segment routing (SRv6) SIDs", False),
    ("fc00::/7", "unique-local", False),
    ("fe80::/10", "link-local unicast", False),
)
# Tests use them as the internet, and so does the contract.
DOCUMENTATION = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")
# Not in those registries, and not the internet either: multicast, and forms of IPv4 addresses that
# were given up.
BEYOND = (
    "224.0.0.0/4",
    "ff00::/8",
    "::/96",
    "::ffff:0:0:0/96",
    "fec0::/10",
    "64:ff9b::/96",
    "192.88.99.0/24",
    "2001::/32",
    "2002::/16",
)
# By the providers' own documentation.
CLOUDS = {
    "169.254.169.254": (
        "AWS, Azure, Google Cloud, Oracle, OpenStack, DigitalOcean, Hetzner, Vultr, IBM"
    ),
    "169.254.170.2": "AWS ECS",
    "169.254.169.123": "AWS time",
    "fd00:ec2::254": "AWS",
    "fd00:ec2::253": "AWS DNS",
    "fd00:ec2::23": "AWS EKS",
    "fd20:ce::254": "Google Cloud",
    "168.63.129.16": "Azure",
    "192.0.0.192": "Oracle",
    "fd00:c1::a9fe:a9fe": "Oracle",
    "100.100.100.200": "Alibaba",
    "169.254.0.23": "Tencent",
    "169.254.42.42": "Scaleway",
    "fd00:42::42": "Scaleway",
    "fe80::a9fe:a9fe": "OpenStack",
}
