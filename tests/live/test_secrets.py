"""P16: no key where it does not belong.

Keys of every kind are known here, and looked for in all that is left or said.

Searched: what every command prints (text and JSON), the kernel's log, every process's arguments
(sampled all the while), every file of the state folder but the master secret's own, the YAML after
edits, and the core of a process that was made to crash. `endpoint config` prints one endpoint's
keys: its output may hold these and no others.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import world
from warpd.keys import derivation
from warpd.keys.derivation import Secret

MASTER = bytes(range(101, 133))
BODY = {
    "version": 1,
    "gateway": {"public_endpoint": "203.0.113.1", "pools": {"ports": "51820-51899"}},
    "networks": {
        name.replace("_", "-"): body
        for mode in ("namespace", "vrf")
        for name, body in world.every_type(mode).items()
    },
}
COMMANDS = (
    "validate",
    "plan",
    "plan -o json",
    "apply --yes",
    "plan",
    "status",
    "status -o json",
    "network list",
    "network list -o json",
    "network show n-web",
    "network show v-corp -o json",
    "endpoint list",
    "endpoint list -o json",
    "endpoint show n-web/e1",
    "endpoint show n-web/e1 -o json",
    "doctor",
    "doctor -o json",
    "schema",
    "endpoint rotate n-web/e1",
    "plan",
    "plan -o json",
    "apply --yes",
    "endpoint config n-web/e1 --history",
    "endpoint config n-web/e1 --history -o json",
    "endpoint config n-web/e1 --diff 1 2",
    "endpoint add n-web z-late --type mobile",
    "apply --yes -o json",
    "destroy --yes",
)
PRINTING = ("endpoint config n-web/e1", "endpoint config n-corp/lap --format json")


def spellings(raw: bytes) -> Iterator[bytes]:
    yield raw
    yield base64.b64encode(raw)
    yield raw.hex().encode()
    yield json.dumps(list(raw)).encode()


class Sampler(threading.Thread):
    """Every process's arguments and environment-free command line, again and again."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[bytes] = set()
        self.samples = 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.005):
            for entry in os.scandir("/proc"):
                if entry.name.isdigit():
                    self._look(entry.name)
            self.samples += 1

    def _look(self, pid: str) -> None:
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                self.seen.add(file.read())
        except OSError:
            return  # it has ended


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    config, state = tmp_path / "warp.yaml", tmp_path / "state"
    config.write_text(json.dumps(BODY, indent=1))
    state.mkdir(mode=0o700)
    (state / "master.key").write_bytes(MASTER)
    (state / "master.key").chmod(0o600)
    return config, state


def warpctl(paths: tuple[Path, Path], command: str) -> bytes:
    argv = [
        sys.executable,
        "-m",
        "warpd.cli",
        "-c",
        str(paths[0]),
        "--state-dir",
        str(paths[1]),
        *command.split(),
    ]
    done = subprocess.run(argv, capture_output=True, timeout=120, check=False)
    assert done.returncode in (0, 1, 2), f"{command}: {done.stderr.decode()[-2000:]}"
    assert b"Traceback" not in done.stderr
    return done.stdout + done.stderr


def derived(paths: tuple[Path, Path]) -> dict[str, bytes]:
    """Every key that the gateway has or hands out, by a name."""
    allocated = json.loads((paths[1] / "allocations.json").read_text())["networks"]
    master = Secret(MASTER)
    out = {"master": MASTER}
    for network, item in allocated.items():
        out[f"{network} device"] = derivation.network_key(master, item["vcid"]).reveal()
        for name in item["endpoints"]:
            for turn in (0, 1):
                out[f"{network}/{name} private {turn}"] = derivation.endpoint_key(
                    master, item["vcid"], name, turn
                ).reveal()
                out[f"{network}/{name} preshared {turn}"] = derivation.preshared_key(
                    master, item["vcid"], name, turn
                ).reveal()
    return out


def found_in(text: bytes, planted: dict[str, bytes]) -> list[str]:
    return [
        name
        for name, raw in planted.items()
        if any(spelling in text for spelling in spellings(raw))
    ]


def test_no_key_where_it_does_not_belong(
    gateway: object, paths: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    sampler = Sampler()
    sampler.start()
    texts = {}
    for number, command in enumerate(COMMANDS):
        texts[f"{number} {command}"] = warpctl(paths, command)
        if command == "apply --yes":
            for printing in PRINTING:
                texts[f"{number} {printing}"] = warpctl(paths, printing)
    sampler.over.set()
    sampler.join(5)
    planted = derived(paths)
    assert len(planted) > 100
    found = [
        (where, name)
        for where, text in texts.items()
        for name in found_in(text, planted)
        if not may_print(where, name)
    ]
    printed = [
        name
        for where, text in texts.items()
        if "config" in where
        for name in found_in(text, planted)
    ]
    assert printed, "the control: a printed config holds its endpoint's keys, so they can be found"
    found += [("argv", name) for line in sampler.seen for name in found_in(line, planted)]
    log = subprocess.run(["dmesg"], capture_output=True, check=False).stdout
    found += [("kernel log", name) for name in found_in(log, planted)]
    files = [path for path in [*paths[1].rglob("*"), paths[0]] if path.is_file()]
    found += [
        (path.name, name)
        for path in files
        if path.name != "master.key"
        for name in found_in(path.read_bytes(), planted)
    ]
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in paths[1].rglob("*")
        if path.is_file()
    }
    assert set(modes.values()) == {0o600}, modes
    assert stat.S_IMODE(paths[1].stat().st_mode) == 0o700
    with capsys.disabled():
        places = len(texts) + len(sampler.seen) + len(files)
        print(
            f"\n  keys planted {len(planted)}, places searched {places}, argv sampled"
            f" {sampler.samples} times,",
            end="",
        )
        print(f" found {len(found)}")
    assert not found


def may_print(where: str, name: str) -> bool:
    """A config that was asked for holds the keys of its own endpoint."""
    return any(
        f"endpoint config {own}" in where and name.startswith(own)
        for own in ("n-web/e1", "n-corp/lap")
    ) and "--" not in (where.replace("--format json", ""))


CRASH = """
import os, resource, signal, sys
from pathlib import Path
from warpd.service.workspace import Workspace
workspace = Workspace(Path(sys.argv[1]), Path(sys.argv[2]))
target = workspace.target(workspace.read(), create=False)
print(resource.getrlimit(resource.RLIMIT_CORE)[0], flush=True)
os.kill(os.getpid(), signal.SIGSEGV)
"""


def test_a_crash_leaves_no_core(paths: tuple[Path, Path], tmp_path: Path) -> None:
    """Also where cores are wanted: from the moment a key is in memory there are none."""

    def allow() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    folder = tmp_path / "here"
    folder.mkdir()
    argv = [sys.executable, "-c", CRASH, str(paths[0]), str(paths[1])]
    done = subprocess.run(
        argv, capture_output=True, cwd=folder, preexec_fn=allow, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGSEGV, done.stderr
    assert done.stdout.strip() == b"0"
    assert not list(folder.iterdir())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_master_secret_that_others_can_read_is_refused(
    paths: tuple[Path, Path], mode: int
) -> None:
    (paths[1] / "master.key").chmod(mode)
    argv = [
        sys.executable,
        "-m",
        "warpd.cli",
        "-c",
        str(paths[0]),
        "--state-dir",
        str(paths[1]),
        "plan",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "master.key" in done.stderr
