"""IP packets built by hand, with any source, and the marker by which a probe is known again where
it arrives.

Pure: values in, bytes out. Checksums are right, since a packet dropped for a bad checksum proves
nothing.
"""

from __future__ import annotations

import itertools
import socket
import struct
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

Kind = Literal["udp", "tcp", "ping"]
MARKER = "WARPD-PROBE:"
NUMBERS = itertools.count(1)


def new_ident() -> str:
    """A marker that no other probe of this run carries."""
    return f"{MARKER}{next(NUMBERS):08d}"


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet to send.

    `port` is the destination's; TCP is a SYN, unless `flags` say otherwise, that carries the
    marker.
    """

    kind: Kind
    source: str
    target: str
    port: int
    ident: str
    sport: int = 40000
    mss: int = 1460
    size: int = 0
    flags: int = 2  # of TCP

    def encode(self) -> bytes:
        six = ":" in self.target
        protocol = {"udp": 17, "tcp": 6, "ping": 58 if six else 1}[self.kind]
        source, target = ip_address(self.source).packed, ip_address(self.target).packed
        body = self._body(six)
        pseudo = source + target + struct.pack("!II", len(body), protocol)
        if protocol == 1:
            pseudo = b""
        at = {"udp": 6, "tcp": 16, "ping": 2}[self.kind]
        body = body[:at] + struct.pack("!H", checksum(pseudo + body)) + body[at + 2 :]
        if six:
            return struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + source + target + body
        head = (
            struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0x4000, 64, protocol, 0)
            + source
            + target
        )
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body

    def _body(self, six: bool) -> bytes:
        payload = self.ident.encode().ljust(self.size, b".")
        if self.kind == "udp":
            return struct.pack("!HHHH", self.sport, self.port, 8 + len(payload), 0) + payload
        if self.kind == "ping":
            return struct.pack("!BBHHH", 128 if six else 8, 0, 0, self.sport, 1) + payload
        options = struct.pack("!BBH", 2, 4, self.mss)
        return (
            struct.pack("!HHIIBBHHH", self.sport, self.port, 1, 0, 6 << 4, self.flags, 64240, 0, 0)
            + options
            + payload
        )


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071); 0 is written as 0xffff, which means the same and is never
    "none".
    """
    words = struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2))
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF) or 0xFFFF


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
