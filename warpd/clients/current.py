"""Compute the config that an endpoint should have today, from the target and the host. Pure.

This module resolves `auto` for the address that clients dial. It does not know formats and version
numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Final

from warpd.clients.config import ClientConfig, client_config
from warpd.errors import WarpError
from warpd.intent.model import Intent
from warpd.kernel.state import Host
from warpd.reconcile.engine import Target

PRIVATE: Final = tuple(
    ip_network(block)
    for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)


def current_config(target: Target, host: Host, network: str, endpoint: str) -> ClientConfig:
    """Return the config of an endpoint.

    Raises:
        WarpError: the endpoint has expired or is suspended, or the address that clients dial is not
            known.
    """
    dialled = public_host(target.intent, host)
    return _config(target, host, network, endpoint, dialled)


def _config(target: Target, host: Host, network: str, endpoint: str, dialled: str) -> ClientConfig:
    resolved = target.resolved(network, host)
    gateway = target.intent.gateway
    return client_config(resolved, gateway, target.master, endpoint, public_host=dialled)


def dialled_address(target: Target, host: Host, network: str) -> str:
    """Return what clients of a network dial, as HOST:PORT. An unknown host is written as `auto`."""
    port = target.allocations.networks[network].port
    try:
        return f"{public_host(target.intent, host)}:{port}"
    except WarpError:
        return f"auto:{port}"


def own_config(target: Target, network: str, endpoint: str) -> ClientConfig:
    """Return a config of which only keys, addresses and routes are valid.

    Unlike `current_config` it needs no host: `dial` holds the placeholder host `auto`.

    Raises:
        WarpError: the endpoint has expired or is suspended.
    """
    return _config(target, Host(), network, endpoint, "auto")


def current_digest(target: Target, host: Host, network: str, endpoint: str) -> str:
    """Return the digest of the current config, or "" if there is none. The store knows versions
    by this digest.
    """
    try:
        return current_config(target, host, network, endpoint).digest()
    except WarpError:
        return ""


def identity(target: Target, network: str, endpoint: str) -> tuple[str, str]:
    """Return the network and endpoint names under which the store keeps the config versions."""
    return target.allocations.networks[network].first_names(network, endpoint) or (
        network,
        endpoint,
    )


def stale_configs(target: Target, host: Host, delivered: Mapping[str, str]) -> list[str]:
    """Return the endpoints whose last exported config differs from the current one.

    The result is sorted and holds `NETWORK/NAME`. `delivered` maps the first names (`NETWORK/NAME`)
    to the digest of the config that was exported last. An endpoint without an entry is not stale.
    """
    out = []
    for network, own in sorted(target.intent.networks.items()) if delivered else ():
        for name in sorted(own.endpoints):
            had = delivered.get("/".join(identity(target, network, name)))
            now = current_digest(target, host, network, name) if had is not None else ""
            if now and now != had:
                out.append(f"{network}/{name}")
    return out


def public_host(intent: Intent, host: Host) -> str:
    """Return the host name or address that clients dial.

    With `gateway.public_endpoint: auto` this is an address of the uplink. If the uplink has no
    public IPv4 address, it is the public address that cloud-init recorded, if there is one. Of
    several addresses a public one is preferred to a private one, then IPv4 to IPv6, then the source
    address of the default route to others. A temporary, deprecated or tentative address is never
    used, since it can disappear while clients still dial it.

    Raises:
        WarpError: `auto` is set, and the uplink has no permanent address.
    """
    wanted = intent.gateway.public_endpoint
    if wanted != "auto":
        return str(wanted)
    lasting = [
        address for address in host.uplink_addresses if address not in host.passing_addresses
    ]
    if host.cloud_address and all(
        _is_private(address) for address in lasting if ":" not in address
    ):
        return host.cloud_address
    for address in sorted(
        lasting, key=lambda one: (_is_private(one), ":" in one, one not in host.source_addresses)
    ):
        return address
    raise WarpError(
        "gateway.public_endpoint is auto, and the uplink has no permanent address",
        who="operator",
        hint="write the host name or address that clients dial as gateway.public_endpoint",
    )


def _is_private(address: str) -> bool:
    """Whether an address is private: RFC 1918, RFC 6598 (shared) or RFC 4193 (unique local)."""
    return any(ip_address(address) in block for block in PRIVATE)
