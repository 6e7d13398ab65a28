"""Worlds for tests: intents in a few words, and targets made from them.

No mock: the same functions as the product.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from warpd.allocation.allocator import allocate
from warpd.allocation.model import Allocations
from warpd.intent.model import Intent
from warpd.keys.derivation import Secret
from warpd.reconcile.engine import Target

MASTER = Secret(bytes(range(32)))
TODAY = date(2026, 1, 1)


def network(endpoints: int = 2, **fields: Any) -> dict[str, Any]:
    names = [f"e{number}" for number in range(1, endpoints + 1)]
    body: dict[str, Any] = {
        "type": "secure-internet",
        "endpoints": {name: {"type": "mobile"} for name in names},
    }
    return body | {"expected_users": max(endpoints, 6)} | fields


def every_type(isolation: str) -> dict[str, dict[str, Any]]:
    """One network of each type, with all that is special to it; names begin with the mode's first
    letter.
    """
    cpe = {"type": "cpe"}
    bodies: dict[str, dict[str, Any]] = {
        "web": network(2, allow_private=["10.9.0.0/16"], dns=["10.8.8.8"]),
        "corp": {
            "type": "remote-resource-gateway",
            "resources": [
                {"subnet": "172.20.0.0/16", "protocol": "tcp", "ports": [443, "8000-8100"]},
                {"subnet": "172.21.1.5/32"},
                {"subnet": "fd55::/64", "protocol": "icmp"},
                {"subnet": "192.168.77.0/24", "protocol": "udp", "via": "hq"},
            ],
            "endpoints": {"lap": {"type": "mobile"}, "hq": {**cpe, "routes": ["192.168.77.0/24"]}},
        },
        "sites": {
            "type": "l3vpn-gateway",
            "endpoints": {
                "berlin": {**cpe, "routes": ["192.168.10.0/24", "fd00:10::/64"]},
                "paris": {
                    "type": "gateway",
                    "routes": ["192.168.20.0/24"],
                    "endpoint": "198.51.100.7:51820",
                    "keepalive": 25,
                },
            },
        },
        "wire": {
            "type": "l2-point-to-point",
            "vlan_range": "100-110",
            "endpoints": {"left": cpe, "right": cpe},
        },
        "whole": {
            "type": "l2-point-to-point",
            "bridge_name": f"{isolation[0]}lan0",
            "endpoints": {"a": cpe, "b": cpe},
        },
        "campus": {"type": "l2-mesh", "endpoints": {"a": cpe, "b": cpe, "c": cpe}},
        "trunk": {"type": "l2-mesh", "vlan_range": "200-210", "endpoints": {"a": cpe, "b": cpe}},
    }
    return {
        f"{isolation[0]}_{name}": {**body, "isolation": isolation} for name, body in bodies.items()
    }


def intent(gateway: dict[str, Any] | None = None, **networks: dict[str, Any]) -> Intent:
    named = {name.replace("_", "-"): body for name, body in networks.items()}
    return Intent.model_validate({"version": 1, "gateway": gateway or {}, "networks": named})


def target(wanted: Intent, old: Allocations | None = None) -> Target:
    allocations, findings = allocate(wanted, old or Allocations({}))
    assert not [finding for finding in findings if finding.is_error], findings
    return Target(wanted, allocations, MASTER, TODAY)
