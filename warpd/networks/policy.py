"""What a type lets pass, as a list of entries, each said once and expressed for both directions of
a connection.

A request is judged by its own addresses, protocol and ports. A reply is judged by the request that
began its connection: by conntrack's original tuple. So every packet meets the entries that hold
now, and what is taken off the list ends with the transaction that takes it off, in both directions.
ICMP errors carry the connection that they are about (nf_conntrack_inet_error), so the same
expressions judge them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from warpd.kernel.nftables.rules import (
    ACCEPT,
    ANSWERS,
    ORIGINAL,
    PROTOCOLS,
    RELATED,
    REPLY,
    TRANSLATED,
    between,
    connection,
    match,
    members,
    meta,
    payload,
    rule,
)
from warpd.networks.firewall.rules import drops

Version = Literal[4, 6]
FAMILY: Final[dict[Version, str]] = {4: "ip", 6: "ip6"}
NAMES: Final = {number: name for name, number in PROTOCOLS.items()}
ICMP: Final[dict[Version, tuple[int, str]]] = {4: (1, "icmp"), 6: (58, "icmpv6")}
Carried = Mapping[Version, Sequence[int]]  # IANA numbers, by family
REVOKED: Final = "revoked"


@dataclass(frozen=True, slots=True)
class PolicyEntry:
    """One line of a type's policy, for one family.

    Entries are judged in order; the first that fits decides.

    `target` is what the destination is compared with, as nft writes it: an address, a prefix, or a
    set; None is every address. `protocols` are IANA numbers; none is every protocol. `ports` are
    inclusive (first, last), sorted, apart from each other; none is every port. `denied` is the
    reason that its packets are dropped for; "" lets them pass.
    """

    comment: str
    version: Version
    target: Any = None
    protocols: tuple[int, ...] = ()
    ports: tuple[tuple[int, int], ...] = ()
    denied: str = ""


def requests(
    label: str, entries: Iterable[PolicyEntry], carried: Carried | None = None
) -> list[str]:
    """Packets from the side that begins connections, by what they carry themselves.

    With `carried`, entries that name no protocol let pass only these of their family, and of ICMP
    only echo. It is asked for by
    name: a packet whose extension headers nft cannot walk to their end has no protocol for nft, and
    matches no comparison with one, `!=` included (nft_set_pktinfo_ipv6, NFT_META_L4PROTO), though
    conntrack and NAT may have found one.
    """
    out: list[str] = []
    for entry in entries:
        if entry.denied:
            out += drops(label, entry.denied, *_destination(entry), *_service(entry))
        elif carried is None:
            out.append(rule(entry.comment, *_destination(entry), *_service(entry), ACCEPT))
        else:
            out += _carried(entry, entry.protocols or carried[entry.version])
    return out


def _carried(entry: PolicyEntry, protocols: Sequence[int]) -> Iterator[str]:
    icmp, name = ICMP[entry.version]
    others = tuple(number for number in protocols if number != icmp)
    if others:
        yield rule(
            entry.comment, *_destination(entry), *_service(replace(entry, protocols=others)), ACCEPT
        )
    if icmp in protocols:
        target = _destination(entry) if entry.target is not None else ()
        yield rule(entry.comment, *target, match(payload(name, "type"), "echo-request"), ACCEPT)


def replies(
    label: str, entries: Iterable[PolicyEntry], translated: Sequence[int] = ()
) -> list[str]:
    """Packets to an endpoint that belong to a connection which could be opened now.

    In the families named by `translated` the connection's source must be translated, too: what was
    opened under `nat: false` ends when that is taken away.
    """
    out: list[str] = []
    for entry in entries:
        nat = (TRANSLATED,) if entry.version in translated else ()
        head = (
            match(payload(FAMILY[entry.version], "daddr"), f"@endpoints{entry.version}"),
            ANSWERS,
            REPLY,
            *nat,
        )
        out += _rules(label, entry, "replies", head)
    return out


def errors(label: str, entries: Iterable[PolicyEntry]) -> list[str]:
    """ICMP errors of an endpoint about replies that it was sent."""
    out: list[str] = []
    for entry in entries:
        head = (
            match(payload(FAMILY[entry.version], "saddr"), f"@endpoints{entry.version}"),
            RELATED,
            ORIGINAL,
        )
        out += _rules(label, entry, "errors", head)
    return out


def _rules(
    label: str, entry: PolicyEntry, what: str, head: tuple[dict[str, Any], ...]
) -> Iterator[str]:
    for matches in _connections(entry):
        if entry.denied:
            yield from drops(label, REVOKED, *head, *matches)
        else:
            yield rule(f"{what}: {entry.comment}", *head, *matches, ACCEPT)


def _destination(entry: PolicyEntry) -> list[dict[str, Any]]:
    if entry.target is None:
        return [match(meta("nfproto"), f"ipv{entry.version}")]
    return [match(payload(FAMILY[entry.version], "daddr"), entry.target)]


def _service(entry: PolicyEntry) -> list[dict[str, Any]]:
    if not entry.protocols:
        return []
    single = len(entry.protocols) == 1
    if entry.ports and single:
        return [match(payload(NAMES[entry.protocols[0]], "dport"), _one_of(entry.ports))]
    numbers = entry.protocols[0] if single else members(*entry.protocols)
    port = (match(payload("th", "dport"), _one_of(entry.ports)),) if entry.ports else ()
    return [match(meta("l4proto"), numbers), *port]


def _one_of(ports: Sequence[tuple[int, int]]) -> Any:
    listed = [between(first, last) for first, last in ports]
    return listed[0] if len(listed) == 1 else members(*listed)


def _connections(entry: PolicyEntry) -> Iterator[tuple[dict[str, Any], ...]]:
    """What the original tuple must hold: one alternative for each protocol and run of ports.

    nftables 1.0.6 knows the type of `ct original proto-dst` only after a match on one family and
    one protocol, and cannot list an anonymous set of such ports.
    """
    original = (
        (match(connection(f"{FAMILY[entry.version]} daddr", "original"), entry.target),)
        if entry.target
        else ()
    )
    if not entry.protocols:
        yield original
    for number in entry.protocols:
        protocol = (*original, match(connection("protocol"), number))
        if not entry.ports:
            yield protocol
        for first, last in entry.ports:
            yield (*protocol, match(connection("proto-dst", "original"), between(first, last)))
