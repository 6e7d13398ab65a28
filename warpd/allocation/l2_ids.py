"""VLAN ids, legs and VNIs of Ethernet segments. A part of `allocator`, pure like it.

The n-th leg of an l2-mesh with VLAN v has the VNI 100000 + v * 100 + n, as long as nobody else on
the gateway has it; beyond 99 legs, and where two networks share a VLAN id, VNIs come from
`vni_pool`, or else from a range of their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Set
from itertools import chain
from typing import Final

from warpd.allocation.addresses import EndpointAllocation
from warpd.errors import Finding
from warpd.intent.capacity import LEG_MAX, LEGS_BY_VLAN
from warpd.intent.model import Network
from warpd.intent.types import VLAN_MAX, VNI_MAX

FIRST_VLAN: Final = 100  # below are those that switches use by default
FIRST_SPARE_VNI: Final = 1_000_000  # above all that follow from a VLAN id

Legs = Mapping[str, EndpointAllocation]


def vlans(
    meshes: Mapping[str, Network],
    held: Mapping[str, int],
    scope: str,
    resting: Mapping[int, str],
    findings: list[Finding],
) -> dict[str, int]:
    """A VLAN id for every l2-mesh: what the YAML says, what was held, what is free.

    `allocation.model` has 0 for none.

    `resting` leads from ids that are not given to others yet to the network that had them.
    """
    given = {
        name: network.vlan_id for name, network in meshes.items() if network.vlan_id is not None
    }
    taken = set(given.values())
    for name, network in meshes.items():
        had = held.get(name, 0)
        if (
            name not in given
            and had
            and (had not in taken or scope == "network")
            and _outside(network, had)
        ):
            given[name] = had
            taken.add(had)
    for name, network in meshes.items():
        if name in given:
            continue
        candidates = chain(range(FIRST_VLAN, VLAN_MAX + 1), range(2, FIRST_VLAN))
        free = (item for item in candidates if item not in taken and _outside(network, item))
        vlan = next((item for item in free if resting.get(item, name) == name), None)
        if vlan is None:
            text, hint = (
                "no VLAN id is left",
                "set gateway.vlan_scope: network, or wait for those that rest (gateway.quarantine)",
            )
            findings.append(Finding("pool-exhausted", f"networks.{name}", text, hint))
            continue
        given[name] = vlan
        taken.add(vlan)
    return given


def _outside(network: Network, vlan: int) -> bool:
    """The access VLAN is none of those that pass with their tag."""
    return network.vlan_range is None or vlan not in network.vlan_range


def legs(
    path: str, endpoints: Legs, before: Legs, resting: Set[int], findings: list[Finding]
) -> dict[str, EndpointAllocation]:
    """Everyone's leg number, kept; new ones take the lowest that nobody has or had of late, in the
    order of their names.
    """
    kept = {name: before[name] for name in endpoints if name in before and before[name].leg}
    taken = {one.leg for one in kept.values()} | resting
    free = (number for number in range(1, len(endpoints) + len(taken) + 1) if number not in taken)
    if len(endpoints) + len(resting) > LEG_MAX and resting:
        text = (
            f"the {len(endpoints)} endpoints and {len(resting)} legs that rest by"
            f" gateway.quarantine are more than {LEG_MAX}"
        )
        findings.append(
            Finding(
                "quarantined",
                f"networks.{path}.endpoints",
                text,
                "wait, or shorten `gateway.quarantine`",
            )
        )
    return {
        name: (
            dataclasses.replace(one, leg=kept[name].leg, vni=kept[name].vni)
            if name in kept
            else dataclasses.replace(one, leg=next(free))
        )
        for name, one in endpoints.items()
    }


def vnis(
    meshes: Mapping[str, Network],
    segments: Mapping[str, Legs],
    ids: Mapping[str, int],
    resting: Mapping[int, tuple[str, str]],
    findings: list[Finding],
) -> dict[str, dict[str, EndpointAllocation]]:
    """A VNI for every leg of every l2-mesh; `l2_ids` has the legs by network, with the VNIs that
    were held.
    """
    wanted = {
        (name, one): _by_vlan(ids[name], allocation.leg)
        for name in meshes
        for one, allocation in segments[name].items()
    }
    given: dict[tuple[str, str], int] = {}
    owner: dict[int, tuple[str, str]] = {}
    for pair, choice in wanted.items():
        had = segments[pair[0]][pair[1]].vni
        if had and had not in owner and (had == choice or _is_spare(meshes[pair[0]], had)):
            given[pair], owner[had] = had, pair
    for pair, choice in wanted.items():
        if pair in given:
            continue
        candidates = chain((choice,) if choice else (), _spares(meshes[pair[0]]))
        vni = next(
            (item for item in candidates if item not in owner and resting.get(item, pair) == pair),
            None,
        )
        if vni is None:
            findings.append(_exhausted(*pair))
            continue
        given[pair], owner[vni] = vni, pair
    return {
        name: {
            one: dataclasses.replace(allocation, vni=given.get((name, one)))
            for one, allocation in segments[name].items()
        }
        for name in meshes
    }


def _by_vlan(vlan: int, leg: int) -> int:
    return 100_000 + vlan * 100 + leg if leg <= LEGS_BY_VLAN else 0


def _is_spare(network: Network, vni: int) -> bool:
    return vni in network.vni_pool if network.vni_pool is not None else vni >= FIRST_SPARE_VNI


def _spares(network: Network) -> Iterator[int]:
    return (
        iter(network.vni_pool)
        if network.vni_pool is not None
        else iter(range(FIRST_SPARE_VNI, VNI_MAX + 1))
    )


def _exhausted(network: str, endpoint: str) -> Finding:
    text = f"no VNI is left for endpoint {endpoint}"
    return Finding("pool-exhausted", f"networks.{network}.vni_pool", text, "widen vni_pool")
