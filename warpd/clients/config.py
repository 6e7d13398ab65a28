"""(intent, grants, master secret) -> one endpoint's client config as a value. Pure.

Lives here: what the device is told. Does not: how a format writes it down (its siblings), which version number
it has (`store`): the digest covers everything but that number, and is the same for every format.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from datetime import date
from typing import Final

from warpd import keys
from warpd.compile import preshared_key_of
from warpd.errors import WarpError
from warpd.grants import Grants
from warpd.intent import Endpoint, Intent, Network
from warpd.keys import Master, Secret

KEEPALIVE_S: Final = 25  # shorter than what home routers remember of a silent UDP flow
# IPv6 is captured also where the network has none: it ends at the gateway instead of going around the tunnel.
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
    version: int = 0

    def numbered(self, version: int) -> ClientConfig:
        return dataclasses.replace(self, version=version)

    def digest(self) -> str:
        """The same for the same config, whatever its number; shows nothing of the keys in it."""
        fields = {item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.name != "version"}
        text = json.dumps(fields, sort_keys=True, default=_key_text)
        return hashlib.sha256(text.encode()).hexdigest()


def _key_text(value: Secret) -> str:
    return keys.encode(value.reveal())


def client_config(
    intent: Intent,
    grants: Grants,
    master: Master,
    network: str,
    endpoint: str,
    *,
    public_host: str,
    mtu: int,
    today: date | None = None,
) -> ClientConfig:
    """The config of `network`/`endpoint`, both of which the intent has; `mtu` in bytes, of the tunnel.

    Raises:
        WarpError: the endpoint has expired, or this version makes no config for such a network.
    """
    own, given = intent.networks[network], grants.networks[network]
    one, seat = own.endpoints[endpoint], given.endpoints[endpoint]
    _refuse(network, endpoint, own, one, today)
    private, shared = None, preshared_key_of(endpoint, one, given.vcid, master)
    if one.public_key is None:
        private = keys.endpoint_key(master, given.vcid, endpoint, one.rotation)
    six = (f"{seat.address6}/128",) if own.ipv6 else ()
    return ClientConfig(
        network=network,
        vcid=given.vcid,
        endpoint=endpoint,
        private_key=private,
        addresses=(f"{seat.address}/32", *six),
        dns=_dns(intent, own),
        mtu=mtu,
        gateway_public_key=keys.public_key(keys.network_key(master, given.vcid, file=own.private_key_file)),
        preshared_key=shared,
        dial=_dial(public_host, given.port),
        allowed_ips=EVERYTHING,
        keepalive_s=_keepalive(one),
        listen_port=int(one.endpoint.rpartition(":")[2]) if one.endpoint else None,
    )


def _refuse(network: str, endpoint: str, own: Network, one: Endpoint, today: date | None) -> None:
    if own.type != "secure-internet":
        text = f"this version makes no client config for a network of type {own.type}"
        raise WarpError(text, code="type-unsupported", who="operator")
    if today is not None and one.expires is not None and one.expires <= today:
        text = f"endpoint {network}/{endpoint} expired on {one.expires}"
        hint = f"move `networks.{network}.endpoints.{endpoint}.expires` to let it in again"
        raise WarpError(text, code="expired", who="operator", hint=hint)


def _dns(intent: Intent, own: Network) -> tuple[str, ...]:
    """Name servers that the device can reach: without IPv6 inside, the IPv4 ones."""
    servers = own.dns if own.dns is not None else intent.gateway.dns
    return tuple(str(server) for server in servers if own.ipv6 or server.version == 4)


def _keepalive(one: Endpoint) -> int:
    if one.keepalive is not None:
        return one.keepalive
    return 0 if one.type == "gateway" else KEEPALIVE_S


def _dial(host: str, port: int) -> str:
    bare = host.removeprefix("[").removesuffix("]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"
