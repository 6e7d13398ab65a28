"""Findings and errors: a stable code, who must act, and how they are shown.

A `Finding` is a value: one problem of the intent. The pure part returns as many as there are. A
`WarpError` is an exception that ends a command; it is raised once, at the edge. This module reads
no file and knows nothing of YAML: the loader sets `Finding.where`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]
# Who must act. operator: somebody has to change the YAML, the command line or the host. kernel: the
# kernel refused an operation. unsettled: it is not known whether an operation took effect. busy:
# nobody; the same command may succeed later. bug: the authors of warpd.
Who = Literal["operator", "kernel", "unsettled", "busy", "bug"]

# Exit codes of the commands; 0 is done, or in sync.
EXIT_FAILED = 1
EXIT_CHANGES = 2
EXIT_PARTIAL = 3
EXIT_INVALID = 4
EXIT_BUSY = 5

# Columns of a terminal. A source line longer than this is shown as a window around the caret, since
# a line that the terminal breaks has its caret at a wrong place.
_WINDOW = 80
_CUT = "…"


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a file.

    - `file`: the path as it was given.
    - `line`, `column`: they count from 1; the column is in characters.
    - `source`: the text of that line; "" where it must not be shown.
    """

    file: str
    line: int
    column: int
    source: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem of the intent.

    - `code`: a stable name for scripts, such as `address-twice`.
    - `path`: the value that is wrong, such as `networks.corp.subnet`; "" for a whole file.
    - `message`: what is wrong with it, to be read after the path.
    - `hint`: how to fix it; "" where there is nothing to say.
    - `severity`: an error keeps the intent from being applied, a warning does not.
    - `where`: the place in a file; None until the loader has found it, and for a value that stands
      in no file.
    """

    code: str
    path: str
    message: str
    hint: str = ""
    severity: Severity = "error"
    where: Where | None = None

    @property
    def is_error(self) -> bool:
        return self.severity == "error"


class WarpError(Exception):
    """A failure that ends a command.

    - `message`: what failed.
    - `code`: a stable name for scripts.
    - `who`: who must act (`Who`).
    - `exit_code`: the exit code of the command.
    - `hint`: what to do about it; "" where there is nothing to say.

    A subclass sets `code`, `who` and `exit_code` for all its errors.
    """

    code: str = "failed"
    who: Who = "bug"
    exit_code: int = EXIT_FAILED

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        who: Who | None = None,
        exit_code: int | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = self.code if code is None else code
        self.who = self.who if who is None else who
        self.exit_code = self.exit_code if exit_code is None else exit_code

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class InvalidIntent(WarpError):
    """The YAML has errors; `findings` contains every problem, warnings too."""

    code = "invalid-intent"
    who = "operator"
    exit_code = EXIT_INVALID

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        count = sum(finding.is_error for finding in self.findings)
        super().__init__(f"the YAML has {count} problem{'' if count == 1 else 's'}")


class InvalidEdit(InvalidIntent):
    """An edit would make a valid YAML invalid: the command line is wrong, not the YAML."""

    exit_code = EXIT_FAILED


class Busy(WarpError):
    """Another apply, a stale plan or a pending confirm is in the way; a later try may succeed."""

    code = "busy"
    who = "busy"
    exit_code = EXIT_BUSY


def render_finding(finding: Finding) -> str:
    """Return a finding as text without colour.

    The first line is `FILE:LINE:COL: PATH: message`; the source line, a caret and the hint follow.
    """
    lines = [render_headline(finding), *_excerpt(finding.where)]
    if finding.hint:
        lines.append(f"hint: {printable(finding.hint)}")
    return "\n".join(lines)


def render_headline(finding: Finding) -> str:
    """Return the line `FILE:LINE:COL: PATH: message` of a finding."""
    where = finding.where
    parts = []
    if where is not None:
        parts.append(f"{printable(where.file)}:{where.line}:{where.column}")
    if finding.path:
        parts.append(printable(finding.path))
    kind = "warning: " if finding.severity == "warning" else ""
    return ": ".join([*parts, kind + printable(finding.message)])


def _excerpt(where: Where | None) -> list[str]:
    """Return the source line and the line with the caret."""
    if where is None or not where.source.strip():
        return []
    column = max(0, where.column - 1)
    source = where.source.rstrip("\r\n")
    end = max(len(source), column + 1)  # the caret may be behind the line
    start = max(0, min(column - _WINDOW // 2, end - _WINDOW))
    shown = printable(source[start : start + _WINDOW])
    if start:
        shown = _CUT + shown[1:]
    if start + _WINDOW < len(source):
        shown = shown[:-1] + _CUT
    return [shown, " " * (column - start) + "^"]


def printable(text: str) -> str:
    """Replace characters by which a hostile file could control the operator's terminal.

    Each character is replaced by one, so that columns stay.
    """
    return "".join(_shown(char) for char in text)


def _shown(char: str) -> str:
    if char.isprintable():
        return char
    return " " if char == "\t" else "\N{REPLACEMENT CHARACTER}"
