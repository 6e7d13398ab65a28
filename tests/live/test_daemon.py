"""The daemon on a real kernel: it repairs what others change, at once where the kernel tells, else
at the next look.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import pytest

from tests import world
from tests.live.conftest import sh
from tests.live.daemon import Daemon
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.reconcile.engine import Target
from warpd.reconcile.incremental import planned_run
from warpd.service.workspace import Workspace, live_kernel

# Three of each: the same object undone five times in a minute would be contested, and repaired more
# slowly.
NETWORKS = {
    f"{name}{number}": {**world.network(2), **({"isolation": "vrf"} if name == "v" else {})}
    for number in range(3)
    for name in "abv"
}


def document(**networks: object) -> dict[str, object]:
    return {"version": 1, "networks": networks}


def in_sync(target: Target) -> bool:
    """By a kernel of its own each time: a descriptor of a namespace keeps it, and its ports, from
    going.
    """
    with live_kernel() as kernel:
        return planned_run(kernel, target).plan.empty


def moment(line: Mapping[str, str]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def test_a_namespace_that_somebody_stays_in_gives_the_port_back(
    gateway: LiveKernel, tmp_path: Path
) -> None:
    """Its name is gone, a shell is still inside: the old device would go on to answer the clients,
    at the port of the new one.
    """
    with Daemon(tmp_path, document(**NETWORKS), interval_s=600) as daemon:
        workspace = Workspace(daemon.config, daemon.state)
        target = workspace.target(workspace.read(), create=False)
        vcid = target.allocations.networks["a0"].vcid
        shell = subprocess.Popen(["ip", "netns", "exec", f"warp-{vcid}", "sleep", "60"])
        try:
            inside = f"nsenter --net=/proc/{shell.pid}/ns/net ip -o link show type wireguard"
            daemon.wait(lambda: f"wg-{vcid}" in sh(f"{inside} || true"), "the shell inside")
            sh(f"ip netns del warp-{vcid}")
            daemon.wait(lambda: in_sync(target), "the network to be back", 10)
            assert f"wg-{vcid}" in sh(f"ip -n warp-{vcid} -o link show type wireguard")
            assert not sh(inside)
            assert shell.poll() is None
        finally:
            shell.kill()
            shell.wait()


# What is done, and whether the kernel tells of it.
BY_HAND = {
    "link deleted in a namespace": "ip -n warp-{a} link del wg-{a}",
    "link set down": "ip -n warp-{a} link set wg-{a} down",
    "MTU": "ip -n warp-{a} link set wg-{a} mtu 1300",
    "uplink pair deleted": "ip link del dn-{b}",
    "address deleted": "ip -n warp-{a} addr flush dev wg-{a}",
    "address added": "ip -n warp-{a} addr add 10.1.2.3/32 dev wg-{a}",
    "route deleted": "ip -n warp-{b} route del default",
    "route of ours added": "ip -n warp-{b} route add 192.0.2.0/24 dev wg-{b} proto 119",
    "rule flush in a namespace": "ip -n warp-{a} rule flush",
    "rules of ours deleted in the root": "ip rule del pref 970",
    "flush ruleset in the root": "nft flush ruleset",
    "the root's table put to sleep": "nft add table inet warpd '{{ flags dormant; }}'",
    "flush ruleset in a namespace": "ip netns exec warp-{a} nft flush ruleset",
    "set emptied": "ip netns exec warp-{a} nft flush set inet warpd endpoints4",
    "VRF deleted": "ip link del vrf-{v}",
    "VRF's default route deleted": "ip route flush table {table}",
    "WireGuard of a VRF deleted": "ip link del wg-{v}",
    "namespace deleted": "ip netns del warp-{b}",
}


def test_drift_is_repaired_as_soon_as_the_kernel_tells(
    gateway: LiveKernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next periodic resync is ten minutes away: only events can have led to a repair."""
    took: list[float] = []
    with Daemon(tmp_path, document(**NETWORKS), interval_s=600) as daemon:
        workspace = Workspace(daemon.config, daemon.state)
        target = workspace.target(workspace.read(), create=False)
        for number in range(3):
            names = {name: target.allocations.networks[f"{name}{number}"] for name in "abv"}
            words = {name: allocation.vcid for name, allocation in names.items()} | {
                "table": names["v"].routing_table
            }
            for what, command in BY_HAND.items():
                seen = daemon.log_file.stat().st_size
                began = float(sh(f"date +%s.%N; {command.format(**words)}").split()[0])
                line = daemon.repair(seen, what)[-1]
                took.append(moment(line) - began - line["look_seconds"])
                daemon.wait(lambda: in_sync(target), what, 10)
                with capsys.disabled():
                    print(
                        f"\n  {what}: {took[-1] * 1000:.0f} ms and a look of"
                        f" {line['look_seconds'] * 1000:.0f} ms",
                        end="",
                    )
        assert daemon.alive()
    took.sort()
    with capsys.disabled():
        print(
            f"\n  drift repaired {len(took)} of {3 * len(BY_HAND)}; milliseconds from the start of"
            " the command,",
            end="",
        )
        print(
            f" one look not counted: p50 {took[len(took) // 2] * 1000:.0f}, p99"
            f" {took[-1] * 1000:.0f}"
        )
