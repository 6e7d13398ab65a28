"""`warpctl endpoint config` as operators run it: formats, folders, ports, history, differences, and
what it refuses.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import preloading
from warpd.clients import FORMATS
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.reconcile.engine import converge
from warpd.reconcile.incremental import planned_run
from warpd.service.workspace import Workspace

YAML = """version: 1
gateway: {{public_endpoint: vpn.example.com}}
networks:
  privacy:
    type: secure-internet
    expected_users: 2
    endpoints: {{phone: {{type: mobile, rotation: {rotation}}}}}
  wire:
    type: l2-point-to-point
    endpoints: {{left: {{type: cpe}}, right: {{type: cpe}}}}
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def warpctl(gateway: LiveKernel, tmp_path: Path) -> Iterator[Run]:
    path, state = tmp_path / "warp.yaml", tmp_path / "state"
    path.write_text(YAML.format(rotation=0))

    def run(*arguments: str, user: str = "ann") -> subprocess.CompletedProcess[str]:
        paths = ("-c", str(path), "--state-dir", str(state))
        command = [*preloading.warpctl(), *paths, "endpoint", "config"]
        environment = {**os.environ, "SUDO_USER": user}
        return subprocess.run(
            [*command, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            env=environment,
            check=False,
        )

    assert gateway
    yield run


def rotated(tmp_path: Path) -> None:
    (tmp_path / "warp.yaml").write_text(YAML.format(rotation=1))


def test_no_keys_are_made_for_a_gateway_that_has_lost_its_own(
    warpctl: Run, gateway: LiveKernel, tmp_path: Path
) -> None:
    """Those in the kernel would be of no use any more, and every client cut off."""
    workspace = Workspace(tmp_path / "warp.yaml", tmp_path / "state")
    with workspace.store.writer("test"):
        target = workspace.commit(workspace.read())
    assert converge(
        gateway, lambda: planned_run(gateway, target), planned_run(gateway, target)
    ).complete
    assert warpctl("privacy/phone").returncode == 0
    (tmp_path / "state").rename(tmp_path / "lost")
    for words in (["privacy/phone"], ["--all", "--out", str(tmp_path / "out")]):
        done = warpctl(*words)
        assert done.returncode == 1 and "master secret" in done.stderr, done
        assert "PrivateKey" not in done.stdout
        assert not (tmp_path / "state" / "master.key").exists()
    (tmp_path / "lost").rename(tmp_path / "state")
    assert warpctl("privacy/phone").returncode == 0


def test_every_format_comes_out_of_the_command(warpctl: Run) -> None:
    for style in FORMATS:
        done = warpctl("privacy/phone", "--format", style)
        assert done.returncode == 0 and "vpn.example.com" in done.stdout, done.stderr
    rows = history(warpctl, "privacy/phone")
    assert [row["version"] for row in rows] == [1]
    assert [each["format"] for each in rows[0]["exports"]] == list(FORMATS)
    assert {each["user"] for each in rows[0]["exports"]} == {"ann"}


def test_a_folder_gets_the_files_apart(warpctl: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    done = warpctl("wire/left", "--format", "networkd", "--lan-port", "eth7", "--out", str(out))
    assert done.returncode == 0 and done.stdout == "", done.stderr
    assert len(list(out.glob("*.netdev"))) == 3 and len(list(out.glob("*.network"))) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}
    assert "eth7" in next(out.glob("*-port.network")).read_text()


def test_a_new_key_is_a_new_version_and_the_difference_shows_no_key(
    warpctl: Run, tmp_path: Path
) -> None:
    first = warpctl("privacy/phone").stdout
    rotated(tmp_path)
    second = warpctl("privacy/phone", user="bob").stdout
    rows = history(warpctl, "privacy/phone")
    assert [[each["user"] for each in row["exports"]] for row in rows] == [["ann"], ["bob"]]
    done = warpctl("privacy/phone", "--diff", "1", "2", "-o", "json")
    assert {change["field"] for change in json.loads(done.stdout)["changes"]} == {
        "private_key",
        "preshared_key",
    }
    shown = warpctl("privacy/phone", "--diff", "1", "2").stdout + done.stdout
    lines = [*first.splitlines(), *second.splitlines()]
    secrets = {
        line.partition(" = ")[2]
        for line in lines
        if line.startswith(("PrivateKey", "PresharedKey"))
    }
    kept = [
        path.read_text()
        for path in (tmp_path / "state").rglob("*")
        if path.is_file() and path.suffix != ".key"
    ]
    assert len(secrets) == 4 and len(kept) >= 4
    assert not [secret for secret in secrets for text in (shown, *kept) if secret in text]
    assert warpctl("privacy/phone", "--diff", "1", "1").stdout == "no difference\n"
    assert warpctl("privacy/phone", "--diff", "1", "7").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["wire/left", "--format", "mikrotik"], "GRETAP"),
        (["privacy/phone", "--format", "vyos", "--qr"], "QR code"),
        (["wire/left", "--qr"], "hooks"),
        (["privacy/phone", "--lan-port", "eth1"], "nothing to bridge"),
        (["wire/left", "--lan-port", "eth1; reboot"], "no name for a port"),
        (["privacy/phone", "--format", "cisco"], "no format cisco"),
        (["privacy/phone", "--format", "vyos", "--out", "/tmp"], "is a folder"),
    ],
)
def test_what_cannot_be_made_is_refused_with_a_hint(
    warpctl: Run, arguments: list[str], words: str
) -> None:
    done = warpctl(*arguments)
    assert (
        done.returncode == 1
        and words in done.stderr
        and "hint:" in done.stderr
        and done.stdout == ""
    )
    assert "Traceback" not in done.stderr
    rows = [row for name in ("wire/left", "privacy/phone") for row in history(warpctl, name)]
    assert rows == []  # what was not given to anybody was not exported


def history(warpctl: Run, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(warpctl(name, "--history", "-o", "json").stdout)[
        "configs"
    ]
    return rows
