"""Internet egress never reaches inside: a listener in every private, local and special range hears
nothing.

h1 m1 a v l --- gw --- isp --- world: 10.9.9.9, 169.254.169.254, fd00:9::9, ...
                 |_ lan0, docker0 _____ world: 10.44.0.9, 172.17.0.2, fd00:44::9
"""

from __future__ import annotations

import pytest

from .lan import DNS4, DNS6, INSIDE4, INSIDE6, INTERNET6, public6
from .packet import Kind, new_ident
from .standing import ALLOWED_INSIDE, KINDS, Standing
from .tally import TALLY

PROBES: tuple[tuple[Kind, int], ...] = (("udp", 53), ("udp", 7777), ("tcp", 7777), ("ping", 0))
SPECIAL = {"l": (*ALLOWED_INSIDE, DNS4, DNS6)}


@pytest.mark.parametrize("name", ["h1", "m1", "a", "l"])
def test_private_ranges_are_out_of_reach(listeners: Standing, name: str) -> None:
    """UDP (also to port 53), TCP and ping; IPv4 and IPv6."""
    member = listeners[name]
    targets = [a for a in (*INSIDE4, *INSIDE6) if a not in SPECIAL.get(name, ())]
    shots = [
        (member, member.packet(kind, target, port)) for target in targets for kind, port in PROBES
    ]
    assert not listeners.stopped("private and special ranges", shots)


def test_metadata_service_by_every_disguise(listeners: Standing) -> None:
    """The cloud's metadata address also through IPv4-mapped, NAT64 and 6to4 spellings and as TCP
    port 80.
    """
    member = listeners["h1"]
    spellings = (
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "fd00:ec2::254",
        "fe80::a9fe:a9fe",
    )
    shots = [(member, member.packet(kind, a, 80)) for a in spellings for kind in KINDS]
    assert not listeners.stopped("cloud metadata service", shots)


def test_ipv6_off_is_blocked_not_leaked(listeners: Standing) -> None:
    """Whatever IPv6 the client puts into the tunnel, from whatever address, ends at the gateway."""
    member = listeners["v"]
    sources = ("fd00:5::5", "2001:db8:5::5", "fe80::5", listeners["h1"].config.address6)
    targets = (INTERNET6, "fd00:9::9", listeners["h1"].config.address6, listeners["h1"].gateway6)
    shots = [
        (member, member.packet(kind, t, 7777, s))
        for kind in KINDS
        for t in targets
        for s in sources
    ]
    assert not listeners.stopped("ipv6: false", shots)


def test_ipv6_off_does_not_go_around_the_tunnel(standing: Standing) -> None:
    """The client's own IPv6 of its provider must not be used either: ::/0 leads into the tunnel."""
    member = standing["v"]
    idents = [new_ident(), new_ident()]
    member.host.udp(INTERNET6, 7777, idents[0], 0.3)
    member.host.tcp(INTERNET6, 7777, idents[1], 0.3)
    arrivals = standing.lab.arrivals()
    syns = [r for r in standing.lab.world.records() if r["src"] == public6(member.number)]
    faults = [(ident, ident in arrivals) for ident in idents]
    assert not TALLY.forbidden("ipv6: false", [*faults, (f"around the tunnel: {syns}", bool(syns))])
