"""What secure-internet keeps from its endpoints, held to the registries row by row."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import pytest

from tests import world
from tests.unit.networks.registries import BEYOND, CLOUDS, DOCUMENTATION, IPV4, IPV6
from warpd.kernel.nftables.simulator import Packet, Ruleset
from warpd.networks.compiler import compile_state
from warpd.testing.fake_kernel import PLAIN

ROWS = (*IPV4, *IPV6)
Network = IPv4Network | IPv6Network


def leaves(target: IPv4Address | IPv6Address, **fields: Any) -> bool:
    """Whether the rules of a network let a packet to this address out."""
    wanted = world.target(world.intent({}, web=world.network(1, dns=["9.9.9.9"], **fields)))
    built = compile_state(wanted.intent, wanted.allocations, wanted.master, PLAIN, wanted.today)
    allocation = wanted.allocations.networks["web"]
    netns = f"warp-{allocation.vcid}"
    book = Ruleset(item for item in built.state if getattr(item, "netns", None) == netns)
    one = allocation.endpoints["e1"]
    source = one.address if target.version == 4 else one.address6
    packet = Packet(
        str(source), str(target), "udp", 7777, f"wg-{allocation.vcid}", f"up-{allocation.vcid}"
    )
    return book.evaluate("forward", packet).what == "accept"


def edges(block: Network) -> set[IPv4Address | IPv6Address]:
    return {block[0], block[-1], block[block.num_addresses // 2]}


def within(address: IPv4Address | IPv6Address, rows: tuple[str, ...]) -> bool:
    return any(address in ip_network(row) for row in rows)


def narrower(block: Network) -> tuple[str, ...]:
    """Rows inside a block that say something of their own."""
    return tuple(
        row
        for row, _name, _reachable in ROWS
        if ip_network(row).version == block.version and row_in(row, block)
    )


def row_in(row: str, block: Network) -> bool:
    return ip_network(row) != block and ip_network(row).subnet_of(block)  # type: ignore[arg-type]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_row_of_the_registries(row: tuple[str, str, bool | None]) -> None:
    """What is not globally reachable stays inside, what is can be reached; documentation ranges are
    the internet of the tests.
    """
    block, _name, reachable = row
    network = ip_network(block)
    for address in edges(network):
        if within(address, narrower(network)):
            continue
        wanted = (reachable is True and block not in BEYOND) or block in DOCUMENTATION
        assert leaves(address) is wanted, address


@pytest.mark.parametrize("block", BEYOND)
def test_what_stands_elsewhere(block: str) -> None:
    assert not any(leaves(address) for address in edges(ip_network(block)))


@pytest.mark.parametrize("address", CLOUDS)
def test_metadata_of_clouds(address: str) -> None:
    assert not leaves(ip_address(address)), CLOUDS[address]


@pytest.mark.parametrize(
    "block", ["2002::/16", "168.63.129.16/32", "192.0.0.0/24", "::ffff:0:0:0/96", "2001::/32"]
)
def test_each_of_them_can_be_opened(block: str) -> None:
    assert all(leaves(address, allow_private=[block]) for address in edges(ip_network(block)))


def test_the_world_around_is_open() -> None:
    for text in (
        "1.1.1.1",
        "168.63.129.15",
        "168.63.129.17",
        "192.0.1.0",
        "192.88.98.255",
        "192.88.100.0",
        "2001:200::1",
        "2003::1",
    ):
        assert leaves(ip_address(text)), text
