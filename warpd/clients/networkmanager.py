"""The format of NetworkManager: keyfiles for /etc/NetworkManager/system-connections (version 1.22
and newer).

Every link has one connection: WireGuard, and in L2 networks the tunnel, the bridge and the port.
NetworkManager cannot make a GRETAP ignore the DF bit of inner packets. Therefore the MTU of the
WireGuard device is large enough for whole frames. NetworkManager makes the routes from the allowed
IPs. If all traffic goes into the tunnel, it also makes the routing rules that keep WireGuard's own
packets outside of the tunnel.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from warpd.clients.config import ClientConfig
from warpd.clients.files import joined
from warpd.clients.segment import Segment

FILE_NOTE: Final = (
    "to /etc/NetworkManager/system-connections, mode 0600, owner root, then: nmcli connection"
    " reload"
)
GRETAP: Final = 10  # NMIPTunnelMode
# UUIDs are derived from names, so that a connection has the same UUID in every config version.
_UUIDS: Final = uuid.UUID("77617270-6400-5000-8000-636c69656e74")
Section = tuple[str, Iterable[tuple[str, object]]]


def text(config: ClientConfig) -> str:
    return joined(files(config), config.title, FILE_NOTE)


def files(config: ClientConfig) -> Mapping[str, str]:
    out: dict[str, Iterable[Section]] = {"": _wireguard(config)}
    if config.segment:
        out |= _segment(config, config.segment)
    stem = f"warp-{config.vcid}-{config.endpoint}"
    return {
        f"{stem}{part}.nmconnection": f"# {config.title}\n\n{_written(sections)}"
        for part, sections in out.items()
    }


def _written(sections: Iterable[Section]) -> str:
    return "\n".join(_section_text(name, lines) for name, lines in sections)


def _section_text(name: str, lines: Iterable[tuple[str, object]]) -> str:
    return f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in lines)


def _connection(
    config: ClientConfig, part: str, kind: str, device: str, master: str = ""
) -> Section:
    name = f"{config.vcid}/{config.endpoint}{part}"
    port = [("master", master), ("slave-type", "bridge")] if master else []
    identity = [
        ("id", f"warp {config.network}/{config.endpoint}{part}"),
        ("uuid", uuid.uuid5(_UUIDS, name)),
    ]
    return "connection", [*identity, ("type", kind), ("interface-name", device), *port]


def _wireguard(config: ClientConfig) -> Iterator[Section]:
    yield _connection(config, "", "wireguard", config.device)
    yield "wireguard", _device(config)
    yield f"wireguard-peer.{config.gateway_public_key}", _peer(config)
    for family, separator in (("ipv4", "."), ("ipv6", ":")):
        yield family, _addressing(config, separator)


def _device(config: ClientConfig) -> Iterator[tuple[str, object]]:
    yield "private-key", config.private_text
    yield "mtu", config.mtu_without_fragments()
    if config.listen_port:
        yield "listen-port", config.listen_port


def _peer(config: ClientConfig) -> Iterator[tuple[str, object]]:
    yield "endpoint", config.dial
    if config.shared_text:
        yield "preshared-key", config.shared_text
        yield "preshared-key-flags", 0
    yield "allowed-ips", _list(config.allowed_ips)
    if config.keepalive_s:
        yield "persistent-keepalive", config.keepalive_s


def _addressing(config: ClientConfig, separator: str) -> Iterator[tuple[str, object]]:
    addresses = [address for address in config.addresses if separator in address]
    yield "method", "manual" if addresses else "disabled"
    for number, address in enumerate(addresses, 1):
        yield f"address{number}", address
    servers = [server for server in config.dns if separator in server]
    if servers:
        yield "dns", _list(servers)
        if config.takes_everything:
            yield "dns-search", "~;"


def _list(values: Iterable[str]) -> str:
    return "".join(f"{value};" for value in values)


# ---- L2 --------------------------------------------------------------------------------------


def _segment(config: ClientConfig, segment: Segment) -> dict[str, Iterable[Section]]:
    out: dict[str, Iterable[Section]] = {
        "-bridge": _bridge(config, segment),
        "-tunnel": _tunnel(config, segment),
    }
    if segment.lan_port:
        out["-port"] = _port(config, segment.lan_port, segment.bridge)
    return out


def _bridge(config: ClientConfig, segment: Segment) -> Iterator[Section]:
    yield _connection(config, "-bridge", "bridge", segment.bridge)
    yield "bridge", [("stp", "false")]
    yield "ethernet", [("mtu", segment.mtu)]
    for family in ("ipv4", "ipv6"):
        yield family, [("method", "disabled")]


def _tunnel(config: ClientConfig, segment: Segment) -> Iterator[Section]:
    if segment.kind == "gretap":
        yield _connection(config, "-tunnel", "ip-tunnel", segment.device, segment.bridge)
        ends = [("mode", GRETAP), ("local", segment.local), ("remote", segment.remote)]
        yield "ip-tunnel", [*ends, ("path-mtu-discovery", "false"), ("mtu", segment.mtu)]
    else:
        yield _connection(config, "-tunnel", "vxlan", segment.device, segment.bridge)
        ends = [("id", segment.vni), ("local", segment.local), ("remote", segment.remote)]
        yield "vxlan", [*ends, ("destination-port", segment.port), ("learning", "false")]
        yield "ethernet", [("mtu", segment.mtu)]
    yield "bridge-port", []


def _port(config: ClientConfig, port: str, bridge: str) -> Iterator[Section]:
    yield _connection(config, "-port", "ethernet", port, bridge)
    yield "bridge-port", []
