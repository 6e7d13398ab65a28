"""What the kernel says of this process: CPU, memory, descriptors, start (proc(5))."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_STARTED: Final = 21  # field of /proc/self/stat, counted from 0: ticks from the boot to the start
_STAT, _STATM = Path("/proc/self/stat"), Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class ProcessStats:
    """One process at one moment.

    Attributes:
        cpu_s: seconds of CPU, in user mode and in the kernel.
        resident_bytes, virtual_bytes: memory in RAM, and address space.
        open_fds, max_fds: descriptors, and how many there may be.
        start_s: when it was started, in seconds since the epoch.
    """

    cpu_s: float
    resident_bytes: int
    virtual_bytes: int
    open_fds: int
    max_fds: int
    start_s: float


def process_stats() -> ProcessStats:
    """Ask the kernel. From any thread; costs a list of the descriptors.

    Raises:
        OSError: /proc is not there.
    """
    pages, resident, *_rest = _STATM.read_text(encoding="ascii").split()
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ProcessStats(
        cpu_s=time.process_time(),
        resident_bytes=int(resident) * resource.getpagesize(),
        virtual_bytes=int(pages) * resource.getpagesize(),
        open_fds=len(os.listdir("/proc/self/fd")) - 1,  # without the one that reads the list
        max_fds=soft,
        start_s=_start_s(),
    )


def _start_s() -> float:
    """When this process was started, in seconds since the epoch, as the clock is now."""
    # The name of the program, in brackets, may contain anything.
    fields = _STAT.read_text(encoding="utf-8", errors="replace").rpartition(") ")[2].split()
    ticks = int(fields[_STARTED - 2])
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + ticks / os.sysconf("SC_CLK_TCK")
