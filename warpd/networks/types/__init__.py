"""What passes in each type of network. One file a type, one line here.

A type says what it wants of the mode (`egress_requirements`), what passes (`firewall_policy`), what
it adds to the tunnel (`objects`), and which destinations beside the internet it lets out to
(`egress_destinations`).
"""

from __future__ import annotations

from types import ModuleType

from warpd.networks.types import l2_mesh, l2_point_to_point, l3vpn, remote_resource, secure_internet

TYPES: tuple[ModuleType, ...] = (
    secure_internet,
    remote_resource,
    l3vpn,
    l2_point_to_point,
    l2_mesh,
)


def type_named(name: str) -> ModuleType:
    """The type of that name; the intent knows no other names."""
    return next(module for module in TYPES if name == module.TYPE)
