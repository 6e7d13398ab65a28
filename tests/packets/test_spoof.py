"""An endpoint sends from its own addresses only, and who has no key sends nothing.

h1 (hub), m1 (mesh), a, l --- gw --- world / other endpoints
c9: a stranger who knows everything but a key that counts
"""

from __future__ import annotations

import re

import pytest

from .gateway import Config, Tunnel, new_key, parse
from .lan import INTERNET4, INTERNET6, LAN_HOST4, UPLINK4, UPLINK6, public4
from .packet import new_ident
from .standing import KINDS, Shot, Standing
from .tally import TALLY


@pytest.mark.parametrize("name", ["h1", "m1", "a", "l"])
def test_own_address_passes_by_the_same_way(standing: Standing, name: str) -> None:
    """The control: packets built by the same hand, with the true source, do arrive."""
    member = standing[name]
    shots = [(member, member.packet(kind, target)) for kind in KINDS for target in member.internet]
    assert not standing.passed("own source (control)", shots, "world")


@pytest.mark.parametrize("name", ["h1", "m1", "a", "l"])
def test_spoofed_sources(standing: Standing, name: str) -> None:
    member = standing[name]
    everyone = [
        a
        for m in standing.members.values()
        for a in (*m.config.addresses, m.gateway4, m.gateway6)
        if a
    ]
    strange = ("203.0.113.99", "10.1.2.3", "127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1")
    strange6 = ("2001:db8:99::1", "fd00:1::1", "::1", "::", "fe80::1", "ff02::1")
    places = (UPLINK4, UPLINK6, INTERNET4, INTERNET6, LAN_HOST4, public4(member.number))
    sources = {*everyone, *strange, *strange6, *places, *standing.gateway.transit(member.vcid)}
    sources -= set(member.config.addresses)
    shots: list[Shot] = []
    for source in sorted(sources):
        target = INTERNET6 if ":" in source else INTERNET4
        shots += [
            (member, member.packet(kind, target, 7777, source))
            for kind in KINDS
            if target != source
        ]
    assert not standing.stopped("spoofed source to the internet", shots)


def test_spoofed_source_to_a_mesh_neighbour(standing: Standing) -> None:
    one, two = standing["m1"], standing["m2"]
    shots: list[Shot] = []
    for target in two.config.addresses:
        six = ":" in target
        others = (
            (INTERNET6, one.gateway6, standing["h1"].config.address6)
            if six
            else (
                INTERNET4,
                one.gateway4,
                standing["h1"].config.address4,
                "198.51.101.4",
            )
        )
        shots += [
            (one, one.packet(kind, target, 7777, source))
            for kind in KINDS
            for source in (*others, target)
        ]
    assert not standing.stopped("spoofed source to a neighbour", shots)


@pytest.mark.parametrize("what", ["unknown key", "wrong preshared key"])
def test_stranger_gets_no_session(standing: Standing, what: str) -> None:
    """Not with a key of his own, and not with a stolen private key but without its preshared
    key.
    """
    stranger, victim = standing.stranger, standing["h2"]
    if what == "unknown key":
        config = altered(victim.config, "PrivateKey", new_key("genkey"))
    else:
        config = altered(victim.config, "PresharedKey", new_key("genpsk"))
    tunnel = Tunnel(stranger, config)
    tunnel.up()
    try:
        idents = [new_ident() for _n in range(6)]
        for ident in idents:
            stranger.udp(INTERNET4, 7777, ident, 0.3)
        arrivals = standing.lab.arrivals()
        faults = [(f"{what}: {ident}", ident in arrivals) for ident in idents]
        faults.append((f"{what}: handshake", tunnel.handshake > 0))
    finally:
        tunnel.down()
    assert not TALLY.forbidden("strangers", faults)
    assert not TALLY.allowed(
        "strangers", [("the true owner afterwards", victim.tunnel.wake(INTERNET4))]
    )


def altered(config: Config, name: str, value: str) -> Config:
    text, count = re.subn(rf"^(\s*{name}\s*=).*$", rf"\1 {value}", config.text, flags=re.MULTILINE)
    assert count == 1, f"the printed config has {count} lines of {name}"
    return parse(text)
