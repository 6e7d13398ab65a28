"""Merges that git could not finish: markers are named at their lines, a lock is resolved, a driver
keeps both sides.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from warpd.allocation.lockfile import lock_text, parsed
from warpd.allocation.merge import merged_locks
from warpd.errors import InvalidIntent
from warpd.intent.file_names import LOCK_FILE
from warpd.service.workspace import Workspace
from warpd.yamlfile.conflict_markers import MarkedConflict, conflicts, sides

YAML = (
    "version: 1\nnetworks:\n  a: {type: l3vpn-gateway, expected_users: 6, endpoints: {x: {type:"
    " cpe}}}\n"
)
DIFF3 = "a\n<<<<<<< HEAD\nours\n||||||| base\nold\n=======\ntheirs\n>>>>>>> other\nb\n"


def test_both_sides_of_a_text() -> None:
    assert sides(DIFF3) == ("a\nours\nb\n", "a\ntheirs\nb\n")
    assert sides(DIFF3.replace("||||||| base\nold\n", "")) == ("a\nours\nb\n", "a\ntheirs\nb\n")
    assert conflicts(DIFF3) == [MarkedConflict(2, 8)] and conflicts("a: |\n  x\n=======\n") == []


def test_markers_in_the_yaml_are_named_at_their_line(tmp_path: Path) -> None:
    yaml = tmp_path / "warp.yaml"
    yaml.write_text(
        "version: 1\nnetworks:\n<<<<<<< HEAD\n  a: {type: l2-mesh}\n=======\n  b: {type:"
        " l2-mesh}\n>>>>>>> x\n"
    )
    with pytest.raises(InvalidIntent) as caught:
        Workspace(yaml, tmp_path / "state").read()
    (found,) = caught.value.findings
    assert found.code == "merge-conflict" and found.where is not None and found.where.line == 3
    assert "ends at line 7" in found.message


@pytest.mark.parametrize("mark", ["<<<<<<< HEAD", "<<<<<<<", "=======", ">>>>>>> x", "||||||| 1"])
def test_a_marker_that_is_left_alone_is_named_at_its_line(tmp_path: Path, mark: str) -> None:
    yaml = tmp_path / "warp.yaml"
    yaml.write_text(f"version: 1\nnetworks:\n{mark}\n  a: {{type: l2-mesh}}\n")
    with pytest.raises(InvalidIntent) as caught:
        Workspace(yaml, tmp_path / "state").read()
    (found,) = caught.value.findings
    assert found.code == "merge-conflict" and found.where is not None and found.where.line == 3
    assert "marker of a git conflict" in found.message


def test_a_text_that_is_sound_yaml_has_no_conflict(tmp_path: Path) -> None:
    yaml = tmp_path / "warp.yaml"
    text = "  a:\n    type: l2-mesh\n    description: |\n      <<<<<<< x\n      ======="
    yaml.write_text(f"version: 1\nnetworks:\n{text}\n# <<<<<<< y\n")
    assert Workspace(yaml, tmp_path / "state").read().intent.networks["a"].description


def locked(folder: Path, text: str) -> str:
    """The lock that a YAML leads to on a gateway without a past."""
    folder.mkdir()
    (folder / "warp.yaml").write_text(text)
    return lock_text(Workspace(folder / "warp.yaml", folder / "state").read().allocations)


def test_a_lock_with_conflicts_is_resolved_and_no_number_is_given_twice(tmp_path: Path) -> None:
    body = "{type: l3vpn-gateway, expected_users: 6, endpoints: {e: {type: cpe}}}"
    both = {name: f"{YAML}  {name}: {body}\n" for name in "bc"}
    ours, theirs = (locked(tmp_path / name, text) for name, text in both.items())
    place = tmp_path / "merged"
    place.mkdir()
    (place / "warp.yaml").write_text(both["b"] + both["c"].splitlines()[-1] + "\n")
    shared = locked(tmp_path / "base", YAML)
    files = {"ours": ours, "base": shared, "theirs": theirs}
    for name, text in files.items():
        (place / name).write_text(text)
    merged = subprocess.run(
        ["git", "merge-file", "-p", *files], cwd=place, capture_output=True, text=True, check=False
    )
    assert merged.returncode > 0 and "<<<<<<<" in merged.stdout
    (place / LOCK_FILE).write_text(merged.stdout)
    command = [
        sys.executable,
        "-m",
        "warpd.cli",
        "-c",
        str(place / "warp.yaml"),
        "--state-dir",
        str(place / "state"),
    ]
    assert (
        subprocess.run(
            [*command, "validate"], capture_output=True, text=True, check=False
        ).returncode
        == 4
    )
    done = subprocess.run([*command, "lock"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "network c gets numbers of its own" in done.stderr, done.stderr
    held = parsed(place / LOCK_FILE, (place / LOCK_FILE).read_bytes())
    assert held.networks["b"] == parsed(place, ours.encode()).networks["b"]
    assert len({item.port for item in held.networks.values()}) == 3 and set(held.networks) == {
        "a",
        "b",
        "c",
    }
    assert (
        subprocess.run([*command, "lock", "--check"], capture_output=True, check=False).returncode
        == 0
    )


def test_the_driver_keeps_both_sides(tmp_path: Path) -> None:
    wide = YAML.replace("endpoints: {", "endpoints: {%s: {type: cpe}, ")
    for name, each in (("ours", "m"), ("theirs", "n")):
        (tmp_path / name).write_text(locked(tmp_path / f"of-{name}", wide % each))
    command = [
        sys.executable,
        "-m",
        "warpd.cli",
        "lock",
        "--merge",
        str(tmp_path / "ours"),
        str(tmp_path / "theirs"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "endpoint a/n gets an address of its own" in done.stderr, (
        done.stderr
    )
    assert set(parsed(tmp_path, (tmp_path / "ours").read_bytes()).networks["a"].endpoints) == {
        "m",
        "x",
    }


def test_the_same_on_both_sides_is_the_same(tmp_path: Path) -> None:
    held = parsed(tmp_path, locked(tmp_path / "a", YAML).encode())
    assert merged_locks(held, held) == (held, ())
