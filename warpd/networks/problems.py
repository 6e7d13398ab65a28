"""What this machine, as it is now, keeps networks from: no uplink, no WireGuard, a table of others.

A problem says nothing about the YAML and never stops other networks. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from warpd import naming
from warpd.errors import Finding
from warpd.intent.model import Gateway
from warpd.kernel.state import Host
from warpd.networks.host_facts import driver, is_closed
from warpd.networks.isolation import mode
from warpd.networks.resolved import ResolvedNetwork
from warpd.networks.types import type_named


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that this machine keeps a network from.

    network: the name in the YAML.
    group: of the network's objects.
    whole: nothing is given to the network, which still loses what it should no longer have;
        otherwise it is built, and only its way out of the gateway does not work.
    finding: what is wrong, and how to fix it.
    """

    network: str
    group: str
    whole: bool
    finding: Finding


def problems_of(network: ResolvedNetwork, gateway: Gateway, host: Host) -> Iterator[Problem]:
    """Everything that this machine keeps one network from.

    `host` is the machine as it was seen, before policy_facts leaves out what we have changed.
    """
    if driver(gateway, host) is None:
        yield _no_wireguard(network, gateway)
    reason = mode(network.isolation).unsupported_reason(network)
    if reason:
        yield _unsupported(network, str(reason))
    if network.isolation == "vrf":
        yield from _table_problems(network, host)
    if network.intent.traits.egress:
        yield from _egress_problems(network, gateway, host)


def clash(network: ResolvedNetwork, text: str) -> Problem:
    """The network claims an object of the kernel that another one, or the gateway, has already."""
    hint = "give one of them another name or number"
    return _problem(network, "clash", f"networks.{network.name}", text, hint)


def _no_wireguard(network: ResolvedNetwork, gateway: Gateway) -> Problem:
    text = f"gateway.wireguard is {gateway.wireguard}, and this machine has no such WireGuard"
    hint = (
        "load the kernel module (modprobe wireguard) or install wireguard-go (apt install"
        " wireguard-go)"
    )
    return _problem(network, "wireguard-missing", "gateway.wireguard", text, hint)


def _unsupported(network: ResolvedNetwork, reason: str) -> Problem:
    text = f"cannot be {network.isolation} on this machine: {reason}"
    hint = "fix that, or write `isolation: namespace`, which behaves the same from outside"
    return _problem(
        network, "isolation-unsupported", f"networks.{network.name}.isolation", text, hint
    )


def _table_problems(network: ResolvedNetwork, host: Host) -> Iterator[Problem]:
    """A table that another VRF looks up, too, would join two VRFs."""
    for table, name in host.foreign_vrfs:
        if table == network.routing_table:
            text = f"routing table {table} is that of {name}, a VRF of this host that is not ours"
            hint = "write `routing_table:` with another number, or remove that VRF"
            path = f"networks.{network.name}.routing_table"
            yield _problem(network, "table-taken", path, text, hint)


def _egress_problems(network: ResolvedNetwork, gateway: Gateway, host: Host) -> Iterator[Problem]:
    if not host.uplink:
        what = f"there is no link {gateway.uplink}"
        if gateway.uplink == "auto":
            what = "this host has no default route"
        text = f"no uplink: {what}; nothing leaves to the internet until there is one"
        hint = "name the interface that reaches the internet"
        yield _problem(network, "uplink-missing", "gateway.uplink", text, hint, whole=False)
    used = _exits_used(network, host)
    for link in host.exits:
        if link.name in used and is_closed(host, link):
            text = (
                f"this host forwards IPv4, but somebody has turned that off for {link.name} alone:"
                " answers cannot come back"
            )
            hint = f"sysctl net.ipv4.conf.{link.name}.forwarding=1, if that is meant"
            yield _problem(network, "exit-closed", "gateway.uplink", text, hint, whole=False)


def _exits_used(network: ResolvedNetwork, host: Host) -> set[str]:
    """The links of the host by which a network's packets may leave: the uplink, and those that lead
    to destinations of its own.
    """
    kind = type_named(network.intent.type)
    destinations = {str(item) for item in kind.egress_destinations(network.intent, network.dns)}
    used = {host.uplink, *host.uplinks4, *host.uplinks6}
    for route in host.range_routes:
        if route.target in destinations:
            used.update(route.links)
    return used


def _problem(
    network: ResolvedNetwork, code: str, path: str, message: str, hint: str, whole: bool = True
) -> Problem:
    group = naming.namespace(network.vcid)
    return Problem(network.name, group, whole, Finding(code, path, message, hint))
