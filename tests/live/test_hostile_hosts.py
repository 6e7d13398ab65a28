"""What a host may do to us is a problem of the networks that it concerns: the others run, and all
of it is over with its cause.

eth0 | web (namespace, egress), vrf-sites (VRF), seg (VRF, Ethernet), safe (namespace, no egress)
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests import world
from tests.live.conftest import sh
from warpd.errors import WarpError
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.kernel.state import ROOT
from warpd.reconcile.engine import ApplyResult, PlannedRun, Target, converge, removal
from warpd.reconcile.incremental import planned_run, replan
from warpd.service.views.status import status_json

WEB, VRF, SEG, SAFE = 11111111, 22222222, 33333333, 44444444
TABLE, PORT = 1234, 51820
MOBILE, CPE = {"type": "mobile"}, {"type": "cpe"}
DEFAULTS = (
    "ip route replace default via 203.0.113.254; ip -6 route replace default via 2001:db8:113::fe"
)
MOVED = "ip route del default; ip -6 route del default"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What somebody does to the host, and how it ends; `concerned` are the networks that may not be
    as they should.
    """

    begin: str
    end: str
    concerned: tuple[str, ...] = ()
    uplink: str = "auto"


TROUBLES = {
    "a link has the name of the tunnel": Trouble(
        f"ip link add wg-{VRF} type dummy", f"ip link del wg-{VRF}", ("vrf-sites",)
    ),
    "a link has the name of the VRF": Trouble(
        f"ip link add vrf-{VRF} type dummy", f"ip link del vrf-{VRF}", ("vrf-sites",)
    ),
    "a link has the name of the transit link": Trouble(
        f"ip link add dn-{WEB} type dummy", f"ip link del dn-{WEB}", ("web",)
    ),
    "a link has the name of the bridge": Trouble(
        f"ip link add br-{SEG} type dummy", f"ip link del br-{SEG}", ("seg",)
    ),
    "a namespace has the name of ours": Trouble(
        f"ip netns add warp-{WEB}; ip -n warp-{WEB} link set lo up",
        f"ip netns del warp-{WEB}",
        ("web",),
    ),
    "an empty namespace has the name of ours": Trouble(
        f"ip netns add warp-{WEB}", f"ip netns del warp-{WEB}", ("web",)
    ),
    "another VRF has the table": Trouble(
        f"ip link add other type vrf table {TABLE}; ip link set other up",
        "ip link del other",
        ("vrf-sites",),
    ),
    "another route is in the table": Trouble(
        f"ip route add 10.9.0.0/16 dev eth0 table {TABLE}",
        f"ip route del 10.9.0.0/16 table {TABLE}",
    ),
    "another WireGuard has the port": Trouble(
        f"ip link add wgx type wireguard; wg set wgx listen-port {PORT}; ip link set wgx up",
        "ip link del wgx",
        ("web",),
    ),
    "no default route": Trouble(MOVED, DEFAULTS),
    "the default route is a blackhole": Trouble(
        f"{MOVED}; ip route add blackhole default; ip -6 route add blackhole default",
        f"ip route del blackhole default; ip -6 route del blackhole default; {DEFAULTS}",
    ),
    "the default route is by two links": Trouble(
        "ip link add d2 type dummy; ip addr add 198.51.100.77/24 dev d2; ip link set d2 up;ip route"
        " replace default nexthop via 203.0.113.254 dev eth0 nexthop via 198.51.100.1 dev d2",
        f"ip link del d2; {DEFAULTS}",
    ),
    "the uplink is called otherwise": Trouble(
        "ip link set eth0 down; ip link set eth0 name wan9; ip link set wan9 up;"
        "ip -6 addr replace 2001:db8:113::1/64 dev wan9 nodad; " + DEFAULTS,
        "ip link set wan9 down; ip link set wan9 name eth0; ip link set eth0 up;"
        "ip -6 addr replace 2001:db8:113::1/64 dev eth0 nodad; " + DEFAULTS,
    ),
    "the uplink has become the port of a bridge": Trouble(
        "ip link add br0 type bridge; ip link set br0 up; ip addr flush dev eth0; ip link set eth0"
        " master br0;ip addr add 203.0.113.1/24 dev br0; ip -6 addr add 2001:db8:113::1/64 dev br0"
        " nodad; " + DEFAULTS,
        "ip link del br0; ip addr add 203.0.113.1/24 dev eth0; ip -6 addr replace"
        " 2001:db8:113::1/64 dev eth0 nodad; " + DEFAULTS,
    ),
    "the named uplink is not there": Trouble("true", "true", uplink="ppp7"),
    "the uplink is named by its other name": Trouble(
        "ip link property add dev eth0 altname enp1s0f0np0",
        "ip link property del dev eth0 altname enp1s0f0np0",
        (),
        "enp1s0f0np0",
    ),
    "a link has a name that is a program": Trouble(
        "ip link add 'a\"b;$(id)' type dummy; ip link set 'a\"b;$(id)' up; ip route add default dev"
        " 'a\"b;$(id)' metric 1",
        "ip link del 'a\"b;$(id)'",
    ),
    "IPv6 is off": Trouble(
        "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1",
        "sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0;"
        "ip -6 addr replace 2001:db8:113::1/64 dev eth0 nodad; " + DEFAULTS,
    ),
    "packets of the uplink are small": Trouble(
        "ip link set eth0 mtu 1280", "ip link set eth0 mtu 1500"
    ),
    "packets of the uplink are too small for IPv6": Trouble(
        "ip link set eth0 mtu 576",
        "ip link set eth0 mtu 1500; ip -6 addr replace 2001:db8:113::1/64 dev eth0 nodad; "
        + DEFAULTS,
    ),
    "packets of the uplink are large": Trouble(
        "ip link set eth0 mtu 9000", "ip link set eth0 mtu 1500"
    ),
    "sources are checked strictly": Trouble(
        "sysctl -qw net.ipv4.conf.all.rp_filter=1", "sysctl -qw net.ipv4.conf.all.rp_filter=0"
    ),
    "bridges are filtered": Trouble(
        "sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null || true",
        "sysctl -qw net.bridge.bridge-nf-call-iptables=0 2>/dev/null || true",
    ),
}


def target(trouble: Trouble) -> Target:
    return world.target(
        world.intent(
            {"uplink": trouble.uplink},
            **{
                "web": {
                    "type": "secure-internet",
                    "vcid": WEB,
                    "port": PORT,
                    "expected_users": 6,
                    "endpoints": {"p": MOBILE},
                },
                "vrf-sites": {
                    "type": "l3vpn-gateway",
                    "isolation": "vrf",
                    "vcid": VRF,
                    "routing_table": TABLE,
                    "endpoints": {"a": MOBILE, "b": MOBILE},
                },
                "seg": {
                    "type": "l2-mesh",
                    "isolation": "vrf",
                    "vcid": SEG,
                    "expected_users": 2,
                    "endpoints": {"a": CPE, "b": CPE},
                },
                "safe": {
                    "type": "l3vpn-gateway",
                    "vcid": SAFE,
                    "endpoints": {"a": MOBILE, "b": MOBILE},
                },
            },
        )
    )


def pass_over(kernel: LiveKernel, wanted: Target) -> tuple[PlannedRun, ApplyResult]:
    first = planned_run(kernel, wanted)
    outcome = converge(kernel, lambda: replan(kernel, wanted, first), first)
    return planned_run(kernel, wanted), outcome


def faults(trouble: Trouble, wanted: Target, found: PlannedRun, outcome: ApplyResult) -> list[str]:
    """Networks that are not as they should be without being concerned, or without anything that
    says why.
    """
    failed = {step.network: str(fault) for step, fault in outcome.failed}
    out = []
    for network in status_json(wanted, found, 0)["networks"]:
        name = network["name"]
        if network["in_sync"] and network["up"]:
            continue
        if name not in trouble.concerned:
            out.append(
                f"{name}: {network['changes']} changes, {network['blocked']},"
                f" {network['problems']}, {failed.get(name)}"
            )
        elif not (network["blocked"] or network["problems"] or name in failed):
            out.append(f"{name}: nobody says why")
    return out


@pytest.mark.parametrize("early", [True, False], ids=["before", "while it runs"])
@pytest.mark.parametrize("name", TROUBLES)
def test_trouble_is_its_networks_own(gateway: LiveKernel, name: str, early: bool) -> None:
    trouble = TROUBLES[name]
    wanted = target(trouble)
    try:
        if not early:
            pass_over(gateway, wanted)
        sh(
            trouble.begin
            if early or not trouble.concerned
            else f"({trouble.begin}) 2>/dev/null || true"
        )
        found, outcome = pass_over(gateway, wanted)
        assert faults(trouble, wanted, found, outcome) == []
        if early:
            late = {
                item["name"]
                for item in status_json(wanted, found, 0)["networks"]
                if not item["in_sync"]
            }
            assert late == set(trouble.concerned), "the trouble is none"
        sh(
            trouble.end
            if early or not trouble.concerned
            else f"({trouble.end}) 2>/dev/null || true"
        )
        found, outcome = pass_over(gateway, wanted)
        whole = Trouble("", "", (), trouble.uplink)
        assert faults(whole, wanted, found, outcome) == []
        assert converge(gateway, lambda: removal(gateway), removal(gateway)).complete
    except WarpError as failure:
        pytest.fail(f"the whole pass failed: {failure}")


@pytest.mark.parametrize("name", ["enp1s0f0np0", "enp1s0f0np0longname", "x" * 127])
def test_the_uplink_is_found_by_its_other_names(gateway: LiveKernel, name: str) -> None:
    sh(f"ip link property add dev eth0 altname {name}")
    try:
        host = gateway.dump(ROOT, name).host
        assert host is not None and host.uplink == "eth0"
    finally:
        sh(f"ip link property del dev eth0 altname {name}")
