"""UDP ports on which somebody listens in this namespace, from /proc/net/udp and udp6 (udp_seq_show
of the kernel).

Lives here: ports, and who holds one. Does not: which of them are ours; a WireGuard device's own
socket stands there too.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

_FILES: Final = (Path("/proc/thread-self/net/udp"), Path("/proc/thread-self/net/udp6"))
_LOCAL, _INODE = 1, 9  # columns of a row


def bound_ports() -> dict[int, int]:
    """Port -> inode of a socket that is bound to it; 0 for a socket of the kernel's own."""
    return {port: inode for file in _FILES for port, inode in _rows(file)}


def holder(inode: int) -> str:
    """`NAME (pid N)` of a process that has this socket open; "" where none is seen."""
    if not inode:
        return ""
    wanted = f"socket:[{inode}]"
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.readlink(each) == wanted for each in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return ""


def taken(ports: Collection[int]) -> dict[int, str]:
    """Those of `ports` that are bound, each with its holder as `holder` says it."""
    bound = bound_ports()
    return {port: holder(bound[port]) for port in sorted(ports) if port in bound}


def _rows(file: Path) -> Iterator[tuple[int, int]]:
    try:
        lines = file.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        columns = line.split()
        yield int(columns[_LOCAL].rpartition(":")[2], 16), int(columns[_INODE])
