"""Write a file that a command was told to write, with the rights of root, where others may have
been before.

A name in a folder that others can write to may be a link, a pipe or a device that they have put
there. The content goes into a new file beside it, which takes the name when it is whole; links,
pipes and devices of others are refused.

Lives here: writing. Does not: what is written.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from warpd.errors import WarpError

LINKS_MAX: Final = 16
_DESCRIPTORS: Final = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/")


def write_private(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file whole or not at all, readable by its owner alone unless `mode` says more.

    A pipe or a device that is our own is written to as it is, `/dev/stdout` among them.

    Raises:
        WarpError: a link, pipe or device of somebody else has this name.
        OSError: it cannot be written.
    """
    if str(path).startswith(_DESCRIPTORS):
        path.write_bytes(data)
        return
    target = _followed(Path(os.path.abspath(path)))
    try:
        seen = os.lstat(target)
    except FileNotFoundError:
        seen = None
    if seen is None or stat.S_ISREG(seen.st_mode):
        _replace(target, data, mode)
    else:
        _refuse_foreign(target, seen)
        _write_to(target, data)


def _followed(path: Path) -> Path:
    """Where the name leads, through links of our own.

    Raises: WarpError for a link of somebody else.
    """
    target = Path(path.anchor)
    waiting = list(reversed(path.parts[1:]))
    links = 0
    while waiting:
        name = waiting.pop()
        if name == "..":
            target = target.parent
            continue
        step = target / name
        link = _link(step)
        if link is None:
            target = step
            continue
        links += 1
        if links > LINKS_MAX:
            raise WarpError(
                f"{path}: too many links",
                code="out-untrusted",
                who="operator",
                hint="name the file itself",
            )
        target = Path(link.anchor) if link.is_absolute() else target
        waiting += [part for part in reversed(link.parts) if part != link.anchor]
    return target


def _link(path: Path) -> Path | None:
    """Where this link leads; None for what is none, or not there.

    Raises: WarpError for one of somebody else.
    """
    try:
        seen = os.lstat(path)
    except OSError:
        return None
    if not stat.S_ISLNK(seen.st_mode):
        return None
    _refuse_foreign(path, seen)
    return Path(os.readlink(path))


def _refuse_foreign(path: Path, seen: os.stat_result) -> None:
    """Raises: WarpError when it does not belong to root, or to whoever runs this."""
    if seen.st_uid in _ours():
        return
    kind = "a link" if stat.S_ISLNK(seen.st_mode) else "a pipe or device"
    text = f"{path} is {kind} of uid {seen.st_uid}: what is written there would be theirs"
    raise WarpError(
        text,
        code="out-untrusted",
        who="operator",
        hint="write it into a folder that only you can write to",
    )


def _ours() -> set[int]:
    found = {0, os.geteuid()}
    with contextlib.suppress(ValueError):
        found.add(int(os.environ.get("SUDO_UID", "")))
    return found


@contextlib.contextmanager
def _opened(path: Path, flags: int, mode: int = 0o600, dir_fd: int | None = None) -> Iterator[int]:
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _replace(path: Path, data: bytes, mode: int) -> None:
    """By a new file in the same folder, whatever has its name meanwhile."""
    beside = Path(f".{path.name}.{secrets.token_hex(8)}")
    with _opened(path.parent, os.O_RDONLY | os.O_DIRECTORY) as folder:
        try:
            with _opened(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode, folder) as fd:
                os.fchmod(fd, mode)
                _write_all(fd, data)
            os.replace(beside, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(beside, dir_fd=folder)
            raise


def _write_to(path: Path, data: bytes) -> None:
    """Raises: WarpError when it has become something of somebody else meanwhile."""
    with _opened(path, os.O_WRONLY | os.O_NOCTTY) as fd:
        _refuse_foreign(path, os.fstat(fd))
        _write_all(fd, data)


def _write_all(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
