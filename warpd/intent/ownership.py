"""Whether a file may be read as a part of the configuration in a folder, and whether findings may
quote it.

warpd reads with the rights of root what others may name: a link, or another name of a file, in a
folder that they can write to would have the lines of any file told to whoever may look. So a file
is read only when it is a regular one in that folder, every link followed; and quoted only when it
belongs to root or to the owner of its folder.

Lives here: that rule. Does not: what a file says.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


def why_untrusted(fd: int, file: Path, folder: Path, named: bool) -> tuple[str, str] | None:
    """What is wrong with an open file of the configuration in `folder`, and how to fix it; None
    when it may be read.

    `named` is for the file that the operator named: it may be a link that leads out of the folder
    to a file that everybody can read. Nothing is asked of a user who is not root: nobody gets at
    more by his rights.

    Raises:
        OSError: the file or its folder cannot be looked at.
    """
    if os.geteuid() != 0:
        return None
    seen = os.stat(fd)
    ours = _owners(file, folder) == {0}
    public = bool(seen.st_mode & stat.S_IROTH)
    if seen.st_nlink > 1 and not public and not ours:
        return (
            (
                "has another name somewhere (a hard link), in a folder that others than root can"
                " write to"
            ),
            f"copy it to {file}",
        )
    real = _place(fd, file)
    if _is_inside(real, os.path.realpath(folder)) or (named and public and ours):
        return None
    return (
        f"is a link that leads out of {folder}",
        "put the file itself there, or a link to one beside it",
    )


def why_hidden(file: Path, folder: Path) -> str:
    """Why findings must not quote a file of the configuration in `folder`; "" when they may, or it
    is not there.
    """
    if os.geteuid() != 0:
        return ""
    try:
        owner = os.stat(file).st_uid
        known = owner in _owners(file, folder)
    except OSError:
        return ""
    return (
        "" if known else f"the file belongs to uid {owner}, not to root or the owner of its folder"
    )


def _owners(file: Path, folder: Path) -> set[int]:
    return {0, os.stat(folder).st_uid, os.stat(file.parent).st_uid}


def _place(fd: int, file: Path) -> str:
    """Where the open file is, whatever its name leads to by now."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:  # not Linux
        return os.path.realpath(file)


def _is_inside(real: str, folder: str) -> bool:
    return os.path.commonpath([real, folder]) == folder
