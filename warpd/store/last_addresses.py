"""Where removed WireGuard peers were last heard: a file beside the control socket.

Lives here: the file, and for how long it counts. Does not: what is done with an address.

The file is in /run, so that it is gone after a reboot and needs no room on the state folder's disk.
It is a convenience: an address that cannot be written or read is not known, and nothing fails.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from warpd.store.atomic_file import put

FILE: Final = "warpd-last-addresses.json"
FORMAT: Final = 1
# Seconds: WireGuard ends a session 180 s after its handshake (REJECT_AFTER_TIME in
# drivers/net/wireguard/messages.h). A client without a session sends a handshake by itself.
KEPT_S: Final = 180
PEERS_MAX: Final = 4096
FILE_MAX: Final = 1024 * 1024  # bytes


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
            with self._path.open("rb") as file:
                document = json.loads(file.read(FILE_MAX))
            if document["version"] != FORMAT:
                return {}
            rows = {str(key): (str(row[0]), int(row[1])) for key, row in document["peers"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
            return {}
        now_s = self._clock()
        return {key: row for key, row in rows.items() if 0 <= now_s - row[1] <= KEPT_S}
