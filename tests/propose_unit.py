"""What systemd does for warpd-propose.socket: a process of `warpd-propose` for each connection."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def propose_unit(folder: Path) -> Iterator[None]:
    """Listen at `propose.sock` in the folder; its settings are `propose/settings.yaml`."""
    places = ["--credentials", str(folder / "propose"), "--state-dir", str(folder / "clone")]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "propose.sock"))
        listener.listen()
        unit = threading.Thread(target=_serve, args=(listener, places))
        unit.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            unit.join(60)


def _serve(listener: socket.socket, places: list[str]) -> None:
    command = (sys.executable, "-m", "warpd.propose.main", *places)
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            subprocess.run(command, stdin=connection, stdout=connection, timeout=60, check=False)
