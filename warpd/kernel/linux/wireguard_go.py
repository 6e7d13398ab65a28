"""wireguard-go: WireGuard devices for a kernel without WireGuard.

Every device has one process, which is configured over its UAPI socket (wireguard.com/xplatform).
The process starts in the root namespace and opens its UDP socket there; its tun device is moved to
a namespace afterwards. The sockets of all namespaces are in one folder. Their names are unique,
since device names contain the VCID. The process ends when its device is deleted. This is the only
program that warpd starts for a device.
"""

from __future__ import annotations

import base64
import binascii
import os
import shutil
import socket
import subprocess
from collections.abc import Iterable

from warpd.kernel.netlink.wireguard import NO_KEY, PeerWrite
from warpd.kernel.rows import DeviceRead, PeerRead
from warpd.keys.derivation import Secret

PROGRAM = "wireguard-go"
FOLDER = "/var/run/wireguard"
TIMEOUT_S = 10.0


def available() -> bool:
    """Whether wireguard-go is installed and tun devices can be made."""
    return shutil.which(PROGRAM) is not None and os.path.exists("/dev/net/tun")


def socket_path(device: str) -> str:
    """Return the path of the UAPI socket of a device."""
    return f"{FOLDER}/{device}.sock"


def start(device: str) -> str | None:
    """Start the process for `device` in the current namespace.

    Return None if it runs, otherwise a text that says why it does not run.
    """
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    keep["LOG_LEVEL"] = "error"
    # Its output is a banner that recommends the kernel's WireGuard. Its only argument is the name
    # of the device.
    try:
        done = subprocess.run(
            [PROGRAM, device],
            env=keep,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            start_new_session=True,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as failure:
        return f"{PROGRAM} {device}: {failure}"
    if done.returncode != 0:
        return f"{PROGRAM} {device} ended with {done.returncode}"
    try:
        # The process forks a child, which looks up the device by name in this namespace. The device
        # may be moved only after the child answers.
        _talk(device, "get=1\n\n")
    except OSError as failure:
        return f"{PROGRAM} {device} does not answer: {failure}"
    return None


def _talk(device: str, request: str) -> str:
    """Send one request and return the whole answer, which ends with an empty line.

    Raises:
        OSError: no process listens on the socket, or the process reports an errno.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(TIMEOUT_S)
        line.connect(socket_path(device))
        line.sendall(request.encode())
        answer = b""
        while not answer.endswith(b"\n\n"):
            more = line.recv(1 << 16)
            if not more:
                break
            answer += more
    text = answer.decode()
    code = next((int(row[6:]) for row in text.splitlines() if row.startswith("errno=")), 5)
    if code:
        raise OSError(abs(code), f"{PROGRAM}: {os.strerror(abs(code))}")
    return text


def _hex(key: bytes) -> str:
    return binascii.hexlify(key).decode()


def write_device(
    device: str, private_key: Secret | None, port: int | None, mark: int | None
) -> None:
    rows = ["set=1"]
    if private_key is not None:
        rows.append(f"private_key={_hex(private_key.reveal())}")
    if port is not None:
        rows.append(f"listen_port={port}")
    if mark is not None:
        rows.append(f"fwmark={mark}")
    _talk(device, "\n".join([*rows, "", ""]))


def write_peers(device: str, peers: Iterable[PeerWrite]) -> None:
    rows = ["set=1"]
    for peer in peers:
        rows.append(f"public_key={_hex(base64.b64decode(peer.public_key))}")
        if peer.remove:
            rows.append("remove=true")
            continue
        if peer.update_only:
            rows.append("update_only=true")
        rows.append(
            f"preshared_key={_hex(peer.preshared_key.reveal() if peer.preshared_key else NO_KEY)}"
        )
        rows.append(f"persistent_keepalive_interval={peer.keepalive}")
        if peer.endpoint:
            rows.append(f"endpoint={peer.endpoint}")
        if peer.allowed_ips is not None:
            rows.append("replace_allowed_ips=true")
            rows += [f"allowed_ip={prefix}" for prefix in peer.allowed_ips]
    _talk(device, "\n".join([*rows, "", ""]))


def read_device(device: str) -> DeviceRead:
    out = DeviceRead()
    peer: PeerRead | None = None
    for row in _talk(device, "get=1\n\n").splitlines():
        name, _, value = row.partition("=")
        if name == "public_key":
            public = base64.b64encode(binascii.unhexlify(value)).decode()
            peer = out.peers[public] = PeerRead(public)
        elif peer is not None:
            _read_peer(peer, name, value)
        elif name == "private_key":
            out.private_key = _secret(value)
        elif name == "listen_port":
            out.port = int(value)
        elif name == "fwmark":
            out.mark = int(value)
    return out


def _secret(text: str) -> Secret | None:
    raw = binascii.unhexlify(text)
    return Secret(raw) if raw != NO_KEY else None


def _read_peer(peer: PeerRead, name: str, value: str) -> None:
    if name == "preshared_key":
        peer.preshared_key = _secret(value)
    elif name == "persistent_keepalive_interval":
        peer.keepalive = int(value)
    elif name == "allowed_ip":
        peer.allowed_ips.append(value)
    elif name == "endpoint":
        peer.endpoint = value
    elif name == "last_handshake_time_sec":
        peer.handshake = int(value)
    elif name == "rx_bytes":
        peer.received = int(value)
    elif name == "tx_bytes":
        peer.sent = int(value)
