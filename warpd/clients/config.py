"""(intent, allocations, master secret) -> one endpoint's client config as a value. Pure.

Lives here: what the device is told, and the words that every format uses for it. Does not: how a
format writes it down (its siblings), the Ethernet part of L2 networks (`segment`), which version
number it has (`state_folder`): the digest covers everything but that number and the port chosen on
the device, and is the same for every format.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from ipaddress import ip_network
from typing import Any, Final

from warpd import naming
from warpd.allocation.model import Allocations, NetworkAllocation
from warpd.clients.segment import Segment, segment
from warpd.errors import WarpError
from warpd.intent.model import Endpoint, Intent, Network
from warpd.intent.types import IPNetwork
from warpd.keys import derivation
from warpd.keys.derivation import Master, Secret
from warpd.networks.peer_keys import network_key_of, preshared_key_of
from warpd.networks.resolved import in_force

PLACEHOLDER: Final = "<put the endpoint's own private key here>"
KEEPALIVE_S: Final = 25  # shorter than what home routers remember of a silent UDP flow
# IPv6 is captured also where the network has none: it ends at the gateway instead of going around
# the tunnel.
EVERYTHING: Final = ("0.0.0.0/0", "::/0")


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """Everything that one device needs. `version` is 0 until the store has given a number."""

    network: str
    vcid: int
    endpoint: str
    private_key: Secret | None  # None: the device has its own
    addresses: tuple[str, ...]
    dns: tuple[str, ...]
    mtu: int
    gateway_public_key: str
    preshared_key: Secret | None
    dial: str  # host:port, IPv6 in brackets
    allowed_ips: tuple[str, ...]
    keepalive_s: int  # 0: none
    listen_port: int | None = None  # where the gateway dials this endpoint
    routes: tuple[str, ...] = ()  # networks behind this endpoint
    segment: Segment | None = None  # the Ethernet that L2 networks carry
    version: int = 0
    first_names: tuple[str, str] | None = (
        None  # of network and endpoint, where they had others: versions go by these
    )

    @property
    def title(self) -> str:
        return (
            f"network {self.network}, VCID {self.vcid}, endpoint {self.endpoint}, config version"
            f" {self.version}"
        )

    @property
    def device(self) -> str:
        """The WireGuard device's name, where the format lets us choose it."""
        return naming.tunnel(self.vcid)

    @property
    def private_text(self) -> str:
        return derivation.encode(self.private_key.reveal()) if self.private_key else PLACEHOLDER

    @property
    def shared_text(self) -> str | None:
        return derivation.encode(self.preshared_key.reveal()) if self.preshared_key else None

    @property
    def host_port(self) -> tuple[str, int]:
        """What is dialled, the host without brackets."""
        host, _, port = self.dial.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def takes_everything(self) -> bool:
        return set(EVERYTHING) <= set(self.allowed_ips)

    def mtu_without_fragments(self) -> int:
        """Bytes; for devices whose tunnel obeys an inner DF: then no packet inside may need
        fragments.
        """
        return max(self.mtu, self.segment.carrier_mtu) if self.segment else self.mtu

    def numbered(self, version: int) -> ClientConfig:
        return dataclasses.replace(self, version=version)

    def with_port(self, lan_port: str) -> ClientConfig:
        """The same with a port of the device bridged into its Ethernet.

        Raises:
            WarpError: the network carries none.
        """
        if self.segment is None:
            text = (
                f"network {self.network} carries no Ethernet: there is nothing to bridge {lan_port}"
                " into"
            )
            raise WarpError(text, code="no-segment", who="operator", hint="leave --lan-port out")
        return dataclasses.replace(
            self, segment=dataclasses.replace(self.segment, lan_port=lan_port)
        )

    def digest(self) -> str:
        """The same for the same config, whatever its number; shows nothing of the keys in it."""
        text = json.dumps(self._fields(), sort_keys=True, default=_key_text)
        return hashlib.sha256(text.encode()).hexdigest()

    def masked(self) -> Mapping[str, Any]:
        """What two versions are compared by: every value, with fingerprints in place of secrets."""
        document: dict[str, Any] = json.loads(
            json.dumps(self._fields(), sort_keys=True, default=fingerprint)
        )
        return document

    def _fields(self) -> dict[str, Any]:
        """Under its first names: a new name alone is no new config."""
        apart = ("version", "first_names")
        fields = {
            item.name: getattr(self, item.name)
            for item in dataclasses.fields(self)
            if item.name not in apart
        }
        fields["network"], fields["endpoint"] = self.first_names or (self.network, self.endpoint)
        if self.segment is not None:
            fields["segment"] = dataclasses.asdict(dataclasses.replace(self.segment, lan_port=None))
        return fields


def fingerprint(value: Secret) -> str:
    """Tells two keys apart and says nothing about either: 32 bits of a hash of 256."""
    return f"secret {hashlib.sha256(b'warpd/v1/fingerprint/' + value.reveal()).hexdigest()[:8]}"


def _key_text(value: Secret) -> str:
    return derivation.encode(value.reveal())


def client_config(
    intent: Intent,
    allocations: Allocations,
    master: Master,
    network: str,
    endpoint: str,
    *,
    public_host: str,
    mtu: int,
    today: date | None = None,
) -> ClientConfig:
    """The config of `network`/`endpoint`, both of which the intent has; `mtu` in bytes, of the
    tunnel.

    Raises:
        WarpError: the endpoint has expired, or its network's allocations lack what a config
            needs.
    """
    own, given = intent.networks[network], allocations.networks[network]
    one, seat = own.endpoints[endpoint], given.endpoints[endpoint]
    _refuse(network, endpoint, one, today)
    key_name = seat.key_name or endpoint
    private, shared = None, preshared_key_of(key_name, one, given.vcid, master)
    if one.public_key is None:
        private = derivation.endpoint_key(master, given.vcid, key_name, one.rotation)
    six = (f"{seat.address6}/128",) if own.ipv6 else ()
    return ClientConfig(
        network=network,
        vcid=given.vcid,
        endpoint=endpoint,
        private_key=private,
        addresses=(f"{seat.address}/32", *six),
        dns=_dns(intent, own),
        mtu=mtu,
        gateway_public_key=derivation.public_key(
            network_key_of(own, intent.gateway, given.vcid, master)
        ),
        preshared_key=shared,
        dial=_dial(public_host, given.port),
        allowed_ips=_allowed_ips(own, given, endpoint, today or date.min),
        keepalive_s=_keepalive(one),
        listen_port=int(one.endpoint.rpartition(":")[2]) if one.endpoint else None,
        routes=tuple(_texts(_wanted(own, one.routes))),
        segment=segment(own.type, given, endpoint),
        first_names=given.first_names(network, endpoint),
    )


def _refuse(network: str, endpoint: str, one: Endpoint, today: date | None) -> None:
    if today is not None and one.expires is not None and one.expires <= today:
        text = f"endpoint {network}/{endpoint} expired on {one.expires}"
        hint = f"move `networks.{network}.endpoints.{endpoint}.expires` to let it in again"
        raise WarpError(text, code="expired", who="operator", hint=hint)


# ---- what goes into the tunnel ---------------------------------------------------------------


def _allowed_ips(
    own: Network, given: NetworkAllocation, endpoint: str, today: date
) -> tuple[str, ...]:
    if own.traits.internet:
        return EVERYTHING
    return tuple(_texts(_wanted(own, _inside(own, given, endpoint, today))))


def _inside(own: Network, given: NetworkAllocation, endpoint: str, today: date) -> list[IPNetwork]:
    """What a client reaches in its network, where that is not everything."""
    if own.traits.reach == "sites":
        return [*_subnets(given), *_behind_others(own, endpoint, today)]
    if own.traits.lists_resources:
        return _resources(own, given, endpoint, today)
    return _gateways(given)


def _gateways(given: NetworkAllocation) -> list[IPNetwork]:
    return [ip_network(given.gateway_address), ip_network(given.gateway_address6)]


def _subnets(given: NetworkAllocation) -> list[IPNetwork]:
    return [given.subnet, given.subnet6]


def _behind_others(own: Network, endpoint: str, today: date) -> Iterator[IPNetwork]:
    for name, other in own.endpoints.items():
        if name != endpoint and in_force(other, today):
            yield from other.routes


def _resources(
    own: Network, given: NetworkAllocation, endpoint: str, today: date
) -> list[IPNetwork]:
    """A router that resources lie behind hears from the clients themselves, so that it must accept
    their addresses.
    """
    there = {name for name, other in own.endpoints.items() if in_force(other, today)}
    reached = [
        item.subnet
        for item in own.resources
        if item.via != endpoint and (item.via is None or item.via in there)
    ]
    clients = _subnets(given) if any(item.via == endpoint for item in own.resources) else []
    return [
        *_gateways(given),
        *clients,
        *(subnet for subnet in reached if subnet not in own.endpoints[endpoint].routes),
    ]


def _wanted(own: Network, networks: Iterable[IPNetwork]) -> Iterator[IPNetwork]:
    return (item for item in networks if own.ipv6 or item.version == 4)


def _texts(networks: Iterable[IPNetwork]) -> list[str]:
    """IPv4 first, each once, in the order of the addresses."""
    return [str(item) for item in sorted(set(networks), key=_order)]


def _order(network: IPNetwork) -> tuple[int, int, int]:
    return network.version, int(network.network_address), network.prefixlen


# ---- the rest --------------------------------------------------------------------------------


def _dns(intent: Intent, own: Network) -> tuple[str, ...]:
    """Name servers that the device can reach: without IPv6 inside, the IPv4 ones."""
    servers = own.dns
    if servers is None:
        servers = intent.gateway.dns if own.traits.internet else ()
    return tuple(str(server) for server in servers if own.ipv6 or server.version == 4)


def _keepalive(one: Endpoint) -> int:
    if one.keepalive is not None:
        return one.keepalive
    return 0 if one.type == "gateway" else KEEPALIVE_S


def _dial(host: str, port: int) -> str:
    bare = host.removeprefix("[").removesuffix("]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"
