"""Make the JSON of status, list and show from one observation of the kernel and the intent. Pure.

A network is in sync when its part of the plan is empty, no foreign object is in its way, and this
machine can build it. A network that is built and has a problem, such as no uplink to leave by, is
in sync as well: there is nothing that warpd could do. Its problem is shown.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from typing import Any

from warpd import naming
from warpd.allocation.quarantine import Quarantine
from warpd.intent.model import Resource
from warpd.kernel.kinds.wireguard import WireguardDevice, peer_key
from warpd.kernel.state import Key, PeerTraffic, session_age_s
from warpd.networks.isolation import placement_of
from warpd.networks.peer_keys import public_key_of
from warpd.networks.resolved import ResolvedNetwork
from warpd.reconcile.engine import PlannedRun, Target
from warpd.service.views.render import VERSION, problems_json
from warpd.service.views.suspension import suspended_json

GONE = PeerTraffic(0, 0, 0, "")


def status_json(target: Target, found: PlannedRun, now_s: int) -> dict[str, Any]:
    """Return every network and endpoint as it is in the kernel.

    Args:
        target: the target.
        found: the observation and the plan.
        now_s: seconds since the epoch, for the age of handshakes.
    """
    networks = [network_json(target, found, name, now_s) for name in sorted(target.intent.networks)]
    pending = sorted({step.network for step in found.plan.steps})
    return {
        "version": VERSION,
        "gateway": target.intent.gateway.name or found.observed.host.hostname,
        "uplink": found.observed.host.uplink,
        "in_sync": found.plan.empty and not found.compiled.stopped,
        "pending_networks": pending,
        "blocked": [
            {"object": str(item.key), "foreign": item.foreign, "unread": item.unread}
            for item in found.plan.blocked
        ],
        "problems": problems_json(found.compiled.problems),
        "drops": _drops(found, ""),
        "networks": networks,
    }


def network_json(target: Target, found: PlannedRun, name: str, now_s: int) -> dict[str, Any]:
    """Return one network with its endpoints, as in `status_json`."""
    network = _resolved(target, found, name)
    suspended = target.suspended
    group = network.group
    place = placement_of(network)
    changes = sum(step.group == group for step in found.plan.steps)
    device = found.observed.state.get(Key(WireguardDevice.KIND, place.netns, place.tunnel))
    blocked = [item.foreign or item.text for item in found.plan.blocked if item.group == group]
    problems = problems_json(item for item in found.compiled.problems if item.group == group)
    return {
        **network_allocation_json(target, found, name),
        "enabled": network.intent.enabled,
        "up": device is not None,
        "in_sync": not changes and not blocked and group not in found.compiled.stopped,
        "changes": changes,
        "blocked": blocked,
        "problems": problems,
        "drops": _drops(found, group),
        "objects": _objects_by_phase(found, group),
        "endpoints": [
            {
                **_endpoint_json(target, found, network, endpoint, now_s),
                "suspended": suspended_json(suspended.get((name, endpoint))),
            }
            for endpoint in sorted(network.intent.endpoints)
        ],
    }


def _objects_by_phase(found: PlannedRun, group: str) -> dict[str, int]:
    """Return how many objects of each phase a network should have; {} for one that this machine
    cannot build.
    """
    part = found.compiled.parts.get(group)
    if part is None:
        return {}
    counts = Counter(item.phase for item in part.state.objects.values())
    return {phase.name.lower(): counts[phase] for phase in sorted(counts)}


def _resolved(target: Target, found: PlannedRun, name: str) -> ResolvedNetwork:
    return target.resolved(name, found.observed.host)


def network_allocation_json(target: Target, found: PlannedRun, name: str) -> dict[str, Any]:
    """Return what a network is and has: its type, its numbers and addresses, its policy."""
    network = _resolved(target, found, name)
    allocation = network.allocation
    return {
        "network": name,
        "name": name,
        "type": network.intent.type,
        "ethernet": network.intent.traits.ethernet,
        "egress": network.intent.traits.egress,
        "description": network.intent.description,
        "vcid": network.vcid,
        "isolation": network.isolation,
        "netns": placement_of(network).netns or None,
        "device": naming.tunnel(network.vcid),
        "subnet": str(network.subnet),
        "subnet6": _text(network.subnet6),
        "gateway_address": str(network.gateway_address),
        "gateway_address6": _text(network.gateway_address6),
        "port": allocation.port,
        "routing_table": allocation.routing_table,
        "transit": str(allocation.transit),
        "mtu": network.mtu,
        **_policy_json(network),
    }


def _text(value: object) -> str | None:
    return str(value) if value is not None else None


def _policy_json(network: ResolvedNetwork) -> dict[str, Any]:
    """Return what a network permits and how much of it, with the values that apply by default."""
    intent, share = network.intent, network.shares.network
    return {
        "expected_users": intent.expected_users,
        "peer_communication": bool(intent.peer_communication),
        "nat": intent.nat,
        "nat6": intent.nat6,
        "dns": [str(server) for server in network.dns],
        "allow_private": [str(prefix) for prefix in intent.allow_private],
        "resources": [_resource_json(resource) for resource in intent.resources],
        "vlan_id": intent.vlan_id,
        "vlan_range": _text(intent.vlan_range),
        "limits": {"connections": share.connections, "connections_per_second": share.per_second},
    }


def _resource_json(resource: Resource) -> dict[str, Any]:
    return {
        "subnet": str(resource.subnet),
        "protocol": resource.protocol,
        "ports": [str(ports) for ports in resource.ports or ()],
        "via": resource.via,
        "description": resource.description,
    }


def quarantine_json(quarantine: Quarantine) -> list[dict[str, Any]]:
    """Return the quarantined allocations, who had them, and until when they are quarantined.

    `endpoint` is null for what a network had itself.
    """
    return [
        {
            "network": row.network,
            "endpoint": row.endpoint or None,
            "until": datetime.fromtimestamp(quarantine.until(row), UTC).isoformat(),
            "values": dict(row.values),
        }
        for row in quarantine.rows
    ]


def _drops(found: PlannedRun, netns: str) -> dict[str, dict[str, int]]:
    """Return reason -> what was dropped for it in a network; "" is the gateway itself."""
    counts = found.observed.drops.get(netns, {})
    return {
        reason: {"packets": packets, "bytes": size}
        for reason, (packets, size) in sorted(counts.items())
    }


def _endpoint_json(
    target: Target, found: PlannedRun, network: ResolvedNetwork, name: str, now_s: int
) -> dict[str, Any]:
    resolved = network.endpoint(name)
    endpoint = resolved.intent
    public = public_key_of(resolved.key_name, endpoint, network.vcid, target.master)
    place = placement_of(network)
    traffic = found.observed.traffic.get(peer_key(place.netns, place.tunnel, public))
    return {
        "network": network.name,
        "name": name,
        "type": endpoint.type,
        "description": endpoint.description,
        "enabled": endpoint.enabled,
        **_expiry_json(endpoint.expires, target.today),
        "in_force": network.intent.enabled and network.is_in_force(name),
        "in_kernel": traffic is not None,
        "address": str(resolved.address),
        "address6": _text(resolved.address6),
        "public_key": public,
        "routes": [str(route) for route in endpoint.routes],
        **_traffic_json(traffic or GONE, now_s),
    }


def _expiry_json(expires: date | None, today: date) -> dict[str, Any]:
    if expires is None:
        return {"expires": None, "expires_in_days": None}
    return {"expires": expires.isoformat(), "expires_in_days": (expires - today).days}


def _traffic_json(traffic: PeerTraffic, now_s: int) -> dict[str, Any]:
    """Return what the kernel has counted of a peer."""
    return {
        "last_handshake": traffic.handshake or None,
        "handshake_age_s": session_age_s(traffic.handshake, now_s),
        "received_bytes": traffic.received,
        "sent_bytes": traffic.sent,
        "endpoint": traffic.endpoint or None,
    }
