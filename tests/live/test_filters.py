"""What filters at the ingress of a link do on a real kernel, and that `dump` counts it by
reason.
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator

import pytest

from tests import world
from tests.live.conftest import sh
from warpd.kernel.kinds.link import Veth
from warpd.kernel.kinds.tc_filter import TcFilter, TcIngress
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.kernel.state import Action, Change
from warpd.reconcile.engine import converge
from warpd.reconcile.incremental import planned_run

ETHERTYPE = 0x88B5
SOURCE = bytes.fromhex("0200000000aa")
BROADCAST = "ff:ff:ff:ff:ff:ff"
GROUP = "03:00:00:00:00:01"  # to which the kernel sends nothing of its own
LIMIT = TcFilter(9, "limit", "storm", destination_mac=GROUP, packets_per_s=1, burst=3)


class Pair:
    """The pair of links of a network; frames are put into the root's end and come in by the
    other.
    """

    def __init__(self, kernel: LiveKernel) -> None:
        wanted = world.target(world.intent(a=world.network(1)))
        found = planned_run(kernel, wanted)
        assert converge(kernel, lambda: planned_run(kernel, wanted), found).complete
        self.kernel = kernel
        self.veth = next(item for item in found.compiled.state if isinstance(item, Veth))
        self.out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.out.bind((self.veth.name, 0))

    def guard(self, *filters: TcFilter) -> None:
        made = TcIngress(self.veth.peer_netns, self.veth.peer_name, filters)
        assert self.kernel.send([Change(Action.CREATE, None, made)]) == [None]

    def send(
        self, target: str, count: int = 1, tags: bytes = b"", ethertype: int = ETHERTYPE
    ) -> None:
        body = (
            bytes.fromhex(target.replace(":", ""))
            + SOURCE
            + tags
            + ethertype.to_bytes(2, "big")
            + bytes(46)
        )
        for _ in range(count):
            self.out.send(body)

    def dropped(self) -> dict[str, int]:
        reasons = self.kernel.dump(self.veth.peer_netns).drops.get(self.veth.peer_netns, {})
        return {reason: packets for reason, (packets, _bytes) in reasons.items()}


@pytest.fixture
def pair(gateway: LiveKernel) -> Iterator[Pair]:
    out = Pair(gateway)
    yield out
    out.out.close()


def test_what_is_dropped_is_counted_under_its_reason(pair: Pair) -> None:
    pair.guard(
        TcFilter(1, "pass", destination_mac="01:80:c2:00:00:0e"),
        TcFilter(2, "drop", "reserved", destination_mac="01:80:c2:00:00:00/ff:ff:ff:ff:ff:f0"),
        TcFilter(3, "drop", "stacked", 0x8100, vlan_ethertype=0x8100),
        TcFilter(4, "drop", "service", 0x88A8),
        TcFilter(5, "drop", "old", 0x9100),
        TcFilter(6, "drop", "experiment", ETHERTYPE),
    )
    pair.send("01:80:c2:00:00:0e", 3)
    pair.send("01:80:c2:00:00:0f", 5)
    pair.send(BROADCAST, 7, bytes.fromhex("8100006481000063"))
    pair.send(BROADCAST, 11, bytes.fromhex("88a80064"))
    pair.send(BROADCAST, 13, bytes.fromhex("91000064"))
    pair.send(BROADCAST, 17)
    pair.send(BROADCAST, 19, bytes.fromhex("81000064"))
    expected = {"reserved": 5, "stacked": 7, "service": 11, "old": 13, "experiment": 17}
    counted = pair.dropped()
    assert {reason: counted[reason] for reason in expected} == expected


def test_beyond_its_rate_a_limit_drops_and_what_is_within_goes_on(pair: Pair) -> None:
    pair.guard(LIMIT, TcFilter(10, "drop", "later", ETHERTYPE))
    pair.send(GROUP, 200)
    pair.send("02:00:00:00:00:01", 50)
    counted = pair.dropped()
    assert counted["storm"] + counted["later"] == 250
    assert counted["later"] >= 50, "what goes elsewhere"
    assert counted["storm"] > 0


def test_within_its_rate_a_limit_drops_nothing(pair: Pair) -> None:
    million = dataclasses.replace(LIMIT, packets_per_s=1_000_000, burst=1_000_000)
    pair.guard(million, TcFilter(10, "drop", "later", ETHERTYPE))
    pair.send(GROUP, 20)
    counted = pair.dropped()
    assert (counted["storm"], counted["later"]) == (0, 20)


def test_filters_outlive_a_flushed_ruleset(pair: Pair) -> None:
    pair.guard(TcFilter(1, "drop", "rest", ETHERTYPE))
    sh(f"ip netns exec {pair.veth.peer_netns} nft flush ruleset")
    pair.send(BROADCAST, 5)
    assert pair.dropped()["rest"] == 5
