"""The format of wg-quick and of WireGuard's own apps. No hooks: phones refuse configs that have any."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from warpd import keys
from warpd.clients.config import ClientConfig

NAME: Final = "wg-quick"
PLACEHOLDER: Final = "<put the endpoint's own private key here>"


def text(config: ClientConfig) -> str:
    return "\n".join([*_header(config), "", *_interface(config), "", *_peer(config)]) + "\n"


def _header(config: ClientConfig) -> Iterator[str]:
    yield f"# network {config.network}, VCID {config.vcid}, endpoint {config.endpoint}"
    yield f"# config version {config.version}"


def _interface(config: ClientConfig) -> Iterator[str]:
    private = config.private_key
    yield "[Interface]"
    yield f"PrivateKey = {keys.encode(private.reveal()) if private else PLACEHOLDER}"
    yield f"Address = {', '.join(config.addresses)}"
    if config.dns:
        yield f"DNS = {', '.join(config.dns)}"
    yield f"MTU = {config.mtu}"
    if config.listen_port:
        yield f"ListenPort = {config.listen_port}"


def _peer(config: ClientConfig) -> Iterator[str]:
    yield "[Peer]"
    yield f"PublicKey = {config.gateway_public_key}"
    if config.preshared_key:
        yield f"PresharedKey = {keys.encode(config.preshared_key.reveal())}"
    yield f"Endpoint = {config.dial}"
    yield f"AllowedIPs = {', '.join(config.allowed_ips)}"
    if config.keepalive_s:
        yield f"PersistentKeepalive = {config.keepalive_s}"
