"""Addresses inside one network: the gateway's and every endpoint's.

A part of `allocator`, pure like it.

Lives here: which offset of the subnet belongs to whom. The gateway takes the lowest address (links
are /32, there is no broadcast), endpoints take those above it. The IPv6 host part is the IPv4
offset plus 1. When a subnet grows, everyone keeps the address; when it moves, everyone keeps the
offset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import chain
from typing import Final, Generic, TypeVar

from warpd.allocation.model import EndpointAllocation, NetworkAllocation
from warpd.allocation.pools import CHOOSE_ANOTHER, Findings, Pool, taken
from warpd.errors import Finding
from warpd.intent.model import Network
from warpd.intent.types import natural

GATEWAY: Final = ""  # the owner of the gateway's offset; no endpoint has this name

Address = TypeVar("Address", IPv4Address, IPv6Address)


@dataclass(frozen=True, slots=True)
class AddressPlan:
    """The addresses of one network."""

    gateway: IPv4Address
    gateway6: IPv6Address
    endpoints: Mapping[str, EndpointAllocation]


@dataclass(frozen=True, slots=True)
class QuarantinedAddresses:
    """Addresses of one network that no other endpoint is given yet.

    four, six: address -> the endpoint that had it.
    next_free: when the first of them is free for others, for people.
    """

    four: Mapping[IPv4Address, str] = field(default_factory=dict)
    six: Mapping[IPv6Address, str] = field(default_factory=dict)
    next_free: str = ""


@dataclass(frozen=True, slots=True)
class _Family(Generic[Address]):
    """One address family of one network: a pool of offsets from the first address.

    field: of an endpoint, in the YAML and in the allocation.
    """

    field: str
    of_type: type[Address]
    base: int
    size: int
    pool: Pool[int, str]

    def take(self, owner: str, offset: int) -> bool:
        """False where the offset is outside of the subnet, or another owner's."""
        return 0 <= offset < self.size and self.pool.take(owner, offset)

    def address(self, owner: str) -> Address:
        """The address of an owner; the first one of the subnet where it has none."""
        return self.of_type(self.base + self.pool.values.get(owner, 0))

    def offset(self, address: IPv4Address | IPv6Address) -> int:
        return int(address) - self.base

    @property
    def subnet(self) -> str:
        return f"{self.of_type(self.base)}/{self._prefix}"

    @property
    def _prefix(self) -> int:
        return self.of_type(self.base).max_prefixlen - (self.size - 1).bit_length()


Family4 = _Family[IPv4Address]
Family6 = _Family[IPv6Address]


def _family4(subnet: IPv4Network, quarantined: Mapping[IPv4Address, str]) -> Family4:
    base = int(subnet.network_address)
    offsets = {int(address) - base: owner for address, owner in quarantined.items()}
    return _Family("address", IPv4Address, base, subnet.num_addresses, Pool(offsets))


def _family6(subnet: IPv6Network, quarantined: Mapping[IPv6Address, str]) -> Family6:
    base = int(subnet.network_address)
    offsets = {int(address) - base: owner for address, owner in quarantined.items()}
    return _Family("address6", IPv6Address, base, subnet.num_addresses, Pool(offsets))


def assign_addresses(
    path: str,
    network: Network,
    subnet: IPv4Network,
    subnet6: IPv6Network,
    previous: NetworkAllocation | None,
    quarantined: QuarantinedAddresses,
) -> tuple[AddressPlan, Findings]:
    """(addresses, findings). An endpoint that gets none is not in the plan, and an error names it.

    path: of the network in the YAML.
    previous: what the network held before; its offsets stay.
    """
    if previous is not None and _is_settled(network, subnet, subnet6, previous):
        gateways = previous.gateway_address, previous.gateway_address6
        return AddressPlan(*gateways, previous.endpoints), ()
    four = _family4(subnet, quarantined.four)
    six = _family6(subnet6, quarantined.six)
    if previous is not None:
        _keep_offsets(four, six, network, previous)
    # In the order in which people count: laptop-2 before laptop-10.
    names = sorted(network.endpoints, key=natural)
    findings = [
        *_place_gateway(path, four, six, network),
        *_take_chosen(path, four, network),
        *_take_chosen(path, six, network),
        *_fill(path, four, six, network, names, quarantined),
    ]
    offsets, offsets6 = four.pool.values, six.pool.values
    endpoints = {
        name: EndpointAllocation(
            IPv4Address(four.base + offsets[name]), IPv6Address(six.base + offsets6[name])
        )
        for name in names
        if name in offsets and name in offsets6
    }
    return AddressPlan(four.address(GATEWAY), six.address(GATEWAY), endpoints), tuple(findings)


def _is_settled(
    network: Network, subnet: IPv4Network, subnet6: IPv6Network, previous: NetworkAllocation
) -> bool:
    """Whether all addresses stay as they are: a short way for large networks.

    An allocation with more than addresses is not settled: what else it holds is assigned anew from
    addresses alone (`l2_ids`, `key_names`).
    """
    if not (previous.holds_only_addresses and previous.is_consistent):
        return False
    if (subnet, subnet6) != (previous.subnet, previous.subnet6):
        return False
    if network.endpoints.keys() != previous.endpoints.keys():
        return False
    if network.gateway_address not in (None, previous.gateway_address):
        return False
    return all(
        endpoint.address in (None, previous.endpoints[name].address)
        and endpoint.address6 in (None, previous.endpoints[name].address6)
        for name, endpoint in network.explicit_endpoints.items()
    )


def _keep_offsets(
    four: Family4, six: Family6, network: Network, previous: NetworkAllocation
) -> None:
    """Let everyone keep the previous offset, but for whom the YAML chooses another address.

    Where two hold the same, the first in the order of `previous` keeps it.
    """
    base4 = int(previous.subnet.network_address)
    base6 = int(previous.subnet6.network_address)
    if 0 <= base4 - four.base < four.size:
        base4 = four.base  # it has grown in place: addresses stay
    if network.gateway_address is None:
        four.take(GATEWAY, int(previous.gateway_address) - base4)
    six.take(GATEWAY, int(previous.gateway_address6) - base6)
    for name, held in previous.endpoints.items():
        endpoint = network.endpoints.get(name)
        if endpoint is None:
            continue
        if endpoint.address is None:
            four.take(name, int(held.address) - base4)
        if endpoint.address6 is None:
            six.take(name, int(held.address6) - base6)


def _place_gateway(path: str, four: Family4, six: Family6, network: Network) -> Iterator[Finding]:
    if network.gateway_address is not None:
        yield from _take(f"{path}.gateway_address", four, GATEWAY, network.gateway_address)
    elif GATEWAY not in four.pool.values:
        four.pool.take_first(GATEWAY, range(four.size))
    if GATEWAY in six.pool.values:
        return
    # Of a subnet6 that the YAML chooses, `validation` keeps host 1 free.
    beside = 1 if network.subnet6 is not None else four.pool.values.get(GATEWAY, 0) + 1
    if not six.take(GATEWAY, beside):
        six.pool.take_first(GATEWAY, chain(range(1, six.size), (0,)))


def _take_chosen(path: str, family: Family4 | Family6, network: Network) -> Iterator[Finding]:
    """Assign the addresses that the YAML gives. One that another endpoint holds is an error."""
    for name, endpoint in sorted(network.explicit_endpoints.items()):
        address = getattr(endpoint, family.field)
        if address is not None:
            yield from _take(f"{path}.endpoints.{name}.{family.field}", family, name, address)


def _take(
    path: str, family: Family4 | Family6, owner: str, address: IPv4Address | IPv6Address
) -> Iterator[Finding]:
    offset = family.offset(address)
    if family.take(owner, offset):
        return
    if 0 <= offset < family.size:
        holder = family.pool.owners[offset]
        name = f"endpoint {holder}" if holder != GATEWAY else "the gateway"
        yield taken(path, str(address), name, CHOOSE_ANOTHER)
        return
    text = f"{address} is outside of the network's subnet {family.subnet}"
    hint = "write an address of that subnet, or the subnet that holds this one"
    yield Finding("address-outside-subnet", path, text, hint)


# ---- new endpoints ----------------------------------------------------------------------------


def _fill(
    path: str,
    four: Family4,
    six: Family6,
    network: Network,
    names: list[str],
    quarantined: QuarantinedAddresses,
) -> Iterator[Finding]:
    """Addresses for all of `names` who have none, in their order."""
    chosen = {name for name, one in network.explicit_endpoints.items() if one.address is not None}
    automatic = [name for name in names if name not in chosen]
    without = four.pool.fill(automatic, _offsets(four.size))
    if without:
        yield _no_address(path, four, without, quarantined)
    with_address = [name for name in names if name in four.pool.values]
    without = _fill6(four, six, with_address)
    if without:
        text = f"no IPv6 address is left for {', '.join(without)}"
        hint = "a /64 holds all endpoints"
        yield Finding("subnet6-too-small", f"{path}.subnet6", text, hint)


def _fill6(four: Family4, six: Family6, names: list[str]) -> list[str]:
    """IPv6 addresses beside the IPv4 ones, or else above all of these. Returns who gets none."""
    spare = six.pool.never_held(range(four.size + 1, six.size))
    without = []
    for name in six.pool.without(names):
        beside = four.pool.values[name] + 1
        is_free = beside not in six.pool.quarantined and six.take(name, beside)
        if not is_free and not six.pool.take_first(name, spare):
            without.append(name)
    return without


def _no_address(
    path: str, four: Family4, names: list[str], quarantined: QuarantinedAddresses
) -> Finding:
    """Report endpoints without an address.

    The subnet is full (`validation` reports that first), or its free addresses are quarantined.
    """
    listed = ", ".join(names)
    are_quarantined = any(offset not in four.pool.owners for offset in _offsets(four.size))
    if not are_quarantined:
        text = f"subnet {four.subnet} is exhausted: no address is left for {listed}"
        return Finding("pool-exhausted", f"{path}.endpoints", text, "raise `expected_users`")
    return Finding(
        "quarantined",
        f"{path}.endpoints.{names[0]}",
        f"subnet {four.subnet} is exhausted for {listed}: all free addresses are quarantined"
        " (gateway.quarantine)",
        f"the next is free at {quarantined.next_free}; or raise `expected_users`, or shorten"
        " `gateway.quarantine`; for the same device, write `renamed_from`",
    )


def _offsets(size: int) -> Iterator[int]:
    """Offsets in the order in which endpoints get them: 1 to the last but one, then 0.

    0 is free where the gateway has another address.
    """
    return (offset for offset in chain(range(1, max(2, size - 1)), (0,)) if offset < size)
