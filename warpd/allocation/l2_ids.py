"""VLAN ids, legs and VNIs of Ethernet networks. A part of `allocator`, pure like it.

The n-th leg of an l2-mesh with VLAN v has the VNI 100000 + v * 100 + n, unless another network
holds it. Beyond 99 legs, and where two networks share a VLAN id, VNIs come from `vni_pool`, or else
from a range of their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Final

from warpd.allocation.model import EndpointAllocation, NetworkAllocation
from warpd.allocation.pools import Findings, Pool
from warpd.allocation.quarantine import Quarantine
from warpd.errors import Finding
from warpd.intent.capacity import LEG_MAX, LEGS_BY_VLAN
from warpd.intent.model import Intent, Network
from warpd.intent.types import VLAN_MAX, VNI_MAX, Range

FIRST_VLAN: Final = 100  # below are those that switches use by default
SPARE_VNIS: Final = Range(1_000_000, VNI_MAX)  # above all that follow from a VLAN id

Networks = Mapping[str, Network]
Endpoints = Mapping[str, EndpointAllocation]
Leg = tuple[str, str]  # (network, endpoint)


def assign_l2_ids(
    allocations: Mapping[str, NetworkAllocation],
    previous: Mapping[str, NetworkAllocation],
    intent: Intent,
    quarantine: Quarantine,
) -> tuple[dict[str, NetworkAllocation], Findings]:
    """(the allocations with VLAN ids, legs and VNIs, findings).

    allocations: in the order in which networks are served.
    previous: what those of them hold that were there before.
    """
    ethernet = {
        name: intent.networks[name] for name in allocations if intent.networks[name].traits.ethernet
    }
    meshes = {name: network for name, network in ethernet.items() if network.traits.leg == "vxlan"}
    held = {name: allocation.vlan for name, allocation in previous.items()}
    is_shared = intent.gateway.vlan_scope == "network"
    vlans, findings = assign_vlans(meshes, held, is_shared, quarantine.numbers("vlan"))
    result = dict(allocations)
    for name, network in ethernet.items():
        before = previous[name].endpoints if name in previous else {}
        quarantined = quarantine.in_network(name, "leg")
        owners = {int(leg): row.endpoint for leg, row in quarantined.items()}
        endpoints, more = assign_legs(name, allocations[name].endpoints, before, owners)
        findings += more
        vlan = vlans.get(name, network.vlan_id or 0)
        result[name] = dataclasses.replace(allocations[name], vlan=vlan, endpoints=endpoints)
    meshes = {name: network for name, network in meshes.items() if name in vlans}
    vnis, more = assign_vnis(meshes, result, quarantine.vnis())
    for name in meshes:
        result[name] = _with_vnis(name, result[name], vnis)
    return result, findings + more


def _with_vnis(
    name: str, allocation: NetworkAllocation, vnis: Mapping[Leg, int]
) -> NetworkAllocation:
    endpoints = {
        each: dataclasses.replace(endpoint, vni=vnis.get((name, each)))
        for each, endpoint in allocation.endpoints.items()
    }
    return dataclasses.replace(allocation, endpoints=endpoints)


# ---- VLAN ids ---------------------------------------------------------------------------------


def assign_vlans(
    meshes: Networks, held: Mapping[str, int], is_shared: bool, quarantined: Mapping[int, str]
) -> tuple[dict[str, int], Findings]:
    """(network -> VLAN id, findings) of every l2-mesh: the YAML's, the held one, or a free one.

    held: network -> VLAN id, or 0.
    is_shared: whether networks may hold the same id (`vlan_scope: network`).
    quarantined: VLAN id -> the network that had it.
    """
    pool: Pool[int, str] = Pool(quarantined)
    shared: dict[str, int] = {}
    for name, network in meshes.items():
        if network.vlan_id is not None and not pool.take(name, network.vlan_id):
            shared[name] = network.vlan_id
    for name, vlan in _held_vlans(meshes, held):
        if not pool.take(name, vlan) and is_shared:
            shared[name] = vlan
    findings = []
    for name in pool.without(name for name in meshes if name not in shared):
        if not pool.take_first(name, _vlans(meshes[name])):
            text = "no VLAN id is left"
            hint = (
                "set gateway.vlan_scope: network, or wait for those that are quarantined"
                " (gateway.quarantine)"
            )
            findings.append(Finding("pool-exhausted", f"networks.{name}", text, hint))
    return {**shared, **pool.values}, tuple(findings)


def _held_vlans(meshes: Networks, held: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """(network, VLAN id) of those that keep what they hold."""
    for name, network in meshes.items():
        vlan = held.get(name, 0)
        if network.vlan_id is None and vlan and _is_access_vlan(network, vlan):
            yield name, vlan


def _vlans(network: Network) -> Iterator[int]:
    candidates = chain(range(FIRST_VLAN, VLAN_MAX + 1), range(2, FIRST_VLAN))
    return (vlan for vlan in candidates if _is_access_vlan(network, vlan))


def _is_access_vlan(network: Network, vlan: int) -> bool:
    """The VLAN of untagged frames is none of those that pass with their tag."""
    return network.vlan_range is None or vlan not in network.vlan_range


# ---- legs -------------------------------------------------------------------------------------


def assign_legs(
    network: str, endpoints: Endpoints, previous: Endpoints, quarantined: Mapping[int, str]
) -> tuple[dict[str, EndpointAllocation], Findings]:
    """(the endpoints with leg numbers and the VNIs held before, findings).

    New endpoints get the lowest number that nobody holds or had of late, in the order of names.
    """
    pool: Pool[int, str] = Pool(quarantined)
    held = {name: previous[name] for name in endpoints if name in previous}
    for name, endpoint in held.items():
        if endpoint.leg:
            pool.take(name, endpoint.leg)
    pool.fill(endpoints, range(1, len(endpoints) + len(held) + len(quarantined) + 1))
    numbered = {}
    for name, endpoint in endpoints.items():
        vni = held[name].vni if name in held and held[name].leg else None
        numbered[name] = dataclasses.replace(endpoint, leg=pool.values[name], vni=vni)
    if quarantined and len(endpoints) + len(quarantined) > LEG_MAX:
        return numbered, (_too_many_legs(network, len(endpoints), len(quarantined)),)
    return numbered, ()


def _too_many_legs(network: str, endpoints: int, quarantined: int) -> Finding:
    text = (
        f"the {endpoints} endpoints and {quarantined} quarantined legs (gateway.quarantine) are"
        f" more than {LEG_MAX}"
    )
    hint = "wait, or shorten `gateway.quarantine`"
    return Finding("quarantined", f"networks.{network}.endpoints", text, hint)


# ---- VNIs -------------------------------------------------------------------------------------


def assign_vnis(
    meshes: Networks,
    allocations: Mapping[str, NetworkAllocation],
    quarantined: Mapping[int, Leg],
) -> tuple[dict[Leg, int], Findings]:
    """(leg -> VNI, findings) of every leg of every l2-mesh.

    allocations: with VLAN ids, legs, and the VNIs that were held before.
    quarantined: VNI -> the leg that had it.
    """
    pool: Pool[int, Leg] = Pool(quarantined)
    legs = list(_legs_of(meshes, allocations))
    for leg, by_vlan, held in legs:
        if _may_keep(meshes[leg[0]], by_vlan, held):
            pool.take(leg, held)
    spare: dict[Range | None, Iterator[int]] = {}
    findings = []
    for leg, by_vlan, _ in legs:
        if leg not in pool.values:
            network, endpoint = leg
            vni_pool = meshes[network].vni_pool
            if vni_pool not in spare:
                spare[vni_pool] = pool.never_held(vni_pool or SPARE_VNIS)
            candidates = chain((by_vlan,) if by_vlan else (), spare[vni_pool])
            if not pool.take_first(leg, candidates):
                text = f"no VNI is left for endpoint {endpoint}"
                path = f"networks.{network}.vni_pool"
                findings.append(Finding("pool-exhausted", path, text, "widen vni_pool"))
    return pool.values, tuple(findings)


def _legs_of(
    meshes: Iterable[str], allocations: Mapping[str, NetworkAllocation]
) -> Iterator[tuple[Leg, int, int]]:
    """(leg, the VNI that follows from the VLAN id or 0, the VNI held before or 0)."""
    for name in meshes:
        for each, endpoint in allocations[name].endpoints.items():
            yield (name, each), _by_vlan(allocations[name].vlan, endpoint.leg), endpoint.vni or 0


def _by_vlan(vlan: int, leg: int) -> int:
    return 100_000 + vlan * 100 + leg if leg <= LEGS_BY_VLAN else 0


def _may_keep(network: Network, by_vlan: int, held: int) -> bool:
    """Whether the held VNI (0 for none) is one that the network could be given now."""
    return held != 0 and (held == by_vlan or held in (network.vni_pool or SPARE_VNIS))
