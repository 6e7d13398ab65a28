"""The format of OpenWrt (22.03 and newer): a shell script that runs `uci batch`.

The script can be run again with the same result: every section has a name and is deleted first.
netifd cannot make a GRETAP ignore the DF bit of inner packets. Therefore the MTU of the WireGuard
device is large enough for whole frames. Names are short, since netifd adds the prefix `gre4t-` to
the name of a GRETAP, and a zone name in fw4 has at most eleven characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from warpd.clients.config import ClientConfig
from warpd.clients.segment import Segment

PACKAGES: Final = {
    None: "wireguard-tools",
    "gretap": "wireguard-tools gre kmod-gre",
    "vxlan": "wireguard-tools vxlan",
}
Options = Iterable[tuple[str, object]]


def text(config: ClientConfig) -> str:
    packages = PACKAGES[config.segment.kind if config.segment else None]
    head = [
        f"# {config.title}",
        f"# needs the packages {packages}; run it by: sh THIS_FILE, then: reload_config",
    ]
    return "\n".join([*head, "uci -q batch <<'END'", *_commands(config), "END"]) + "\n"


def _commands(config: ClientConfig) -> Iterator[str]:
    name = f"wg{config.vcid}"
    yield from _section(f"network.{name}", "interface", _interface(config))
    yield from _section(f"network.{name}_gateway", f"wireguard_{name}", _peer(config))
    if config.segment:
        yield from _segment(config, config.segment, name)
    else:
        yield from _section(f"firewall.{name}_out", "forwarding", [("src", "lan"), ("dest", name)])
        if config.routes:
            yield from _section(
                f"firewall.{name}_in", "forwarding", [("src", name), ("dest", "lan")]
            )
    yield from _section(f"firewall.{name}", "zone", _zone(config, name))
    yield from ("commit network", "commit firewall")


def _section(path: str, kind: str, options: Options) -> Iterator[str]:
    """Write a section. A list becomes one `add_list` per item; a value of None is omitted."""
    yield f"delete {path}"
    yield f"set {path}={kind}"
    for key, value in options:
        if isinstance(value, Sequence) and not isinstance(value, str):
            yield from (f"add_list {path}.{key}={_quoted(item)}" for item in value)
        elif value is not None:
            yield f"set {path}.{key}={_quoted(value)}"


def _quoted(value: object) -> str:
    inner = str(value).replace("'", "'\\''")
    return f"'{inner}'"


def _interface(config: ClientConfig) -> Iterator[tuple[str, object]]:
    yield "proto", "wireguard"
    yield "private_key", config.private_text
    yield "listen_port", config.listen_port
    yield "addresses", config.addresses
    yield "mtu", config.mtu_without_fragments()
    yield "dns", config.dns


def _peer(config: ClientConfig) -> Iterator[tuple[str, object]]:
    host, port = config.host_port
    yield "description", config.title
    yield "public_key", config.gateway_public_key
    yield "preshared_key", config.shared_text
    yield "endpoint_host", host
    yield "endpoint_port", port
    yield "allowed_ips", config.allowed_ips
    yield "route_allowed_ips", 1
    yield "persistent_keepalive", config.keepalive_s or None


def _zone(config: ClientConfig, name: str) -> Iterator[tuple[str, object]]:
    """Describe the firewall zone. Hosts behind a device that has no `routes` are masqueraded.

    The gateway accepts only the device's own source addresses.
    """
    hides = config.segment is None and not config.routes
    yield "name", name
    yield "network", [name]
    yield from (("input", "REJECT"), ("output", "ACCEPT"), ("forward", "REJECT"))
    if hides:
        yield from (("masq", 1), ("masq6", 1))


# ---- L2 --------------------------------------------------------------------------------------


def _segment(config: ClientConfig, segment: Segment, name: str) -> Iterator[str]:
    tunnel = f"t{config.vcid}"
    device = f"gre4t-{tunnel}" if segment.kind == "gretap" else tunnel
    ports = [device, *([segment.lan_port] if segment.lan_port else [])]
    yield from _section(f"network.{tunnel}", "interface", _tunnel(segment, name))
    bridge = [
        ("type", "bridge"),
        ("name", segment.bridge),
        ("mtu", segment.mtu),
        ("ipv6", 0),
        ("ports", ports),
    ]
    yield from _section(f"network.br{config.vcid}", "device", bridge)
    yield from _section(
        f"network.l2_{config.vcid}", "interface", [("proto", "none"), ("device", segment.bridge)]
    )
    yield from _section(f"firewall.{name}_tunnel", "rule", _admitted(segment, name))


def _tunnel(segment: Segment, carrier: str) -> Iterator[tuple[str, object]]:
    yield "proto", segment.kind
    yield "ipaddr", segment.local
    yield "peeraddr", segment.remote
    yield "tunlink", carrier
    yield "mtu", segment.mtu
    if segment.kind == "gretap":
        yield "df", 0
    else:
        yield from (("vid", segment.vni), ("port", segment.port), ("learning", 0))


def _admitted(segment: Segment, zone: str) -> Iterator[tuple[str, object]]:
    yield from (
        ("name", f"tunnel of {zone}"),
        ("src", zone),
        ("src_ip", segment.remote),
        ("target", "ACCEPT"),
    )
    if segment.kind == "gretap":
        yield "proto", "47"  # GRE
    else:
        yield from (("proto", "udp"), ("dest_port", segment.port))
