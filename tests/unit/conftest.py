"""Fixtures of tests that run `warpctl` in this very process, on a YAML of the test's own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.command import Run
from warpd.cli.app import main


@pytest.fixture
def yaml(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """`warp.yaml` with the `TEXT` of the test's module, where it has one; else a path without a
    file.
    """
    path = tmp_path / "warp.yaml"
    text = getattr(request.module, "TEXT", None)
    if text is not None:
        path.write_text(text)
    return path


@pytest.fixture
def run(yaml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `warpctl` on that file and a state folder beside it."""

    def call(*words: str) -> tuple[int, str, str]:
        state = str(yaml.parent / "state")
        monkeypatch.setattr(sys, "argv", ["warpctl", "-c", str(yaml), "--state-dir", state, *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call
