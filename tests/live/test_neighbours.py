"""What a review found once: hosts of other shapes, and other people's things with names like
ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import world
from tests.live.conftest import sh
from tests.live.daemon import Daemon
from warpd.kernel.linux import namespaces
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.kernel.state import ROOT
from warpd.reconcile.engine import Target, converge, removal
from warpd.reconcile.incremental import planned_run
from warpd.reconcile.observe import observe
from warpd.service import client

WANTED = world.intent(a=world.network(2))


def up(kernel: LiveKernel, target: Target) -> None:
    outcome = converge(kernel, lambda: planned_run(kernel, target), planned_run(kernel, target))
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
        " mine up; ip netns add warp-8"
    )
    try:
        looks = (
            "ip -j link show dn-1 | sed 's/.*ifindex.:\\([0-9]*\\).*/\\1/'; ip -j addr show dn-1;"
            " ip -n warp-7 -j link show mine; stat -c %i /run/netns/warp-8"
        )
        before = sh(looks)
        up(gateway, world.target(WANTED))
        assert sh(looks) == before
        down(gateway)
        assert sh(looks) == before
    finally:
        sh("ip netns del warp-7; ip netns del warp-8; ip link del dn-1")


def test_an_empty_namespace_is_ours_by_its_mark_alone(gateway: LiveKernel) -> None:
    """What a crash leaves before the guard stands is taken up again; what another program has made
    in its place is not touched, and named.
    """
    target = world.target(WANTED)
    name = f"warp-{target.allocations.networks['a'].vcid}"
    namespaces.create(name)
    up(gateway, target)
    sh(f"ip netns del {name}; ip netns add {name}")
    inode = sh(f"stat -c %i /run/netns/{name}")
    blocked = {item.key.name: item.foreign for item in planned_run(gateway, target).plan.blocked}
    assert "(empty)" in blocked[name]
    converge(gateway, lambda: removal(gateway), removal(gateway))
    assert sh(f"stat -c %i /run/netns/{name}") == inode
    sh(f"ip netns del {name}")
    up(gateway, target)


def test_the_host_keeps_believing_its_router(gateway: LiveKernel) -> None:
    """Every link that takes routes from a router is told to go on before IPv6 forwarding is turned
    on.
    """
    sh(
        "echo 1 >/proc/sys/net/ipv6/conf/eth0/accept_ra; echo 0"
        " >/proc/sys/net/ipv6/conf/all/forwarding"
    )
    target = world.target(WANTED)
    names = [step.key.name for step in planned_run(gateway, target).plan.steps]
    assert names.index("net/ipv6/conf/eth0/accept_ra") < names.index("net/ipv6/conf/all/forwarding")
    up(gateway, target)
    assert sh("cat /proc/sys/net/ipv6/conf/eth0/accept_ra").strip() == "2"
    down(gateway)
    assert sh(
        "cat /proc/sys/net/ipv6/conf/eth0/accept_ra /proc/sys/net/ipv6/conf/all/forwarding"
    ).split() == ["1", "0"]


def test_ipv6_forwarding_is_ours_by_its_number_alone(gateway: LiveKernel) -> None:
    """A flushed ruleset and lost links leave the number; `destroy` turns off what bears it."""
    sh("echo 0 >/proc/sys/net/ipv6/conf/all/forwarding")
    target = world.target(WANTED)
    up(gateway, target)
    sh("nft flush ruleset; ip -all netns delete")
    host = gateway.dump(ROOT).host
    assert host is not None and host.fence6
    down(gateway)
    assert sh("cat /proc/sys/net/ipv6/conf/all/forwarding").strip() == "0"


def test_a_host_that_forwards_already_is_left_alone(gateway: LiveKernel) -> None:
    sh("echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding")
    up(gateway, world.target(WANTED))
    assert "fence" not in sh("nft list chain inet warpd forward")
    down(gateway)
    assert sh(
        "cat /proc/sys/net/ipv4/conf/eth0/forwarding /proc/sys/net/ipv6/conf/all/forwarding"
    ).split() == ["1", "1"]


@dataclass(frozen=True, slots=True)
class Family:
    """A setting of the whole host, the fence that goes with it, and what must forward at the
    end.
    """

    setting: str
    fence: str
    seen: str


FAMILIES = {
    "IPv4": Family("net/ipv4/ip_forward", "fence4", "net/ipv4/conf/eth0/forwarding"),
    "IPv6": Family("net/ipv6/conf/all/forwarding", "fence6", "net/ipv6/conf/eth0/forwarding"),
}


def codes(daemon: Daemon) -> set[str]:
    """Of the conditions that the daemon tells."""
    told = client.ask("GET", "/v1/status", path=daemon.state / "sock")["conditions"]
    return {row["code"] for row in told}


@pytest.mark.parametrize("name", FAMILIES)
def test_forwarding_that_others_turn_on_later_stays_on(
    gateway: LiveKernel, tmp_path: Path, name: str
) -> None:
    """It is theirs from then on: the fence goes, everything says so, and destroy leaves it."""
    family, code = FAMILIES[name], "forwarding-taken"
    sh(f"echo 0 >/proc/sys/{family.setting}")
    gateway.close()
    with Daemon(tmp_path, {"version": 1, "networks": {"a": world.network(1)}}, 1.0) as daemon:
        daemon.wait(lambda: family.fence in sh("nft list table inet warpd"), "the fence")
        assert code not in codes(daemon)
        sh(f"echo 1 >/proc/sys/{family.setting}")
        daemon.wait(lambda: family.fence not in sh("nft list table inet warpd"), "the fence to go")
        daemon.wait(lambda: code in codes(daemon), "the condition")
        [line] = [each for each in daemon.lines("condition") if each["code"] == code]
        assert f"turned on {name} forwarding" in str(line["text"])
        daemon.stop()
        daemon.start()
        daemon.wait(lambda: code in codes(daemon), "the condition after a restart")
    kernel = LiveKernel()
    down(kernel)
    kernel.close()
    assert sh(f"cat /proc/sys/{family.setting} /proc/sys/{family.seen}").split() == ["1", "1"]


def test_a_link_that_forwarded_before_warpd_is_not_fenced_after_a_flush(
    gateway: LiveKernel,
) -> None:
    """What warpd turned on is read from the routing rules then: destroy leaves the rest on."""
    sh(
        "echo 0 >/proc/sys/net/ipv4/ip_forward; ip link add lan type veth peer name beyond;"
        "ip link set lan up; ip link set beyond up; ip addr add 192.168.7.1/24 dev lan;"
        "echo 1 >/proc/sys/net/ipv4/conf/lan/forwarding"
    )
    forwarding = "cat /proc/sys/net/ipv4/conf/{eth0,lan}/forwarding"
    target = world.target(world.intent(a={**world.network(1), "allow_private": ["192.168.7.0/24"]}))
    up(gateway, target)
    host = planned_run(gateway, target).observed.host
    assert ({link.name for link in host.exits}, host.fence4) == ({"eth0", "lan"}, ("eth0",))
    sh("nft flush ruleset")
    up(gateway, target)
    now = planned_run(gateway, target)
    assert now.observed.host.fence4 == ("eth0",)
    assert now.plan.empty
    assert sh(forwarding).split() == ["1", "1"]
    down(gateway)
    assert sh(forwarding).split() == ["0", "1"]


@pytest.mark.parametrize("isolation", ["namespace", "vrf"])
def test_the_fence_outlives_a_flush_where_no_network_leaves(
    gateway: LiveKernel, isolation: str
) -> None:
    """Without egress no link may have a tag: the routing rules alone remember the fence."""
    sh("echo 0 >/proc/sys/net/ipv4/ip_forward")
    network = {
        "type": "l3vpn-gateway",
        "isolation": isolation,
        "endpoints": {"site": {"type": "cpe", "routes": ["192.168.10.0/24"]}},
    }
    target = world.target(world.intent(a=network))
    up(gateway, target)
    fenced = "nft list chain inet warpd forward; ip rule show pref 985 iif eth0"
    before = sh(fenced)
    assert "fence" in before and "blackhole" in before
    sh("nft flush ruleset")
    assert planned_run(gateway, target).observed.host.fence4 == ("eth0",)
    up(gateway, target)
    assert sh(fenced) == before and planned_run(gateway, target).plan.empty
    down(gateway)
    assert sh("cat /proc/sys/net/ipv4/conf/eth0/forwarding").strip() == "0"


def test_a_blocked_network_still_revokes(gateway: LiveKernel) -> None:
    target = world.target(WANTED)
    up(gateway, target)
    vcid = target.allocations.networks["a"].vcid
    sh(
        f"ip -n warp-{vcid} route del default; ip -n warp-{vcid} route add default dev up-{vcid}"
        " proto boot"
    )
    fewer = world.target(world.intent(a=world.network(1)), target.allocations)
    outcome = converge(gateway, lambda: planned_run(gateway, fewer), planned_run(gateway, fewer))
    assert planned_run(gateway, fewer).plan.blocked
    assert outcome.done
    assert len(sh(f"ip netns exec warp-{vcid} wg show wg-{vcid} peers").split()) == 1
    assert len(sh(f"ip netns exec warp-{vcid} nft list set inet warpd endpoints4").split(",")) == 1
