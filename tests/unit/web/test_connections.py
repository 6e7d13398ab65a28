"""What strangers can hold of the dashboard: uvicorn behind the bounds, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from warpd.service.web_setup import make_certificate
from warpd.web import main as web
from warpd.web.connections import BoundedConnection, Bounds, ConnectionLimiter, counted, source_of

GET = b"GET /quick HTTP/1.1\r\nhost: x\r\n\r\n"
PATIENCE_S = 30.0
LARGE = b"x" * 4_000_000


async def application(scope: Any, _receive: Any, send: Any) -> None:
    if scope["path"] == "/slow":
        await asyncio.sleep(1.0)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    body = LARGE if scope["path"] == "/large" else b"done"
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


class Served:
    """A server with these bounds."""

    def __init__(self, bounds: Bounds, tls: ssl.SSLContext | None) -> None:
        self.left: queue.Queue[None] = queue.Queue()
        self.limiter, self.tls = ConnectionLimiter(bounds, lambda: self.left.put(None)), tls
        protocol: Any = functools.partial(BoundedConnection, self.limiter, tls, H11Protocol)
        options = {"lifespan": "off", "log_level": "critical", "timeout_keep_alive": 60}
        config = uvicorn.Config(counted(application), http=protocol, **options)
        self.server = uvicorn.Server(config)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.server.run, args=([self.listener],))

    def connect(self) -> socket.socket:
        return socket.create_connection(self.listener.getsockname(), PATIENCE_S)

    def connect_tls(self) -> socket.socket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(self.connect(), server_hostname="x")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    running: list[Served] = []

    def start(encrypted: bool = False, **bounds: Any) -> Served:
        made = Served(Bounds(**bounds), server_context(tmp_path) if encrypted else None)
        running.append(made)
        made.thread.start()
        return made

    yield start
    for each in running:
        each.server.should_exit = True
        each.thread.join(PATIENCE_S)


def server_context(folder: Path) -> ssl.SSLContext:
    made = make_certificate("localhost", datetime.now(UTC))
    (folder / "key.pem").write_bytes(made.key_pem)
    (folder / "cert.pem").write_bytes(made.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def test_a_request_that_comes_with_the_end_of_the_handshake(served: Callable[..., Served]) -> None:
    """As a browser may send it: in TLS 1.3 the last word of the handshake is the client's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(came, goes, server_hostname="x")
    said = b""
    with served(True).connect() as sock:
        is_sent = False
        while not said.endswith(b"0\r\n\r\n"):
            with contextlib.suppress(ssl.SSLWantReadError):
                client.do_handshake()
                if not is_sent:
                    client.write(GET)  # goes with what the handshake has left to say
                    is_sent = True
                while True:  # a record at a time, until there is no more
                    said += client.read(65536)
            sock.sendall(goes.read())
            if not said.endswith(b"0\r\n\r\n"):
                part = sock.recv(65536)
                assert part, "ended by the server"
                came.write(part)
    assert said.startswith(b"HTTP/1.1 200") and b"done" in said


def answer(sock: socket.socket) -> bytes:
    """Everything up to the end of the body; b"" where the server has ended the connection."""
    raw = b""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        sock.sendall(GET)
        while not raw.endswith(b"0\r\n\r\n"):
            part = sock.recv(65536)
            if not part:
                return b""
            raw += part
    return raw


def test_freed_memory_is_given_back_after_connections(served: Callable[..., Served]) -> None:
    """One call for each that ends, of which `LaterTrim` makes one pass over the heap."""
    server = served()
    for _ in range(3):
        server.connect().close()
    for _ in range(3):
        server.left.get(timeout=PATIENCE_S)
    assert server.left.empty()


def test_the_heap_is_trimmed_once_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed: list[None] = []
    monkeypatch.setattr(web, "TRIMMED_S", 0.0)
    monkeypatch.setattr(web, "trim_heap", lambda: trimmed.append(None))

    async def ended() -> None:
        later = web.LaterTrim()
        for _ in range(2):
            for _ in range(5):
                later()
            await asyncio.sleep(0.01)

    asyncio.run(ended())
    assert len(trimmed) == 2


def is_ended(sock: socket.socket) -> bool:
    """Whether the server ends the connection, sooner or later."""
    with contextlib.suppress(ConnectionResetError):
        while sock.recv(65536):
            pass
    return True


@pytest.mark.parametrize("encrypted", [False, True])
def test_requests_are_answered_one_after_another(
    served: Callable[..., Served], encrypted: bool
) -> None:
    server = served(encrypted)
    with server.connect_tls() if encrypted else server.connect() as sock:
        for _ in range(3):
            assert answer(sock).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nhost: x\r\n", b"G"])
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_request_that_does_not_come_ends_the_connection(
    served: Callable[..., Served], encrypted: bool, sent: bytes
) -> None:
    server = served(encrypted, request_s=0.3)
    with server.connect_tls() if encrypted else server.connect() as sock:
        sock.sendall(sent)
        assert is_ended(sock)


def test_headers_by_drops_do_not_prolong(served: Callable[..., Served]) -> None:
    server = served(request_s=0.5)
    ends = time.monotonic() + PATIENCE_S
    with server.connect() as sock, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        sock.sendall(b"GET / HTTP/1.1\r\n")
        while True:
            assert time.monotonic() < ends
            sock.sendall(b"x: y\r\n")
            time.sleep(0.1)


def test_a_handshake_that_does_not_come_ends_the_connection(served: Callable[..., Served]) -> None:
    server = served(True, request_s=0.3)
    with server.connect() as sock:
        assert is_ended(sock)


def test_after_an_answer_the_next_request_is_waited_for_as_long(
    served: Callable[..., Served],
) -> None:
    server = served(request_s=0.5)
    with server.connect() as sock:
        assert answer(sock)
        sock.sendall(b"GET / HTTP/1.1\r\n")
        assert is_ended(sock)


def test_an_answer_that_takes_its_time_is_waited_for(served: Callable[..., Served]) -> None:
    server = served(request_s=0.3)
    with server.connect() as sock:
        sock.sendall(GET.replace(b"/quick", b"/slow"))
        assert sock.recv(12) == b"HTTP/1.1 200"


def test_whoever_leaves_while_an_answer_is_made_is_not_ended_again(
    served: Callable[..., Served], caplog: pytest.LogCaptureFixture
) -> None:
    made = served(True, request_s=0.3)
    with made.connect_tls() as leaves:
        leaves.sendall(GET.replace(b"quick", b"slow"))
    with made.connect_tls() as later:
        later.sendall(GET.replace(b"quick", b"slow"))
        assert b"done" in answer(later)
        assert is_ended(later), "as the first one would have been, before"
    assert not [row for row in caplog.records if row.name == "asyncio"]


def test_an_answer_that_is_not_taken_ends_the_connection(served: Callable[..., Served]) -> None:
    server = served(taken_s=0.3, total=1)
    with server.connect() as sock:
        sock.sendall(GET.replace(b"/quick", b"/large"))
        ends = time.monotonic() + PATIENCE_S
        while True:  # the only place is free again
            assert time.monotonic() < ends
            with server.connect() as other:
                if answer(other):
                    return
            time.sleep(0.1)


def test_one_source_has_few_places_and_programs_of_this_machine_have_all(
    served: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = served(per_source=2)
    with contextlib.ExitStack() as stack:
        local = [stack.enter_context(server.connect()) for _ in range(4)]
        assert all(answer(sock) for sock in local)
    monkeypatch.setattr("warpd.web.connections.source_of", lambda _peer: "far")
    with contextlib.ExitStack() as stack:
        far = [stack.enter_context(server.connect()) for _ in range(4)]
        assert [bool(answer(sock)) for sock in far] == [True, True, False, False]
        far[0].close()
        ends = time.monotonic() + PATIENCE_S
        while not answer(stack.enter_context(server.connect())):
            assert time.monotonic() < ends
            time.sleep(0.05)


def test_whoever_waits_longest_gives_room_and_a_request_under_way_does_not(
    served: Callable[..., Served],
) -> None:
    server = served(total=3, grace_s=0.2)
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(server.connect())
        busy.sendall(GET.replace(b"/quick", b"/slow"))
        idle = [stack.enter_context(server.connect()) for _ in range(40)]
        assert is_ended(idle[-1]), "a crowd drives nobody out who has just come"
        time.sleep(0.3)
        assert answer(stack.enter_context(server.connect()))
        assert is_ended(idle[0])
        assert busy.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize(
    ("peer", "source"),
    [
        (("203.0.113.9", 4000), "203.0.113.9"),
        (("::ffff:203.0.113.9", 4000, 0, 0), "203.0.113.9"),
        (("2001:db8:1:2:3::4", 4000, 0, 0), "20010db800010002"),
        (("2001:db8:1:2:ffff::1", 1, 0, 0), "20010db800010002"),
        (("fe80::1%eth0", 1, 0, 2), "fe80000000000000"),
        (("127.0.0.1", 1), ""),
        (("::1", 1, 0, 0), ""),
        ("", ""),
        (None, ""),
    ],
)
def test_who_counts_as_one(peer: object, source: str) -> None:
    assert source_of(peer) == source
