"""Where removed WireGuard peers were last heard: a file beside the control socket.

Lives here: the file, and for how long it counts. Does not: what is done with an address.

The file is in /run, so that it is gone after a reboot and needs no room on the state folder's disk.
It is a convenience: an address that cannot be written or read is not known, and nothing fails.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from warpd.kernel.state import SESSION_S
from warpd.store.atomic_file import put

FILE: Final = "warpd-last-addresses.json"
FORMAT: Final = 1
KEPT_S: Final = SESSION_S  # a client without a session sends a handshake by itself
PEERS_MAX: Final = 4096
FILE_MAX: Final = 1024 * 1024  # bytes
# What a file of any content raises. RecursionError: brackets in brackets; ArithmeticError: a time
# that is infinite; LookupError: no such field.
UNUSABLE: Final = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


class LastAddresses:
    """The addresses in one folder."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        """Nothing is read or written yet.

        Args:
            folder: where the control socket is. Without this folder nothing is kept.
            clock: the seconds since the epoch.
        """
        self._path = folder / FILE
        self._clock = clock

    def remember(self, heard: Mapping[str, str]) -> None:
        """Keep where these peers were heard until now.

        Args:
            heard: public key (base64) -> `ADDRESS:PORT`.
        """
        if not heard:
            return
        now_s = int(self._clock())
        rows = self._rows()
        for key, address in heard.items():
            rows[key] = (address, now_s)
        newest = sorted(rows.items(), key=lambda row: row[1][1])[-PEERS_MAX:]
        text = json.dumps({"version": FORMAT, "peers": dict(newest)})
        with contextlib.suppress(OSError):
            put(self._path, text.encode() + b"\n")

    def recent(self) -> dict[str, str]:
        """The peers that were removed within the last KEPT_S seconds, and where they were heard:
        public key -> `ADDRESS:PORT`.
        """
        return {key: address for key, (address, _when) in self._rows().items()}

    def _rows(self) -> dict[str, tuple[str, int]]:
        """Public key -> address, and when it was written, in seconds since the epoch.

        A file that is damaged, or of another format, holds none.
        """
        try:
            document = json.loads(_content(self._path))
            if document["version"] != FORMAT:
                return {}
            rows = {
                str(key): (_checked(row[0]), int(row[1])) for key, row in document["peers"].items()
            }
        except UNUSABLE:
            return {}
        now_s = self._clock()
        return {key: row for key, row in rows.items() if 0 <= now_s - row[1] <= KEPT_S}


def _content(path: Path) -> bytes:
    """The bytes of a regular file; none of anything else. It waits for nobody, as a FIFO would.

    Raises:
        OSError: it cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        return file.read(FILE_MAX) if stat.S_ISREG(os.fstat(fd).st_mode) else b""


def _checked(address: str) -> str:
    """An `ADDRESS:PORT` that can be dialled.

    Raises:
        ValueError, AttributeError: it is none.
    """
    host, _colon, port = address.rpartition(":")
    ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    if not 0 < int(port) < 1 << 16:
        raise ValueError(port)
    return address
