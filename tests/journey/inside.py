"""In the virtual machine: the inner end of the relay, and a hand that runs commands.

    inside.py LINE HOST:PORT

A connection that begins with TLS is a browser's, and is made to HOST:PORT. Any other one is the
test's: each line is a command for bash (tests/boot/agent.py), and is answered with its end.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading

from tests.boot.agent import answer
from tests.relay import PIECE, Line, opened, run_inner

HANDSHAKE = b"\x16"  # the first byte of TLS: a record of a handshake (RFC 8446, 5.1)


def main(line: str, address: str) -> None:
    """Until the outer end ends it."""
    host, _, port = address.rpartition(":")

    def connect() -> socket.socket:
        ours, theirs = socket.socketpair()
        serving = threading.Thread(target=serve, args=(ours, (host, int(port))), daemon=True)
        serving.start()
        return theirs

    run_inner(Line(opened(line)), connect, lambda: None)


def serve(sock: socket.socket, address: tuple[str, int]) -> None:
    """One connection, to its end."""
    with sock, contextlib.suppress(OSError):
        if sock.recv(1, socket.MSG_PEEK) != HANDSHAKE:
            for line in sock.makefile("rb"):
                sock.sendall(answer(json.loads(line)))
            return
        with socket.create_connection(address) as other:
            back = threading.Thread(target=carry, args=(other, sock), daemon=True)
            back.start()
            carry(sock, other)
            back.join()


def carry(source: socket.socket, target: socket.socket) -> None:
    """From one to the other, until either ends; then both do."""
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE):
            target.sendall(piece)
    for sock in (source, target):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    main(*sys.argv[1:])
