"""`plan --against`: from one YAML to another without root, a kernel, a state folder or a secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.command import Run

EXAMPLES = Path(__file__).parents[3] / "examples"
TEXT = """version: 1
gateway: {public_endpoint: vpn.example.com}
networks:
  a:
    type: secure-internet
    private_key_file: /etc/warpd/keys/a
    endpoints:
      p: {type: mobile}
  b:
    type: l3vpn-gateway
    endpoints:
      x: {type: cpe, routes: [172.20.1.0/24]}
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The YAML that is in force, in a folder of its own."""
    path = tmp_path / "base" / "warp.yaml"
    path.parent.mkdir()
    path.write_text(TEXT)
    return path


def plan_json(run: Run, against: str | Path) -> dict[str, Any]:
    code, out, err = run("plan", "--against", str(against), "-o", "json")
    data: dict[str, Any] = json.loads(out)
    assert code == (2 if data["changes"] else 0), err
    return data


def rows(data: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(row["action"], row["network"], row["endpoint"]) for row in data["overview"]}


def test_from_nothing(run: Run, yaml: Path) -> None:
    code, out, err = run("plan", "--against", "empty")
    assert code == 2 and err == ""
    assert out.startswith("Not the live kernel")
    assert "+ endpoint a/p 10." in out and "2 networks and 2 endpoints to add" in out
    assert run("plan", "--against", "empty")[1] == out, "the same again"
    assert plan_json(run, "empty")["against"] == "empty"
    assert not (yaml.parent / "state").exists()


def test_the_same_yaml_changes_nothing(run: Run, base: Path) -> None:
    data = plan_json(run, base)
    assert not data["changes"] and data["steps"] == [] and data["warnings"] == []
    assert "No changes" in run("plan", "--against", str(base))[1]


def test_only_what_differs_is_planned(run: Run, base: Path, yaml: Path) -> None:
    yaml.write_text(TEXT.replace("x: {", "y: {type: cpe}\n      x: {"))
    data = plan_json(run, base)
    assert rows(data) == {("create", "b", "y")}
    assert all(step["network"] == "b" for step in data["steps"]) and data["stale_configs"] == []
    yaml.write_text(TEXT.replace("  a:\n", "  c:\n    renamed_from: a\n"))
    assert rows(plan_json(run, base)) == {("rename", "c", "")}


def test_a_removal_is_a_risk(run: Run, base: Path, yaml: Path) -> None:
    yaml.write_text(TEXT.partition("  b:")[0])
    data = plan_json(run, base)
    assert ("delete", "b", "") in rows(data) and data["risks"]


def test_allocations_are_those_of_the_lock_files(run: Run, base: Path, yaml: Path) -> None:
    assert run("lock")[0] == 0
    lock = yaml.with_name("warp.lock.yaml")
    (base.parent / lock.name).write_text(lock.read_text())
    yaml.write_text(
        TEXT.replace("  a:\n", "  0a:\n    type: l3vpn-gateway\n    endpoints: {}\n  a:\n")
    )
    assert {network for _, network, _ in rows(plan_json(run, base))} <= {"0a", ""}
    moved = lock.read_text().replace("51820", "51829")
    assert moved != lock.read_text()
    lock.write_text(moved)
    yaml.write_text(TEXT)
    data = plan_json(run, base)
    assert ("update", "a", "") in rows(data) and data["stale_configs"] == ["a/p"]


def test_another_key_file_is_another_key(run: Run, base: Path, yaml: Path) -> None:
    yaml.write_text(TEXT.replace("keys/a", "keys/new"))
    data = plan_json(run, base)
    assert rows(data) == {("update", "a", "")} and data["stale_configs"] == ["a/p"]
    assert {step["kind"] for step in data["steps"]} == {"wireguard"}
    assert "(secret)" in json.dumps(data["steps"])


def test_what_is_invalid_is_named(run: Run, base: Path, yaml: Path) -> None:
    yaml.write_text(TEXT.replace("cpe", "car"))
    code, _out, err = run("plan", "--against", str(base))
    assert code == 4 and f"{yaml}:12:" in err
    yaml.write_text(TEXT)
    base.write_text("version: 2\n")
    code, _out, err = run("plan", "--against", str(base))
    assert code == 4 and f"{base}:1:" in err
    code, _out, err = run("plan", "--against", str(base.parent / "none.yaml"))
    assert code == 1 and "none.yaml" in err


def test_it_is_not_saved(run: Run, base: Path, tmp_path: Path) -> None:
    code, _out, err = run("plan", "--against", str(base), "--out", str(tmp_path / "p.json"))
    assert code == 1 and "--out" in err and not (tmp_path / "p.json").exists()


@pytest.mark.parametrize("name", ["everything", "l2-mesh"])
def test_every_type_can_be_made_in_memory(name: str, run: Run) -> None:
    path = str(EXAMPLES / f"{name}.yaml")
    code, out, _err = run("-c", path, "plan", "--against", path, "-o", "json")
    assert code == 0 and json.loads(out)["steps"] == []
