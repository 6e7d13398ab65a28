"""Recover from the kernel what was applied, for a gateway that has lost its state folder or master
secret. Pure.

To restore guards and to carry out revocations, warpd needs an intent, allocations and keys. The
kernel has most of that: aliases name the networks, devices have their keys, peers their keys and
addresses, and links and routes show the rest. The names of endpoints are nowhere in the kernel. A
peer gets the name of the endpoint whose key or address it has. A peer that may belong to several
endpoints, or to none, keeps its access as an unnamed endpoint.

`commitment` decides what is done with the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_interface, ip_network
from typing import Any, Final

from warpd import naming
from warpd.allocation.model import Allocations, EndpointAllocation, NetworkAllocation
from warpd.errors import WarpError
from warpd.intent.intersection import UNNAMED
from warpd.intent.model import Endpoint, Intent, Network
from warpd.kernel.kinds.address import Address
from warpd.kernel.kinds.bridge_port import BridgePort
from warpd.kernel.kinds.ethernet import Bridge, Gretap, Leg, Vxlan
from warpd.kernel.kinds.nft_table import NftElements
from warpd.kernel.kinds.route import Route
from warpd.kernel.kinds.vrf import Vrf
from warpd.kernel.kinds.wireguard import WireguardDevice, WireguardPeer
from warpd.kernel.state import ROOT, KernelObject, State
from warpd.keys.derivation import KernelKeys, Master, PeerKeys, Secret
from warpd.networks.firewall.port_blocks import block_number
from warpd.networks.peer_keys import network_key_of, public_key_of
from warpd.networks.resolved import permitted_on

HINT: Final = (
    "restore the state folder from a backup; `warpctl destroy` removes everything of warpd from the"
    " kernel"
)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What is in force in the kernel.

    - `intent`: the networks and endpoints that are there; unnamed endpoints begin with `UNNAMED`.
    - `allocations`: theirs.
    - `keys`: those of the devices and peers, by VCID and name.
    - `gone`: networks that the kernel has and the intent does not name.
    """

    intent: Intent
    allocations: Allocations
    keys: KernelKeys
    gone: tuple[str, ...]


@dataclass(frozen=True)
class _Shown:
    """What the kernel has of one network; `name` is that of the links' alias."""

    vcid: int
    name: str
    device: WireguardDevice
    items: tuple[KernelObject, ...] = field(repr=False)

    @cached_property
    def peers(self) -> tuple[WireguardPeer, ...]:
        """The peers of its device, in an order that does not depend on the dump."""
        peers = (item for item in self.items if isinstance(item, WireguardPeer))
        own = (peer for peer in peers if peer.device == self.device.device)
        return tuple(sorted(own, key=lambda peer: peer.allowed_ips))

    @cached_property
    def legs(self) -> Mapping[str, Leg]:
        """The legs of an Ethernet segment, by the address of the far end."""
        return {item.remote: item for item in self.items if isinstance(item, Gretap | Vxlan)}

    def address(self, version: int) -> Any:
        """Return the gateway's own address of an IP version, without length; None for none."""
        for text in self._addresses_of(self.device.device):
            found = ip_interface(text).ip
            if found.version == version and not found.is_link_local:
                return found
        return None

    def _addresses_of(self, link: str) -> Iterator[str]:
        """Yield the addresses of a link, with prefix length."""
        for item in self.items:
            if isinstance(item, Address) and item.device == link:
                yield item.address

    def subnet(self, own: Any) -> Any:
        """Return the network's own range: the narrowest route that contains the gateway's address.

        Returns:
            None where there is no such route.
        """
        routes = (item for item in self.items if isinstance(item, Route))
        prefixes = [ip_network(item.prefix) for item in routes if item.device == self.device.device]
        around = [prefix for prefix in prefixes if prefix.version == own.version and own in prefix]
        return max(around, key=lambda prefix: prefix.prefixlen, default=None)

    def transit(self, pool: IPv4Network) -> IPv4Network | None:
        """Return the transit link's range.

        It follows from the link's own address. In a VRF, where there is no such link, it follows
        from the block of NAT ports, whose number is that of the link in the pool.

        Returns:
            None where the kernel shows neither.
        """
        for text in self._addresses_of(naming.transit_outer(self.vcid)):
            own = ip_interface(text)
            if own.version == 4:
                return IPv4Network((int(own.ip) & ~1, 31))
        number = block_number(item for item in self.items if isinstance(item, NftElements))
        if number is None:
            return None
        return IPv4Network((int(pool.network_address) + 2 * number, 31))


@dataclass(frozen=True, slots=True)
class _RecoveredNetwork:
    """One network that is in force, its allocation, and its peers by the names of endpoints."""

    network: Network
    allocation: NetworkAllocation
    peers: Mapping[str, WireguardPeer]


def recover(
    intent: Intent,
    known: Allocations,
    guess: Allocations,
    master: Secret | None,
    state: State,
    today: date,
) -> Recovered:
    """Return as much of `intent` as `state` shows to be in force.

    Args:
        intent: the YAML, or what was applied last.
        known: allocations that are on record; endpoints are recognised by them.
        guess: allocations that a first apply would make, for what neither `known` nor the kernel
            says.
        master: a master secret. It counts only where a device has the key that follows from it.
        state: the observed objects.
        today: the date in UTC.

    Raises:
        WarpError: a network of the intent shows neither its subnet nor its address in the kernel.
    """
    shown = _all_shown(state)
    found = dict(_found(intent, known, shown))
    if master is not None and not any(
        _is_ours(intent, name, here, master) for name, here in found.items()
    ):
        master = None
    pool = intent.gateway.pools.transit
    recovered: dict[str, _RecoveredNetwork] = {}
    for name, here in found.items():
        previous = known.networks.get(name)
        network = _network(intent.networks[name], here)
        peers = dict(_matched(network, here, previous, master, today))
        allocation = previous or _allocation(name, here, guess.networks[name], pool)
        recovered[name] = _recovered(network, here, allocation, peers)
    networks = {name: one.network for name, one in recovered.items()}
    allocations = {name: one.allocation for name, one in recovered.items()}
    return Recovered(
        intent.model_copy(update={"networks": networks}),
        Allocations(_without_shared_transits(allocations, known, found, pool)),
        _kernel_keys(found, recovered),
        tuple(sorted(_unlisted(intent, known, shown))),
    )


def _recovered(
    network: Network,
    here: _Shown,
    allocation: NetworkAllocation,
    peers: Mapping[str, WireguardPeer],
) -> _RecoveredNetwork:
    """Put together one network of its peers; its allocation has those endpoints only."""
    endpoints, addresses = {}, {}
    for name, peer in peers.items():
        endpoints[name] = _endpoint(network, name, peer, allocation)
        addresses[name] = _endpoint_allocation(peer, here, allocation, name)
    return _RecoveredNetwork(
        _with(network, endpoints=endpoints), replace(allocation, endpoints=addresses), peers
    )


def _kernel_keys(
    found: Mapping[str, _Shown], recovered: Mapping[str, _RecoveredNetwork]
) -> KernelKeys:
    """Return the keys that devices and peers have in the kernel."""
    devices: dict[int, Secret] = {}
    peers: dict[tuple[int, str], PeerKeys] = {}
    for name, one in recovered.items():
        device = found[name].device
        vcid = found[name].vcid
        if device.private_key is not None:
            devices[vcid] = device.private_key
        for endpoint, peer in one.peers.items():
            key_name = one.allocation.endpoints[endpoint].key_name or endpoint
            peers[vcid, key_name] = PeerKeys(peer.public_key, peer.preshared_key)
    return KernelKeys(devices, peers)


def unnamed(intent: Intent) -> dict[str, int]:
    """Return network -> how many of its endpoints have no name, where there are such."""
    counts = {}
    for name, network in intent.networks.items():
        count = sum(endpoint.startswith(UNNAMED) for endpoint in network.endpoints)
        if count:
            counts[name] = count
    return counts


def _all_shown(state: State) -> dict[int, _Shown]:
    """Return what the kernel has of each network with a WireGuard device, by VCID."""
    groups: dict[str, list[KernelObject]] = {}
    for item in state:
        groups.setdefault(item.group, []).append(item)
    shown = {}
    for device in state:
        if not isinstance(device, WireguardDevice):
            continue
        vcid = naming.vcid_of_namespace(device.group)
        if vcid is not None:
            items = tuple(groups[device.group])
            shown[vcid] = _Shown(vcid, _alias(items), device, items)
    return shown


def _alias(items: Iterable[KernelObject]) -> str:
    """Return the name of the network in the first alias that has one."""
    names = (naming.network_of_alias(getattr(item, "alias", "")) for item in items)
    return next(filter(None, names), "")


def _found(
    intent: Intent, known: Allocations, shown: Mapping[int, _Shown]
) -> Iterator[tuple[str, _Shown]]:
    """Yield the enabled networks of the intent that are in the kernel.

    They are found by the VCID on record, or else by name.
    """
    by_name = {here.name: here for here in shown.values()}
    for name, network in sorted(intent.networks.items()):
        if not network.enabled:
            continue
        if name in known.networks:
            here = shown.get(known.networks[name].vcid)
        else:
            here = by_name.get(name) or by_name.get(network.renamed_from or "")
        if here is not None:
            yield name, here


def _unlisted(intent: Intent, known: Allocations, shown: Mapping[int, _Shown]) -> set[str]:
    """Return the networks of the kernel that the intent does not name, disabled ones included."""
    vcids = {known.networks[name].vcid for name in intent.networks.keys() & known.networks.keys()}
    names = {*intent.networks, *(network.renamed_from for network in intent.networks.values())}
    return {
        here.name for here in shown.values() if here.vcid not in vcids and here.name not in names
    }


def _is_ours(intent: Intent, name: str, here: _Shown, master: Master) -> bool:
    """Whether the device has the key that follows from this master secret."""
    network = intent.networks[name]
    derived = network.private_key_file is None
    return derived and here.device.private_key == network_key_of(
        network, intent.gateway, here.vcid, master
    )


def _network(network: Network, here: _Shown) -> Network:
    """Return the network as the intent describes it, but in the place where the kernel has it."""
    bridge = next((item.name for item in here.items if isinstance(item, Bridge)), None)
    changed: dict[str, Any] = {"isolation": "vrf" if here.device.netns == ROOT else "namespace"}
    if bridge is not None and bridge != naming.bridge(here.vcid):
        changed["bridge_name"] = bridge
    if here.address(6) is None and not any(_has_ipv6(peer) for peer in here.peers):
        changed["ipv6"] = False
    return _with(network, **changed)


def _has_ipv6(peer: WireguardPeer) -> bool:
    return any(":" in prefix for prefix in peer.allowed_ips)


def _with(network: Network, **changed: Any) -> Network:
    """Return a copy with other values.

    `model_copy` is not used: it also copies the cached properties of the previous values.
    """
    fields = {name: getattr(network, name) for name in Network.model_fields}
    return Network.model_construct(**{**fields, **changed})


# -- endpoints


def _matched(
    network: Network,
    here: _Shown,
    known: NetworkAllocation | None,
    master: Master | None,
    today: date,
) -> Iterator[tuple[str, WireguardPeer]]:
    """Yield the peers that stay, with the names of their endpoints or names of no endpoint.

    An endpoint is recognised by its key, its address or its routes. Where each endpoint is either
    recognised or known not to be there, the other peers belong to endpoints that the intent does
    not have any more.
    """
    left = list(here.peers)
    missing: list[str] = []
    for name, endpoint in sorted(network.endpoints.items()):
        key, address = _expected(name, endpoint, here.vcid, known, master)
        peer = next((peer for peer in left if _has(peer, key, address)), None)
        if peer is not None:
            left.remove(peer)
            yield name, peer
        elif permitted_on(endpoint, today) and not (key or address):
            missing.append(name)
    by_routes = _matched_by_routes(network, missing, left)
    yield from by_routes.items()
    if len(missing) > len(by_routes):
        yield from _without_names((peer for peer in left if peer not in by_routes.values()), here)


def _matched_by_routes(
    network: Network, missing: list[str], left: list[WireguardPeer]
) -> dict[str, WireguardPeer]:
    """Return endpoint -> the only peer with its routes, where no other endpoint has them."""
    matched = {}
    for name in missing:
        peer = _behind(network, name, missing, left)
        if peer is not None:
            matched[name] = peer
    return matched


def _without_names(
    peers: Iterable[WireguardPeer], here: _Shown
) -> Iterator[tuple[str, WireguardPeer]]:
    """Yield peers with names that no endpoint of a YAML can have."""
    for peer in peers:
        own = _own_address(peer, here)
        if own is not None:
            yield f"{UNNAMED}{own}", peer


def _behind(
    network: Network, name: str, missing: Iterable[str], left: Iterable[WireguardPeer]
) -> WireguardPeer | None:
    """Return the only peer with the routes of this endpoint, if no other endpoint has them."""
    routes = {str(item) for item in network.endpoints[name].routes if item.version == 4}
    alike = [other for other in missing if routes <= _route_texts(network.endpoints[other])]
    peers = [peer for peer in left if routes <= set(peer.allowed_ips)]
    return peers[0] if routes and len(alike) == 1 and len(peers) == 1 else None


def _route_texts(endpoint: Endpoint) -> set[str]:
    return {str(route) for route in endpoint.routes}


def _expected(
    name: str, endpoint: Endpoint, vcid: int, known: NetworkAllocation | None, master: Master | None
) -> tuple[str, str]:
    """Return the public key and the address of an endpoint; "" for what is not known."""
    address = endpoint.address
    key_name = name
    if known is not None and name in known.endpoints:
        address = known.endpoints[name].address
        key_name = known.endpoints[name].key_name or name
    key = endpoint.public_key or ""
    if not key and master is not None:
        key = public_key_of(key_name, endpoint, vcid, master)
    return key, f"{address}/32" if address is not None else ""


def _has(peer: WireguardPeer, key: str, address: str) -> bool:
    """Whether a peer has the key, or where that is not known the address."""
    return peer.public_key == key if key else address in peer.allowed_ips


def _own_address(peer: WireguardPeer, here: _Shown) -> IPv4Address | None:
    """Return the peer's IPv4 address inside the network; None for a peer that has none."""
    own = here.address(4)
    subnet = here.subnet(own) if own is not None else None
    for prefix in peer.allowed_ips:
        if ":" in prefix or not prefix.endswith("/32"):
            continue
        address = IPv4Network(prefix)
        if subnet is None or address.subnet_of(subnet):
            return address.network_address
    return None


def _endpoint(
    network: Network, name: str, peer: WireguardPeer, allocation: NetworkAllocation
) -> Endpoint:
    """Return the endpoint as the intent describes it; one without a name as the kernel has it."""
    if not name.startswith(UNNAMED):
        return network.endpoints[name]
    prefixes = [ip_network(prefix) for prefix in peer.allowed_ips]
    only_mobile = all(endpoint.type == "mobile" for endpoint in network.endpoints.values())
    values = {field: info.get_default() for field, info in Endpoint.model_fields.items()}
    values |= {
        "type": "mobile" if only_mobile else "cpe",
        "routes": tuple(item for item in prefixes if not _is_inside(item, allocation)),
        "keepalive": peer.keepalive,
        "preshared_key": peer.preshared_key is not None,
    }
    return Endpoint.model_construct(**values)


def _is_inside(item: Any, allocation: NetworkAllocation) -> bool:
    subnet = allocation.subnet if item.version == 4 else allocation.subnet6
    return bool(item.subnet_of(subnet))


# -- allocations


def _endpoint_allocation(
    peer: WireguardPeer, here: _Shown, allocation: NetworkAllocation, name: str
) -> EndpointAllocation:
    """Return the addresses and the leg of an endpoint, as the record or else the kernel has them.

    Raises:
        WarpError: the kernel does not show an address of the peer.
    """
    if name in allocation.endpoints:
        return allocation.endpoints[name]
    own = _own_address(peer, here)
    if own is None:
        raise _unknown(here.name)
    address6 = _own_address6(peer, allocation)
    if address6 is None:
        address6 = allocation.subnet6[int(own) - int(allocation.subnet.network_address) + 1]
    leg = here.legs.get(str(own))
    if leg is None:
        return EndpointAllocation(own, address6)
    number = int(leg.name.rpartition("-")[2])
    vni = leg.vni if isinstance(leg, Vxlan) else None
    return EndpointAllocation(own, address6, number, vni)


def _own_address6(peer: WireguardPeer, allocation: NetworkAllocation) -> IPv6Address | None:
    """Return the peer's IPv6 address inside the network; None for a peer that has none."""
    for prefix in peer.allowed_ips:
        if prefix.endswith("/128") and IPv6Network(prefix).subnet_of(allocation.subnet6):
            return IPv6Network(prefix).network_address
    return None


def _allocation(
    name: str, here: _Shown, guess: NetworkAllocation, pool: IPv4Network
) -> NetworkAllocation:
    """Return a network's allocation as the kernel shows it, or else as guessed.

    Raises:
        WarpError: the kernel shows neither the subnet nor the gateway's address.
    """
    own4, own6 = here.address(4), here.address(6)
    subnet = here.subnet(own4) if own4 is not None else None
    if subnet is None:
        raise _unknown(name)
    subnet6 = guess.subnet6
    if own6 is not None:
        subnet6 = here.subnet(own6) or subnet6
    usual6 = subnet6[int(own4) - int(subnet.network_address) + 1]
    return NetworkAllocation(
        vcid=here.vcid,
        port=here.device.port or guess.port,
        routing_table=_routing_table(here) or guess.routing_table,
        subnet=subnet,
        subnet6=subnet6,
        gateway_address=own4,
        gateway_address6=own6 or usual6,
        transit=here.transit(pool) or guess.transit,
        vlan=_access_vlan(here, guess.vlan) if guess.vlan else 0,
    )


def _routing_table(here: _Shown) -> int:
    """Return the table of the network's VRF; 0 for a network in a namespace."""
    return next((item.table for item in here.items if isinstance(item, Vrf)), 0)


def _access_vlan(here: _Shown, guess: int) -> int:
    """Return the VLAN that legs have untagged, or the guess where there is none."""
    ports = (item for item in here.items if isinstance(item, BridgePort))
    return next((port.untagged for port in ports if port.untagged), guess)


def _without_shared_transits(
    allocations: Mapping[str, NetworkAllocation],
    known: Allocations,
    found: Mapping[str, _Shown],
    pool: IPv4Network,
) -> dict[str, NetworkAllocation]:
    """Replace guessed transit links that another network has by the next free ones."""
    sure = {
        name
        for name in allocations
        if name in known.networks or found[name].transit(pool) is not None
    }
    taken = {allocations[name].transit for name in sure}
    distinct = {name: allocations[name] for name in sure}
    for name in sorted(allocations.keys() - sure):
        transit = allocations[name].transit
        while transit in taken:
            following = int(transit.network_address) + transit.num_addresses
            transit = IPv4Network((following, transit.prefixlen))
        taken.add(transit)
        distinct[name] = replace(allocations[name], transit=transit)
    return dict(sorted(distinct.items()))


def _unknown(name: str) -> WarpError:
    text = f"network {name}: neither the state folder nor the kernel says which addresses it has"
    return WarpError(text, code="state-lost", who="operator", hint=HINT)
