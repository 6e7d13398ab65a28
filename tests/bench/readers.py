"""A gateway whose dashboard is under load: how long drift takes to be repaired, with and without.

    readers.py FOLDER

Started by `bench.py --readers` in the gateway's root namespace, with what `warpctl apply` has made.
It starts the daemon and the dashboard, changes the MTU of links one after another, and waits until
it is what it was; the same while 100 readers ask for a page ten times a second each, and 60 slow
clients send their requests by drops. Prints JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from tests.unit_environment import environment_of
from warpd.daemon.scheduler import CONTESTED_WITHIN_S
from warpd.kernel.linux import namespaces
from warpd.service.credentials import make_login_code
from warpd.store.tokens import TokenStore

READERS, EVERY_S, SLOW = 100, 0.1, 60
PORT = 8443
ORIGIN = f"http://localhost:{PORT}"
PAGES = (
    "/",
    "/networks",
    "/networks/n0000",
    "/endpoints",
    "/plan",
    "/history",
    "/events",
    "/system",
)
PAUSE_S = 0.2  # between two drifts
ROUNDS = 3
# Between two changes of the same link: repairs of an object that is changed often are slowed down.
APART_S = CONTESTED_WITHIN_S + 5
PATIENCE_S = 60.0


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("warpd", timeout=PATIENCE_S)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def ask(path: Path, what: str) -> Any:
    line = UnixConnection(path)
    line.request("GET", what)
    return json.loads(line.getresponse().read())


def sign_in(folder: Path) -> str:
    """The cookie of a session."""
    store = TokenStore(folder / "state")
    _code, text = make_login_code(store, "bench", "viewer", None, "bench")
    line = http.client.HTTPConnection("localhost", PORT, timeout=PATIENCE_S)
    form = {"content-type": "application/x-www-form-urlencoded"}
    headers = {**form, "origin": ORIGIN, "sec-fetch-site": "same-origin"}
    line.request("POST", "/login", f"login={text}", headers)
    answer = line.getresponse()
    assert answer.status == 303, answer.read()
    return str(answer.getheader("set-cookie")).split(";")[0]


# ---- load


def load(cookie: str, stop: Any, told: Any) -> None:
    """In a process of its own: what it takes is not the measuring one's."""
    os.nice(19)  # it plays other machines
    told.put(asyncio.run(_load(cookie, stop)))


async def _load(cookie: str, stop: Any) -> dict[str, int]:
    counts: Counter[str] = Counter()
    work = [_reader(cookie, number, counts) for number in range(READERS)]
    tasks = [asyncio.ensure_future(one) for one in (*work, *(_slow(counts) for _ in range(SLOW)))]
    while not stop.is_set():
        await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return dict(counts)


async def _reader(cookie: str, number: int, counts: Counter[str]) -> None:
    for page in itertools.islice(itertools.cycle(PAGES), number, None):
        began = time.monotonic()
        try:
            counts[await _get(page, cookie)] += 1
        except (OSError, asyncio.IncompleteReadError):
            counts["refused"] += 1
        await asyncio.sleep(max(0.0, began + EVERY_S - time.monotonic()))


async def _get(page: str, cookie: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    try:
        head = f"GET {page} HTTP/1.1\r\nhost: localhost:{PORT}\r\ncookie: {cookie}\r\n"
        writer.write(f"{head}connection: close\r\n\r\n".encode())
        raw = await reader.read(-1)
    finally:
        writer.close()
    return raw[9:12].decode() or "refused"


async def _slow(counts: Counter[str]) -> None:
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", PORT)
            writer.write(b"GET / HTTP/1.1\r\n")
            with contextlib.suppress(OSError):
                while True:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(1.0)
            counts["slow clients cut off"] += 1
            writer.close()
        await asyncio.sleep(0.2)


# ---- drift


class Links:
    """The links of all networks, in the root and in their namespaces."""

    def __init__(self, vcids: list[int]) -> None:
        self.found: list[tuple[IPRoute, int, int]] = []
        root = IPRoute()
        for vcid in vcids:
            self._add(root, f"dn-{vcid}")
            fd = os.open(namespaces.path_of(f"warp-{vcid}"), os.O_RDONLY)
            with namespaces.entered(fd):
                inside = IPRoute()
            os.close(fd)
            self._add(inside, f"up-{vcid}")
            self._add(inside, f"wg-{vcid}")

    def _add(self, route: IPRoute, name: str) -> None:
        link = route.link("get", ifname=name)[0]
        self.found.append((route, link["index"], link.get_attr("IFLA_MTU")))

    def repairs_s(self) -> list[float]:
        """Change each once; seconds until it is as it was."""
        return [self._repair_s(*one) for one in self.found]

    def _repair_s(self, route: IPRoute, index: int, mtu: int) -> float:
        time.sleep(PAUSE_S)
        began = time.monotonic()
        route.link("set", index=index, mtu=mtu - 10)
        while route.link("get", index=index)[0].get_attr("IFLA_MTU") != mtu:
            assert time.monotonic() < began + PATIENCE_S, "the drift was not repaired"
            time.sleep(0.002)
        return time.monotonic() - began


# ---- both


def rss_mib(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return round(int(text.split("VmRSS:")[1].split()[0]) / 1024, 1)


def wait_for(is_so: Any) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end, "it did not start"
        time.sleep(0.1)


def answers() -> bool:
    try:
        socket.create_connection(("127.0.0.1", PORT), 1).close()
    except OSError:
        return False
    return True


def measure(folder: Path, pids: tuple[int, int]) -> dict[str, Any]:
    path = folder / "sock"
    rows = ask(path, "/v1/networks")["networks"]
    links = Links([row["vcid"] for row in rows])
    before = [rss_mib(pid) for pid in pids]
    seconds: dict[str, list[float]] = {"quiet": [], "loaded": []}
    counts: Counter[str] = Counter()
    cookie = sign_in(folder)
    for _ in range(ROUNDS):
        seconds["quiet"] += links.repairs_s()
        time.sleep(APART_S)
        with under_load(cookie) as told:
            seconds["loaded"] += links.repairs_s()
        counts.update(told)
        time.sleep(APART_S)
    contested = ask(path, "/v1/status")["daemon"]["contested_objects"]
    assert not contested, f"slowed down, and not by readers: {contested}"
    after = [rss_mib(pid) for pid in pids]
    return {
        "milliseconds": {name: figures(values) for name, values in seconds.items()},
        "answers": dict(counts),
        "rss_mib": {"warpd": [before[0], after[0]], "warpd-web": [before[1], after[1]]},
    }


@contextlib.contextmanager
def under_load(cookie: str) -> Any:
    stop, queue = multiprocessing.Event(), multiprocessing.Queue()
    process = multiprocessing.Process(target=load, args=(cookie, stop, queue))
    told: dict[str, int] = {}
    process.start()
    time.sleep(2)
    try:
        yield told
    finally:
        stop.set()
        told.update(queue.get(timeout=PATIENCE_S))
        process.join(PATIENCE_S)


def figures(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(1000 * value for value in seconds)
    return {
        "of": len(ordered),
        "median": round(statistics.median(ordered), 1),
        "p99": round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 1),
    }


def main() -> None:
    folder = Path(sys.argv[1])
    paths = ["--state-dir", folder / "state", "--socket", folder / "sock"]
    daemon = [sys.executable, "-m", "warpd.daemon.main", "-c", folder / "warp.yaml", *paths]
    web = ["nice", "-n", "10", sys.executable, "-m", "warpd.web.main", "--socket", folder / "sock"]
    web += ["--origin", ORIGIN, "--listen", f"127.0.0.1:{PORT}"]
    (folder / "logs").mkdir()  # beside the YAML: the daemon would read it anew for each line
    with (folder / "logs" / "log").open("ab") as log:
        environment = {**os.environ, **environment_of("warpd-web.service")}
        processes = [subprocess.Popen(w, stderr=log, env=environment) for w in (daemon, web)]
    try:
        wait_for(lambda: (folder / "sock").exists() and answers())
        wait_for(lambda: ask(folder / "sock", "/v1/status").get("in_sync"))
        print(json.dumps(measure(folder, (processes[0].pid, processes[1].pid))))
    finally:
        for process in processes:
            process.terminate()
            process.wait(PATIENCE_S)


if __name__ == "__main__":
    main()
