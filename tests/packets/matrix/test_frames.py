"""Ethernet: what comes out of a wire or a segment, whose, and with which tag.

Every L2 client has a cable in its LAN port. All L2 networks use the same MAC addresses, VLAN ids
and IP subnets.

left pc0 == port0 [its bridge] ==tunnel== gw bridge ==tunnel== [its bridge] port0 == pc0 right
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from ..gateway import LINK
from ..lan import UPLINK4, until
from ..packet import new_ident
from .field import CABLE, MATRIX, Field, Member
from .model import Net, networks
from .segments import TAGS, UNTAGGED, passes
from .wire import BROADCAST, frame, gre, ipv4, vxlan

NETS = {net.name: net for net in networks() if net.layer2}
MULTICAST = "01:00:5e:00:00:fb"
UNKNOWN = "02:00:00:00:99:99"
STP = "01:80:c2:00:00:00"


@dataclass(frozen=True, slots=True)
class Sent:
    """A frame, who must get it (names of endpoints) and with which tags."""

    sender: Member
    text: str
    ident: str
    data: bytes
    vlans: tuple[int, ...]
    must: frozenset[str]
    may: frozenset[str]


@pytest.fixture(scope="module")
def segments(matrix: Field) -> Field:
    """All L2 clients: addresses on the cable, the same in every network."""
    for member in matrix.members.values():
        if member.net.layer2:
            number = member.mac[-1]
            for link, third in ((CABLE, 0), (f"{CABLE}.105", 105)):
                member.host.ip(
                    f"addr add 10.99.{third}.{number}/24 dev {link}",
                    f"addr add fd99:{third}::{number}/64 dev {link}",
                )
    return matrix


def of(field: Field, name: str) -> list[Member]:
    mine = [member for member in field.members.values() if member.net.name == name]
    silent = [member.name for member in mine if member.name in field.silent]
    assert not silent, f"no session: {silent}"
    return mine


def sent(
    sender: Member,
    group: Sequence[Member],
    target: str,
    vlans: tuple[int, ...],
    size: int = 60,
    source: str = "",
) -> Sent:
    """A frame with its fate: to one MAC address, or to everybody in the network."""
    ident, verdict = new_ident(), passes(sender.net, vlans)
    others = [member.name for member in group if member is not sender]
    meant = [
        member.name for member in group if member.mac == target and member is not sender
    ] or others
    data = frame(source or sender.mac, target, ident, vlans, size)
    text = f"{target} tags {vlans} size {size}"
    may = others if verdict is not False else ()
    return Sent(
        sender, text, ident, data, vlans, frozenset(meant if verdict else ()), frozenset(may)
    )


def send(field: Field, frames: Sequence[Sent], category: str) -> list[str]:
    """Send all, fence with a ping of the gateway by the same tunnels, look, count."""
    for member in {item.sender.name: item.sender for item in frames}.values():
        mine = [item.data.hex() for item in frames if item.sender is member]
        for at in range(0, len(mine), 50):
            member.host.do("frames", link=CABLE, frames=mine[at : at + 50])
            assert member.host.ping(member.gateways[0], 3)
    until(lambda: field.look() and all(item.must <= came(field, item) for item in frames), 4)
    time.sleep(0.15)
    field.look()
    faults = []
    for item in frames:
        column, arrived = item.sender.net.column, came(field, item)
        anywhere = {field.hosts.get(host, host) for host in field.seen.where(item.ident)} - {
            item.sender.name
        }
        if item.must:
            missing = item.must - arrived
            results = [
                (f"{item.sender.name} {item.text} to {name}", name not in missing)
                for name in sorted(item.must)
            ]
            faults += MATRIX.allowed(f"{column} L2 {category}", results)
        wrong = anywhere - item.must - item.may - {"gw"}  # where the tunnel ends
        if wrong or not item.must | item.may:
            faults += MATRIX.forbidden(
                f"{column} L2 {category}",
                [(f"{item.sender.name} {item.text} at {wrong}", bool(wrong))],
            )
    return faults


def came(field: Field, item: Sent) -> set[str]:
    """At whose cable it came out, with the tags it went in with, once."""
    out: dict[str, int] = {}
    for record in field.seen.arrived.get(item.ident, ()):
        if (
            record["where"] == "frame"
            and record["link"] == CABLE
            and tuple(record["vlans"]) == item.vlans
        ):
            name = field.hosts[record["host"]]
            out[name] = out.get(name, 0) + 1
    return {name for name, times in out.items() if times == 1}


def usual(net: Net) -> tuple[int, ...]:
    """Tags with which any frame passes."""
    return (105,) if net.name.startswith("trunk") else UNTAGGED


@pytest.mark.parametrize("name", NETS)
def test_tags_in_and_out_of_range(segments: Field, name: str) -> None:
    """Unicast, broadcast, multicast and unknown unicast frames with each tag, from each end to each
    other.
    """
    group = of(segments, name)
    targets = (BROADCAST, MULTICAST, UNKNOWN, *(member.mac for member in group))
    frames = [
        sent(member, group, target, vlans)
        for member in group
        for vlans in TAGS
        for target in targets
        if target != member.mac
    ]
    assert not send(segments, frames, "frames by VLAN tag")


@pytest.mark.parametrize("name", NETS)
def test_service_tags_do_not_slip_through(segments: Field, name: str) -> None:
    """A tag of 802.1ad, or of what was used before it, is no permitted VLAN, whatever it wraps."""
    group = of(segments, name)
    frames = []
    tags = ((0,), (99,), (100,), (105,), (100, 100), (99, 105), (0, 99))
    for outer, vlans in itertools.product((0x88A8, 0x9100, 0x9200), tags):
        one = sent(group[0], group, BROADCAST, vlans)
        data = frame(group[0].mac, BROADCAST, one.ident, vlans, outer=outer)
        none: frozenset[str] = frozenset()
        may = none if NETS[name].vlans is not None else frozenset(m.name for m in group)
        frames.append(Sent(one.sender, f"{outer:#x} {one.text}", one.ident, data, vlans, none, may))
    assert not send(segments, frames, "service tags")


@pytest.mark.parametrize("name", NETS)
def test_reserved_addresses_end_at_the_leg(segments: Field, name: str) -> None:
    """The next bridge is ours, and it takes part in nothing: only spanning tree is carried, like
    any other frame.
    """
    group, none = of(segments, name), frozenset[str]()
    frames = [sent(group[0], group, STP, usual(NETS[name]))]
    for number, vlans in itertools.product(
        range(1, 16), (UNTAGGED, (0,), (100,), (105,), (100, 105))
    ):
        one = sent(group[0], group, f"01:80:c2:00:00:{number:02x}", vlans)
        frames.append(Sent(one.sender, one.text, one.ident, one.data, vlans, none, none))
    assert not send(segments, frames, "reserved addresses")


@pytest.mark.parametrize("name", NETS)
def test_full_frames(segments: Field, name: str) -> None:
    """1500 bytes of payload, with a tag or without, to one and to all."""
    group = of(segments, name)
    frames = [
        sent(member, group, target, usual(NETS[name]), size)
        for member in group
        for target in (BROADCAST, *(m.mac for m in group if m is not member))
        for size in (46, 1000, 1400, 1458, 1500)
    ]
    assert not send(segments, frames, "frames up to 1500 bytes")


@pytest.mark.parametrize("name", NETS)
def test_ip_over_the_wire(segments: Field, name: str) -> None:
    """ARP and IPv6 neighbour discovery resolve to the own network's MAC, and 1500 bytes with DF
    pass.
    """
    group = of(segments, name)
    third, link = (105, f"{CABLE}.105") if usual(NETS[name]) else (0, CABLE)
    results = []
    for one in group:
        for other in group:
            if one is other:
                continue
            number = other.mac[-1]
            for target, size in (
                (f"10.99.{third}.{number}", 1472),
                (f"fd99:{third}::{number}", 1452),
            ):
                one.host.run("ip", "neigh", "flush", "dev", link).checked()
                small = one.host.run("ping", "-n", "-c1", "-W3", "-I", link, target).rc == 0
                shown = json.loads(
                    one.host.run("ip", "-j", "neigh", "show", target, "dev", link).out or "[]"
                )
                large = (
                    one.host.run(
                        "ping", "-n", "-c1", "-W3", "-M", "do", "-s", str(size), "-I", link, target
                    ).rc
                    == 0
                )
                resolved = any(item.get("lladdr") == other.mac for item in shown)
                kind = "ND" if ":" in target else "ARP"
                results += [(f"{kind} {target}: {shown}", resolved), (f"ping {target}", small)]
                results.append((f"1500 bytes with DF to {target}", large))
    assert not MATRIX.allowed(f"{NETS[name].column} L2 ARP, ND, 1500 bytes with DF", results)


@pytest.mark.parametrize("name", NETS)
def test_fifty_addresses_move(segments: Field, name: str) -> None:
    """They are behind one end, then behind another; frames to them follow."""
    group, tags = of(segments, name), usual(NETS[name])
    first, second, asker = group[0], group[1], group[-1]
    macs = [f"02:00:00:00:50:{n:02x}" for n in range(50)]
    for here, elsewhere in ((first, asker), (second, first)):
        speak = [sent(here, group, BROADCAST, tags, source=source) for source in macs]
        ask = []
        for target in macs:
            ident = new_ident()
            data = frame(elsewhere.mac, target, ident, tags)
            others = frozenset(m.name for m in group if m is not elsewhere)
            ask.append(
                Sent(
                    elsewhere,
                    f"to moved {target}",
                    ident,
                    data,
                    tags,
                    frozenset({here.name}),
                    others,
                )
            )
        assert not send(segments, speak, "50 addresses speak")
        assert not send(segments, ask, "50 addresses, reached after a move")


@pytest.mark.parametrize("name", NETS)
def test_unknown_vlans_are_counted(segments: Field, name: str) -> None:
    """`status` shows that they were dropped."""
    net = NETS[name]
    if net.vlans is None:
        assert passes(net, (99,)), (
            "a wire without VLANs lets everything through: there is nothing to count"
        )
        return
    group = of(segments, name)
    before = drops(segments, name)
    frames = [sent(group[0], group, BROADCAST, (99,)) for _n in range(30)]
    assert not send(segments, frames, "unknown VLANs")
    after = drops(segments, name)
    assert after - before >= 30, f"status counts {after - before} of 30 dropped frames"


def drops(field: Field, name: str) -> int:
    shown = json.loads(field.gateway.warpctl("status", "-o", "json").out)
    (about,) = [network for network in shown["networks"] if network["name"] == name]
    return sum(int(item["packets"]) for item in about["drops"].values())


def forgeries(field: Field, member: Member) -> Iterator[tuple[str, str, bytes]]:
    """Frames wrapped by hand as if they came from another leg: of another network's VNI, or over
    plain GRE.
    """
    inner_of = [new_ident() for _n in range(120)]
    vnis = [
        *range(110001, 110010),
        *range(200000, 200010),
        *range(200100, 200110),
        *range(1, 5),
        100,
    ]
    for target in (a for a in member.gateways if a):
        for vni in vnis:
            ident = inner_of.pop()
            yield (
                f"VNI {vni} to {target}",
                ident,
                vxlan(member.own(target), target, vni, frame(member.mac, BROADCAST, ident)),
            )
        for key in (None, 0, 1, 100, int(field.facts[member.net.name]["vcid"])):
            ident = inner_of.pop()
            yield (
                f"GRE key {key} to {target}",
                ident,
                gre(member.own(target), target, frame(member.mac, BROADCAST, ident), key),
            )


@pytest.mark.parametrize("name", [net.name for net in networks()])
def test_no_frame_enters_another_network(segments: Field, name: str) -> None:
    """Not by any VXLAN or GRE that an endpoint can wrap itself; within its own segment they are its
    own business.
    """
    member = next(m for m in segments.members.values() if m.net.name == name)
    assert member.name not in segments.silent
    faults = []
    wrapped = list(forgeries(segments, member))
    member.host.do(
        "packets", link=LINK, packets=[packet.hex() for _text, _ident, packet in wrapped]
    )
    assert member.host.ping(member.gateways[0], 3)
    time.sleep(0.1)
    segments.look()
    mine = (
        {m.name for m in segments.members.values() if m.net.name == name}
        if member.net.layer2
        else set()
    )
    for text, ident, _packet in wrapped:
        anywhere = {segments.hosts.get(host, host) for host in segments.seen.where(ident)} - mine
        anywhere -= {"gw"} if member.net.layer2 else set()  # its own tunnel's port is open to it
        category = f"{member.net.column} L2 frames wrapped by an endpoint"
        faults += MATRIX.forbidden(
            category, [(f"{member.name} {text} at {anywhere}", bool(anywhere))]
        )
    assert not faults, "\n".join(faults[:20])


def test_no_frame_comes_in_from_outside(segments: Field) -> None:
    """VXLAN and GRE to the gateway's public address, from the internet."""
    world, sent_idents, packets = segments.lab.world, [], []
    for vni in (*range(110001, 110010), *range(200000, 200010), *range(200100, 200110)):
        ident = new_ident()
        packets.append(
            vxlan("198.51.100.7", UPLINK4, vni, frame("02:00:00:00:00:01", BROADCAST, ident)).hex()
        )
        sent_idents.append(ident)
    ident = new_ident()
    packets.append(gre("198.51.100.7", UPLINK4, frame("02:00:00:00:00:01", BROADCAST, ident)).hex())
    packets.append(ipv4(17, "198.51.100.7", UPLINK4, b"\0" * 8).hex())
    world.do("routed", packets=packets)
    assert world.udp(UPLINK4, 7777, new_ident())
    segments.look()
    at_gateway = [i for i in sent_idents if "gw" in segments.seen.where(i)]
    assert len(at_gateway) == len(sent_idents), "the control: they do reach the gateway's input"
    faults = []
    for ident in sent_idents:
        inside = segments.seen.where(ident) & set(segments.hosts)
        faults += MATRIX.forbidden(
            "l2-mesh/ns L2 frames wrapped outside", [(f"{ident} at {inside}", bool(inside))]
        )
    assert not faults
