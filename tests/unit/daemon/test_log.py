"""The log in the form that its reader reads well."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest

from warpd.daemon.log import LogFormat, chosen_format


@pytest.mark.parametrize(
    ("wanted", "terminal", "journal", "style"),
    [
        (LogFormat.auto, True, False, LogFormat.console),
        (LogFormat.auto, False, True, LogFormat.logfmt),
        (LogFormat.auto, False, False, LogFormat.json),
        (LogFormat.json, True, True, LogFormat.json),
    ],
)
def test_the_form_follows_the_reader(
    wanted: LogFormat, terminal: bool, journal: bool, style: LogFormat
) -> None:
    assert chosen_format(wanted, terminal, journal) is style


LINES = """
import os, sys
stderr = os.fstat(2)
if sys.argv[1] == "journal":
    os.environ["JOURNAL_STREAM"] = f"{stderr.st_dev}:{stderr.st_ino}"
from warpd.daemon.log import LogFormat, logger
log = logger(LogFormat(sys.argv[2]))
log.error("step failed", network="corp", vcid=7, why="a b")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("pass failed")
"""


def lines_of(reader: str, style: str, **environment: str) -> list[str]:
    """What a process writes whose stderr leads to this reader."""
    command = [sys.executable, "-c", LINES, reader, style]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, check=True
    )
    return done.stderr.splitlines()


def test_a_line_for_the_journal() -> None:
    plain, failed = lines_of("journal", "auto")
    assert plain == '<3>level=error event="step failed" network=corp vcid=7 why="a b"', (
        "the journal has its own time"
    )
    assert failed.startswith("<3>level=error") and "ZeroDivisionError" in failed, (
        "a traceback is one line of one priority"
    )
    assert lines_of("journal", "json")[0].startswith('<3>{"network"')


def test_a_stream_that_was_inherited_is_not_the_journal() -> None:
    """A shell that a unit started hands the variable on; what is redirected from there is read by
    somebody else.
    """
    found = [json.loads(line) for line in lines_of("file", "auto", JOURNAL_STREAM="8:1")]
    assert [line["event"] for line in found] == [
        "step failed",
        "pass failed",
    ] and "timestamp" in found[0]
    assert "ZeroDivisionError" in found[1]["exception"]
    assert lines_of("file", "logfmt")[0].startswith('level=error event="step failed"')


def test_colours_are_for_terminals() -> None:
    """A file that a console's lines go to is searched by programs."""
    lines = lines_of("file", "console")
    assert "step failed" in lines[0] and not any("\x1b" in line for line in lines)
    assert any("ZeroDivisionError" in line for line in lines)


@pytest.mark.parametrize(("unwanted", "coloured"), [("", True), ("1", False)])
def test_who_wants_no_colours_gets_none(unwanted: str, coloured: bool) -> None:
    controller, terminal = pty.openpty()
    command = [sys.executable, "-c", LINES, "file", "auto"]
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": unwanted}
    subprocess.run(command, stderr=terminal, env=environment, check=True)
    os.close(terminal)
    seen = os.read(controller, 65536)
    os.close(controller)
    assert b"step failed" in seen and (b"\x1b" in seen) is coloured
