"""(intent, old grants) -> new grants: ids, ports, subnets and addresses.

Pure, deterministic, never moves what exists.

Lives here: who gets which number. Does not: whether the YAML's own values make sense
(`validation`), where grants are kept (`state_folder`). Every resource is given in the same order:
first what the YAML says, then what was held before, then what is new, each in the order of the
names; so the order in the file never matters. A value that another one holds is never taken away
from it: a clash is a finding. Pools bound what is newly given only. What was given up rests for a
while (`renames`): only ports, which keys guard anyway, are given again when nothing else is left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import chain, count

from warpd.allocation.addresses import AddressPlan, EndpointAllocation, QuarantinedAddresses, seat
from warpd.allocation.l2_ids import legs, vlans, vnis
from warpd.allocation.model import Allocations, NetworkAllocation, Tombstone
from warpd.allocation.renames import (
    Quarantine,
    merged,
    released,
    renamed,
    resting,
    restored,
    when,
    with_leaving,
)
from warpd.errors import Finding
from warpd.intent.capacity import capacity, expected_users, prefix_for
from warpd.intent.model import Intent, Network, Pools
from warpd.intent.types import Range
from warpd.kernel.state import TRANSIT6


@dataclass(frozen=True, slots=True)
class _Numbers:
    """What one numbered resource needs to be given out."""

    field: str
    pool: str
    range: Range
    first_choice: Callable[[str], int] | None = None
    hard: bool = True  # what rests is not given, whatever is asked for


def allocate(
    intent: Intent, old: Allocations, now_s: int = 0, firm: Allocations | None = None
) -> tuple[Allocations, tuple[Finding, ...]]:
    """Give everything that `intent` leaves open, keeping `old`.

    `now_s` is seconds since the epoch, for what rests; `firm` is what a lock says, which goes
    before `old`. With an error among the findings the grants are incomplete and must not be used.
    """
    findings: list[Finding] = []
    pools = intent.gateway.pools
    before = renamed(intent, old)
    locked = None if firm is None else renamed(intent, firm)
    known = before if locked is None else merged(locked, before)
    rest = resting(intent, known, now_s)
    known = restored(intent, known, rest)
    rest = with_leaving(intent, known, rest, now_s)
    networks = {name: intent.networks[name] for name in _ranked(intent, locked)}
    held = {name: known.networks[name] for name in networks if name in known.networks}
    first = partial(_first_vcid, pools.vcids, networks)
    ports = _Numbers("port", "ports", pools.ports, hard=False)
    vcids = _numbers(_Numbers("vcid", "vcids", pools.vcids, first), networks, held, rest, findings)
    given_ports = _numbers(ports, networks, held, rest, findings)
    tables = _numbers(
        _Numbers("routing_table", "routing_tables", pools.routing_tables),
        networks,
        held,
        rest,
        findings,
    )
    transits = _transits(pools.transit, networks, held, rest, findings)
    subnets = _subnets(networks, held, pools, rest, findings)
    subnets6 = _subnets6(networks, held, vcids, rest)
    out: dict[str, NetworkAllocation] = {}
    for name in sorted(networks):
        network = networks[name]
        findings += _too_many(name, network)
        parts = (
            vcids.get(name),
            given_ports.get(name),
            tables.get(name),
            subnets.get(name),
            transits.get(name),
        )
        vcid, port, table, subnet, transit = parts
        if vcid is None or port is None or table is None or subnet is None or transit is None:
            continue
        seats = _seats(name, network, subnet, subnets6[name], held.get(name), rest, findings)
        out[name] = NetworkAllocation(
            vcid,
            port,
            table,
            subnet,
            subnets6[name],
            seats.gateway,
            seats.gateway6,
            transit,
            seats.endpoints,
        )
    out = _with_segments(
        out, {name: networks[name] for name in sorted(networks)}, held, rest, intent, findings
    )
    out = with_identities(out, intent, held, rest)
    had = before.networks
    out = {
        name: had[name] if had.get(name) == item else item for name, item in out.items()
    }  # the same stays the same object
    findings += moves(before, out, intent, locked) if locked is not None else ()
    return Allocations(out, released(known, out, rest, now_s)), tuple(findings)


def _ranked(intent: Intent, firm: Allocations | None) -> list[str]:
    """Names in their order; those of a lock first, so that nobody else holds what it gives them."""
    locked = () if firm is None else firm.networks
    return sorted(intent.networks, key=lambda name: (name not in locked, name))


def moves(
    before: Allocations, after: Mapping[str, NetworkAllocation], intent: Intent, firm: Allocations
) -> Iterator[Finding]:
    """What a lock takes from those who had it, and the YAML does not: such a move cuts clients off."""
    for name in sorted(before.networks.keys() & after.keys() & firm.networks.keys()):
        had, has, locked = before.networks[name], after[name], firm.networks[name]
        for what in ("vcid", "port", "subnet", "subnet6"):
            was, now = getattr(had, what), getattr(has, what)
            if was != now == getattr(locked, what) and getattr(intent.networks[name], what) is None:
                yield _overruled(f"networks.{name}", what, was, now)
        for each in (
            sorted(had.endpoints.keys() & has.endpoints.keys()) if had.subnet == has.subnet else ()
        ):
            was4, now4 = had.endpoints[each].address, has.endpoints[each].address
            if was4 != now4 and intent.networks[name].endpoints[each].address is None:
                yield _overruled(f"networks.{name}.endpoints.{each}", "address", was4, now4)


def _overruled(path: str, what: str, was: object, now: object) -> Finding:
    text = (
        f"the lock moves the {what} from {was} to {now}: clients that have the old one are cut off"
    )
    return Finding(
        "grant-moves",
        path,
        text,
        "they need their configs again; or put the old one into the lock",
        "warning",
    )


def _with_segments(
    given: Mapping[str, NetworkAllocation],
    networks: Mapping[str, Network],
    held: Mapping[str, NetworkAllocation],
    rest: Quarantine,
    intent: Intent,
    findings: list[Finding],
) -> dict[str, NetworkAllocation]:
    """What Ethernet networks need beside: VLAN ids, legs, VNIs."""
    own = [name for name in given if networks[name].traits.ethernet]
    meshes = {name: networks[name] for name in own if networks[name].traits.leg == "vxlan"}
    scope = intent.gateway.vlan_scope
    ids = vlans(
        meshes,
        {name: item.vlan for name, item in held.items()},
        scope,
        rest.numbers("vlan"),
        findings,
    )
    meshes = {name: network for name, network in meshes.items() if name in ids}
    numbered = {}
    for name in own:
        closed = {int(leg) for leg in rest.in_network(name, "leg")}
        numbered[name] = legs(
            name,
            given[name].endpoints,
            held[name].endpoints if name in held else {},
            closed,
            findings,
        )
    numbered |= vnis(meshes, numbered, ids, rest.vnis(), findings)
    more = {
        name: replace(
            given[name], vlan=ids.get(name, networks[name].vlan_id or 0), endpoints=numbered[name]
        )
        for name in own
    }
    return {**given, **more}


def _too_many(name: str, network: Network) -> Iterator[Finding]:
    count = len(network.endpoints)
    if network.subnet is None or network.expected_users is not None:
        limit = expected_users(network)
        if count > limit:
            said = (
                "expected_users is"
                if network.expected_users
                else f"{network.type} without expected_users holds"
            )
            where = f"networks.{name}" + (".expected_users" if network.expected_users else "")
            yield Finding(
                "too-many-endpoints",
                where,
                f"{count} endpoints, but {said} {limit}",
                f"write `expected_users: {count}`",
            )
    if network.subnet is not None and count > capacity(network.subnet.prefixlen):
        yield Finding(
            "subnet-too-small",
            f"networks.{name}.subnet",
            f"{count} endpoints, but {network.subnet} holds {capacity(network.subnet.prefixlen)}",
            f"a /{prefix_for(count)} holds them",
        )


# ---- numbers: VCID, port, routing table ----------------------------------------------------------------------


def _first_vcid(pool: Range, networks: Mapping[str, Network], name: str) -> int:
    """Where a name's circuit id wants to be, by the name that it had first; the same on every
    gateway.
    """
    name = networks[name].renamed_from or name
    digest = hashlib.sha256(f"warpd/v1/vcid/{name}".encode()).digest()
    return pool.first + int.from_bytes(digest[:8], "big") % len(pool)


def _numbers(
    kind: _Numbers,
    networks: Mapping[str, Network],
    held: Mapping[str, NetworkAllocation],
    rest: Quarantine,
    findings: list[Finding],
) -> dict[str, int]:
    said = {name: getattr(network, kind.field) for name, network in networks.items()}
    given: dict[str, int] = {}
    owner: dict[int, str] = {}
    for name in (
        *(n for n in networks if said[n] is None),
        *(n for n in networks if said[n] is not None),
    ):
        value = said[name]
        if value is None and name in held:
            value = getattr(held[name], kind.field)
            if value in owner:
                continue
        if value is None:
            continue
        if value in owner:
            findings.append(
                _clash(
                    f"networks.{name}.{kind.field}", kind.field, value, f"network {owner[value]}"
                )
            )
            continue
        given[name], owner[value] = value, name
    closed = rest.numbers(kind.field)
    findings += _taken_early(kind.field, said, closed, rest)
    missing = [name for name in networks if name not in given and said[name] is None]
    upwards = (
        value
        for value in range(kind.range.first, kind.range.last + 1)
        if value not in owner and value not in closed
    )
    without = []
    for name in missing:
        around = (
            None
            if kind.first_choice is None
            else _probe(kind.range, kind.first_choice(name), owner, closed, name)
        )
        value = next(upwards if around is None else around, None)
        if value is None and not kind.hard:
            value = _longest_rested(kind, owner, rest)
        if value is None:
            without.append(name)
        else:
            given[name], owner[value] = value, name
    if without:
        rows = [
            row for text, row in rest.own.get(kind.field, {}).items() if int(text) in kind.range
        ]
        findings.append(
            _exhausted(f"gateway.pools.{kind.pool}", str(kind.range), without, rest, rows)
        )
    return given


def _taken_early(
    what: str, said: Mapping[str, int | None], closed: Mapping[int, str], rest: Quarantine
) -> Iterator[Finding]:
    """What the YAML says goes before any rest, but not in silence."""
    for name, value in sorted(said.items()) if closed else ():
        if value is not None and closed.get(value, name) != name:
            row = rest.own[what][str(value)]
            text = (
                f"{what.replace('_', ' ')} {value} was network {closed[value]}'s and would rest"
                f" until {when(rest.until(row))}"
            )
            yield Finding(
                "resting",
                f"networks.{name}.{what}",
                text,
                "its old clients may still use it",
                "warning",
            )


def _longest_rested(kind: _Numbers, owner: Mapping[int, str], rest: Quarantine) -> int | None:
    rows = sorted((row.since, int(text)) for text, row in rest.own.get(kind.field, {}).items())
    return next((value for _, value in rows if value not in owner and value in kind.range), None)


def _probe(
    pool: Range, start: int, owner: Mapping[int, str], closed: Mapping[int, str], name: str
) -> Iterator[int]:
    around = chain(range(start, pool.last + 1), range(pool.first, start))
    return (value for value in around if value not in owner and closed.get(value, name) == name)


def _clash(path: str, what: str, value: object, holder: str) -> Finding:
    what = what.replace("_", " ")
    return Finding(
        "taken",
        path,
        f"{what} {value} is held by {holder}",
        f"choose another one, or give {holder} another one first",
    )


def _exhausted(
    path: str, pool: str, names: list[str], rest: Quarantine, rows: Iterable[Tombstone] = ()
) -> Finding:
    waiting = list(rows)
    if waiting:
        text = (
            f"the pool {pool} has nothing left for {', '.join(names)} but what rests by"
            " gateway.quarantine"
        )
        hint = (
            f"the next is free at {rest.next_free(waiting)}; or widen `{path}`, or shorten"
            " `gateway.quarantine`"
        )
        return Finding("quarantined", path, text, hint)
    text = f"the pool {pool} is exhausted: nothing is left for {', '.join(names)}"
    return Finding("pool-exhausted", path, text, f"widen `{path}`")


# ---- subnets and transit links -------------------------------------------------------------------------------


def _span(network: IPv4Network | IPv6Network) -> tuple[int, int]:
    return int(network.network_address), int(network.broadcast_address)


def _transits(
    pool: IPv4Network,
    networks: Iterable[str],
    held: Mapping[str, NetworkAllocation],
    rest: Quarantine,
    findings: list[Finding],
) -> dict[str, IPv4Network]:
    given: dict[str, IPv4Network] = {}
    taken: set[IPv4Network] = set()
    for name, allocation_ in held.items():
        if allocation_.transit not in taken:
            given[name] = allocation_.transit
            taken.add(allocation_.transit)
    closed = {IPv4Network(text): row for text, row in rest.own.get("transit", {}).items()}
    starts = {int(item.network_address) for item in (*taken, *closed)}
    first, last = _span(pool)
    upwards = (start for start in range(first, last, 2) if start not in starts)
    without = []
    for name in networks:
        if name in given:
            continue
        start = next(upwards, None)
        if start is None:
            without.append(name)
        else:
            given[name] = IPv4Network((start, 31))
    if without:
        rows = [row for item, row in closed.items() if item.subnet_of(pool)]
        findings.append(_exhausted("gateway.pools.transit", str(pool), without, rest, rows))
    return given


@dataclass(slots=True)
class _SubnetPool:
    """Which IPv4 blocks are given to whom while subnets are being given."""

    given: dict[str, IPv4Network] = field(default_factory=dict)
    closed: list[tuple[str, IPv4Network]] = field(
        default_factory=list
    )  # what rests, with the network that had it

    def free(self, wanted: IPv4Network, asker: str, rested: bool = True) -> bool:
        """Nobody's; with `rested`, also nobody's of late."""
        others = chain(self.given.items(), self.closed if rested else ())
        return not any(wanted.overlaps(other) for name, other in others if name != asker)

    def lowest(
        self, pool: IPv4Network, prefix: int, asker: str, rested: bool = True
    ) -> IPv4Network | None:
        """The lowest aligned block of the pool that overlaps nobody's."""
        size = 1 << (32 - prefix)
        at, end = _span(pool)
        others = chain(self.given.items(), self.closed if rested else ())
        for first, last in sorted(_span(other) for name, other in others if name != asker):
            if first >= at + size:
                break
            if last >= at:
                at = -(-(last + 1) // size) * size
        return (
            IPv4Network((at, prefix)) if at + size - 1 <= end and prefix >= pool.prefixlen else None
        )


def _subnets(
    networks: Mapping[str, Network],
    held: Mapping[str, NetworkAllocation],
    pools: Pools,
    rest: Quarantine,
    findings: list[Finding],
) -> dict[str, IPv4Network]:
    resting_blocks = rest.own.get("subnet", {})
    land = _SubnetPool(
        closed=[(row.network, IPv4Network(text)) for text, row in sorted(resting_blocks.items())]
    )
    for name, network in networks.items():
        if network.subnet is not None:
            land.given[name] = network.subnet
        elif name in held:
            land.given[name] = held[name].subnet
    automatic = {name: network for name, network in networks.items() if network.subnet is None}
    for name, network in automatic.items():
        pinned = (
            _pinned(network, prefix_for(expected_users(network)))
            if name not in land.given
            else None
        )
        if pinned is not None and land.free(pinned, name, rested=False):
            land.given[name] = pinned
    without: dict[str, list[str]] = {}
    for name, network in automatic.items():
        prefix = prefix_for(expected_users(network))
        had = land.given.get(name)
        if had is not None and had.prefixlen <= prefix:
            continue
        pool = _pool(pools, network)
        new = None if had is None else _grown(land, had, prefix, pool, name)
        new = new or land.lowest(pool, prefix, name)
        if new is None:
            without.setdefault(network.type, []).append(name)
            continue
        if had is not None and not had.subnet_of(new):
            findings.append(_moved(name, had, new))
            land.closed += [(name, had)] if rest.period_s else []
        land.given[name] = new
    for kind, names in sorted(without.items()):
        pool = _pool(pools, networks[names[0]])
        for name in names:
            land.given.pop(name, None)
        prefix = prefix_for(expected_users(networks[names[0]]))
        would_fit = land.lowest(pool, prefix, names[0], rested=False) is not None
        rows = [
            row
            for text, row in resting_blocks.items()
            if would_fit and IPv4Network(text).overlaps(pool)
        ]
        findings.append(_exhausted(f"gateway.pools.subnets.{kind}", str(pool), names, rest, rows))
    return land.given


def _pool(pools: Pools, network: Network) -> IPv4Network:
    return pools.subnets.get(network.type) or Pools().subnets[network.type]


def _pinned(network: Network, prefix: int) -> IPv4Network | None:
    """The block around the first inner address that the YAML fixes, if it fixes any."""
    pins = (network.gateway_address, *(one.address for one in network.explicit_endpoints.values()))
    pin = next((item for item in pins if item is not None), None)
    return None if pin is None else IPv4Network((int(pin), prefix), strict=False)


def _grown(
    land: _SubnetPool, had: IPv4Network, prefix: int, pool: IPv4Network, name: str
) -> IPv4Network | None:
    """The larger block around it, where that is in the pool and free: then everyone keeps the
    address.
    """
    wanted = had.supernet(new_prefix=prefix)
    return wanted if wanted.subnet_of(pool) and land.free(wanted, name) else None


def _moved(name: str, had: IPv4Network, new: IPv4Network) -> Finding:
    return Finding(
        "subnet-moves",
        f"networks.{name}.expected_users",
        f"{had} has no room to grow: the network moves to {new}, and every endpoint of it gets a"
        " new address",
        "its clients need their configs again",
        "warning",
    )


def _subnets6(
    networks: Mapping[str, Network],
    held: Mapping[str, NetworkAllocation],
    vcids: Mapping[str, int],
    rest: Quarantine,
) -> dict[str, IPv6Network]:
    given: dict[str, IPv6Network] = {}
    for name, network in networks.items():
        if network.subnet6 is not None:
            given[name] = network.subnet6
        elif name in held:
            given[name] = held[name].subnet6
    taken = {
        item.supernet(new_prefix=64) if item.prefixlen > 64 else item for item in given.values()
    }
    wide = [item for item in taken if item.prefixlen < 64]
    for name in networks:
        if name in given:
            continue
        closed = {IPv6Network(text) for text in rest.of_network(name, "subnet6")}
        wide_or_resting = [*wide, *closed]
        first = networks[name].renamed_from or name
        candidates = (_ula(first, vcids.get(name, 0), turn) for turn in range(1 << 16))
        free = (
            item
            for item in candidates
            if item not in taken and not any(item.overlaps(w) for w in wide_or_resting)
        )
        given[name] = next(free)
        taken.add(given[name])
    return given


def _ula(name: str, vcid: int, turn: int) -> IPv6Network:
    """fd, 40 bits of global id, 16 bits of subnet id (RFC 4193), from a hash."""
    suffix = f"/{turn}" if turn else ""
    digest = hashlib.sha256(f"{name}/{vcid}{suffix}".encode()).digest()
    if digest[:5] == TRANSIT6.network_address.packed[1:6]:
        return _ula(name, vcid, turn + (1 << 16))
    return IPv6Network((b"\xfd" + digest[:7] + bytes(8), 64))


def _seats(
    name: str,
    network: Network,
    subnet: IPv4Network,
    subnet6: IPv6Network,
    old: NetworkAllocation | None,
    rest: Quarantine,
    findings: list[Finding],
) -> AddressPlan:
    before = old.seats if old is not None else None
    four, six = rest.in_network(name, "address"), rest.in_network(name, "address6")
    if not four and not six:
        return seat(f"networks.{name}", network, subnet, subnet6, before, findings)
    findings += _seats_taken_early(name, network, four, rest)
    closed = QuarantinedAddresses(
        {int(IPv4Address(text)) for text in four},
        {int(IPv6Address(text)) for text in six},
        rest.next_free((*four.values(), *six.values())),
    )
    return seat(f"networks.{name}", network, subnet, subnet6, before, findings, closed)


def _seats_taken_early(
    name: str, network: Network, closed: Mapping[str, Tombstone], rest: Quarantine
) -> Iterator[Finding]:
    for each, one in network.explicit_endpoints.items():
        row = closed.get(str(one.address)) if one.address is not None else None
        if row is not None and row.endpoint != each:
            text = (
                f"{one.address} was endpoint {row.endpoint}'s and would rest until"
                f" {when(rest.until(row))}"
            )
            path = f"networks.{name}.endpoints.{each}.address"
            yield Finding(
                "resting", path, text, "a device that was removed may still use it", "warning"
            )


# ---- names that keys go by -----------------------------------------------------------------------------------


def with_identities(
    given: Mapping[str, NetworkAllocation],
    intent: Intent,
    held: Mapping[str, NetworkAllocation],
    rest: Quarantine,
) -> dict[str, NetworkAllocation]:
    """Every network and endpoint with the name it was first granted under, which two of them never
    share.
    """
    firsts = {name: held[name].first_name or name for name in given if name in held}
    asked = {name: intent.networks[name].renamed_from or name for name in given}
    gone = {
        row.get("first_name") or row.network
        for row in rest.rows
        if not row.endpoint and row.network not in given
    }
    firsts = _identities(firsts, asked, gone)
    out = {}
    for name, item in given.items():
        seats = _with_key_names(
            item.endpoints, intent.networks[name], held.get(name), rest.in_network(name, "key_name")
        )
        first = firsts[name] if firsts[name] != name else ""
        out[name] = (
            replace(item, endpoints=seats, first_name=first)
            if first or seats is not item.endpoints
            else item
        )
    return out


def _with_key_names(
    seats: Mapping[str, EndpointAllocation],
    network: Network,
    old: NetworkAllocation | None,
    gone: Mapping[str, Tombstone],
) -> Mapping[str, EndpointAllocation]:
    """The seats as they are, where every endpoint's keys go by its name."""
    before = old.endpoints if old is not None else {}
    plain = old is None or old.seats.plain
    kept = (
        {}
        if plain
        else {
            name: before[name].key_name
            for name in seats
            if name in before and before[name].key_name
        }
    )
    asked = {
        name: one.renamed_from
        for name, one in network.explicit_endpoints.items()
        if one.renamed_from and name not in before
    }
    if not (kept or asked or gone):
        return seats
    held = {name: kept.get(name, name) for name in seats if name in before}
    names = _identities(held, {name: asked.get(name, name) for name in seats}, set(gone))
    return {
        name: one if names[name] == name else replace(one, key_name=names[name])
        for name, one in seats.items()
    }


def _identities(
    held: Mapping[str, str], asked: Mapping[str, str], gone: set[str]
) -> dict[str, str]:
    """What is held stays; the others get what they ask for, numbered where somebody has, or had,
    the same.
    """
    out: dict[str, str] = {}
    taken: set[str] = set()
    for name, first in held.items():
        if first not in taken:
            out[name] = first
            taken.add(first)
    taken |= gone
    for name in sorted(asked.keys() - out.keys()):
        wanted = asked[name]
        free = (
            each
            for each in chain((wanted,), (f"{wanted}+{n}" for n in count(2)))
            if each not in taken
        )
        out[name] = next(free)
        taken.add(out[name])
    return out
