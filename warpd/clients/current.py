"""The config that an endpoint should have today, from the target and the host. Pure.

Lives here: what `auto` means for the address that clients dial. Does not: formats, versions.
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
    """Raises: WarpError when this endpoint has no config (expired, suspended) or nobody
    knows what clients dial.
    """
    dialled = public_host(target.intent, host)
    return _config(target, host, network, endpoint, dialled)


def _config(target: Target, host: Host, network: str, endpoint: str, dialled: str) -> ClientConfig:
    resolved = target.resolved(network, host)
    gateway = target.intent.gateway
    return client_config(resolved, gateway, target.master, endpoint, public_host=dialled)


def dialled_address(target: Target, host: Host, network: str) -> str:
    """What clients of a network dial, as ADDRESS:PORT; with `auto` for the address where nobody
    knows it.
    """
    port = target.allocations.networks[network].port
    try:
        return f"{public_host(target.intent, host)}:{port}"
    except WarpError:
        return f"auto:{port}"


def own_config(target: Target, network: str, endpoint: str) -> ClientConfig:
    """As `current_config`, for whoever asks only what is inside the tunnel: keys, addresses,
    routes.

    Raises:
        WarpError: this endpoint has no config (expired, suspended).
    """
    return _config(target, Host(), network, endpoint, "auto")


def current_digest(target: Target, host: Host, network: str, endpoint: str) -> str:
    """The digest by which the store knows the config's version; "" where there is no config."""
    try:
        return current_config(target, host, network, endpoint).digest()
    except WarpError:
        return ""


def known_as(target: Target, network: str, endpoint: str) -> tuple[str, str]:
    """The names that the store knows an endpoint's versions by."""
    return target.allocations.networks[network].first_names(network, endpoint) or (
        network,
        endpoint,
    )


def stale_configs(target: Target, host: Host, delivered: Mapping[str, str]) -> list[str]:
    """Endpoints whose device was given another config than it should have: `NETWORK/NAME`, sorted.

    `delivered` leads from first names to the digest of what was exported last; who was never given
    one is not stale.
    """
    out = []
    for network, own in sorted(target.intent.networks.items()) if delivered else ():
        for name in sorted(own.endpoints):
            had = delivered.get("/".join(known_as(target, network, name)))
            now = current_digest(target, host, network, name) if had is not None else ""
            if now and now != had:
                out.append(f"{network}/{name}")
    return out


def public_host(intent: Intent, host: Host) -> str:
    """What clients dial: with `auto` the uplink's address, or the cloud's for it when the uplink
    has only a private one.

    Of several, a public one goes before a private one, IPv4 before IPv6, and the one that the
    default route sends from before the others. A temporary, deprecated or tentative address is
    never taken: it goes while clients have it.

    Raises:
        WarpError: `auto`, and the uplink has no address that stays.
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
        "gateway.public_endpoint is auto, and the uplink has no address that stays",
        who="operator",
        hint="write the host name or address that clients dial as gateway.public_endpoint",
    )


def _is_private(address: str) -> bool:
    """RFC 1918, RFC 6598 and RFC 4193: what only a NAT makes reachable."""
    return any(ip_address(address) in block for block in PRIVATE)
