"""Path MTU: TCP's MSS is clamped both ways, and ICMP errors for path MTU discovery reach the inner
host.

h1 --- wg (1420) --- gw --- isp ---1500--- 198.51.100.7
                             +-----1300--- 198.51.100.8
"""

from __future__ import annotations

import json

import pytest

from .gateway import LINK
from .lan import INTERNET4, INTERNET6, NARROW4, NARROW6, NARROW_MTU, UPLINK4, UPLINK6, until
from .packet import Packet, new_ident
from .standing import Member, Standing
from .tally import TALLY

SYN, SYN_ACK = 0x02, 0x12
NAMES = ("h1", "m1", "a", "l")


def tunnel_mtu(standing: Standing, member: Member) -> int:
    shown = (
        standing.gateway.inside(member.vcid, "ip", "-j", "link", "show", "dev", f"wg-{member.vcid}")
        .checked()
        .out
    )
    return int(json.loads(shown)[0]["mtu"])


def largest_mss(mtu: int, address: str) -> int:
    return mtu - (60 if ":" in address else 40)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("target", [INTERNET4, INTERNET6])
def test_mss_towards_the_internet_and_back(standing: Standing, name: str, target: str) -> None:
    """A SYN that offers 1460 arrives with what the tunnel carries; so does the SYN-ACK that comes
    back.
    """
    member = standing[name]
    limit = largest_mss(tunnel_mtu(standing, member), target)
    ident = new_ident()
    sport = 41000 + int(ident[-3:])
    assert not standing.passed("MSS", [(member, packet(member, target, ident, sport))], "world")
    syn, *_rest = [
        r for r in standing.lab.arrivals([standing.lab.world])[ident] if r["flags"] & SYN
    ]

    def answer() -> list[int]:
        found = [
            r for r in member.host.records() if r["link"] == LINK and r.get("flags") == SYN_ACK
        ]
        return [r["mss"] for r in found if r["src"] == target and r["dport"] == sport]

    until(answer)
    back = answer()
    results = [
        (f"SYN {syn['mss']} of {limit}", 0 < (syn["mss"] or 0) <= limit),
        (f"SYN-ACK {back} of {limit}", bool(back) and 0 < back[0] <= limit),
    ]
    assert not TALLY.allowed("MSS", results)


@pytest.mark.parametrize("pair", [("m1", "m2"), ("m2", "m1")])
def test_mss_within_a_mesh(standing: Standing, pair: tuple[str, str]) -> None:
    one, two = (standing[name] for name in pair)
    results = []
    for target in two.config.addresses:
        limit = largest_mss(tunnel_mtu(standing, one), target)
        ident = new_ident()
        assert not standing.passed("MSS", [(one, packet(one, target, ident, 42000))], two.host.name)
        seen = [r["mss"] or 0 for r in standing.lab.arrivals([two.host])[ident]]
        results.append((f"{target}: {seen} of {limit}", 0 < max(seen) <= limit))
    assert not TALLY.allowed("MSS", results)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("target", [NARROW4, NARROW6])
def test_a_narrow_link_beyond_the_gateway_is_learned_inside(
    standing: Standing, name: str, target: str
) -> None:
    """The provider's "fragmentation needed" and "packet too big" come back through the gateway's
    NAT.
    """
    member = standing[name]
    assert member.host.udp(target, 7777, new_ident())
    learned = member.host.do("path_mtu", dst=target, port=7777, size=1340, timeout_s=4)
    assert not TALLY.allowed("path MTU", [(f"{name} {target}: {learned}", learned == NARROW_MTU)])


@pytest.mark.parametrize("target", [INTERNET4, INTERNET6])
def test_the_tunnels_mtu_is_learned_outside(standing: Standing, target: str) -> None:
    """The other way: who answers with too much is told by the gateway, by an address it knows."""
    member, world = standing["h1"], standing.lab.world
    ident = new_ident()
    assert member.host.udp(target, 7777, ident, sport=46000)
    seen, *_rest = [r for r in standing.lab.arrivals([world])[ident] if r["dport"] == 7777]
    assert seen["src"] in (UPLINK4, UPLINK6)
    learned = world.do(
        "path_mtu",
        dst=seen["src"],
        port=seen["sport"],
        size=1440,
        timeout_s=4,
        sport=7777,
        source=target,
    )
    expected = tunnel_mtu(standing, member)
    assert not TALLY.allowed(
        "path MTU", [(f"world: {learned}, tunnel: {expected}", learned == expected)]
    )


@pytest.mark.parametrize("name", NAMES)
def test_large_answers_pass_in_pieces(standing: Standing, name: str) -> None:
    """Fragments of a large datagram find their way out and back."""
    member = standing[name]
    text = [new_ident().ljust(3000, "x") for _target in member.internet]
    results = [
        (f"{name} {target}", member.host.udp(target, 7777, t))
        for target, t in zip(member.internet, text, strict=True)
    ]
    assert not TALLY.allowed("large datagrams", results)


def packet(member: Member, target: str, ident: str, sport: int) -> Packet:
    return Packet("tcp", member.own(target), target, 7777, ident, sport, mss=1460)
