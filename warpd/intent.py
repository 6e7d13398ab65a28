"""The shape of the YAML: pydantic models, frozen, unknown keys forbidden; and nothing else.

Lives here: fields, types, ranges of one value, and their descriptions, which become the JSON Schema. Does
not: anything between two objects (`checks`), anything assigned (`grants`).
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import date
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

Address = IPv4Address | IPv6Address
Prefix = IPv4Network | IPv6Network
NetworkType = Literal["secure-internet", "remote-resource-gateway", "l3vpn-gateway", "l2-point-to-point", "l2-mesh"]
Isolation = Literal["namespace", "vrf"]
NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class Range(Model):
    """First and last, inclusive; written `first-last`."""

    first: int
    last: int

    def __contains__(self, value: int) -> bool:
        return self.first <= value <= self.last

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    @property
    def size(self) -> int:
        return self.last - self.first + 1


def _range(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return {"first": value, "last": value}
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d{1,10})\s*(?:-\s*(\d{1,10})\s*)?", value)
        if match is None:
            raise ValueError("a range is written first-last, for example 51820-51829")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError("the range ends before it begins")
        return {"first": first, "last": last}
    return value


def _public_key(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("a public key is 44 characters of base64 in quotes")
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32 or base64.b64encode(raw).decode() != value:
        raise ValueError("a WireGuard public key is 44 characters of base64 (32 bytes), as `wg pubkey` prints it")
    if raw == bytes(32):
        raise ValueError("the all-zero key is no key")
    return value


def _strict_int(value: Any) -> Any:
    if isinstance(value, bool | float | str):
        raise ValueError("a whole number is wanted")
    return value


Whole = BeforeValidator(_strict_int)
RangeField = Annotated[
    Range, BeforeValidator(_range), WithJsonSchema({"type": ["string", "integer"], "pattern": r"^\d+(-\d+)?$"})
]
PublicKey = Annotated[str, BeforeValidator(_public_key), WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z0-9+/]{43}=$"})]


def _subnet_pools() -> dict[str, IPv4Network]:
    return {
        "secure-internet": IPv4Network("10.100.0.0/16"),
        "remote-resource-gateway": IPv4Network("10.200.0.0/16"),
        "l3vpn-gateway": IPv4Network("10.50.0.0/16"),
        "l2-point-to-point": IPv4Network("10.60.0.0/16"),
        "l2-mesh": IPv4Network("10.70.0.0/16"),
    }


class Pools(Model):
    """Where automatic grants come from."""

    ports: RangeField = Field(Range(first=51820, last=51829), description="UDP ports of the networks' WireGuard devices")
    vcids: RangeField = Field(Range(first=10000000, last=99999999), description="virtual circuit ids")
    routing_tables: RangeField = Field(Range(first=1000, last=32000), description="routing tables of VRFs")
    transit: IPv4Network = Field(
        IPv4Network("198.19.0.0/16"), description="links between a network and the uplink, a /31 each"
    )
    subnets: dict[NetworkType, IPv4Network] = Field(
        default_factory=_subnet_pools, description="the pool of subnets for each type of network"
    )


class Gateway(Model):
    """The machine itself."""

    name: str | None = Field(None, description="name of this gateway; default: the host's name")
    public_endpoint: str = Field(
        "auto", description="what clients dial: host name, IPv4, IPv6, or auto (address of the uplink)"
    )
    uplink: str = Field(
        "auto", max_length=15, description="interface to the internet; auto is the interface of the default route"
    )
    isolation: Isolation = Field("namespace", description="how networks are kept apart, unless one says otherwise")
    wireguard: Literal["auto", "kernel", "userspace"] = Field(
        "auto", description="which WireGuard: the kernel's, or wireguard-go where the kernel has none"
    )
    dns: tuple[Address, ...] = Field(
        (IPv4Address("9.9.9.9"), IPv6Address("2620:fe::fe")), description="name servers written into client configs"
    )
    master_key_file: str | None = Field(
        None, description="file with the 32-byte master secret; default: master.key in the state folder"
    )
    vlan_scope: Literal["gateway", "network"] = Field(
        "gateway", description="whether a VLAN id may be used by one network of the gateway only"
    )
    pools: Pools = Field(default_factory=Pools, description="where automatic grants come from")


class Resource(Model):
    """What endpoints of a remote-resource-gateway may reach."""

    subnet: Prefix = Field(description="destination addresses")
    protocol: Literal["tcp", "udp", "icmp"] | None = Field(None, description="absent: every protocol")
    ports: tuple[RangeField, ...] = Field((), description="destination ports, single or first-last")
    via: str | None = Field(None, description="the endpoint of this network behind which the subnet lies")


class Endpoint(Model):
    """A device that connects to a network."""

    type: Literal["mobile", "cpe", "gateway"] = Field(description="mobile: one device; cpe or gateway: may have LANs behind it")
    description: str = Field("", description="for people")
    enabled: bool = Field(True, description="false keeps every grant and removes it from the kernel")
    address: IPv4Address | None = Field(None, description="inner IPv4 address; default: assigned")
    address6: IPv6Address | None = Field(None, description="inner IPv6 address; default: assigned")
    public_key: PublicKey | None = Field(None, description="the device's own public key; default: derived")
    preshared_key: bool = Field(True, description="true: derived; false: none")
    routes: tuple[Prefix, ...] = Field((), description="networks behind this endpoint")
    endpoint: str | None = Field(None, description="host:port that the gateway dials; absent: it waits to be dialled")
    keepalive: Annotated[int, Whole, Field(ge=0, le=65535)] | None = Field(
        None, description="seconds between keepalives of the gateway, 0 = none"
    )
    rotation: Annotated[int, Whole, Field(ge=0)] = Field(0, description="raise it to make new keys")
    expires: date | None = Field(None, description="from this date (UTC) on the endpoint is removed from the kernel")


class Network(Model):
    """An isolated network with a virtual circuit id."""

    type: NetworkType = Field(description="what passes and what does not")
    description: str = Field("", description="for people")
    enabled: bool = Field(True, description="false keeps every grant and removes it from the kernel")
    isolation: Isolation | None = Field(None, description="default: the gateway's")
    expected_users: Annotated[int, Whole, Field(ge=1, le=1_000_000)] | None = Field(
        None, description="how many endpoints the subnet is sized for"
    )
    vcid: Annotated[int, Whole, Field(ge=1, le=999_999_999)] | None = Field(None, description="virtual circuit id; default: assigned")
    subnet: IPv4Network | None = Field(None, description="inner IPv4 network; default: assigned")
    subnet6: IPv6Network | None = Field(None, description="inner IPv6 network; default: a ULA /64")
    gateway_address: IPv4Address | None = Field(None, description="the gateway's inner address; default: the subnet's lowest")
    ipv6: bool = Field(True, description="false turns IPv6 off inside and blocks it")
    nat: bool = Field(True, description="false keeps the client's IPv4 source where the other side has a route back")
    nat6: bool = Field(True, description="false keeps the client's IPv6 source where the other side has a route back")
    port: Annotated[int, Whole, Field(ge=1, le=65535)] | None = Field(None, description="UDP port; default: assigned")
    routing_table: Annotated[int, Whole, Field(ge=1, le=4294967295)] | None = Field(None, description="default: assigned")
    mtu: Annotated[int, Whole, Field(ge=576, le=65455)] | None = Field(None, description="bytes; default: the uplink's less 80")
    dns: tuple[Address, ...] | None = Field(None, description="name servers for clients; default: the gateway's")
    allow_private: tuple[Prefix, ...] = Field((), description="private ranges that internet egress may reach all the same")
    peer_communication: bool | None = Field(None, description="secure-internet only: true lets endpoints reach one another")
    resources: tuple[Resource, ...] = Field((), description="remote-resource-gateway only: what may be reached")
    vlan_id: Annotated[int, Whole, Field(ge=1, le=4094)] | None = Field(None, description="L2 only: the access VLAN")
    vlan_range: RangeField | None = Field(None, description="L2 only: tagged VLANs let through")
    bridge_name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,15}$")] | None = Field(
        None, description="L2 only: default br-<vcid>"
    )
    vni_pool: RangeField | None = Field(None, description="l2-mesh only: VNIs beyond the 99th leg")
    endpoints: dict[Name, Endpoint] = Field(default_factory=dict, description="the devices that connect")


class Intent(Model):
    """The whole document."""

    version: Literal[1] = Field(description="version of this format")
    gateway: Gateway = Field(default_factory=Gateway, description="the machine itself")
    networks: dict[Name, Network] = Field(description="every network of this gateway; {} for none")
