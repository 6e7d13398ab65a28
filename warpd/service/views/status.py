"""One look at the kernel beside the intent -> the JSON that status, list and show print. Pure.

A network is in sync when its part of the plan is empty and nothing of it is withheld: no foreign
object is in the way, and this machine can build it. One that is built and has a problem all the
same (no uplink to leave by) is in sync, and names it: there is nothing that warpd would do. Nothing
here changes or asks the kernel.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from warpd import naming
from warpd.allocation.renames import Quarantine
from warpd.intent.model import Network, Resource
from warpd.kernel.kinds.wireguard import WireguardDevice, peer_key
from warpd.kernel.state import Key, PeerTraffic
from warpd.networks.isolation import placement_of
from warpd.networks.peer_keys import public_key_of
from warpd.networks.resolved import ResolvedNetwork, resolve_named
from warpd.reconcile.engine import PlannedRun, Target
from warpd.service.views.render import VERSION, problems_json

GONE = PeerTraffic(0, 0, 0, "")


def status_json(goal: Target, found: PlannedRun, now_s: int) -> dict[str, Any]:
    """Every network and endpoint as it is in the kernel; `now_s` is seconds since the epoch, for
    handshake ages.
    """
    networks = [network_json(goal, found, name, now_s) for name in sorted(goal.intent.networks)]
    waiting = sorted({step.network for step in found.plan.steps})
    return {
        "version": VERSION,
        "gateway": goal.intent.gateway.name or found.observed.host.hostname,
        "uplink": found.observed.host.uplink,
        "in_sync": found.plan.empty and not found.compiled.stopped,
        "waiting": waiting,
        "blocked": [
            {"object": str(item.key), "foreign": item.foreign} for item in found.plan.blocked
        ],
        "problems": problems_json(found.compiled.problems),
        "drops": _drops(found, ""),
        "networks": networks,
    }


def network_json(goal: Target, found: PlannedRun, name: str, now_s: int) -> dict[str, Any]:
    network = _resolved(goal, found, name)
    group = network.group
    place = placement_of(network)
    changes = sum(step.group == group for step in found.plan.steps)
    device = found.observed.state.get(Key(WireguardDevice.KIND, place.netns, place.tunnel))
    blocked = [item.foreign for item in found.plan.blocked if item.group == group]
    problems = problems_json(item for item in found.compiled.problems if item.group == group)
    return {
        **network_allocation_json(goal, found, name),
        "enabled": network.intent.enabled,
        "up": device is not None,
        "in_sync": not changes and not blocked and group not in found.compiled.stopped,
        "changes": changes,
        "blocked": blocked,
        "problems": problems,
        "drops": _drops(found, group),
        "endpoints": [
            _endpoint_json(goal, found, network, each, now_s)
            for each in sorted(network.intent.endpoints)
        ],
    }


def _resolved(goal: Target, found: PlannedRun, name: str) -> ResolvedNetwork:
    return resolve_named(name, goal.intent, goal.allocations, found.observed.host, goal.today)


def network_allocation_json(goal: Target, found: PlannedRun, name: str) -> dict[str, Any]:
    network = _resolved(goal, found, name)
    allocation = network.allocation
    return {
        "network": name,
        "name": name,
        "type": network.intent.type,
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
    """What the YAML lets pass and how much of it, with the gateway's own values and the defaults
    where it says nothing.
    """
    intent, share = network.intent, network.shares.network
    return {
        "expected_users": intent.expected_users,
        "peer_communication": bool(intent.peer_communication),
        "nat": intent.nat,
        "nat6": intent.nat6,
        "dns": [str(server) for server in network.dns] if _gives_dns(intent) else [],
        "allow_private": [str(prefix) for prefix in intent.allow_private],
        "resources": [_resource_json(resource) for resource in intent.resources],
        "vlan_id": intent.vlan_id,
        "vlan_range": _text(intent.vlan_range),
        "limits": {"connections": share.connections, "connections_per_second": share.per_second},
    }


def _gives_dns(network: Network) -> bool:
    """Whether its clients are told of name servers: those of the gateway are for clients that send
    everything here.
    """
    return network.dns is not None or network.traits.internet


def _resource_json(resource: Resource) -> dict[str, Any]:
    return {
        "subnet": str(resource.subnet),
        "protocol": resource.protocol,
        "ports": [str(ports) for ports in resource.ports or ()],
        "via": resource.via,
        "description": resource.description,
    }


def quarantine_json(rest: Quarantine) -> list[dict[str, Any]]:
    """What nobody else gets yet, who had it, and until when; `endpoint` is null for what was a
    network's own.
    """
    return [
        {
            "network": row.network,
            "endpoint": row.endpoint or None,
            "until": datetime.fromtimestamp(rest.until(row), UTC).isoformat(),
            "values": dict(row.values),
        }
        for row in rest.rows
    ]


def _drops(found: PlannedRun, netns: str) -> dict[str, dict[str, int]]:
    counts = found.observed.drops.get(netns, {})
    return {
        reason: {"packets": packets, "bytes": size}
        for reason, (packets, size) in sorted(counts.items())
    }


def endpoint_json(
    goal: Target, found: PlannedRun, network_name: str, name: str, now_s: int
) -> dict[str, Any]:
    return _endpoint_json(goal, found, _resolved(goal, found, network_name), name, now_s)


def _endpoint_json(
    goal: Target, found: PlannedRun, network: ResolvedNetwork, name: str, now_s: int
) -> dict[str, Any]:
    resolved = network.endpoint(name)
    endpoint = resolved.intent
    public = public_key_of(resolved.key_name, endpoint, network.vcid, goal.master)
    place = placement_of(network)
    traffic = found.observed.traffic.get(peer_key(place.netns, place.tunnel, public))
    seen = traffic or GONE
    return {
        "network": network.name,
        "name": name,
        "type": endpoint.type,
        "description": endpoint.description,
        "enabled": endpoint.enabled,
        "expires": endpoint.expires.isoformat() if endpoint.expires else None,
        "expires_in_days": (endpoint.expires - goal.today).days if endpoint.expires else None,
        "in_force": network.intent.enabled and network.is_in_force(name),
        "in_kernel": traffic is not None,
        "address": str(resolved.address),
        "address6": _text(resolved.address6),
        "public_key": public,
        "routes": [str(route) for route in endpoint.routes],
        "last_handshake": seen.handshake or None,
        "handshake_age_s": max(0, now_s - seen.handshake) if seen.handshake else None,
        "received_bytes": seen.received,
        "sent_bytes": seen.sent,
        "endpoint": seen.endpoint or None,
    }
