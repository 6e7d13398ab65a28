"""Addresses inside one network: the gateway's and every endpoint's.

A part of `allocator`, pure like it.

Lives here: which offset of the subnet belongs to whom. The gateway takes the lowest address (links
are /32, there is no broadcast), endpoints the ones above it. The IPv6 host id is the IPv4 offset
plus 1. When a subnet is enlarged everyone keeps the address, when it is moved everyone keeps the
offset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import chain
from typing import Final

from warpd.errors import Finding
from warpd.intent.model import Network
from warpd.intent.types import natural


@dataclass(frozen=True, slots=True)
class EndpointAllocation:
    address: IPv4Address
    address6: IPv6Address
    leg: int = 0  # the number of its leg in an Ethernet segment, from 1; 0 elsewhere
    vni: int | None = None  # of that leg, in l2-mesh
    key_name: str = ""  # the name by which its keys are derived, where it is not its name


@dataclass(frozen=True)
class AddressPlan:
    """Who sits where in one network."""

    subnet: IPv4Network
    subnet6: IPv6Network
    gateway: IPv4Address
    gateway6: IPv6Address
    endpoints: Mapping[str, EndpointAllocation]

    @cached_property
    def plain(self) -> bool:
        """Whether nobody has more than addresses."""
        return not any(one.leg or one.vni or one.key_name for one in self.endpoints.values())

    @cached_property
    def sound(self) -> bool:
        """Whether everybody sits inside of the subnets, and no two on the same seat."""
        four = {int(self.gateway), *(int(one.address) for one in self.endpoints.values())}
        six = {int(self.gateway6), *(int(one.address6) for one in self.endpoints.values())}
        base4, base6 = int(self.subnet.network_address), int(self.subnet6.network_address)
        within = base4 <= min(four) and max(four) < base4 + self.subnet.num_addresses
        within &= base6 <= min(six) and max(six) < base6 + self.subnet6.num_addresses
        return within and len(four) == len(six) == len(self.endpoints) + 1


@dataclass(frozen=True, slots=True)
class QuarantinedAddresses:
    """Addresses that nobody new may have yet, as numbers; and when the first of them is free again."""

    four: Set[int] = frozenset()
    six: Set[int] = frozenset()
    next_free: str = ""


NOTHING_CLOSED: Final = QuarantinedAddresses()


@dataclass(slots=True)
class _AddressFamilyPool:
    """One family of one network: offsets from the base, and who holds them ("" is the gateway)."""

    base: int
    size: int
    word: str
    owner: dict[int, str] = field(default_factory=dict)
    given: dict[str, int] = field(default_factory=dict)

    def take(self, name: str, offset: int) -> bool:
        """False when it is outside or somebody else's."""
        if not 0 <= offset < self.size or offset in self.owner:
            return False
        self.owner[offset] = name
        self.given[name] = offset
        return True


def seat(
    path: str,
    network: Network,
    subnet: IPv4Network,
    subnet6: IPv6Network,
    old: AddressPlan | None,
    findings: list[Finding],
    closed: QuarantinedAddresses = NOTHING_CLOSED,
) -> AddressPlan:
    """Give every address of one network, keeping the offsets of `old`; where nothing is to give,
    `old` itself.
    """
    if old is not None and _settled(network, subnet, subnet6, old):
        return old
    four = _AddressFamilyPool(int(subnet.network_address), subnet.num_addresses, "address")
    six = _AddressFamilyPool(int(subnet6.network_address), subnet6.num_addresses, "address6")
    said4 = {
        name: int(one.address) for name, one in network.endpoints.items() if one.address is not None
    }
    said6 = {
        name: int(one.address6)
        for name, one in network.endpoints.items()
        if one.address6 is not None
    }
    names = sorted(network.endpoints, key=natural)
    _keep(four, six, network, old)
    _gateway(path, four, six, network, findings)
    for side, said, shown in ((four, said4, IPv4Address), (six, said6, IPv6Address)):
        for name in sorted(said):
            _pin(
                f"{path}.endpoints.{name}.{side.word}",
                side,
                name,
                said[name],
                shown(said[name]),
                findings,
            )
    _fill(path, four, six, [name for name in names if name not in said4], names, closed, findings)
    full = (name for name in names if name in four.given and name in six.given)
    endpoints = {
        name: EndpointAllocation(
            IPv4Address(four.base + four.given[name]), IPv6Address(six.base + six.given[name])
        )
        for name in full
    }
    gateway6 = IPv6Address(six.base + six.given.get("", 0))
    return AddressPlan(
        subnet, subnet6, IPv4Address(four.base + four.given.get("", 0)), gateway6, endpoints
    )


def _settled(network: Network, subnet: IPv4Network, subnet6: IPv6Network, old: AddressPlan) -> bool:
    """Whether everybody has a seat, and nobody asks for another one: a short way for large
    networks.
    """
    if not (old.plain and old.sound):
        return False  # what is not plain is given elsewhere
    if (subnet, subnet6) != (
        old.subnet,
        old.subnet6,
    ) or network.endpoints.keys() != old.endpoints.keys():
        return False
    if network.gateway_address not in (None, old.gateway):
        return False
    for name, one in network.explicit_endpoints.items():
        had = old.endpoints[name]
        if one.address not in (None, had.address) or one.address6 not in (None, had.address6):
            return False
    return True


def _keep(
    four: _AddressFamilyPool, six: _AddressFamilyPool, network: Network, old: AddressPlan | None
) -> None:
    """What was held and is not said otherwise stays at its offset; in the order of `old`, where the
    first have precedence.
    """
    if old is None:
        return
    base4, base6 = int(old.subnet.network_address), int(old.subnet6.network_address)
    if 0 <= base4 - four.base < four.size:
        base4 = four.base
    if network.gateway_address is None:
        four.take("", int(old.gateway) - base4)
    six.take("", int(old.gateway6) - base6)
    for name, had in old.endpoints.items():
        one = network.endpoints.get(name)
        if one is None:
            continue
        if one.address is None:
            four.take(name, int(had.address) - base4)
        if one.address6 is None:
            six.take(name, int(had.address6) - base6)


def _gateway(
    path: str,
    four: _AddressFamilyPool,
    six: _AddressFamilyPool,
    network: Network,
    findings: list[Finding],
) -> None:
    said = network.gateway_address
    if said is not None:
        _pin(f"{path}.gateway_address", four, "", int(said), said, findings)
    elif "" not in four.given:
        four.take("", next((offset for offset in range(four.size) if offset not in four.owner), 0))
    first = (
        1 if network.subnet6 is not None else four.given.get("", 0) + 1
    )  # of a given subnet, `validation` keeps host 1 free
    if "" not in six.given and not six.take("", first):
        offset = next((n for n in range(1, six.size) if n not in six.owner), 0)
        six.take("", offset)


def _pin(
    path: str,
    side: _AddressFamilyPool,
    name: str,
    value: int,
    shown: IPv4Address | IPv6Address,
    findings: list[Finding],
) -> None:
    offset = value - side.base
    if side.take(name, offset):
        return
    if 0 <= offset < side.size:
        holder = side.owner[offset]
        text = f"{shown} is held by {f'endpoint {holder}' if holder else 'the gateway'}"
        findings.append(Finding("taken", path, text, "choose another one"))
        return
    subnet = f"{type(shown)(side.base)}/{shown.max_prefixlen - (side.size - 1).bit_length()}"
    hint = "write an address of that subnet, or the subnet that holds this one"
    findings.append(
        Finding(
            "address-outside-subnet",
            path,
            f"{shown} is outside of the network's subnet {subnet}",
            hint,
        )
    )


def _fill(
    path: str,
    four: _AddressFamilyPool,
    six: _AddressFamilyPool,
    automatic: list[str],
    names: list[str],
    closed: QuarantinedAddresses,
    findings: list[Finding],
) -> None:
    """New endpoints, in the order of their names as people count: laptop-2 before laptop-10."""
    free4 = (offset for offset in _free_offsets(four) if four.base + offset not in closed.four)
    spare6 = (
        n
        for n in range(four.size + 1, six.size)
        if n not in six.owner and six.base + n not in closed.six
    )
    for name in automatic:
        if name not in four.given:
            offset = next(free4, None)
            if offset is None:
                findings += _only_closed(
                    path, four, [each for each in automatic if each not in four.given], closed
                )
                break  # else already a finding: more endpoints than the subnet holds
            four.take(name, offset)
    without = []
    for name in names:
        if name in six.given or name not in four.given:
            continue
        beside = four.given[name] + 1
        if six.base + beside not in closed.six and six.take(name, beside):
            continue
        spare = next(spare6, None)
        if spare is None or not six.take(name, spare):
            without.append(name)
    if without:
        text = f"no IPv6 address is left for {', '.join(without)}"
        findings.append(
            Finding("subnet6-too-small", f"{path}.subnet6", text, "a /64 holds everyone")
        )


def _only_closed(
    path: str, four: _AddressFamilyPool, without: list[str], closed: QuarantinedAddresses
) -> Iterator[Finding]:
    """There are addresses, but each was somebody's until a short while ago."""
    if next(_free_offsets(four), None) is not None:
        text = f"no address is left for {', '.join(without)} but what rests by gateway.quarantine"
        hint = (
            f"the next is free at {closed.next_free}; or raise `expected_users`, or shorten"
            " `gateway.quarantine`"
        )
        yield Finding(
            "quarantined",
            f"{path}.endpoints.{without[0]}",
            text,
            f"{hint}; the same device: `renamed_from`",
        )


def _free_offsets(side: _AddressFamilyPool) -> Iterator[int]:
    """1 to the last but one; then the lowest, which is free when the gateway sits elsewhere."""
    every = chain(range(1, max(2, side.size - 1)), (0,))
    return (offset for offset in every if offset < side.size and offset not in side.owner)
