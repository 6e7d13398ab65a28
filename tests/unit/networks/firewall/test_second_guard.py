"""What one chain accepts passes the chain behind it, and nothing else does: so no chain is the only
one that keeps something out.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator

import pytest

from tests import world
from tests.unit.networks.firewall.test_firewalls import (
    MODES,
    alone,
    compiled,
    egress_links,
    source_in,
)
from warpd.intent.reserved import MARKS
from warpd.kernel.kinds.nft_table import NetworkSubtable, NftTable
from warpd.kernel.kinds.rule import Rule
from warpd.kernel.nftables.rules import ACCEPT, rule
from warpd.kernel.nftables.simulator import Packet, Ruleset
from warpd.kernel.state import ROOT, EgressLink
from warpd.networks.compiler import compile_state
from warpd.networks.firewall.root import GUARDED
from warpd.networks.firewall.second_guard import PERMITTED
from warpd.testing.fake_kernel import PLAIN

INSIDE = {4: "10.9.9.9", 6: "fd00:9::9"}
OUTWARDS = {4: "198.51.100.7", 6: "2001:db8:51::7"}


def passages(mode: str) -> Iterator[tuple[Ruleset, Packet]]:
    """Each place that a permitted packet to the internet is forwarded at, and the packet there.

    It is marked as of the link that it came in by: in the root, the port of a VRF.
    """
    built, vcid = alone(world.network(2, isolation=mode))
    for netns, (iif, oif) in egress_links(mode, vcid):
        book = Ruleset(item for item in built.state if getattr(item, "netns", None) == netns)
        for version, target in OUTWARDS.items():
            packet = Packet(source_in(book, version), target, "udp", 7777, iif=iif, oif=oif)
            came_by = dataclasses.replace(packet, iif=iif.replace("vrf-", "wg-"))
            mark = book.evaluate("steer", came_by).packet.mark
            yield book, dataclasses.replace(packet, mark=mark or GUARDED)


@pytest.mark.parametrize("mode", MODES)
def test_what_is_permitted_passes_the_second_chain(mode: str) -> None:
    for book, packet in passages(mode):
        first = book.evaluate("forward", packet)
        assert first.what == "accept"
        assert book.evaluate("permitted-forward", first.packet).what == "accept"


def damaged(whole: Ruleset) -> Iterator[tuple[str, Ruleset]]:
    """Each chain by itself deleted, and preceded by an `accept`; translation has a guard of its
    own.
    """
    for name, rules in whole.chains.items():
        for what, left in (("deleted", ()), ("accepts", (rule("", ACCEPT), *rules))):
            book = copy.copy(whole)
            book.chains = {**whole.chains, name: left}
            book.policies = {**whole.policies, name: "accept"}
            yield f"{name} {what}", book


@pytest.mark.parametrize("mode", MODES)
def test_no_chain_by_itself_keeps_inside_out_of_reach(mode: str) -> None:
    for whole, packet in passages(mode):
        for target, oif in ((INSIDE[packet.version], packet.oif), (packet.target, "lan0")):
            forbidden = dataclasses.replace(packet, target=target, oif=oif)
            stopped_here = not passes(whole, forbidden)
            for what, book in damaged(whole):
                assert not (stopped_here and passes(book, forbidden)), f"{what}: {target} by {oif}"


def passes(book: Ruleset, packet: Packet) -> bool:
    first = book.evaluate("forward", packet)
    second = book.evaluate("permitted-forward", first.packet)
    return (first.what, second.what) == ("accept", "accept")


@pytest.mark.parametrize("mode", MODES)
def test_what_comes_in_for_the_host_is_filtered_twice(mode: str) -> None:
    for book, packet in passages(mode):
        assert book.evaluate("permitted-input", packet).what == "drop"
        permitted = dataclasses.replace(packet, mark=packet.mark | PERMITTED)
        assert book.evaluate("permitted-input", permitted).what == "accept"


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
        assert book.evaluate("translated", packet).what == ("drop" if nat else "accept")


def test_the_bit_is_none_of_the_marks_own() -> None:
    assert not PERMITTED & (MARKS | GUARDED)


@pytest.mark.parametrize("mode", MODES)
def test_the_fence_stands_without_the_ruleset(mode: str) -> None:
    """Where the host forwarded for nobody, what comes in by the uplink without a mark goes nowhere;
    where it forwarded, that is no business of ours.
    """
    forwards = dataclasses.replace(
        PLAIN, forwarding4=True, forwarding6=True, exits=(EgressLink("eth0", forwarding4=True),)
    )
    for host, fenced in ((PLAIN, {4, 6}), (forwards, set())):
        wanted = world.target(world.intent({}, web=world.network(2, isolation=mode)))
        built = compile_state(wanted.intent, wanted.allocations, wanted.master, host, wanted.today)
        rules = [item for item in built.state if isinstance(item, Rule) and item.link == "eth0"]
        drops = [item for item in rules if item.blackhole and not (item.to or item.of_vrf)]
        assert {item.version for item in drops} == fenced
