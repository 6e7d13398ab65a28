"""The bench's floor against a state made by hand, and that its comparison sees what differs.

In a kernel without WireGuard the first test is skipped, and says so; the lab in `tests/vm` has it.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import floor  # noqa: E402  the bench is no package: its files lie side by side


def kernel_has_wireguard() -> bool:
    probe = "ip link add wg0 type wireguard"
    return (
        os.getuid() == 0
        and not subprocess.run(
            ["unshare", "--net", "sh", "-c", probe], check=False, timeout=20
        ).returncode
    )


def test_hand_made_state_is_built_again() -> None:
    if not kernel_has_wireguard():
        pytest.skip("needs root and a kernel with WireGuard")
    done = subprocess.run(
        [HERE / "run", "--hand-made"], capture_output=True, text=True, timeout=180, check=False
    )
    assert "without a difference" in done.stdout, done.stderr


def room() -> floor.Room:
    return floor.Room(
        links={"wg-1": {"mtu": 1420}},
        addresses=["addr add 10.0.0.1/32 dev wg-1"],
        routes=["route add unicast default dev wg-1"],
        rules=["-4 rule add priority 7"],
        neighbours=["neigh replace"],
        wireguard={"wg-1": ["[Interface]", "[Peer]\nPublicKey = a"]},
        ports=["CA6C"],
        nft="table inet warpd {\n}\n",
        sysctls={"net.ipv4.ip_forward": "1"},
    )


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("links", {"wg-1": {"mtu": 1400}}),
        ("addresses", []),
        ("routes", []),
        ("rules", []),
        ("neighbours", []),
        ("wireguard", {"wg-1": ["[Interface]"]}),
        ("ports", []),
        ("nft", ""),
        ("sysctls", {"net.ipv4.ip_forward": "0"}),
    ],
)
def test_comparison_sees_every_part(part: str, value: object) -> None:
    other = copy.deepcopy(room())
    setattr(other, part, value)
    assert floor.differences({"warp-1": room()}, {"warp-1": room()}) == []
    assert floor.differences({"warp-1": room()}, {"warp-1": other}) != []


def test_comparison_sees_a_missing_namespace() -> None:
    assert floor.differences({"warp-1": room()}, {}) == ["namespace warp-1: only once"]


def test_switches_are_written_before_what_they_bring_along() -> None:
    wanted, built = room(), room()
    wanted.sysctls = {"net.ipv4.ip_forward": "1", "net.ipv4.conf.lo.forwarding": "1"}
    built.sysctls = {}
    assert floor.sysctls_to_write({"n": wanted}, {"n": built}) == {
        "n": {"net.ipv4.ip_forward": "1"}
    }
