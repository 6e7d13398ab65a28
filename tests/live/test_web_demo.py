"""`./run demo --web`, as a newcomer sees it: the printed link signs in on loopback, the page has
two endpoints that are connected, and Ctrl-C leaves nothing behind.

Where this kernel lacks WireGuard or the filters, the demo makes a virtual machine of its own: the
test holds on the machine itself and in the lab.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

REPOSITORY = Path(__file__).parents[2]
LIMIT_S = 400


class Demo:
    """The running demo, and what it has printed so far."""

    def __init__(self, folder: Path) -> None:
        self.text = ""
        programs = str(Path(sys.executable).parent / "warpctl")
        self.process = subprocess.Popen(
            [sys.executable, str(REPOSITORY / "tests/web_demo.py")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "WARPCTL": programs, "WARPD_WORK": str(folder), "LAB_CPUS": "1"},
        )
        self._limit = threading.Timer(LIMIT_S, self.process.kill)
        self._limit.start()

    def read_until(self, words: str) -> str:
        """What is printed up to a line with these words; of them, a pattern."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.text += line
            if re.search(words, line):
                return self.text
        raise AssertionError(f"the demo ended without {words}\n{self.text}")

    def stop(self, number: int) -> int:
        """Its exit code after that signal, when all was printed."""
        self.process.send_signal(number)
        assert self.process.stdout is not None
        self.text += self.process.stdout.read()
        return self.process.wait()

    def close(self) -> None:
        self._limit.cancel()
        if self.process.poll() is None:
            self.stop(signal.SIGTERM)
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def running(folder: Path) -> Iterator[Demo]:
    made = Demo(folder)
    try:
        yield made
    finally:
        made.close()


class Browser:
    """Pages over TLS; the certificate is the one whose fingerprint was printed."""

    def __init__(self, origin: str, fingerprint: str) -> None:
        self.origin, self.fingerprint, self.cookie = origin, fingerprint, ""

    def ask(self, method: str, path: str, **fields: str) -> tuple[int, str, str]:
        """Status, where it leads, and the page."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # by its fingerprint
        address = urlsplit(self.origin)
        line = http.client.HTTPSConnection(
            "localhost", address.port or 443, timeout=60, context=context
        )
        try:
            line.connect()
            seen = line.sock.getpeercert(binary_form=True)
            assert hashlib.sha256(seen).hexdigest().upper() == self.fingerprint
            headers = {"Cookie": self.cookie} if self.cookie else {}
            if fields:
                headers |= {"Origin": self.origin, "Sec-Fetch-Site": "same-origin"}
            line.request(method, path, urlencode(fields) if fields else None, headers)
            answer = line.getresponse()
            self.cookie = (answer.headers["set-cookie"] or self.cookie).partition(";")[0]
            return answer.status, answer.headers["location"] or "", answer.read().decode()
        finally:
            line.close()


def printed(text: str) -> tuple[str, str, str]:
    """The origin, the code of the link, and the certificate's fingerprint."""
    link = re.search(r"(https://localhost:\d+)/login#(\S+)", text)
    fingerprint = re.search(r"SHA-256 of the certificate: ([0-9A-F:]+)", text)
    assert link and fingerprint, text
    return link[1], link[2], fingerprint[1].replace(":", "")


def test_the_dashboard_shows_two_clients_until_ctrl_c(tmp_path: Path) -> None:
    with running(tmp_path) as demo:
        origin, code, fingerprint = printed(demo.read_until("Ctrl-C takes everything down"))
        browser = Browser(origin, fingerprint)
        status, _, page = browser.ask("GET", "/login")
        assert status == 200 and "<form" in page
        assert browser.ask("GET", "/endpoints")[:2] == (303, "/login")
        assert browser.ask("POST", "/login", login=code)[:2] == (303, "/")
        status, _, page = browser.ask("GET", "/endpoints?state=connected")
        assert status == 200
        assert set(re.findall(r'href="/endpoints/privacy/([\w-]+)"', page)) == {
            "laptop-1",
            "phone-1",
        }
        assert demo.stop(signal.SIGINT) == 0, demo.text
    assert "nothing is left of it" in demo.text
    with pytest.raises(ConnectionRefusedError), socket.socket() as probe:
        probe.connect(("127.0.0.1", urlsplit(origin).port or 0))
