"""Print: JSON or text on stdout, problems on stderr, colours on a terminal only.

A closed pipe does not end an apply: what cannot be printed is dropped.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import io
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TextIO

from warpd.errors import EXIT_CHANGES, EXIT_FAILED, InvalidIntent, WarpError, render_finding
from warpd.service.views.render import Paint, wrapped


class Format(enum.StrEnum):
    text = "text"
    json = "json"


# Errors of a closed pipe and of a terminal that has hung up: nobody reads the output any more.
READER_GONE: Final = (errno.EPIPE, errno.EIO)
_unprinted: list[Exception] = []


def escape_what_is_missing() -> None:
    """Print characters that the locale's character set lacks as escapes, such as `\\u2500`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def can_show(characters: str) -> bool:
    """Return whether stdout has all of these characters."""
    try:
        characters.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def colour(stream: TextIO) -> bool:
    """Whether a stream is a terminal that shows colours."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(stream: TextIO | None = None) -> Paint:
    """Return the colours for a stream; by default for stdout."""
    return Paint(colour(stream or sys.stdout))


def say(text: str, stream: TextIO | None = None) -> bool:
    """Print a line; return whether it could be printed.

    A reader who has gone is no reason to stop an apply, so nothing is raised.
    """
    out = stream or sys.stdout
    try:
        print(text, file=out, flush=True)
    except (OSError, ValueError) as failure:  # a closed pipe, a terminal that hung up, a full disk
        is_gone = isinstance(failure, OSError) and failure.errno in READER_GONE
        if not is_gone and out is sys.stdout:
            _unprinted.append(failure)
        _silence(out)
        return False
    return True


def exit_code(code: int) -> int:
    """Return the exit code of a command: a failure if output was lost that somebody still reads.

    That there are changes is no failure, and says nothing of the output.
    """
    if not _unprinted:
        return code
    failure = _unprinted[0]
    why = getattr(failure, "strerror", None) or failure
    note(f"error: the output could not be written: {why}")
    return EXIT_FAILED if code in (0, EXIT_CHANGES) else code


def _silence(stream: TextIO) -> None:
    """Discard what is left in the buffer, so that the interpreter's flush at the end succeeds."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def note(text: str) -> None:
    """Print a line to stderr."""
    say(text, sys.stderr)


def emit(data: Mapping[str, Any], text: str, output_format: Format) -> None:
    """Print the data as JSON, or the text that was made of it."""
    say(json.dumps(data, indent=2) if output_format is Format.json else text)


def show_failure(failure: WarpError) -> None:
    """Print an error; of an invalid YAML every finding."""
    if isinstance(failure, InvalidIntent):
        for finding in failure.findings:
            text = render_finding(finding)
            note(_fitted(text) if sys.stderr.isatty() else text)
    else:
        note(f"{paint(sys.stderr)('error', '31')}: {failure}")


def _fitted(text: str) -> str:
    """Wrap the hint to a terminal's width; places stay in one line, since editors follow them."""
    lines: list[str] = []
    for line in text.splitlines():
        lines += wrapped(line, "      ") if line.startswith("hint: ") else [line]
    return "\n".join(lines)


def table(rows: Iterable[Sequence[str]], heads: Sequence[str]) -> str:
    """Return a table; each column is as wide as its widest cell."""
    body = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in body) for column in range(len(heads))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in body
    )
    return "\n".join(lines)
