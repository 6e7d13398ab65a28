"""What packet.py does not build: IP fragments, forged ICMP errors, Ethernet frames, tunnels within
tunnels.

Pure: values in, bytes out.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address

from ..packet import Packet, checksum

TEST_ETHERTYPE = 0x88B5  # IEEE 802: for local experiments
BROADCAST = "ff:ff:ff:ff:ff:ff"
PIECE = 1200


def ipv4(
    protocol: int, source: str, target: str, body: bytes, flags: int = 0, number: int = 1
) -> bytes:
    ends = ip_address(source).packed + ip_address(target).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), number, flags, 64, protocol, 0) + ends
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def ipv6(protocol: int, source: str, target: str, body: bytes) -> bytes:
    ends = ip_address(source).packed + ip_address(target).packed
    return struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + ends + body


def fragments(packet: Packet, number: int) -> list[bytes]:
    """A UDP packet of two pieces, each with the marker in it."""
    size = 2 * PIECE - 8
    text = packet.ident.ljust(PIECE - 8, ".") + packet.ident.ljust(PIECE, ".")
    whole = Packet(
        "udp", packet.source, packet.target, packet.port, text, packet.sport, size=size
    ).encode()
    six = whole[0] >> 4 == 6
    body = whole[40:] if six else whole[20:]
    return [piece(packet, body[at : at + PIECE], at, number, six) for at in (0, PIECE)]


def piece(packet: Packet, body: bytes, at: int, number: int, six: bool) -> bytes:
    more = at == 0
    if six:
        head = struct.pack("!BBHI", 17, 0, at | more, number)
        return ipv6(44, packet.source, packet.target, head + body)
    return ipv4(17, packet.source, packet.target, body, (more << 13) | (at // 8), number & 0xFFFF)


def error(source: str, target: str, ident: str, port: int = 7777) -> bytes:
    """A forged "unreachable" that quotes a packet of `target` to `source`, with the marker in the
    quote.
    """
    quoted = Packet("udp", target, source, port, ident).encode()
    return quoting(source, target, quoted, 1 if ":" in target else 3, 3)


def quoting(
    source: str, target: str, quoted: bytes, kind: int, code: int = 0, rest: int = 0
) -> bytes:
    """An ICMP error of `source` to `target` about any packet; `rest` is its second word, an MTU for
    instance.
    """
    six = ":" in target
    body = struct.pack("!BBHI", kind, code, 0, rest) + quoted
    pseudo = b""
    if six:
        pseudo = (
            ip_address(source).packed
            + ip_address(target).packed
            + struct.pack("!II", len(body), 58)
        )
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    return ipv6(58, source, target, body) if six else ipv4(1, source, target, body)


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def frame(
    source: str,
    target: str,
    ident: str,
    vlans: tuple[int, ...] = (),
    size: int = 60,
    outer: int = 0x8100,
) -> bytes:
    """An Ethernet frame; `size` counts the payload. The outermost of several tags is the first."""
    types = [outer, *[0x8100] * len(vlans)]
    tags = b"".join(
        struct.pack("!HH", kind, vlan) for kind, vlan in zip(types, vlans, strict=False)
    )
    return (
        mac(target)
        + mac(source)
        + tags
        + struct.pack("!H", TEST_ETHERTYPE)
        + ident.encode().ljust(size, b".")
    )


def vxlan(source: str, target: str, vni: int, inner: bytes) -> bytes:
    """An outer IPv4 or IPv6 packet to port 4789."""
    body = struct.pack("!II", 0x08000000, vni << 8) + inner
    udp = struct.pack("!HHHH", 50000, 4789, 8 + len(body), 0) + body
    if ":" not in target:
        return ipv4(17, source, target, udp)
    pseudo = (
        ip_address(source).packed + ip_address(target).packed + struct.pack("!II", len(udp), 17)
    )
    return ipv6(17, source, target, udp[:6] + struct.pack("!H", checksum(pseudo + udp)) + udp[8:])


def gre(source: str, target: str, inner: bytes, key: int | None = None) -> bytes:
    """Transparent Ethernet bridging over GRE, with a key or without."""
    head = struct.pack("!HH", 0x2000 if key is not None else 0, 0x6558)
    body = head + (struct.pack("!I", key) if key is not None else b"") + inner
    return ipv6(47, source, target, body) if ":" in target else ipv4(47, source, target, body)
