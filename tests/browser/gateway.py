"""A gateway of its own process: the real daemon with its socket, on the kernel in memory.

    python -m tests.browser.gateway FOLDER

FOLDER holds `warp.yaml`, `state/` and `warpd.sock`. Peers have traffic by their names, so that
pages show sessions of every age: `...-idle` had one hours ago, `...-never` has none.
"""

from __future__ import annotations

import dataclasses
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

from tests.unit.daemon.simulation import SILENT_LOG
from warpd.daemon.mailbox import SelfPipe
from warpd.daemon.options import Options, parse
from warpd.daemon.serve import assemble, keep
from warpd.kernel.api import Dump
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import DefaultRoute, KernelObject, Key, PeerTraffic
from warpd.service.workspace import Session
from warpd.testing.fake_kernel import PLAIN, FakeKernel

HOURS_S = 3600


class BusyKernel(FakeKernel):
    """Counts traffic for peers, by their names, and drops."""

    def dump(self, netns: str, uplink: str = "auto", targets: Sequence[str] = ()) -> Dump:
        found = super().dump(netns, uplink, targets)
        peers = [item for item in found.objects if isinstance(item, WireguardPeer)]
        traffic = {peer.key: _traffic(peer) for peer in peers}
        return dataclasses.replace(found, traffic=traffic, drops=_drops(found.objects))


def _traffic(peer: WireguardPeer) -> PeerTraffic:
    name = peer.label
    number = zlib.crc32(name.encode())
    if name.endswith("-never"):
        return PeerTraffic(0, 0, 0, "")
    age_s = 3 * HOURS_S if name.endswith("-idle") else 5 + number % 100
    outer = f"203.0.113.{number % 200 + 1}:{40000 + number % 9999}"
    return PeerTraffic(number % 90_000_000, number % 7_000_000, int(time.time()) - age_s, outer)


def _drops(objects: Sequence[KernelObject]) -> dict[str, dict[str, tuple[int, int]]]:
    groups = {item.group for item in objects if isinstance(item, WireguardPeer)}
    return {
        group: {"private": (zlib.crc32(group.encode()) % 900, 51_000), "unlisted": (340, 27_200)}
        for group in sorted(groups)
    }


def foreign_in_the_way(kernel: FakeKernel, key: Key, text: str) -> None:
    """Another program has taken the name of one of our objects."""
    kernel.objects.pop(key, None)
    kernel.foreign[key] = text


def main(options: Options) -> None:
    """Keep the gateway until SIGTERM."""
    kernel = BusyKernel(
        dataclasses.replace(PLAIN, hops=(DefaultRoute(4, "eth0", "203.0.113.254"),))
    )
    session, self_pipe = Session(options.config, options.state_dir), SelfPipe()
    daemon = assemble(kernel, self_pipe, session, SILENT_LOG, options.interval_s)
    keep(daemon, options, self_pipe, SILENT_LOG)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    words = ["-c", str(folder / "warp.yaml"), "--state-dir", str(folder / "state")]
    main(parse([*words, "--socket", str(folder / "warpd.sock"), *sys.argv[2:]]))
