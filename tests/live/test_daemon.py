"""The daemon on a real kernel: it repairs what others change, at once where the kernel tells, else at the next look."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import pytest

from tests import world
from tests.live.conftest import sh
from tests.live.daemon import Daemon
from warpd.kernel.live import LiveKernel
from warpd.reconcile import prospect
from warpd.session import Session

NETWORKS = {"a": world.network(3), "b": world.network(2), "v": {**world.network(2), "isolation": "vrf"}}


def document(**networks: object) -> dict[str, object]:
    return {"version": 1, "networks": networks}


def in_sync(gateway: LiveKernel, daemon: Daemon) -> bool:
    session = Session(daemon.config, daemon.state)
    return prospect(gateway, session.goal(session.read(), create=False)).plan.empty


def vcids(daemon: Daemon) -> Mapping[str, int]:
    return {name: grant.vcid for name, grant in Session(daemon.config, daemon.state).read().grants.networks.items()}


def moment(line: Mapping[str, str]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


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
    "flush ruleset in a namespace": "ip netns exec warp-{a} nft flush ruleset",
    "set emptied": "ip netns exec warp-{a} nft flush set inet warpd $(ip netns exec warp-{a} nft -j list sets inet | grep -o '\"name\": \"endpoints4[^\"]*\"' | head -1 | cut -d'\"' -f4)",
    "VRF deleted": "ip link del vrf-{v}",
    "VRF's default route deleted": "ip route flush table {table}",
    "WireGuard of a VRF deleted": "ip link del wg-{v}",
    "namespace deleted": "ip netns del warp-{b}",
}


def test_drift_is_repaired_as_soon_as_the_kernel_tells(
    gateway: LiveKernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next look at everything is ten minutes away: only events can have led to a repair."""
    took: list[float] = []
    with Daemon(tmp_path, document(**NETWORKS), interval_s=600) as daemon:
        session = Session(daemon.config, daemon.state)
        goal = session.goal(session.read(), create=False)
        table = goal.grants.networks["v"].routing_table
        for _round in range(3):
            for what, command in BY_HAND.items():
                before = len(daemon.lines("pass"))
                began = float(sh(f"date +%s.%N; {command.format(**vcids(daemon), table=table)}").split()[0])
                daemon.wait(lambda seen=before: len(daemon.lines("pass")) > seen, what, 10)
                daemon.wait(lambda: prospect(gateway, goal).plan.empty, what, 10)
                took.append(moment(daemon.lines("pass")[before]) - began)
                with capsys.disabled():
                    print(f"\n  {what}: {took[-1] * 1000:.0f} ms", end="")
        assert daemon.alive()
    took.sort()
    with capsys.disabled():
        print(f"\n  drift repaired {len(took)} of {3 * len(BY_HAND)}, milliseconds from the command's start to the end of the", end="")
        print(f" last look: p50 {took[len(took) // 2] * 1000:.0f}, p99 {took[-1] * 1000:.0f}")
