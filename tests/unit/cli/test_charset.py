"""Output in a character set that lacks some of its characters: escaped or refused, never lost."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from tests import world
from tests.unit.daemon.simulation import Simulation
from warpd.cli import output
from warpd.cli.export import Destination, _one
from warpd.errors import EXIT_FAILED, WarpError
from warpd.service.exports import ExportRequest
from warpd.service.workspace import Workspace


def latin_output(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """Make stdout one of ISO 8859-1. Called in the test: pytest sets its own before it."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="iso-8859-1"))
    monkeypatch.setattr(output, "_silence", lambda _stream: None)
    monkeypatch.setattr(output, "_unprinted", [])
    return raw


def test_missing_characters_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = latin_output(monkeypatch)
    output.escape_what_is_missing()
    assert output.say("k\xf6ln \u2500 \udcf6")
    assert printed.getvalue() == b"k\xf6ln \\u2500 \\udcf6\n" and output.exit_code(0) == 0


def test_output_that_failed_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = latin_output(monkeypatch)
    assert not output.say("\u2500")
    assert output.exit_code(0) == EXIT_FAILED and not printed.getvalue()


def test_a_qr_code_that_cannot_be_drawn_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    printed = latin_output(monkeypatch)
    daemon = Simulation(tmp_path)
    daemon.write(web=world.network(1))
    daemon.turn(1)
    workspace = Workspace(daemon.config, daemon.state)
    request = ExportRequest("web", "e1", "wg-quick", None, True)
    with pytest.raises(WarpError, match="QR code") as refused:
        _one(workspace, workspace.read(), request, Destination(None, True, None))
    assert "--qr-file" in refused.value.hint and not printed.getvalue()
