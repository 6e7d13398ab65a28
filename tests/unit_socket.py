"""What systemd does for a socket with `Accept=yes`: each connection is handed to a unit."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

Answer = Callable[[socket.socket], None]


@contextlib.contextmanager
def listening(path: Path, answer: Answer) -> Iterator[None]:
    """Listen at `path`; `answer` has one connection after another."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        unit = threading.Thread(target=_serve, args=(listener, answer))
        unit.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            unit.join(60)


def by_process(module: str, words: Sequence[str]) -> Answer:
    """A process of this module answers, with the connection as stdin and stdout."""
    command = (sys.executable, "-m", module, *words)
    return lambda connection: _run(command, connection)


def _run(command: Sequence[str], connection: socket.socket) -> None:
    subprocess.run(
        command, stdin=connection.fileno(), stdout=connection.fileno(), timeout=60, check=False
    )


def _serve(listener: socket.socket, answer: Answer) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            answer(connection)
