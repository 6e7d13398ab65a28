"""What passes: endpoints to the internet, to each other in a mesh, to what `allow_private` and
`dns` grant.

h1 h2 (hub)   m1 m2 (mesh)   a (left)   z (right)   v (four)   l (lenient)
   \\___________\\____________ |  ________/__________/___________/
                             gw --- isp --- world (the internet, and every private range)
"""

from __future__ import annotations

import pytest

from .gateway import ISOLATION
from .lan import (
    DNS4,
    DNS6,
    INTERNET4,
    INTERNET6,
    LAN_GATEWAY4,
    LAN_GATEWAY6,
    LAN_HOST4,
    UPLINK4,
    UPLINK6,
)
from .packet import new_ident
from .standing import ALLOWED_INSIDE, KINDS, MESH_RANGES, VCIDS, Standing
from .tally import TALLY


def test_internet_by_the_gateways_address(standing: Standing) -> None:
    """UDP, TCP and ping, IPv4 and IPv6, from every network; the listener sees the gateway as the
    source.
    """
    sent = [
        (member, target, kind, new_ident())
        for member in standing.members.values()
        for target in member.internet
        for kind in ("udp", "tcp")
    ]
    answered = [
        (f"{member.name} {kind} {target}", getattr(member.host, kind)(target, 7777, ident))
        for member, target, kind, ident in sent
    ]
    pings = [
        (f"{member.name} ping {target}", member.host.ping(target))
        for member in standing.members.values()
        for target in member.internet
    ]
    lost = TALLY.allowed("to the internet", [*answered, *pings])
    arrivals = standing.lab.arrivals([standing.lab.world])
    by_gateway = [
        (
            f"{member.name} {kind} {target}: {sources}",
            sources == {UPLINK6 if ":" in target else UPLINK4},
        )
        for member, target, kind, ident in sent
        for sources in [{record["src"] for record in arrivals.get(ident, ())}]
    ]
    assert not lost + TALLY.allowed("source is the gateway's", by_gateway)


@pytest.mark.parametrize("pair", [("m1", "m2"), ("m2", "m1")])
def test_mesh_endpoints_reach_each_other(standing: Standing, pair: tuple[str, str]) -> None:
    sender, other = (standing[name] for name in pair)
    results, idents = [], {}
    for target in other.config.addresses:
        for kind in ("udp", "tcp"):
            ident = new_ident()
            idents[ident] = sender.own(target)
            results.append((f"{kind} {target}", getattr(sender.host, kind)(target, 7777, ident)))
        results.append((f"ping {target}", sender.host.ping(target)))
    arrivals = standing.lab.arrivals([other.host])
    sources = [
        (source, any(r["src"] == source for r in arrivals.get(i, ())))
        for i, source in idents.items()
    ]
    assert not TALLY.allowed("endpoint to endpoint, mesh", [*results, *sources])


def test_hub_endpoints_do_not_reach_each_other(standing: Standing) -> None:
    """Also not with the gateway's address, an internet address or the target's own address as the
    source.
    """
    shots = []
    for sender, other in (("h1", "h2"), ("h2", "h1")):
        one, two = standing[sender], standing[other]
        for target in two.config.addresses:
            six = ":" in target
            sources = (
                "",
                one.gateway6 if six else one.gateway4,
                INTERNET6 if six else INTERNET4,
                target,
            )
            shots += [
                (one, one.packet(kind, target, 7777, source))
                for kind in KINDS
                for source in sources
            ]
    assert not standing.stopped("endpoint to endpoint, hub", shots)


def test_dns_server_inside_on_port_53_only(listeners: Standing) -> None:
    member = listeners["l"]
    answers = [
        (f"{kind} {server}", getattr(member.host, kind)(server, 53, new_ident()))
        for server in (DNS4, DNS6)
        for kind in ("udp", "tcp")
    ]
    lost = TALLY.allowed("dns server inside", answers)
    shots = [
        (member, member.packet(kind, server, port))
        for server in (DNS4, DNS6)
        for kind in KINDS
        for port in (54, 7777)
    ]
    others = [
        (other, other.packet(kind, server, 53))
        for other in listeners.members.values()
        if other is not member
        for server in (DNS4, DNS6)
        for kind in KINDS
    ]
    assert not lost + listeners.stopped("dns server inside", [*shots, *others])


def test_allow_private_lets_the_listed_through(listeners: Standing) -> None:
    """Also to a host on another link of the gateway, with the gateway's address there as the
    source.
    """
    member = listeners["l"]
    results, idents = [], {}
    for target in ALLOWED_INSIDE:
        for kind in ("udp", "tcp"):
            ident = new_ident()
            idents[ident] = source_towards(target)
            results.append((f"{kind} {target}", getattr(member.host, kind)(target, 7777, ident)))
        results.append((f"ping {target}", member.host.ping(target)))
    arrivals = listeners.lab.arrivals([listeners.lab.world])
    sources = [
        (f"{ident} from {source}", {r["src"] for r in arrivals.get(ident, ())} == {source})
        for ident, source in idents.items()
    ]
    assert not TALLY.allowed("allow_private", [*results, *sources])


def source_towards(target: str) -> str:
    if ":" in target:
        return LAN_GATEWAY6 if target.startswith("fd00:44:") else UPLINK6
    return LAN_GATEWAY4 if target == LAN_HOST4 else UPLINK4


def test_nothing_comes_in_unasked(standing: Standing) -> None:
    """The provider routes the networks' ranges to the gateway; a stranger on the internet sends
    into them.
    """
    lab = standing.lab
    targets = [
        address for member in standing.members.values() for address in member.config.addresses
    ]
    sent = [(target, port, new_ident()) for target in targets for port in (53, 7777)]
    for target, port, ident in sent:
        lab.world.udp(target, port, ident, 0)
    assert standing["h1"].host.udp(INTERNET4, 7777, new_ident())
    arrivals = lab.arrivals([lab.gw, *lab.clients])
    control = [i for target, _port, i in sent if within(target) and i in lab.arrivals([lab.isp])]
    assert control, "the lab is wrong: the provider saw none of it"
    faults = [
        (f"{target} port {port}: {arrivals.get(i)}", i in arrivals) for target, port, i in sent
    ]
    assert not TALLY.forbidden("from the internet, unasked", faults)


def within(target: str) -> bool:
    return target.startswith((MESH_RANGES[0].rsplit(".", 1)[0], MESH_RANGES[1].split("::")[0]))


def test_the_printed_config_is_what_the_device_needs(standing: Standing) -> None:
    """Everything goes into the tunnel, and wg-quick tells the resolver the network's servers."""
    for member in standing.members.values():
        lines = [line.replace(" ", "") for line in member.config.text.splitlines()]
        assert "AllowedIPs=0.0.0.0/0,::/0" in lines, member.name
        assert not [
            line for line in lines if line.startswith(("PreUp", "PostUp", "PreDown", "PostDown"))
        ]
    told = standing["l"].host.run("cat", "/run/resolvconf.log").checked().out
    assert f"nameserver {DNS4}" in told and f"nameserver {DNS6}" in told


def test_exec_runs_inside_the_network(standing: Standing) -> None:
    """`warpctl exec` sees the network's own links and nothing else of the gateway, and gives back
    the exit code.
    """
    if ISOLATION == "vrf":  # one namespace for all: what a command is tied to is the VRF
        shown = standing.gateway.warpctl("exec", "hub", "--", "ip", "vrf", "identify").checked().out
        assert shown.strip() == f"vrf-{VCIDS['hub']}"
        return
    inside = standing.gateway.warpctl("exec", "hub", "--", "ip", "-o", "link").checked().out
    assert f"wg-{VCIDS['hub']}" in inside and f"up-{VCIDS['hub']}" in inside
    assert "eth0" not in inside and f"wg-{VCIDS['mesh']}" not in inside
    assert standing.gateway.warpctl("exec", "hub", "--", "sh", "-c", "exit 7").rc == 7
