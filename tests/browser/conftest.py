"""The dashboard in a real browser: Debian's Chromium, `warpd-web` over TLS in a process of its own,
and the daemon with its socket in another one, on the kernel in memory.
"""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, sync_playwright

from tests.unit_environment import environment_of
from warpd.service.credentials import make_login_code
from warpd.service.web_setup import make_certificate
from warpd.store.tokens import TokenStore

YAML = Path(__file__).with_name("warp.yaml")
CHROMIUM = os.environ.get("WARPD_CHROMIUM", "/usr/bin/chromium")
STARTED_S = 60.0
CLOSED_S = 60.0
SCREENS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 850}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 850}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("warpd", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


@dataclass
class Gateway:
    """A gateway with its dashboard; both are processes of their own."""

    folder: Path
    origin: str
    web: subprocess.Popen[bytes]
    pages: list[Page] = field(default_factory=list)

    def ask(self, method: str, what: str, body: Any = None) -> Any:
        """By root, on the socket."""
        line = UnixConnection(self.folder / "warpd.sock")
        try:
            line.request(method, what, json.dumps(body) if body is not None else None)
            return json.loads(line.getresponse().read())
        finally:
            line.close()

    def link(self, role: str = "admin", name: str = "anna") -> str:
        """An address that signs in once, as `warpctl web login` prints it."""
        store = TokenStore(self.folder / "state")
        _code, text = make_login_code(store, name, role, None, "test")
        return f"{self.origin}/login#{text}"

    def until(self, is_so: Callable[[], bool]) -> None:
        poll(is_so, "what was waited for did not come")

    @property
    def yaml(self) -> str:
        return (self.folder / "warp.yaml").read_text()


def poll(is_so: Callable[[], bool], failure: str) -> None:
    end = time.monotonic() + STARTED_S
    while not is_so():
        assert time.monotonic() < end, failure
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def certificate(folder: Path) -> list[str]:
    """The one that `warpctl web init` makes; the options that name it."""
    made = make_certificate("localhost", datetime.datetime.now(datetime.UTC))
    (folder / "key.pem").write_bytes(made.key_pem)
    (folder / "cert.pem").write_bytes(made.pem)
    return ["--certificate", str(folder / "cert.pem"), "--key", str(folder / "key.pem")]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gw")
    shutil.copy(YAML, folder / "warp.yaml")
    with started(folder) as made:
        yield made


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Gateway]:
    """A gateway and its dashboard; `folder` holds its `warp.yaml`."""
    port = free_port()
    origin = f"https://localhost:{port}"
    words = ["--socket", str(folder / "warpd.sock"), "--origin", origin]
    words += ["--listen", f"127.0.0.1:{port}", *certificate(folder)]
    daemon = [sys.executable, "-m", "tests.browser.gateway", str(folder)]
    daemon += ["--propose-socket", str(folder / "propose.sock")]
    daemon += ["--oidc", str(folder / "oidc"), "--oidc-socket", str(folder / "oidc.sock")]
    with (folder / "web.log").open("wb") as log, (folder / "daemon.log").open("wb") as told:
        process = subprocess.Popen(daemon, stderr=told)
        dashboard = [sys.executable, "-m", "warpd.web.main", *words]
        web = subprocess.Popen(
            dashboard, stderr=log, env={**os.environ, **environment_of("warpd-web.service")}
        )
        try:
            made = Gateway(folder, origin, web)
            poll(lambda: answers(("127.0.0.1", port)), "warpd-web did not start")
            poll(lambda: (folder / "warpd.sock").exists(), "warpd did not start")
            poll(lambda: bool(made.ask("GET", "/v1/history").get("history")), "nothing was applied")
            yield made
        finally:
            for each in (web, process):
                each.terminate()
                each.wait(20)


def answers(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, 1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        with ended_by_force():
            made.close()


@contextlib.contextmanager
def ended_by_force() -> Iterator[None]:
    """End Chromium by force when it does not answer: on a busy machine it was seen not to close a
    window, and Playwright waits for that without a limit.
    """
    timer = threading.Timer(CLOSED_S, end_chromium)
    timer.start()
    try:
        yield
    except Error as failure:
        print(f"Chromium was ended by force: {failure.message.splitlines()[0]}")
    finally:
        timer.cancel()


def end_chromium() -> None:
    """Send SIGKILL to every Chromium that descends from this process."""
    ours = {os.getpid()}
    rows = [
        row.split() for row in sh("ps", "-eo", "pid=,ppid=,comm=", "--sort=start_time").splitlines()
    ]
    for pid, parent, name in (row[:3] for row in rows):
        if int(parent) in ours:
            ours.add(int(pid))
            if name.startswith("chrom"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)


def sh(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=20).stdout


class Visit:
    """A browser window of somebody who has signed in, and what it complained about."""

    def __init__(self, gateway: Gateway, context: BrowserContext) -> None:
        self.gateway, self.context = gateway, context
        self.page = context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def sign_in(self, role: str = "admin", name: str = "anna") -> None:
        self.page.goto(self.gateway.link(role, name))
        self.page.wait_for_url(self.gateway.origin + "/")

    def go(self, path: str) -> int:
        answer = self.page.goto(self.gateway.origin + path)
        assert answer is not None
        return answer.status

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def picture(self, name: str) -> None:
        """A screenshot, where somebody wants them."""
        folder = os.environ.get("WARPD_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    def overflow(self) -> int:
        """Pixels that the page is wider than its window."""
        root = "document.documentElement"
        return int(self.page.evaluate(f"{root}.scrollWidth - {root}.clientWidth"))


@pytest.fixture
def visit(gateway: Gateway, browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Opens windows: `visit("phone")`, `visit("light", java_script_enabled=False)`."""
    contexts: list[BrowserContext] = []

    def open_window(screen: str = "light", **options: Any) -> Visit:
        settings = {**SCREENS[screen], "ignore_https_errors": True, **options}
        contexts.append(browser.new_context(**settings))
        contexts[-1].set_default_timeout(20_000)
        return Visit(gateway, contexts[-1])

    yield open_window
    for context in contexts:
        with ended_by_force():
            context.close()
