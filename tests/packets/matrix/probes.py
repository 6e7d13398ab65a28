"""The probes of one sender, each with its predicted fate: the model asked about every destination
there is.

Nothing is sent here.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..lan import (
    DOCKER_GATEWAY,
    INSIDE4,
    INSIDE6,
    INTERNET4,
    INTERNET6,
    LAN_GATEWAY4,
    LAN_GATEWAY6,
    UPLINK4,
    UPLINK6,
    public4,
    public6,
)
from ..packet import Kind, Packet, new_ident
from .field import Field, Member, Probe
from .model import INTERNET, LAN_NEIGHBOURS, LISTED, NEIGHBOURS, PORTS, fate
from .wire import error, fragments

KINDS: tuple[Kind, ...] = ("udp", "tcp", "ping")
CLOSED = 9


def passing(field: Field, member: Member) -> Iterator[Probe]:
    """Every way that the contract opens, to its answer: echo, open port, or the error of a closed
    one.
    """
    for target in known(field, member):
        for kind in KINDS:
            for port in (0,) if kind == "ping" else PORTS:
                receiver = fate(member.net, member.end, target, kind, port)
                if receiver and not closed(kind, port):
                    yield allowed(field, member, receiver, kind, target, port)
    for target in member.gateways:
        yield allowed(field, member, "gw", "ping", target, 0)


def closed(kind: Kind, port: int) -> bool:
    """A TCP port without a listener answers in no way that can be told from a drop by the probe's
    own marker.
    """
    return kind == "tcp" and port == CLOSED


def allowed(
    field: Field,
    member: Member,
    receiver: str,
    kind: Kind,
    target: str,
    port: int,
    source: str = "",
) -> Probe:
    sport = next(field.sports)
    packet = field.packet(member, kind, target, port, source, sport)
    answer = "open" if kind == "tcp" else "error" if kind == "udp" and port == CLOSED else "echo"
    variant = "ICMP errors" if answer == "error" else "from its LAN" if source else "plain"
    must = field.host_of(member.net, receiver)
    may = frozenset({"isp", member.host.name}) if must == "world" else frozenset({member.host.name})
    category = f"{family(target)} {place(field, member, target)}, {variant}"
    text = f"{kind} {packet.source} -> {target} port {port}"
    return Probe(category, member, text, packet.ident, (packet.encode(),), must, may, answer, sport)


def known(field: Field, member: Member) -> Iterator[str]:
    """Own network's other endpoints with their LANs, what is listed or next to it, the internet."""
    for other in member.net.ends:
        if other.name != member.end.name:
            yield from field.members[f"{member.net.name}/{other.name}"].end.addresses
            yield from other.lans
    yield from INTERNET
    yield from (a for a in (*LISTED, *NEIGHBOURS, *LAN_NEIGHBOURS) if a not in member.end.lans)


def from_lans(field: Field, member: Member) -> Iterator[Probe]:
    """A host in the LAN behind an endpoint is as good as the endpoint."""
    for source in member.end.lans:
        for target in known(field, member):
            if (":" in source) == (":" in target):
                receiver = fate(member.net, member.end, target, "tcp", 7777)
                if receiver:
                    yield allowed(field, member, receiver, "tcp", target, 7777, source)


def place(field: Field, member: Member, target: str) -> str:
    if target in member.gateways:
        return "to the gateway's address"
    if target in INTERNET:
        return "to the internet"
    inside = [field.members[f"{member.net.name}/{end.name}"].end for end in member.net.ends]
    if any(target in end.addresses for end in inside):
        return "to an endpoint"
    if any(target in end.lans for end in inside):
        return "to a LAN behind one"
    if target in (*LISTED, *NEIGHBOURS, *LAN_NEIGHBOURS):
        return "to a resource"
    return "elsewhere"


def family(target: str) -> str:
    return "v6" if ":" in target else "v4"


def forbidden(member: Member, category: str, packet: Packet) -> Probe:
    text = f"{packet.kind} {packet.source} -> {packet.target} port {packet.port}"
    return Probe(
        f"{family(packet.target)} {category}", member, text, packet.ident, (packet.encode(),)
    )


def shut(field: Field, member: Member) -> Iterator[Probe]:
    """What the model gives to nobody, among the known."""
    for target in known(field, member):
        category = f"{place(field, member, target)}, plain"
        for kind in KINDS:
            for port in (0,) if kind == "ping" else PORTS:
                if not fate(member.net, member.end, target, kind, port):
                    yield forbidden(member, category, field.packet(member, kind, target, port))
    inside = {*INSIDE4, *INSIDE6} - {*LISTED}
    for target in sorted(inside):
        if not fate(member.net, member.end, target, "udp", 54) and not fate(
            member.net, member.end, target, "ping", 0
        ):
            for kind in KINDS:
                yield forbidden(
                    member,
                    "to private and special ranges, plain",
                    field.packet(member, kind, target, 54),
                )
    for target in (
        public4(field.members[other.name].number) for other in field.others(member.net)[:1]
    ):
        if member.net.type != "secure-internet":
            yield forbidden(
                member, "to the internet, plain", field.packet(member, "udp", target, 7777)
            )


def between(field: Field, member: Member) -> Iterator[Probe]:
    """Every address of every other network, unless the own network has the same; true and spoofed
    sources.
    """
    own = {*member.gateways, *member.end.addresses, *member.end.lans}
    own |= {a for end in member.net.ends for a in (*end.addresses, *end.lans)}
    seen: set[str] = set()
    for other in field.others(member.net):
        targets = (*other.end.addresses, *other.end.lans, *other.gateways)
        for target in targets:
            if target in own | seen | {""} or fate(member.net, member.end, target, "udp", 7777):
                continue
            seen.add(target)
            where = (
                "to another network's gateway address"
                if target in other.gateways
                else "to another network"
            )
            for kind in KINDS:
                yield forbidden(member, f"{where}, plain", field.packet(member, kind, target, 7777))
            for source in (
                other.gateway(target),
                other.own(target),
                target,
                UPLINK6 if ":" in target else UPLINK4,
            ):
                if source not in own:
                    yield forbidden(
                        member,
                        f"{where}, spoofed source",
                        field.packet(member, "udp", target, 7777, source),
                    )
            yield pieces(field, member, target, f"{where}, fragments")
            yield forged(member, target, f"{where}, forged ICMP errors")


def host(field: Field, member: Member) -> Iterator[Probe]:
    """Every address of the gateway on every side; on the own gateway address all but ping."""
    transit = str(field.facts[member.net.name].get("transit") or "")
    links = [part.strip().split("/")[0] for part in transit.split(",") if "." in part]
    for target in (UPLINK4, UPLINK6, LAN_GATEWAY4, LAN_GATEWAY6, DOCKER_GATEWAY, *links):
        yield from services(field, member, target, "to a host service")
        yield forbidden(member, "to a host service, plain", field.packet(member, "ping", target, 0))
    for target in member.gateways:
        yield from services(field, member, target, "to a service on the gateway's address")
        yield forged(member, target, "to a service on the gateway's address, forged ICMP errors")
        yield pieces(field, member, target, "to a service on the gateway's address, fragments")


def services(field: Field, member: Member, target: str, where: str) -> Iterator[Probe]:
    for kind in ("udp", "tcp"):
        for port in (22, 53, 7777, 51820, 9):
            yield forbidden(member, f"{where}, plain", field.packet(member, kind, target, port))  # type: ignore[arg-type]


def spoofed(field: Field, member: Member) -> Iterator[Probe]:
    """Sources that are not the endpoint's own, to destinations that are open to it."""
    own = {*member.end.addresses, *member.end.lans}
    strange = {
        INTERNET4,
        INTERNET6,
        UPLINK4,
        UPLINK6,
        "127.0.0.1",
        "::1",
        "0.0.0.0",
        "fe80::1",
        "10.1.2.3",
        "fd00:1::1",
    }
    strange |= {*member.gateways, public4(member.number), public6(member.number)}
    for other in field.members.values():
        strange |= {*other.end.addresses, *other.end.lans, *other.gateways}
    for target in {family(t): t for t in (*open_to(member, field), *member.gateways)}.values():
        for source in sorted(strange - own - {target, ""}):
            if (":" in source) == (":" in target):
                category = f"{place(field, member, target)}, spoofed source"
                for kind in KINDS:
                    yield forbidden(
                        member, category, field.packet(member, kind, target, 7777, source)
                    )


def open_to(member: Member, field: Field) -> list[str]:
    return [t for t in known(field, member) if fate(member.net, member.end, t, "udp", 7777)]


def in_pieces(field: Field, member: Member) -> Iterator[Probe]:
    """Fragments: whole datagrams where the way is open (answered, so reassembled), nothing where it
    is not.
    """
    for target in known(field, member):
        receiver = fate(member.net, member.end, target, "udp", 7777)
        where = place(field, member, target)
        if receiver:
            yield pieces(
                field, member, target, f"{where}, fragments", field.host_of(member.net, receiver)
            )
        else:
            yield pieces(field, member, target, f"{where}, fragments")
            yield tail(field, member, target, f"{where}, fragments")


def pieces(field: Field, member: Member, target: str, category: str, must: str = "") -> Probe:
    sport = next(field.sports)
    packet = field.packet(member, "udp", target, 7777, sport=sport)
    text = f"fragments {packet.source} -> {target}"
    may = (
        frozenset({"isp", member.host.name})
        if must == "world"
        else frozenset({member.host.name} if must else ())
    )
    parts = tuple(fragments(packet, sport))
    category = f"{family(target)} {category}"
    return Probe(category, member, text, packet.ident, parts, must, may, "echo" if must else "")


def tail(field: Field, member: Member, target: str, category: str) -> Probe:
    """A second piece without a first, which carries no port to be judged by."""
    sport = next(field.sports)
    packet = field.packet(member, "udp", target, 7777, sport=sport)
    last = fragments(packet, sport)[1:]
    return Probe(
        f"{family(target)} {category}",
        member,
        f"tail {packet.source} -> {target}",
        packet.ident,
        tuple(last),
    )


def forged(member: Member, target: str, category: str) -> Probe:
    ident = new_ident()
    packet = error(member.own(target), target, ident)
    return Probe(
        f"{family(target)} {category}",
        member,
        f"ICMP error {member.own(target)} -> {target}",
        ident,
        (packet,),
    )
