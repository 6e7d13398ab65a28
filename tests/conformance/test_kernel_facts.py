"""Facts about kernels that the plan's order and the judging of errors rest on.

True in memory and on the machine.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import subprocess
from typing import Any

from tests import world
from warpd.kernel.api import FailureKind, Kernel, OperationError
from warpd.kernel.kinds.address import Address
from warpd.kernel.kinds.ethernet import LEARNED_PER_LEG, Bridge
from warpd.kernel.kinds.link import LinkUp, Veth, WireguardLink
from warpd.kernel.kinds.netns import Netns
from warpd.kernel.kinds.nft_table import NftElements, NftTable
from warpd.kernel.kinds.route import Route
from warpd.kernel.kinds.sysctl import WATCHED, Sysctl
from warpd.kernel.kinds.tc_filter import TcFilter, TcIngress
from warpd.kernel.kinds.wireguard import WireguardDevice, WireguardPeer
from warpd.kernel.state import Action, Change, KernelObject
from warpd.reconcile.engine import Target, apply, converge, removal
from warpd.reconcile.incremental import planned_run
from warpd.reconcile.observe import observe
from warpd.reconcile.plan import Step
from warpd.testing.fake_kernel import FakeKernel


def target() -> Target:
    return world.target(world.intent(a=world.network(2), b=world.network(2)))


def up(kernel: Kernel) -> Target:
    wanted = target()
    outcome = converge(kernel, lambda: planned_run(kernel, wanted), planned_run(kernel, wanted))
    assert outcome.complete, (outcome.failed, outcome.unverified)
    return wanted


def all_of(kernel: Kernel, kind: type) -> list[Any]:
    return sorted(
        (item for item in observe(kernel).state if type(item) is kind), key=lambda item: item.key
    )


def one(kernel: Kernel, change: Change) -> OperationError | None:
    if isinstance(change.subject, NftTable | NftElements):
        return kernel.transact(change.subject.key.netns, [change])
    return kernel.send([change])[0]


def steps(kernel: Kernel, kind: type) -> list[Step]:
    return [
        step
        for step in planned_run(kernel, target()).plan.steps
        if type(step.change.subject) is kind
    ]


def test_what_is_planned_is_what_is_read(kernel: Kernel) -> None:
    wanted = up(kernel)
    found = planned_run(kernel, wanted)
    seen = observe(kernel).state
    assert found.plan.empty
    assert {
        key: item for key, item in seen.objects.items() if key in found.compiled.state.objects
    } == dict(found.compiled.state.objects)


def test_a_route_needs_its_link_up(kernel: Kernel) -> None:
    up(kernel)
    route = next(item for item in all_of(kernel, Route) if item.via is None and item.netns)
    link = next(
        item
        for item in all_of(kernel, LinkUp)
        if (item.netns, item.name) == (route.netns, route.device)
    )
    assert one(kernel, Change(Action.DELETE, link, None)) is None
    assert route.key not in observe(kernel).state.objects, "going down takes the routes along"
    fault = one(kernel, Change(Action.CREATE, None, route))
    assert fault is not None
    assert fault.errno == errno.ENETDOWN


def test_a_setting_of_a_link_is_seen_as_it_is_written(kernel: Kernel) -> None:
    """It is written by its file, and read from an array in which the kernel tells all that a link
    has.
    """
    types = world.every_type("namespace")
    networks = {
        "a": world.network(1),
        "b": world.network(1, isolation="vrf"),
        "c": types["n_wire"],
        "d": types["n_campus"],
    }
    wanted = world.target(world.intent(**networks))
    outcome = converge(kernel, lambda: planned_run(kernel, wanted), planned_run(kernel, wanted))
    assert outcome.complete, (outcome.failed, outcome.unverified)
    ours = [
        item
        for item in all_of(kernel, Sysctl)
        if item.holder is not None and item.holder.kind != Netns.KIND
    ]
    watched = {path.rpartition("/")[2] for role, paths in WATCHED.items() if role for path in paths}
    assert {item.path.rpartition("/")[2] for item in ours} == watched
    for value in ("0", "1", "2"):
        written = {
            item.key: dataclasses.replace(item, value=value)
            for item in ours
            if value != "2" or item.path.endswith(("rp_filter", "accept_ra", "accept_dad"))
        }
        for item in ours:
            if item.key in written:
                assert one(kernel, Change(Action.UPDATE, item, written[item.key])) is None
        seen = {
            each.key: each
            for netns in {item.netns for item in ours}
            for each in kernel.dump(netns).objects
            if isinstance(each, Sysctl) and each.key in written
        }
        assert seen == written


def test_a_link_takes_addresses_routes_and_peers_with_it(kernel: Kernel) -> None:
    up(kernel)
    link = all_of(kernel, WireguardLink)[0]
    assert one(kernel, Change(Action.DELETE, link, None)) is None
    left = [item for item in observe(kernel).state if getattr(item, "device", "") == link.name]
    assert left == []


def test_both_ends_of_a_pair_go_together(kernel: Kernel) -> None:
    up(kernel)
    pair = all_of(kernel, Veth)[0]
    assert one(kernel, Change(Action.DELETE, pair, None)) is None
    left = [
        item
        for item in observe(kernel).state
        if getattr(item, "device", "") in (pair.name, pair.peer_name)
    ]
    assert left == []


def test_removing_what_is_gone_is_done(kernel: Kernel) -> None:
    up(kernel)
    for kind in (Address, Route, WireguardPeer, WireguardLink):
        item = all_of(kernel, kind)[0]
        assert one(kernel, Change(Action.DELETE, item, None)) is None
        assert one(kernel, Change(Action.DELETE, item, None)) is None, kind


def test_creating_what_is_there_is_refused(kernel: Kernel) -> None:
    up(kernel)
    for kind in (Netns, WireguardLink, Veth, Address, Route):
        item: KernelObject = all_of(kernel, kind)[0]
        fault = one(kernel, Change(Action.CREATE, None, item))
        assert fault is not None, kind
        assert (fault.kind, fault.errno) == (FailureKind.FOREIGN, errno.EEXIST), kind


def test_allowed_ips_move_to_the_peer_that_got_them_last(kernel: Kernel) -> None:
    up(kernel)
    first, second = all_of(kernel, WireguardPeer)[:2]
    greedy = dataclasses.replace(
        second, allowed_ips=tuple(sorted((*second.allowed_ips, *first.allowed_ips)))
    )
    assert one(kernel, Change(Action.UPDATE, second, greedy)) is None
    now = observe(kernel).state.objects
    assert now[first.key].allowed_ips == ()  # type: ignore[attr-defined]
    assert now[second.key] == greedy


def test_a_port_belongs_to_one_device(kernel: Kernel) -> None:
    up(kernel)
    first, second = all_of(kernel, WireguardDevice)[:2]
    fault = one(kernel, Change(Action.UPDATE, second, dataclasses.replace(second, port=first.port)))
    assert fault is not None
    assert fault.errno == errno.EADDRINUSE


def test_two_networks_swap_ports_in_one_pass(kernel: Kernel) -> None:
    wanted = up(kernel)
    ports = [allocation.port for allocation in wanted.allocations.networks.values()]
    swapped = world.target(
        world.intent(a=world.network(2, port=ports[1]), b=world.network(2, port=ports[0]))
    )
    outcome = converge(kernel, lambda: planned_run(kernel, swapped), planned_run(kernel, swapped))
    assert outcome.complete, outcome.failed
    assert [item.port for item in all_of(kernel, WireguardDevice)] != []


def test_a_transaction_is_all_or_nothing(kernel: Kernel) -> None:
    up(kernel)
    allocation = next(item for item in all_of(kernel, NftElements) if item.set == "endpoints4")
    fewer = dataclasses.replace(allocation, elements=frozenset(list(allocation.elements)[:1]))
    # the table that these belong to is not there: the second change cannot be made
    orphan = Change(
        Action.CREATE, None, NftElements("warp-1", "endpoints4", frozenset({"no address"}))
    )
    changes = [Change(Action.UPDATE, allocation, fewer), orphan]
    assert kernel.transact(allocation.netns, changes) is not None
    assert observe(kernel).state.objects[allocation.key] == allocation


def test_every_element_goes_and_comes_by_itself(kernel: Kernel) -> None:
    """A revocation names elements one by one, whatever their parts are: addresses, prefixes, names,
    numbers.
    """
    wanted = world.target(world.intent(**world.every_type("namespace")))
    outcome = converge(kernel, lambda: planned_run(kernel, wanted), planned_run(kernel, wanted))
    assert outcome.complete, (outcome.failed, outcome.unverified)
    for item in all_of(kernel, NftElements):
        for element in sorted(item.elements):
            fewer = dataclasses.replace(item, elements=item.elements - {element})
            gone = (
                Change(Action.UPDATE, item, fewer)
                if fewer.elements
                else Change(Action.DELETE, item, None)
            )
            assert kernel.transact(item.netns, [gone]) is None, f"{item.key}: {element}"
            again = (
                Change(Action.UPDATE, fewer, item)
                if fewer.elements
                else Change(Action.CREATE, None, item)
            )
            assert kernel.transact(item.netns, [again]) is None, f"{item.key}: {element}"
    assert planned_run(kernel, wanted).plan.empty


def test_a_namespace_takes_everything_along(kernel: Kernel) -> None:
    up(kernel)
    room = all_of(kernel, Netns)[0]
    apply(kernel, removal(kernel, room.name).plan.steps)
    assert [item for item in observe(kernel).state if item.group == room.name] == []
    assert all_of(kernel, Netns) != []


def test_a_bridge_learns_no_more_than_it_is_told(kernel: Kernel) -> None:
    """Where the kernel knows no limit (before Linux 6.7), what is wanted is what is seen."""
    wanted = world.target(world.intent(a=world.every_type("namespace")["n_campus"]))
    outcome = converge(kernel, lambda: planned_run(kernel, wanted), planned_run(kernel, wanted))
    assert outcome.complete, (outcome.failed, outcome.unverified)
    (bridge,) = all_of(kernel, Bridge)
    assert bridge.max_learned == 3 * LEARNED_PER_LEG
    other = dataclasses.replace(bridge, max_learned=7)
    assert one(kernel, Change(Action.UPDATE, bridge, other)) is None
    (seen,) = all_of(kernel, Bridge)
    assert seen in (other, bridge)
    assert seen == other or linux() < (6, 7)
    outcome = converge(kernel, lambda: planned_run(kernel, wanted), planned_run(kernel, wanted))
    assert outcome.complete
    assert all_of(kernel, Bridge) == [bridge]


def linux() -> tuple[int, ...]:
    return tuple(int(part) for part in os.uname().release.split(".")[:2])


# One filter for each key, verdict and combination in use.
FILTERS = (
    TcFilter(1, "drop", "sixteen-octets-x"),
    TcFilter(2, "drop", "reserved", destination_mac="01:80:c2:00:00:00/ff:ff:ff:ff:ff:f0"),
    TcFilter(3, "pass", "", destination_mac="01:80:c2:00:00:0e"),
    TcFilter(4, "drop", "vlan", ethertype=0x88A8),
    TcFilter(5, "drop", "vlan", ethertype=0x9100),
    TcFilter(6, "drop", "vlan", ethertype=0x8100, vlan_ethertype=0x8100),
    TcFilter(7, "drop", "vlan", ethertype=0x8100, vlan_ethertype=0x88A8),
    TcFilter(8, "drop", "vlan", ethertype=0x8100, vlan_ethertype=0x9100),
    TcFilter(9, "drop", "vlan", ethertype=0x8100, vlan_id=0),
    TcFilter(10, "pass", "", ethertype=0x8100, vlan_id=4094, vlan_ethertype=0x0800),
    TcFilter(11, "pass", "", ethertype=0x0800, destination="10.1.0.0/16"),
    TcFilter(
        12, "drop", "echo", ethertype=0x0800, ip_protocol=1, icmp_type=8, destination="192.0.2.1/32"
    ),
    TcFilter(13, "drop", "gre", ethertype=0x0800, ip_protocol=47),
    TcFilter(
        14, "pass", "", ethertype=0x86DD, ip_protocol=58, icmp_type=135, destination="2001:db8::/32"
    ),
    TcFilter(15, "drop", "six", ethertype=0x86DD),
    TcFilter(16, "drop", "arp", ethertype=0x0806),
    TcFilter(
        17,
        "limit",
        "storm",
        destination_mac="01:00:00:00:00:00/01:00:00:00:00:00",
        packets_per_s=2000,
        burst=2000,
    ),
    TcFilter(18, "limit", "storm", packets_per_s=333, burst=7),
    TcFilter(65535, "drop", "rest"),
)


def unfiltered(kernel: Kernel) -> tuple[Target, list[TcIngress]]:
    """A network whose links have lost their filters; what to restore, and which those were."""
    wanted = up(kernel)
    own = all_of(kernel, TcIngress)
    for item in own:
        assert one(kernel, Change(Action.DELETE, item, None)) is None
    return wanted, own


def test_every_filter_at_an_ingress_is_seen_as_it_is_written(kernel: Kernel) -> None:
    unfiltered(kernel)
    link = all_of(kernel, WireguardLink)[0]
    ingress = TcIngress(link.netns, link.name, FILTERS)
    assert one(kernel, Change(Action.CREATE, None, ingress)) is None
    assert all_of(kernel, TcIngress) == [ingress]
    refused = one(kernel, Change(Action.CREATE, None, ingress))
    assert refused is not None
    assert (refused.kind, refused.errno) == (FailureKind.FOREIGN, errno.EEXIST)
    for filters in (
        FILTERS[::2],
        tuple(dataclasses.replace(item, reason="other") for item in FILTERS),
        FILTERS[::-3][::-1],
    ):
        other = dataclasses.replace(ingress, filters=filters)
        assert one(kernel, Change(Action.UPDATE, ingress, other)) is None
        assert all_of(kernel, TcIngress) == [other]
        ingress = other
    assert one(kernel, Change(Action.DELETE, ingress, None)) is None
    assert all_of(kernel, TcIngress) == []
    assert one(kernel, Change(Action.DELETE, ingress, None)) is None, "what is gone is done"


def test_filters_that_nobody_wants_are_removed(kernel: Kernel) -> None:
    wanted, own = unfiltered(kernel)
    pair, link = all_of(kernel, Veth)[0], all_of(kernel, WireguardLink)[0]
    for item in (
        TcIngress(link.netns, link.name, FILTERS),
        TcIngress(pair.peer_netns, pair.peer_name, FILTERS),
        TcIngress(pair.netns, pair.name, FILTERS),
    ):
        assert one(kernel, Change(Action.CREATE, None, item)) is None
    outcome = converge(kernel, lambda: planned_run(kernel, wanted), planned_run(kernel, wanted))
    assert outcome.complete, (outcome.failed, outcome.unverified)
    assert sorted(all_of(kernel, TcIngress), key=lambda item: item.key) == sorted(
        own, key=lambda item: item.key
    )


def test_a_peer_is_dialled_at_another_address_and_stays_what_it_is(kernel: Kernel) -> None:
    up(kernel)
    peer = all_of(kernel, WireguardPeer)[0]
    assert kernel.dial(peer, "198.51.100.9:7") is None
    assert all_of(kernel, WireguardPeer)[0] == peer
    unknown = dataclasses.replace(peer, device="wg-0")
    fault = kernel.dial(unknown, "198.51.100.9:7")
    assert fault is not None and fault.kind is FailureKind.REFUSED


def test_a_change_is_an_event_of_its_namespace(kernel: Kernel) -> None:
    up(kernel)
    kernel.listen()
    list(kernel.events(0.0))
    link = next(item for item in all_of(kernel, LinkUp) if item.netns)
    assert one(kernel, Change(Action.DELETE, link, None)) is None
    assert link.netns in {event.netns for event in kernel.events(1.0)}
    assert not list(kernel.events(0.0)), "each event is told once"
    kernel.stop_listening()
    assert one(kernel, Change(Action.CREATE, None, link)) is None
    assert not list(kernel.events(0.0)), "nobody listens"


def remove_as_another_program(kernel: Kernel, netns: Netns) -> None:
    if isinstance(kernel, FakeKernel):
        del kernel.objects[netns.key]
    else:
        subprocess.run(["ip", "netns", "delete", netns.name], check=True)


def test_a_namespace_that_another_program_removes_is_stale(kernel: Kernel) -> None:
    up(kernel)
    ours, theirs = all_of(kernel, Netns)
    assert one(kernel, Change(Action.DELETE, ours, None)) is None
    assert not kernel.stale_namespaces(), "we know what we did"
    remove_as_another_program(kernel, theirs)
    assert kernel.stale_namespaces() == {theirs.name}
    assert not kernel.stale_namespaces(), "each is told once"


def test_counters_may_be_kept_and_nothing_else(kernel: Kernel) -> None:
    up(kernel)
    fresh = observe(kernel)
    with kernel.keeping_counters():
        kept = observe(kernel)
    assert kept.state == fresh.state and kept.host == fresh.host
