"""Merges that git could not finish: where its markers stand, what the two sides were, and two locks made one. Pure.

Lives here: markers and allocations. Does not: files, the YAML's meaning. A number that both sides gave to different owners stays
with ours; theirs loses it and is given another one, which is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from warpd.held import Grants, NetworkGrant
from warpd.seats import EndpointGrant

_BEGINS: Final = re.compile(r"<{7}( |$)")
_BASE: Final = re.compile(r"\|{7}( |$)")
_MIDDLE: Final = re.compile(r"={7}$")
_ENDS: Final = re.compile(r">{7}( |$)")
_UNIQUE: Final = ("vcid", "port", "routing_table", "subnet6", "transit", "vlan")


@dataclass(frozen=True, slots=True)
class Conflict:
    """Lines, counted from 1, on which a conflict begins and ends."""

    first: int
    last: int


def conflicts(text: str) -> list[Conflict]:
    """Conflicts that are marked from begin to end; a line of signs alone is none."""
    out: list[Conflict] = []
    begun = middle = 0
    for number, line in enumerate(text.splitlines(), 1):
        if _BEGINS.match(line):
            begun, middle = number, 0
        elif _MIDDLE.match(line) and begun:
            middle = number
        elif _ENDS.match(line) and begun and middle:
            out.append(Conflict(begun, number))
            begun = 0
    return out


def sides(text: str) -> tuple[str, str]:
    """The text as ours and as theirs had it; what neither changed is in both, what the base had in none."""
    ours: list[str] = []
    theirs: list[str] = []
    into: tuple[list[str], ...] = (ours, theirs)
    for line in text.splitlines(keepends=True):
        word = line.rstrip("\r\n")
        if _BEGINS.match(word):
            into = (ours,)
        elif len(into) < 2 and _BASE.match(word):
            into = ()
        elif len(into) < 2 and _MIDDLE.match(word):
            into = (theirs,)
        elif len(into) < 2 and _ENDS.match(word):
            into = (ours, theirs)
        else:
            for side in into:
                side.append(line)
    return "".join(ours), "".join(theirs)


def merged_locks(ours: Grants, theirs: Grants) -> tuple[Grants, tuple[str, ...]]:
    """Both, and a text for each owner of theirs that has to be given another number."""
    networks, said = dict(ours.networks), list[str]()
    taken = {(field, getattr(one, field)) for one in networks.values() for field in _UNIQUE}
    for name, item in sorted(theirs.networks.items()):
        if name in networks:
            networks[name], more = _with_endpoints(name, networks[name], item)
            said += more
            continue
        clash = [field for field in _UNIQUE if getattr(item, field) and (field, getattr(item, field)) in taken]
        if clash:
            said.append(f"network {name} gets numbers of its own: {', '.join(clash)} went to another one on our side")
            continue
        networks[name] = item
        taken |= {(field, getattr(item, field)) for field in _UNIQUE}
    return Grants(networks, tuple(sorted({*ours.freed, *theirs.freed}))), tuple(said)


def _with_endpoints(name: str, ours: NetworkGrant, theirs: NetworkGrant) -> tuple[NetworkGrant, list[str]]:
    endpoints, said = dict(ours.endpoints), list[str]()
    taken = {value for one in endpoints.values() for value in _values(one)}
    for each, one in sorted(theirs.endpoints.items()):
        if each in endpoints:
            continue
        if any(value in taken for value in _values(one)) or one.address not in ours.subnet:
            said.append(f"endpoint {name}/{each} gets an address of its own: {one.address} went to another one on our side")
            continue
        endpoints[each] = one
        taken |= set(_values(one))
    return replace(ours, endpoints=endpoints), said


def _values(one: EndpointGrant) -> Iterator[tuple[str, object]]:
    yield from (("address", one.address), ("address6", one.address6))
    yield from (("leg", one.leg),) if one.leg else ()
    yield from (("vni", one.vni),) if one.vni else ()
