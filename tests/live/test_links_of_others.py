"""A link is ours when we created it, and never because we wanted its name.

Blocked by name, and as it was afterwards.

gw: eth0 | br-lan 10.20.0.1/16, VLANs 7 and 8, with a port | a link of others under each name that
we would give
"""

from __future__ import annotations

import pytest

from tests import world
from tests.live.conftest import sh
from warpd.kernel.channels import LinkRequests
from warpd.kernel.kinds.link import NEWBORN
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.kernel.netlink.socket import Refusal
from warpd.kernel.state import Change
from warpd.reconcile.engine import Target, converge, removal
from warpd.reconcile.incremental import planned_run

VCID = 11111111
LAN = """
ip link add br-lan type bridge vlan_filtering 1; ip link add port0 type dummy; ip link set port0 master br-lan up
bridge vlan add vid 7-8 dev port0; ip link set br-lan up; ip addr add 10.20.0.1/16 dev br-lan
"""


def segment(isolation: str, **fields: object) -> Target:
    cpe = {"type": "cpe"}
    mesh = {
        "type": "l2-mesh",
        "isolation": isolation,
        "vcid": VCID,
        "expected_users": 2,
        "endpoints": {"a": cpe, "b": cpe},
    }
    return world.target(world.intent(seg={**mesh, **fields}, web=world.network(1)))


def seen(name: str) -> str:
    counters = "sed -E 's/(in|out|rx|tx)_?[a-z]* [0-9]+//g'"
    return sh(
        f"ip -d addr show dev {name} | grep -v valid_lft | sed -E 's/hello_timer.*gc_timer"
        f" +[0-9.]+//' | {counters};bridge vlan show dev {name}; bridge vlan show dev port0"
        f" 2>/dev/null || true; bridge -d link show | {counters}"
    )


def pass_over(kernel: LiveKernel, target: Target, name: str, group: str = f"warp-{VCID}") -> None:
    """One apply and one destroy: the link's network alone is blocked, by the link's name."""
    found = planned_run(kernel, target)
    assert {(item.key.name, item.group) for item in found.plan.blocked} == {(name, group)}
    outcome = converge(kernel, lambda: planned_run(kernel, target), found)
    assert not outcome.failed
    again = planned_run(kernel, target)
    assert (again.plan.steps, {item.key.name for item in again.plan.blocked}) == ((), {name})
    assert converge(kernel, lambda: removal(kernel), removal(kernel)).complete


def test_a_bridge_of_the_host_is_not_taken(gateway: LiveKernel) -> None:
    sh(LAN)
    before = seen("br-lan")
    pass_over(gateway, segment("vrf", bridge_name="br-lan"), "br-lan")
    assert seen("br-lan") == before


def test_a_link_in_our_own_namespace_is_not_taken(gateway: LiveKernel) -> None:
    target = segment("namespace")
    assert converge(
        gateway, lambda: planned_run(gateway, target), planned_run(gateway, target)
    ).complete
    sh(f"ip -n warp-{VCID} link add lan0 type bridge stp_state 1")
    inside = (
        f"ip -n warp-{VCID} -d -o link show lan0 | grep -o 'stp_state"
        " [01]\\|alias.*\\|vlan_filtering [01]'"
    )
    before = sh(inside)
    named = segment("namespace", bridge_name="lan0")
    found = planned_run(gateway, named)
    assert [(item.key.netns, item.key.name) for item in found.plan.blocked] == [
        (f"warp-{VCID}", "lan0")
    ]
    assert not converge(gateway, lambda: planned_run(gateway, named), found).failed
    assert sh(inside) == before


@pytest.mark.parametrize(
    ("isolation", "name", "kind"),
    [
        ("vrf", f"wg-{VCID}", "dummy"),
        ("vrf", f"wg-{VCID}", "wireguard"),
        ("vrf", f"vrf-{VCID}", "vrf table 7"),
        ("vrf", f"br-{VCID}", "bridge"),
        ("vrf", f"vx-{VCID}-1", "dummy"),
    ],
)
def test_a_link_with_a_name_of_ours_is_not_taken(
    gateway: LiveKernel, isolation: str, name: str, kind: str
) -> None:
    sh(f"ip link add {name} type {kind}")
    before = seen(name)
    pass_over(gateway, segment(isolation), name)
    assert seen(name) == before


@pytest.mark.parametrize("name", ["lan-of-others", f"vrf-{VCID}", f"wg-{VCID}"])
def test_another_name_of_a_link_is_not_taken(gateway: LiveKernel, name: str) -> None:
    """The kernel has one space of names for links and their altnames (dev_get_by_name)."""
    sh(f"{LAN}ip link property add dev br-lan altname {name}")
    before = seen("br-lan")
    bridge = {} if name.endswith(str(VCID)) else {"bridge_name": name}
    target = segment("vrf", **bridge)
    found = planned_run(gateway, target)
    assert ["another name of br-lan" in item.foreign for item in found.plan.blocked] == [True]
    pass_over(gateway, target, name)
    assert seen("br-lan") == before


def test_the_other_end_of_a_guarded_interface_is_not_taken(gateway: LiveKernel) -> None:
    target = world.target(world.intent(web=world.network(1, vcid=VCID), more=world.network(1)))
    sh(f"ip link add dn-{VCID} type veth peer name of-others")
    before = seen(f"dn-{VCID}")
    pass_over(gateway, target, f"dn-{VCID}")
    assert seen(f"dn-{VCID}") == before


class Racing(LiveKernel):
    """Another program makes the link after we have looked and before we send."""

    def _make_link(self, change: Change, channel: LinkRequests) -> Refusal | None:
        sh("ip link add lan9 type bridge stp_state 1 || true")
        return super()._make_link(change, channel)


def test_a_link_that_came_in_between_is_not_marked(gateway: LiveKernel) -> None:
    kernel, target = Racing(), segment("vrf", bridge_name="lan9")
    try:
        outcome = converge(kernel, lambda: planned_run(kernel, target), planned_run(kernel, target))
        assert any(step.key.name == "lan9" for step, _fault in outcome.failed)
        assert "stp_state 1" in sh("ip -d link show lan9")
        assert "alias" not in sh("ip link show lan9")
    finally:
        kernel.close()


def test_what_a_crash_left_without_its_mark_is_ours(gateway: LiveKernel) -> None:
    """The process was killed after the creation and before the mark: the link is removed, and made
    anew where it is wanted.
    """
    target = segment("vrf", bridge_name="lan9")
    sh(
        f"ip link add lan9 group {NEWBORN} type bridge; ip link add lan8 group {NEWBORN} type"
        " bridge"
    )
    assert converge(
        gateway, lambda: planned_run(gateway, target), planned_run(gateway, target)
    ).complete
    assert f"alias warpd:{VCID}:seg" in sh("ip link show lan9")
    assert "group default" in sh("ip link show lan9")
    assert "lan8" not in sh("ip link show")
    assert converge(gateway, lambda: removal(gateway), removal(gateway)).complete
    assert "lan9" not in sh("ip link show")
