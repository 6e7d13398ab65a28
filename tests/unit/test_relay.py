"""Connections through one line (`./run demo --web`): bytes, order, ends, and the end of all."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.relay import HEAD, ON_THEIR_WAY, SMALL, Line, Outer, SlowLine, run_inner

WHOLE = bytes(range(256)) * 4000  # more than every buffer on the way


class Relay:
    """Both ends over a socket pair, before a server that gives back what it gets."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.pair = socket.socketpair()
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        self.address = listener.getsockname()
        self.outer = Outer(Line(self.pair[0].fileno()), listener)
        self.listener = listener
        self.is_listened = threading.Event()
        self.inner = threading.Thread(target=self._inner, daemon=True)
        threading.Thread(target=self._echo_all, daemon=True).start()
        self.outer_thread = threading.Thread(target=self.outer.run, daemon=True)
        self.outer_thread.start()

    def _inner(self) -> None:
        line = Line(self.pair[1].fileno())
        run_inner(line, self.connected, self.is_listened.set)

    def connected(self) -> socket.socket:
        return socket.create_connection(self.server.getsockname())

    def _echo_all(self) -> None:
        while True:
            try:
                sock = self.server.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._echo, args=(sock,), daemon=True).start()

    def _echo(self, sock: socket.socket) -> None:
        with sock:
            while piece := sock.recv(65536):
                sock.sendall(piece)
                if piece.endswith(b"bye"):
                    return

    def start(self) -> None:
        self.inner.start()
        assert self.is_listened.wait(60)

    def close(self) -> None:
        """Both ends are over before the descriptors are closed, which the next test gets again."""
        self.pair[0].shutdown(socket.SHUT_RDWR)
        self.inner.join(60)
        self.outer_thread.join(60)
        # A thread waits in `accept` of each: only a shutdown wakes it.
        for sock in (self.server, self.listener):
            with contextlib.suppress(OSError):  # a test has done so
                sock.shutdown(socket.SHUT_RDWR)
        for sock in (self.server, self.listener, *self.pair):
            sock.close()


@pytest.fixture
def relay() -> Iterator[Relay]:
    made = Relay()
    made.start()
    yield made
    made.close()


def received(sock: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length and (piece := sock.recv(65536)):
        found += piece
    return found


def test_connections_side_by_side_carry_every_byte(relay: Relay) -> None:
    with (
        socket.create_connection(relay.address) as large,
        socket.create_connection(relay.address) as small,
    ):
        sending = threading.Thread(target=large.sendall, args=(WHOLE,))
        sending.start()
        small.sendall(b"hello")
        assert received(small, 5) == b"hello"
        assert received(large, len(WHOLE)) == WHOLE
        sending.join()


def test_an_end_is_passed_on(relay: Relay) -> None:
    with socket.create_connection(relay.address) as sock:
        sock.sendall(b"bye")
        assert received(sock, 100) == b"bye", "and then the end"


def test_where_nobody_answers_the_connection_ends(relay: Relay) -> None:
    relay.server.shutdown(socket.SHUT_RDWR)
    relay.connected = refused  # type: ignore[method-assign]
    with socket.create_connection(relay.address) as sock:
        sock.sendall(b"hello")
        assert received(sock, 100) == b""


def refused() -> socket.socket:
    raise ConnectionRefusedError


def test_the_outer_end_ends_all(relay: Relay) -> None:
    relay.outer.end()
    relay.inner.join(60)
    assert not relay.inner.is_alive()


def test_before_the_inner_end_is_there_nobody_is_let_in() -> None:
    relay = Relay()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(relay.address)
    relay.start()
    socket.create_connection(relay.address).close()
    relay.close()


def test_few_bytes_are_on_their_way_to_whoever_is_slow() -> None:
    """User-mode Linux reads no more of a serial line whose reader was behind once."""
    here, there = socket.socketpair()
    with here, there:
        line = SlowLine(Line(here.fileno()))
        whole = b"x" * (SMALL * ON_THEIR_WAY + 1)
        sending = threading.Thread(target=line.send, args=(1, whole), daemon=True)
        sending.start()
        frame = HEAD.size + SMALL
        came = there.recv(frame * ON_THEIR_WAY, socket.MSG_WAITALL)
        assert len(came) == frame * ON_THEIR_WAY
        sending.join(0.2)
        assert sending.is_alive(), "the rest waits until one is taken"
        line.taken()
        assert there.recv(HEAD.size + 1, socket.MSG_WAITALL) == HEAD.pack(1, 1) + b"x"
        sending.join(60)
        assert not sending.is_alive()
