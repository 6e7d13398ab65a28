"""A gateway of its own process: the real daemon with its socket, on the kernel in memory.

    python -m tests.browser.gateway FOLDER

FOLDER holds `warp.yaml`, `state/` and `warpd.sock`. Peers have traffic by their names, so that
pages show sessions of every age: `...-idle` had one hours ago, `...-never` has none.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

from tests.unit.daemon.simulation import SILENT_LOG
from warpd.daemon.clock import Clock
from warpd.daemon.mailbox import SelfPipe
from warpd.daemon.options import Options, parse
from warpd.daemon.samples import EVERY_S, Sampler
from warpd.daemon.serve import assemble, keep
from warpd.daemon.stats import NetworkStats
from warpd.intent.model import Intent, Network
from warpd.kernel.api import Dump
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import DefaultRoute, KernelObject, Key, PeerTraffic
from warpd.service.workspace import Workspace
from warpd.testing.fake_kernel import PLAIN, FakeKernel

HOURS_S = 3600
DAY_S = 24 * HOURS_S


class BusyKernel(FakeKernel):
    """Counts traffic for peers, by their names, and drops."""

    def dump(self, netns: str, uplink: str = "auto", targets: Sequence[str] = ()) -> Dump:
        found = super().dump(netns, uplink, targets)
        peers = [item for item in found.objects if isinstance(item, WireguardPeer)]
        traffic = {peer.key: _traffic(peer.label, time.time()) for peer in peers}
        return dataclasses.replace(found, traffic=traffic, drops=_drops(found.objects))


def _traffic(name: str, now_s: float) -> PeerTraffic:
    """What was counted up to a time: more by day than by night."""
    number = zlib.crc32(name.encode())
    if name.endswith("-never"):
        return PeerTraffic(0, 0, 0, "")
    age_s = 3 * HOURS_S if name.endswith("-idle") else 5 + number % 100
    outer = f"203.0.113.{number % 200 + 1}:{40000 + number % 9999}"
    day = DAY_S / math.tau
    since_s = now_s % (100 * DAY_S)
    carried = (since_s + day * math.sin(since_s / day + number % 3)) * (number % 9000)
    return PeerTraffic(int(carried) + 9_000_000, int(carried) // 9, int(now_s) - age_s, outer)


def _drops(objects: Sequence[KernelObject]) -> dict[str, dict[str, tuple[int, int]]]:
    groups = {item.group for item in objects if isinstance(item, WireguardPeer)}
    return {
        group: {"private": (zlib.crc32(group.encode()) % 900, 51_000), "unlisted": (340, 27_200)}
        for group in sorted(groups)
    }


def after_a_day(intent: Intent) -> Sampler:
    """What makes samples in a daemon that has looked at these networks for a day."""
    ago_s = DAY_S
    sampler = Sampler(Clock(lambda: time.monotonic() - ago_s, lambda: time.time() - ago_s))
    while ago_s > 0:
        ago_s -= EVERY_S
        sampler.take([_looked(*item, time.time() - ago_s) for item in intent.networks.items()])
    ago_s = 0
    return sampler


def _looked(name: str, network: Network, now_s: float) -> NetworkStats:
    traffic = {endpoint: _traffic(endpoint, now_s) for endpoint in network.endpoints}
    return NetworkStats(name, 0, True, {}, len(traffic), traffic)


def foreign_in_the_way(kernel: FakeKernel, key: Key, text: str) -> None:
    """Another program has taken the name of one of our objects."""
    kernel.objects.pop(key, None)
    kernel.foreign[key] = text


def main(options: Options) -> None:
    """Keep the gateway until SIGTERM."""
    kernel = BusyKernel(
        dataclasses.replace(PLAIN, hops=(DefaultRoute(4, "eth0", "203.0.113.254"),))
    )
    workspace, self_pipe = Workspace(options.config, options.state_dir), SelfPipe()
    daemon = assemble(kernel, self_pipe, workspace, SILENT_LOG, options.interval_s)
    if workspace.checkout is not None:
        workspace.checkout.pull()
    daemon.publisher.sampler = after_a_day(workspace.read().intent)
    keep(daemon, options, self_pipe, SILENT_LOG)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    words = ["-c", str(folder / "warp.yaml"), "--state-dir", str(folder / "state")]
    main(parse([*words, "--socket", str(folder / "warpd.sock"), *sys.argv[2:]]))
