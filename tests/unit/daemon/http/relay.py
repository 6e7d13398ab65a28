"""A relay from a TCP port of loopback to a control socket, for clients that speak TCP only."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

BYTES = 64 * 1024


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Copy until the source ends; what the other side closes first ends it too."""
    with contextlib.suppress(OSError):
        while data := source.recv(BYTES):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _join(client: socket.socket, path: Path) -> None:
    with client, socket.socket(socket.AF_UNIX) as daemon:
        daemon.connect(str(path))
        back = threading.Thread(target=_pump, args=(daemon, client), daemon=True)
        back.start()
        _pump(client, daemon)
        back.join()


def _accept(listener: socket.socket, path: Path) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _address = listener.accept()
            threading.Thread(target=_join, args=(client, path), daemon=True).start()


@contextlib.contextmanager
def relayed(path: Path) -> Iterator[str]:
    """The URL that leads to the control socket at `path`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, path), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
