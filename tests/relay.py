"""TCP connections through one line: a socket pair, or a serial line into a virtual machine.

    relay.py LINE HOST:PORT      the inner end: each connection of the outer end is made to there

LINE is a descriptor that was inherited, or the path of a serial line. The outer end is a program
that listens, and uses `Outer`. The inner end prints a line when the outer end listens, and runs
until that one ends it, or the line ends.

A frame is the connection's number (4 bytes), its length (2 bytes) and its bytes. A length of 0
ends the connection. Number 0 is no connection: by it the inner end says that it is there, and of
each frame of a connection that it has taken it; the outer end that it listens, and a length of 0
from the outer end is the end of all.

Towards the inner end few bytes are on their way: User-mode Linux reads no more of a serial line
whose reader was behind once (`line_throttle` and `line_unthrottle` of arch/um/drivers/line.c; a
terminal has 4,096 bytes for its reader, N_TTY_BUF_SIZE).
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import termios
import threading
import tty
from collections.abc import Callable
from typing import Final

HEAD: Final = struct.Struct(">IH")
PIECE: Final = 32 * 1024
BOTH_ENDS: Final = 0  # the number of no connection
THERE: Final = b"there"
TAKEN: Final = b"taken"
SMALL: Final = 1024  # bytes of a piece towards the inner end
ON_THEIR_WAY: Final = 2  # of such pieces
MANY: Final = 1_000_000


class Line:
    """Frames over a descriptor, both ways."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._writing = threading.Lock()

    def leave(self) -> None:
        """Use the descriptor no more: it may soon be another file's."""
        self._descriptor = -1

    def send(self, number: int, piece: bytes = b"") -> None:
        """Raises OSError: the line has ended."""
        with self._writing:
            left = memoryview(HEAD.pack(number, len(piece)) + piece)
            while left:
                left = left[os.write(self._descriptor, left) :]

    def receive(self) -> tuple[int, bytes] | None:
        """The next frame; None at the end of the line."""
        head = self._exactly(HEAD.size)
        if head is None:
            return None
        number, length = HEAD.unpack(head)
        piece = self._exactly(length)
        return None if piece is None else (number, piece)

    def _exactly(self, length: int) -> bytes | None:
        found = b""
        while len(found) < length:
            try:
                part = os.read(self._descriptor, length - len(found))
            except OSError:
                return None
            if not part:
                return None
            found += part
        return found


class SlowLine:
    """A line on which only few pieces are on their way: the other end says of each that it has
    taken it.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._room = threading.Semaphore(ON_THEIR_WAY)

    def taken(self, pieces: int = 1) -> None:
        """The other end has taken pieces."""
        self._room.release(pieces)

    def send(self, number: int, piece: bytes = b"") -> None:
        """Raises OSError: the line has ended."""
        for start in range(0, max(1, len(piece)), SMALL):
            self._room.acquire()
            self._line.send(number, piece[start : start + SMALL])


class Connections:
    """The open connections of one end; each has a thread that reads from it."""

    def __init__(self, line: Line | SlowLine) -> None:
        self._line = line
        self._open: dict[int, socket.socket] = {}

    def add(self, number: int, sock: socket.socket) -> None:
        self._open[number] = sock
        threading.Thread(target=self._carry, args=(number, sock), daemon=True).start()

    def _carry(self, number: int, sock: socket.socket) -> None:
        """From the connection to the line, until either ends."""
        with contextlib.suppress(OSError):
            while piece := sock.recv(PIECE):
                self._line.send(number, piece)
        with contextlib.suppress(OSError):
            self._line.send(number)
        self._forget(number)

    def take(self, number: int, piece: bytes) -> None:
        """What came by the line goes to its connection; for one that is over, nowhere."""
        sock = self._open.get(number)
        if sock is None:
            return
        try:
            if piece:
                sock.sendall(piece)
            else:
                sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            self._forget(number)

    def has(self, number: int) -> bool:
        return number in self._open

    def _forget(self, number: int) -> None:
        sock = self._open.pop(number, None)
        if sock is not None:
            sock.close()


class Outer:
    """The end that listens: every connection to `listener` goes through the line.

    `listener` is bound, and listens as soon as the inner end is there.
    """

    def __init__(self, line: Line, listener: socket.socket) -> None:
        self._line, self._listener = line, listener
        self._slow = SlowLine(line)
        self._connections = Connections(self._slow)
        self.is_there = threading.Event()

    def run(self) -> None:
        """Until the line ends."""
        while (frame := self._line.receive()) is not None:
            if frame[0] != BOTH_ENDS:
                self._connections.take(*frame)
            elif not self.is_there.is_set():
                self._listener.listen()
                self.is_there.set()
                threading.Thread(target=self._accept, daemon=True).start()
                self._line.send(BOTH_ENDS, THERE)
            else:
                self._slow.taken()
        self._line.leave()
        self._slow.taken(MANY)  # whoever waits learns that the line has ended

    def end(self) -> None:
        """Let the inner end end."""
        self._line.send(BOTH_ENDS)

    def _accept(self) -> None:
        number = BOTH_ENDS
        with contextlib.suppress(OSError):  # closed
            while True:
                sock = self._listener.accept()[0]
                number += 1
                self._connections.add(number, sock)


def run_inner(
    line: Line, connect: Callable[[], socket.socket], is_listened: Callable[[], None]
) -> None:
    """Until the outer end, or the line, ends; when the outer end listens, call `is_listened`."""
    connections = Connections(line)
    line.send(BOTH_ENDS, THERE)
    while (frame := line.receive()) is not None:
        number, piece = frame
        if number == BOTH_ENDS and not piece:
            break
        if number == BOTH_ENDS:
            is_listened()
            continue
        if piece and not connections.has(number):
            try:
                connections.add(number, connect())
            except OSError:
                line.send(number)
        connections.take(number, piece)
        with contextlib.suppress(OSError):  # the line has ended: there is no next frame
            line.send(BOTH_ENDS, TAKEN)
    line.leave()


def opened(name: str) -> int:
    """The descriptor of a line; a serial line is made to carry every byte as it is."""
    if name.isdigit():
        return int(name)
    descriptor = os.open(name, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(descriptor, termios.TCSANOW)
    return descriptor


def main(name: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    run_inner(
        Line(opened(name)),
        lambda: socket.create_connection((host, int(port)), timeout=None),
        lambda: print("there", flush=True),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
