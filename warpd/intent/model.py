"""The fields of the YAML: their names, types, bounds and defaults.

The models refuse a value that is wrong by itself. `validation` finds values that are wrong beside
others, and `loader` adds files and positions. Models are frozen and refuse unknown keys. They
convert nothing: a port that is written as a string is an error.

The description of each field is also what editors show (`schema`) and what docs/yaml-reference.md
says (`reference`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
)

from warpd.intent.network_types import ROWS, NetworkType, TypeTraits, traits
from warpd.intent.types import (
    NAME_PATTERN,
    TABLE_MAX,
    VCID_MAX,
    VLAN_MAX,
    Address,
    Address4,
    Address6,
    AnyNetwork,
    BridgeName,
    Day,
    Duration,
    FilePath,
    Host,
    HostLinkName,
    HostPort,
    IPAddress,
    IPNetwork,
    IpProtocol,
    Name,
    Network4,
    Network6,
    Ports,
    PublicKey,
    Range,
    Tables,
    Text,
    Vcids,
    Version,
    Vlans,
    Vnis,
)

Isolation = Literal["namespace", "vrf"]
EndpointType = Literal["mobile", "cpe", "gateway"]
Protocol = Literal["tcp", "udp", "icmp"]

MTU_MIN: Final = 576  # what every IPv4 host must take
MTU_MAX: Final = 65455  # the largest that a WireGuard device takes
ROTATION_MAX: Final = 2**31 - 1
CONNECTIONS_MAX: Final = 2**20
USERS_MAX: Final = 2**24 - 2  # a /8 and its two ends

DEFAULT_DNS: Final[tuple[IPAddress, ...]] = (IPv4Address("9.9.9.9"), IPv6Address("2620:fe::fe"))
DEFAULT_SUBNETS: Final[dict[NetworkType, IPv4Network]] = {row.name: row.pool for row in ROWS}


def _with_default_subnets(value: Any) -> Any:
    """Give the types that the YAML leaves out their default pools."""
    return {**DEFAULT_SUBNETS, **value} if isinstance(value, dict) else value


class Model(BaseModel):
    """A part of the YAML: no other fields than its own, and immutable."""

    # Errors never show the input: it may hold a key.
    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, regex_engine="rust-regex"
    )


class Pools(Model):
    """Where automatic allocations are taken from."""

    ports: Ports = Field(
        Range(51820, 51829), description="UDP ports of the networks' WireGuard devices."
    )
    vcids: Vcids = Field(Range(10000000, 99999999), description="Virtual circuit ids of networks.")
    routing_tables: Tables = Field(
        Range(1000, 32000), description="Kernel routing tables of networks."
    )
    transit: Network4 = Field(
        IPv4Network("198.19.0.0/16"), description="Links (/31) between a network and the uplink."
    )
    subnets: Annotated[dict[NetworkType, Network4], BeforeValidator(_with_default_subnets)] = Field(
        DEFAULT_SUBNETS, description="Where subnets are taken from, by network type."
    )


class Limits(Model):
    """How many connections a network or an endpoint may have, so that others keep theirs."""

    connections: StrictInt | None = Field(
        None,
        ge=1,
        le=CONNECTIONS_MAX,
        description="Connections held at once; default: a share of the host's connection table.",
    )
    connections_per_second: StrictInt | None = Field(
        None,
        ge=1,
        le=CONNECTIONS_MAX,
        description=(
            "New connections a second, ten seconds' worth of them at once; default: a share of the"
            " same table."
        ),
    )


class Gateway(Model):
    """The machine that carries the networks."""

    name: Host | None = Field(None, description="The gateway's name; default: the host's name.")
    public_endpoint: Host = Field(
        "auto",
        description="What clients dial: host name, IPv4, IPv6, or auto (address of the uplink).",
    )
    uplink: HostLinkName = Field(
        "auto", description="auto (interface of the default route) or an interface's name."
    )
    isolation: Isolation = Field(
        "namespace", description="How networks are isolated, unless one has its own `isolation`."
    )
    wireguard: Literal["auto", "kernel", "userspace"] = Field(
        "auto",
        description="Which WireGuard: the kernel's, or wireguard-go where the kernel has none.",
    )
    dns: tuple[Address, ...] = Field(
        DEFAULT_DNS, description="DNS servers that clients are told to use."
    )
    pools: Pools = Field(Pools(), description="Where automatic allocations are taken from.")
    master_key_file: FilePath | None = Field(
        None,
        description="File with the 32-byte master secret; default: master.key in the state folder.",
    )
    removal_guard: StrictBool = Field(
        True,
        description=(
            "Whether warpd waits for `warpctl apply --yes` before it removes more than half of the"
            " networks."
        ),
    )
    quarantine: Duration = Field(
        "24h",
        description=(
            "How long a released allocation is given to nobody else: a number and s, m, h or d; 0:"
            " no time at all."
        ),
    )
    limits: Limits | None = Field(
        None, description="Limits of each network that has none of its own."
    )
    rotation: StrictInt = Field(
        0,
        ge=0,
        le=ROTATION_MAX,
        description="Raising it makes a new key for the gateway's side of every network.",
    )
    vlan_scope: Literal["gateway", "network"] = Field(
        "gateway",
        description="Where a VLAN id is unique: on the whole gateway, or inside each L2 network.",
    )


class Resource(Model):
    """What a remote-resource-gateway lets its endpoints reach."""

    subnet: AnyNetwork = Field(description="The addresses that may be reached.")
    protocol: Protocol | None = Field(
        None,
        description="Only this protocol; absent: every protocol (behind NAT: TCP, UDP, ICMP echo).",
    )
    ports: tuple[Ports, ...] | None = Field(
        None,
        min_length=1,
        description="Only these ports (with tcp or udp): numbers and FIRST-LAST ranges.",
    )
    via: Name | None = Field(
        None,
        description=(
            "Endpoint of this network behind which the subnet lies; absent: through the uplink."
        ),
    )
    description: Text = Field("", description="Free text.")


class Endpoint(Model):
    """A device of a network."""

    type: EndpointType = Field(
        description="mobile (phone, laptop), cpe (router at a site) or gateway (another one)."
    )
    description: Text = Field("", description="Free text.")
    enabled: StrictBool = Field(
        True, description="false keeps every allocation and removes the endpoint from the kernel."
    )
    address: Address4 | None = Field(
        None, description="IPv4 address inside the network; default: allocated."
    )
    address6: Address6 | None = Field(
        None, description="IPv6 address inside the network; default: allocated."
    )
    public_key: PublicKey | None = Field(
        None,
        description=(
            "The device's own WireGuard public key; default: a key pair derived by the gateway."
        ),
    )
    preshared_key: StrictBool = Field(
        True, description="true: a preshared key is derived; false: none is used."
    )
    preshared_key_file: FilePath | None = Field(
        None,
        description="File with a preshared key that the device has already, readable by root only.",
    )
    routes: tuple[AnyNetwork, ...] = Field((), description="Networks behind this endpoint.")
    endpoint: HostPort | None = Field(
        None, description="HOST:PORT at which the gateway reaches the device first."
    )
    keepalive: StrictInt | None = Field(
        None,
        ge=0,
        le=65535,
        description=(
            "Seconds between keepalives, of the gateway and in the client config; 0: none. Absent:"
            " the gateway sends none, and a device that is no `gateway` sends one every 25 s."
        ),
    )
    limits: Limits | None = Field(
        None,
        description=(
            "Limits of this endpoint; default: an eighth (mobile) or half (cpe, gateway) of its"
            " network's."
        ),
    )
    renamed_from: Name | None = Field(
        None, description="The name it had before: it keeps its allocations and keys."
    )
    rotation: StrictInt = Field(0, ge=0, le=ROTATION_MAX, description="Raising it makes new keys.")
    expires: Day | None = Field(
        None, description="From this day on (UTC) the endpoint is removed from the kernel."
    )


def _without_doubles(endpoints: dict[str, Endpoint]) -> dict[str, Endpoint]:
    """Use one object for all endpoints that are equal: most are, and each takes 700 bytes."""
    unique: dict[Endpoint, Endpoint] = {}
    return {name: unique.setdefault(endpoint, endpoint) for name, endpoint in endpoints.items()}


def _is_explicit(endpoint: Endpoint) -> bool:
    """Whether an endpoint has a value that no other endpoint may have."""
    own = (
        endpoint.address,
        endpoint.address6,
        endpoint.public_key,
        endpoint.preshared_key_file,
        endpoint.renamed_from,
    )
    return bool(endpoint.routes) or any(value is not None for value in own)


class Network(Model):
    """An isolated network and its endpoints."""

    type: NetworkType = Field(
        description="What passes between endpoints, to the internet and to resources."
    )
    description: Text = Field("", description="Free text.")
    enabled: StrictBool = Field(
        True, description="false keeps every allocation and removes the network from the kernel."
    )
    isolation: Isolation | None = Field(
        None, description="namespace or vrf; default: the gateway's."
    )
    expected_users: StrictInt | None = Field(
        None, ge=1, le=USERS_MAX, description="How many endpoints the subnet is sized for."
    )
    vcid: StrictInt | None = Field(
        None, ge=1, le=VCID_MAX, description="Virtual circuit id; default: allocated."
    )
    subnet: Network4 | None = Field(
        None, description="IPv4 subnet; default: allocated from the type's pool."
    )
    subnet6: Network6 | None = Field(None, description="IPv6 subnet; default: a ULA /64.")
    gateway_address: Address4 | None = Field(
        None, description="The gateway's own address inside; default: the subnet's lowest."
    )
    ipv6: StrictBool = Field(True, description="false turns IPv6 off inside and blocks it.")
    nat: StrictBool = Field(
        True, description="false keeps the clients' IPv4 source: the other side has a route back."
    )
    nat6: StrictBool = Field(
        True, description="false keeps the clients' IPv6 source: the other side has a route back."
    )
    protocols: tuple[IpProtocol, ...] = Field(
        (),
        description=(
            "IP protocols that may leave beside TCP, UDP and ICMP echo, by name or number; needs"
            " nat or nat6: false."
        ),
    )
    port: StrictInt | None = Field(
        None, ge=1, le=65535, description="UDP port of the WireGuard device; default: allocated."
    )
    private_key_file: FilePath | None = Field(
        None,
        description=(
            "File with the private key of the WireGuard device, readable by root only; default:"
            " derived."
        ),
    )
    rotation: StrictInt = Field(
        0,
        ge=0,
        le=ROTATION_MAX,
        description="Raising it makes a new key for the gateway's side; endpoints keep theirs.",
    )
    renamed_from: Name | None = Field(
        None, description="The name it had before: it keeps its allocations and keys."
    )
    routing_table: StrictInt | None = Field(
        None, ge=1, le=TABLE_MAX, description="Kernel routing table; default: allocated."
    )
    mtu: StrictInt | None = Field(
        None,
        ge=MTU_MIN,
        le=MTU_MAX,
        description="MTU inside; default: the uplink's less WireGuard's 80 bytes.",
    )
    limits: Limits | None = Field(
        None,
        description="Limits of all endpoints of this network together; default: the gateway's.",
    )
    dns: tuple[Address, ...] | None = Field(
        None, description="DNS servers for this network's clients; default: the gateway's."
    )
    allow_private: tuple[AnyNetwork, ...] = Field(
        (), description="Private ranges that internet egress may reach nevertheless."
    )
    peer_communication: StrictBool | None = Field(
        None,
        description="secure-internet only: true lets endpoints talk to each other; default: false.",
    )
    resources: tuple[Resource, ...] = Field(
        (), description="remote-resource-gateway only: what may be reached."
    )
    vlan_id: StrictInt | None = Field(
        None,
        ge=1,
        le=VLAN_MAX,
        description="L2 only: the access VLAN; frames of any other VLAN are dropped.",
    )
    vlan_range: Vlans | None = Field(
        None, description="L2 only: tagged VLANs let through, FIRST-LAST."
    )
    bridge_name: BridgeName | None = Field(
        None, description="L2 only: the bridge's name; default: br-<vcid>."
    )
    vni_pool: Vnis | None = Field(
        None, description="l2-mesh only: VNIs for the legs beyond the 99th, FIRST-LAST."
    )
    endpoints: Annotated[dict[Name, Endpoint], AfterValidator(_without_doubles)] = Field(
        {}, description="The network's devices, by name."
    )

    @property
    def traits(self) -> TypeTraits:
        """The properties of its type."""
        return traits(self.type)

    @cached_property
    def explicit_endpoints(self) -> Mapping[str, Endpoint]:
        """The endpoints with a value that no other endpoint may have, sorted by name.

        Such a value is an address, a key, a route or a former name. Rules between endpoints look at
        these only: most endpoints have none, and a network may have thousands of endpoints.
        """
        return {
            name: self.endpoints[name]
            for name in sorted(self.endpoints)
            if _is_explicit(self.endpoints[name])
        }

    @cached_property
    def expiring_endpoints(self) -> Mapping[str, Endpoint]:
        """Endpoints with an `expires`, past or to come."""
        return {name: one for name, one in self.endpoints.items() if one.expires is not None}


class Intent(Model):
    """The whole YAML: one gateway and its networks."""

    # An intent is immutable and comes from `loader.load`. Values that the YAML leaves out are None:
    # `allocation` assigns numbers and addresses, and `networks.compiler` decides the other
    # defaults. After an edit of the YAML, an unchanged network is the same object as before; later
    # stages compare by identity first.

    version: Version = Field(description="The version of this format: 1.")
    gateway: Gateway = Field(Gateway(), description="The machine that carries the networks.")
    networks: dict[Name, Network] = Field(description="The networks, by name; none yet is {}.")


__all__ = [
    "DEFAULT_DNS",
    "DEFAULT_SUBNETS",
    "NAME_PATTERN",
    "Endpoint",
    "EndpointType",
    "Gateway",
    "IPAddress",
    "IPNetwork",
    "Intent",
    "Isolation",
    "Limits",
    "Model",
    "Network",
    "Pools",
    "Protocol",
    "Range",
    "Resource",
]
