"""Decide whether a file may be read as a part of the configuration, and whether findings may quote
it.

warpd reads with the rights of root, and others may be able to write to the folder of the
configuration. A symlink or hard link there could make findings show the lines of any file. So a
file is read only when it is a regular file in that folder after every link is followed, and quoted
only when it belongs to root or to the owner of its folder.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


def why_untrusted(fd: int, file: Path, folder: Path, named: bool) -> tuple[str, str] | None:
    """Return why an open file must not be read, and how to fix that; None where it may be read.

    Args:
        fd: the open file.
        file: its path.
        folder: the folder of the configuration.
        named: whether the operator named this file. It may be a link that leads out of the folder
            then, to a file that everybody can read.

    A process without the rights of root may read whatever it can open: nobody sees more by it.

    Raises:
        OSError: the file or its folder cannot be examined.
    """
    if os.geteuid() != 0:
        return None
    seen = os.stat(fd)
    ours = _owners(file, folder) == {0}
    public = bool(seen.st_mode & stat.S_IROTH)
    if seen.st_nlink > 1 and not public and not ours:
        text = (
            "has another name somewhere (a hard link), in a folder that others than root can"
            " write to"
        )
        return text, f"copy it to {file}"
    real = _place(fd, file)
    if _is_inside(real, os.path.realpath(folder)) or (named and public and ours):
        return None
    hint = "put the file itself there, or a link to one beside it"
    return f"is a link that leads out of {folder}", hint


def why_hidden(file: Path, folder: Path) -> str:
    """Return why findings must not quote a file of the configuration in `folder`.

    Returns:
        "" where they may, and where there is no such file.
    """
    if os.geteuid() != 0:
        return ""
    try:
        owner = os.stat(file).st_uid
        known = owner in _owners(file, folder)
    except OSError:
        return ""
    if known:
        return ""
    return f"the file belongs to uid {owner}, not to root or the owner of its folder"


def _owners(file: Path, folder: Path) -> set[int]:
    return {0, os.stat(folder).st_uid, os.stat(file.parent).st_uid}


def _place(fd: int, file: Path) -> str:
    """Return the path of the open file; its name may lead to another file by now."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:  # not Linux
        return os.path.realpath(file)


def _is_inside(real: str, folder: str) -> bool:
    return os.path.commonpath([real, folder]) == folder
