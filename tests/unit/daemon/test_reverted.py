"""What another program undoes is told apart from what the host itself makes different.

The kernel is in memory.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import structlog

from tests import world
from warpd.daemon.mailbox import Mailbox
from warpd.daemon.reconciler import Reconciler
from warpd.daemon.scheduler import CONTESTED_COUNT, PassRequest
from warpd.kernel.kinds.nft_table import NftTable
from warpd.kernel.state import ROOT, Key
from warpd.service.workspace import Workspace
from warpd.testing.fake_kernel import PLAIN, FakeKernel

LOOK = PassRequest(groups=None)
TABLE = Key(NftTable.KIND, ROOT, "warpd")
NO_UPLINK = dataclasses.replace(
    PLAIN, uplink="", uplink_addresses=(), exits=(), hops=(), uplinks4=(), uplinks6=()
)


def reconciler(folder: Path, kernel: FakeKernel) -> Reconciler:
    config = folder / "warp.yaml"
    config.write_text(
        json.dumps(
            {
                "version": 1,
                "networks": {"web": world.network(1), "vrf": world.network(1, isolation="vrf")},
            }
        )
    )
    made = Reconciler(
        Workspace(config, folder / "state"),
        kernel,
        Mailbox(),
        structlog.get_logger(),
    )
    made.run(PassRequest(True, None, True))
    return made


def test_an_uplink_that_flaps_is_no_other_program(tmp_path: Path) -> None:
    kernel = FakeKernel(PLAIN)
    daemon = reconciler(tmp_path, kernel)
    for _ in range(CONTESTED_COUNT):
        for host in (NO_UPLINK, PLAIN):
            kernel.host = host
            result = daemon.run(LOOK)
            assert result.changed and not result.reverted


def test_what_is_taken_away_is(tmp_path: Path) -> None:
    kernel = FakeKernel(PLAIN)
    daemon = reconciler(tmp_path, kernel)
    del kernel.objects[TABLE]
    assert str(TABLE) in daemon.run(LOOK).reverted
    kernel.host = NO_UPLINK
    del kernel.objects[next(key for key in kernel.objects if key.kind == "peer")]
    assert [name for name in daemon.run(LOOK).reverted if "/peer/" in name], "both at once"
