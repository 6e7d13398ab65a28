"""Every type in both modes, beside things of others: polite, gentle, revocable, and gone without a
trace.

gw: eth0 | 7 networks in namespaces, 7 in VRFs | of others: a VRF with a port, a bridge with VLANs,
a VXLAN, a GRETAP, rules,
    routes in tables, nft tables, a WireGuard device with a peer, a namespace
Printed: what differed of others' things, steps that touched other networks, peers kept and cut off,
leftovers.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

import pytest

from tests import world
from tests.live.conftest import sh
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.reconcile.engine import PlannedRun, Target, converge, removal
from warpd.reconcile.incremental import planned_run

GATEWAY = {"pools": {"ports": "51820-51899"}}
EVERYTHING = {
    name: body for mode in ("namespace", "vrf") for name, body in world.every_type(mode).items()
}
FOREIGN = """
ip link add vrf-blue type vrf table 77; ip link set vrf-blue up
ip link add blue0 type veth peer name blue1; ip link set blue0 master vrf-blue; ip link set blue0 up
ip addr add 10.50.0.1/24 dev blue0; ip route add table 77 unreachable default metric 4278198272
ip link add br-other type bridge vlan_filtering 1; ip link set br-other up
ip link add port0 type veth peer name port1; ip link set port0 master br-other
bridge vlan add vid 100-110 dev port0; ip addr add 192.168.122.1/24 dev br-other
ip link add vx-other type vxlan id 110001 dstport 4790 dev eth0 remote 203.0.113.77
ip link set vx-other master br-other
ip link add gt-other type gretap local 203.0.113.1 remote 203.0.113.77
ip rule add from 192.168.122.0/24 lookup 77 pref 100; ip rule add fwmark 0x1 lookup 77 pref 970
ip -6 rule add fwmark 0x1 lookup 77 pref 970
ip route add 198.18.0.0/16 via 192.168.122.2 dev br-other proto 118 table 119
ip link add wgother type wireguard; wg set wgother listen-port 51999 private-key <(wg genkey) peer $(wg genkey | wg pubkey) \\
    allowed-ips 10.8.0.1/32
nft 'table inet filter { chain forward { type filter hook forward priority 0; ip daddr 192.168.122.9 counter drop; }; }'
nft 'table inet warpd-other { set s { type ipv4_addr; elements = { 192.0.2.1 }; }; }'
ip netns list | grep -q other-tenant || ip netns add other-tenant
"""
LOOKS = {
    "links": "ip -d -j link",
    "addresses": "ip -d -j addr",
    "routes": "ip -d -j -N route show table all",
    "routes6": "ip -6 -d -j -N route show table all",
    "rules": "ip -d -j -N rule",
    "rules6": "ip -6 -d -j -N rule",
    "nft": "nft -j list ruleset",
    "vlans": "bridge -j vlan show",
    "fdb": "bridge -j fdb show br br-other",
    "wireguard": "wg showconf wgother | sort",
    "namespaces": "ip netns list | cut -d' ' -f1 | sort",
}
OURS = re.compile(
    r"warpd:|\bwarp-\d|\"(?:wg|up|dn|vrf|br|gt|vx)-\d{8}|[nv]lan0|\"protocol\": ?\"?119"
)


THEIRS = re.compile(r'"dev": "(eth0|isp|blue|vrf-blue|br-other|port|vx-other|wgother)|"(77|119)"')


def others() -> dict[str, Any]:
    """Everything in this namespace that is not ours by its marks, without what moves by itself."""
    out: dict[str, Any] = {}
    for name, command in LOOKS.items():
        text = sh(command)
        if text.lstrip()[:1] in "[{":
            out[name] = [item for item in entries(json.loads(text)) if not is_ours(name, item)]
        else:
            out[name] = [line for line in text.splitlines() if not line.startswith("warp-")]
    return out


def entries(found: Any) -> list[str]:
    rows = found["nftables"] if isinstance(found, dict) else found
    return sorted(json.dumps(still(row), sort_keys=True) for row in rows)


def still(value: Any) -> Any:
    moving = ("_timer", "_life_time", "ageing", "gc_timer", "handle")
    if isinstance(value, dict):
        return {
            key: still(item)
            for key, item in value.items()
            if not key.endswith(moving) and key != "metainfo"
        }
    return [still(item) for item in value] if isinstance(value, list) else value


def is_ours(look: str, text: str) -> bool:
    """By our marks; and what the kernel does by itself where we are: its l3mdev rule, our links'
    own local routes.
    """
    if look == "nft":
        return '"warpd"' in text or text == "{}"
    if look.startswith("rules"):
        return '"l3mdev"' in text or bool(OURS.search(text))
    if look == "fdb":
        return '"33:33:' in text  # groups that a forwarding host joins, and leaves again
    if look.startswith("routes") and ('"type": "anycast"' in text or '"type": "4"' in text):
        return True  # the addresses that every link has while IPv6 is forwarded
    if look.startswith("routes"):
        return bool(OURS.search(text)) or not THEIRS.search(text)
    return bool(OURS.search(text))


def target_of(networks: dict[str, Any], before: Target | None = None) -> Target:
    return world.target(world.intent(GATEWAY, **networks), before.allocations if before else None)


def run_to(kernel: LiveKernel, target: Target) -> PlannedRun:
    found = planned_run(kernel, target)
    outcome = converge(kernel, lambda: planned_run(kernel, target), found)
    assert outcome.complete, (
        [str(fault) for _, fault in outcome.failed],
        [str(step.key) for step in outcome.unverified],
    )
    return found


def with_endpoint(networks: dict[str, Any], name: str) -> dict[str, Any]:
    body = networks[name]
    return {
        **networks,
        name: {**body, "endpoints": {**body["endpoints"], "z-new": {"type": "mobile"}}},
    }


@pytest.fixture
def crowded(gateway: LiveKernel) -> LiveKernel:
    sh(FOREIGN)
    return gateway


def test_what_is_not_ours_stays(crowded: LiveKernel, capsys: pytest.CaptureFixture[str]) -> None:
    before, moments = others(), []
    target = target_of(EVERYTHING)
    run_to(crowded, target)
    moments.append(("after apply", others()))
    swapped = {
        name: {**body, "isolation": other(body["isolation"])} for name, body in EVERYTHING.items()
    }
    run_to(crowded, target_of(swapped, target))
    moments.append(("after every network changed its mode", others()))
    found = removal(crowded)  # with no memory at all: only the marks in the kernel
    assert converge(crowded, lambda: removal(crowded), found).complete
    moments.append(("after destroy", others()))
    differing = [
        (when, name) for when, now in moments for name in before if now[name] != before[name]
    ]
    left = removal(crowded).observed.state
    leftovers = [str(item.key) for item in left if item.group or item.key.kind not in ("sysctl",)]
    commands = ("ip -o link", "ip rule", "ip -6 rule", "nft list tables", "ip netns")
    raw = [line for command in commands for line in ours_in(command)]
    with capsys.disabled():
        of = len(before) * len(moments)
        print(
            f"\n  others' things: differences {len(differing)} of {of}; leftovers"
            f" {len(leftovers) + len(raw)}"
        )
    assert not differing, [
        (when, name, changed(before[name], dict(moments)[when][name])) for when, name in differing
    ]
    assert not leftovers
    assert not raw


def other(mode: str) -> str:
    return "vrf" if mode == "namespace" else "namespace"


def changed(one: list[str], two: list[str]) -> list[str]:
    return sorted(set(one) ^ set(two))[:6]


def ours_in(command: str) -> list[str]:
    marks = re.compile(r"warp-\d|(wg|up|dn|vrf|br|gt|vx)-\d{8}|[nv]lan0|proto 119|inet warpd$")
    return [line for line in sh(command).splitlines() if marks.search(line)]


def test_one_change_touches_one_network(
    crowded: LiveKernel, capsys: pytest.CaptureFixture[str]
) -> None:
    """An endpoint comes, is given a new key, goes: no step is of another network, and no other peer
    is written.
    """
    target = target_of(EVERYTHING)
    run_to(crowded, target)
    strays, kept, cut = 0, 0, 0
    growing = [name for name, body in EVERYTHING.items() if body["type"] != "l2-point-to-point"]
    for name in growing:
        more = with_endpoint(EVERYTHING, name)
        rekeyed = json.loads(json.dumps(more))
        rekeyed[name]["endpoints"]["z-new"]["rotation"] = 1
        network = name.replace("_", "-")
        peers: list[set[str]] = []
        for wanted in (more, rekeyed, EVERYTHING):
            untouched = peer_lines(crowded, target, network)
            target = target_of(wanted, target)
            found = run_to(crowded, target)
            strays += sum(step.network != network for step in found.plan.steps)
            peers.append(keys_of(crowded, target, network))
            after = peer_lines(crowded, target, network)
            kept += sum(after.get(key) == line for key, line in untouched.items() if key in after)
            assert all(after.get(key) == line for key, line in untouched.items() if key in after)
        new, again, none = peers
        assert len(new - none) == len(again - none) == 1
        assert new - none != again - none, "a new rotation is a new key"
        cut += 2
        assert not (new & again) - none
    with capsys.disabled():
        print(
            f"\n  networks changed {len(growing)}: steps in others {strays}, untouched peers kept"
            f" {kept}, keys cut off {cut}"
        )
    assert not strays
    assert kept > 50


def keys_of(kernel: LiveKernel, target: Target, network: str) -> set[str]:
    group = f"warp-{target.allocations.networks[network].vcid}"
    state = planned_run(kernel, target).observed.state
    return {
        item.public_key for item in state if isinstance(item, WireguardPeer) and item.group == group
    }


def peer_lines(kernel: LiveKernel, target: Target, network: str) -> dict[str, str]:
    """Each peer of a network as `wg` dumps it: key, endpoint, AllowedIPs, handshake, bytes."""
    item = target.allocations.networks[network]
    where = (
        ""
        if target.intent.networks[network].isolation == "vrf"
        else f"ip netns exec warp-{item.vcid} "
    )
    rows = [line.split("\t") for line in sh(f"{where}wg show wg-{item.vcid} dump").splitlines()[1:]]
    return {row[0]: "\t".join(row[:4]) for row in rows}


def everything() -> dict[str, list[str]]:
    shown = {name: sh(command) for name, command in LOOKS.items() if "other" not in command}
    return {name: rows(text) for name, text in shown.items()}


def rows(text: str) -> list[str]:
    if text[:1] not in ("[", "{"):
        return [text]
    return [item for item in entries(json.loads(text)) if "l3mdev" not in item]


def test_nothing_of_ours_can_be_told_from_nothing(gateway: LiveKernel) -> None:
    """After destroy, what `ip`, `nft` and `/run/netns` show is what they showed before, but for the
    kernel's l3mdev rule.
    """
    before = everything()
    run_to(gateway, target_of(EVERYTHING))
    assert converge(gateway, lambda: removal(gateway), removal(gateway)).complete
    after = everything()
    assert {name: changed(before[name], after[name]) for name in before} == {
        name: [] for name in before
    }
    assert not [name for name in os.listdir("/run/netns") if name.startswith("warp-")]
