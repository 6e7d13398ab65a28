"""(intent, allocation, host facts) -> ResolvedNetwork: every default of the YAML is decided here.

Whoever asks what a network is on this machine (the compiler, a client config, `status`, `explain`)
asks a ResolvedNetwork, so that no default is decided twice. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, Literal

from warpd import naming
from warpd.allocation.model import Allocations, EndpointAllocation, NetworkAllocation
from warpd.allocation.suspensions import Suspension, suspended_in
from warpd.intent.model import Endpoint, Gateway, Intent, Network
from warpd.kernel.state import Host
from warpd.networks.firewall.connection_limits import Share, Shares
from warpd.networks.limits import endpoint_share, shares_of

WIREGUARD_OVERHEAD: Final = 80  # bytes: IPv6 header 40, UDP 8, WireGuard 32
IPV6_MINIMUM_MTU: Final = 1280
CLIENT_KEEPALIVE_S: Final = 25  # shorter than the UDP timeout of home routers
# Why an endpoint that the YAML has, and that is enabled, may not connect.
Withheld = Literal["expired", "suspended"]


@dataclass(frozen=True, slots=True)
class ResolvedEndpoint:
    """One endpoint, in force or not.

    name: as the YAML has it.
    key_name: the name that its keys are derived from; a renamed endpoint keeps its keys.
    intent: what the YAML says.
    address, address6: its own; no IPv6 address in a network without IPv6.
    leg, vni: its leg in an Ethernet segment; 0 in a network that carries IP.
    share: of the connection table.
    """

    name: str
    key_name: str
    intent: Endpoint
    address: IPv4Address
    address6: IPv6Address | None
    leg: int
    vni: int
    share: Share

    @property
    def gateway_keepalive_s(self) -> int:
        """Seconds between keepalives of the gateway; 0: none."""
        return self.intent.keepalive or 0

    @property
    def client_keepalive_s(self) -> int:
        """Seconds between keepalives of the device; 0: none.

        A device that is itself a gateway is taken to be reachable.
        """
        if self.intent.keepalive is not None:
            return self.intent.keepalive
        return 0 if self.intent.type == "gateway" else CLIENT_KEEPALIVE_S


@dataclass(frozen=True, slots=True)
class ResolvedNetwork:
    """One network as it is on this machine: what both a type and an isolation mode start from.

    name: as the YAML has it.
    intent, allocation: what the YAML says, and which numbers the network has.
    host: the facts that decide what is wanted (host_facts.policy_facts).
    withheld: its endpoints that the YAML has and that are not in force all the same, with the
        reason.
    isolation: the name of the mode that the YAML asks for, here or for the whole gateway.
    dns: name servers that its clients are told.
    subnet6, gateway_address6: None in a network without IPv6.
    mtu: bytes, of the WireGuard device.
    inside: its subnets, and the routes of its endpoints in force, IPv4 first.
    shares: of the connection table.
    link_number: of its transit link in the pool of the gateway.
    """

    name: str
    intent: Network
    allocation: NetworkAllocation
    host: Host
    withheld: Mapping[str, Withheld]
    isolation: str
    dns: tuple[IPv4Address | IPv6Address, ...]
    subnet6: IPv6Network | None
    gateway_address6: IPv6Address | None
    mtu: int
    inside: tuple[IPv4Network | IPv6Network, ...]
    shares: Shares
    link_number: int

    @property
    def group(self) -> str:
        """What its objects belong to: the name that its namespace has, or would have."""
        return naming.namespace(self.allocation.vcid)

    @property
    def vcid(self) -> int:
        return self.allocation.vcid

    @property
    def subnet(self) -> IPv4Network:
        return self.allocation.subnet

    @property
    def gateway_address(self) -> IPv4Address:
        return self.allocation.gateway_address

    @property
    def transit(self) -> IPv4Network:
        return self.allocation.transit

    @property
    def routing_table(self) -> int:
        return self.allocation.routing_table

    @property
    def vlan(self) -> int:
        """The VLAN of an Ethernet segment; 0: none."""
        return self.allocation.vlan

    def is_in_force(self, name: str) -> bool:
        """Whether this endpoint may connect."""
        return self.intent.endpoints[name].enabled and name not in self.withheld

    def endpoint(self, name: str) -> ResolvedEndpoint:
        """One endpoint. Raises: KeyError for a name that the intent does not have."""
        return resolve_endpoint(
            name,
            self.intent,
            self.allocation.endpoints[name],
            endpoint_share(self.intent.endpoints[name], self.shares.network),
        )

    def endpoints_in_force(self) -> Iterator[ResolvedEndpoint]:
        """The endpoints that may connect, by name."""
        for name in sorted(self.intent.endpoints):
            if self.is_in_force(name):
                yield self.endpoint(name)


def resolve(
    name: str,
    network: Network,
    allocation: NetworkAllocation,
    gateway: Gateway,
    host: Host,
    withheld: Mapping[str, Withheld],
) -> ResolvedNetwork:
    """Decide every default of one network on this machine."""
    subnet6 = allocation.subnet6 if network.ipv6 else None
    return ResolvedNetwork(
        name=name,
        intent=network,
        allocation=allocation,
        host=host,
        withheld=withheld,
        isolation=isolation_of(network, gateway),
        dns=dns_of(network, gateway),
        subnet6=subnet6,
        gateway_address6=allocation.gateway_address6 if network.ipv6 else None,
        mtu=tunnel_mtu(network, host),
        inside=_inside(network, allocation.subnet, subnet6, withheld),
        shares=shares_of(network, gateway, host.conntrack_max),
        link_number=_link_number(allocation, gateway),
    )


def resolve_named(
    name: str,
    intent: Intent,
    allocations: Allocations,
    host: Host,
    today: date,
    suspensions: Collection[Suspension] = (),
) -> ResolvedNetwork:
    """As `resolve`, for a network of this intent on that day (UTC), enabled or not."""
    network, allocation = intent.networks[name], allocations.networks[name]
    withheld = withheld_endpoints(name, network, allocation, today, suspensions)
    return resolve(name, network, allocation, intent.gateway, host, withheld)


def resolve_endpoint(
    name: str, network: Network, allocation: EndpointAllocation, share: Share
) -> ResolvedEndpoint:
    """Decide every default of one endpoint; `share` is of the connection table."""
    return ResolvedEndpoint(
        name=name,
        key_name=allocation.key_name or name,
        intent=network.endpoints[name],
        address=allocation.address,
        address6=allocation.address6 if network.ipv6 else None,
        leg=allocation.leg,
        vni=allocation.vni or 0,
        share=share,
    )


def isolation_of(network: Network, gateway: Gateway) -> str:
    """The isolation mode: of the network, or else of the gateway."""
    return network.isolation or gateway.isolation


def dns_of(network: Network, gateway: Gateway) -> tuple[IPv4Address | IPv6Address, ...]:
    """The name servers of the clients: of the network, or else, where there is internet, of the
    gateway.
    """
    if network.dns is not None:
        return network.dns
    return gateway.dns if network.traits.internet else ()


def tunnel_mtu(network: Network, host: Host) -> int:
    """Bytes of inner packet that fit into one outer packet on the uplink, whichever family the
    client dials.
    """
    fits = max(host.uplink_mtu - WIREGUARD_OVERHEAD, IPV6_MINIMUM_MTU)
    return network.mtu or max(fits, network.traits.min_mtu)


def permitted_on(endpoint: Endpoint, today: date) -> bool:
    """Whether the YAML lets an endpoint connect on that day (UTC)."""
    return endpoint.enabled and not is_expired(endpoint, today)


def is_expired(endpoint: Endpoint, today: date) -> bool:
    """Whether the endpoint's `expires` has come by that day (UTC)."""
    return endpoint.expires is not None and today >= endpoint.expires


def withheld_endpoints(
    name: str,
    network: Network,
    allocation: NetworkAllocation,
    today: date,
    suspensions: Collection[Suspension],
) -> Mapping[str, Withheld]:
    """The endpoints whose `expires` has come by that day (UTC), or that are suspended.

    One that is both counts as expired: resuming it would not let it in.
    """
    dated = network.expiring_endpoints.items()
    found: dict[str, Withheld] = {
        each: "expired" for each, endpoint in dated if is_expired(endpoint, today)
    }
    for each in suspended_in(name, allocation, suspensions) if suspensions else ():
        if each in network.endpoints:
            found.setdefault(each, "suspended")
    return found


def _inside(
    network: Network,
    subnet: IPv4Network,
    subnet6: IPv6Network | None,
    withheld: Mapping[str, Withheld],
) -> tuple[IPv4Network | IPv6Network, ...]:
    inside: list[IPv4Network | IPv6Network] = [subnet]
    if subnet6:
        inside.append(subnet6)
    for name, endpoint in network.explicit_endpoints.items():
        if endpoint.enabled and name not in withheld:
            inside += [item for item in endpoint.routes if item.version == 4 or subnet6]
    return tuple(sorted(inside, key=lambda item: (item.version, item)))


def _link_number(allocation: NetworkAllocation, gateway: Gateway) -> int:
    first = int(gateway.pools.transit.network_address)
    return (int(allocation.transit.network_address) - first) // 2
