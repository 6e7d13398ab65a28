"""No link lets in what is addressed to the host, whatever nftables says: laws over the filters of
all types and modes.
"""

from __future__ import annotations

import dataclasses
from ipaddress import ip_address, ip_network

import pytest

from tests import world
from warpd.kernel.kinds.link import Veth, WireguardLink
from warpd.kernel.kinds.tc_filter import Filters, TcIngress
from warpd.kernel.state import ROOT, Key, Phase
from warpd.networks.compiler import Compiled, compile_state
from warpd.networks.firewall.local_delivery import of_tunnel, with_transit
from warpd.testing.fake_kernel import PLAIN

MODES = ("namespace", "vrf")
GATEWAY = {"pools": {"ports": "51820-51899"}}
HOST_LOCAL = ("10.44.0.1/32", "203.0.113.1/32", "2001:db8:113::1/128")
TO_THE_HOST = (
    "10.44.0.1",
    "203.0.113.1",
    "2001:db8:113::1",
    "198.19.0.2",
    "fd77:6172:7064::c613:2",
)
LINK_WIDE = ("224.0.0.1", "255.255.255.255", "fe80::1", "ff02::1")


def compiled(mode: str) -> Compiled:
    wanted = world.target(world.intent(GATEWAY, **world.every_type(mode)))
    host = dataclasses.replace(PLAIN, local=HOST_LOCAL)
    return compile_state(wanted.intent, wanted.allocations, wanted.master, host, wanted.today)


def passes(filters: Filters, target: str, icmp_type: int | None = None) -> bool:
    """Whether a packet to this address is let in by the first filter that it meets; of ICMPv6 where
    a type is given.
    """
    address = ip_address(target)
    for item in filters:
        family = item.ethertype == (0x0800 if address.version == 4 else 0x86DD)
        same_type = item.icmp_type is None or item.icmp_type == icmp_type
        if (
            family
            and same_type
            and (not item.destination or address in ip_network(item.destination))
        ):
            return item.verdict == "pass"
    return True


@pytest.mark.parametrize("mode", MODES)
def test_no_guarded_interface_lets_in_what_is_addressed_to_the_host(mode: str) -> None:
    """By filters that `nft` cannot take away, before a link is up: only neighbour discovery on a
    transit link.
    """
    built = compiled(mode)
    guards = {item.key: item for item in built.state if isinstance(item, TcIngress)}
    guarded_links = [item for item in built.state if isinstance(item, Veth | WireguardLink)]
    assert guarded_links
    for link in guarded_links:
        guard = guards[Key(TcIngress.KIND, link.netns, link.name)]
        assert guard.phase < Phase.UP
        targets = (*TO_THE_HOST, *LINK_WIDE) if link.netns == ROOT else LINK_WIDE
        assert not [target for target in targets if passes(guard.filters, target)]
        for kind in (135, 136):
            assert passes(guard.filters, "ff02::1:ff00:1", kind) == isinstance(link, Veth)
        assert passes(guard.filters, "198.51.100.7")
        assert passes(guard.filters, "2001:db8:51::7")


def test_the_gateways_own_address_in_a_network_is_spared() -> None:
    guard = of_tunnel(ROOT, "wg-1", ("10.0.0.1/32", "10.0.0.2/32"), ("10.0.0.1",))
    assert passes(guard.filters, "10.0.0.1")
    assert not passes(guard.filters, "10.0.0.2")


def test_prefixes_of_the_host_have_no_overlaps() -> None:
    found = with_transit(("127.0.0.0/8", "127.0.0.1/32", "::1/128"), ip_network("198.19.0.0/16"))
    assert found == ("127.0.0.0/8", "198.19.0.0/16", "::1/128", "fd77:6172:7064::/96")
