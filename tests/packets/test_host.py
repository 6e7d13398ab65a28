"""Nothing of the host is reachable from an endpoint, by whatever address of the gateway.

Only ping on the network's own gateway address is answered.

    h1 m1 a v l ---wg--- [network's room] ---veth--- gw: listeners on 0.0.0.0 and ::, and
                          gateway address             203.0.113.1, 10.44.0.1, 172.17.0.1,
                          (listeners here, too)       transit links
"""

from __future__ import annotations

import pytest

from .gateway import ISOLATION
from .lan import DOCKER_GATEWAY, GATEWAY_PORTS, LAN_GATEWAY4, LAN_GATEWAY6, UPLINK4, UPLINK6
from .packet import Kind, new_ident
from .standing import VCIDS, Member, Shot, Standing
from .tally import TALLY

NAMES = ("h1", "m1", "a", "v", "l")
# The services of the host, the WireGuard ports (a tunnel within the tunnel) and a port where nobody
# listens.
PORTS = (*GATEWAY_PORTS, 51820, 51822, 9)


@pytest.fixture(scope="module")
def addresses(standing: Standing) -> dict[str, tuple[str, ...]]:
    """Every address of the gateway: kind -> addresses."""
    transit = [a for vcid in VCIDS.values() for a in standing.gateway.transit(vcid)]
    assert ISOLATION == "vrf" or len(transit) >= 2 * len(VCIDS)
    return {
        "uplink": (UPLINK4, UPLINK6),
        "LAN": (LAN_GATEWAY4, LAN_GATEWAY6),
        "docker bridge": (DOCKER_GATEWAY,),
        "transit links": tuple(transit),
    }


def test_the_listeners_hear_when_they_may(standing: Standing) -> None:
    """The control: the host's services do answer the internet, on every port."""
    world = standing.lab.world
    deaf = [
        (a, port)
        for a in (UPLINK4, UPLINK6)
        for port in GATEWAY_PORTS
        if not world.udp(a, port, new_ident())
    ]
    deaf += [
        (a, port)
        for a in (UPLINK4, UPLINK6)
        for port in GATEWAY_PORTS
        if not world.tcp(a, port, new_ident())
    ]
    assert not deaf


@pytest.mark.parametrize("name", NAMES)
def test_services_of_the_host(
    standing: Standing, addresses: dict[str, tuple[str, ...]], name: str
) -> None:
    member = standing[name]
    faults = []
    for kind, targets in addresses.items():
        shots = [shot for target in targets for shot in every_service(member, target)]
        faults += standing.stopped(f"host: {kind}", shots)
    assert not faults


@pytest.mark.parametrize("name", NAMES)
def test_gateway_address_answers_ping_and_nothing_else(standing: Standing, name: str) -> None:
    member = standing[name]
    own = [a for a in (member.gateway4, member.gateway6) if a]
    lost = TALLY.allowed("ping on the gateway address", [(a, member.host.ping(a)) for a in own])
    lost += standing.passed(
        "ping on the gateway address", [(member, member.packet("ping", a)) for a in own], "gw"
    )
    services = [shot for a in own for shot in every_service(member, a) if shot[1].kind != "ping"]
    assert not lost + standing.stopped("host: network's gateway address", services)


@pytest.mark.parametrize("name", NAMES)
def test_other_networks_gateway_addresses(standing: Standing, name: str) -> None:
    member = standing[name]
    own = (member.gateway4, member.gateway6)
    others = {a for m in standing.members.values() for a in (m.gateway4, m.gateway6) if a} - set(
        own
    )
    shots = [shot for a in sorted(others) for shot in every_service(member, a)]
    assert not standing.stopped("other networks' gateway addresses", shots)


def every_service(member: Member, target: str) -> list[Shot]:
    kinds: tuple[Kind, ...] = ("udp", "tcp")
    out = [(member, member.packet(kind, target, port)) for kind in kinds for port in PORTS]
    return [*out, (member, member.packet("ping", target))]
