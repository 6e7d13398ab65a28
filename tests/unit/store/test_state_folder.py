"""The state folder: whole files or old ones, private ones, one writer, and reading that creates
nothing.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import pytest

from warpd.allocation.model import Allocations, EndpointAllocation, NetworkAllocation
from warpd.allocation.state_json import to_json
from warpd.errors import Busy, WarpError
from warpd.keys import derivation
from warpd.store.state_folder import Store


def allocations(port: int) -> Allocations:
    ends = {"a": EndpointAllocation(IPv4Address("10.0.0.1"), IPv6Address("fd00::2"))}
    net4, net6 = IPv4Network("10.0.0.0/31"), IPv6Network("fd00::/64")
    one = NetworkAllocation(
        7, port, 1000, net4, net6, net4[0], net6[1], IPv4Network("198.19.0.0/31"), ends
    )
    return Allocations({"n": one})


@dataclass(frozen=True)
class Config:
    """The part of a client config that the store sees."""

    network: str
    endpoint: str
    body: str
    version: int = 0
    first_names: tuple[str, str] | None = None

    def digest(self) -> str:
        return self.body

    def masked(self) -> dict[str, str]:
        return {"body": self.body}

    def numbered(self, version: int) -> Config:
        return replace(self, version=version)


def test_reading_creates_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    assert store.read_allocations() == Allocations({})
    assert store.master_key(create=False) is None
    assert store.versions().of("n", "a") == {"config_version": 1, "config_exported": False}
    assert store.history("n", "a") == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o750, 0o701])
def test_a_folder_that_is_open_to_others_is_closed(tmp_path: Path, mode: int) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(mode)
    with Store(tmp_path / "state").writer(command="test"):
        assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_what_is_written_is_read_and_private(tmp_path: Path) -> None:
    store = Store(tmp_path / "deep" / "state")
    previous = os.umask(0)
    try:
        with store.writer(command="test"):
            store.write_allocations(allocations(1))
            store.master_key(create=True)
            store.versioned(Config("n", "a", "x"), str)
    finally:
        os.umask(previous)
    assert Store(store.folder).read_allocations() == allocations(1)
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    files = sorted(
        str(path.relative_to(store.folder)) for path in store.folder.rglob("*") if path.is_file()
    )
    assert files == ["allocations.json", "configs.json", "configs/n.a.json", "lock", "master.key"]
    assert {stat.S_IMODE((store.folder / name).stat().st_mode) for name in files} == {0o600}
    assert stat.S_IMODE((store.folder / "configs").stat().st_mode) == 0o700


def test_the_same_allocations_again_write_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_allocations(allocations(1))
    before = (tmp_path / "allocations.json").stat().st_ino
    store.write_allocations(allocations(1))
    assert (tmp_path / "allocations.json").stat().st_ino == before


def test_allocations_that_another_process_wrote_count(tmp_path: Path) -> None:
    mine, other = Store(tmp_path), Store(tmp_path)
    kept = allocations(1)
    mine.write_allocations(kept)
    assert mine.read_allocations() is kept
    other.write_allocations(allocations(2))
    assert mine.read_allocations() == allocations(2)
    mine.write_allocations(kept)
    assert other.read_allocations() == kept
    (tmp_path / "allocations.json").unlink()
    assert mine.read_allocations() == Allocations({})
    mine.write_allocations(kept)
    assert other.read_allocations() == kept
    edited = (
        (tmp_path / "allocations.json").read_bytes().replace(b'"port": 1,', b'"port": 3,')
    )  # as many bytes
    (tmp_path / "allocations.json").write_bytes(edited)
    assert mine.read_allocations() == Store(tmp_path).read_allocations() != kept


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b'{"version": 9, "networks": {}}', b"[1]"])
def test_a_damaged_file_is_never_an_empty_one(tmp_path: Path, text: bytes) -> None:
    for name, read in (
        ("allocations.json", Store(tmp_path).read_allocations),
        ("configs.json", Store(tmp_path).versions),
    ):
        (tmp_path / name).write_bytes(text)
        with pytest.raises(WarpError) as caught:
            read()
        assert caught.value.code == "state-broken" and name in caught.value.message


# the master secret


def test_the_master_is_made_once(tmp_path: Path) -> None:
    first = Store(tmp_path / "s").master_key(create=True)
    assert first is not None and len(first.reveal()) == 32
    assert (
        Store(tmp_path / "s").master_key(create=True)
        == Store(tmp_path / "s").master_key(create=False)
        == first
    )
    assert Store(tmp_path / "t").master_key(create=True) != first


def test_where_the_master_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, given, credentials = Store(tmp_path / "s"), tmp_path / "key", tmp_path / "cred"
    credentials.mkdir()
    raw, other = bytes(range(32)), bytes(range(1, 33))
    (credentials / "warpd.master").write_bytes(raw)
    (credentials / "warpd.master").chmod(0o440)
    given.write_text(derivation.encode(other) + "\n")
    given.chmod(0o600)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert reveal(store.master_key(create=True)) == raw
    assert reveal(store.master_key(create=True, path=given)) == other
    assert not store.folder.exists()


def reveal(secret: derivation.Secret | None) -> bytes:
    assert secret is not None
    return secret.reveal()


def test_a_named_file_that_is_missing_is_not_made(tmp_path: Path) -> None:
    for create in (False, True):
        with pytest.raises(WarpError) as caught:
            Store(tmp_path).master_key(create=create, path=tmp_path / "absent")
        assert caught.value.code == "master-missing"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "mode", "code"),
    [
        (bytes(32), 0o600, "malformed"),
        (b"x" * 31, 0o600, "malformed"),
        (b"y" * 32, 0o640, "shared"),
        (b"", 0o600, "malformed"),
    ],
)
def test_a_bad_master_is_refused_without_showing_it(
    tmp_path: Path, content: bytes, mode: int, code: str
) -> None:
    (tmp_path / "master.key").write_bytes(content)
    (tmp_path / "master.key").chmod(mode)
    with pytest.raises(WarpError) as caught:
        Store(tmp_path).master_key(create=True)
    assert caught.value.code == f"master-{code}"
    assert not content or content.decode() not in str(caught.value)


# config versions


def test_each_distinct_config_has_a_number(tmp_path: Path) -> None:
    store = Store(tmp_path)
    numbers = [
        store.versioned(Config("n", "a", body), lambda c: f"v{c.version}")[1]
        for body in ("x", "x", "y", "x", "z")
    ]
    assert numbers == ["v1", "v1", "v2", "v1", "v3"]
    assert store.versioned(Config("n", "b", "x"), str)[0].version == 1
    assert [(row["version"], row["exported"]) for row in store.history("n", "a")] == [
        (1, True),
        (2, True),
        (3, True),
    ]
    assert len(store.history("n", "a")[0]["date"]) == 10


def test_a_config_that_was_never_exported_shows(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.versioned(Config("n", "a", "x"), str)
    assert store.versions().of("n", "a", "x") == {"config_version": 1, "config_exported": True}
    assert store.versions().of("n", "a", "changed") == {
        "config_version": 2,
        "config_exported": False,
    }
    store.versioned(Config("n", "a", "y"), str, exported=False)
    assert store.versions().of("n", "a") == {"config_version": 2, "config_exported": False}
    store.versioned(Config("n", "a", "y"), str)
    assert store.versions().of("n", "a") == {"config_version": 2, "config_exported": True}


def test_what_a_version_said_is_kept_without_its_secrets(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for body in ("x", "y"):
        store.versioned(Config("n", "a", body), str)
    assert [store.masked("n", "a", version) for version in (1, 2)] == [{"body": "x"}, {"body": "y"}]
    with pytest.raises(WarpError) as caught:
        store.masked("n", "a", 3)
    assert caught.value.code == "version-unknown" and "1, 2" in caught.value.hint


def test_versions_of_an_older_warpd_are_read_and_have_no_values(tmp_path: Path) -> None:
    (tmp_path / "configs.json").write_text(
        '{"version": 1, "configs": {"n/a": [[1, "2026-01-01", "x", true]]}}'
    )
    store = Store(tmp_path)
    assert store.history("n", "a") == [
        {"version": 1, "date": "2026-01-01", "exported": True, "exports": []}
    ]
    with pytest.raises(WarpError):
        store.masked("n", "a", 1)
    assert store.versioned(Config("n", "a", "x"), str)[0].version == 1


def test_every_export_is_on_record(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for body, user, style in (("x", "ann", "vyos"), ("y", "bob", "json"), ("x", "eve\n", "vyos")):
        config, _ = store.versioned(Config("n", "a", body), str)
        store.log_export(config, config.version, style, user)
    store.log_export(Config("n", "b", "x"), 1, "json", "zoe")
    first, second = store.history("n", "a")
    assert [(each["user"], each["format"]) for each in first["exports"]] == [
        ("ann", "vyos"),
        ("eve\n", "vyos"),
    ]
    assert [each["user"] for each in second["exports"]] == ["bob"]
    assert all(each["time"].endswith("+00:00") for each in (*first["exports"], *second["exports"]))
    assert len((tmp_path / "exports.log").read_text().splitlines()) == 4
    assert stat.S_IMODE((tmp_path / "exports.log").stat().st_mode) == 0o600


def test_a_line_torn_by_a_crash_costs_that_line_only(tmp_path: Path) -> None:
    store = Store(tmp_path)
    config, _ = store.versioned(Config("n", "a", "x"), str)
    store.log_export(config, 1, "json", "ann")
    with (tmp_path / "exports.log").open("a") as file:
        file.write('{"time": "2026-01-01T00:00:00+00:00", "user": "to')
    store.log_export(config, 1, "json", "bob")
    assert [each["user"] for each in store.history("n", "a")[0]["exports"]] == ["ann", "bob"]


# the lock

HOLD = """
import sys
import threading
from pathlib import Path
from warpd.store.state_folder import Store
with Store(Path(sys.argv[1])).writer(command="warpctl apply"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_writer_and_busy_says_who_and_since_when(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    owner = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with owner:
        assert owner.stdout is not None and owner.stdout.readline() == "held\n"
        with pytest.raises(Busy) as caught, Store(tmp_path).writer(command="test"):
            pass
        assert f"warpctl apply (process {owner.pid}) is at work since 20" in caught.value.message
        assert caught.value.exit_code == 5
        Store(tmp_path).read_allocations()
        owner.kill()
        owner.wait(10)
    with Store(tmp_path).writer(command="test"):
        pass


def test_an_unusable_folder_is_the_operators_matter(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WarpError) as caught, Store(tmp_path / "file").writer(command="test"):
        pass
    assert caught.value.who == "operator" and "file" in caught.value.message


# crashes: a child dies in the middle, the parent looks


def in_child(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_dying_at_any_byte_leaves_the_old_allocations_or_the_new(tmp_path: Path) -> None:
    store, old, new = Store(tmp_path), allocations(1), allocations(2)
    store.write_allocations(old)
    size, killed = len(to_json(new)), 0

    def write(limit: int) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        store.write_allocations(new)

    for limit in range(size):
        killed += in_child(lambda limit=limit: write(limit)) == -signal.SIGXFSZ  # type: ignore[misc]
        assert store.read_allocations() == old
    print(f"killed at {killed} of {size} bytes, old allocations whole every time")
    assert killed == size
    store.write_allocations(new)
    assert store.read_allocations() == new


def test_dying_before_any_step_leaves_the_old_allocations_or_the_new(tmp_path: Path) -> None:
    old, new, seen = allocations(1), allocations(2), set()
    step = died = 0
    while True:
        store = Store(tmp_path / str(step))
        store.write_allocations(old)
        if (
            in_child(
                lambda store=store, step=step: dying(step, lambda: store.write_allocations(new))
            )
            == 0
        ):  # type: ignore[misc]
            break
        died += 1
        found = store.read_allocations()
        assert found in (old, new)
        seen.add(found.networks["n"].port)
        store.write_allocations(new)
        assert store.read_allocations() == new
        step += 1
    print(f"killed before each of {died} file operations")
    assert died >= 5 and seen == {1, 2}


def dying(step: int, work: Callable[[], object]) -> None:
    """Kill this process at its n-th operation on files."""
    left = step

    def hook(event: str, _: object) -> None:
        nonlocal left
        if event in ("open", "os.rename", "os.remove", "os.mkdir"):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(hook)
    work()


def test_a_patient_writer_waits_for_the_other(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    started = threading.Event()

    def hold() -> None:
        with Store(tmp_path / "state").writer("the other"):
            started.set()
            threading.Event().wait(0.3)

    other = threading.Thread(target=hold)
    other.start()
    assert started.wait(5)
    with pytest.raises(Busy), store.writer("hasty"):
        pass
    with store.writer("patient", patience_s=10):
        assert not other.is_alive() or other.join(5) is None


@pytest.mark.parametrize("again", [False, True])
def test_a_folder_that_goes_away_under_a_write_is_not_made_anew(
    tmp_path: Path, again: bool
) -> None:
    store = Store(tmp_path / "state")
    with store.writer("first"):
        store.write_allocations(Allocations())
    with store.writer_if_possible("second", make=again):
        store.folder.rename(tmp_path / "away")
        for write in (
            lambda: store.write_allocations(allocations(1)),
            lambda: store.write_file("history/000001.json", "{}"),
        ):
            with pytest.raises(WarpError):
                write()
    assert not store.folder.exists()
    with store.writer("third"):
        store.write_allocations(allocations(1))
    assert store.folder.exists(), "who may make it does"


def test_nothing_is_written_into_a_folder_that_has_taken_the_place_of_ours(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    with store.writer("first"):
        store.folder.rename(tmp_path / "away")
        store.folder.mkdir()
        with pytest.raises(WarpError, match="replaced"):
            store.write_allocations(allocations(1))
    assert not os.listdir(store.folder)
    with store.writer("second"):
        store.write_allocations(allocations(1))
    assert Store(store.folder).read_allocations() == allocations(1)


def test_no_descriptor_is_held_for_writing(tmp_path: Path) -> None:
    """One that is keeps its file system from being mounted read-only (`remount_ro` in fs/super.c:
    EBUSY).
    """
    store = Store(tmp_path / "state")
    with store.writer("one"):
        store.announce_daemon()
        held = [os.readlink(f"/proc/self/fd/{fd}") for fd in _writable_descriptors()]
        assert store.has_daemon()
    assert not [path for path in held if path.startswith(str(store.folder))]


def _writable_descriptors() -> list[str]:
    out = []
    for fd in os.listdir("/proc/self/fdinfo"):
        with contextlib.suppress(OSError):
            flags = int(
                Path(f"/proc/self/fdinfo/{fd}").read_text().split("flags:")[1].split()[0], 8
            )
            if flags & os.O_ACCMODE != os.O_RDONLY:
                out.append(fd)
    return out
