"""Who is at the other end of a connection, and what that user may do.

By the word of the kernel (SO_PEERCRED and SO_PEERGROUPS, unix(7)). Root and the group `warpd` may
do everything, the group `warpd-read` may look. The group `warpd-web` may connect, and nothing else
without a token: it is the process that browsers speak to. The group `warpd-metrics` may read
/metrics and nothing else, whatever it sends: it is the proxy through which any program of this
host, and so any user, reads them.
"""

from __future__ import annotations

import enum
import grp
import pwd
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from warpd.service.rights import READER, Identity, Right

CHANGERS, READERS, WEB, METRICS = "warpd", "warpd-read", "warpd-web", "warpd-metrics"
NEEDS_READ: Final = f"permission denied: membership in group {READERS} required"
NEEDS_CHANGE: Final = f"read-only access: membership in group {CHANGERS} required"
NEEDS_TOKEN: Final = "permission denied: a token is required"  # noqa: S105  # a sentence
RIGHTS: Final = f"root and the group {CHANGERS} may change, the group {READERS} may look"
SO_PEERGROUPS: Final = 59  # asm-generic/socket.h
GROUPS_BYTES: Final = 1024  # what Python can ask for: a user of more than 256 groups is refused
# How long the numbers of our groups are believed: a directory service may be slow.
GROUPS_AGE_S: Final = 5.0


class AccessLevel(enum.IntEnum):
    """What a connection may do."""

    NOTHING = 0
    METRICS = 1  # one route, also with the token of somebody
    TOKEN = 2  # nothing by itself: it may connect, and send the token of somebody
    READ = 3
    CHANGE = 4


@dataclass(frozen=True, slots=True)
class PeerCredentials:
    """Who is at the other end, as the kernel says, and what that user may do."""

    uid: int
    right: AccessLevel

    @property
    def place(self) -> str:
        """The name of the row of `PLACES` that counts for this peer."""
        return "root" if self.uid == 0 else self.right.name.lower()

    @property
    def user(self) -> str:
        """Who did it, for history and events."""
        try:
            return f"{pwd.getpwuid(self.uid).pw_name} (socket)"
        except KeyError:
            return f"uid {self.uid} (socket)"

    def may(self, right: AccessLevel) -> bool:
        """Whether this peer has at least that right."""
        return self.right >= right


class Groups:
    """The numbers of our groups, looked up again after GROUPS_AGE_S."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looked_up = float("-inf")
        self._gids: dict[str, int] = {}

    def gids(self) -> dict[str, int]:
        """By name; a group that this host does not have is left out."""
        now = self._clock()
        if now - self._looked_up >= GROUPS_AGE_S:
            self._looked_up = now
            found = {name: _gid(name) for name in (CHANGERS, READERS, WEB, METRICS)}
            self._gids = {name: gid for name, gid in found.items() if gid is not None}
        return self._gids

    def right_of(self, uid: int, groups: frozenset[int]) -> AccessLevel:
        """What a user of these groups may do."""
        gids = self.gids()
        if uid == 0 or gids.get(CHANGERS) in groups:
            return AccessLevel.CHANGE
        if gids.get(READERS) in groups:
            return AccessLevel.READ
        if gids.get(WEB) in groups:
            return AccessLevel.TOKEN
        return AccessLevel.METRICS if gids.get(METRICS) in groups else AccessLevel.NOTHING


def _gid(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def uid_of(sock: socket.socket) -> int:
    """The user at the other end.

    Raises:
        OSError: the kernel does not say.
    """
    uid, _gid = _ids_of(sock)
    return uid


def peer_of(sock: socket.socket, groups: Groups) -> PeerCredentials:
    """The user at the other end, with the groups of its process when it connected.

    Raises:
        OSError: the kernel does not say, or the user is in more than 256 groups.
    """
    uid, gid = _ids_of(sock)
    if uid == 0:
        return PeerCredentials(uid, AccessLevel.CHANGE)
    raw = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, GROUPS_BYTES)
    member_of = frozenset([gid, *struct.unpack(f"{len(raw) // 4}I", raw)])
    return PeerCredentials(uid, groups.right_of(uid, member_of))


def _ids_of(sock: socket.socket) -> tuple[int, int]:
    """User and group of `struct ucred`."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _pid, uid, gid = struct.unpack("3i", raw)
    return int(uid), int(gid)


def identity_of(peer: PeerCredentials) -> Identity | None:
    """Who a peer is by the kernel's word; None for one that needs a token."""
    if peer.right is AccessLevel.CHANGE:
        return Identity(peer.user, frozenset(Right))
    if peer.right is AccessLevel.READ:
        return Identity(peer.user, READER)
    if peer.right is AccessLevel.METRICS:
        return Identity(peer.user, frozenset({Right.VIEW}))
    return None
