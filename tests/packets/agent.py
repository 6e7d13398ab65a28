"""The hand inside a host of the lab: one process per host, told what to do by JSON lines on its
standard input.

Lives in the host's own network, mount and process namespaces and needs nothing but Python's
standard library, so that a probe costs a system call and not the start of a process. It knows
nothing about warpd.

What arrives is recorded at two places. `wire` records every packet that reaches a link (a packet
socket, so before any filter of that host); `input` records what a host's own filter let through to
its sockets (raw sockets are served after the input hook). Only packets that matter are kept: those
that carry the marker of a probe, TCP SYNs and ICMP errors.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import Any

MARKER = b"WARPD-PROBE:"
MARKER_LENGTH = len(MARKER) + 8
TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
ETH_P_ALL, ETH_P_IP, ETH_P_IP6 = 0x0003, 0x0800, 0x86DD
PACKET_OUTGOING = 4
SO_RCVBUFFORCE = 33
# Not in Python's socket module; the values are the kernel's.
IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_MTU = 10, 2, 14
IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO, IPV6_MTU = 23, 2, 24
SOL_PACKET, PACKET_AUXDATA, TP_STATUS_VLAN_VALID = 263, 8, 0x10

RECORDS: list[dict[str, Any]] = []
LOCK = threading.Lock()
TAPS: list[socket.socket] = []


def record(where: str, link: str, src: str, dst: str, protocol: int, body: bytes) -> None:
    """Keep one arrived packet when it says something; `body` begins at the transport header."""
    out: dict[str, Any] = {
        "where": where,
        "link": link,
        "src": src,
        "dst": dst,
        "protocol": protocol,
    }
    start = body.find(MARKER)
    out["ident"] = body[start : start + MARKER_LENGTH].decode("latin-1") if start >= 0 else ""
    out["length"] = len(body)
    keep = start >= 0
    if protocol in (TCP, UDP) and len(body) >= 8:
        out["sport"], out["dport"] = struct.unpack_from("!HH", body)
    if protocol == TCP and len(body) >= 20:
        out["flags"] = body[13]
        out["mss"] = mss_of(body)
        keep = keep or bool(body[13] & 2)
    if protocol in (ICMP, ICMP6) and len(body) >= 8:
        out["type"], out["code"] = body[0], body[1]
        out["mtu"] = struct.unpack_from("!I", body, 4)[0] & (
            0xFFFF if protocol == ICMP else 0xFFFFFFFF
        )
        if body[0] in ((3, 5, 11) if protocol == ICMP else (1, 2, 3, 137)):
            out["quoted"], out["ident"], keep = (
                out["ident"],
                "",
                True,
            )  # it quotes a probe, it is none
    if keep:
        with LOCK:
            RECORDS.append(out)


def mss_of(segment: bytes) -> int | None:
    """The MSS option of a TCP header, or None."""
    options = segment[20 : (segment[12] >> 4) * 4]
    while options:
        kind = options[0]
        if kind == 0 or (kind != 1 and (len(options) < 2 or options[1] < 2)):
            return None
        if kind == 2 and options[1] == 4:
            return int.from_bytes(options[2:4], "big")
        options = options[1:] if kind == 1 else options[options[1] :]
    return None


def watch_wire() -> None:
    """Record what reaches any link of this host."""
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    with contextlib.suppress(OSError):
        tap.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
    TAPS.append(tap)
    threading.Thread(target=read_wire, args=(tap,), daemon=True).start()


def read_wire(tap: socket.socket) -> None:
    while True:
        packet, (link, ethertype, kind, *_rest) = tap.recvfrom(65535)
        if kind == PACKET_OUTGOING or link == "lo":
            continue
        if ethertype == ETH_P_IP and len(packet) >= 20:
            src, dst = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
            total = int.from_bytes(packet[2:4], "big")
            record("wire", link, src, dst, packet[9], packet[(packet[0] & 15) * 4 : total])
        elif ethertype == ETH_P_IP6 and len(packet) >= 40:
            src, dst = (socket.inet_ntop(socket.AF_INET6, packet[n : n + 16]) for n in (8, 24))
            record("wire", link, src, dst, packet[6], packet[40:])


def watch_frames(link: str) -> None:
    """Record the marked frames that reach a link, with their VLAN tags."""
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    tap.bind((link, ETH_P_ALL))
    tap.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    TAPS.append(tap)
    threading.Thread(target=read_frames, args=(tap,), daemon=True).start()


def read_frames(tap: socket.socket) -> None:
    while True:
        frame, extra, _flags, (link, _ethertype, kind, *_rest) = tap.recvmsg(65535, 256)
        start = frame.find(MARKER)
        if kind == PACKET_OUTGOING or start < 0:
            continue
        tags, at = [tag for _level, _kind, data in extra for tag in outer_tag(data)], 12
        while frame[at : at + 2] in (b"\x81\x00", b"\x88\xa8"):
            tags.append(int.from_bytes(frame[at + 2 : at + 4], "big") & 0xFFF)
            at += 4
        out = {
            "where": "frame",
            "link": link,
            "src": frame[6:12].hex(":"),
            "dst": frame[:6].hex(":"),
            "vlans": tags,
        }
        with LOCK:
            ident = frame[start : start + MARKER_LENGTH].decode("latin-1")
            RECORDS.append({**out, "protocol": -1, "ident": ident, "length": len(frame)})


def outer_tag(auxdata: bytes) -> list[int]:
    """The tag that the kernel took off a frame (struct tpacket_auxdata)."""
    status, _len, _snaplen, _mac, _net, tci, _tpid = struct.unpack_from("=IIIHHHH", auxdata)
    return [tci & 0xFFF] if status & TP_STATUS_VLAN_VALID else []


def watch_input(netns: str = "") -> None:
    """Record what the filter lets through to sockets; in another namespace of this host when
    named.
    """
    if netns:
        within(netns, watch_input)
        return
    for protocol in (UDP, TCP, ICMP):
        four = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
        TAPS.append(four)
        threading.Thread(target=read_input4, args=(four,), daemon=True).start()
    for protocol in (UDP, TCP, ICMP6):
        six = socket.socket(socket.AF_INET6, socket.SOCK_RAW, protocol)
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        TAPS.append(six)
        threading.Thread(target=read_input6, args=(six, protocol), daemon=True).start()


def read_input4(raw: socket.socket) -> None:
    while True:
        packet = raw.recv(65535)
        src, dst = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
        record("input", "", src, dst, packet[9], packet[(packet[0] & 15) * 4 :])


def read_input6(raw: socket.socket, protocol: int) -> None:
    while True:
        body, extra, _flags, source = raw.recvmsg(65535, 256)
        dst = next(
            (
                socket.inet_ntop(socket.AF_INET6, d[:16])
                for _l, kind, d in extra
                if kind == socket.IPV6_PKTINFO
            ),
            "",
        )
        record("input", "", source[0], dst, protocol, body)


def within(netns: str, act: Any) -> None:
    """Call `act` in a thread that has entered a network namespace; sockets belong to where they
    were made.
    """
    failed: list[BaseException] = []

    def enter() -> None:
        try:
            with open(f"/run/netns/{netns}", "rb") as door:
                if ctypes.CDLL(None, use_errno=True).setns(
                    door.fileno(), 0x40000000
                ):  # CLONE_NEWNET
                    raise OSError(ctypes.get_errno(), "setns")
            act()
        except BaseException as problem:
            failed.append(problem)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def listen(udp: list[int], tcp: list[int], netns: str = "") -> None:
    """Echo servers on every address of both families."""
    if netns:
        within(netns, lambda: listen(udp, tcp))
        return
    for family, anything in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        for port in udp:
            answer(bound(family, socket.SOCK_DGRAM, anything, port), echo_udp)
        for port in tcp:
            server = bound(family, socket.SOCK_STREAM, anything, port)
            server.listen(64)
            answer(server, echo_tcp)


def bound(family: int, kind: int, address: str, port: int) -> socket.socket:
    out = socket.socket(family, kind)
    out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    # Answer from the address that was asked, as any well-behaved service with many addresses does.
    elif kind == socket.SOCK_DGRAM:
        out.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
    if family == socket.AF_INET6 and kind == socket.SOCK_DGRAM:
        out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    out.bind((address, port))
    return out


def answer(server: socket.socket, serve: Any) -> None:
    threading.Thread(target=serve, args=(server,), daemon=True).start()


def echo_udp(server: socket.socket) -> None:
    while True:
        data, extra, _flags, peer = server.recvmsg(65535, 256)
        # An ICMP error of an earlier answer is reported by the next call; it must not end the
        # service.
        with contextlib.suppress(OSError):
            server.sendmsg([data], [answer_from(item) for item in extra], 0, peer)


def answer_from(item: tuple[int, int, bytes]) -> tuple[int, int, bytes]:
    level, kind, data = item
    if (
        level == socket.IPPROTO_IP
    ):  # struct in_pktinfo: index, address to answer from, address of the header
        return level, kind, struct.pack("=I4s4s", 0, data[8:12], bytes(4))
    return level, kind, data[:16] + bytes(4)


def echo_tcp(server: socket.socket) -> None:
    while True:
        connection, _peer = server.accept()
        threading.Thread(target=echo_connection, args=(connection,), daemon=True).start()


def echo_connection(connection: socket.socket) -> None:
    with contextlib.suppress(OSError), connection:
        connection.settimeout(1200)  # longer than any test, on a busy machine too
        while data := connection.recv(4096):
            connection.sendall(data)


def send_packets(link: str, packets: list[str]) -> None:
    """Send packets exactly as given, past this host's own routing and addresses."""
    out = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    for text in packets:
        packet = bytes.fromhex(text)
        out.sendto(packet, (link, ETH_P_IP if packet[0] >> 4 == 4 else ETH_P_IP6))
    out.close()


def send_frames(link: str, frames: list[str]) -> None:
    """Send Ethernet frames exactly as given."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as out:
        out.bind((link, 0))
        for text in frames:
            out.send(bytes.fromhex(text))


def send_routed(packets: list[str]) -> None:
    """Send packets with the header given, by this host's own routing."""
    for text in packets:
        packet = bytes.fromhex(text)
        four = packet[0] >> 4 == 4
        family, target = (
            (socket.AF_INET, packet[16:20]) if four else (socket.AF_INET6, packet[24:40])
        )
        with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as out:
            out.sendto(packet, (socket.inet_ntop(family, target), 0))


class Barrage:
    """The same packets, or frames, again and again, `each` (0: all) between two pauses, until told
    to stop.
    """

    def __init__(
        self, link: str, packets: list[str], pause_s: float, each: int, frames: bool
    ) -> None:
        self.link, self.packets, self.pause_s = link, packets, pause_s
        self.each, self.act = each or len(packets), send_frames if frames else send_packets
        self.sent, self.refused, self.running = 0, 0, True
        self.thread = threading.Thread(target=self.send, daemon=True)
        self.thread.start()

    def send(self) -> None:
        start = 0
        while self.running:
            part = self.packets[start : start + self.each]
            try:
                self.act(self.link, part)
                self.sent += len(part)
            except OSError:  # the link is being remade
                self.refused += 1
            start = (start + self.each) % len(self.packets)
            time.sleep(self.pause_s)

    def stop(self) -> dict[str, int]:
        self.running = False
        self.thread.join()
        return {"sent": self.sent, "refused": self.refused}


def barrage(
    link: str, packets: list[str], pause_s: float, each: int = 0, frames: bool = False
) -> None:
    """Start sending again and again, until `barrage_end`."""
    BARRAGES.append(Barrage(link, packets, pause_s, each, frames))


def barrage_end() -> list[dict[str, int]]:
    out = [one.stop() for one in BARRAGES]
    BARRAGES.clear()
    return out


def ask_udp(
    dst: str, port: int, payload: str, timeout_s: float, sport: int = 0, source: str = ""
) -> str | None:
    """Send one datagram by the host's own routing; the answer, or None."""
    with socket.socket(family_of(dst), socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sport or source:
            probe.bind((source, sport))
        probe.settimeout(timeout_s or 0.01)
        try:
            probe.connect((dst, port))
            probe.send(payload.encode())
            return probe.recv(65535).decode() if timeout_s else None
        except OSError:
            return None


def ask_tcp(dst: str, port: int, payload: str, timeout_s: float) -> str | None:
    """Connect, send, read the answer; None when any of it fails."""
    try:
        with socket.create_connection((dst, port), timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(payload.encode())
            return connection.recv(4096).decode()
    except OSError:
        return None


def tcp_open(dst: str, port: int, timeout_s: float) -> bool:
    """Connect, and keep the connection for `tcp_say`."""
    connection = socket.create_connection((dst, port), timeout_s)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
    CONNECTIONS[f"{dst} {port}"] = connection
    return True


def tcp_say(dst: str, port: int, payload: str, timeout_s: float) -> str | None:
    """Send over the connection that is open; the answer, or None."""
    connection = CONNECTIONS[f"{dst} {port}"]
    connection.settimeout(timeout_s)
    try:
        connection.sendall(payload.encode())
        return connection.recv(4096).decode()
    except OSError:
        return None


def path_mtu(
    dst: str, port: int, size: int, timeout_s: float, sport: int = 0, source: str = ""
) -> int:
    """Send datagrams of `size` bytes that may not be fragmented; the path MTU that the kernel
    learned.
    """
    six = ":" in dst
    with socket.socket(family_of(dst), socket.SOCK_DGRAM) as probe:
        level, kind = (socket.IPPROTO_IPV6, IPV6_MTU) if six else (socket.IPPROTO_IP, IP_MTU)
        if six:
            probe.setsockopt(level, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO)
        else:
            probe.setsockopt(level, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sport:
            probe.bind((source, sport))
        probe.connect((dst, port))
        first = probe.getsockopt(level, kind)
        deadline = time.monotonic() + timeout_s
        while probe.getsockopt(level, kind) == first and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                probe.send(MARKER + b"pathmtu:" + bytes(size - MARKER_LENGTH))
            time.sleep(0.05)
        return probe.getsockopt(level, kind)


def run(argv: list[str], timeout_s: float, text: str, env: dict[str, str]) -> dict[str, Any]:
    """One command to its end; its process group is ended when it takes too long."""
    whole = {**os.environ, **env}
    pipe = subprocess.PIPE
    job = subprocess.Popen(
        argv, stdin=pipe, stdout=pipe, stderr=pipe, env=whole, start_new_session=True
    )
    try:
        out, err = job.communicate(text.encode(), timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(job.pid, signal.SIGKILL)
        # Not communicate: a daemon that inherited the pipes would hold it up.
        return {"rc": 124, "out": "", "err": f"{argv} took longer than {timeout_s} s"}
    return {
        "rc": job.returncode,
        "out": out.decode(errors="replace"),
        "err": err.decode(errors="replace"),
    }


class Flow:
    """An echo request every so often, each answer awaited to the end: what is missing then was
    lost.
    """

    def __init__(self, dst: str, interval_s: float) -> None:
        self.dst, self.interval_s, self.number = dst, interval_s, os.getpid() & 0xFFFF
        self.six = ":" in dst
        self.socket = socket.socket(family_of(dst), socket.SOCK_RAW, ICMP6 if self.six else ICMP)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)  # being late is no loss
        self.socket.connect((dst, 0))
        self.sent, self.answered, self.running = 0, set[int](), True
        self.times: list[float] = []
        self.took_ms: list[float] = []
        self.threads = [
            threading.Thread(target=work, daemon=True) for work in (self.send, self.receive)
        ]
        for thread in self.threads:
            thread.start()

    def send(self) -> None:
        due = time.monotonic()
        while self.running:
            head = struct.pack("!BBHHH", 128 if self.six else 8, 0, 0, self.number, self.sent)
            words = struct.unpack("!4H", head)  # an ICMPv6 checksum is the kernel's work
            total = sum(words) % 0xFFFF
            self.times.append(time.monotonic())
            with contextlib.suppress(OSError):  # no route, say: then its answer will be missing
                self.socket.send(head[:2] + struct.pack("!H", 0xFFFF - total) + head[4:])
            self.sent += 1
            # What a busy machine kept from being sent is left out: a burst would overrun queues.
            now = time.monotonic()
            due = max(due + self.interval_s, now)
            time.sleep(due - now)

    def receive(self) -> None:
        while True:
            packet = self.socket.recv(2048)
            body = packet if self.six else packet[(packet[0] & 15) * 4 :]
            kind, _code, _sum, number, sequence = struct.unpack_from("!BBHHH", body)
            own = kind == (129 if self.six else 0) and number == self.number
            if own and sequence < len(self.times):  # else it answers a later flow
                self.answered.add(sequence)
                self.took_ms.append(round(1000 * (time.monotonic() - self.times[sequence]), 3))

    def stop(self, wait_s: float) -> dict[str, Any]:
        self.running = False
        self.threads[0].join()
        deadline = time.monotonic() + wait_s
        while len(self.answered) < self.sent and time.monotonic() < deadline:
            time.sleep(0.01)
        lost = [when for number, when in enumerate(self.times) if number not in self.answered]
        return {
            "sent": self.sent,
            "answered": len(self.answered),
            "lost_at": lost,
            "took_ms": self.took_ms,
        }


def flow(dst: str, interval_s: float) -> None:
    """Start a running ping, until `flow_end`."""
    FLOWS[dst] = Flow(dst, interval_s)


def flow_sent(dst: str) -> int:
    return FLOWS[dst].sent


def flow_end(dst: str, wait_s: float) -> dict[str, Any]:
    return FLOWS.pop(dst).stop(wait_s)


def records(since: int) -> dict[str, Any]:
    """All that was recorded, once everything that has arrived is."""
    deadline = time.monotonic() + 2
    idle = 0
    while TAPS and idle < 2 and time.monotonic() < deadline:
        idle = 0 if select.select(TAPS, (), (), 0)[0] else idle + 1
        time.sleep(0.002)
    with LOCK:
        return {"next": len(RECORDS), "new": RECORDS[since:]}


CONNECTIONS: dict[str, socket.socket] = {}
FLOWS: dict[str, Flow] = {}
BARRAGES: list[Barrage] = []
OPERATIONS = {
    "barrage": barrage,
    "barrage_end": barrage_end,
    "flow": flow,
    "flow_end": flow_end,
    "flow_sent": flow_sent,
    "path_mtu": path_mtu,
    "frames": send_frames,
    "listen": listen,
    "packets": send_packets,
    "records": records,
    "routed": send_routed,
    "run": run,
    "tcp": ask_tcp,
    "tcp_open": tcp_open,
    "tcp_say": tcp_say,
    "udp": ask_udp,
    "watch_frames": watch_frames,
    "watch_input": watch_input,
    "watch_wire": watch_wire,
}


def main() -> None:
    """Serve until the other side closes; everything of this host ends with this process."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply: dict[str, Any] = {"value": OPERATIONS[request.pop("do")](**request)}  # type: ignore[operator]
        except Exception as problem:
            name = errno.errorcode.get(getattr(problem, "errno", 0) or 0, "")
            reply = {"error": f"{type(problem).__name__} {name} {problem}"}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
