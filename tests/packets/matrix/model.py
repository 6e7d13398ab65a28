"""The reference model: every network type in both isolation modes, and what the contract lets pass
between whom.

Pure, and written from the contract alone; nothing here knows how the product does it. Per mode (n:
namespace, v: vrf), the same networks, so that what differs between modes shows:

    hub   secure-internet, hub-and-spoke   a, b (b with a LAN)       10.77.0.0/28  \\ one subnet
    mesh  secure-internet, peers talk      a, b (b with a LAN)       10.77.0.0/28  / for four
    l3    l3vpn-gateway                    a, b (LANs), c            10.78.0.0/28  \\ likewise
    twin  l3vpn-gateway                    a, b (LANs)               10.78.0.0/28  /
    res   remote-resource-gateway          a, c, hq (LANs)           10.79.0.0/28, 10.80.0.0/28
    wire  l2-point-to-point, every frame   left, right
    trunk l2-point-to-point, VLAN 100-110  left, right
    seg   l2-mesh, VLAN 100                a, b, c
    segb  l2-mesh, VLAN 100                a, b

A LAN behind an endpoint is an address on the client itself with listeners."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from ..lan import INTERNET4, INTERNET6, LAN_HOST4, LAN_HOST6, NARROW4, NARROW6

MODES = {"n": "namespace", "v": "vrf"}
KINDS = ("udp", "tcp", "ping")
# While a type is not there yet, a regular expression chooses the networks to run.
CHOSEN = re.compile(os.environ.get("WARPD_TEST_MATRIX", ""))


@dataclass(frozen=True, slots=True)
class Resource:
    """One line of `resources`."""

    subnet: str
    protocol: str = ""
    ports: tuple[int | str, ...] = ()
    via: str = ""

    def document(self) -> dict[str, Any]:
        about = {
            "subnet": self.subnet,
            "protocol": self.protocol,
            "ports": list(self.ports),
            "via": self.via,
        }
        return {key: value for key, value in about.items() if value}

    def lets(self, target: str, kind: str, port: int) -> bool:
        if ip_address(target) not in ip_network(self.subnet):
            return False
        if self.protocol and self.protocol != {"ping": "icmp"}.get(kind, kind):
            return False
        return not self.ports or kind == "ping" or any(port in span(item) for item in self.ports)


def span(ports: int | str) -> range:
    first, _dash, last = str(ports).partition("-")
    return range(int(first), int(last or first) + 1)


@dataclass(frozen=True, slots=True)
class End:
    """An endpoint: its addresses, and one listening address in each LAN behind it."""

    name: str
    addresses: tuple[str, ...] = ()
    lans: tuple[str, ...] = ()

    @property
    def routes(self) -> list[str]:
        return [str(ip_network((a, 64 if ":" in a else 24), strict=False)) for a in self.lans]


@dataclass(frozen=True, slots=True)
class Net:
    """A network of the matrix."""

    name: str
    type: str
    ends: tuple[End, ...]
    subnets: tuple[str, ...] = ()
    rest: dict[str, Any] = field(default_factory=dict)
    resources: tuple[Resource, ...] = ()
    vlans: range | None = None

    @property
    def mode(self) -> str:
        return MODES[self.name[-1]]

    @property
    def layer2(self) -> bool:
        return self.type.startswith("l2-")

    @property
    def column(self) -> str:
        """Its heading in the table."""
        return f"{SHORT[self.type]}/{'vrf' if self.mode == 'vrf' else 'ns'}"

    def document(self) -> dict[str, Any]:
        out = {
            "type": self.type,
            "isolation": self.mode,
            "expected_users": max(2, len(self.ends)),
            **self.rest,
        }
        if self.subnets:
            out |= {"subnet": self.subnets[0], "subnet6": self.subnets[1], "expected_users": 14}
        if self.resources:
            out["resources"] = [resource.document() for resource in self.resources]
        return {**out, "endpoints": {end.name: self._endpoint(end) for end in self.ends}}

    def _endpoint(self, end: End) -> dict[str, Any]:
        out: dict[str, Any] = {"type": "cpe" if end.lans or self.layer2 else "mobile"}
        if end.addresses:
            out |= {"address": end.addresses[0], "address6": end.addresses[1]}
        return {**out, "routes": end.routes} if end.lans else out

    def end(self, name: str) -> End:
        return next(end for end in self.ends if end.name == name)


SHORT = {
    "secure-internet": "internet",
    "remote-resource-gateway": "resource",
    "l3vpn-gateway": "l3vpn",
    "l2-point-to-point": "l2-ptp",
    "l2-mesh": "l2-mesh",
}
LAN1, LAN2 = ("192.168.10.9", "fd00:10::9"), ("192.168.20.9", "fd00:20::9")
BEHIND_HQ = (
    "192.168.77.9",
    "fd00:77::9",
    "192.168.78.9",
    "fd00:78::9",
    "192.168.79.9",
    "fd00:79::9",
)
RESOURCES = (
    Resource("172.16.9.9/32", "tcp", (7777,)),
    Resource("172.31.255.254/32", "udp", (7777, 9)),
    Resource("10.9.9.0/24", "udp", ("50-53",)),
    Resource("192.168.9.9/32", "icmp"),
    Resource(f"{LAN_HOST4}/32"),
    Resource(f"{NARROW4}/32"),
    Resource("fd00:9::9/128", "tcp", (7777,)),
    Resource("fd00:9::53/128", "udp", ("50-53",)),
    Resource(f"{LAN_HOST6}/128"),
    Resource(f"{NARROW6}/128"),
    Resource("192.168.77.0/24", via="hq"),
    Resource("fd00:77::/64", via="hq"),
    Resource("192.168.78.0/24", "tcp", (7777,), via="hq"),
    Resource("fd00:78::/64", "tcp", (7777,), via="hq"),
)
# Neighbours of what is listed, with listeners that must hear nothing. Each differs from a listed
# one by a bit or so.
NEIGHBOURS = (
    "172.16.9.8",
    "172.31.255.253",
    "10.9.8.9",
    "10.9.10.9",
    "192.168.9.8",
    "fd00:9::8",
    "fd00:9::52",
)
LAN_NEIGHBOURS = ("10.44.0.8", "fd00:44::8")
LISTED = (
    "172.16.9.9",
    "172.31.255.254",
    "10.9.9.9",
    "10.9.9.53",
    "192.168.9.9",
    LAN_HOST4,
    NARROW4,
    "fd00:9::9",
    "fd00:9::53",
    LAN_HOST6,
    NARROW6,
)
INTERNET = (INTERNET4, INTERNET6)
PORTS = (9, 49, 50, 53, 54, 7776, 7777, 7778)


def ends(base4: str, base6: str, *lans: tuple[str, ...], names: str = "a b c") -> tuple[End, ...]:
    """Endpoints with the addresses .2, .3 and so on."""
    pairs = zip(names.split(), lans, strict=False)
    return tuple(
        End(name, (f"{base4}{n}", f"{base6}{n}"), lan) for n, (name, lan) in enumerate(pairs, 2)
    )


def networks() -> tuple[Net, ...]:
    """All of both modes; the switched-off ones are left out."""
    return tuple(net for mode in MODES for net in of_mode(mode) if CHOSEN.match(net.name))


def of_mode(m: str) -> Iterator[Net]:
    shared, sites = ("10.77.0.0/28", "fd77:7::/64"), ("10.78.0.0/28", "fd78:8::/64")
    people = ends("10.77.0.", "fd77:7::", (), LAN1)
    offices = ends("10.78.0.", "fd78:8::", LAN1, LAN2, ())
    own = "79" if m == "n" else "80"
    staff = ends(f"10.{own}.0.", f"fd{own}:9::", (), (), BEHIND_HQ, names="a c hq")
    yield Net(f"hub-{m}", "secure-internet", people, shared)
    yield Net(f"mesh-{m}", "secure-internet", people, shared, {"peer_communication": True})
    yield Net(f"l3-{m}", "l3vpn-gateway", offices, sites)
    yield Net(f"twin-{m}", "l3vpn-gateway", offices[:2], sites)
    yield Net(
        f"res-{m}",
        "remote-resource-gateway",
        staff,
        (f"10.{own}.0.0/28", f"fd{own}:9::/64"),
        resources=RESOURCES,
    )
    two, three = (End("left"), End("right")), (End("a"), End("b"), End("c"))
    yield Net(f"wire-{m}", "l2-point-to-point", two)
    yield Net(
        f"trunk-{m}",
        "l2-point-to-point",
        two,
        rest={"vlan_range": "100-110"},
        vlans=range(100, 111),
    )
    yield Net(f"seg-{m}", "l2-mesh", three, rest={"vlan_id": 100}, vlans=range(100, 101))
    pool = "200000-200099" if m == "n" else "200100-200199"
    yield Net(
        f"segb-{m}",
        "l2-mesh",
        three[:2],
        rest={"vlan_id": 100, "vni_pool": pool},
        vlans=range(100, 101),
    )


def fate(net: Net, end: End, target: str, kind: str, port: int) -> str | None:
    """Who must receive a packet with a true source: an endpoint's name, `world`, or None for
    nobody.

    Not asked about the gateway's own address, which answers ping and nothing else in every network,
    nor about an endpoint's way to itself.
    """
    owner = next(
        (other.name for other in net.ends if target in (*other.addresses, *other.lans)), None
    )
    if net.type == "secure-internet":
        if owner:
            return owner if net.rest.get("peer_communication") else None
        return "world" if target in (*INTERNET, NARROW4, NARROW6) else None
    if net.type == "l3vpn-gateway":
        return owner
    if net.type == "remote-resource-gateway":
        listed = [resource for resource in net.resources if resource.lets(target, kind, port)]
        return (listed[0].via or "world") if listed else None
    return None
