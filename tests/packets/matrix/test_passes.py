"""What passes and what does not, per type and mode, as model.py predicts it.

42 clients --- gw (18 networks: 9 per isolation mode) --- isp --- world (internet, resources,
private ranges)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ..lan import LAN_HOST4, LAN_HOST6, UPLINK4, UPLINK6, public4, public6
from ..packet import new_ident
from .field import MATRIX, Field, Member, Probe
from .model import INTERNET, LAN_NEIGHBOURS, LISTED, NEIGHBOURS, PORTS, Net, networks
from .probes import between, host, in_pieces, shut, spoofed

NETS = {net.name: net for net in networks()}
CLOSED = 9
Ask = Callable[[Field, Member], Iterator[Probe]]


def test_the_apply_was_whole(printed: Field) -> None:
    assert printed.result.rc == 0, f"{printed.result.out}\n{printed.result.err}"


@pytest.mark.parametrize("name", NETS)
def test_every_client_has_a_session(printed: Field, name: str) -> None:
    """The config as printed, brought up by wg-quick, reaches the gateway's own address."""
    mine = {
        m.name: printed.silent.get(m.name, "")
        for m in printed.members.values()
        if m.net.name == name
    }
    lost = MATRIX.allowed(
        f"{NETS[name].column} v4 session by the printed config",
        [(who, not why) for who, why in mine.items()],
    )
    assert not lost, mine


@pytest.mark.parametrize("name", NETS)
def test_open_ways_with_the_printed_config(printed: Field, name: str) -> None:
    """Every kind of packet that may pass does, both ways, before any client was tampered with."""
    mine = [fault for fault in printed.faults if f"{name}/" in fault or f" {name}:" in fault]
    assert not mine, "\n".join(mine[:40])


def test_the_listeners_hear_when_they_may(printed: Field) -> None:
    """The control: every place that must stay out of reach is reached by somebody who may."""
    lab = printed.lab
    places = [
        (a, port)
        for a in (*LISTED, *NEIGHBOURS, *LAN_NEIGHBOURS, *INTERNET)
        for port in PORTS
        if port != CLOSED
    ]
    deaf = [
        (a, port)
        for a, port in places
        if not lab.gw.udp(a, port, new_ident(), 1) and not lab.gw.udp(a, port, new_ident())
    ]
    services = [(a, port) for a in (UPLINK4, UPLINK6) for port in (22, 53, 7777)]
    deaf += [(a, port) for a, port in services if not lab.world.udp(a, port, new_ident())]
    clients = [public(m.number) for m in printed.members.values() for public in (public4, public6)]
    deaf += [(a, 7777) for a in clients if not lab.isp.udp(a, 7777, new_ident())]
    assert not deaf


def check(matrix: Field, name: str, ask: Ask) -> None:
    """All members of a network send what `ask` says."""
    mine = [member for member in matrix.members.values() if member.net.name == name]
    silent = [member.name for member in mine if member.name in matrix.silent]
    assert not silent, f"no session: {silent}"
    faults = matrix.run(probe for member in mine for probe in ask(matrix, member))
    assert not faults, f"{len(faults)} of them\n" + "\n".join(faults[:40])


@pytest.mark.parametrize("name", NETS)
def test_what_is_not_listed_is_out_of_reach(matrix: Field, name: str) -> None:
    """Neighbours, internet, unlisted addresses, protocols and ports, private ranges, other LANs."""
    check(matrix, name, shut)


@pytest.mark.parametrize("name", NETS)
def test_nothing_passes_between_networks(matrix: Field, name: str) -> None:
    """Addresses, LANs and gateway addresses of all other networks: true and spoofed sources,
    fragments, ICMP errors.
    """
    check(matrix, name, between)


@pytest.mark.parametrize("name", NETS)
def test_nothing_of_the_host_is_reachable(matrix: Field, name: str) -> None:
    check(matrix, name, host)


@pytest.mark.parametrize("name", NETS)
def test_only_own_addresses_and_routes_send(matrix: Field, name: str) -> None:
    check(matrix, name, spoofed)


@pytest.mark.parametrize("name", [name for name, net in NETS.items() if not net.layer2])
def test_fragments(matrix: Field, name: str) -> None:
    check(matrix, name, in_pieces)


def test_nothing_comes_in_unasked(matrix: Field) -> None:
    """From the internet and from a LAN with resources, both with routes to every network's
    range.
    """
    world, sent = matrix.lab.world, []
    for member in matrix.members.values():
        for target in (*member.end.addresses, *member.end.lans):
            strangers = [INTERNET[":" in target], LAN_HOST6 if ":" in target else LAN_HOST4]
            for source in strangers:
                for port in (53, 7777):
                    ident = new_ident()
                    world.udp(target, port, ident, 0, source=source)
                    sent.append((member, f"{source} -> {target} port {port}", ident))
    assert matrix.members
    member = next(iter(matrix.members.values()))
    assert member.tunnel.wake(member.gateways[0])
    matrix.look()
    faults = []
    for member, text, ident in sent:
        where = matrix.seen.where(ident) - {"isp", "world"}
        category = (
            f"{member.net.column} v{6 if '::' in text else 4} unasked, from the internet and a LAN"
        )
        faults += MATRIX.forbidden(category, [(f"{member.name} {text} at {where}", bool(where))])
    assert not faults, "\n".join(faults[:40])


@pytest.mark.parametrize("name", [name for name, net in NETS.items() if not net.layer2])
def test_path_mtu_is_learned(matrix: Field, name: str) -> None:
    """A client whose own link is too wide hears from the gateway how much the next tunnel takes."""
    net = NETS[name]
    results = []
    for member in (m for m in matrix.members.values() if m.net.name == name):
        for target, expected in too_wide(net, matrix, member):
            member.host.ip("link set wg0 mtu 1500")
            learned = member.host.do(
                "path_mtu",
                dst=target,
                port=7777,
                size=1440 if expected > 1300 else 1340,
                timeout_s=4,
            )
            member.host.ip(f"link set wg0 mtu {member.config.mtu or 1420}")
            results.append(
                (f"{member.name} {target}: {learned}, not {expected}", learned == expected)
            )
    assert results
    assert not MATRIX.allowed(f"{net.column} v4 path MTU learned by ICMP errors", results)


def too_wide(net: Net, matrix: Field, member: Member) -> Iterator[tuple[str, int]]:
    from ..lan import NARROW4, NARROW6, NARROW_MTU
    from .model import fate

    for target in (NARROW4, NARROW6):
        if fate(net, member.end, target, "udp", 7777):
            yield target, NARROW_MTU
    for other in matrix.members.values():
        if other.net is net or other.net.name == net.name:
            for target in (*other.end.addresses, *other.end.lans[:2]):
                if other.name != member.name and fate(net, member.end, target, "udp", 7777):
                    yield target, other.config.mtu or 1420
