"""Peer lists beyond one message: 25, 100 and 5,000 peers, and a peer with 2,000 AllowedIPs, written
and read equal.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import time

import pytest

from tests import world
from tests.live.conftest import sh
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.kernel.state import Action, Change
from warpd.reconcile.engine import Target, converge
from warpd.reconcile.incremental import planned_run
from warpd.reconcile.observe import observe


# Taking 5,000 peers away costs the kernel minutes (one RCU grace period each): that one runs with
# the long proofs.
@pytest.mark.parametrize("count", [25, 100, pytest.param(5000, marks=pytest.mark.long)])
def test_many_peers(gateway: LiveKernel, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    target = world.target(world.intent(big=with_keys(count)))
    start = time.monotonic()
    assert converge(
        gateway, lambda: planned_run(gateway, target), planned_run(gateway, target)
    ).complete
    took = time.monotonic() - start
    wanted = peers_of(planned_run(gateway, target).compiled.state.objects.values())
    seen = peers_of(observe(gateway).state)
    assert len(seen) == count
    assert seen == wanted
    with capsys.disabled():
        print(f"\n  {count} peers written and read equal ({took:.2f} s)")
    vcid = target.allocations.networks["big"].vcid
    assert len(sh(f"ip netns exec warp-{vcid} wg show wg-{vcid} peers").split()) == count


def test_a_peer_with_2000_allowed_ips(gateway: LiveKernel) -> None:
    target = world.target(world.intent(big=world.network(2)))
    assert converge(
        gateway, lambda: planned_run(gateway, target), planned_run(gateway, target)
    ).complete
    one = next(item for item in observe(gateway).state if isinstance(item, WireguardPeer))
    prefixes = [f"10.{number // 256}.{number % 256}.0/24" for number in range(1000)]
    prefixes += [f"fd00:{number:x}::/32" for number in range(1, 1001)]
    wide = dataclasses.replace(one, allowed_ips=tuple(sorted(prefixes)))
    assert gateway.send([Change(Action.UPDATE, one, wide)]) == [None]
    assert observe(gateway).state.get(one.key) == wide
    assert_repaired(gateway, target)


def assert_repaired(kernel: LiveKernel, target: Target) -> None:
    assert converge(
        kernel, lambda: planned_run(kernel, target), planned_run(kernel, target)
    ).complete
    assert planned_run(kernel, target).plan.empty


def with_keys(count: int) -> dict[str, object]:
    """Endpoints with keys of their own: 5,000 derivations would measure the wrong thing."""
    body = world.network(count)
    for name, endpoint in body["endpoints"].items():
        endpoint["public_key"] = base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()
        endpoint["preshared_key"] = False
    return body


def peers_of(objects: object) -> dict[str, WireguardPeer]:
    return {item.public_key: item for item in objects if isinstance(item, WireguardPeer)}  # type: ignore[attr-defined]
