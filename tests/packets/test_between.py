"""Nothing passes between two networks: not by address, by hairpin, by equal subnets or a wide
grant.

left  a 10.77.0.1 --- [room: 10.77.0.0/29] --+
                                             gw --- isp (routes every network's range back to gw)
right z 10.77.0.3 --- [room: 10.77.0.0/29] --+
"""

from __future__ import annotations

import pytest

from .lan import INTERNET4, INTERNET6, UPLINK4, UPLINK6, public4, public6
from .packet import new_ident
from .standing import KINDS, MEMBERS, Shot, Standing
from .tally import TALLY

NAMES = [name for _network, name in MEMBERS]


def test_equal_subnets_each_have_their_own_way(standing: Standing) -> None:
    """Both reach the internet at the same time from the same source port, and each gets its own
    answers.
    """
    results = []
    for _round in range(5):
        for name in ("a", "z"):
            for target in (INTERNET4, INTERNET6):
                answered = standing[name].host.udp(target, 7777, new_ident(), sport=45000)
                results.append((f"{name} {target}", answered))
    assert not TALLY.allowed("two networks with one subnet", results)


@pytest.mark.parametrize("name", NAMES)
def test_every_endpoint_to_every_other_networks_endpoints(standing: Standing, name: str) -> None:
    """From its own address, from the gateway address of the target's network, from the target's
    address.
    """
    member = standing[name]
    shots: list[Shot] = []
    for other in standing.members.values():
        if other.network == member.network:
            continue
        for target in other.config.addresses:
            inside = other.gateway6 if ":" in target else other.gateway4
            sources = ("", inside, target)
            shots += [
                (member, member.packet(kind, target, 7777, s)) for kind in KINDS for s in sources
            ]
    # Where the subnets are equal, an address of the other network may be a free one of one's own:
    # nobody is there.
    assert not standing.stopped("between networks", shots)


@pytest.mark.parametrize("name", ["h1", "a", "l"])
def test_hairpin(standing: Standing, name: str) -> None:
    """Another network's globally routed range does not leave by the uplink, to come back from
    there.
    """
    member = standing[name]
    unused = ("198.51.101.5", "2001:db8:77::5", "198.51.101.7", "2001:db8:77::1234")
    targets = (*standing["m1"].config.addresses, *standing["m2"].config.addresses, *unused)
    shots = [(member, member.packet(kind, target)) for target in targets for kind in KINDS]
    assert not standing.stopped("hairpin", shots)


def test_tunnel_ports_through_a_tunnel(standing: Standing) -> None:
    """A client cannot dial the gateway's listening ports from inside, to tunnel into another
    network.
    """
    member = standing["h1"]
    shots = [
        (member, member.packet("udp", target, port))
        for target in (UPLINK4, UPLINK6)
        for port in range(51820, 51830)
    ]
    assert not standing.stopped("tunnel within a tunnel", shots)


def test_clients_public_addresses_are_internet(standing: Standing) -> None:
    """What an endpoint does reach is another's public address, as anybody on the internet does."""
    member, other = standing["h1"], standing["m1"]
    shots = [
        (member, member.packet("udp", target, 9))
        for target in (public4(other.number), public6(other.number))
    ]
    assert not standing.passed("to a public address of a client", shots, other.host.name)
