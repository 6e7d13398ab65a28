"""WireGuard's generic netlink messages: many peers in one message, split where they must be.

Bytes only.

pyroute2 sends one peer a message. Source: include/uapi/linux/wireguard.h. A nested attribute's
length is 16 bits wide, so one message carries at most 64 KiB of peers; a peer whose AllowedIPs do
not fit is continued in the next message without WGPEER_F_REPLACE_ALLOWEDIPS. The kernel splits its
answers in the same way.
"""

from __future__ import annotations

import base64
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from warpd.kernel.netlink.socket import attributes
from warpd.kernel.rows import DeviceRead, PeerRead
from warpd.keys.derivation import Secret

FAMILY_NAME = "wireguard"
CMD_GET_DEVICE, CMD_SET_DEVICE = 0, 1
A_IFINDEX, A_IFNAME, A_PRIVATE_KEY, A_PUBLIC_KEY, A_FLAGS, A_LISTEN_PORT, A_FWMARK, A_PEERS = (
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
)
(
    P_PUBLIC_KEY,
    P_PRESHARED_KEY,
    P_FLAGS,
    P_ENDPOINT,
    P_KEEPALIVE,
    P_HANDSHAKE,
    P_RX,
    P_TX,
    P_ALLOWEDIPS,
) = range(1, 10)
I_FAMILY, I_ADDRESS, I_CIDR = 1, 2, 3
REMOVE_ME, REPLACE_ALLOWEDIPS, UPDATE_ONLY = 1, 2, 4
NESTED = 0x8000
PEERS_BYTES = 60_000
NO_KEY = b"\0" * 32
GENERIC = struct.Struct("=BBH")


@dataclass(frozen=True, slots=True)
class PeerWrite:
    """One peer to set. `allowed_ips` None leaves them; `remove` takes the peer away."""

    public_key: str
    preshared_key: Secret | None = None
    keepalive: int = 0
    allowed_ips: tuple[str, ...] | None = None
    endpoint: str | None = None
    remove: bool = False
    update_only: bool = False


def _attribute(kind: int, data: bytes) -> bytes:
    length = len(data) + 4
    return struct.pack("=HH", length, kind) + data + b"\0" * (-length % 4)


def _nest(kind: int, data: bytes) -> bytes:
    return _attribute(kind | NESTED, data)


def _number(kind: int, fmt: str, value: int) -> bytes:
    return _attribute(kind, struct.pack(fmt, value))


def _allowed_ip(prefix: str) -> bytes:
    address, _, length = prefix.partition("/")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    body = _number(I_FAMILY, "=H", family) + _attribute(
        I_ADDRESS, socket.inet_pton(family, address)
    )
    return _nest(0, body + _number(I_CIDR, "=B", int(length)))


def split_endpoint(text: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port` -> (host, port)."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _endpoint(text: str) -> bytes:
    host, port = split_endpoint(text)
    if ":" in host:
        packed = socket.inet_pton(socket.AF_INET6, host)
        return (
            struct.pack("=H", socket.AF_INET6)
            + struct.pack("!HI", port, 0)
            + packed
            + struct.pack("=I", 0)
        )
    return (
        struct.pack("=H", socket.AF_INET)
        + struct.pack("!H", port)
        + socket.inet_pton(socket.AF_INET, host)
        + b"\0" * 8
    )


def _peer_head(peer: PeerWrite, flags: int) -> bytes:
    out = _attribute(P_PUBLIC_KEY, base64.b64decode(peer.public_key))
    out += _number(P_FLAGS, "=I", flags) if flags else b""
    if peer.remove:
        return out
    out += _attribute(
        P_PRESHARED_KEY, peer.preshared_key.reveal() if peer.preshared_key else NO_KEY
    )
    out += _number(P_KEEPALIVE, "=H", peer.keepalive)
    return out + (_attribute(P_ENDPOINT, _endpoint(peer.endpoint)) if peer.endpoint else b"")


def _peer_parts(peer: PeerWrite) -> Iterator[bytes]:
    """A peer as one nested attribute, or several when its AllowedIPs need more than one message."""
    flags = UPDATE_ONLY if peer.update_only else 0
    if peer.remove:
        yield _nest(0, _peer_head(peer, flags | REMOVE_ME))
        return
    if peer.allowed_ips is None:
        yield _nest(0, _peer_head(peer, flags))
        return
    head = _peer_head(peer, flags | REPLACE_ALLOWEDIPS)
    again = _attribute(P_PUBLIC_KEY, base64.b64decode(peer.public_key)) + _number(
        P_FLAGS, "=I", UPDATE_ONLY
    )
    room, ips = PEERS_BYTES // 2, b""
    for prefix in peer.allowed_ips:
        one = _allowed_ip(prefix)
        if len(ips) + len(one) > room:
            yield _nest(0, head + _nest(P_ALLOWEDIPS, ips))
            head, ips = again, b""
        ips += one
    yield _nest(0, head + _nest(P_ALLOWEDIPS, ips))


def encode_device(
    name: str, private_key: Secret | None, port: int | None, mark: int | None
) -> bytes:
    """Body of a WG_CMD_SET_DEVICE for the device's own settings."""
    body = GENERIC.pack(CMD_SET_DEVICE, 1, 0) + _attribute(A_IFNAME, name.encode() + b"\0")
    if private_key is not None:
        body += _attribute(A_PRIVATE_KEY, private_key.reveal())
    if port is not None:
        body += _number(A_LISTEN_PORT, "=H", port)
    if mark is not None:
        body += _number(A_FWMARK, "=I", mark)
    return body


def encode_peers(name: str, peers: Iterable[PeerWrite]) -> list[bytes]:
    """Bodies of as few WG_CMD_SET_DEVICE messages as the peers fit into."""
    head = GENERIC.pack(CMD_SET_DEVICE, 1, 0) + _attribute(A_IFNAME, name.encode() + b"\0")
    out: list[bytes] = []
    parts: list[bytes] = []
    size = 0
    for peer in peers:
        for part in _peer_parts(peer):
            if parts and size + len(part) > PEERS_BYTES:
                out.append(head + _nest(A_PEERS, b"".join(parts)))
                parts, size = [], 0
            parts.append(part)
            size += len(part)
    if parts:
        out.append(head + _nest(A_PEERS, b"".join(parts)))
    return out


def encode_get(name: str) -> bytes:
    """Body of a WG_CMD_GET_DEVICE."""
    return GENERIC.pack(CMD_GET_DEVICE, 1, 0) + _attribute(A_IFNAME, name.encode() + b"\0")


def decode_device(device: DeviceRead, data: memoryview) -> None:
    """Add one message of a WG_CMD_GET_DEVICE dump to `device`."""
    for kind, start, end in attributes(data, GENERIC.size, len(data)):
        if kind == A_PRIVATE_KEY:
            key = bytes(data[start:end])
            device.private_key = Secret(key) if key != NO_KEY else None
        elif kind == A_LISTEN_PORT:
            device.port = int.from_bytes(data[start:end], "little")
        elif kind == A_FWMARK:
            device.mark = int.from_bytes(data[start:end], "little")
        elif kind == A_PEERS:
            for _, low, high in attributes(data, start, end):
                _decode_peer(device, data, low, high)


def _decode_peer(device: DeviceRead, data: memoryview, start: int, end: int) -> None:
    """Add one part of a peer: the kernel cuts a peer with many AllowedIPs into several."""
    found = {kind: data[low:high] for kind, low, high in attributes(data, start, end)}
    if P_PUBLIC_KEY not in found:
        return
    public = base64.b64encode(found[P_PUBLIC_KEY]).decode()
    peer = device.peers.get(public)
    if peer is None:
        peer = device.peers[public] = PeerRead(public)
    if P_ALLOWEDIPS in found:
        inner = found[P_ALLOWEDIPS]
        rows = attributes(inner, 0, len(inner))
        peer.allowed_ips += [_decode_allowed(inner, low, high) for _, low, high in rows]
    if P_PRESHARED_KEY in found:
        _decode_settings(peer, found)


def _decode_settings(peer: PeerRead, found: Mapping[int, memoryview]) -> None:
    """What only the first part of a peer tells (get_peer, drivers/net/wireguard/netlink.c)."""
    key = bytes(found[P_PRESHARED_KEY])
    peer.preshared_key = Secret(key) if key != NO_KEY else None
    peer.keepalive = int.from_bytes(found.get(P_KEEPALIVE, b""), "little")
    peer.handshake = int.from_bytes(found.get(P_HANDSHAKE, b"")[:8], "little")
    peer.received = int.from_bytes(found.get(P_RX, b""), "little")
    peer.sent = int.from_bytes(found.get(P_TX, b""), "little")
    if P_ENDPOINT in found:
        peer.endpoint = _decode_endpoint(bytes(found[P_ENDPOINT]))


def _decode_endpoint(raw: bytes) -> str:
    family = int.from_bytes(raw[:2], "little")
    port = int.from_bytes(raw[2:4], "big")
    if family == socket.AF_INET:
        return f"{socket.inet_ntop(socket.AF_INET, raw[4:8])}:{port}"
    return f"[{socket.inet_ntop(socket.AF_INET6, raw[8:24])}]:{port}"


def _decode_allowed(data: memoryview, start: int, end: int) -> str:
    address, length = b"", 0
    for kind, low, high in attributes(data, start, end):
        if kind == I_ADDRESS:
            address = bytes(data[low:high])
        elif kind == I_CIDR:
            length = data[low]
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    return f"{socket.inet_ntop(family, address)}/{length}"
