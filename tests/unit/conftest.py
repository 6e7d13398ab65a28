"""Fixtures of tests that run `warpctl` in this very process, on a YAML of the test's own."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.command import Run
from warpd.cli import export
from warpd.cli.app import main
from warpd.kernel.state import DefaultRoute
from warpd.testing.fake_kernel import PLAIN, FakeKernel


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
    """Runs `warpctl` on that file and a state folder beside it.

    `endpoint config` sees a kernel in memory: no test depends on what this machine runs.
    """
    kernel = FakeKernel(replace(PLAIN, hops=(DefaultRoute(4, "eth0", "203.0.113.254"),)))
    monkeypatch.setattr(export, "live_kernel", lambda: contextlib.nullcontext(kernel))

    def call(*words: str) -> tuple[int, str, str]:
        state = str(yaml.parent / "state")
        monkeypatch.setattr(sys, "argv", ["warpctl", "-c", str(yaml), "--state-dir", state, *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call
