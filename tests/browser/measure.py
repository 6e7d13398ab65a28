"""What pages cost on a gateway of so many networks of so many endpoints (`tests.unit.web.many`). By
hand: nothing is held.

    python -m tests.browser.measure 100x100

Printed for each page, of several requests: the least time, the least that each process worked for
it (both measured on a quiet moment), and its bytes; at the end, what both processes take.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.browser import conftest
from tests.unit_environment import environment_of
from warpd.web.sessions import COOKIE

TIMES = 6
PAGES = (
    "/",
    "/networks",
    "/networks/customer-7",
    "/endpoints",
    "/endpoints?sort=traffic",
    "/endpoints?network=customer-7",
    "/endpoints?q=device-77",
    "/endpoints/customer-7/device-7",
    "/endpoints/customer-7/device-7/session",
    "/endpoints/customer-7/device-7/hand-out",
    "/change/endpoints",
    "/history",
    "/events",
    "/access",
)


def work_s(pid: int) -> float:
    """Seconds that a process has worked, by the scheduler (proc(5), schedstat of each thread)."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def resident_mib(pid: int) -> float:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def opener(token: str) -> Callable[[str], bytes]:
    context = ssl._create_unverified_context()  # our own, on loopback

    def get(address: str) -> bytes:
        request = urllib.request.Request(address, headers={"cookie": f"{COOKIE}={token}"})
        with urllib.request.urlopen(request, context=context) as answer:
            return bytes(answer.read())

    return get


def measured(get: Callable[[str], bytes], address: str, pids: tuple[int, int]) -> dict[str, Any]:
    """The least of several requests."""
    rows = []
    size = 0
    for _ in range(TIMES):
        before, began = [work_s(pid) for pid in pids], time.perf_counter()
        size = len(get(address))
        took = time.perf_counter() - began
        worked = [work_s(pid) - was for pid, was in zip(pids, before, strict=True)]
        rows.append((took, *worked))
    least = [min(column) * 1000 for column in zip(*rows, strict=True)]
    return {"ms": least[0], "daemon": least[1], "web": least[2], "bytes": size}


@contextlib.contextmanager
def dashboard(folder: Path, size: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Its origin, and the processes of daemon and dashboard."""
    port = conftest.free_port()
    origin = f"https://localhost:{port}"
    words = ["--socket", str(folder / "sock"), "--origin", origin]
    words += ["--listen", f"127.0.0.1:{port}", *conftest.certificate(folder)]
    served = [sys.executable, "-m", "tests.unit.web.many", str(folder), size]
    shown = [sys.executable, "-m", "warpd.web.main", *words]
    environment = {**os.environ, **environment_of("warpd-web.service")}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(served) as daemon,
        subprocess.Popen(shown, stderr=log, env=environment) as web,
    ):
        try:
            conftest.poll((folder / "token").exists, "the daemon did not start")
            conftest.poll(lambda: conftest.answers(("127.0.0.1", port)), "no dashboard")
            yield origin, (daemon.pid, web.pid)
        finally:
            web.terminate()
            daemon.terminate()


def main(size: str) -> None:
    with tempfile.TemporaryDirectory() as name, dashboard(Path(name), size) as (origin, pids):
        get = opener((Path(name) / "token").read_text())
        print(f"{size}: warpd-web takes {resident_mib(pids[1]):.1f} MiB")
        print(f"{'':40} {'ms':>7} {'daemon':>7} {'web':>7} {'kB':>7}")
        for page in PAGES:
            row = measured(get, origin + page, pids)
            figures = f"{row['ms']:7.0f} {row['daemon']:7.0f} {row['web']:7.0f}"
            print(f"{page:40} {figures} {row['bytes'] / 1000:7.0f}", flush=True)
        print(f"then {resident_mib(pids[1]):.1f} MiB")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "100x100")
