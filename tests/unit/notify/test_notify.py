"""`warpd-notify` against real receivers: what is signed, retried, given up, lost, and kept over a
restart; as a program, on a real control socket.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from warpd.daemon.http.credentials import Credentials
from warpd.daemon.http.server import Server
from warpd.daemon.mailbox import Mailbox
from warpd.errors import WarpError
from warpd.notify import delivery
from warpd.notify.delivery import Outbox, signature
from warpd.notify.main import Progress
from warpd.notify.settings import Webhook, read_webhooks

EXAMPLES = Path(__file__).parents[3] / "examples"
KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
LIMIT_S = 60.0


class Receiver(http.server.ThreadingHTTPServer):
    """Answers as it is told, and keeps what it has taken."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[int] = []  # to the next requests; 200 after these
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.open = threading.Event()  # while it is not set, no answer is given
        self.open.set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    @property
    def numbers(self) -> list[int]:
        return [json.loads(body)["data"]["number"] for _, _, body in self.asked]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.open.wait(LIMIT_S)
        self.server.asked.append((self.path, headers, body))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 200)
        self.send_header("location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_words: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.open.set()
    made.shutdown()
    made.server_close()


def event(number: int, **fields: Any) -> dict[str, Any]:
    return {"number": number, "time": "2026-01-01T00:00:00+00:00", "kind": "change", **fields}


def hook(receiver: Receiver, **fields: Any) -> Webhook:
    return Webhook(url=receiver.url, secret=SECRET, **fields)


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def outbox_of(receiver: Receiver, log: list[str]) -> Outbox:
    made = Outbox(hook(receiver), log.append, retry_min_s=0.01)
    made.start()
    return made


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of the reference implementations of Standard Webhooks."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    found = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_what_fails_is_sent_again_in_order_with_the_same_id(receiver: Receiver) -> None:
    log: list[str] = []
    receiver.answers = [503, 429, 200, 500]
    outbox = outbox_of(receiver, log)
    for number in (1, 2, 3):
        outbox.add(event(number))
    until(lambda: outbox.oldest is None)
    assert receiver.numbers == [1, 1, 1, 2, 2, 3]
    ids = [headers["webhook-id"] for _, headers, _ in receiver.asked]
    assert len(set(ids[:3])) == 1 and len(set(ids)) == 3
    for path, headers, body in receiver.asked:
        stamp = int(headers["webhook-timestamp"])
        assert headers["webhook-signature"] == signature(KEY, headers["webhook-id"], stamp, body)
        assert abs(stamp - time.time()) < 300 and path == "/hook"
    assert len(log) == 2, "a failure is told once, not at each try"
    message = json.loads(receiver.asked[-1][2])
    assert message["type"] == "warpd.change" and message["lost"] == 0


@pytest.mark.parametrize("answer", [400, 302, 410])
def test_what_is_refused_is_given_up(receiver: Receiver, answer: int) -> None:
    log: list[str] = []
    receiver.answers = [answer]
    outbox = outbox_of(receiver, log)
    outbox.add(event(1))
    outbox.add(event(2))
    until(lambda: outbox.oldest is None)
    assert receiver.numbers == [1, 2] and "given up" in log[0]
    assert {path for path, _, _ in receiver.asked} == {"/hook"}, "nothing goes to another address"


def test_a_receiver_that_hangs_holds_nobody_up(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "QUEUED_MAX", 5)
    receiver.open.clear()
    outbox = outbox_of(receiver, [])
    for number in range(1, 101):
        outbox.add(event(number))
    assert outbox.oldest == 96, "the oldest had to go"
    receiver.open.set()
    until(lambda: outbox.oldest is None)
    told = [json.loads(body) for _, _, body in receiver.asked]
    assert [message["data"]["number"] for message in told][-5:] == [96, 97, 98, 99, 100]
    assert sum(message["lost"] for message in told) == 95


def test_who_gets_what(receiver: Receiver) -> None:
    every, some = hook(receiver), hook(receiver, kinds=["failed"])
    tenant = hook(receiver, networks=["cust-*"])
    assert every.takes(event(1)) and not some.takes(event(1))
    assert some.takes({**event(1), "kind": "failed"})
    assert tenant.takes(event(1, network="cust-7"))
    assert not tenant.takes(event(1, network="corp")) and not tenant.takes(event(1))


def test_the_position_waits_for_the_slowest(receiver: Receiver, tmp_path: Path) -> None:
    receiver.open.clear()
    outbox = outbox_of(receiver, [])
    progress = Progress([outbox], tmp_path / "position")
    outbox.on_done = progress.save
    for number in (7, 8):
        outbox.add(event(number))
    progress.reach(9)
    assert progress.read() == 6
    receiver.open.set()
    until(lambda: progress.read() == 9)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("webhooks: []", "webhooks"),
        ("webhooks: [{url: 'http://hooks.example.com/', secret: SECRET}]", "https is required"),
        ("webhooks: [{url: 'https://u:p@example.com/', secret: SECRET}]", "without a user"),
        ("webhooks: [{url: 'https://example.com/', secret: hunter2hunter2}]", "--new-secret"),
        ("webhooks: [{url: 'https://example.com/', secret: SECRET, kind: x}]", "kind"),
        (
            "webhooks: [{url: 'https://example.com/', secret: SECRET, kinds: [failed, fialed]}]",
            "kinds.1: Value error, 'fialed' is no kind of event; the kinds are awaiting_consent,",
        ),
        ("webhooks: {", "line "),
        ("7", "the file"),
    ],
)
def test_settings_that_are_wrong(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "notify.yaml"
    path.write_text(text.replace("SECRET", SECRET))
    with pytest.raises(WarpError) as failed:
        read_webhooks(path)
    assert told in str(failed.value) and failed.value.exit_code == 4
    assert SECRET not in str(failed.value) and "hunter2" not in str(failed.value)


@contextlib.contextmanager
def program(folder: Path) -> Iterator[None]:
    words = [sys.executable, "-m", "warpd.notify.main", "-c", folder / "notify.yaml"]
    running = subprocess.Popen(
        [*words, "--state-dir", folder / "state"],
        env={**os.environ, "WARPD_SOCKET": str(folder / "sock")},
    )
    try:
        yield
    finally:
        running.terminate()
        running.wait(LIMIT_S)


def test_the_program(receiver: Receiver, tmp_path: Path) -> None:
    """Events before its first start are no news; those while it was away are, after a restart."""
    settings = {"webhooks": [{"url": receiver.url, "secret": SECRET}]}
    (tmp_path / "notify.yaml").write_text(json.dumps(settings))
    mailbox, position = Mailbox(), tmp_path / "state" / "position"
    mailbox.tell("t", "change", network="corp")
    server = Server(mailbox, tmp_path / "sock", Credentials(tmp_path, tmp_path / "users"))
    server.start()
    try:
        with program(tmp_path):
            until(position.exists)
            mailbox.tell("t", "failed", network="corp", error="<script>")
            until(lambda: receiver.numbers == [2])
            until(lambda: position.read_text() == "2\n")
        mailbox.tell("t", "change", network="web")
        with program(tmp_path):
            until(lambda: receiver.numbers == [2, 3])
    finally:
        server.stop()


def test_the_example_lacks_only_its_secrets(tmp_path: Path) -> None:
    text = (EXAMPLES / "webhooks" / "notify.yaml").read_text()
    path = tmp_path / "notify.yaml"
    path.write_text(text)
    with pytest.raises(WarpError, match="--new-secret"):
        read_webhooks(path)
    path.write_text(text.replace("PRINTED-BY-NEW-SECRET", SECRET))
    assert [one.networks for one in read_webhooks(path).webhooks] == [["*"], ["cust-*"]]


def test_a_new_secret_is_one_that_is_taken(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "warpd.notify.main", "--new-secret"]
    secret = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    made = Webhook(url="https://hooks.example.com/x", secret=secret)
    assert len(made.key) == 32
