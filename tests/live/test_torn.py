"""The kernel says when a table changed under a dump; such a dump counts for nothing, and what is
told in the end is whole.

The kernel tears real dumps here: addresses come and go all the while. Printed: dumps, torn, wrong.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from tests.live.conftest import sh
from warpd.kernel.api import DumpError
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.kernel.netlink import rtnl
from warpd.kernel.netlink.socket import NetlinkSocket

FIXED = 800
SOME_S = 6.0
LATEST_S = 60.0  # how long to wait for a dump to be torn, on a machine that has much to do


@pytest.fixture
def restless(gateway: LiveKernel) -> None:
    """A link with many addresses that stay; the test's own noise comes on top."""
    lines = "".join(f"addr add 10.9.{n // 250}.{n % 250 + 1}/32 dev many\\n" for n in range(FIXED))
    sh(f"ip link add many type dummy; printf '{lines}' | ip -batch -")


def test_a_torn_dump_counts_for_nothing(
    restless: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    torn = [0]
    once = NetlinkSocket._dump_once

    def counted(self: NetlinkSocket, *arguments: object) -> bool:
        whole = once(self, *arguments)  # type: ignore[arg-type]
        torn[0] += not whole
        return whole

    monkeypatch.setattr(NetlinkSocket, "_dump_once", counted)
    noise = "while :; do ip addr add {0} dev many; ip addr del {0} dev many; done"
    words = ["bash", "-c", " & ".join(noise.format(f"10.8.0.{n}/32") for n in (1, 2))]
    program = subprocess.Popen(words, stderr=subprocess.DEVNULL, start_new_session=True)
    route = NetlinkSocket(0)
    dumps = wrong = given_up = 0
    try:
        began = time.monotonic()
        while time.monotonic() - began < (SOME_S if torn[0] else LATEST_S):
            try:
                rows = rtnl.addresses(route)
            except DumpError:
                given_up += 1
                continue
            dumps += 1
            seen = [row.address for row in rows if row.address.startswith("10.9.")]
            wrong += len(seen) != FIXED or len(set(seen)) != FIXED
    finally:
        os.killpg(program.pid, signal.SIGKILL)
        program.wait()
        route.close()
    with capsys.disabled():
        print(
            f"\n  whole dumps {dumps}, torn and asked for again {torn[0]}, given up {given_up},"
            f" wrong {wrong}",
            end="",
        )
    assert dumps and torn[0], "nothing was torn: this proves nothing"
    assert not wrong
