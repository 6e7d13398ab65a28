"""The files of an intent as text: bytes read safely, and what a file says before it is checked."""

from __future__ import annotations

import functools
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warpd.errors import Finding, Where
from warpd.intent.file_names import FOLDER
from warpd.intent.ownership import why_untrusted
from warpd.yamlfile.parser import SIZE_MAX, lines_of, read_text
from warpd.yamlfile.parser import PositionedDict as Branch
from warpd.yamlfile.sections import NetworkSection


@dataclass(frozen=True)
class Source:
    """One file as it was read.

    - `file`: the path, as findings show it.
    - `raw`: the bytes of the file; empty where it could not be read.
    - `value`: the document with the place of every value; None where the file could not be read or
      parsed. Then nothing follows from what is absent in it.
    - `by_section`: whether the networks were read one by one.
    - `hidden`: why findings must not quote the file; "" where they may.
    """

    file: str
    raw: bytes = b""
    value: Branch | None = None
    by_section: bool = False
    hidden: str = ""

    @functools.cached_property
    def lines(self) -> tuple[str, ...]:
        """The lines of the file. They are split for a finding only: they are as large as the file
        again.
        """
        return tuple(lines_of(read_text(self.raw)[0])) if self.raw else ()

    def network(self, name: str) -> Any:
        """Return the values of a network that this file defines.

        Raises:
            KeyError: the file does not define it.
        """
        networks = self.value["networks"] if self.value is not None else {}
        found = networks[name]
        return found.value if isinstance(found, NetworkSection) else found


def file_finding(
    file: Path, code: str, message: str, hint: str = "", severity: Any = "error"
) -> Finding:
    return Finding(code, "", message, hint, severity, Where(str(file), 1, 1))


def bytes_of(file: Path, folder: Path | None = None) -> tuple[bytes, Finding | None]:
    """Read a file without waiting, and no more of it than a file may contain.

    Args:
        file: the file.
        folder: the folder of the configuration that the file is a part of. It is checked then that
            the file may be trusted (`ownership`).

    Returns:
        The content, or b"" and a finding that says why there is none.
    """
    try:
        # O_NONBLOCK: opening a FIFO must not wait for a writer.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return b"", file_finding(
            file, "file-missing", "there is no such file", "name it with -c or WARPD_CONFIG"
        )
    except OSError as error:
        return b"", file_finding(file, "file-unreadable", f"cannot be read: {error.strerror}")
    except ValueError as error:  # a NUL in the name
        return b"", file_finding(file, "file-unreadable", f"cannot be read: {error}")
    try:
        stream = open(descriptor, "rb")  # noqa: SIM115  # closed below
    except OSError as error:  # a folder
        os.close(descriptor)
        return b"", file_finding(file, "file-unreadable", f"cannot be read: {error.strerror}")
    with stream:
        return _content(file, stream, folder)


def _content(file: Path, stream: Any, folder: Path | None) -> tuple[bytes, Finding | None]:
    try:
        untrusted = (
            why_untrusted(stream.fileno(), file, folder, file.parent == folder)
            if folder is not None
            else None
        )
        if untrusted is not None:
            return b"", file_finding(file, "file-untrusted", *untrusted)
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            return b"", file_finding(file, "file-unreadable", "is not a regular file")
        if os.fstat(stream.fileno()).st_size <= SIZE_MAX:
            raw = stream.read(SIZE_MAX + 1)
            if len(raw) <= SIZE_MAX:
                return raw, None
    except OSError as error:
        return b"", file_finding(file, "file-unreadable", f"cannot be read: {error.strerror}")
    return b"", file_finding(
        file, "file-size", f"is over {SIZE_MAX >> 20} MiB", f"spread networks over {FOLDER}/*.yaml"
    )
