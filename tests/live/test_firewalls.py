"""Firewalls of others as real kernels list them, and a taken port: what is said, and that it goes
when the hint is followed.
"""

from __future__ import annotations

import socket

import pytest

from tests import world
from tests.live.conftest import sh
from warpd.kernel.linux import udp_ports
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.kernel.state import ROOT, Host
from warpd.reconcile.engine import converge
from warpd.reconcile.incremental import planned_run
from warpd.service.views.advice import host_warnings, uncertain_chains
from warpd.service.views.report import taken_ports, taken_vxlan_port

TARGET = world.target(world.intent(a=world.network(1), v=world.network(1, isolation="vrf")))

CPE = {"type": "cpe"}
MESH = world.target(
    world.intent(campus={"type": "l2-mesh", "isolation": "vrf", "endpoints": {"a": CPE, "b": CPE}})
)

# As iptables writes them: states by a match of its own, REJECT as a target of its own.
IPTABLES = """
iptables-nft -P FORWARD DROP
iptables-nft -N DOCKER-USER
iptables-nft -A FORWARD -j DOCKER-USER
iptables-nft -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables-nft -A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
iptables-nft -A INPUT -i lo -m comment --comment lo -j ACCEPT
iptables-nft -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
iptables-nft -A INPUT -j REJECT --reject-with icmp-host-prohibited
"""
REJECTING = """nft -f - <<'END'
table inet filter {
  map zones { type ifname : verdict; elements = { "eth0" : goto public } }
  chain public { tcp dport 22 accept; reject with icmpx type admin-prohibited; }
  chain input { type filter hook input priority 10; policy accept; ct state established,related accept; iifname vmap @zones; }
  chain forward {
    type filter hook forward priority 10; policy accept;
    ct state vmap { established : accept, related : accept }
    reject
  }
}
END
"""
OPEN = """nft -f - <<'END'
table inet filter {
  set ports { type inet_service; flags interval; elements = { 51820-51829 } }
  chain input { type filter hook input priority 10; policy drop; udp dport @ports accept; }
  chain forward { type filter hook forward priority 10; policy accept; ct state invalid drop; }
}
END
"""
# At hooks other than input and forward, and a forward chain that lets some sources through.
ELSEWHERE = """nft -f - <<'END'
table netdev edge {
  chain in { type filter hook ingress device "eth0" priority -500; policy accept; udp dport 51820 drop; }
  chain out { type filter hook egress device "eth0" priority 0; policy accept; udp sport 51820 drop; }
}
table inet hosts {
  chain raw { type filter hook prerouting priority raw; policy accept; udp dport 51821 drop; }
  chain pre { type filter hook prerouting priority mangle; policy accept; iifname "wg-*" drop; iifname "dn-*" drop; }
  chain output { type route hook output priority mangle; policy drop; tcp dport 53 accept; }
  chain post { type filter hook postrouting priority mangle; policy accept; oifname "eth0" ip saddr { 10.0.0.0/8, 198.18.0.0/15 } drop; }
  chain forward {
    type filter hook forward priority filter; policy accept;
    ct state established,related accept
    ip saddr 192.168.0.0/16 accept
    reject
  }
}
END
"""


def host(kernel: LiveKernel) -> Host:
    found = kernel.dump(ROOT).host
    assert found is not None
    return found


def warnings(kernel: LiveKernel) -> list[dict[str, str]]:
    return list(host_warnings(host(kernel), TARGET.allocations, TARGET.intent))


@pytest.mark.parametrize("rules", [IPTABLES, REJECTING], ids=["iptables", "nft"])
def test_what_is_refused_is_said_and_the_hint_helps(gateway: LiveKernel, rules: str) -> None:
    assert warnings(gateway) == []
    sh(rules)
    found = warnings(gateway)
    assert [
        "what clients send to UDP port" in found[0]["message"],
        "what clients send of a, v" in found[1]["message"],
    ] == [True] * 2
    for warning in found:
        for command in warning["hint"].splitlines()[1:]:
            sh(command.replace("{", "'{").replace("}", "}'"))
    assert warnings(gateway) == []
    assert uncertain_chains(host(gateway), TARGET.allocations, TARGET.intent) == []


def test_what_is_dropped_elsewhere_is_said_and_the_hint_helps(gateway: LiveKernel) -> None:
    sh(ELSEWHERE)
    found = warnings(gateway)
    named = sorted(warning["message"].split()[1:4] for warning in found)
    chains = ("forward", "output", "post", "pre", "raw")
    assert named == [
        *(["inet", "hosts", chain] for chain in chains),
        ["netdev", "edge", "in"],
        ["netdev", "edge", "out"],
    ]
    for warning in found:
        for command in warning["hint"].splitlines()[1:]:
            sh(command.replace("{", "'{").replace("}", "}'"))
    assert warnings(gateway) == []
    assert uncertain_chains(host(gateway), TARGET.allocations, TARGET.intent) == []


def test_rules_that_let_us_through_are_silent(gateway: LiveKernel) -> None:
    sh(OPEN)
    assert warnings(gateway) == []
    sh(
        "nft delete element inet filter ports '{ 51820-51829 }'; nft add element inet filter ports"
        " '{ 51820 }'"
    )
    assert [warning["message"].rpartition(" ")[2] for warning in warnings(gateway)] == ["51821"]


def test_a_taken_port_is_said_before_the_kernel_refuses_it(gateway: LiveKernel) -> None:
    port = min(allocation.port for allocation in TARGET.allocations.networks.values())
    assert taken_ports(planned_run(gateway, TARGET)) == []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", port))
        (warning,) = taken_ports(planned_run(gateway, TARGET))
        assert f"UDP port {port} is taken by" in warning["message"] and "(pid" in warning["message"]
    assert udp_ports.taken([port]) == {}


VXLANS = {
    "vxlan9": "ip link add vxlan9 type vxlan id 9 dstport 4789 local 203.0.113.1; ip link set vxlan9 up",
    "ovs": "ip link add ovs type vxlan external dstport 4789; ip link set ovs up",
}
HARMLESS_VXLANS = """
ip link add other type vxlan id 8 dstport 8472; ip link set other up
ip link add down type vxlan id 9 dstport 4789
ip link add six type vxlan id 10 dstport 4789 local 2001:db8:113::1; ip link set six up
ip link add blue type vrf table 99; ip link set blue up
ip link add lan type dummy; ip link set lan master blue up; ip addr add 192.0.2.1/24 dev lan
ip link add bound type vxlan id 11 dstport 4789 dev lan remote 192.0.2.2; ip link set bound up
"""


def vxlan_warnings(kernel: LiveKernel) -> list[str]:
    found = taken_vxlan_port(host(kernel), MESH.intent)
    return [warning["message"] for warning in found]


@pytest.mark.parametrize("name", VXLANS)
def test_a_vxlan_of_the_host_is_said_before_the_kernel_refuses_ours(
    gateway: LiveKernel, name: str
) -> None:
    assert vxlan_warnings(gateway) == []
    sh(VXLANS[name])
    (text,) = vxlan_warnings(gateway)
    assert f"UDP port 4789 is taken by {name}, " in text and "campus" in text
    done = converge(gateway, lambda: planned_run(gateway, MESH), planned_run(gateway, MESH))
    assert "Address already in use" in str(done.failed)
    assert len(vxlan_warnings(gateway)) == 1
    sh(f"ip link del {name}")
    assert vxlan_warnings(gateway) == []


def test_a_program_on_the_port_of_vxlan_is_said(gateway: LiveKernel) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("0.0.0.0", 4789))
        (text,) = vxlan_warnings(gateway)
        assert "UDP port 4789 is taken by" in text and "(pid" in text
    assert vxlan_warnings(gateway) == []


def test_vxlans_that_leave_the_port_to_ours_are_silent(gateway: LiveKernel) -> None:
    sh(HARMLESS_VXLANS)
    assert vxlan_warnings(gateway) == []
    done = converge(gateway, lambda: planned_run(gateway, MESH), planned_run(gateway, MESH))
    assert done.complete, done
    assert vxlan_warnings(gateway) == []
