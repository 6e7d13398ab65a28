"""Network namespaces: entering, making and removing them. Linux 4.9 and later, as root.

Python 3.11 has no os.setns; entering changes the calling thread only, and `entered` always comes
back. /run/netns is prepared as iproute2 prepares it (a shared mount), so that `ip netns` sees ours
and we see its.
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
    """The file that gives a namespace its name."""
    return f"{FOLDER}/{name}"


def listed() -> list[str]:
    """Names of all namespaces, sorted."""
    try:
        return sorted(os.listdir(FOLDER))
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def entered(fd: int) -> Iterator[None]:
    """Run the body in the namespace behind `fd`, in this thread.

    Raises:
        OSError: EINVAL when `fd` is no namespace.
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
    """Mark the namespace that this thread is in as one of ours, before it has a name.

    A number that the kernel keeps for a link and does nothing with, on `lo`: there from the
    beginning of every namespace, and no ruleset that is flushed takes it along.
    """
    with open(MARK_PATH, "w", encoding="ascii") as setting:
        setting.write(str(TAG_SET))


def create(name: str) -> None:
    """Make the namespace `name`, with the mark that it is ours from its first moment on.

    Raises:
        OSError: EEXIST when the name is taken.
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
    """Unmount and unlink; the kernel takes the namespace apart when nobody uses it any more."""
    path = path_of(name)
    if _libc.umount2(path.encode(), MNT_DETACH) != 0 and ctypes.get_errno() not in (
        errno.EINVAL,
        errno.ENOENT,
    ):
        code = ctypes.get_errno()
        raise OSError(code, f"umount {path}: {os.strerror(code)}")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def stay(fd: int) -> None:
    """Enter for good, with all threads to come: for a process that is about to become another
    program.

    Raises:
        OSError: EINVAL when `fd` is no namespace, EPERM without the right.
    """
    _setns(fd)
