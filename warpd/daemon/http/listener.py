"""The name of the control socket in the file system, and who may connect to it at all.

Connecting needs the right to write to the socket's file (unix(7)). Normally everybody has it, so
that whoever lacks a right is told which. In a flood it is left to root and to members of our
groups, but for those who make the flood, by an access control list (acl(5)): the kernel refuses the
others, and they cost the daemon nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

# So many connections may wait to be accepted; the kernel turns others away.
BACKLOG: Final = 1024
ACL_NAME: Final = "system.posix_acl_access"
# struct posix_acl_xattr_header and _entry, include/uapi/linux/posix_acl_xattr.h and posix_acl.h.
_ACL_VERSION: Final = 2
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_READ_WRITE, _NONE = 0o6, 0
_NOBODY: Final = 0xFFFFFFFF  # of entries that name no user or group


def access_list(gids: Iterable[int], refused: Iterable[int] = ()) -> bytes:
    """Reading and writing for the owner and these groups, nothing for others and for the users
    `refused`, members or not.
    """
    entries = [
        (_USER_OBJ, _READ_WRITE, _NOBODY),
        *((_USER, _NONE, uid) for uid in sorted(set(refused))),
        (_GROUP_OBJ, _NONE, _NOBODY),
        *((_GROUP, _READ_WRITE, gid) for gid in sorted(set(gids))),
        (_MASK, _READ_WRITE, _NOBODY),
        (_OTHER, _NONE, _NOBODY),
    ]
    return struct.pack("<I", _ACL_VERSION) + b"".join(
        struct.pack("<HHI", *entry) for entry in entries
    )


class SocketFile:
    """The file of a listening socket: the one that was bound, whatever has its name now."""

    def __init__(self, path: Path) -> None:
        """Raises: OSError when there is no such file."""
        self._fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._name = f"/proc/self/fd/{self._fd}"

    def open_to_all(self) -> None:
        """Raises: OSError when the file cannot be changed."""
        with contextlib.suppress(OSError):  # there was none
            os.removexattr(self._name, ACL_NAME)
        # Who may do what is decided by credentials, connection by connection.
        os.chmod(self._name, 0o666)  # noqa: S103  # as above

    def close_to_others(self, gids: Iterable[int], refused: Iterable[int] = ()) -> None:
        """Leave it to root and these groups, without the users `refused`.

        To root alone where the file system knows no access control lists.

        Raises:
            OSError: the file cannot be changed.
        """
        try:
            os.setxattr(self._name, ACL_NAME, access_list(gids, refused))
        except OSError:
            os.chmod(self._name, 0o600)

    def leave(self) -> None:
        os.close(self._fd)


def listen(path: Path) -> socket.socket:
    """A listening socket with this name; one that a dead process left there is replaced, a living
    one is not.

    Raises:
        OSError: EADDRINUSE when somebody answers there, or something else has the name; or the
        folder is not there.
    """
    _remove_dead(path)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    made = socket.socket(
        socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    )
    try:
        made.bind(str(path))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _remove_dead(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EADDRINUSE, "something that is no socket has this name")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            try:
                probe.connect(str(path))
            except (ConnectionRefusedError, FileNotFoundError):
                os.unlink(path)
                return
            except BlockingIOError:
                pass  # its queue is full: it lives
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
