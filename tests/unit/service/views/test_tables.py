"""What `status`, `network show` and `endpoint show` print, of the JSON that a look makes; all
within 80 columns.
"""

from __future__ import annotations

import json
from typing import Any

from tests import world
from warpd.cli.inspect import status_text
from warpd.cli.tables import endpoint_page, network_lines, network_page, networks_summary
from warpd.reconcile.engine import converge
from warpd.reconcile.incremental import planned_run
from warpd.service.views.status import status_json
from warpd.testing.fake_kernel import FakeKernel

NOW_S = 2_000_000_000
WIDTH = 80


def look(**networks: dict[str, Any]) -> dict[str, Any]:
    """The status of a gateway with these networks, all applied."""
    kernel = FakeKernel()
    target = world.target(world.intent(**networks))
    converge(kernel, lambda: planned_run(kernel, target), planned_run(kernel, target))
    data = json.loads(json.dumps(status_json(target, planned_run(kernel, target), NOW_S)))
    for network in data["networks"]:
        for row in network["endpoints"]:
            row["in_kernel"] = row["in_force"]  # the fake kernel counts nobody's traffic
    return {**data, "warnings": [], "quarantine": []}


def page(**network: Any) -> str:
    text = "\n".join(network_page(look(net=network)["networks"][0]))
    assert all(len(line) <= WIDTH for line in text.splitlines())
    return text


def test_what_a_resource_gateway_is_about() -> None:
    resources = [
        {"subnet": "172.20.0.0/16", "protocol": "tcp", "ports": [443, "8000-8100"]},
        {"subnet": "172.21.1.5/32"},
        {"subnet": "192.168.77.0/24", "via": "hq"},
    ]
    endpoints = {
        "hq": {"type": "cpe", "routes": ["192.168.77.0/24"]},
        "off": {"type": "mobile", "enabled": False},
    }
    limits = {"connections": 500, "connections_per_second": 20}
    about = {
        "description": "head office",
        "resources": resources,
        "endpoints": endpoints,
        "limits": limits,
    }
    text = page(type="remote-resource-gateway", dns=["172.20.0.53"], **about)
    words = " ".join(text.split())
    assert text.startswith("net: head office, in sync\n")
    for said in (
        "type remote-resource-gateway",
        "resources 172.20.0.0/16 tcp/443,8000-8100; 172.21.1.5/32; 192.168.77.0/24 via hq",
        "routes 192.168.77.0/24 by hq",
        "DNS 172.20.0.53",
        "limits 500 connections, 20 new ones a second",
        "endpoints 2 endpoints: 1 never connected, 1 disabled",
    ):
        assert said in words, text
    assert "True" not in text and "None" not in text


def test_what_the_other_types_are_about() -> None:
    phone = {"phone": {"type": "mobile"}}
    internet = " ".join(
        page(
            type="secure-internet", endpoints=phone, allow_private=["10.9.0.0/16"], ipv6=False
        ).split()
    )
    assert (
        "internet by NAT" in internet
        and "peers blocked" in internet
        and "private too 10.9.0.0/16" in internet
    )
    assert "IPv6 off, and blocked" in internet and "DNS 9.9.9.9" in internet
    wires = page(
        type="l2-point-to-point",
        vlan_range="100-110",
        endpoints={"left": {"type": "cpe"}, "right": {"type": "cpe"}},
    )
    assert "tagged VLANs  100-110" in wires
    vrf = page(type="l3vpn-gateway", isolation="vrf", endpoints={"a": {"type": "cpe"}})
    assert "VRF vrf-" in vrf and "routing table" in vrf and "namespace" not in vrf


def test_a_network_that_is_off_says_so() -> None:
    text = page(type="secure-internet", enabled=False, endpoints={})
    assert (
        text.startswith("net: secure-internet, disabled\n")
        and "not in the kernel" not in text
        and "0 endpoints" in text
    )


def test_networks_are_counted() -> None:
    off = {"type": "secure-internet", "enabled": False, "endpoints": {}}
    seen = look(a=world.network(3), b=world.network(1), c=off)["networks"]
    seen[0]["endpoints"][0]["handshake_age_s"] = 5
    seen[1]["in_sync"] = False
    assert (
        networks_summary(seen)
        == "3 networks: 1 in sync, 1 not in sync, 1 disabled; 4 endpoints, 1 online"
    )
    assert networks_summary([]) == "0 networks"


def test_status_of_a_large_network_shows_some_and_counts_all() -> None:
    data = look(big=world.network(100))
    lines = network_lines(data["networks"][0])
    assert len(lines) < 30 and any("100 endpoints: 100 never connected" in line for line in lines)
    assert any("`warpctl endpoint list big`" in line for line in lines)
    shown = [line.split()[0] for line in lines[2:-2]]
    assert shown == [f"e{number}" for number in range(1, len(shown) + 1)], "in the order of people"
    assert all(len(line) <= WIDTH for line in lines)


def test_quarantine_is_counted_in_status_and_listed_elsewhere() -> None:
    gone = [
        {"network": "n", "endpoint": f"e{each}", "until": "T", "values": {"address": "10.0.0.1"}}
        for each in range(9)
    ]
    text = status_text({**look(n=world.network(1)), "quarantine": gone})
    assert "9 former owners of quarantined allocations" in text and "10.0.0.1" not in text


def test_one_endpoint_in_full() -> None:
    row = look(n=world.network(1))["networks"][0]["endpoints"][0]
    text = "\n".join(endpoint_page({**row, "config_version": 3, "config_exported": False}))
    assert (
        text.startswith("n/e1: present, not exported\n")
        and "config        version 3, never exported" in text
    )
    assert (
        "[]" not in text
        and "None" not in text
        and all(len(line) <= WIDTH for line in text.splitlines())
    )
