"""Allocations in a real kernel, by the command line: a rename that no peer notices, a move that
must be agreed to, a lock.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.conftest import sh

TEXT = """\
version: 1
gateway: {public_endpoint: 203.0.113.1}
networks:
  a: {type: secure-internet, expected_users: 1, endpoints: {phone: {type: mobile}}}
  b: {type: secure-internet, endpoints: {x: {type: mobile}}}
"""


def run(folder: Path, *words: str, state: str = "state") -> subprocess.CompletedProcess[str]:
    options = ["-c", str(folder / "warp.yaml"), "--state-dir", str(folder / state)]
    command = [sys.executable, "-c", "from warpd.cli.app import main; main()", *options, *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL
    )


def dump(vcid: int) -> list[list[str]]:
    """The device's key, and of each peer its keys and AllowedIPs."""
    device, *peers = (
        line.split("\t")
        for line in sh(f"ip netns exec warp-{vcid} wg show wg-{vcid} dump").splitlines()
    )
    return [device[:1], *([*peer[:2], peer[3]] for peer in peers)]


@pytest.mark.usefixtures("gateway")
def test_rename_grow_lock_and_rebuild(tmp_path: Path) -> None:
    yaml = tmp_path / "warp.yaml"
    yaml.write_text(TEXT)
    done = run(tmp_path, "apply", "--yes")
    assert done.returncode == 0, done.stderr
    assert run(tmp_path, "endpoint", "config", "a/phone").returncode == 0
    vcid = json.loads((tmp_path / "state" / "allocations.json").read_text())["networks"]["a"][
        "vcid"
    ]
    before = dump(vcid)

    renamed = TEXT.replace("  a: {", "  c: {renamed_from: a, ").replace(
        "phone: {", "handset: {renamed_from: phone, "
    )
    yaml.write_text(renamed)
    plan = json.loads(run(tmp_path, "plan", "-o", "json").stdout)
    assert plan["stale_configs"] == [] and plan["risks"] == [] and plan["changes"]
    assert {step["action"] for step in plan["steps"]} == {"update"}
    assert {field for step in plan["steps"] for field in step["fields"]} <= {"alias", "peer_alias"}
    assert run(tmp_path, "apply", "--yes").returncode == 0
    assert dump(vcid) == before

    yaml.write_text(yaml.read_text().replace("expected_users: 1", "expected_users: 6"))
    refused = run(tmp_path, "apply")
    assert refused.returncode == 1 and "--yes" in refused.stderr and "risk" in refused.stderr
    saved = tmp_path / "plan.json"
    assert run(tmp_path, "plan", "--out", str(saved)).returncode == 2
    assert run(tmp_path, "apply", str(saved)).returncode == 1
    assert json.loads(saved.read_text())["stale_configs"] == ["c/handset"]
    moved = run(tmp_path, "apply", "--yes")
    shown = moved.stdout + moved.stderr
    assert moved.returncode == 0 and "risk" in shown and "c/handset" in shown
    quarantined = json.loads(run(tmp_path, "status", "-o", "json").stdout)["quarantine"]
    assert [(row["network"], row["endpoint"], row["values"]["subnet"]) for row in quarantined] == [
        ("c", None, "10.100.0.0/31")
    ]

    assert run(tmp_path, "lock").returncode == 0
    (tmp_path / "fresh").mkdir(mode=0o700)
    key = tmp_path / "fresh" / "master.key"
    key.write_bytes((tmp_path / "state" / "master.key").read_bytes())
    key.chmod(0o600)
    rebuilt = run(tmp_path, "plan", "-o", "json", state="fresh")
    assert (rebuilt.returncode, json.loads(rebuilt.stdout)["steps"]) == (0, [])


@pytest.mark.usefixtures("gateway")
def test_a_new_key_of_the_gateway_leaves_peers_alone(tmp_path: Path) -> None:
    yaml = tmp_path / "warp.yaml"
    yaml.write_text(TEXT)
    assert run(tmp_path, "apply", "--yes").returncode == 0
    vcid = json.loads((tmp_path / "state" / "allocations.json").read_text())["networks"]["a"][
        "vcid"
    ]
    before = dump(vcid)
    yaml.write_text(TEXT.replace("a: {", "a: {rotation: 1, "))
    assert run(tmp_path, "apply", "--yes").returncode == 0
    after = dump(vcid)
    assert after[0] != before[0] and after[1:] == before[1:]
