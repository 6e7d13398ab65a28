"""Where a network's objects live and how they reach the uplink. One file a mode, one line here."""

from __future__ import annotations

from types import ModuleType

from warpd.networks.isolation import namespace, vrf
from warpd.networks.placement import Placement
from warpd.networks.resolved import ResolvedNetwork

MODES: tuple[ModuleType, ...] = (namespace, vrf)


def mode(name: str) -> ModuleType:
    """The mode of that name; the intent knows no other names."""
    return next(module for module in MODES if name == module.NAME)


def placement_of(network: ResolvedNetwork) -> Placement:
    """Where the objects of a network live."""
    place: Placement = mode(network.isolation).placement(network)
    return place
