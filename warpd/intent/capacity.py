"""How many endpoints a network, a subnet and a segment hold. Pure."""

from __future__ import annotations

from typing import Final

from warpd.intent.model import Network

LEGS_BY_VLAN: Final = 99
LEG_MAX: Final = 999  # three digits in a link's name
LIMITS_MAX: Final = (
    255  # different limits of endpoints in a network: what the upper bits of their numbers hold
)


def prefix_for(users: int) -> int:
    """The prefix length of the smallest subnet for so many endpoints: 1 -> /31, 2 -> /30, 6 -> /29,
    254 -> /24.
    """
    return 31 if users <= 1 else 32 - (users + 1).bit_length()


def capacity(prefix: int) -> int:
    """How many endpoints a subnet of this prefix length holds, beside the gateway."""
    return 1 if prefix == 31 else max(0, (1 << (32 - prefix)) - 2)


def expected_users(network: Network) -> int:
    """How many endpoints an automatic subnet is sized for."""
    return network.expected_users or network.traits.expected_users
