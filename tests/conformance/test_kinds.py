"""Facts about every object kind, on the kernel in memory and on the live one.

They run over `KINDS`: a kind without a sample here fails.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests import world
from warpd.kernel.api import FailureKind, Kernel, OperationError
from warpd.kernel.kinds.address import Address
from warpd.kernel.kinds.bridge_port import BridgePort
from warpd.kernel.kinds.duplicates import DuplicateObject
from warpd.kernel.kinds.ethernet import LEARNED_PER_LEG, Bridge, Gretap, Vxlan
from warpd.kernel.kinds.link import LinkUp, OrphanLink, Veth, WireguardLink
from warpd.kernel.kinds.netns import Netns
from warpd.kernel.kinds.nft_table import IngressFilter, NetworkSubtable, NftElements, NftTable
from warpd.kernel.kinds.route import Route, route_key
from warpd.kernel.kinds.rule import Rule
from warpd.kernel.kinds.sysctl import Sysctl
from warpd.kernel.kinds.tc_filter import TcIngress
from warpd.kernel.kinds.vrf import Vrf
from warpd.kernel.kinds.wireguard import WireguardDevice, WireguardPeer
from warpd.kernel.registry import KINDS, kind_of
from warpd.kernel.state import ROOT, Action, Change, KernelObject, Phase
from warpd.reconcile.engine import Target, converge
from warpd.reconcile.incremental import planned_run
from warpd.reconcile.observe import observe

# struct rtmsg of the IPv4 route 198.51.100.0/24 in the main table, protocol 119, and its RTA_DST:
# a route that is not there.
ABSENT_ROUTE = bytes.fromhex("02180000fe770001000000000800010 0c6336400".replace(" ", ""))
# Kinds that are never wanted, only removed; their samples stand for something that is not there.
NEVER_WANTED: Mapping[type[KernelObject], KernelObject] = {
    OrphanLink: OrphanLink(ROOT, "gt-4294967295-1", "gretap"),
    DuplicateObject: DuplicateObject(
        ROOT, "route", route_key(ROOT, 254, "198.51.100.0/24", 0), ABSENT_ROUTE, 1
    ),
}
# Which of several objects of a kind is the sample: one on which no other sample depends.
SAMPLES: Mapping[type[KernelObject], Callable[[Any], bool]] = {
    NftTable: lambda item: item.netns == ROOT,
    NetworkSubtable: lambda item: item.vcid == VCID_IN_VRF,  # no ingress filter names its counters
    IngressFilter: lambda item: item.netns == ROOT,
    NftElements: lambda item: item.netns == ROOT and item.phase is Phase.PERMIT,
    Netns: lambda item: True,
    Vrf: lambda item: True,
    # One leg, since kernels before 6.7 have no limit and read as limited by the legs there are.
    Bridge: lambda item: item.max_learned == LEARNED_PER_LEG,
    Gretap: lambda item: True,
    Vxlan: lambda item: True,
    WireguardLink: lambda item: item.netns == PLAIN,
    Veth: lambda item: item.peer_netns == PLAIN,
    Sysctl: lambda item: item.holder is not None,
    BridgePort: lambda item: True,
    TcIngress: lambda item: item.netns == PLAIN,
    WireguardDevice: lambda item: item.netns == PLAIN,
    WireguardPeer: lambda item: item.netns == PLAIN,
    Address: lambda item: item.netns == PLAIN,
    LinkUp: lambda item: item.netns == PLAIN and item.name.startswith("wg-"),
    Route: lambda item: item.netns == PLAIN and item.via is None and item.device != "",
    Rule: lambda item: not item.goto,
}
VCID, VCID_IN_VRF = 7, 8
PLAIN = f"warp-{VCID}"  # the namespace of a network that has nothing special


def target() -> Target:
    """Few networks that have every kind between them: emulated kernels are slow."""
    whole = "n_whole"
    alone = {"type": "l2-mesh", "isolation": "vrf", "endpoints": {"a": {"type": "cpe"}}}
    networks = {
        "plain": world.network(2, vcid=VCID),
        "plain-vrf": world.network(2, vcid=VCID_IN_VRF, isolation="vrf"),
        "one-leg": {**alone, "vlan_range": "20-22"},
        whole: world.every_type("namespace")[whole],
    }
    return world.target(world.intent({"pools": {"ports": "51820-51899"}}, **networks))


@pytest.fixture
def samples(kernel: Kernel) -> dict[type[KernelObject], KernelObject]:
    """A kernel with networks of every type in every mode, and an object of every kind in it."""
    wanted = target()
    outcome = converge(kernel, lambda: planned_run(kernel, wanted), planned_run(kernel, wanted))
    assert outcome.complete, (outcome.failed, outcome.unverified)
    found = dict(NEVER_WANTED)
    there = sorted(observe(kernel).state, key=lambda item: item.key)
    for kind, fits in SAMPLES.items():
        fitting = [item for item in there if type(item) is kind and fits(item)]
        assert fitting, kind
        found[kind] = fitting[0]
    return found


def sent(kernel: Kernel, action: Action, item: KernelObject) -> OperationError | None:
    removed = action is Action.DELETE
    change = Change(action, item if removed else None, None if removed else item)
    if item.TRANSACTED:
        return kernel.transact(item.key.netns, [change])
    return kernel.send([change])[0]


def test_every_kind_has_a_sample() -> None:
    assert {kind.cls for kind in KINDS} == {*SAMPLES, *NEVER_WANTED}


def test_every_kind_is_one_of_a_name_and_a_file() -> None:
    """All links share a name, since the kernel has one name space for them."""
    names = [kind.cls.KIND for kind in KINDS if not kind.drivers and kind.cls is not OrphanLink]
    assert len(names) == len(set(names))
    assert {kind.cls.KIND for kind in KINDS if kind.drivers} == {OrphanLink.KIND}


def test_every_kind_says_how_it_is_known_to_be_ours() -> None:
    for kind in KINDS:
        assert "Ours: " in (kind.cls.__doc__ or ""), kind.cls.__name__


def errno_of(fault: OperationError | None) -> int:
    return 0 if fault is None else fault.errno


def test_creating_what_is_there(
    kernel: Kernel, samples: dict[type[KernelObject], KernelObject]
) -> None:
    """The kernel refuses it, or sets it once more, as the kind's rules say."""
    answers, rules = {}, {}
    for cls, item in samples.items():
        if cls not in NEVER_WANTED:
            fault = sent(kernel, Action.CREATE, item)
            answers[item.key] = errno_of(fault), fault is not None and fault.kind
            taken = kind_of(item).rules.taken
            foreign = FailureKind.FOREIGN if taken == errno.EEXIST else FailureKind.REFUSED
            rules[item.key] = taken, taken != 0 and foreign
    assert answers == rules


def test_what_is_removed_is_gone_and_comes_again(
    kernel: Kernel, samples: dict[type[KernelObject], KernelObject]
) -> None:
    """The last kinds of the registry first, as nothing before them stands on them."""
    for kind in reversed(KINDS):
        item, rules = samples[kind.cls], kind.rules
        if kind.cls not in NEVER_WANTED:
            assert sent(kernel, Action.DELETE, item) is None, item.key
        there = observe(kernel).state.get(item.key) is not None
        assert there == rules.is_permanent(item), item.key
        again = errno_of(sent(kernel, Action.DELETE, item))
        assert again == (0 if there else rules.absent), item.key
        if kind.cls not in NEVER_WANTED:
            assert there or sent(kernel, Action.CREATE, item) is None, item.key
            assert observe(kernel).state.get(item.key) == item, item.key


def test_what_a_kind_needs_is_needed(
    kernel: Kernel, samples: dict[type[KernelObject], KernelObject]
) -> None:
    """Without the link that it is on the kernel refuses it, with the errno of the kind's rules."""
    link = samples[WireguardLink]
    assert sent(kernel, Action.DELETE, link) is None
    answers, rules = {}, {}
    for cls, item in samples.items():
        if cls not in NEVER_WANTED and link.key in kind_of(item).rules.prerequisites(item):
            answers[item.key] = errno_of(sent(kernel, Action.CREATE, item))
            rules[item.key] = kind_of(item).rules.missing
    assert answers == rules
    assert len(answers) > 2


def test_what_is_in_the_table_needs_the_table(
    kernel: Kernel, samples: dict[type[KernelObject], KernelObject]
) -> None:
    """Without it the kernel refuses them as what stands on something that has gone since."""
    assert sent(kernel, Action.DELETE, samples[NftTable]) is None
    inside = [samples[cls] for cls in (NetworkSubtable, IngressFilter, NftElements)]
    faults = [sent(kernel, Action.CREATE, item) for item in inside]
    assert [errno_of(fault) for fault in faults] == [kind_of(i).rules.missing for i in inside]
    assert all(fault is not None and fault.is_transient for fault in faults)
