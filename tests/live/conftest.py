"""A gateway of our own for live tests: a namespace that plays the root, with an uplink, and the
live kernel in it.

[ root of the test: tgw-<pid> ]
  eth0 203.0.113.1/24, 2001:db8:113::1/64, default via .254 / ::fe
  dn-<vcid> -- up-<vcid> [ warp-<vcid> ] wg-<vcid>
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from warpd.kernel.linux import namespaces
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.reconcile.engine import converge, removal


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/live" in str(item.path):
            item.add_marker(pytest.mark.live)


def sh(command: str) -> str:
    """Run a shell command in the test's namespace; its output. Fails loudly."""
    done = subprocess.run(
        ["bash", "-ec", command], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


UPLINK = """
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
ip link set lo up
ip link add eth0 type veth peer name isp
ip link set eth0 up; ip link set isp up
ip addr add 203.0.113.1/24 dev eth0
ip addr add 2001:db8:113::1/64 dev eth0 nodad
ip route add default via 203.0.113.254
ip -6 route add default via 2001:db8:113::fe
"""


@pytest.fixture
def gateway() -> Iterator[LiveKernel]:
    name = f"tgw-{os.getpid()}"
    namespaces.create(name)
    fd = os.open(namespaces.path_of(name), os.O_RDONLY)
    try:
        with namespaces.entered(fd):
            sh(UPLINK)
            kernel = LiveKernel()
            try:
                yield kernel
            finally:
                found = removal(kernel)
                converge(kernel, lambda: removal(kernel), found)
                kernel.close()
    finally:
        os.close(fd)
        namespaces.remove(name)
