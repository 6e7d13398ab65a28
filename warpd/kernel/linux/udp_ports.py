"""Read the bound UDP ports of the current namespace from /proc/net/udp and /proc/net/udp6.

The format is that of udp4_seq_show() in net/ipv4/udp.c. This module also finds the process that
holds a port. It does not know which ports are ours: sockets of WireGuard devices are listed too.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

_FILES: Final = (Path("/proc/thread-self/net/udp"), Path("/proc/thread-self/net/udp6"))
_LOCAL, _INODE = 1, 9  # indexes of columns


def bound_ports() -> dict[int, int]:
    """Return, by port, the inode of a bound socket; it is 0 for a socket of the kernel."""
    return {port: inode for file in _FILES for port, inode in _rows(file)}


def holder(inode: int) -> str:
    """Return `NAME (pid N)` of a process that holds this socket, or "" if none is found."""
    if not inode:
        return ""
    wanted = f"socket:[{inode}]"
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.readlink(each) == wanted for each in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return ""


def taken(ports: Collection[int]) -> dict[int, str]:
    """Return the ports in `ports` that are bound, each with its process (see `holder`)."""
    bound = bound_ports() if ports else {}
    return {port: holder(bound[port]) for port in sorted(ports) if port in bound}


def _rows(file: Path) -> Iterator[tuple[int, int]]:
    try:
        lines = file.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        columns = line.split()
        yield int(columns[_LOCAL].rpartition(":")[2], 16), int(columns[_INODE])
