"""Client configs of every network type for tests, made by the same functions as the product's."""

from __future__ import annotations

import dataclasses
from datetime import date
from typing import Any

from tests import world
from warpd.allocation.allocator import allocate
from warpd.allocation.model import Allocations
from warpd.clients.config import ClientConfig, client_config
from warpd.intent.model import Intent
from warpd.kernel.state import Host
from warpd.keys import derivation
from warpd.keys.derivation import Master, Secret
from warpd.networks.resolved import WIREGUARD_OVERHEAD, resolve_named

VNI = 110001
HQ = {"type": "cpe", "routes": ["192.168.77.0/24"]}
SITES = {
    "berlin": {"type": "cpe", "routes": ["192.168.10.0/24", "fd00:10::/64"]},
    "paris": {"type": "cpe", "routes": ["192.168.20.0/24"]},
}
RESOURCES = [
    {"subnet": "172.20.0.0/16", "protocol": "tcp", "ports": [443]},
    {"subnet": "172.20.0.0/16", "protocol": "udp", "ports": [53]},
    {"subnet": "192.168.77.0/24", "via": "hq"},
    {"subnet": "2001:db8:7::/64"},
]
NETWORKS: dict[str, dict[str, Any]] = {
    "secure-internet": {
        "expected_users": 2,
        "endpoints": {"phone": {"type": "mobile"}, "tablet": {"type": "mobile"}},
    },
    "remote-resource-gateway": {
        "resources": RESOURCES,
        "endpoints": {"laptop": {"type": "mobile"}, "hq": HQ},
    },
    "l3vpn-gateway": {"endpoints": SITES},
    "l2-point-to-point": {"endpoints": {"left": {"type": "cpe"}, "right": {"type": "cpe"}}},
    "l2-mesh": {"vlan_id": 100, "endpoints": {"a": {"type": "cpe"}, "b": {"type": "cpe"}}},
}
FIRST = {kind: next(iter(body["endpoints"])) for kind, body in NETWORKS.items()}


def made(
    kind: str, endpoint: str = "", host: str = "vpn.example.com", mtu: int = 1420, **fields: Any
) -> ClientConfig:
    """The config of one endpoint (the first by default) of a network of this type, with `fields` of
    the network.
    """
    intent, allocations = given(kind, **fields)
    name = endpoint or FIRST[kind]
    return config_of(
        intent, allocations, world.MASTER, "net", name, public_host=host, mtu=mtu, today=world.TODAY
    )


def config_of(
    intent: Intent,
    allocations: Allocations,
    master: Master,
    network: str,
    endpoint: str,
    *,
    public_host: str,
    mtu: int = 1420,
    today: date = date.min,
) -> ClientConfig:
    """The config of one endpoint on a host whose uplink leaves so many bytes to a tunnel."""
    host = Host(uplink_mtu=mtu + WIREGUARD_OVERHEAD)
    resolved = resolve_named(network, intent, allocations, host, today)
    return client_config(resolved, intent.gateway, master, endpoint, public_host=public_host)


def given(kind: str, **fields: Any) -> tuple[Intent, Allocations]:
    body = {"type": kind, **NETWORKS[kind], **fields}
    intent = Intent.model_validate({"version": 1, "networks": {"net": body}})
    allocations, findings = allocate(intent, Allocations())
    assert not [finding for finding in findings if finding.is_error], findings
    return intent, with_vnis(allocations)


def with_vnis(allocations: Allocations) -> Allocations:
    """The n-th endpoint's VNI is VNI + n."""
    net = allocations.networks["net"]
    endpoints = {
        name: dataclasses.replace(endpoint, leg=leg, vni=VNI + leg)
        for leg, (name, endpoint) in enumerate(sorted(net.endpoints.items()))
    }
    return Allocations({"net": dataclasses.replace(net, endpoints=endpoints)})


def gateway_key(config: ClientConfig) -> Secret:
    return derivation.network_key(world.MASTER, config.vcid)


def gateway_addresses(kind: str) -> list[str]:
    """The gateway's own addresses in such a network."""
    net = given(kind)[1].networks["net"]
    return [str(net.gateway_address), str(net.gateway_address6)]
