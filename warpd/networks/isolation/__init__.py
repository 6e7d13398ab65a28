"""Isolation modes: where a network's objects are, and how its packets reach the uplink.

Each mode has one module and one entry in MODES.
"""

from __future__ import annotations

from types import ModuleType

from warpd.networks.isolation import namespace, vrf
from warpd.networks.placement import Placement
from warpd.networks.resolved import ResolvedNetwork

MODES: tuple[ModuleType, ...] = (namespace, vrf)


def mode(name: str) -> ModuleType:
    """Return the module of a mode. The validation of the intent refuses other names."""
    return next(module for module in MODES if name == module.NAME)


def placement_of(network: ResolvedNetwork) -> Placement:
    """Return where the objects of a network are."""
    placement: Placement = mode(network.isolation).placement_of(network)
    return placement
