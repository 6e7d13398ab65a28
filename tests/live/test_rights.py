"""Members of the two groups on a real daemon: every command, with the output and exit codes of
root; and users without a right.

The daemon sees an /etc/group of the test's own, in a mount namespace of its own.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pytest

from tests import preloading, world
from tests.live.conftest import sh
from tests.live.daemon import Daemon
from warpd.cli.app import main
from warpd.cli.asking import WAITING
from warpd.cli.conditions import SILENT
from warpd.daemon.http.admission import PLACES
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.service import client
from warpd.service.workspace import Workspace

GIDS = {"warpd": 61001, "warpd-read": 61002}
NEEDS_READ = "permission denied: membership in group warpd-read required"
NEEDS_CHANGE = "read-only access: membership in group warpd required"
NETWORKS = {"a": world.network(2), "b": world.network(1)}
WITH_GROUPS = (
    "unshare",
    "--mount",
    "sh",
    "-c",
    'mount --bind "$GROUP_FILE" /etc/group && exec "$@"',
    "sh",
)


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who runs warpctl; root when `uid` is 0."""

    name: str
    uid: int
    groups: tuple[str, ...] = ()

    @property
    def gids(self) -> list[int]:
        return [GIDS[group] for group in self.groups]


ROOT, READER, WRITER = (
    User("root", 0),
    User("reader", 61010, ("warpd-read",)),
    User("writer", 61011, ("warpd",)),
)
STRANGER = User("stranger", 61012)


@dataclass(frozen=True, slots=True)
class Place:
    """A running daemon, and how its commands are run."""

    daemon: Daemon
    sock: Path

    def run(self, user: User, *words: str) -> subprocess.CompletedProcess[str]:
        if user is not ROOT:
            return forked(
                user, {"WARPD_SOCKET": str(self.sock)}, ["-c", str(self.daemon.config), *words]
            )
        inside = [
            "nsenter",
            f"--mount=/proc/{self.daemon.pid}/ns/mnt",
        ]  # where the daemon names its namespaces
        named = ["-c", str(self.daemon.config), "--state-dir", str(self.daemon.state)]
        command = [*inside, *preloading.warpctl(), *named, *words]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "WARPD_SOCKET": str(self.sock)},
            check=False,
        )


def forked(
    user: User, environment: dict[str, str], words: list[str]
) -> subprocess.CompletedProcess[str]:
    """Run warpctl as another user, in a copy of this process: a hundred times quicker than a new
    interpreter.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = as_user(user, lambda: end_as_command(out, err, environment, words))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read())
    return subprocess.CompletedProcess(words, status, *texts)


def end_as_command(out: TextIO, err: TextIO, environment: dict[str, str], words: list[str]) -> None:
    gc.disable()  # a collection would copy every page of this process
    sys.stdout, sys.stderr, sys.argv = out, err, ["warpctl", *words]
    sys.stdin = open(os.devnull)  # noqa: SIM115  # until this process ends
    os.environ.update(environment)
    code = 70
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 70
    finally:
        out.flush()
        err.flush()
        os._exit(code)


@pytest.fixture
def place(gateway: LiveKernel, tmp_path: Path) -> Iterator[Place]:
    gateway.close()
    folder = Path(tempfile.mkdtemp(prefix="warpd-rights-"))
    folder.chmod(0o755)
    group_file = tmp_path / "group"
    ours = "".join(f"{name}:x:{gid}:\n" for name, gid in GIDS.items())
    group_file.write_text(Path("/etc/group").read_text() + ours)
    group_file.chmod(0o644)
    environment = {"WARPD_SOCKET": str(folder / "sock"), "GROUP_FILE": str(group_file)}
    try:
        with Daemon(
            tmp_path, {"version": 1, "networks": NETWORKS}, 600, under=WITH_GROUPS, **environment
        ) as daemon:
            yield Place(daemon, folder / "sock")
            daemon.write({"version": 1, "networks": {}, "gateway": {"removal_guard": False}})
            daemon.wait(
                lambda: not client.ask("GET", "/v1/status", path=folder / "sock")["networks"],
                "all to be removed",
            )
    finally:
        shutil.rmtree(folder)


LOOKING = [
    "status",
    "plan",
    "network list",
    "network show a",
    "endpoint list",
    "endpoint list b",
    "endpoint show a/e1",
    "explain a/e1 198.51.100.7 --proto tcp --port 443",
    "explain a/e1 a/e2",
    "history",
    "history --show 1",
    "validate",
]
SEEN_BY_DAEMON = ["doctor", "events"]
CHANGING = ["apply --yes", "apply --yes --confirm-within 60s", "confirm", "rollback --to 1 --yes"]


def told(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip() or done.stdout.strip()).splitlines()[0][:100]


def test_every_command_by_every_user(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    rows = []
    for command in LOOKING:
        for form in ([], ["-o", "json"]):
            answers = [place.run(user, *command.split(), *form) for user in (ROOT, READER, WRITER)]
            kinds = {(done.returncode, without_time(done.stdout)) for done in answers}
            assert len(kinds) == 1, "\n".join([command, *(text for _code, text in kinds)])
            rows.append((command, answers[0].returncode))
    for command in SEEN_BY_DAEMON:
        assert {place.run(user, *command.split()).returncode for user in (READER, WRITER)} <= {0, 1}
        assert place.run(READER, *command.split()).stdout
    for command in (*LOOKING, *SEEN_BY_DAEMON, *CHANGING):
        if command == "validate":
            continue
        done = place.run(STRANGER, *command.split())
        assert done.returncode == 1 and NEEDS_READ in done.stderr, (command, done)
    for command in CHANGING:
        done = place.run(READER, *command.split())
        assert done.returncode == 1 and NEEDS_CHANGE in done.stderr, (command, done)
    for command in CHANGING:
        done = place.run(WRITER, *command.split())
        assert done.returncode == 0, (command, done)
    for command in ("destroy --yes", "exec a -- true"):
        done = place.run(WRITER, *command.split())
        assert done.returncode == 1 and "needs root" in done.stderr
    with capsys.disabled():
        print(
            f"\n  {len(rows)} looks the same for root, reader and writer; {len(CHANGING)} changes"
            " by a writer alone",
            end="",
        )


def without_time(text: str) -> str:
    """An answer without what counts seconds, and without what only the daemon knows of itself."""
    with contextlib.suppress(ValueError):
        data = json.loads(text)
        return json.dumps({key: value for key, value in data.items() if key != "daemon"}, indent=1)
    return "\n".join(line for line in text.splitlines() if "handshake_age" not in line)


def test_a_broken_yaml_keeps_nobody_from_looking(place: Place) -> None:
    break_yaml(place)
    codes = {command: place.run(READER, *command.split()).returncode for command in LOOKING}
    invalid = {command for command, code in codes.items() if code == 4}
    assert invalid == {"plan", "validate"}, codes
    assert all(code in (0, 4) for code in codes.values()), codes
    problem = place.run(READER, "validate").stderr
    assert problem == place.run(ROOT, "validate").stderr and str(place.daemon.config) in problem
    place.daemon.write({"version": 1, "networks": NETWORKS})


def test_a_reader_waits_for_a_busy_daemon(place: Place) -> None:
    """It has nobody else to ask; root goes on without it after `client.AT_ONCE_S`."""
    pid = place.daemon.pid
    os.kill(pid, signal.SIGSTOP)
    busy = threading.Timer(client.AT_ONCE_S + 2, os.kill, [pid, signal.SIGCONT])
    busy.start()
    try:
        done = place.run(READER, "network", "list")
    finally:
        busy.cancel()
        os.kill(pid, signal.SIGCONT)
    assert done.returncode == 0 and "NETWORK" in first_line(done), done
    assert WAITING in done.stderr


@pytest.mark.parametrize("command", ["plan", "network list", "history"])
def test_root_goes_on_without_a_daemon_that_hangs(place: Place, command: str) -> None:
    """What is shown begins with it."""
    os.kill(place.daemon.pid, signal.SIGSTOP)
    try:
        done = place.run(ROOT, *command.split())
    finally:
        os.kill(place.daemon.pid, signal.SIGCONT)
    assert done.returncode == 0 and SILENT.text.partition(":")[0] in first_line(done), done


def test_another_yaml_is_not_the_daemons_to_look_at(place: Place, tmp_path: Path) -> None:
    place.daemon.config.with_name("other.yaml").write_text('{"version": 1, "networks": {}}')
    done = forked(
        READER, {"WARPD_SOCKET": str(place.sock)}, ["-c", str(tmp_path / "other.yaml"), "plan"]
    )
    assert done.returncode == 1 and f"warpd serves {place.daemon.config}" in done.stderr


def test_a_stopped_daemon_is_named(place: Place) -> None:
    place.daemon.stop()
    done = place.run(READER, "status")
    assert done.returncode == 1 and "is warpd running?" in done.stderr
    place.daemon.start()


# -- a table: 25 commands, two users, three states of the daemon

# What each state answers: running, YAML broken, stopped. A pair is that of a reader and of a
# writer.
Codes = tuple[int | tuple[int, int], int | tuple[int, int], int | tuple[int, int]]
TABLE: dict[str, Codes] = {
    "status": (0, 0, 1),
    "status b": (0, 0, 1),
    "plan": (0, 4, 1),
    "network list": (0, 0, 1),
    "network show a": (0, 0, 1),
    "network show nobody": (1, 1, 1),
    "endpoint list": (0, 0, 1),
    "endpoint list --network b --never --sort address -l": (0, 0, 1),
    "endpoint show a/e1": (0, 0, 1),
    "explain a/e1 198.51.100.7 --proto tcp --port 443": (0, 0, 1),
    "explain a/e1 a/e2": (0, 0, 1),
    "history": (0, 0, 1),
    "history --show 1": (0, 0, 1),
    "events": (0, 0, 1),
    "events --network a --kind change --since 1h": (0, 0, 1),
    "doctor": (0, 1, 1),
    "validate": (0, 4, 1),
    "schema": (0, 0, 0),
    "lock --check": (1, 1, 1),
    "apply --yes": ((1, 0), 4, 1),
    "confirm": (1, 1, 1),
    "rollback --to 1 --yes": ((1, 0), (1, 0), 1),
    "endpoint config a/e1": (1, 1, 1),
    "endpoint remove a/e2": (1, 1, 1),
    "destroy --yes": (1, 1, 1),
    "exec a -- true": (1, 1, 1),
    "status --no-such-option": (1, 1, 1),
    "plan too many words": (1, 1, 1),
    "no-such-command": (1, 1, 1),
}


# What looks says first that it is not the YAML that it shows.
FROM_LAST_GOOD = ("status", "plan", "network", "endpoint", "explain", "history", "events")


def code_of(wanted: int | tuple[int, int], user: User) -> int:
    if isinstance(wanted, int):
        return wanted
    return wanted[user is WRITER]


def test_table_of_answers(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    lines, wrong = [], []
    for number, condition in enumerate(("running", "YAML broken", "stopped")):
        if condition == "YAML broken":
            break_yaml(place)
        if condition == "stopped":
            place.daemon.stop()
        for user in (READER, WRITER):
            for command, wanted in TABLE.items():
                done = place.run(user, *command.split())
                lines.append(
                    f"  {condition:<12}{user.name:<8}{command[:44]:<45}{done.returncode} "
                    f" {told(done)[:60]}"
                )
                if done.returncode != code_of(wanted[number], user):
                    wrong.append(lines[-1])
                assert "Traceback" not in done.stderr + done.stdout, done
                if (
                    condition == "YAML broken"
                    and command.split()[0] in FROM_LAST_GOOD
                    and done.stdout
                ):
                    assert "the YAML is invalid" in done.stdout.splitlines()[0], done
    place.daemon.write({"version": 1, "networks": NETWORKS})
    place.daemon.start()
    with capsys.disabled():
        print("", *lines, f"  {len(lines)} answers, {len(wrong)} wrong", sep="\n", end="")
    assert not wrong, "\n".join(wrong)


# -- the first line of every command that looks, by root and by a reader

LOOKS = [
    *(command for command in LOOKING if command != "validate"),
    "endpoint list --never -l",
    "events",
    "events --network a --kind change",
    "doctor",
]


def first_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stdout.splitlines() or [""])[0]


@dataclass(frozen=True, slots=True)
class NotInForce:
    """A YAML that is not in force, the words and the code that say so."""

    document: dict[str, object]
    words: str
    code: str


NOT_IN_FORCE = {
    "broken": NotInForce(
        {"version": 1, "networks": {"a": {"typ": 1}}}, "the YAML is invalid", "yaml-invalid"
    ),
    "awaiting consent": NotInForce(
        {"version": 1, "networks": {}}, "the YAML is not in force", "awaiting-consent"
    ),
}


@pytest.mark.parametrize("name", NOT_IN_FORCE)
def test_every_look_says_first_that_the_yaml_is_not_in_force(place: Place, name: str) -> None:
    state = NOT_IN_FORCE[name]
    place.daemon.write(state.document)
    place.daemon.wait(
        lambda: state.code in {row["code"] for row in conditions_of(place)}, "the condition"
    )
    answers = {
        (user.name, command): place.run(user, *command.split())
        for user in (ROOT, READER)
        for command in LOOKS
    }
    wrong = {
        key: (done.returncode, first_line(done), done.stderr)
        for key, done in answers.items()
        if state.words not in first_line(done)
    }
    assert wrong == {}
    for command in ("plan", "history", "network list", "status"):
        for user in (ROOT, READER):
            data = json.loads(place.run(user, *command.split(), "-o", "json").stdout)
            assert state.code in {row["code"] for row in data["conditions"]}, (user, command)
    place.daemon.write({"version": 1, "networks": NETWORKS})


def conditions_of(place: Place) -> list[dict[str, str]]:
    daemon: dict[str, list[dict[str, str]]] = client.ask("GET", "/v1/daemon", path=place.sock)
    return daemon["conditions"]


def break_yaml(place: Place) -> None:
    place.daemon.write({"version": 1, "networks": {"a": {"typ": 1}}})
    path = place.sock
    place.daemon.wait(
        lambda: bool(client.ask("GET", "/v1/status", path=path)["daemon"]["intent"]["findings"]),
        "a finding",
    )


# -- floods


def as_user(user: User, work: Callable[[], None]) -> int:
    """Do this as another user, in a process of its own; its pid."""
    child = os.fork()
    if child:
        return child
    try:
        os.setgroups(user.gids)
        os.setgid(user.uid)
        os.setuid(user.uid)
        work()
    finally:
        os._exit(0)


@contextlib.contextmanager
def running(children: list[int]) -> Iterator[None]:
    try:
        yield
    finally:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, 9)
            os.waitpid(child, 0)


def hold(path: Path, count: int, first: bytes, over_s: float) -> None:
    """Have so many connections at a time, opened anew when they are closed."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 64, count + 64))
    lines: list[socket.socket] = []
    until = time.monotonic() + over_s
    while time.monotonic() < until:
        for _ in range(min(200, count - len(lines))):
            line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            try:
                line.connect(str(path))
                line.send(first)
            except OSError:
                line.close()
                continue
            lines.append(line)
        lines = [line for line in lines if is_open(line)]
        time.sleep(0.01)


def is_open(line: socket.socket) -> bool:
    try:
        if line.recv(65536):
            return True
    except BlockingIOError:
        return True
    except OSError:
        pass
    line.close()
    return False


def ask_on(path: Path, over_s: float) -> None:
    """Twenty-five readers at full speed."""

    def one() -> None:
        until = time.monotonic() + over_s
        while time.monotonic() < until:
            with contextlib.suppress(Exception):
                client.ask("GET", "/v1/status", path=path)

    threads = [threading.Thread(target=one) for _ in range(25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


FLOOD_S = 90.0
SLOW = b"POST /v1/apply HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n"
FIRST = (b"", SLOW, b"\0" * 500, b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n")


def holder(user: User, path: Path, count: int, first: bytes) -> int:
    return as_user(user, lambda: hold(path, count, first, FLOOD_S))


FLOODS: dict[str, Callable[[Path], list[int]]] = {
    "10,000 connections of a stranger": lambda path: [
        holder(STRANGER, path, 2500, first) for first in FIRST
    ],
    "1,000 slow connections of a reader": lambda path: [holder(READER, path, 1000, SLOW)],
    "100 readers at full speed": lambda path: [
        as_user(READER, lambda: ask_on(path, FLOOD_S)) for _ in range(4)
    ],
}


@pytest.mark.parametrize("what", FLOODS)
def test_a_flood_stops_neither_root_nor_repairs(
    place: Place, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = Workspace(place.daemon.config, place.daemon.state)
    vcid = workspace.read().allocations.networks["a"].vcid
    alone = [repaired(place, vcid) for _ in range(3)]
    before, lines = place.daemon.descriptors(), len(place.daemon.lines())
    with running(FLOODS[what](place.sock)):
        time.sleep(3)
        asked, times = [], []
        for _ in range(3):
            began = time.monotonic()
            assert (
                client.ask("GET", "/v1/status", path=place.sock)["daemon"]["pid"]
                == place.daemon.pid
            )
            asked.append(time.monotonic() - began)
            times.append(repaired(place, vcid))
        used = place.daemon.descriptors() - before
    said = [
        line
        for line in place.daemon.lines()[lines:]
        if str(line["event"]).startswith("control socket")
    ]
    with capsys.disabled():
        text = (
            f"root answered in {max(asked):.2f} s, drift repaired in {max(times):.2f} s (alone"
            f" {max(alone):.2f} s)"
        )
        print(f"\n  {what}: {text}, descriptors +{used}, {len(said)} lines logged", end="")
    assert used <= sum(places.total for places in PLACES.values()) + 4
    assert len(said) <= 12


def repaired(place: Place, vcid: int) -> float:
    """Seconds until an element of the guard that somebody removes is there again."""
    began = time.monotonic()
    interface, listing = f"dn-{vcid}", "nft list set inet warpd permitted_ifaces"
    sh(f'nft delete element inet warpd permitted_ifaces {{ "{interface}" }}')
    place.daemon.wait(lambda: interface in sh(listing), "a repair", 30)
    return time.monotonic() - began
