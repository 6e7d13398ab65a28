"""The log in the form that its reader reads well, events by filter, and a reader who goes away."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from warpd.cli.watch import is_chosen
from warpd.daemon.serve import LogFormat, chosen_format, logger


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What is logged in later tests goes where it did before: structlog is set up once for the whole process."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.parametrize(
    ("wanted", "terminal", "journal", "style"),
    [
        (LogFormat.auto, True, False, LogFormat.console),
        (LogFormat.auto, False, True, LogFormat.logfmt),
        (LogFormat.auto, False, False, LogFormat.json),
        (LogFormat.json, True, True, LogFormat.json),
    ],
)
def test_the_form_follows_the_reader(wanted: LogFormat, terminal: bool, journal: bool, style: LogFormat) -> None:
    assert chosen_format(wanted, terminal, journal) is style


def test_a_line_for_the_journal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    logger().error("step failed", network="corp", vcid=7, why="a b")
    assert capsys.readouterr().err == '<3>level=error event="step failed" network=corp vcid=7 why="a b"\n'
    monkeypatch.delenv("JOURNAL_STREAM")
    logger(LogFormat.logfmt).info("ready")
    assert capsys.readouterr().err.startswith("level=info event=ready timestamp=")


def test_events_by_filter() -> None:
    event: dict[str, Any] = {"kind": "change", "network": "corp", "repair": True}
    assert is_chosen(event, None, (), False) and is_chosen(event, "corp", ("change", "failed"), True)
    assert not is_chosen(event, "web", (), False) and not is_chosen(event, None, ("failed",), False)
    assert not is_chosen({**event, "repair": False}, None, (), True) and not is_chosen({"kind": "intent"}, "corp", (), False)


def test_a_closed_stdout_is_no_traceback() -> None:
    program = f"{sys.executable} -m warpd.cli schema | head -c 10"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {program}"], capture_output=True, text=True, check=False)
    assert done.stderr == ""
