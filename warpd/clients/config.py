"""Compute the client config of one endpoint from a ResolvedNetwork and the master secret. Pure.

`ClientConfig` holds what a device needs. The sibling modules write it in a format, `segment`
computes the Ethernet part of L2 networks, and `state_folder` numbers the versions. Two configs are
the same version if their digests are equal. The digest does not depend on the format, nor on the
version number, nor on the LAN port that was chosen for the device.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Final

from warpd import naming
from warpd.clients.segment import Segment, segment
from warpd.errors import WarpError
from warpd.intent.model import Gateway
from warpd.intent.types import IPNetwork
from warpd.keys import derivation
from warpd.keys.derivation import Master, Secret
from warpd.networks.peer_keys import network_key_of, preshared_key_of
from warpd.networks.resolved import ResolvedNetwork

PLACEHOLDER: Final = "<put the endpoint's own private key here>"
# IPv6 is routed into the tunnel even if the network has no IPv6. The gateway drops it. Otherwise
# the device would send it outside of the tunnel.
EVERYTHING: Final = ("0.0.0.0/0", "::/0")


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """Everything that one device needs to connect.

    `version` is 0 until the store has assigned a number. `first_names` holds the first names of
    network and endpoint if they were renamed; the store keeps versions under these names.
    """

    network: str
    vcid: int
    endpoint: str
    private_key: Secret | None  # None: the device made its own key
    addresses: tuple[str, ...]
    dns: tuple[str, ...]
    mtu: int
    gateway_public_key: str
    preshared_key: Secret | None
    dial: str  # HOST:PORT of the gateway, an IPv6 address in brackets
    allowed_ips: tuple[str, ...]
    keepalive_s: int  # 0: no keepalive
    listen_port: int | None = None  # set if the gateway dials this endpoint
    routes: tuple[str, ...] = ()  # subnets behind this endpoint
    segment: Segment | None = None  # set if the network is an L2 network
    version: int = 0
    first_names: tuple[str, str] | None = None  # (network, endpoint)

    @property
    def title(self) -> str:
        """One line that identifies the config, for a comment at the top of a file."""
        return (
            f"network {self.network}, VCID {self.vcid}, endpoint {self.endpoint}, config version"
            f" {self.version}"
        )

    @property
    def device(self) -> str:
        """The name of the WireGuard device, for formats in which it can be chosen."""
        return naming.tunnel(self.vcid)

    @property
    def private_text(self) -> str:
        """The private key in base64, or a placeholder if the device has its own key."""
        return derivation.encode(self.private_key.reveal()) if self.private_key else PLACEHOLDER

    @property
    def shared_text(self) -> str | None:
        """The preshared key in base64."""
        return derivation.encode(self.preshared_key.reveal()) if self.preshared_key else None

    @property
    def host_port(self) -> tuple[str, int]:
        """Host and port of the gateway; the host has no brackets."""
        host, _, port = self.dial.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def takes_everything(self) -> bool:
        """Whether the device routes all traffic into the tunnel."""
        return set(EVERYTHING) <= set(self.allowed_ips)

    def mtu_without_fragments(self) -> int:
        """Return an MTU, in bytes, at which no packet inside WireGuard needs fragments.

        It is for devices whose GRETAP cannot ignore the DF bit of inner packets (see `segment`).
        """
        return max(self.mtu, self.segment.carrier_mtu) if self.segment else self.mtu

    def numbered(self, version: int) -> ClientConfig:
        """Return a copy with this version number."""
        return dataclasses.replace(self, version=version)

    def with_port(self, lan_port: str) -> ClientConfig:
        """Return a copy in which a port of the device joins the bridge of the L2 network.

        Raises:
            WarpError: the network is not an L2 network.
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
        """Return a SHA-256 digest that is equal for equal configs. Keys cannot be read from it."""
        text = json.dumps(self._fields(), sort_keys=True, default=_key_text)
        return hashlib.sha256(text.encode()).hexdigest()

    def masked(self) -> Mapping[str, Any]:
        """Return all values with fingerprints in place of secrets, to compare two versions."""
        document: dict[str, Any] = json.loads(
            json.dumps(self._fields(), sort_keys=True, default=fingerprint)
        )
        return document

    def _fields(self) -> dict[str, Any]:
        """Return the values that make a version, under the first names of network and endpoint.

        Therefore a rename alone does not make a new version.
        """
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
    """Return a text that tells two keys apart: the first 32 bits of a SHA-256 of the key."""
    return f"secret {hashlib.sha256(b'warpd/v1/fingerprint/' + value.reveal()).hexdigest()[:8]}"


def _key_text(value: Secret) -> str:
    return derivation.encode(value.reveal())


def client_config(
    network: ResolvedNetwork,
    gateway: Gateway,
    master: Master,
    endpoint: str,
    *,
    public_host: str,
) -> ClientConfig:
    """Return the config of one endpoint of this network. Clients dial `public_host`.

    Raises:
        WarpError: the endpoint has expired or is suspended, or its network's allocations lack what
            a config needs.
    """
    intent = network.intent.endpoints[endpoint]
    if endpoint in network.withheld:
        raise _withheld(network, endpoint)
    own, vcid = network.endpoint(endpoint), network.vcid
    private = None
    if intent.public_key is None:
        private = derivation.endpoint_key(master, vcid, own.key_name, intent.rotation)
    addresses = [f"{own.address}/32"]
    if own.address6 is not None:
        addresses.append(f"{own.address6}/128")
    gateway_key = network_key_of(network.intent, gateway, vcid, master)
    return ClientConfig(
        network=network.name,
        vcid=vcid,
        endpoint=endpoint,
        private_key=private,
        addresses=tuple(addresses),
        dns=_dns(network),
        mtu=network.mtu,
        gateway_public_key=derivation.public_key(gateway_key),
        preshared_key=preshared_key_of(own.key_name, intent, vcid, master),
        dial=_dial(public_host, network.allocation.port),
        allowed_ips=_allowed_ips(network, endpoint),
        keepalive_s=own.client_keepalive_s,
        listen_port=int(intent.endpoint.rpartition(":")[2]) if intent.endpoint else None,
        routes=tuple(_texts(_carried(network, intent.routes))),
        segment=segment(network.intent.type, network.allocation, endpoint),
        first_names=network.allocation.first_names(network.name, endpoint),
    )


def _withheld(network: ResolvedNetwork, endpoint: str) -> WarpError:
    name = f"{network.name}/{endpoint}"
    if network.withheld[endpoint] == "suspended":
        text = f"endpoint {name} is suspended"
        hint = f"`warpctl endpoint resume {name}` lets it in again"
        return WarpError(text, code="suspended", who="operator", hint=hint)
    text = f"endpoint {name} expired on {network.intent.endpoints[endpoint].expires}"
    hint = f"move `networks.{network.name}.endpoints.{endpoint}.expires` to let it in again"
    return WarpError(text, code="expired", who="operator", hint=hint)


# ---- what goes into the tunnel ---------------------------------------------------------------


def _allowed_ips(network: ResolvedNetwork, endpoint: str) -> tuple[str, ...]:
    if network.intent.traits.internet:
        return EVERYTHING
    return tuple(_texts(_carried(network, _inside(network, endpoint))))


def _inside(network: ResolvedNetwork, endpoint: str) -> list[IPNetwork]:
    """Return what a client reaches in a network without internet access."""
    if network.intent.traits.reach == "sites":
        return [*_subnets(network), *_behind_others(network, endpoint)]
    if network.intent.traits.lists_resources:
        return _resources(network, endpoint)
    return _gateways(network)


def _gateways(network: ResolvedNetwork) -> list[IPNetwork]:
    found: list[IPNetwork] = [ip_network(network.gateway_address)]
    if network.gateway_address6 is not None:
        found.append(ip_network(network.gateway_address6))
    return found


def _subnets(network: ResolvedNetwork) -> list[IPNetwork]:
    found: list[IPNetwork] = [network.subnet]
    if network.subnet6 is not None:
        found.append(network.subnet6)
    return found


def _behind_others(network: ResolvedNetwork, endpoint: str) -> Iterator[IPNetwork]:
    for other in network.endpoints_in_force():
        if other.name != endpoint:
            yield from other.intent.routes


def _resources(network: ResolvedNetwork, endpoint: str) -> list[IPNetwork]:
    """Return the gateway and the resources that an endpoint reaches.

    An endpoint that resources are behind (`via`) receives packets with the clients' own source
    addresses. Therefore it must also accept the subnets of the network.
    """
    found = _gateways(network)
    resources = network.intent.resources
    if any(item.via == endpoint for item in resources):
        found += _subnets(network)
    own_routes = network.intent.endpoints[endpoint].routes
    for item in resources:
        is_reached = item.via is None or network.is_in_force(item.via)
        if item.via != endpoint and is_reached and item.subnet not in own_routes:
            found.append(item.subnet)
    return found


def _carried(network: ResolvedNetwork, ranges: Iterable[IPNetwork]) -> Iterator[IPNetwork]:
    """Yield the IPv4 ranges, and the IPv6 ranges if the network has IPv6."""
    return (item for item in ranges if network.intent.ipv6 or item.version == 4)


def _texts(networks: Iterable[IPNetwork]) -> list[str]:
    """Return the subnets as text, without duplicates: IPv4 first, in the order of the addresses."""
    return [str(item) for item in sorted(set(networks), key=_order)]


def _order(network: IPNetwork) -> tuple[int, int, int]:
    return network.version, int(network.network_address), network.prefixlen


# ---- the rest --------------------------------------------------------------------------------


def _dns(network: ResolvedNetwork) -> tuple[str, ...]:
    """Return the name servers that the device can reach: only IPv4 in a network without IPv6."""
    servers = network.dns
    return tuple(str(item) for item in servers if network.intent.ipv6 or item.version == 4)


def _dial(host: str, port: int) -> str:
    bare = host.removeprefix("[").removesuffix("]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"
