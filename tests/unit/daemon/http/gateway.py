"""A whole daemon on the kernel in memory, with its control socket: what a client is answered.

    with served(tmp_path, monkeypatch) as gateway:
        gateway.daemon.write_text(TEXT)
        status, body = gateway.post("/v1/changes", {"edits": [...]})

The clock is the test's; requests are answered by the product's own handlers, on a thread.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.daemon.http.served import Line
from tests.unit.daemon.simulation import INTERVAL_S, SILENT_LOG, START_S, Simulation
from warpd.daemon.handlers import ANSWERS
from warpd.daemon.http.credentials import Credentials
from warpd.daemon.http.server import Server
from warpd.daemon.loop import answer_of, as_error
from warpd.daemon.mailbox import Request
from warpd.service import queries
from warpd.store.tokens import SESSION_S, TokenKind, TokenSpec


class Gateway:
    """One daemon and its socket."""

    def __init__(self, folder: Path) -> None:
        self.daemon = Simulation(folder)
        self.folder, self.sock = folder, folder / "sock"
        self.credentials = Credentials(folder / "credentials", folder / "users.yaml", SILENT_LOG)
        self.token = ""  # of who asks; "" for root, by the kernel's word
        self.over = threading.Event()
        self.timers: list[int] = []  # numbers of the applies for which a timer was started

    def answer(self) -> None:
        """Play the daemon's loop between its passes, by the test's clock."""
        while not self.over.wait(0.005):
            for request in self.daemon.mailbox.requests():
                self._answer(request)

    def _answer(self, request: Request) -> None:
        daemon = self.daemon
        parts = daemon.reconciler, daemon.scheduler, daemon.publisher
        try:
            request.answer.set_result(answer_of(request, ANSWERS, *parts, daemon.now_s))
        except Exception as failure:
            request.answer.set_exception(as_error(failure))

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        raw = json.dumps(body).encode() if body is not None else None
        return self.ask_raw(method, path, raw)

    def ask_raw(self, method: str, path: str, raw: bytes | None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        with contextlib.closing(Line(self.sock)) as line:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                line.request(method, path, raw, headers)
            answer = line.getresponse()
            return answer.status, json.loads(answer.read())

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        return self.ask("POST", path, body)

    def change(self, *edits: dict[str, Any]) -> dict[str, Any]:
        """A change that is sound."""
        status, body = self.post("/v1/changes", {"edits": list(edits)})
        assert status == 200, body
        return body

    def apply(self, change: dict[str, Any], **more: Any) -> tuple[int, Any]:
        path = f"/v1/changes/{change['id']}/apply"
        return self.post(path, {"digest": change["digest"], **more})

    def become(self, role: str, *networks: str) -> None:
        """Whoever asks from now on has a token of this role, for these networks or all."""
        spec = TokenSpec(
            TokenKind.TOKEN, f"{role}-bot", role, networks or ("*",), "", "test", SESSION_S
        )
        self.token = self.credentials.tokens.make(spec)[1]

    @property
    def everything(self) -> tuple[dict[str, tuple[bytes, int]], dict[Any, Any], int]:
        """What may not change: contents and times of all files but locks and tokens, the kernel's
        objects, and the number of events.
        """
        files = {
            str(path): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and path.name != "lock" and path.parent.name != "credentials"
        }
        return files, dict(self.daemon.kernel.objects), len(self.daemon.mailbox.events())


@contextlib.contextmanager
def served(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Iterator[Gateway]:
    """A gateway that has applied this YAML, or the one that it points to.

    The timer of an apply that waits to be confirmed is a process that acts on the real kernel: only
    its start is noted. The daemon itself undoes the apply, by the test's clock.
    """
    (folder / "warp.yaml").write_text(text)
    gateway = Gateway(folder)
    if gateway.daemon.workspace.checkout is not None:
        gateway.daemon.workspace.checkout.pull()
    monkeypatch.setattr(
        queries, "start_timer", lambda _session, pending: gateway.timers.append(pending.number)
    )
    clock = lambda _which: START_S + gateway.daemon.now_s  # noqa: E731
    monkeypatch.setattr(time, "clock_gettime", clock)
    gateway.daemon.scheduler.files_touched(0.0)
    gateway.daemon.turn(INTERVAL_S)
    mailbox, propose = gateway.daemon.mailbox, folder / "propose.sock"
    # What is published does not age by the machine's clock.
    server = Server(mailbox, gateway.sock, gateway.credentials, SILENT_LOG, math.inf, propose)
    server.start()
    loop = threading.Thread(target=gateway.answer, daemon=True)
    loop.start()
    try:
        yield gateway
    finally:
        gateway.over.set()
        loop.join()
        server.stop()
