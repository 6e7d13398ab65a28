"""The templates for CI systems and pre-commit: each hook, and each script as a whole, runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml as pyyaml

from tests.command import Run
from tests.git import git

REPOSITORY = Path(__file__).parents[3]
FOLDER = REPOSITORY / "examples" / "ci"
TEXT = (REPOSITORY / "examples" / "quickstart.yaml").read_text()


def read(path: Path) -> Any:
    return pyyaml.safe_load(path.read_text())


def lines_of_hooks(hooks: Sequence[dict[str, Any]]) -> Iterator[str]:
    for hook in hooks:
        yield shlex.join([*shlex.split(hook["entry"]), *hook.get("args", ())])


def lines_of_readme() -> Iterator[str]:
    """Of the hooks that are written there."""
    blocks = re.findall(r"(?:^    .*\n)+", (FOLDER / "README.md").read_text(), re.MULTILINE)
    for block in blocks:
        for repository in pyyaml.safe_load(block)["repos"]:
            if repository["repo"] == "local":
                yield from lines_of_hooks(repository["hooks"])
            else:
                known = {hook["id"] for hook in read(REPOSITORY / ".pre-commit-hooks.yaml")}
                assert {hook["id"] for hook in repository["hooks"]} == known


LINES = [*lines_of_hooks(read(REPOSITORY / ".pre-commit-hooks.yaml")), *lines_of_readme()]


@pytest.mark.parametrize("line", LINES)
def test_a_hook_runs(line: str, run: Run, yaml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(yaml.parent)
    assert run("lock")[0] == 0
    code, _out, err = run(*shlex.split(line)[1:])
    assert code == 0, err


# -- the scripts, run by bash in a clone, on a branch that adds an endpoint


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone as a CI system makes it: `main` is what was reviewed, the branch adds `phone-9`."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    git(tmp_path, "init", "-q", "-b", "main", str(origin))
    (origin / "warp.yaml").write_text(TEXT)
    lock(origin)
    git(origin, "add", ".")
    git(origin, "commit", "-qm", "main")
    git(tmp_path, "clone", "-q", origin.as_uri(), str(clone))
    git(clone, "checkout", "-qb", "branch")
    lines = TEXT.splitlines(keepends=True)
    place = next(number for number, line in enumerate(lines) if "phone-1:" in line)
    lines.insert(place, lines[place].replace("phone-1", "phone-9"))
    (clone / "warp.yaml").write_text("".join(lines))
    lock(clone)
    git(clone, "commit", "-qam", "branch")
    return clone


def lock(folder: Path) -> None:
    words = [*WARPCTL, "-c", "warp.yaml", "--state-dir", "/nonexistent", "lock"]
    subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)


WARPCTL = (sys.executable, "-c", "from warpd.cli.app import main; main()")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def run_script(lines: Sequence[str], clone: Path, **variables: str) -> None:
    """Run a script as the runners do: it ends at the first command that fails."""
    programs = clone.parent / "programs"
    programs.mkdir()
    program = programs / "warpctl"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(WARPCTL)} "$@"\n')
    program.chmod(0o755)
    search = f"{programs}:{os.environ['PATH']}"
    environment = {**ENVIRONMENT, "PATH": search, "WARPD_STATE_DIR": "/nonexistent", **variables}
    done = subprocess.run(
        ["bash", "-e", "-c", "\n".join(lines)],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_script_of_github(clone: Path) -> None:
    summary = clone.parent / "summary"
    job = read(FOLDER / "github.yaml")["jobs"]["validate"]
    steps = [step["run"] for step in job["steps"] if "pip" not in step.get("run", "pip")]
    run_script(
        steps,
        clone,
        WARPD_CONFIG=job["env"]["WARPD_CONFIG"],
        GITHUB_BASE_REF="main",
        GITHUB_STEP_SUMMARY=str(summary),
    )
    lines = summary.read_text().splitlines()
    assert lines[0].startswith("    Not the live kernel")
    assert any(line.startswith("    + endpoint privacy/phone-9") for line in lines)
    assert all(line.startswith("    ") for line in lines), "text of the YAML is no markup"


def test_the_script_of_gitlab(clone: Path) -> None:
    template = read(FOLDER / "gitlab.yaml")
    job = template["warp"]
    run_script(
        job["script"],
        clone,
        WARPD_CONFIG=template["variables"]["WARPD_CONFIG"],
        CI_MERGE_REQUEST_TARGET_BRANCH_NAME="main",
    )
    reports = job["artifacts"]["reports"]
    assert json.loads((clone / reports["codequality"]).read_text()) == []
    assert ElementTree.fromstring((clone / reports["junit"]).read_text()).get("failures") == "0"
    (plan,) = job["artifacts"]["paths"]
    assert "+ endpoint privacy/phone-9" in (clone / plan).read_text()
