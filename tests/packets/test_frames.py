"""Ethernet frames that are made to reach the gateway itself, to come out in another VLAN, or to
fill its memory.

The settings of the gateway's links that would stop a frame by themselves are undone first, and
everything that a root user might turn on is on (promiscuous mode, forwarding, no check of sources):
what is stopped is stopped by the filters.

mesh   c1 == leg 1 == [bridge, VLAN 100]     == leg 2 == c2
wire   c3 == leg 1 == [bridge, every frame]  == leg 2 == c4
trunk  c5 == leg 1 == [bridge, VLAN 100-110] == leg 2 == c6
"""

from __future__ import annotations

import itertools
import json
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from .gateway import Gateway, Tunnel
from .lan import CONTAINER, INTERNET4, INTERNET6, LAN_HOST4, UPLINK4, UPLINK6, Host, Lab, until
from .matrix.wire import BROADCAST, TEST_ETHERTYPE, mac
from .packet import Packet, new_ident
from .tally import TALLY

TWO = {"left": {"type": "cpe"}, "right": {"type": "cpe"}}
NETWORKS: dict[str, dict[str, Any]] = {
    "mesh": {"type": "l2-mesh", "vlan_id": 100, "endpoints": TWO},
    "wire": {"type": "l2-point-to-point", "endpoints": TWO},
    "trunk": {"type": "l2-point-to-point", "vlan_range": "100-110", "endpoints": TWO},
}
PERMITTED = {"mesh": {100}, "trunk": set(range(100, 111))}
SOURCE = "02:00:00:00:00:aa"
STRANGER4, STRANGER6 = "192.0.2.77", "2001:db8:77::77"
RESERVED = tuple(f"01:80:c2:00:00:{number:02x}" for number in range(16))
Tags = tuple[tuple[int, int], ...]  # (ethertype of the tag, VLAN id), outermost first
C_TAG, S_TAG, OLD_TAG = 0x8100, 0x88A8, 0x9100
DEPTHS: tuple[Tags, ...] = (
    (),
    ((C_TAG, 0),),
    ((C_TAG, 100),),
    ((C_TAG, 105),),
    ((S_TAG, 105),),
    ((C_TAG, 100), (C_TAG, 105)),
)


def ethernet(
    target: str, ethertype: int, payload: bytes, tags: Tags = (), source: str = SOURCE
) -> bytes:
    head = mac(target) + mac(source) + b"".join(struct.pack("!HH", kind, vid) for kind, vid in tags)
    return head + struct.pack("!H", ethertype) + payload.ljust(46, b"\0")


def arp(target: str) -> bytes:
    """Who has `target`?"""
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    return head + mac(SOURCE) + ip_address(STRANGER4).packed + bytes(6) + ip_address(target).packed


def solicitation(target: str) -> bytes:
    """The same question by ICMPv6, without a right checksum only of the kernel's own making."""
    body = struct.pack("!BBHI", 135, 0, 0, 0) + ip_address(target).packed + b"\1\1" + mac(SOURCE)
    return (
        struct.pack("!IHBB", 6 << 28, len(body), 58, 255)
        + ip_address(STRANGER6).packed
        + ip_address(target).packed
        + body
    )


@dataclass(slots=True)
class Segment:
    """One network with its two tunnels."""

    name: str
    left: Tunnel
    right: Tunnel
    facts: dict[str, Any]
    bed: Bed
    cables: dict[str, str] = field(default_factory=dict)  # host -> its end of the leg

    def inside(self, *command: str) -> str:
        return self.bed.inside(self.facts["vcid"], *command)

    @property
    def bridge(self) -> str:
        return f"br-{self.facts['vcid']}"

    @property
    def leg(self) -> str:
        """The gateway's end of the left tunnel."""
        return f"{'vx' if self.name == 'mesh' else 'gt'}-{self.facts['vcid']}-1"

    def send(self, frames: Sequence[bytes]) -> None:
        """From the left, and wait until the gateway has worked through them."""
        host = self.left.host
        for chunk in batches(frames, 200):
            host.do("frames", link=self.cables[host.name], frames=[frame.hex() for frame in chunk])
        assert host.ping(self.facts["gateway_address"], 5), f"{self.name}: the tunnel is gone"

    def sent_back(self) -> int:
        """Frames that the gateway has put into the left leg."""
        (shown,) = json.loads(self.inside("ip", "-s", "-j", "link", "show", "dev", self.leg))
        return int(shown["stats64"]["tx"]["packets"])


def batches(frames: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(frames), size):
        yield frames[start : start + size]


class Bed:
    """The three networks in one mode."""

    def __init__(self, mode: str, folder: Path) -> None:
        self.mode = mode
        self.lab = Lab(2 * len(NETWORKS))
        self.gateway = Gateway(self.lab.gw, folder)
        self.gateway.apply({name: {**body, "isolation": mode} for name, body in NETWORKS.items()})
        hosts = iter(self.lab.clients)
        self.segments = {name: self._segment(name, next(hosts), next(hosts)) for name in NETWORKS}
        for segment in self.segments.values():
            self._undo_settings(segment)

    def inside(self, vcid: int, *command: str) -> str:
        entering = () if self.mode == "vrf" else ("nsenter", f"--net=/run/netns/warp-{vcid}")
        return self.lab.gw.run(*entering, *command).checked().out

    def _segment(self, name: str, left: Host, right: Host) -> Segment:
        facts = json.loads(
            self.gateway.warpctl("network", "show", name, "-o", "json").checked().out
        )
        first = Tunnel(left, self.gateway.config(f"{name}/left"))
        second = Tunnel(right, self.gateway.config(f"{name}/right"))
        out = Segment(name, first, second, facts, self)
        for tunnel in (first, second):
            tunnel.up()
            assert tunnel.wake(facts["gateway_address"]), f"no session: {name}"
            links = json.loads(tunnel.host.run("ip", "-j", "link", "show").checked().out)
            cable = next(
                link["ifname"] for link in links if link["ifname"].startswith(("vx-", "gt-"))
            )
            out.cables[tunnel.host.name] = cable
            # Nothing is said here but by the tests, and nothing is answered: what the gateway sends
            # back is its own.
            quiet = (f"net.ipv6.conf.{cable}.disable_ipv6=1", f"net.ipv4.conf.{cable}.rp_filter=1")
            tunnel.host.run("sysctl", "-qw", *quiet).checked()
            tunnel.host.do("watch_frames", link=cable)
        if self.mode == "namespace":
            self.lab.gw.do("watch_input", netns=f"warp-{facts['vcid']}")
        return out

    def _undo_settings(self, segment: Segment) -> None:
        script = (
            "for f in /proc/sys/net/ipv4/conf/*; do echo 1 >$f/forwarding; echo 0 >$f/rp_filter;"
            " echo 0 >$f/arp_ignore; done"
        )
        segment.inside("sh", "-c", script)

    def drops(self, name: str) -> dict[str, int]:
        shown = json.loads(self.gateway.warpctl("status", "-o", "json").out)
        (about,) = [network for network in shown["networks"] if network["name"] == name]
        return {reason: int(count["packets"]) for reason, count in about["drops"].items()}


@pytest.fixture(scope="module", params=["namespace", "vrf"])
def bed(
    request: pytest.FixtureRequest, wireguard: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bed]:
    out = Bed(request.param, tmp_path_factory.mktemp("frames"))
    yield out
    out.lab.stop()


def addressed(target: str, tags: Tags, address4: str) -> Iterator[tuple[str, bytes]]:
    """Frames to `target` with what a host would take for its own, or pass on; each with its
    marker.
    """
    for kind in ("udp", "tcp", "ping"):
        for address in (address4, UPLINK6):
            source = STRANGER6 if ":" in address else STRANGER4
            packet = Packet(kind, source, address, 7777, new_ident())  # type: ignore[arg-type]  # mypy takes it for any text
            yield (
                packet.ident,
                ethernet(target, 0x86DD if ":" in address else 0x0800, packet.encode(), tags),
            )
    for address in (LAN_HOST4, CONTAINER, INTERNET4, INTERNET6, "224.0.0.1", "255.255.255.255"):
        packet = Packet(
            "udp", STRANGER6 if ":" in address else STRANGER4, address, 7777, new_ident()
        )
        yield (
            packet.ident,
            ethernet(target, 0x86DD if ":" in address else 0x0800, packet.encode(), tags),
        )
    yield "", ethernet(target, 0x0806, arp(address4), tags)
    yield "", ethernet(target, 0x86DD, solicitation(UPLINK6), tags)


def away(bed: Bed, segment: Segment, idents: set[str]) -> list[str]:
    """Where frames came out that is not the other end of their segment; the tunnel itself ends at
    the gateway.
    """
    own = {segment.left.host.name, segment.right.host.name}
    gateway = segment.facts["gateway_address"]
    out = []
    for ident, records in bed.lab.arrivals().items():
        for record in records if ident in idents else ():
            if record["host"] not in own and record["dst"] != gateway:
                out.append(
                    f"{ident} at {record['host']} {record['where']} {record['src']} to"
                    f" {record['dst']}"
                )
    return out


def own_addresses(segment: Segment) -> list[str]:
    """The MAC addresses that the gateway would answer to."""
    names = (segment.bridge, segment.leg)
    return [
        json.loads(segment.inside("ip", "-j", "link", "show", "dev", name))[0]["address"]
        for name in names
    ]


@pytest.mark.parametrize("promiscuous", [False, True], ids=["plain", "promiscuous"])
@pytest.mark.parametrize("name", NETWORKS)
def test_no_frame_is_taken_for_the_gateways_own(bed: Bed, name: str, promiscuous: bool) -> None:
    segment = bed.segments[name]
    address4 = UPLINK4 if bed.mode == "vrf" else segment.facts["gateway_address"]
    for link in (segment.bridge, segment.leg):
        segment.inside("ip", "link", "set", link, "promisc", "on" if promiscuous else "off")
    reserved = RESERVED[-2:] if promiscuous else RESERVED
    targets = (*reserved, BROADCAST, "01:00:5e:00:00:01", *dict.fromkeys(own_addresses(segment)))
    frames = [
        item for target in targets for tags in DEPTHS for item in addressed(target, tags, address4)
    ]
    before = segment.sent_back()
    segment.send([frame for _ident, frame in frames])
    seen = away(bed, segment, {ident for ident, _frame in frames if ident})
    answered = segment.sent_back() - before
    results = [
        (ident, any(text.startswith(ident) for text in seen)) for ident, _frame in frames if ident
    ]
    faults = TALLY.forbidden(
        f"frames to the gateway, {bed.mode}", [*results, (f"{answered} answers", answered > 0)]
    )
    assert not faults, seen
    for link in (segment.bridge, segment.leg):
        segment.inside("ip", "link", "set", link, "promisc", "off")


@pytest.mark.parametrize("name", NETWORKS)
def test_frames_to_reserved_addresses_are_counted(bed: Bed, name: str) -> None:
    segment = bed.segments[name]
    before = bed.drops(name).get("reserved-mac", 0)
    segment.send([ethernet(target, TEST_ETHERTYPE, b"") for target in RESERVED])
    assert bed.drops(name)["reserved-mac"] - before == len(RESERVED) - 1, "spanning tree is carried"


def stacks(permitted: int) -> list[Tags]:
    """Tags behind tags, and tags that a bridge of 802.1Q takes for payload."""
    first = [(kind, vid) for kind in (C_TAG, S_TAG, OLD_TAG) for vid in (0, 1, permitted, 99, 4095)]
    second = [(kind, 99) for kind in (C_TAG, S_TAG, OLD_TAG)]
    three = [((C_TAG, vid), (C_TAG, vid), (C_TAG, 99)) for vid in (0, permitted)]
    alone = [(tag,) for tag in first if tag[0] != C_TAG]
    return [*itertools.product(first, second), *three, *alone]


@pytest.mark.parametrize("name", PERMITTED)
def test_no_frame_comes_out_in_another_vlan(bed: Bed, name: str) -> None:
    segment, permitted = bed.segments[name], min(PERMITTED[name])
    usual: Tags = ((C_TAG, permitted),) if name == "trunk" else ()
    allowed = new_ident()
    marked = [(new_ident(), tags, ip) for tags in stacks(permitted) for ip in (False, True)]
    frames = [tagged(ident, tags, ip) for ident, tags, ip in marked]
    before = bed.drops(name).get("vlan-stacked", 0)
    segment.send([*frames, tagged(allowed, usual, False)])
    assert until(lambda: allowed in bed.lab.arrivals([segment.right.host])), (
        "the control: a plain frame comes out"
    )
    out = bed.lab.arrivals([segment.right.host])
    results = [(f"{tags}", ident in out) for ident, tags, _ip in marked]
    assert not TALLY.forbidden(f"stacked VLAN tags, {bed.mode}", results)
    assert bed.drops(name)["vlan-stacked"] - before == len(frames)


def tagged(ident: str, tags: Tags, ip: bool) -> bytes:
    if ip:
        return ethernet(
            BROADCAST, 0x0800, Packet("udp", "10.99.0.1", "10.99.0.2", 7777, ident).encode(), tags
        )
    return ethernet(BROADCAST, TEST_ETHERTYPE, ident.encode(), tags)


def test_addresses_that_one_endpoint_makes_up_are_bounded(bed: Bed) -> None:
    """Unicast frames, so that no limit of broadcasts helps; the bridge has two legs."""
    segment = bed.segments["mesh"]
    sources = [f"02:{os.urandom(5).hex(':')}" for _ in range(5000)]
    segment.send(
        [ethernet("02:00:00:00:99:99", TEST_ETHERTYPE, b"", source=source) for source in sources]
    )
    learned = segment.inside("bridge", "fdb", "show", "br", segment.bridge, "dynamic").splitlines()
    assert 1000 < len(learned) <= 2 * 1024
    ident = new_ident()
    segment.send([ethernet(BROADCAST, TEST_ETHERTYPE, ident.encode(), source="02:00:00:00:77:77")])
    assert until(lambda: ident in bed.lab.arrivals([segment.right.host])), (
        "who came later is carried all the same"
    )
