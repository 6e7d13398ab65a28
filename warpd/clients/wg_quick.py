"""The format of wg-quick(8) and of the WireGuard apps.

Configs of L3 networks have no hooks, since the apps for phones refuse configs that have any. The
endpoints of L2 networks are Linux routers; hooks make the tunnel and the bridge with iproute2. The
hooks work after an interrupted start, and the hooks that remove links ignore missing links.
"""

from __future__ import annotations

from collections.abc import Iterator

from warpd.clients.config import ClientConfig
from warpd.clients.segment import Segment


def text(config: ClientConfig) -> str:
    return "\n".join([*_header(config), "", *_interface(config), "", *_peer(config)]) + "\n"


def _header(config: ClientConfig) -> Iterator[str]:
    yield f"# network {config.network}, VCID {config.vcid}, endpoint {config.endpoint}"
    yield f"# config version {config.version}"
    if config.segment and config.segment.lan_port is None:
        yield f"# a port comes into the segment by: ip link set PORT master {config.segment.bridge}"


def _interface(config: ClientConfig) -> Iterator[str]:
    yield "[Interface]"
    yield f"PrivateKey = {config.private_text}"
    yield f"Address = {', '.join(config.addresses)}"
    if config.dns:
        yield f"DNS = {', '.join(config.dns)}"
    yield f"MTU = {config.mtu}"
    if config.listen_port:
        yield f"ListenPort = {config.listen_port}"
    if config.segment:
        yield from (f"PostUp = {command}" for command in _up(config.segment))
        yield from (f"PreDown = {command}" for command in _down(config.segment))


def _peer(config: ClientConfig) -> Iterator[str]:
    yield "[Peer]"
    yield f"PublicKey = {config.gateway_public_key}"
    if config.shared_text:
        yield f"PresharedKey = {config.shared_text}"
    yield f"Endpoint = {config.dial}"
    yield f"AllowedIPs = {', '.join(config.allowed_ips)}"
    if config.keepalive_s:
        yield f"PersistentKeepalive = {config.keepalive_s}"


def _up(segment: Segment) -> Iterator[str]:
    yield _without(segment.device)
    yield f"ip link add {segment.device} type {_tunnel(segment)}"
    yield f"ip link set {segment.device} mtu {segment.mtu} addrgenmode none"
    yield (
        f"ip link show {segment.bridge} >/dev/null 2>&1 || ip link add {segment.bridge} type bridge"
    )
    yield f"ip link set {segment.bridge} mtu {segment.mtu} addrgenmode none"
    for port in (segment.device, segment.lan_port):
        if port:
            yield f"ip link set {port} master {segment.bridge} up"
    yield f"ip link set {segment.bridge} up"


def _tunnel(segment: Segment) -> str:
    ends = f"local {segment.local} remote {segment.remote}"
    if segment.kind == "gretap":
        return f"gretap {ends} nopmtudisc ignore-df"
    return f"vxlan id {segment.vni} {ends} dstport {segment.port} nolearning df unset"


def _down(segment: Segment) -> Iterator[str]:
    if segment.lan_port:
        yield f"ip link set {segment.lan_port} nomaster 2>/dev/null || true"
    yield _without(segment.device)
    yield _without(segment.bridge)


def _without(link: str) -> str:
    return f"ip link del {link} 2>/dev/null || true"
