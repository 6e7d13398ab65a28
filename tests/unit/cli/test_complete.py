"""What the package's completion offers, by the table that the build makes of the commands and the
program that reads it. What the shells make of it: `test_shells`.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import warpd.cli
from tests.unit.cli.completion import PROGRAM, REPOSITORY, TABLE, TEXT, built
from warpd.cli import complete
from warpd.cli.app import app
from warpd.cli.complete import all_names, of_bash, offers
from warpd.intent.loader import load


@pytest.fixture(scope="module")
def table(completion_tree: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((completion_tree / TABLE).read_text())
    return found


def test_two_builds_are_the_same(completion_tree: Path, tmp_path: Path) -> None:
    built(tmp_path)
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 5
    for name in files:
        assert (tmp_path / name).read_bytes() == (completion_tree / name).read_bytes()


def test_every_command_is_in_the_table(table: dict[str, Any]) -> None:
    def compare(node: dict[str, Any], command: Any) -> int:
        more = getattr(command, "commands", {})
        assert {name for name in more if not more[name].hidden} == set(node["commands"])
        return 1 + sum(compare(node["commands"][name], more[name]) for name in node["commands"])

    for module in pkgutil.iter_modules(warpd.cli.__path__):
        importlib.import_module(f"warpd.cli.{module.name}")
    assert compare(table, get_command(app)) > 40


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("network show c", ["corp"]),
        ("network show -o json c", ["corp"]),
        ("-o json network show c", ["corp"]),
        ("network show corp c", []),
        ("endpoint show ", ["corp/", "web/"]),
        ("endpoint show corp/lap", ["corp/laptop-10", "corp/laptop-2"]),
        ("explain corp/laptop-2 w", ["web/"]),
        ("exec c", ["corp"]),
        ("status w", ["web"]),
        ("events --kind ch", ["change"]),
        ("endpoint list --sort h", ["handshake"]),
        ("endpoint config --format=wg", ["--format=wg-quick"]),
        ("endpoint config --format wg", ["wg-quick"]),
        ("validate --format s", ["sarif"]),
        ("rollback --to ", ["12", "9"]),
        ("rollback -ojson --to 9", ["9"]),
        ("plan --verb", ["--verbose"]),
        ("plan --conf", ["--config"]),
        ("plan --out ", []),
        ("endpoint conf", ["config"]),
        ("no-such-command x", []),
        ("network no-such ", []),
    ],
)
def test_what_is_offered(
    table: dict[str, Any], tmp_path: Path, line: str, offered: list[str]
) -> None:
    config, state = tmp_path / "warp.yaml", tmp_path / "state"
    config.write_text(TEXT)
    (state / "history").mkdir(parents=True)
    for name in ("000009.json", "000012.json"):
        (state / "history" / name).touch()
    *words, begun = f"-c {config} --state-dir={state} {line}".split(" ")
    assert [word for word, _help in offers(table, words, begun)] == offered


def test_commands_come_with_what_they_do(table: dict[str, Any]) -> None:
    (found,) = offers(table, [], "vali")
    assert found[0] == "validate" and found[1].startswith("Check the YAML")


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "examples").glob("*.yaml")), ids=lambda path: path.stem
)
def test_names_are_those_that_the_loader_reads(path: Path) -> None:
    intent = load(path).intent
    assert intent is not None
    wanted = set(intent.networks)
    for network, body in intent.networks.items():
        wanted |= {f"{network}/{name}" for name in body.endpoints}
    assert all_names(str(path), "/nonexistent") == sorted(wanted)


def test_names_of_a_folder_and_of_what_is_pulled(tmp_path: Path) -> None:
    config, state = tmp_path / "etc", tmp_path / "state"
    pulled = state / "source" / "git" / "current"
    for folder in (config / "networks.d", pulled):
        folder.mkdir(parents=True)
    (config / "warp.yaml").write_text("version: 1\nnetworks: {a: {endpoints: {}}}\n")
    (config / "networks.d" / "b.yaml").write_text("networks:\n  b: {endpoints: {x: {}}}\n")
    assert all_names(str(config), str(state)) == ["a", "b", "b/x"]
    (pulled / "warp.yaml").write_text(TEXT)
    (config / "networks.d" / "b.yaml").unlink()
    (config / "warp.yaml").write_text("version: 1\nsource: {git: x}\n")
    assert "corp/other" in all_names(str(config), str(state))


def test_what_cannot_be_parsed_is_read_as_far_as_it_can(tmp_path: Path) -> None:
    path = tmp_path / "warp.yaml"
    path.write_text(TEXT + "  third: {\n")
    assert "web/phone" in all_names(str(path), "")
    path.write_bytes(b"\xff\xfe\0")
    assert all_names(str(path), "") == [] and all_names(str(tmp_path / "none.yaml"), "") == []


def test_names_in_large_files_are_kept_until_these_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = tmp_path / "warp.yaml", tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    comment = "#" * complete.CACHED_BYTES
    path.write_text(TEXT + comment)
    names = all_names(str(path), "")
    (kept,) = (cache / "warpctl").iterdir()
    assert kept.read_text().split() == names and "web/phone" in names
    kept.write_text("kept\n")
    assert all_names(str(path), "") == ["kept"], "the file is not parsed again"
    path.write_text(TEXT.replace("phone", "tablet") + comment)
    assert "web/tablet" in all_names(str(path), "")
    assert len(list((cache / "warpctl").iterdir())) == 1
    if os.geteuid() == 0:  # a folder of somebody else is not written to
        os.chown(cache / "warpctl", 65534, 65534)
        path.write_text(TEXT + comment + "#")
        assert "web/phone" in all_names(str(path), "")
        assert len(list((cache / "warpctl").iterdir())) == 1


def test_words_that_bash_has_cut() -> None:
    assert of_bash(["warpctl", "x", "--format", "=", "g"], 4) == (
        ["warpctl", "x"],
        "--format=g",
        "--format=",
    )
    assert of_bash(["warpctl", "x", "--format", "="], 3) == (
        ["warpctl", "x"],
        "--format=",
        "--format=",
    )
    assert of_bash(["warpctl", "x"], 2) == (["warpctl", "x"], "", "")


def test_a_tab_loads_neither_commands_nor_models(completion_tree: Path) -> None:
    code = "import runpy, sys; sys.argv = ['x', '1', 'warpctl', 'status', '']; sys.argv[1] = '2'"
    run = f"{code}; runpy.run_path({str(completion_tree / PROGRAM)!r}, "
    done = subprocess.run(
        [sys.executable, "-c", run + "run_name='__main__'); print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "WARPD_CONFIG": str(REPOSITORY / "examples" / "quickstart.yaml")},
    )
    offered, modules = done.stdout.splitlines()[:-1], done.stdout.splitlines()[-1].split()
    assert offered == ["privacy\t"]
    assert not {"typer", "pydantic", "warpd.cli.app"} & set(modules) and "yaml" in modules
