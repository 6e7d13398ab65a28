"""What a review found once: hosts of other shapes, and other people's things with names like ours."""

from __future__ import annotations

from pathlib import Path

from tests import world
from tests.live.conftest import sh
from tests.live.daemon import Daemon
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.reconcile.engine import Target, converge, planned_run, removal
from warpd.reconcile.observe import observe

WANTED = world.intent(a=world.network(2))


def up(kernel: LiveKernel, goal: Target) -> None:
    outcome = converge(kernel, lambda: planned_run(kernel, goal), planned_run(kernel, goal))
    assert outcome.complete, (outcome.failed, outcome.unverified)


def down(kernel: LiveKernel) -> None:
    assert converge(kernel, lambda: removal(kernel), removal(kernel)).complete


def test_an_uplink_with_ipv4_only_is_found(gateway: LiveKernel) -> None:
    sh("ip -6 route del default")
    assert observe(gateway).host.uplink == "eth0"


def test_an_uplink_with_ipv6_only_is_found(gateway: LiveKernel) -> None:
    sh("ip route del default")
    assert observe(gateway).host.uplink == "eth0"


def test_look_alikes_of_others_stay(gateway: LiveKernel) -> None:
    sh(
        "ip link add dn-1 type veth peer name up-1; ip addr add 192.0.2.1/32 dev dn-1; ip link set"
        " dn-1 up;ip netns add warp-7; ip -n warp-7 link add mine type dummy; ip -n warp-7 link set"
        " mine up"
    )
    try:
        looks = (
            "ip -j link show dn-1 | sed 's/.*ifindex.:\\([0-9]*\\).*/\\1/'; ip -j addr show dn-1;"
            " ip -n warp-7 -j link show mine"
        )
        before = sh(looks)
        up(gateway, world.goal(WANTED))
        assert sh(looks) == before
        down(gateway)
        assert sh(looks) == before
    finally:
        sh("ip netns del warp-7; ip link del dn-1")


def test_the_host_keeps_believing_its_router(gateway: LiveKernel) -> None:
    """Every link that takes routes from a router is told to go on before IPv6 forwarding is turned
    on.
    """
    sh(
        "echo 1 >/proc/sys/net/ipv6/conf/eth0/accept_ra; echo 0"
        " >/proc/sys/net/ipv6/conf/all/forwarding"
    )
    goal = world.goal(WANTED)
    names = [step.key.name for step in planned_run(gateway, goal).plan.steps]
    assert names.index("net/ipv6/conf/eth0/accept_ra") < names.index("net/ipv6/conf/all/forwarding")
    up(gateway, goal)
    assert sh("cat /proc/sys/net/ipv6/conf/eth0/accept_ra").strip() == "2"
    down(gateway)
    assert sh(
        "cat /proc/sys/net/ipv6/conf/eth0/accept_ra /proc/sys/net/ipv6/conf/all/forwarding"
    ).split() == ["1", "0"]


def test_a_host_that_forwards_already_is_left_alone(gateway: LiveKernel) -> None:
    sh("echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding")
    up(gateway, world.goal(WANTED))
    assert "fence" not in sh("nft list chain inet warpd forward")
    down(gateway)
    assert sh(
        "cat /proc/sys/net/ipv4/conf/eth0/forwarding /proc/sys/net/ipv6/conf/all/forwarding"
    ).split() == ["1", "1"]


def test_forwarding_that_others_turn_on_later_stays_on(gateway: LiveKernel, tmp_path: Path) -> None:
    """It is theirs from then on: the fence goes, the daemon says so, and destroy leaves it."""
    sh("echo 0 >/proc/sys/net/ipv4/ip_forward")
    gateway.close()
    with Daemon(tmp_path, {"version": 1, "networks": {"a": world.network(1)}}, 1.0) as daemon:
        daemon.wait(lambda: "fence4" in sh("nft list table inet warpd"), "the fence")
        sh("echo 1 >/proc/sys/net/ipv4/ip_forward")
        daemon.wait(lambda: "fence4" not in sh("nft list table inet warpd"), "the fence to go")
        assert len(daemon.lines("forwarding")) == 1
    kernel = LiveKernel()
    down(kernel)
    kernel.close()
    assert sh(
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/eth0/forwarding"
    ).split() == ["1", "1"]


def test_a_blocked_network_still_revokes(gateway: LiveKernel) -> None:
    goal = world.goal(WANTED)
    up(gateway, goal)
    vcid = goal.allocations.networks["a"].vcid
    sh(
        f"ip -n warp-{vcid} route del default; ip -n warp-{vcid} route add default dev up-{vcid}"
        " proto boot"
    )
    fewer = world.goal(world.intent(a=world.network(1)), goal.allocations)
    outcome = converge(gateway, lambda: planned_run(gateway, fewer), planned_run(gateway, fewer))
    assert planned_run(gateway, fewer).plan.blocked
    assert outcome.done
    assert len(sh(f"ip netns exec warp-{vcid} wg show wg-{vcid} peers").split()) == 1
    assert len(sh(f"ip netns exec warp-{vcid} nft list set inet warpd endpoints4").split(",")) == 1
