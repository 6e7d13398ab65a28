"""A daemon that is there suspends by itself, also where it cannot say so in the state folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from warpd.cli import output, suspend
from warpd.service import client
from warpd.service.workspace import Workspace


@pytest.mark.parametrize("uid", [0, 1000])
def test_a_daemon_that_answers_is_asked_whatever_the_state_folder_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int
) -> None:
    """On a read-only disk nobody can write `daemon.lock`; what root did by itself there, the daemon
    undid as drift.
    """
    workspace = Workspace(tmp_path / "warp.yaml", tmp_path / "state")
    asked = []

    def ask(method: str, what: str, *_args: object, **_named: object) -> Mapping[str, Any]:
        asked.append((method, what))
        return {"conditions": [], "state_dir": str(workspace.store.folder)}

    monkeypatch.setattr(client, "ask", ask)
    monkeypatch.setattr("os.geteuid", lambda: uid)

    def alone(_kernel: object) -> dict[str, Any]:
        raise AssertionError("root did it beside the daemon")

    assert not workspace.store.has_daemon()
    suspend._done(workspace, lambda daemon: daemon.ask("POST", "/v1/suspensions"), alone)
    assert asked[-1] == ("POST", "/v1/suspensions")


def test_what_could_not_be_written_down_says_what_ends_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where no daemon runs, nothing but the kernel has it: the next apply lets the endpoint in."""
    suspend._show({"unwritten": "the disk is full", "done": True}, "out", output.Format.text)
    told = capsys.readouterr().err
    assert "restart" in told and "apply while none runs" in told and "the disk is full" in told
