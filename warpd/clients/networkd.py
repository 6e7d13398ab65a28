"""The format of systemd-networkd: .netdev and .network files for /etc/systemd/network (systemd 247
and newer).

networkd in Debian 12 cannot make a GRETAP ignore the DF bit of inner packets. Therefore the MTU of
the WireGuard device is large enough for whole frames. Every route is written, since older systems
do not know `RouteTable=` of the WireGuard section.

If all traffic goes into the tunnel, the rules are those of wg-quick(8): WireGuard's own packets
carry a firewall mark, and all packets without this mark use the tunnel's routing table. The main
table is used first for every route except a default route.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from warpd.clients.config import ClientConfig
from warpd.clients.files import joined
from warpd.clients.segment import Segment

FILE_NOTE: Final = "to /etc/systemd/network, then: networkctl reload"
KEY_NOTE: Final = "the .netdev file holds a key: chown root:systemd-network and chmod 0640"
STRICT_NOTE: Final = "with a strict rp_filter (1) also: sysctl net.ipv4.conf.all.src_valid_mark=1"
# networkd uses the first file that matches a link. This prefix sorts before the host's own files.
PREFIX: Final = "05-warp"
Section = tuple[str, Iterable[tuple[str, object]]]


def text(config: ClientConfig) -> str:
    notes = [config.title, FILE_NOTE, KEY_NOTE]
    return joined(files(config), *notes, *([STRICT_NOTE] if config.takes_everything else []))


def files(config: ClientConfig) -> Mapping[str, str]:
    """Return the contents of the files by name, in the order in which networkd reads them."""
    stem = f"{PREFIX}-{config.vcid}"
    out: dict[str, Iterable[Section]] = {
        f"{stem}.netdev": _device(config),
        f"{stem}.network": _network(config),
    }
    if config.segment:
        out |= _segment(config, config.segment, stem)
    return {name: f"# {config.title}\n\n{_written(sections)}" for name, sections in out.items()}


def _written(sections: Iterable[Section]) -> str:
    return "\n".join(_section_text(name, lines) for name, lines in sections)


def _section_text(name: str, lines: Iterable[tuple[str, object]]) -> str:
    return f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in lines)


def _device(config: ClientConfig) -> Iterator[Section]:
    mtu = config.mtu_without_fragments()
    yield "NetDev", [("Name", config.device), ("Kind", "wireguard"), ("MTUBytes", mtu)]
    yield "WireGuard", _wireguard(config)
    yield "WireGuardPeer", _peer(config)


def _wireguard(config: ClientConfig) -> Iterator[tuple[str, object]]:
    yield "PrivateKey", config.private_text
    if config.listen_port:
        yield "ListenPort", config.listen_port
    if config.takes_everything:
        yield "FirewallMark", config.vcid


def _peer(config: ClientConfig) -> Iterator[tuple[str, object]]:
    yield "PublicKey", config.gateway_public_key
    if config.shared_text:
        yield "PresharedKey", config.shared_text
    yield "Endpoint", config.dial
    yield "AllowedIPs", ",".join(config.allowed_ips)
    if config.keepalive_s:
        yield "PersistentKeepalive", config.keepalive_s


def _network(config: ClientConfig) -> Iterator[Section]:
    yield "Match", [("Name", config.device)]
    yield "Network", _addressing(config)
    table = [("Table", config.vcid)] if config.takes_everything else []
    for prefix in config.allowed_ips:
        yield (
            "Route",
            [
                ("Destination", prefix),
                *([] if ":" in prefix else [("Scope", "link")]),
                *table,
            ],
        )
    if config.takes_everything:
        yield (
            "RoutingPolicyRule",
            [
                ("Family", "both"),
                ("Table", "main"),
                ("SuppressPrefixLength", 0),
                ("Priority", 30000),
            ],
        )
        mark = [("FirewallMark", config.vcid), ("InvertRule", "yes")]
        yield (
            "RoutingPolicyRule",
            [
                ("Family", "both"),
                *mark,
                ("Table", config.vcid),
                ("Priority", 30001),
            ],
        )


def _addressing(config: ClientConfig) -> Iterator[tuple[str, object]]:
    for address in config.addresses:
        yield "Address", address
    for server in config.dns:
        yield "DNS", server
    if config.dns and config.takes_everything:
        yield "Domains", "~."
    yield "LinkLocalAddressing", "no"
    yield "IPv6AcceptRA", "no"


# ---- L2 --------------------------------------------------------------------------------------


def _segment(config: ClientConfig, segment: Segment, stem: str) -> dict[str, Iterable[Section]]:
    out: dict[str, Iterable[Section]] = {
        f"{stem}-bridge.netdev": _bridge(segment),
        f"{stem}-bridge.network": _bridged(segment.bridge, [("ConfigureWithoutCarrier", "yes")]),
        f"{stem}-tunnel.netdev": _tunnel(segment),
        f"{stem}-tunnel.network": _bridged(segment.device, [("Bridge", segment.bridge)]),
    }
    if segment.lan_port:
        out[f"{stem}-port.network"] = _bridged(segment.lan_port, [("Bridge", segment.bridge)])
    return out


def _bridge(segment: Segment) -> Iterator[Section]:
    yield "NetDev", [("Name", segment.bridge), ("Kind", "bridge"), ("MTUBytes", segment.mtu)]
    yield "Bridge", [("STP", "no")]


def _tunnel(segment: Segment) -> Iterator[Section]:
    ends = [("Local", segment.local), ("Remote", segment.remote)]
    yield "NetDev", [("Name", segment.device), ("Kind", segment.kind), ("MTUBytes", segment.mtu)]
    if segment.kind == "gretap":
        yield "Tunnel", [("Independent", "yes"), *ends, ("DiscoverPathMTU", "no")]
    else:
        numbers = [("VNI", segment.vni), ("DestinationPort", segment.port)]
        yield (
            "VXLAN",
            [
                *numbers,
                *ends,
                ("MacLearning", "no"),
                ("IPDoNotFragment", "no"),
                ("Independent", "yes"),
            ],
        )


def _bridged(link: str, lines: Iterable[tuple[str, object]]) -> Iterator[Section]:
    """Describe a link that carries frames and has no addresses."""
    yield "Match", [("Name", link)]
    yield "Link", [("RequiredForOnline", "no")]
    yield "Network", [*lines, ("LinkLocalAddressing", "no"), ("IPv6AcceptRA", "no")]
