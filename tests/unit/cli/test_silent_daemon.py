"""A daemon that hangs: its socket takes connections, and nothing answers."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from warpd.cli.asking import WAITING, DaemonGateway
from warpd.cli.conditions import conditions_now, watch_daemon
from warpd.errors import WarpError
from warpd.service import client
from warpd.service.workspace import Workspace


def test_a_daemon_that_hangs_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WARPD_SOCKET", str(tmp_path / "socket"))
    monkeypatch.setattr(client, "AT_ONCE_S", 0.2)
    monkeypatch.setattr(client, "TIMEOUT_S", 1.0)
    monkeypatch.setattr("warpd.cli.asking.through_daemon", lambda: False)
    workspace = Workspace(tmp_path / "warp.yaml", tmp_path / "state")
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(tmp_path / "socket"))
        hanging.listen(8)
        assert [item.code for item in watch_daemon(workspace)[2]] == ["daemon-silent"]
        assert conditions_now(workspace)[0]["code"] == "daemon-silent"
        assert not capsys.readouterr().err
        with pytest.raises(WarpError, match="does not answer"):
            DaemonGateway(workspace).ask("POST", "/v1/suspend", {})
    assert WAITING in capsys.readouterr().err
