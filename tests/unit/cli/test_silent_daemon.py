"""A daemon that hangs: its socket takes connections, and nothing answers, or late."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from warpd.cli import output
from warpd.cli.asking import WAITING, DaemonGateway
from warpd.cli.conditions import conditions_now, watch_daemon
from warpd.daemon.http.connection import short_answer
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


def test_who_has_nobody_else_to_ask_waits_for_a_daemon_that_answers_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root reads the kernel instead; other users cannot. The answer comes after the note."""
    monkeypatch.setenv("WARPD_SOCKET", str(tmp_path / "socket"))
    monkeypatch.setattr(client, "AT_ONCE_S", 0.1)
    workspace = Workspace(tmp_path / "warp.yaml", tmp_path / "state")
    waited = threading.Event()
    row = {"code": "yaml-invalid"}
    about = {"config": str(workspace.named), "conditions": [row]}
    with socket.socket(socket.AF_UNIX) as late:
        late.bind(str(tmp_path / "socket"))
        late.listen(8)

        def answer() -> None:
            waited.wait(20)
            for _ in range(2):  # which YAML it serves, and the conditions
                connection, _address = late.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(short_answer(200, "OK", json.dumps(about).encode()))

        def note(text: str) -> None:
            noted.append(text)
            waited.set()

        noted: list[str] = []
        monkeypatch.setattr(output, "note", note)
        thread = threading.Thread(target=answer)
        thread.start()
        monkeypatch.setattr("warpd.cli.asking.through_daemon", lambda: True)
        assert conditions_now(workspace) == [row]
        thread.join(20)
    assert noted == [WAITING]
