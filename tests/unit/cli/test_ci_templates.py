"""The templates for CI systems and pre-commit: every command in them runs on an example's YAML."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml as pyyaml

from tests.command import Run

REPOSITORY = Path(__file__).parents[3]
FOLDER = REPOSITORY / "examples" / "ci"
TEXT = (REPOSITORY / "examples" / "quickstart.yaml").read_text()


def read(path: Path) -> Any:
    return pyyaml.safe_load(path.read_text())


def lines_of_github() -> Iterator[str]:
    for step in read(FOLDER / "github.yaml")["jobs"]["validate"]["steps"]:
        yield from step.get("run", "").splitlines()


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


LINES = {
    "github": [*lines_of_github()],
    "gitlab": [*read(FOLDER / "gitlab.yaml")["warp"]["script"]],
    "hooks": [*lines_of_hooks(read(REPOSITORY / ".pre-commit-hooks.yaml"))],
    "readme": [*lines_of_readme()],
}


@pytest.mark.parametrize("place", LINES)
def test_its_commands_run(
    place: str, run: Run, yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(yaml.parent)
    assert run("lock")[0] == 0
    commands = [line for line in LINES[place] if line.startswith("warpctl ")]
    assert commands
    for line in commands:
        words = shlex.split(re.split(r" [>|] | \|\| ", line)[0])
        code, _out, err = run(*words[1:])
        assert code == 0, (line, err)


def test_reports_of_gitlab_are_written_by_its_script() -> None:
    job = read(FOLDER / "gitlab.yaml")["warp"]
    for report, file in job["artifacts"]["reports"].items():
        style = {"codequality": "gitlab"}.get(report, report)
        assert any(f"--format {style} > {file}" in line for line in job["script"]), report
