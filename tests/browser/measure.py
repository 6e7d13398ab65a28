"""What pages cost on a gateway of so many networks of so many endpoints. By hand: nothing is held.

    python -m tests.browser.measure 100x100

Printed for each page, of several requests: the least time, the least that each process worked for
it (both measured on a quiet moment), and its bytes; at the end, what both processes take.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.browser import conftest
from warpd.store.tokens import SESSION_S, TokenKind, TokenStore, Wish
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
    "/plan",
    "/history",
    "/events",
    "/access",
    "/system",
    "/changes/yaml",
)


def yaml(networks: int, endpoints: int) -> str:
    """Networks of one type; every tenth endpoint has a description."""
    rows = {f"device-{number}": _endpoint(number) for number in range(endpoints)}
    body = {"type": "secure-internet", "isolation": "vrf", "expected_users": endpoints}
    named = {f"customer-{number}": {**body, "endpoints": rows} for number in range(networks)}
    gateway = {"name": "gw-fra1", "pools": {"ports": f"40000-{40000 + networks}"}}
    return json.dumps({"version": 1, "gateway": gateway, "networks": named}, indent=1)


def _endpoint(number: int) -> dict[str, str]:
    about = {"description": "of somebody"} if number % 10 == 0 else {}
    return {"type": "mobile", **about}


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


def main(size: str) -> None:
    networks, endpoints = map(int, size.split("x"))
    conftest.STARTED_S = 900.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "warp.yaml").write_text(yaml(networks, endpoints))
        with conftest.started(folder) as gateway:
            store = TokenStore(folder / "state")
            wish = Wish(TokenKind.SESSION, "anna", "admin", ("*",), "", "test", SESSION_S)
            get = opener(store.make(wish)[1])
            pids = gateway.ask("GET", "/v1/daemon")["pid"], gateway.web.pid
            print(
                f"{size}: daemon {resident_mib(pids[0]):.0f} MiB, web {resident_mib(pids[1]):.1f}"
            )
            print(f"{'':40} {'ms':>7} {'daemon':>7} {'web':>7} {'kB':>7}")
            for page in PAGES:
                row = measured(get, gateway.origin + page, pids)
                figures = f"{row['ms']:7.0f} {row['daemon']:7.0f} {row['web']:7.0f}"
                print(f"{page:40} {figures} {row['bytes'] / 1000:7.0f}", flush=True)
            print(f"then: daemon {resident_mib(pids[0]):.0f} MiB, web {resident_mib(pids[1]):.1f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "100x100")
