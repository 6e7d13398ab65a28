"""What a remote-resource-gateway leads to, and by whom. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from warpd.errors import Finding
from warpd.intent.model import Endpoint, Network, Resource
from warpd.intent.types import IPNetwork
from warpd.intent.validation.finding import error


def check_resource(path: str, resource: Resource, network: Network) -> Iterator[Finding]:
    """Check one resource of a remote-resource-gateway."""
    yield from _resource_ports(f"{path}.ports", resource)
    subnet = network.subnet if resource.subnet.version == 4 else network.subnet6
    if subnet is not None and resource.subnet.overlaps(subnet):
        text = f"{resource.subnet} overlaps {subnet}, the network's own subnet"
        hint = "endpoints never reach each other in remote-resource-gateway"
        yield error("overlap", f"{path}.subnet", text, hint)
    yield from _via(path, resource, network)


def _resource_ports(path: str, resource: Resource) -> Iterator[Finding]:
    """Check that ports have a protocol with ports, and are listed once."""
    ports = resource.ports
    if ports is None:
        return
    if resource.protocol not in ("tcp", "udp"):
        text = "ports need a protocol that has them"
        yield error("ports-without-protocol", path, text, "protocol: tcp or udp")
    for index, listed in enumerate(ports):
        if any(listed.overlaps(other) for other in ports[:index]):
            yield error("overlap", f"{path}[{index}]", f"{listed} is listed already", "remove it")


def _via(path: str, resource: Resource, network: Network) -> Iterator[Finding]:
    """Check that `via` names the endpoint that has the resource behind it."""
    if resource.via is None:
        behind = [
            name
            for name, endpoint in network.explicit_endpoints.items()
            if _holds(endpoint, resource.subnet)
        ]
        if behind:
            text = f"{resource.subnet} lies behind endpoint {behind[0]}"
            yield error("via-missing", path, text, f"write via: {behind[0]}")
    elif resource.via not in network.endpoints:
        known = ", ".join(sorted(network.endpoints)[:8])
        hint = f"endpoints here: {known}" if known else "this network has no endpoints"
        yield error(
            "via-unknown",
            f"{path}.via",
            f"there is no endpoint {resource.via} in this network",
            hint,
        )
    elif not _holds(network.endpoints[resource.via], resource.subnet):
        text = f"endpoint {resource.via} has no route that holds {resource.subnet}"
        yield error("via-unknown", f"{path}.via", text, f"add {resource.subnet} to its routes")


def _holds(endpoint: Endpoint, subnet: IPNetwork) -> bool:
    return any(
        route.version == subnet.version and subnet.subnet_of(route)  # type: ignore[arg-type]
        for route in endpoint.routes
    )
