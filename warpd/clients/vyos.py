"""The format of VyOS (1.4 and newer): `set` commands for configuration mode.

If all traffic goes into the tunnel, a routing policy selects the traffic from the LAN. Only the
operator knows the LAN interface, so a comment tells them to bind the policy to it. VyOS requires
the TTL 0 (inherit) for a tunnel that ignores the DF bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Final

from warpd.clients.config import ClientConfig
from warpd.clients.segment import Segment

# Destinations that stay in the main table when everything else goes into the tunnel.
NEAR4: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
NEAR6: Final = ("fc00::/7", "fe80::/10")
LAST_RULE: Final = 100
TABLES: Final = range(1, 201)
RULES: Final = range(1, 1_000_000)


def text(config: ClientConfig) -> str:
    return "\n".join([*_head(config), *_commands(config)]) + "\n"


def _head(config: ClientConfig) -> Iterator[str]:
    yield f"# {config.title}"
    yield "# in configuration mode: source THIS_FILE, then: commit, save"
    if config.dns:
        yield f"# name servers inside: {', '.join(config.dns)}"
    if not _is_address(config.host_port[0]):
        yield (
            "# `host-name` is known from 1.5 on; in 1.4 write `address` with the gateway's address"
        )
    if config.takes_everything:
        yield (
            f"# bind the policy to the inside: set policy route warp{config.vcid} interface LAN"
            " (route6 likewise)"
        )


def _commands(config: ClientConfig) -> Iterator[str]:
    device = f"wg{config.vcid}"
    yield from _interface(config, f"interfaces wireguard {device}")
    yield from _peer(config, f"interfaces wireguard {device} peer gateway")
    yield from (
        _full(config, device)
        if config.takes_everything
        else _routes("protocols static", config.allowed_ips, device)
    )
    if config.segment:
        yield from _segment(config, config.segment)
    elif not config.routes:
        yield from _hidden(config, device)


def _set(path: str, *values: object) -> str:
    return " ".join(["set", path, *(f"'{value}'" for value in values)])


def _interface(config: ClientConfig, at: str) -> Iterator[str]:
    yield _set(f"{at} description", config.title)
    yield from (_set(f"{at} address", address) for address in config.addresses)
    yield _set(f"{at} mtu", config.mtu)
    if config.listen_port:
        yield _set(f"{at} port", config.listen_port)
    yield _set(f"{at} private-key", config.private_text.replace("'", ""))


def _peer(config: ClientConfig, at: str) -> Iterator[str]:
    host, port = config.host_port
    yield _set(f"{at} public-key", config.gateway_public_key)
    if config.shared_text:
        yield _set(f"{at} preshared-key", config.shared_text)
    yield _set(f"{at} {'address' if _is_address(host) else 'host-name'}", host)
    yield _set(f"{at} port", port)
    yield from (_set(f"{at} allowed-ips", prefix) for prefix in config.allowed_ips)
    if config.keepalive_s:
        yield _set(f"{at} persistent-keepalive", config.keepalive_s)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _routes(at: str, prefixes: Iterable[str], device: str) -> Iterator[str]:
    for prefix in prefixes:
        yield _set(f"{at} route{'6' if ':' in prefix else ''} {prefix} interface {device}")


def _full(config: ClientConfig, device: str) -> Iterator[str]:
    table = TABLES[config.vcid % len(TABLES)]
    yield from _routes(f"protocols static table {table}", config.allowed_ips, device)
    for kind, near in (("route", NEAR4), ("route6", NEAR6)):
        at = f"policy {kind} warp{config.vcid}"
        for number, prefix in enumerate(near, 1):
            yield _set(f"{at} rule {number} destination address", prefix)
            yield _set(f"{at} rule {number} set table", "main")
        yield _set(f"{at} rule {LAST_RULE} set table", table)


def _hidden(config: ClientConfig, device: str) -> Iterator[str]:
    """Masquerade hosts behind a device that has no `routes`.

    The gateway accepts only the device's own source addresses.
    """
    number = RULES[config.vcid % len(RULES)]
    for address in config.addresses:
        at = f"{'nat66' if ':' in address else 'nat'} source rule {number}"
        yield _set(f"{at} description", config.title)
        yield _set(f"{at} outbound-interface name", device)
        yield _set(f"{at} translation address", "masquerade")


# ---- L2 --------------------------------------------------------------------------------------


def _segment(config: ClientConfig, segment: Segment) -> Iterator[str]:
    gretap = segment.kind == "gretap"
    tunnel = f"tun{config.vcid}" if gretap else f"vxlan{config.vcid}"
    at = f"interfaces {'tunnel' if gretap else 'vxlan'} {tunnel}"
    yield _set(f"{at} description", config.title)
    yield _set(f"{at} source-address", segment.local)
    yield _set(f"{at} remote", segment.remote)
    yield _set(f"{at} mtu", segment.mtu)
    yield from _gretap(at) if gretap else _vxlan(segment, at)
    bridge = f"interfaces bridge br{config.vcid}"
    yield _set(f"{bridge} description", config.title)
    for port in (tunnel, segment.lan_port):
        if port:
            yield _set(f"{bridge} member interface {port}")


def _gretap(at: str) -> Iterator[str]:
    yield _set(f"{at} encapsulation", "gretap")
    yield _set(f"{at} parameters ip no-pmtu-discovery")
    yield _set(f"{at} parameters ip ignore-df")
    yield _set(f"{at} parameters ip ttl", 0)


def _vxlan(segment: Segment, at: str) -> Iterator[str]:
    yield _set(f"{at} vni", segment.vni)
    yield _set(f"{at} port", segment.port)
    yield _set(f"{at} parameters ip df", "unset")
    yield _set(f"{at} parameters nolearning")
