"""What was applied, as far as the kernel shows it: for a gateway that has lost its state folder or
master secret. Pure.

Guards are restored and revocations carried out by an intent, allocations and keys. The kernel holds
most of them: aliases name networks, devices hold their keys, peers their keys and addresses, links
and routes the rest. Names of endpoints are nowhere in it. A peer gets the name of the endpoint
whose key or address it has; one that may belong to several endpoints, or to none, keeps what it has
as an unnamed endpoint.

Lives here: what is found, and how sure that is. Does not: what is done with it (`commitment`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_interface, ip_network
from typing import Any, Final

from warpd import naming
from warpd.allocation.addresses import EndpointAllocation
from warpd.allocation.model import Allocations, NetworkAllocation
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
from warpd.networks.compiler import in_force, network_key_of, public_key_of
from warpd.networks.firewall.port_blocks import block_number

HINT: Final = (
    "restore the state folder from a backup; `warpctl destroy` takes everything of warpd out of the"
    " kernel"
)


@dataclass(frozen=True, slots=True)
class Recovered:
    """An intent that is in force in the kernel, with the allocations and keys that are there."""

    intent: Intent
    allocations: Allocations
    keys: KernelKeys
    gone: tuple[str, ...]  # networks that the kernel has and the intent does not name


@dataclass(frozen=True)
class _Shown:
    """What the kernel has of one network."""

    vcid: int
    name: str  # as the alias says
    device: WireguardDevice
    items: tuple[KernelObject, ...] = field(repr=False)

    @cached_property
    def peers(self) -> tuple[WireguardPeer, ...]:
        found = (
            item
            for item in self.items
            if isinstance(item, WireguardPeer) and item.device == self.device.device
        )
        return tuple(sorted(found, key=lambda peer: peer.allowed_ips))

    @cached_property
    def legs(self) -> Mapping[str, Leg]:
        """Of an Ethernet segment, by the address at their far end."""
        return {item.remote: item for item in self.items if isinstance(item, Gretap | Vxlan)}

    def address(self, version: int) -> Any:
        """The gateway's own; None where there is none."""
        texts = (
            item.address
            for item in self.items
            if isinstance(item, Address) and item.device == self.device.device
        )
        return next(
            (
                found.ip
                for found in map(ip_interface, texts)
                if found.version == version and _is_global(found.ip)
            ),
            None,
        )

    def subnet(self, own: Any) -> Any:
        """The route of the network's own range, which holds the gateway's address."""
        prefixes = (
            item.prefix
            for item in self.items
            if isinstance(item, Route) and item.device == self.device.device
        )
        around = [
            found
            for found in map(ip_network, prefixes)
            if found.version == own.version and own in found
        ]
        return max(around, key=lambda found: found.prefixlen, default=None)

    def transit(self, pool: IPv4Network) -> IPv4Network | None:
        """From the link's own address; in a VRF, which has none, from the block of NAT ports that
        follows from it.
        """
        texts = (
            item.address
            for item in self.items
            if isinstance(item, Address) and item.device == naming.transit_outer(self.vcid)
        )
        four = (found for found in map(ip_interface, texts) if found.version == 4)
        own = next((IPv4Network((int(found.ip) & ~1, 31)) for found in four), None)
        number = block_number(item for item in self.items if isinstance(item, NftElements))
        if own is not None or number is None:
            return own
        return IPv4Network((int(pool.network_address) + 2 * number, 31))


def _is_global(address: IPv4Address | IPv6Address) -> bool:
    return not address.is_link_local


def recover(
    intent: Intent,
    known: Allocations,
    guess: Allocations,
    master: Secret | None,
    state: State,
    today: date,
) -> Recovered:
    """As much of `intent` as `state` shows to be in force.

    `known` are allocations that are on record, by which endpoints are told; `guess` those that a
    first apply would make, for what neither the record nor the kernel says. `master` is a master
    secret, which counts where a device has its key; `today` is UTC's.

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
    networks: dict[str, Network] = {}
    allocations: dict[str, NetworkAllocation] = {}
    devices: dict[int, Secret] = {}
    peers: dict[tuple[int, str], PeerKeys] = {}
    for name, here in found.items():
        network = _network(intent.networks[name], here)
        matched = dict(_matched(network, here, known.networks.get(name), master, today))
        allocation = known.networks.get(name) or _allocation(name, here, guess.networks[name], pool)
        endpoints = {each: _seat(peer, here, allocation, each) for each, peer in matched.items()}
        networks[name] = _with(
            network,
            endpoints={
                each: _endpoint(network, each, matched[each], allocation) for each in matched
            },
        )
        allocations[name] = replace(allocation, endpoints=endpoints)
        if here.device.private_key is not None:
            devices[here.vcid] = here.device.private_key
        for each, peer in matched.items():
            peers[here.vcid, endpoints[each].key_name or each] = PeerKeys(
                peer.public_key, peer.preshared_key
            )
    allocations = _without_shared_transits(allocations, known, found, pool)
    gone = tuple(sorted(_unlisted(intent, known, shown)))
    return Recovered(
        intent.model_copy(update={"networks": networks}),
        Allocations(allocations),
        KernelKeys(devices, peers),
        gone,
    )


def unnamed(intent: Intent) -> dict[str, int]:
    """By network, how many endpoints have no name."""
    counts = {
        name: sum(each.startswith(UNNAMED) for each in network.endpoints)
        for name, network in intent.networks.items()
    }
    return {name: count for name, count in counts.items() if count}


def _all_shown(state: State) -> dict[int, _Shown]:
    """By VCID."""
    items: dict[str, list[KernelObject]] = {}
    for item in state:
        items.setdefault(item.group, []).append(item)
    devices = [
        (naming.vcid_of_namespace(item.group), item)
        for item in state
        if isinstance(item, WireguardDevice)
    ]
    return {
        vcid: _Shown(vcid, _alias(items[device.group]), device, tuple(items[device.group]))
        for vcid, device in devices
        if vcid is not None
    }


def _alias(items: Iterable[KernelObject]) -> str:
    names = (naming.network_of_alias(getattr(item, "alias", "")) for item in items)
    return next(filter(None, names), "")


def _found(
    intent: Intent, known: Allocations, shown: Mapping[int, _Shown]
) -> Iterator[tuple[str, _Shown]]:
    """The enabled networks of the intent that are in the kernel: by the VCID on record, else by
    name.
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
    """Networks of the kernel that the intent does not even name."""
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
    """As the intent says, but where the kernel has it."""
    bridge = next((item.name for item in here.items if isinstance(item, Bridge)), None)
    changed: dict[str, Any] = {"isolation": "vrf" if here.device.netns == ROOT else "namespace"}
    if bridge is not None and bridge != naming.bridge(here.vcid):
        changed["bridge_name"] = bridge
    if here.address(6) is None and not any(
        ":" in prefix for peer in here.peers for prefix in peer.allowed_ips
    ):
        changed["ipv6"] = False
    return _with(network, **changed)


def _with(network: Network, **changed: Any) -> Network:
    """`model_copy` would take along what was computed of the previous fields."""
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
    """The peers that stay, by the names of their endpoints, or under names of no endpoint."""
    left = list(here.peers)
    missing: list[str] = []
    for name, endpoint in sorted(network.endpoints.items()):
        key, address = _expected(name, endpoint, here.vcid, known, master)
        peer = next((peer for peer in left if _is_it(peer, key, address)), None)
        if peer is not None:
            left.remove(peer)
            yield name, peer
        elif in_force(endpoint, today) and not (key or address):
            missing.append(name)
    by_routes = {
        name: peer
        for name in missing
        if (peer := _behind(network, name, missing, left)) is not None
    }
    yield from by_routes.items()
    left = [peer for peer in left if peer not in by_routes.values()]
    if len(missing) > len(by_routes):
        yield from (
            (f"{UNNAMED}{own}", peer)
            for peer in left
            if (own := _own_address(peer, here)) is not None
        )


def _behind(
    network: Network, name: str, missing: Iterable[str], left: Iterable[WireguardPeer]
) -> WireguardPeer | None:
    """The one peer with the routes of this endpoint, where no other endpoint has them."""
    routes = {str(item) for item in network.endpoints[name].routes if item.version == 4}
    alike = [
        other
        for other in missing
        if routes <= {str(item) for item in network.endpoints[other].routes}
    ]
    peers = [peer for peer in left if routes <= set(peer.allowed_ips)]
    return peers[0] if routes and len(alike) == 1 and len(peers) == 1 else None


def _expected(
    name: str, endpoint: Endpoint, vcid: int, known: NetworkAllocation | None, master: Master | None
) -> tuple[str, str]:
    """The public key of an endpoint, and its address; "" for what nothing says."""
    allocation = known.endpoints.get(name) if known is not None else None
    key_name = allocation.key_name if allocation is not None and allocation.key_name else name
    key = endpoint.public_key or (
        public_key_of(key_name, endpoint, vcid, master) if master is not None else ""
    )
    address = allocation.address if allocation is not None else endpoint.address
    return key, f"{address}/32" if address is not None else ""


def _is_it(peer: WireguardPeer, key: str, address: str) -> bool:
    return peer.public_key == key if key else address in peer.allowed_ips


def _own_address(peer: WireguardPeer, here: _Shown) -> IPv4Address | None:
    """The peer's address inside the network; None for one that has none."""
    own = here.address(4)
    subnet = here.subnet(own) if own is not None else None
    four = (
        IPv4Network(prefix)
        for prefix in peer.allowed_ips
        if prefix.endswith("/32") and ":" not in prefix
    )
    return next(
        (found.network_address for found in four if subnet is None or found.subnet_of(subnet)), None
    )


def _endpoint(
    network: Network, name: str, peer: WireguardPeer, allocation: NetworkAllocation
) -> Endpoint:
    """As the intent says; one without a name as the kernel has it."""
    if not name.startswith(UNNAMED):
        return network.endpoints[name]
    routes = [
        item for item in map(ip_network, peer.allowed_ips) if not _is_inside(item, allocation)
    ]
    return Endpoint.model_construct(
        **{
            **{
                field_name: each.get_default() for field_name, each in Endpoint.model_fields.items()
            },
            "type": (
                "mobile"
                if all(each.type == "mobile" for each in network.endpoints.values())
                else "cpe"
            ),
            "routes": tuple(routes),
            "keepalive": peer.keepalive,
            "preshared_key": peer.preshared_key is not None,
        }
    )


def _is_inside(item: Any, allocation: NetworkAllocation) -> bool:
    subnet = allocation.subnet if item.version == 4 else allocation.subnet6
    return bool(item.subnet_of(subnet))


# -- allocations


def _seat(
    peer: WireguardPeer, here: _Shown, allocation: NetworkAllocation, name: str
) -> EndpointAllocation:
    if name in allocation.endpoints:
        return allocation.endpoints[name]
    own = _own_address(peer, here)
    if own is None:
        raise _unknown(here.name)
    six = (ip_network(prefix) for prefix in peer.allowed_ips if prefix.endswith("/128"))
    inside = (
        item.network_address
        for item in six
        if isinstance(item, IPv6Network) and item.subnet_of(allocation.subnet6)
    )
    usual = allocation.subnet6[int(own) - int(allocation.subnet.network_address) + 1]
    leg = here.legs.get(str(own))
    if leg is None:
        return EndpointAllocation(own, next(inside, usual))
    number = int(leg.name.rpartition("-")[2])
    return EndpointAllocation(
        own, next(inside, usual), number, leg.vni if isinstance(leg, Vxlan) else None
    )


def _allocation(
    name: str, here: _Shown, guess: NetworkAllocation, pool: IPv4Network
) -> NetworkAllocation:
    """What the kernel shows, and else the guess.

    Raises: WarpError when it shows neither subnet nor address.
    """
    own4, own6 = here.address(4), here.address(6)
    subnet = here.subnet(own4) if own4 is not None else None
    if subnet is None:
        raise _unknown(name)
    subnet6 = (here.subnet(own6) if own6 is not None else None) or guess.subnet6
    vrf = next((item for item in here.items if isinstance(item, Vrf)), None)
    untagged = next(
        (item.untagged for item in here.items if isinstance(item, BridgePort) and item.untagged), 0
    )
    return NetworkAllocation(
        vcid=here.vcid,
        port=here.device.port or guess.port,
        routing_table=vrf.table if vrf is not None else guess.routing_table,
        subnet=subnet,
        subnet6=subnet6,
        gateway_address=own4,
        gateway_address6=own6 or subnet6[int(own4) - int(subnet.network_address) + 1],
        transit=here.transit(pool) or guess.transit,
        vlan=(untagged or guess.vlan) if guess.vlan else 0,
    )


def _without_shared_transits(
    allocations: Mapping[str, NetworkAllocation],
    known: Allocations,
    found: Mapping[str, _Shown],
    pool: IPv4Network,
) -> dict[str, NetworkAllocation]:
    """A transit link that was only guessed is not one that another network has."""
    sure = {
        name
        for name in allocations
        if name in known.networks or found[name].transit(pool) is not None
    }
    taken = {allocations[name].transit for name in sure}
    out = {name: allocations[name] for name in sure}
    for name in sorted(allocations.keys() - sure):
        transit = allocations[name].transit
        while transit in taken:
            transit = IPv4Network(
                (int(transit.network_address) + transit.num_addresses, transit.prefixlen)
            )
        taken.add(transit)
        out[name] = replace(allocations[name], transit=transit)
    return dict(sorted(out.items()))


def _unknown(name: str) -> WarpError:
    text = f"network {name}: neither the state folder nor the kernel says which addresses it has"
    return WarpError(text, code="state-lost", who="operator", hint=HINT)
