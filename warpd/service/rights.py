"""What may be done, by whom: rights, roles, and who asks. Pure.

A right is decided in one place, the daemon (`daemon.http`), for every route. This module says what
there is to decide by: which rights a role has, and which networks an identity sees.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

ALL_NETWORKS: Final = ("*",)


class Right(enum.StrEnum):
    """One thing that a role may allow."""

    VIEW = "view"  # networks, endpoints, plan, events, explanations
    SEE_ADDRESSES = "see-addresses"  # where endpoints connect from
    EXPORT = "export"  # hand out configs with their keys
    SUSPEND = "suspend"  # take an endpoint out at once, and give it back
    ROTATE = "rotate"  # give a phone or laptop other keys, and nothing else
    CHANGE = "change"  # edit or propose, apply, confirm, undo what waits to be confirmed
    ADMINISTER = "administer"  # earlier entries of the history, large removals, tokens, users


_HELPDESK: Final = frozenset(
    {Right.VIEW, Right.SEE_ADDRESSES, Right.EXPORT, Right.SUSPEND, Right.ROTATE}
)
ROLES: Final[Mapping[str, frozenset[Right]]] = {
    "viewer": frozenset({Right.VIEW}),
    "helpdesk": _HELPDESK,
    "operator": _HELPDESK | {Right.CHANGE},
    "admin": frozenset(Right),
}
# What members of the group of readers may do: they see what root sees.
READER: Final = frozenset({Right.VIEW, Right.SEE_ADDRESSES})


def roles_with(right: Right) -> tuple[str, ...]:
    """The roles that have a right, the least one first."""
    return tuple(role for role, rights in ROLES.items() if right in rights)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, and what that may do.

    Attributes:
        user: the name in history, events and logs, such as `anna (web)` or `root (socket)`.
        rights: everything that is allowed.
        networks: patterns of the names of networks (`cust-*`); ALL_NETWORKS for the whole gateway.
        credential: the id of the token; "" for somebody known by the kernel's word.
        role: the name of the role; "" for somebody known by the kernel's word.
        signed_in_s: when a password or a login code was given, seconds since the epoch; 0: never.
        expires_s: when the credential ends, seconds since the epoch; 0: it does not.
    """

    user: str
    rights: frozenset[Right]
    networks: tuple[str, ...] = ALL_NETWORKS
    credential: str = ""
    role: str = ""
    signed_in_s: float = 0.0
    expires_s: float = 0.0

    def may(self, right: Right) -> bool:
        """Whether this right is there, in the networks that are seen."""
        return right in self.rights

    def sees(self, network: str) -> bool:
        """Whether this network is one of those that the rights are about."""
        return any(fnmatchcase(network, pattern) for pattern in self.networks)

    @property
    def sees_all(self) -> bool:
        """Whether the rights are about the whole gateway."""
        return "*" in self.networks
