"""Name servers that clients of a network are given and may not reach. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Network
from typing import Final

from warpd.errors import Finding
from warpd.intent.model import Intent, Network, Resource
from warpd.intent.types import IPAddress, IPNetwork
from warpd.intent.validation.finding import warning

ULA: Final = IPv6Network("fd00::/8")  # automatic IPv6 subnets are taken from it


def check_name_servers(path: str, network: Network, intent: Intent) -> Iterator[Finding]:
    """Warn of name servers in client configs that the clients cannot reach."""
    for index, server in enumerate(network.dns or ()):
        if server.version == 6 and not network.ipv6:
            continue  # _check_ipv6 warns of it
        if network.traits.lists_resources and not any(
            _answers(one, server) for one in network.resources
        ):
            text = f"no client reaches {server}: no resource holds it for port 53"
            hint = f"add {{subnet: {server}, protocol: udp, ports: [53]}} to resources"
            yield warning("dns-unreachable", f"{path}.dns[{index}]", text, hint)
        if network.traits.reach == "sites" and not _lies_inside(server, network, intent):
            text = f"no client reaches {server}: it lies in no subnet or route of this network"
            yield warning(
                "dns-unreachable",
                f"{path}.dns[{index}]",
                text,
                "add a route to the endpoint in front of it",
            )


def _answers(resource: Resource, server: IPAddress) -> bool:
    """Whether a resource permits DNS queries to this server."""
    ports = resource.ports
    return (
        server in resource.subnet
        and resource.protocol in (None, "udp", "tcp")
        and (ports is None or any(53 in some for some in ports))
    )


def _lies_inside(server: IPAddress, network: Network, intent: Intent) -> bool:
    """Whether an address is, or may become, one of the network.

    An automatic subnet may be any of its pool.
    """
    own: IPNetwork = network.subnet6 or ULA
    if server.version == 4:
        own = network.subnet or intent.gateway.pools.subnets[network.type]
    return server in own or any(server in route for route in _routes(network))


def _routes(network: Network) -> Iterator[IPNetwork]:
    """Yield the routes of all endpoints."""
    for endpoint in network.explicit_endpoints.values():
        yield from endpoint.routes
