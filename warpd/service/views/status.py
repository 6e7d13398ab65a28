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
from warpd.kernel.state import ROOT, Key, PeerTraffic
from warpd.networks.compiler import dns_of, in_force, isolation_of, public_key_of, site_of
from warpd.networks.limits import network_share
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
    network, allocation = goal.intent.networks[name], goal.allocations.networks[name]
    group = naming.namespace(allocation.vcid)
    changes = sum(step.group == group for step in found.plan.steps)
    room = group if isolation_of(network, goal.intent.gateway) == "namespace" else ROOT
    up = (
        found.observed.state.get(Key(WireguardDevice.KIND, room, naming.tunnel(allocation.vcid)))
        is not None
    )
    blocked = [item.foreign for item in found.plan.blocked if item.group == group]
    problems = problems_json(item for item in found.compiled.problems if item.group == group)
    return {
        **network_allocation_json(goal, found, name),
        "enabled": network.enabled,
        "up": up,
        "in_sync": not changes and not blocked and group not in found.compiled.stopped,
        "changes": changes,
        "blocked": blocked,
        "problems": problems,
        "drops": _drops(found, group),
        "endpoints": [
            endpoint_json(goal, found, name, each, now_s) for each in sorted(network.endpoints)
        ],
    }


def network_allocation_json(goal: Target, found: PlannedRun, name: str) -> dict[str, Any]:
    network, allocation = goal.intent.networks[name], goal.allocations.networks[name]
    site = site_of(name, network, allocation, found.observed.host, goal.today, goal.intent.gateway)
    return {
        "network": name,
        "name": name,
        "type": network.type,
        "description": network.description,
        "vcid": allocation.vcid,
        "isolation": isolation_of(network, goal.intent.gateway),
        "netns": (
            naming.namespace(allocation.vcid)
            if isolation_of(network, goal.intent.gateway) == "namespace"
            else None
        ),
        "device": naming.tunnel(allocation.vcid),
        "subnet": str(allocation.subnet),
        "subnet6": str(site.subnet6) if site.subnet6 else None,
        "gateway_address": str(allocation.gateway_address),
        "gateway_address6": str(site.gateway_address6) if site.gateway_address6 else None,
        "port": allocation.port,
        "routing_table": allocation.routing_table,
        "transit": str(allocation.transit),
        "mtu": site.mtu,
        **_policy_json(goal, found, name),
    }


def _policy_json(goal: Target, found: PlannedRun, name: str) -> dict[str, Any]:
    """What the YAML lets pass and how much of it, with the gateway's own values and the defaults
    where it says nothing.
    """
    network = goal.intent.networks[name]
    share = network_share(network, goal.intent.gateway, found.observed.host.conntrack_max)
    return {
        "expected_users": network.expected_users,
        "peer_communication": bool(network.peer_communication),
        "nat": network.nat,
        "nat6": network.nat6,
        "dns": (
            [str(server) for server in dns_of(network, goal.intent.gateway)]
            if _gives_dns(network)
            else []
        ),
        "allow_private": [str(prefix) for prefix in network.allow_private],
        "resources": [_resource_json(resource) for resource in network.resources],
        "vlan_id": network.vlan_id,
        "vlan_range": str(network.vlan_range) if network.vlan_range is not None else None,
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
    network, allocation = (
        goal.intent.networks[network_name],
        goal.allocations.networks[network_name],
    )
    endpoint = network.endpoints[name]
    addresses = allocation.endpoints[name]
    public = public_key_of(addresses.key_name or name, endpoint, allocation.vcid, goal.master)
    netns = (
        naming.namespace(allocation.vcid)
        if isolation_of(network, goal.intent.gateway) == "namespace"
        else ROOT
    )
    traffic = found.observed.traffic.get(peer_key(netns, naming.tunnel(allocation.vcid), public))
    seen = traffic or GONE
    return {
        "network": network_name,
        "name": name,
        "type": endpoint.type,
        "description": endpoint.description,
        "enabled": endpoint.enabled,
        "expires": endpoint.expires.isoformat() if endpoint.expires else None,
        "expires_in_days": (endpoint.expires - goal.today).days if endpoint.expires else None,
        "in_force": network.enabled and in_force(endpoint, goal.today),
        "in_kernel": traffic is not None,
        "address": str(addresses.address),
        "address6": str(addresses.address6) if network.ipv6 else None,
        "public_key": public,
        "routes": [str(route) for route in endpoint.routes],
        "last_handshake": seen.handshake or None,
        "handshake_age_s": max(0, now_s - seen.handshake) if seen.handshake else None,
        "received_bytes": seen.received,
        "sent_bytes": seen.sent,
        "endpoint": seen.endpoint or None,
    }
