"""How many endpoints a network, a subnet and a segment hold. Pure."""

from __future__ import annotations

from typing import Final

from warpd.intent.model import Network

LEGS_BY_VLAN: Final = 99
LEG_MAX: Final = 999  # three digits in a link's name
# Different limits of endpoints in one network; the upper bits of the endpoints' numbers hold them.
LIMITS_MAX: Final = 255


def prefix_for(users: int) -> int:
    """Return the prefix length of the smallest IPv4 subnet for so many endpoints and the gateway.

    1 -> /31, 2 -> /30, 6 -> /29, 254 -> /24. A subnet wider than /31 also has its first and last
    address, which no host gets.
    """
    return 31 if users <= 1 else 32 - (users + 1).bit_length()


def capacity(prefix: int) -> int:
    """Return how many endpoints an IPv4 subnet of this prefix length holds beside the gateway."""
    return 1 if prefix == 31 else max(0, (1 << (32 - prefix)) - 2)


def expected_users(network: Network) -> int:
    """Return how many endpoints an automatic subnet is sized for: the network's own
    `expected_users`, or that of its type.
    """
    return network.expected_users or network.traits.expected_users
