"""(intent, grants, keys, host facts) -> State: every object that should exist. Pure.

Lives here: which networks and endpoints are in force, and who builds their objects. Does not: what a type
lets through (`networks/`), where things live (`isolation/`), how a difference is mended (`diff`, `plan`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from ipaddress import ip_address
from typing import Any

from warpd import keys
from warpd.errors import Finding
from warpd.grants import Grants, NetworkGrant
from warpd.intent import Endpoint, Intent, Network
from warpd.isolation import MODES, gateway, mode
from warpd.isolation.room import Contribution, Site
from warpd.networks import least_mtu, tunnel, type_named
from warpd.state import Exit, Host, Object, State

WIREGUARD_OVERHEAD = 80  # bytes: IPv6 header 40, UDP 8, WireGuard 32
IPV6_MINIMUM_MTU = 1280


@dataclass(frozen=True, slots=True)
class Compiled:
    """What should exist, and what could not be compiled and why."""

    state: State
    findings: tuple[Finding, ...]
    names: Mapping[str, str]  # group (namespace name) -> network name


def compile_state(intent: Intent, grants: Grants, master: keys.Master, host: Host, today: date) -> Compiled:
    """Compile every enabled network.

    Raises:
        ValueError: two networks claim one kernel key, which `checks` must have refused.
    """
    findings = list(_gateway_findings(intent, host))
    enabled = {name: network for name, network in intent.networks.items() if network.enabled}
    for name, network in enabled.items():
        findings += _unsupported(name, network, intent, site_of(name, network, grants.networks[name], host, today))
    if findings:
        return Compiled(State(), tuple(findings), {})
    fenced = basis(host)
    parts = {
        name: _network(name, network, intent, grants.networks[name], master, fenced, today)
        for name, network in sorted(enabled.items())
    }
    objects: list[Object] = [item for part in parts.values() for item in part.objects]
    if parts:
        objects += _gateway_objects(fenced, parts, {name: grants.networks[name] for name in parts}, intent)
    names = {part.group: name for name, part in parts.items()}
    return Compiled(State.of(objects), (), names)


def targets(intent: Intent) -> tuple[str, ...]:
    """Private destinations that networks may reach: the host must forward answers on the links that lead there."""
    out: set[str] = set()
    for network in intent.networks.values():
        if network.enabled:
            out |= {str(item) for item in type_named(network.type).targets(network, dns_of(network, intent))}
    return tuple(sorted(out))


def with_fence(host: Host) -> Host:
    """The host with the fences that should stand: where forwarding is off, or was until we turned it on."""
    own4 = tuple(link.name for link in host.exits if link.name in host.fence4 or not link.forwarding4)
    return dataclasses.replace(
        host,
        fence4=() if host.forwarding4 else own4,
        fence6=host.fence6 or not host.forwarding6,
    )


def basis(host: Host) -> Host:
    """The host as far as it decides what is wanted: the same before and after we have changed its forwarding."""
    return dataclasses.replace(
        with_fence(host),
        forwarding4=False,
        forwarding6=False,
        exits=tuple(Exit(link.name) for link in host.exits),
        foreign_drops=(),
    )


def _gateway_findings(intent: Intent, host: Host) -> Iterable[Finding]:
    if not any(network.enabled for network in intent.networks.values()):
        return
    if not host.uplink:
        wanted = intent.gateway.uplink
        what = "this host has no default route" if wanted == "auto" else f"there is no link {wanted}"
        yield Finding("uplink-missing", "gateway.uplink", f"no uplink: {what}", "name the interface that reaches the internet")
    for link in host.exits:
        if host.forwarding4 and not link.forwarding4 and link.name not in host.fence4:
            yield Finding(
                "exit-closed",
                "gateway.uplink",
                f"this host forwards IPv4, but somebody has turned that off for {link.name} alone",
                f"answers could not come back: sysctl net.ipv4.conf.{link.name}.forwarding=1, if that is meant",
            )
    if driver(intent, host) is None:
        yield Finding(
            "wireguard-missing",
            "gateway.wireguard",
            f"gateway.wireguard is {intent.gateway.wireguard}, and this machine has no such WireGuard",
            "load the kernel module (modprobe wireguard) or install wireguard-go (apt install wireguard-go)",
        )


def _unsupported(name: str, network: Network, intent: Intent, site: Site) -> Iterable[Finding]:
    for each, endpoint in sorted(network.endpoints.items()):
        if endpoint.endpoint and not _is_literal(endpoint.endpoint):
            yield Finding(
                "endpoint-name",
                f"networks.{name}.endpoints.{each}.endpoint",
                f"this version dials addresses only, not the host name in {endpoint.endpoint}",
                "write ADDRESS:PORT or [ADDRESS6]:PORT",
            )
    why = mode(isolation_of(network, intent)).why_not(site)
    if why:
        yield Finding(
            "isolation-unsupported",
            f"networks.{name}.isolation",
            f"cannot be {isolation_of(network, intent)} on this machine: {why}",
            "mend that, or write `isolation: namespace`, which behaves the same from outside",
        )


def isolation_of(network: Network, intent: Intent) -> str:
    return network.isolation or intent.gateway.isolation


def dns_of(network: Network, intent: Intent) -> tuple[Any, ...]:
    return network.dns if network.dns is not None else intent.gateway.dns


def _is_literal(endpoint: str) -> bool:
    try:
        ip_address(endpoint.rpartition(":")[0].strip("[]"))
    except ValueError:
        return False
    return True


def driver(intent: Intent, host: Host) -> str | None:
    """Which WireGuard makes the devices: the link kind, or None when the machine has none that is allowed."""
    wanted = intent.gateway.wireguard
    if host.wireguard_kernel and wanted in ("auto", "kernel"):
        return "wireguard"
    return "tun" if host.wireguard_go and wanted in ("auto", "userspace") else None


def tunnel_mtu(network: Network, host: Host) -> int:
    """Bytes of inner packet that fit into one outer packet on the uplink, whichever family the client dials."""
    fits = max(host.uplink_mtu - WIREGUARD_OVERHEAD, IPV6_MINIMUM_MTU)
    return network.mtu or max(fits, least_mtu(network.type))


def site_of(name: str, network: Network, grant: NetworkGrant, host: Host, today: date) -> Site:
    subnet6 = grant.subnet6 if network.ipv6 else None
    routes = [route for one in network.endpoints.values() if in_force(one, today) for route in one.routes]
    inside = [grant.subnet, *([subnet6] if subnet6 else ()), *(item for item in routes if item.version == 4 or subnet6)]
    return Site(
        name=name,
        vcid=grant.vcid,
        subnet=grant.subnet,
        subnet6=subnet6,
        gateway_address=grant.gateway_address,
        gateway_address6=grant.gateway_address6 if network.ipv6 else None,
        transit=grant.transit,
        routing_table=grant.routing_table,
        vlan=grant.vlan,
        mtu=tunnel_mtu(network, host),
        inside=tuple(sorted(inside, key=lambda item: (item.version, item))),
        host=host,
    )


def in_force(endpoint: Endpoint, today: date) -> bool:
    return endpoint.enabled and (endpoint.expires is None or today < endpoint.expires)


def network_key_of(network: Network, intent: Intent, vcid: int, master: keys.Master) -> keys.Secret:
    """The private key of the gateway's device in one network."""
    return keys.network_key(master, vcid, network.rotation, network.private_key_file, intent.gateway.rotation)


def public_key_of(key_name: str, endpoint: Endpoint, vcid: int, master: keys.Master) -> str:
    """The endpoint's own key where the YAML gives one, else the one derived by the name that its keys go by."""
    return endpoint.public_key or keys.public_key(keys.endpoint_key(master, vcid, key_name, endpoint.rotation))


def preshared_key_of(key_name: str, endpoint: Endpoint, vcid: int, master: keys.Master) -> keys.Secret | None:
    """None where the YAML wants none."""
    if not endpoint.preshared_key:
        return None
    return keys.preshared_key(master, vcid, key_name, endpoint.rotation, file=endpoint.preshared_key_file)


def peers_of(network: Network, grant: NetworkGrant, master: keys.Master, today: date) -> list[tunnel.Peer]:
    """The endpoints in force today, by name."""
    out = []
    for name, endpoint in sorted(network.endpoints.items()):
        if not in_force(endpoint, today):
            continue
        addresses = grant.endpoints[name]
        key_name = addresses.key_name or name
        shared = preshared_key_of(key_name, endpoint, grant.vcid, master)
        six = addresses.address6 if network.ipv6 else None
        public = public_key_of(key_name, endpoint, grant.vcid, master)
        out.append(
            tunnel.Peer(
                name=name,
                public_key=public,
                preshared_key=shared,
                address=addresses.address,
                address6=six,
                routes=endpoint.routes,
                leg=addresses.leg,
                vni=addresses.vni or 0,
                keepalive=endpoint.keepalive or 0,
                endpoint=endpoint.endpoint,
            )
        )
    return out


def _network(
    name: str, network: Network, intent: Intent, grant: NetworkGrant, master: keys.Master, host: Host, today: date
) -> Contribution:
    isolation = mode(isolation_of(network, intent))
    kind = type_named(network.type)
    site = site_of(name, network, grant, host, today)
    place = isolation.room(site)
    peers = peers_of(network, grant, master, today)
    private = network_key_of(network, intent, grant.vcid, master)
    inner = [
        *tunnel.objects(site, place, driver(intent, host) or "", private, grant.port, peers),
        *kind.objects(site, place, network, peers),
    ]
    fragment = kind.fragment(site, network, dns_of(network, intent))
    built: Contribution = isolation.build(site, kind.wants(network), fragment, inner)
    return built


def _gateway_objects(
    host: Host, parts: Mapping[str, Contribution], grants: Mapping[str, NetworkGrant], intent: Intent
) -> list[Object]:
    ranges = [item for grant in grants.values() for item in (grant.subnet, grant.subnet6, grant.transit)]
    routed = [item for part in parts.values() for item in part.routed]
    sources = [*routed, *(item for part in parts.values() for item in part.sources)]
    pool = intent.gateway.pools.ports
    listening = {*range(pool.first, pool.last + 1), *(grant.port for grant in grants.values())}
    six = any(intent.networks[name].ipv6 for name in parts)
    fence = host if six else dataclasses.replace(host, fence6=False)
    doors = [name for part in parts.values() for name in part.doors]
    guard = gateway.guard(fence, ranges, routed, sources, listening, doors)
    return [guard, *gateway.settings(fence, six), *_shared(parts, intent)]


def _shared(parts: Mapping[str, Contribution], intent: Intent) -> list[Object]:
    """What the networks of each mode need of the root together."""
    out: list[Object] = []
    for module in MODES:
        own = [intent.networks[name] for name in parts if isolation_of(intent.networks[name], intent) == module.NAME]
        out += module.shared(any(network.ipv6 for network in own)) if own else []
    return out
