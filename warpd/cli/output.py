"""How commands print: JSON or text on stdout, problems on stderr, colours only on a terminal.

A closed pipe never ends an apply: what cannot be printed any more is dropped.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TextIO

from warpd.errors import EXIT_FAILED, InvalidIntent, WarpError, render_finding
from warpd.service.views.render import Paint, wrapped


class Format(enum.StrEnum):
    text = "text"
    json = "json"


# A reader who has gone, a terminal that hung up: nobody misses what could not be printed.
READER_GONE: Final = (errno.EPIPE, errno.EIO)
_unprinted: list[OSError] = []


def colour(stream: TextIO) -> bool:
    """Whether the reader is a terminal that takes colours."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(stream: TextIO | None = None) -> Paint:
    return Paint(colour(stream or sys.stdout))


def say(text: str, stream: TextIO | None = None) -> bool:
    """Print a line; whether it could be printed.

    A reader who has gone away is no reason to stop an apply.
    """
    out = stream or sys.stdout
    try:
        print(text, file=out, flush=True)
    except (OSError, ValueError) as failure:  # a closed pipe, a terminal that hung up, a full disk
        if isinstance(failure, OSError) and failure.errno not in READER_GONE and out is sys.stdout:
            _unprinted.append(failure)
        _silence(out)
        return False
    return True


def exit_code(code: int) -> int:
    """The exit code of a command; a failure where somebody who still reads did not get all that was
    printed.
    """
    if not _unprinted:
        return code
    note(f"error: the output could not be written: {_unprinted[0].strerror}")
    return code or EXIT_FAILED


def _silence(stream: TextIO) -> None:
    """What is left in the buffer goes nowhere, so that the interpreter's own flush at the end has
    nothing to complain of.
    """
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def note(text: str) -> None:
    say(text, sys.stderr)


def emit(data: Mapping[str, Any], text: str, form: Format) -> None:
    say(json.dumps(data, indent=2) if form is Format.json else text)


def show_failure(failure: WarpError) -> None:
    if isinstance(failure, InvalidIntent):
        for finding in failure.findings:
            note(
                _fitted(render_finding(finding)) if sys.stderr.isatty() else render_finding(finding)
            )
    else:
        note(f"{paint(sys.stderr)('error', '31')}: {failure}")


def _fitted(text: str) -> str:
    """The hint in lines of a terminal's width; places stay whole, for editors that follow them."""
    lines = []
    for line in text.splitlines():
        lines += wrapped(line, "      ") if line.startswith("hint: ") else [line]
    return "\n".join(lines)


def table(rows: Iterable[Sequence[str]], heads: Sequence[str]) -> str:
    """Columns as wide as their widest cell."""
    body = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in body) for column in range(len(heads))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in body
    )
    return "\n".join(lines)


def plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
