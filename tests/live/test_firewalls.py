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
from warpd.reconcile.incremental import planned_run
from warpd.service.views.advice import host_warnings, uncertain_chains
from warpd.service.views.report import taken_ports

TARGET = world.target(world.intent(a=world.network(1), v=world.network(1, isolation="vrf")))

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
