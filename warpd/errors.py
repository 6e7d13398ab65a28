"""The kinds of failure: a stable code, who must act, and how it is shown.

Two shapes live here. A `Finding` is a value: something wrong with the intent, collected by the pure
part, many at once. A `WarpError` is raised, once, at the edge. Nothing here reads a file or knows
about YAML; whoever loads the file fills in `Where`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]
Who = Literal["operator", "kernel", "unsettled", "busy", "bug"]

EXIT_FAILED = 1
EXIT_CHANGES = 2
EXIT_PARTIAL = 3
EXIT_INVALID = 4
EXIT_BUSY = 5

# A source line longer than this is shown as a window around the caret.
_WINDOW = 160


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a file; line and column count from 1, `source` is that line's text."""

    file: str
    line: int
    column: int
    source: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem of the intent: what, where in the YAML (`networks.corp.subnet`), and how to mend
    it.
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
    """A failure that ends a command. `who` says who must act, `code` is stable for scripts."""

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
    """The YAML is wrong; `findings` holds every problem, not only the first."""

    code = "invalid-intent"
    who = "operator"
    exit_code = EXIT_INVALID

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        count = sum(finding.is_error for finding in self.findings)
        super().__init__(f"the YAML has {count} problem{'' if count == 1 else 's'}")


class Busy(WarpError):
    """Another apply, a stale plan or a pending confirm is in the way; trying again later can help."""

    code = "busy"
    who = "busy"
    exit_code = EXIT_BUSY


def render_finding(finding: Finding) -> str:
    """`FILE:LINE:COL: PATH: message`, the source line, a caret, the hint; without colour."""
    lines = [render_headline(finding), *_excerpt(finding.where)]
    if finding.hint:
        lines.append(f"hint: {_printable(finding.hint)}")
    return "\n".join(lines)


def render_headline(finding: Finding) -> str:
    """`FILE:LINE:COL: PATH: message` alone."""
    where = finding.where
    parts = [f"{_printable(where.file)}:{where.line}:{where.column}"] if where else []
    if finding.path:
        parts.append(_printable(finding.path))
    kind = "warning: " if finding.severity == "warning" else ""
    return ": ".join([*parts, kind + _printable(finding.message)])


def _excerpt(where: Where | None) -> list[str]:
    if where is None or not where.source.strip():
        return []
    column = max(0, where.column - 1)
    start = max(0, column - _WINDOW // 2) if len(where.source) > _WINDOW else 0
    shown = _printable(where.source[start : start + _WINDOW].rstrip("\r\n"))
    return [shown, " " * (column - start) + "^"]


def _printable(text: str) -> str:
    """Hostile bytes of a file must not steer the operator's terminal; one character stays one
    column.
    """
    return "".join(_shown(char) for char in text)


def _shown(char: str) -> str:
    if char.isprintable():
        return char
    return " " if char == "\t" else "\N{REPLACEMENT CHARACTER}"
