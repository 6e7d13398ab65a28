"""A daemon whose published view is of many endpoints, and what is read from it for a page.

The view is made of the product's own status: a network and its endpoint, again and again under
other names. Nothing of it is in the kernel in memory, where it would take minutes.

    python -m tests.unit.web.many FOLDER 100x100      serve it until SIGTERM, to be measured
"""

from __future__ import annotations

import contextlib
import signal
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from tests.unit.daemon.http.served import SEEN, Served, served
from warpd.daemon.clock import Clock
from warpd.daemon.http.view import View
from warpd.daemon.samples import EVERY_S, SAMPLES_MAX, Sampler, Samples
from warpd.daemon.stats import NetworkStats
from warpd.kernel.state import PeerTraffic

LAST_S = 1_800_000_000  # when each was connected last
FIRST_ADDRESS = int(ip_address("10.64.0.0"))
GOOD_FOR_S = 36_000.0  # no other look is made meanwhile
OF_A_LOOK = ("daemon", "conditions")


def network_name(number: int) -> str:
    return f"customer-{number}"


def publish(gateway: Served, networks: int, endpoints: int) -> None:
    """Let readers see so many networks of so many endpoints each, and samples of a day."""
    status = gateway.ask("GET", "/v1/status").json
    model = next(row for row in status["networks"] if row["name"] == SEEN)
    rows = [_network(model, number, endpoints) for number in range(networks)]
    seen = {name: value for name, value in status.items() if name not in OF_A_LOOK}
    mailbox = gateway.daemon.mailbox
    good_at_s = time.monotonic() + GOOD_FOR_S
    data = {**seen, "networks": rows}
    mailbox.view = View.of(data, 1000, mailbox.moment, "2026-01-01T00:00:00+00:00", good_at_s)
    mailbox.samples = _samples(networks)


def _network(model: dict[str, Any], number: int, endpoints: int) -> dict[str, Any]:
    name = network_name(number)
    rows = [
        {
            **model["endpoints"][place % 2],
            "network": name,
            "name": f"device-{place}",
            "address": str(ip_address(FIRST_ADDRESS + number * endpoints + place)),
            "handshake_age_s": (place * 7919 % 900) or None,
            "last_handshake": LAST_S if place * 7919 % 900 else None,
            "received_bytes": number * place * 1000,
        }
        for place in range(endpoints)
    ]
    return {**model, "name": name, "endpoints": rows}


def _samples(networks: int) -> Samples:
    """Of a day, in which every network has carried something."""
    now_s = 0.0
    sampler = Sampler(Clock(lambda: now_s, lambda: 1_800_000_000 + now_s))
    found = None
    for number in range(SAMPLES_MAX + 1):
        now_s = number * EVERY_S
        traffic = {"device-0": PeerTraffic(number * 1000, number * 10, 0, "")}
        rows = [
            NetworkStats(network_name(each), 0, True, {}, 1, traffic) for each in range(networks)
        ]
        found = sampler.take(rows)
    assert found is not None
    return found


class Read(socketserver.ThreadingUnixStreamServer):
    """A socket that passes everything on to another one, a request a connection, and counts."""

    daemon_threads = True

    def __init__(self, path: Path, behind: Path) -> None:
        super().__init__(str(path), _Passed)
        self.behind = behind
        self.requests = self.answered = 0
        self._lock = threading.Lock()

    def count(self, requests: int, answered: int) -> None:
        with self._lock:
            self.requests += requests
            self.answered += answered

    def take(self) -> tuple[int, int]:
        """How many requests there were since the last time, and how many bytes were answered."""
        with self._lock:
            found, self.requests, self.answered = (self.requests, self.answered), 0, 0
            return found


class _Passed(socketserver.StreamRequestHandler):
    server: Read

    def handle(self) -> None:
        lines = list(iter(self.rfile.readline, b"\r\n"))
        sizes = [
            line.split(b":")[1] for line in lines if line.lower().startswith(b"content-length")
        ]
        body = self.rfile.read(int(sizes[0]) if sizes else 0)
        self.server.count(1, 0)
        with socket.socket(socket.AF_UNIX) as behind:
            behind.connect(str(self.server.behind))
            behind.sendall(b"".join([*lines, b"\r\n", body]))
            while data := behind.recv(65536):
                self.server.count(0, len(data))
                self.wfile.write(data)


@contextlib.contextmanager
def counted(path: Path, behind: Path) -> Iterator[Read]:
    """A socket at `path` before the one at `behind`."""
    with Read(path, behind) as read:
        thread = threading.Thread(target=read.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield read
        read.shutdown()
        thread.join()


def main(folder: Path, size: str) -> None:
    networks, endpoints = map(int, size.split("x"))
    with served(folder) as gateway:
        publish(gateway, networks, endpoints)
        (folder / "token").write_text(gateway.token("admin"))
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main(Path(sys.argv[1]), sys.argv[2])
