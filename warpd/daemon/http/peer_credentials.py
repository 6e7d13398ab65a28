"""The other end of a connection, by the word of the kernel: SO_PEERCRED and SO_PEERGROUPS, unix(7)."""

from __future__ import annotations

import grp
import socket
import struct
import time
from collections.abc import Callable
from typing import Final

from warpd.daemon.http.admission import AccessLevel, PeerCredentials

CHANGERS, READERS = "warpd", "warpd-read"
NEEDS_READ: Final = f"permission denied: membership in group {READERS} required"
NEEDS_CHANGE: Final = f"read-only access: membership in group {CHANGERS} required"
SO_PEERGROUPS: Final = 59
GROUPS_BYTES: Final = 1024  # what Python can ask for: a user of more than 256 groups is refused
GROUPS_AGE_S: Final = (
    5.0  # how long the numbers of our groups are believed: a directory service may be slow
)


class Groups:
    """The numbers of the two groups, looked up again after some seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looked_up = float("-inf")
        self._gids: dict[str, int] = {}

    def gids(self) -> dict[str, int]:
        """By name; a group that this host does not have is left out."""
        now = self._clock()
        if now - self._looked_up >= GROUPS_AGE_S:
            self._looked_up = now
            self._gids = {
                name: gid for name in (CHANGERS, READERS) if (gid := _gid(name)) is not None
            }
        return self._gids

    def right_of(self, uid: int, groups: frozenset[int]) -> AccessLevel:
        """What a user of these groups may do."""
        gids = self.gids()
        if uid == 0 or gids.get(CHANGERS) in groups:
            return AccessLevel.CHANGE
        return AccessLevel.READ if gids.get(READERS) in groups else AccessLevel.NOTHING


def _gid(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def uid_of(sock: socket.socket) -> int:
    """Raises: OSError when the kernel does not say."""
    _pid, uid, _gid = struct.unpack(
        "3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    )
    return int(uid)


def peer_of(sock: socket.socket, groups: Groups) -> PeerCredentials:
    """Raises: OSError when the kernel does not say."""
    _pid, uid, gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid == 0:
        return PeerCredentials(uid, AccessLevel.CHANGE)
    raw = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, GROUPS_BYTES)
    member_of = frozenset([gid, *struct.unpack(f"{len(raw) // 4}I", raw)])
    return PeerCredentials(uid, groups.right_of(uid, member_of))
