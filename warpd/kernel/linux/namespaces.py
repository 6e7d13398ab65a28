"""Enter, create and remove network namespaces. This needs Linux 4.9 or later, and root.

Python 3.11 has no os.setns, so the C library is called. Entering changes only the calling thread,
and `entered` always returns to the previous namespace. /run/netns is prepared as iproute2 does (a
shared mount), so that `ip netns` and warpd see the same namespaces.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator

from warpd.kernel.kinds.sysctl import TAG_SET

FOLDER = "/run/netns"
CLONE_NEWNET = 0x40000000
MS_BIND, MS_REC, MS_SHARED = 4096, 16384, 1 << 20
MNT_DETACH = 2
MARK_PATH = "/proc/sys/net/ipv4/conf/lo/tag"
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _setns(fd: int) -> None:
    _check(_libc.setns(fd, CLONE_NEWNET), "setns")


def path_of(name: str) -> str:
    """Return the path of the file that gives a namespace its name."""
    return f"{FOLDER}/{name}"


def listed() -> list[str]:
    """Return the sorted names of all namespaces."""
    try:
        return sorted(os.listdir(FOLDER))
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def entered(fd: int) -> Iterator[None]:
    """Run the body of the `with` statement in the namespace of the descriptor `fd`.

    Raises:
        OSError: EINVAL if `fd` is not a network namespace.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(fd)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def _mount(source: str, target: str, flags: int) -> None:
    _check(_libc.mount(source.encode(), target.encode(), b"none", flags, None), f"mount {target}")


def _prepare_folder() -> None:
    os.makedirs(FOLDER, mode=0o755, exist_ok=True)
    try:
        _mount("", FOLDER, MS_SHARED | MS_REC)
    except OSError as failure:
        if failure.errno != errno.EINVAL:
            raise
        _mount(FOLDER, FOLDER, MS_BIND | MS_REC)  # EINVAL: not a mount point yet
        _mount("", FOLDER, MS_SHARED | MS_REC)


def _mark() -> None:
    """Mark the current namespace of this thread as ours, before it has a name.

    The mark is the setting `tag` of `lo`. The kernel stores this number and does not use it. `lo`
    exists in every new namespace, and flushing the ruleset does not change the setting.
    """
    with open(MARK_PATH, "w", encoding="ascii") as setting:
        setting.write(str(TAG_SET))


def create(name: str) -> None:
    """Create the namespace `name`. It has our mark before it has a name.

    Raises:
        OSError: EEXIST if the name exists.
    """
    _prepare_folder()
    path = path_of(name)
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o000))
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(CLONE_NEWNET), "unshare")
        try:
            _mark()
            _mount("/proc/thread-self/ns/net", path, MS_BIND)
        finally:
            _setns(home)
    except OSError:
        os.unlink(path)
        raise
    finally:
        os.close(home)


def remove(name: str) -> None:
    """Remove the name of a namespace. The kernel destroys a namespace when nobody uses it."""
    path = path_of(name)
    if _libc.umount2(path.encode(), MNT_DETACH) != 0 and ctypes.get_errno() not in (
        errno.EINVAL,
        errno.ENOENT,
    ):
        code = ctypes.get_errno()
        raise OSError(code, f"umount {path}: {os.strerror(code)}")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def enter_permanently(fd: int) -> None:
    """Enter a namespace and stay in it, before this process executes another program.

    Raises:
        OSError: EINVAL if `fd` is not a network namespace, EPERM without CAP_SYS_ADMIN.
    """
    _setns(fd)
