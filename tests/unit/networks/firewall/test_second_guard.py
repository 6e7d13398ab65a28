"""What one chain accepts passes the chain behind it, and nothing else does: so no chain is the only
one that keeps something out.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

import pytest

from tests import world
from tests.unit.networks.firewall.test_firewalls import (
    MODES,
    alone,
    compiled,
    source_in,
    ways_out,
)
from warpd.intent.reserved import MARKS
from warpd.kernel.kinds.nft_table import NetworkSubtable, NftTable
from warpd.kernel.nftables.rules import ACCEPT
from warpd.kernel.nftables.simulator import Packet, Ruleset
from warpd.kernel.state import ROOT
from warpd.networks.firewall.root import GUARDED
from warpd.networks.firewall.second_guard import PERMITTED

OUTWARDS = {4: "198.51.100.7", 6: "2001:db8:51::7"}


def passages(mode: str) -> Iterator[tuple[Ruleset, Packet]]:
    """Each place that a permitted packet to the internet is forwarded at, and the packet there."""
    built, vcid = alone(world.network(2, isolation=mode))
    for netns, (iif, oif) in ways_out(mode, vcid):
        book = Ruleset(item for item in built.state if getattr(item, "netns", None) == netns)
        for version, target in OUTWARDS.items():
            yield (
                book,
                Packet(
                    source_in(book, version), target, "udp", 7777, iif=iif, oif=oif, mark=GUARDED
                ),
            )


@pytest.mark.parametrize("mode", MODES)
def test_what_is_permitted_passes_the_second_chain(mode: str) -> None:
    for book, packet in passages(mode):
        first = book.judge("forward", packet)
        assert first.what == "accept"
        assert book.judge("permitted-forward", first.packet).what == "accept"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("emptied", ["forward", "out"])
def test_what_no_chain_has_judged_is_dropped_by_the_second(mode: str, emptied: str) -> None:
    for book, packet in passages(mode):
        book.chains = {
            name: () if name == emptied else rules for name, rules in book.chains.items()
        }
        assert book.judge("permitted-forward", book.judge("forward", packet).packet).what == "drop"


@pytest.mark.parametrize("mode", MODES)
def test_what_comes_in_for_the_host_is_judged_twice(mode: str) -> None:
    for book, packet in passages(mode):
        assert book.judge("permitted-input", packet).what == "drop"
        permitted = dataclasses.replace(packet, mark=packet.mark | PERMITTED)
        assert book.judge("permitted-input", permitted).what == "accept"


@pytest.mark.parametrize("mode", MODES)
def test_every_rule_that_accepts_sets_the_bit(mode: str) -> None:
    tables = [item for item in compiled(mode).state if isinstance(item, NftTable | NetworkSubtable)]
    judging = [chain for table in tables for chain in table.chains if chain.type != "nat"]
    accepting = [
        expressions
        for chain in judging
        for expressions in (json.loads(text)["expr"] for text in chain.rules)
        if expressions[-1] == ACCEPT
    ]
    assert accepting
    assert all("mangle" in expressions[-2] for expressions in accepting)


@pytest.mark.parametrize("version", OUTWARDS)
def test_what_leaves_without_translation_is_dropped(version: int) -> None:
    """Behind everybody's source NAT the source is an inner one only where the network keeps it."""
    for nat in (True, False):
        built, vcid = alone(world.network(2, nat=nat, nat6=nat))
        book = Ruleset(item for item in built.state if getattr(item, "netns", None) == ROOT)
        ranges = book.sets[f"{'sources' if nat else 'routed'}{version}"]
        source = sorted(ranges)[0].partition("/")[0]
        packet = Packet(source, OUTWARDS[version], "udp", iif=f"dn-{vcid}", oif="eth0")
        assert book.judge("translated", packet).what == ("drop" if nat else "accept")


def test_the_bit_is_none_of_the_marks_own() -> None:
    assert not PERMITTED & (MARKS | GUARDED)
