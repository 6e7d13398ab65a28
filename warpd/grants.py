"""(intent, old grants) -> new grants: ids, ports, subnets and addresses. Pure, deterministic, never moves what exists.

Lives here: who gets which number. Does not: whether the YAML's own values make sense (`checks`), where grants
are kept (`store`). Every resource is given in the same order: first what the YAML says, then what was held
before, then what is new, each in the order of the names; so the order in the file never matters. A value that
another one holds is never taken away from it: a clash is a finding. Pools bound what is newly given only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import chain
from typing import Any, Final

from warpd.errors import Finding
from warpd.intent import L2_TYPES, Intent, Network, Pools, Range
from warpd.seats import EndpointGrant, Seats, capacity, prefix_for, seat
from warpd.segments import legs, vlans, vnis
from warpd.state import TRANSIT6

VERSION: Final = 1
# Endpoints that a subnet is sized for when nothing is said.
EXPECTED_USERS: Final = {"secure-internet": 1, "l2-point-to-point": 2}
EXPECTED_USERS_ELSE: Final = 254


@dataclass(frozen=True, slots=True)
class NetworkGrant:
    """Everything that one network was given."""

    vcid: int
    port: int
    routing_table: int
    subnet: IPv4Network
    subnet6: IPv6Network
    gateway_address: IPv4Address
    gateway_address6: IPv6Address
    transit: IPv4Network
    endpoints: Mapping[str, EndpointGrant] = field(default_factory=dict)
    vlan: int = 0  # the VLAN of an Ethernet segment; 0 where there is none


@dataclass(frozen=True, slots=True)
class Grants:
    networks: Mapping[str, NetworkGrant] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Numbers:
    """What one numbered resource needs to be given out."""

    field: str
    pool: str
    range: Range
    first_choice: Callable[[str], int] | None = None


def grant(intent: Intent, old: Grants) -> tuple[Grants, tuple[Finding, ...]]:
    """Give everything that `intent` leaves open, keeping `old`.

    With an error among the findings the grants are incomplete and must not be used.
    """
    findings: list[Finding] = []
    pools = intent.gateway.pools
    networks = {name: intent.networks[name] for name in sorted(intent.networks)}
    held = {name: old.networks[name] for name in networks if name in old.networks}
    first = partial(_first_vcid, pools.vcids)
    vcids = _numbers(_Numbers("vcid", "vcids", pools.vcids, first), networks, held, findings)
    ports = _numbers(_Numbers("port", "ports", pools.ports), networks, held, findings)
    tables = _numbers(_Numbers("routing_table", "routing_tables", pools.routing_tables), networks, held, findings)
    transits = _transits(pools.transit, networks, held, findings)
    subnets = _subnets(networks, held, pools, findings)
    subnets6 = _subnets6(networks, held, vcids)
    out: dict[str, NetworkGrant] = {}
    for name, network in networks.items():
        findings += _too_many(name, network)
        parts = (vcids.get(name), ports.get(name), tables.get(name), subnets.get(name), transits.get(name))
        vcid, port, table, subnet, transit = parts
        if vcid is None or port is None or table is None or subnet is None or transit is None:
            continue
        seats = _seats(name, network, subnet, subnets6[name], held.get(name), findings)
        out[name] = NetworkGrant(
            vcid, port, table, subnet, subnets6[name], seats.gateway, seats.gateway6, transit, seats.endpoints
        )
    return Grants(_with_segments(out, networks, held, intent.gateway.vlan_scope, findings)), tuple(findings)


def _with_segments(
    given: Mapping[str, NetworkGrant],
    networks: Mapping[str, Network],
    held: Mapping[str, NetworkGrant],
    scope: str,
    findings: list[Finding],
) -> dict[str, NetworkGrant]:
    """What Ethernet networks need beside: VLAN ids, legs, VNIs."""
    own = [name for name in given if networks[name].type in L2_TYPES]
    meshes = {name: networks[name] for name in own if networks[name].type == "l2-mesh"}
    ids = vlans(meshes, {name: item.vlan for name, item in held.items()}, scope, findings)
    meshes = {name: network for name, network in meshes.items() if name in ids}
    numbered = {name: legs(given[name].endpoints, held[name].endpoints if name in held else {}) for name in own}
    numbered |= vnis(meshes, numbered, ids, findings)
    more = {
        name: replace(given[name], vlan=ids.get(name, networks[name].vlan_id or 0), endpoints=numbered[name]) for name in own
    }
    return {**given, **more}


def expected_users(network: Network) -> int:
    """How many endpoints an automatic subnet is sized for."""
    return network.expected_users or EXPECTED_USERS.get(network.type, EXPECTED_USERS_ELSE)


def _too_many(name: str, network: Network) -> Iterator[Finding]:
    count = len(network.endpoints)
    if network.subnet is None or network.expected_users is not None:
        limit = expected_users(network)
        if count > limit:
            said = "expected_users is" if network.expected_users else f"{network.type} without expected_users holds"
            where = f"networks.{name}" + (".expected_users" if network.expected_users else "")
            yield Finding(
                "too-many-endpoints", where, f"{count} endpoints, but {said} {limit}", f"write `expected_users: {count}`"
            )
    if network.subnet is not None and count > capacity(network.subnet.prefixlen):
        yield Finding(
            "subnet-too-small",
            f"networks.{name}.subnet",
            f"{count} endpoints, but {network.subnet} holds {capacity(network.subnet.prefixlen)}",
            f"a /{prefix_for(count)} holds them",
        )


# ---- numbers: VCID, port, routing table ----------------------------------------------------------------------


def _first_vcid(pool: Range, name: str) -> int:
    """Where a name's circuit id wants to be; the same on every gateway."""
    digest = hashlib.sha256(f"warpd/v1/vcid/{name}".encode()).digest()
    return pool.first + int.from_bytes(digest[:8], "big") % len(pool)


def _numbers(
    kind: _Numbers, networks: Mapping[str, Network], held: Mapping[str, NetworkGrant], findings: list[Finding]
) -> dict[str, int]:
    said = {name: getattr(network, kind.field) for name, network in networks.items()}
    given: dict[str, int] = {}
    owner: dict[int, str] = {}
    for name in (*(n for n in networks if said[n] is None), *(n for n in networks if said[n] is not None)):
        value = said[name]
        if value is None and name in held:
            value = getattr(held[name], kind.field)
            if value in owner:
                continue
        if value is None:
            continue
        if value in owner:
            findings.append(_clash(f"networks.{name}.{kind.field}", kind.field, value, f"network {owner[value]}"))
            continue
        given[name], owner[value] = value, name
    missing = [name for name in networks if name not in given and said[name] is None]
    upwards = (value for value in range(kind.range.first, kind.range.last + 1) if value not in owner)
    without = []
    for name in missing:
        probe = upwards if kind.first_choice is None else _probe(kind.range, kind.first_choice(name), owner)
        value = next(probe, None)
        if value is None:
            without.append(name)
        else:
            given[name], owner[value] = value, name
    if without:
        findings.append(_exhausted(f"gateway.pools.{kind.pool}", str(kind.range), without))
    return given


def _probe(pool: Range, start: int, owner: Mapping[int, str]) -> Iterator[int]:
    around = chain(range(start, pool.last + 1), range(pool.first, start))
    return (value for value in around if value not in owner)


def _clash(path: str, what: str, value: object, holder: str) -> Finding:
    what = what.replace("_", " ")
    return Finding(
        "taken", path, f"{what} {value} is held by {holder}", f"choose another one, or give {holder} another one first"
    )


def _exhausted(path: str, pool: str, names: list[str]) -> Finding:
    return Finding(
        "pool-exhausted",
        path,
        f"the pool {pool} is exhausted: nothing is left for {', '.join(names)}",
        f"widen `{path}`",
    )


# ---- subnets and transit links -------------------------------------------------------------------------------


def _span(network: IPv4Network | IPv6Network) -> tuple[int, int]:
    return int(network.network_address), int(network.broadcast_address)


def _transits(
    pool: IPv4Network, networks: Iterable[str], held: Mapping[str, NetworkGrant], findings: list[Finding]
) -> dict[str, IPv4Network]:
    given: dict[str, IPv4Network] = {}
    taken: set[IPv4Network] = set()
    for name, grant_ in held.items():
        if grant_.transit not in taken:
            given[name] = grant_.transit
            taken.add(grant_.transit)
    starts = {int(item.network_address) for item in taken}
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
        findings.append(_exhausted("gateway.pools.transit", str(pool), without))
    return given


@dataclass(slots=True)
class _Land:
    """Which IPv4 blocks are given to whom while subnets are being given."""

    given: dict[str, IPv4Network] = field(default_factory=dict)

    def free(self, wanted: IPv4Network, asker: str) -> bool:
        return not any(wanted.overlaps(other) for name, other in self.given.items() if name != asker)

    def lowest(self, pool: IPv4Network, prefix: int, asker: str) -> IPv4Network | None:
        """The lowest aligned block of the pool that overlaps nobody's."""
        size = 1 << (32 - prefix)
        at, end = _span(pool)
        for first, last in sorted(_span(other) for name, other in self.given.items() if name != asker):
            if first >= at + size:
                break
            if last >= at:
                at = -(-(last + 1) // size) * size
        return IPv4Network((at, prefix)) if at + size - 1 <= end and prefix >= pool.prefixlen else None


def _subnets(
    networks: Mapping[str, Network], held: Mapping[str, NetworkGrant], pools: Pools, findings: list[Finding]
) -> dict[str, IPv4Network]:
    land = _Land()
    for name, network in networks.items():
        if network.subnet is not None:
            land.given[name] = network.subnet
        elif name in held:
            land.given[name] = held[name].subnet
    automatic = {name: network for name, network in networks.items() if network.subnet is None}
    for name, network in automatic.items():
        pinned = _pinned(network, prefix_for(expected_users(network)))
        if name not in land.given and pinned is not None and land.free(pinned, name):
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
        if had is not None and new.network_address != had.network_address:
            findings.append(_moved(name, had, new))
        land.given[name] = new
    for kind, names in sorted(without.items()):
        pool = _pool(pools, networks[names[0]])
        findings.append(_exhausted(f"gateway.pools.subnets.{kind}", str(pool), names))
        for name in names:
            land.given.pop(name, None)
    return land.given


def _pool(pools: Pools, network: Network) -> IPv4Network:
    return pools.subnets.get(network.type) or Pools().subnets[network.type]


def _pinned(network: Network, prefix: int) -> IPv4Network | None:
    """The block around the first inner address that the YAML fixes, if it fixes any."""
    pins = (network.gateway_address, *(network.endpoints[name].address for name in sorted(network.endpoints)))
    pin = next((item for item in pins if item is not None), None)
    return None if pin is None else IPv4Network((int(pin), prefix), strict=False)


def _grown(land: _Land, had: IPv4Network, prefix: int, pool: IPv4Network, name: str) -> IPv4Network | None:
    """The larger block with the same start, where it is aligned, in the pool and free."""
    if int(had.network_address) % (1 << (32 - prefix)):
        return None
    wanted = IPv4Network((had.network_address, prefix))
    return wanted if wanted.subnet_of(pool) and land.free(wanted, name) else None


def _moved(name: str, had: IPv4Network, new: IPv4Network) -> Finding:
    return Finding(
        "subnet-moves",
        f"networks.{name}.expected_users",
        f"{had} has no room to grow: the network moves to {new}, and every endpoint of it gets a new address",
        "its clients need their configs again",
        "warning",
    )


def _subnets6(
    networks: Mapping[str, Network], held: Mapping[str, NetworkGrant], vcids: Mapping[str, int]
) -> dict[str, IPv6Network]:
    given: dict[str, IPv6Network] = {}
    for name, network in networks.items():
        if network.subnet6 is not None:
            given[name] = network.subnet6
        elif name in held:
            given[name] = held[name].subnet6
    taken = {item.supernet(new_prefix=64) if item.prefixlen > 64 else item for item in given.values()}
    wide = [item for item in taken if item.prefixlen < 64]
    for name in networks:
        if name in given:
            continue
        candidates = (_ula(name, vcids.get(name, 0), turn) for turn in range(1 << 16))
        free = (item for item in candidates if item not in taken and not any(item.overlaps(w) for w in wide))
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
    old: NetworkGrant | None,
    findings: list[Finding],
) -> Seats:
    before = None
    if old is not None:
        before = Seats(old.subnet, old.subnet6, old.gateway_address, old.gateway_address6, old.endpoints)
    return seat(f"networks.{name}", network, subnet, subnet6, before, findings)


# ---- JSON ----------------------------------------------------------------------------------------------------


def to_json(grants: Grants) -> str:
    """Sorted and versioned: the same grants are the same bytes."""
    networks = {name: _plain(item) for name, item in grants.networks.items()}
    return json.dumps({"version": VERSION, "networks": networks}, sort_keys=True, indent=1) + "\n"


def _plain(item: NetworkGrant) -> dict[str, Any]:
    return {
        "vcid": item.vcid,
        "port": item.port,
        "routing_table": item.routing_table,
        "subnet": str(item.subnet),
        "subnet6": str(item.subnet6),
        "gateway_address": str(item.gateway_address),
        "gateway_address6": str(item.gateway_address6),
        "transit": str(item.transit),
        "vlan": item.vlan,
        "endpoints": {
            name: [str(one.address), str(one.address6), *([one.leg] if one.leg else ()), *([one.vni] if one.vni else ())]
            for name, one in item.endpoints.items()
        },
    }


def from_json(text: str) -> Grants:
    """Read what `to_json` wrote.

    Raises:
        ValueError: it is something else.
    """
    try:
        document = json.loads(text)
        if document["version"] != VERSION:
            raise ValueError(f"grants of version {document['version']}, this warpd reads {VERSION}")
        return Grants({name: _parsed(item) for name, item in sorted(document["networks"].items())})
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"these are no grants: {error!r}") from None


def _parsed(item: Mapping[str, Any]) -> NetworkGrant:
    return NetworkGrant(
        int(item["vcid"]),
        int(item["port"]),
        int(item["routing_table"]),
        IPv4Network(item["subnet"]),
        IPv6Network(item["subnet6"]),
        IPv4Address(item["gateway_address"]),
        IPv6Address(item["gateway_address6"]),
        IPv4Network(item["transit"]),
        {
            name: EndpointGrant(IPv4Address(one[0]), IPv6Address(one[1]), *(int(number) for number in one[2:]))
            for name, one in sorted(item["endpoints"].items())
        },
        int(item.get("vlan", 0)),
    )
