"""The control socket on a real socket: who may what, what is malformed, slow or large, and that the
daemon stays unharmed.
"""

from __future__ import annotations

import contextlib
import grp
import http.client
import json
import os
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.daemon.http.contract import Contracted
from tests.unit.daemon.http.served import open_folder
from warpd.daemon.http import connection
from warpd.daemon.http import server as http_server
from warpd.daemon.http.admission import PLACES, Admission, Places
from warpd.daemon.http.auth import AccessLevel, Groups
from warpd.daemon.http.credentials import Credentials
from warpd.daemon.http.listener import listen
from warpd.daemon.http.messages import BODY_MAX
from warpd.daemon.http.routes import ROUTES
from warpd.daemon.http.server import Server
from warpd.daemon.http.view import View
from warpd.daemon.mailbox import Mailbox
from warpd.errors import Busy, WarpError
from warpd.service.rights import Right

LAPTOP = {
    "name": "lap",
    "in_force": True,
    "in_kernel": True,
    "handshake_age_s": 9,
    "received_bytes": 1,
    "sent_bytes": 2,
}
STATUS = {"version": 1, "networks": [{"name": "corp", "vcid": 1, "endpoints": [LAPTOP]}]}
DAEMON = {
    "pid": 7,
    "next_resync_s": 30.0,
    "failing": [{"network": "corp", "times": 2, "next_try_s": 4.0}],
}


class Answerer(threading.Thread):
    """Plays the daemon's loop."""

    def __init__(self, mailbox: Mailbox) -> None:
        super().__init__(daemon=True)
        self.mailbox, self.asked, self.over = mailbox, [], threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.01):
            for question in self.mailbox.requests():
                self.asked.append((question.verb, dict(question.arguments)))
                if question.verb == "confirm":
                    question.answer.set_exception(
                        WarpError("nothing waits", code="nothing-pending", who="operator", hint="h")
                    )
                elif question.verb == "plan":
                    question.answer.set_exception(Busy("at work"))
                elif question.verb == "status":
                    question.answer.set_result(self.publish())
                else:
                    question.answer.set_result(STATUS)

    def publish(self) -> View:
        number = self.mailbox.view.generation + 1 if self.mailbox.view is not None else 1
        self.mailbox.daemon = DAEMON, time.monotonic()
        self.mailbox.view = View.of(
            STATUS, number, self.mailbox.moment, "2026-01-01T00:00:00+00:00", time.monotonic()
        )
        return self.mailbox.view


class Lines(Contracted):
    only_refusals = True

    def __init__(self, path: Path) -> None:
        super().__init__("warpd", timeout=20)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(20)
        self.sock.connect(str(self.path))


@pytest.fixture
def answerer(tmp_path: Path) -> Iterator[Answerer]:
    made = Answerer(Mailbox())
    made.start()
    yield made
    made.over.set()
    made.join()


@pytest.fixture
def path(answerer: Answerer) -> Iterator[Path]:
    with open_folder() as folder:
        server = Server(answerer.mailbox, folder / "sock", Credentials(folder, folder / "users"))
        server.start()
        yield folder / "sock"
        server.stop()
        assert not (folder / "sock").exists()


def ask(path: Path, method: str, what: str, body: bytes | None = None) -> tuple[int, Any]:
    with contextlib.closing(Lines(path)) as line:
        with contextlib.suppress(
            BrokenPipeError
        ):  # refused before it was asked: the answer is there all the same
            line.request(method, what, body)
        answer = line.getresponse()
        raw = answer.read()
        return answer.status, (
            json.loads(raw)
            if answer.headers["content-type"] == "application/json"
            else raw.decode()
        )


def status_of(path: Path, method: str, what: str) -> int:
    """Without the body, which does not end where events are streamed."""
    with contextlib.closing(Lines(path)) as line:
        line.request(method, what)
        return line.getresponse().status


def test_what_is_asked_is_answered(path: Path, answerer: Answerer) -> None:
    status, body = ask(path, "GET", "/v1/status")
    daemon = body.pop("daemon")
    assert body.pop("conditions") == []
    assert (status, body) == (200, STATUS)
    assert daemon["pid"] == 7 and daemon["look"] == {
        "as_of": "2026-01-01T00:00:00+00:00",
        "generation": 1,
    }
    assert 0 < daemon["next_resync_s"] <= 30 and 0 < daemon["failing"][0]["next_try_s"] <= 4
    assert ask(path, "GET", "/v1/networks") == (200, STATUS)
    assert ask(path, "GET", "/v1/networks/corp") == (200, {"version": 1, **STATUS["networks"][0]})
    assert ask(path, "GET", "/v1/networks/corp/endpoints") == (
        200,
        {"version": 1, "endpoints": [LAPTOP]},
    )
    assert ask(path, "GET", "/v1/networks/none")[0] == 404
    assert ask(path, "POST", "/v1/apply", b'{"yes": true}')[0] == 200
    assert ask(path, "POST", "/v1/rollback", b'{"to": 3}')[0] == 200
    by = {"by": "root (socket)"}
    assert answerer.asked[-2:] == [("apply", {"yes": True, **by}), ("rollback", {"to": 3, **by})]
    status, text = ask(path, "GET", "/metrics")
    assert status == 200 and "warpd_build_info" in text


def test_readers_share_one_look(path: Path, answerer: Answerer) -> None:
    for _ in range(50):
        assert ask(path, "GET", "/v1/status")[0] == 200
    assert answerer.asked == [("status", {})]
    answerer.mailbox.moment += 1  # something has happened: the next reader is shown it
    for _ in range(50):
        assert ask(path, "GET", "/v1/networks")[0] == 200
    assert answerer.asked == [("status", {})] * 2
    answerer.publish()  # a look that the loop has made for a reason of its own
    for _ in range(50):
        assert ask(path, "GET", "/v1/status?fresh=1")[1]["daemon"]["look"]["generation"] == 3
    assert answerer.asked == [("status", {})] * 2


def test_what_has_not_changed_is_not_sent_again(path: Path) -> None:
    with contextlib.closing(Lines(path)) as line:
        line.request("GET", "/v1/status")
        answer = line.getresponse()
        tag = answer.headers["etag"]
        assert json.loads(answer.read())["version"] == 1
        line.request("GET", "/v1/status", headers={"If-None-Match": tag})
        answer = line.getresponse()
        assert (answer.status, answer.read(), answer.headers["etag"]) == (304, b"", tag)


def test_failures_keep_their_words(path: Path) -> None:
    status, body = ask(path, "POST", "/v1/confirm")
    assert status == 422 and (body["code"], body["hint"]) == ("nothing-pending", "h")
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


def connected(path: Path) -> socket.socket:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    line.settimeout(20)
    line.connect(str(path))
    return line


def test_who_is_refused_before_the_body_has_come_is_told(path: Path, answerer: Answerer) -> None:
    """In parts, behind an answer that did not wait for it; the connection goes on."""
    body = b'{"x": "' + b"y" * 60_000 + b'"}'
    head = f"POST /v1/none HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with connected(path) as line, line.makefile("rb") as answers:
        for _ in range(3):
            line.sendall(head)
            assert read_answer(answers) == 404
            line.sendall(body[:30_000])
            line.sendall(body[30_000:])
        line.sendall(b"GET /v1/daemon HTTP/1.1\r\nhost: x\r\n\r\n")
        assert read_answer(answers) == 200
    assert not answerer.asked


def read_answer(file: Any) -> int:
    """Take one whole answer off a connection; its status."""
    status = int(file.readline().split()[1])
    headers = http.client.parse_headers(file)
    file.read(int(headers["content-length"]))
    return status


def test_slow_requests_are_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SLOW_S", 0.5)
    lines = [connected(path) for _ in range(20)]
    for line in lines:
        line.sendall(b"GET /v1/status HTTP/1.1\r\nhost: ")
    assert ask(path, "GET", "/v1/status")[0] == 200
    for line in lines:
        with line, contextlib.suppress(ConnectionResetError):
            assert line.recv(10) == b""
    assert ask(path, "GET", "/v1/status")[0] == 200


def test_an_answer_that_nobody_takes_ends_its_connection(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SLOW_S", 0.5)
    monkeypatch.setitem(STATUS, "more", "x" * 4_000_000)
    with connected(path) as line:
        line.sendall(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n")
        waiting = [thread for thread in threading.enumerate() if thread.name == "control socket"]
        assert len(waiting) == 1
        poll = select.poll()
        poll.register(line, select.POLLHUP)
        assert poll.poll(20_000)  # hung up without a byte having been read
    assert ask(path, "GET", "/v1/status")[0] == 200


def test_the_number_of_connections_is_bounded_and_places_come_back(
    tmp_path: Path, answerer: Answerer
) -> None:
    server = Server(answerer.mailbox, tmp_path / "sock", Credentials(tmp_path, tmp_path / "users"))
    server._admission = Admission({**PLACES, "root": Places(3, 3)})
    server.start()
    try:
        lines = [connected(tmp_path / "sock") for _ in range(3)]
        status, body = ask(tmp_path / "sock", "GET", "/v1/status")
        assert (status, body["error"]) == (503, "too many connections are open")
        for line in lines:
            line.close()
        until = time.monotonic() + 20
        while ask(tmp_path / "sock", "GET", "/v1/status")[0] != 200:
            assert time.monotonic() < until
        assert answerer.mailbox.socket.refused["place"] >= 1
    finally:
        server.stop()


def test_a_stream_of_events(path: Path, answerer: Answerer) -> None:
    answerer.mailbox.tell("t", "pass", result="done")
    with contextlib.closing(Lines(path)) as line:
        line.request("GET", "/v1/events")
        answer = line.getresponse()
        assert json.loads(answer.readline()) == {
            "number": 1,
            "time": "t",
            "kind": "pass",
            "result": "done",
        }
        answerer.mailbox.tell("u", "object_contested", object="x")
        assert json.loads(answer.readline())["number"] == 2
    with contextlib.closing(Lines(path)) as line:
        line.request("GET", "/v1/events?after=1")
        assert json.loads(line.getresponse().readline())["number"] == 2


def test_server_sent_events_go_on_from_the_last_one(path: Path, answerer: Answerer) -> None:
    for number in range(1, 4):
        answerer.mailbox.tell("t", "change", object=f"x{number}\n\ndata: y")
    accept = {"Accept": "text/event-stream"}
    with contextlib.closing(Lines(path)) as line:
        line.request("GET", "/v1/events?after=1", headers=accept | {"Last-Event-ID": "2"})
        answer = line.getresponse()
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.readline() == b"id: 3\n"
        told = answer.readline()
        assert told.startswith(b"data: {")
        assert json.loads(told[6:])["object"] == "x3\n\ndata: y"
        assert answer.readline() == b"\n"
        answerer.mailbox.tell("t", "change", object="x4")
        assert answer.readline() == b"id: 4\n"
    with contextlib.closing(Lines(path)) as line:
        line.request("GET", "/v1/events?follow=0&after=9", headers=accept)
        assert line.getresponse().read() == b":\n\n"
    with contextlib.closing(Lines(path)) as line:
        line.request("GET", "/v1/events", headers=accept | {"Last-Event-ID": "x"})
        assert line.getresponse().status == 400


def as_user(uid: int, groups: list[int], work: Callable[[], object]) -> Any:
    """What this gives to another user, as JSON; an error by its name."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(groups)
            os.setgid(uid)
            os.setuid(uid)
            try:
                answer = work()
            except OSError as failure:
                answer = type(failure).__name__
            with os.fdopen(theirs, "w") as out:
                json.dump(answer, out)
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as answer:
        found = json.loads(answer.read())
    os.waitpid(child, 0)
    return found


@pytest.fixture
def groups(path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Our two groups, on whatever host; and a socket that other users can reach."""
    made = {"warpd": 61001, "warpd-read": 61002, "warpd-metrics": 61004}
    known = grp.getgrnam

    def named(name: str) -> Any:
        return grp.struct_group((name, "x", made[name], [])) if name in made else known(name)

    monkeypatch.setattr(grp, "getgrnam", named)
    return made


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users")


@needs_root
def test_who_may_what(path: Path, groups: dict[str, int]) -> None:
    wanted = {
        (): [403, 403],
        (61002,): [200, 403],
        (61001,): [200, 200],
        (61001, 61002): [200, 200],
    }
    for held, statuses in wanted.items():
        both = as_user(
            61999,
            list(held),
            lambda: [ask(path, "GET", "/v1/status")[0], ask(path, "POST", "/v1/apply")[0]],
        )
        assert both == statuses, held


@needs_root
def test_the_proxy_of_metrics_reads_nothing_else(
    path: Path, answerer: Answerer, groups: dict[str, int]
) -> None:
    """By no route: every user of the host can send requests through it."""

    def asked() -> list[tuple[str, str, int]]:
        paths = [(route.method, re.sub(r"{\w+}", "corp", route.path)) for route in ROUTES]
        return [(method, what, status_of(path, method, what)) for method, what in paths]

    answers = as_user(61999, [61004], asked)
    assert len(answers) == len(ROUTES)
    open_paths = {(method, what) for method, what, status in answers if status != 403}
    assert open_paths == {("GET", "/metrics")} and not answerer.asked
    status, text = as_user(61999, [61004], lambda: ask(path, "GET", "/metrics"))
    assert status == 200 and "warpd_build_info" in text


@needs_root
def test_a_reader_may_look_and_change_nothing_by_any_route(
    path: Path, answerer: Answerer, groups: dict[str, int]
) -> None:
    """Every route by which something in force can change, by whatever method."""
    changing = [route for route in ROUTES if route.right in (Right.CHANGE, Right.ROTATE)]
    assert {"/v1/apply", "/v1/confirm", "/v1/rollback"} < {route.path for route in changing}
    assert {route.method for route in ROUTES if route.right is Right.VIEW} == {"GET"}
    asked = as_user(
        61999, [61002], lambda: [ask(path, route.method, route.path)[0] for route in changing]
    )
    assert asked == [403] * len(changing) and not answerer.asked


@needs_root
def test_a_missing_right_names_the_group(path: Path, groups: dict[str, int]) -> None:
    stranger = as_user(61999, [], lambda: ask(path, "GET", "/v1/status")[1]["error"])
    assert stranger == "permission denied: membership in group warpd-read required"
    reader = as_user(61999, [61002], lambda: ask(path, "POST", "/v1/apply")[1]["error"])
    assert reader == "read-only access: membership in group warpd required"


def hold(path: Path, count: int, most: int) -> int:
    """Connect again and again without asking anything; how many stay open in the end, once they are
    `most` or time is up.
    """
    lines = []
    for _ in range(count):
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        line.settimeout(20)
        with contextlib.suppress(PermissionError, BlockingIOError):
            line.connect(str(path))
            lines.append(line)
    until = time.monotonic() + 20
    while True:
        lines = [line for line in lines if is_open(line)]
        if len(lines) <= most or time.monotonic() > until:
            return len(lines)
        time.sleep(0.05)


def is_open(line: socket.socket) -> bool:
    line.setblocking(False)
    try:
        while line.recv(65536):
            pass
    except BlockingIOError:
        return True
    except ConnectionResetError:
        pass
    line.close()
    return False


@needs_root
def test_strangers_take_no_place_and_are_kept_out_in_a_flood(
    path: Path, answerer: Answerer, groups: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "CLOSED_S", 3600)
    assert as_user(61999, [], lambda: hold(path, 3000, 0)) == 0
    assert answerer.mailbox.socket.closed
    assert answerer.mailbox.socket.refused["right"] < 3000  # the others were refused by the kernel
    assert as_user(61999, [], lambda: ask(path, "GET", "/v1/status")) == "PermissionError"
    assert as_user(61998, [61002], lambda: ask(path, "GET", "/v1/status")[0]) == 200
    assert as_user(61998, [61001], lambda: ask(path, "GET", "/v1/status")[0]) == 200
    assert ask(path, "GET", "/v1/status")[0] == 200


@needs_root
def test_a_member_who_floods_is_kept_out_alone(
    path: Path, answerer: Answerer, groups: dict[str, int], monkeypatch: Any
) -> None:
    monkeypatch.setattr(http_server, "CLOSED_S", 3600)
    assert (
        as_user(61997, [61002], lambda: hold(path, 3000, PLACES["read"].per_user))
        <= PLACES["read"].per_user
    )
    assert as_user(61997, [61002], lambda: ask(path, "GET", "/v1/status")) == "PermissionError"
    assert as_user(61998, [61002], lambda: ask(path, "GET", "/v1/status")[0]) == 200
    assert ask(path, "GET", "/v1/status")[0] == 200


@needs_root
def test_root_is_admitted_before_all_who_wait(
    path: Path, groups: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "BATCH", 1)
    monkeypatch.setattr(http_server, "PAUSE_S", 3600)
    assert as_user(61999, [61002], lambda: len([connected(path) for _ in range(100)])) == 100
    assert ask(path, "GET", "/v1/status")[0] == 200


@needs_root
def test_after_a_flood_a_stranger_is_told_again(
    path: Path, answerer: Answerer, groups: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "CLOSED_S", 0.2)
    as_user(61999, [], lambda: hold(path, 200, 0))
    until = time.monotonic() + 20
    while answerer.mailbox.socket.closed:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert as_user(61999, [], lambda: ask(path, "GET", "/v1/status")[0]) == 403


@needs_root
def test_one_reader_cannot_take_the_places_of_others(path: Path, groups: dict[str, int]) -> None:
    places = PLACES["read"]
    end, keep = os.pipe()
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(keep)
            os.setgroups([61002])
            os.setgid(61997)
            os.setuid(61997)
            lines = [connected(path) for _ in range(places.per_user + 10)]
            os.write(tell, b"+")
            os.read(end, len(lines))  # until the test is over
        finally:
            os._exit(0)
    os.close(end)
    os.close(tell)
    try:
        assert os.read(ready, 1) == b"+"
        assert as_user(61997, [61002], lambda: ask(path, "GET", "/v1/status")[0]) == 503
        assert as_user(61998, [61002], lambda: ask(path, "GET", "/v1/status")[0]) == 200
        assert as_user(61998, [61001], lambda: ask(path, "GET", "/v1/status")[0]) == 200
        assert ask(path, "GET", "/v1/status")[0] == 200
    finally:
        os.close(keep)
        os.close(ready)
        os.waitpid(child, 0)


def test_rights_without_such_groups() -> None:
    groups = Groups()
    assert groups.right_of(0, frozenset()) is AccessLevel.CHANGE
    assert groups.right_of(1, frozenset({1, 2, 3})) is AccessLevel.NOTHING


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
