"""The control socket on a real socket: who may what, what is malformed, slow or large, and that the daemon stays unharmed."""

from __future__ import annotations

import contextlib
import grp
import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from warpd.daemon import api
from warpd.daemon.api import BODY_MAX, CONNECTIONS_MAX, ROUTES, Peer, Right, Server, listen, openapi
from warpd.daemon.desk import Desk
from warpd.errors import Busy, WarpError

STATUS = {"version": 1, "networks": [{"name": "corp", "vcid": 1, "endpoints": [{"name": "lap"}]}]}


class Answerer(threading.Thread):
    """Plays the daemon's loop."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(daemon=True)
        self.desk, self.asked, self.over = desk, [], threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.01):
            for question in self.desk.questions():
                self.asked.append((question.verb, dict(question.arguments)))
                if question.verb == "confirm":
                    question.answer.set_exception(WarpError("nothing waits", code="nothing-pending", who="operator", hint="h"))
                elif question.verb == "plan":
                    question.answer.set_exception(Busy("at work"))
                else:
                    question.answer.set_result(STATUS)


class Lines(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("warpd", timeout=20)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(20)
        self.sock.connect(str(self.path))


@pytest.fixture
def answerer(tmp_path: Path) -> Iterator[Answerer]:
    made = Answerer(Desk())
    made.start()
    yield made
    made.over.set()
    made.join()


@pytest.fixture
def path(answerer: Answerer, tmp_path: Path) -> Iterator[Path]:
    tmp_path.chmod(0o755)
    server = Server(answerer.desk, tmp_path / "sock")
    server.start()
    yield tmp_path / "sock"
    server.stop()
    assert not (tmp_path / "sock").exists()


def ask(path: Path, method: str, what: str, body: bytes | None = None) -> tuple[int, Any]:
    with contextlib.closing(Lines(path)) as line:
        line.request(method, what, body)
        answer = line.getresponse()
        raw = answer.read()
        return answer.status, json.loads(raw) if answer.headers["content-type"] == "application/json" else raw.decode()


def test_what_is_asked_is_answered(path: Path, answerer: Answerer) -> None:
    assert ask(path, "GET", "/v1/status") == (200, STATUS)
    assert ask(path, "GET", "/v1/networks/corp/endpoints") == (200, {"version": 1, "endpoints": [{"name": "lap"}]})
    assert ask(path, "GET", "/v1/networks/none")[0] == 404
    assert ask(path, "POST", "/v1/apply", b'{"yes": true}')[0] == 200
    assert ask(path, "POST", "/v1/rollback", b'{"to": 3}')[0] == 200
    assert answerer.asked[-2:] == [("apply", {"yes": True, "by": "uid 0"}), ("rollback", {"to": 3, "by": "uid 0"})]
    status, text = ask(path, "GET", "/metrics")
    assert status == 200 and "warpd_build_info" in text


def test_failures_keep_their_words(path: Path) -> None:
    status, body = ask(path, "POST", "/v1/confirm")
    assert status == 500 and (body["code"], body["hint"]) == ("nothing-pending", "h")
    status, body = ask(path, "GET", "/v1/plan")
    assert status == 409 and body["exit_code"] == 5


@pytest.mark.parametrize(
    ("method", "what", "body", "status"),
    [
        ("GET", "/", None, 404),
        ("GET", "/v1/apply", None, 405),
        ("PUT", "/v1/status", None, 405),
        ("GET", "/v1/networks/../status", None, 404),
        ("POST", "/v1/apply", b"{", 400),
        ("POST", "/v1/apply", b"[1]", 400),
        ("POST", "/v1/apply", b'{"yes": "no"}', 400),
        ("POST", "/v1/apply", b'{"by": "root"}', 400),
        ("POST", "/v1/rollback", b'{"to": true}', 400),
        ("POST", "/v1/apply", b"[" * 50_000, 400),
        ("POST", "/v1/apply", b"x" * (BODY_MAX + 1), 413),
        ("GET", "/v1/events?after=-1", None, 400),
    ],
)
def test_what_is_malformed_never_reaches_the_loop(
    path: Path, answerer: Answerer, method: str, what: str, body: bytes | None, status: int
) -> None:
    with contextlib.closing(Lines(path)) as line:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            line.request(method, what, body)
        assert line.getresponse().status == status
    assert not answerer.asked
    assert ask(path, "GET", "/v1/status")[0] == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"\0" * 1000,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/apply HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/apply HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST /v1/apply HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /v1/status HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 10_000,
        b"GET /v1/status?" + b"x" * 4_000_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_http(path: Path, answerer: Answerer, raw: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(20)
        line.connect(str(path))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            line.sendall(raw)
            answer = line.recv(65536)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert not answerer.asked
    assert ask(path, "GET", "/v1/status")[0] == 200


def test_slow_clients_are_given_up_and_the_number_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "SLOW_S", 0.5)
    lines = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(CONNECTIONS_MAX - 4)]
    for line in lines:
        line.settimeout(10)
        line.connect(str(path))
        line.sendall(b"GET /v1/status HTTP/1.1\r\nhost: ")
    assert ask(path, "GET", "/v1/status")[0] == 200
    ended = 0
    for line in lines:
        with contextlib.suppress(ConnectionResetError):
            assert line.recv(10) == b""
        ended += 1
        line.close()
    assert ended == len(lines)
    assert ask(path, "GET", "/v1/status")[0] == 200


def test_a_stream_of_events(path: Path, answerer: Answerer) -> None:
    answerer.desk.tell("t", "pass", result="done")
    with contextlib.closing(Lines(path)) as line:
        line.request("GET", "/v1/events")
        answer = line.getresponse()
        assert json.loads(answer.readline()) == {"number": 1, "time": "t", "kind": "pass", "result": "done"}
        began = time.monotonic()
        answerer.desk.tell("u", "fight", object="x")
        rows = [json.loads(answer.readline())]
        assert rows[0]["number"] == 2 and time.monotonic() - began < 1
    with contextlib.closing(Lines(path)) as line:
        line.request("GET", "/v1/events?after=1")
        assert json.loads(line.getresponse().readline())["number"] == 2


def as_user(uid: int, groups: list[int], path: Path, method: str, what: str) -> int:
    """The status that another user gets."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(groups)
            os.setgid(uid)
            os.setuid(uid)
            os.write(theirs, str(ask(path, method, what)[0]).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as answer:
        return int(answer.read() or b"0")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users")
def test_who_may_what(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = {"warpd": 61001, "warpd-read": 61002}
    known = grp.getgrnam

    def named(name: str) -> Any:
        return grp.struct_group((name, "x", groups[name], [])) if name in groups else known(name)

    monkeypatch.setattr(api.grp, "getgrnam", named)
    for ancestor in path.parents:  # pytest's own folders are for root only
        if str(ancestor).startswith("/tmp/pytest-of-root"):
            ancestor.chmod(0o755)
    wanted = {(): (403, 403), (61002,): (200, 403), (61001,): (200, 200), (61001, 61002): (200, 200)}
    found = {
        held: (as_user(61999, list(held), path, "GET", "/v1/status"), as_user(61999, list(held), path, "POST", "/v1/apply"))
        for held in wanted
    }
    assert found == wanted


def test_rights_without_such_groups() -> None:
    assert Peer(0, frozenset()).right is Right.CHANGE
    assert Peer(1, frozenset({1, 2, 3})).right is Right.NOTHING


def test_a_dead_socket_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    first = listen(path)
    with pytest.raises(OSError, match="in use"):
        listen(path)
    first.close()
    listen(path).close()
    path.unlink()
    path.write_text("precious")
    with pytest.raises(OSError, match="no socket"):
        listen(path)
    assert path.read_text() == "precious"


def test_idle_it_never_wakes(path: Path) -> None:
    """Voluntary switches of its thread, counted by the kernel."""
    ask(path, "GET", "/v1/status")
    time.sleep(0.5)
    thread = next(thread for thread in threading.enumerate() if thread.name == "control socket")

    def wakes() -> int:
        status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
        return int(status.split("voluntary_ctxt_switches:")[1].split()[0])

    before = wakes()
    time.sleep(2)
    assert wakes() == before


def test_the_description_has_every_route() -> None:
    described = {(method.upper(), path) for path, methods in openapi()["paths"].items() for method in methods}
    assert described == {(route.method, route.path) for route in ROUTES}
