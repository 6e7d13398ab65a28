"""A CSV file of endpoints -> their fields, with the line of each. Pure.

Lives here: rows and cells. Does not: whether a value is right, which `loader` says of the YAML that
they make. The first line names the columns, by the YAML's own names; an empty cell is a field left
out; a list is divided by blanks.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from warpd.errors import Finding, Where
from warpd.intent.model import Endpoint
from warpd.yamlfile.editor import nearest

COLUMNS: Final = ("name", *Endpoint.model_fields)
LISTS: Final = ("routes",)
FLAGS: Final = ("enabled", "preshared_key")
NUMBERS: Final = ("keepalive", "rotation")


@dataclass(frozen=True, slots=True)
class Roster:
    """What a file holds, and what is wrong with it as a table."""

    endpoints: Mapping[str, Mapping[str, Any]]
    lines: Mapping[str, int]
    source: tuple[str, ...]
    file: str
    findings: tuple[Finding, ...]

    def where(self, line: int) -> Where:
        text = self.source[line - 1] if 0 < line <= len(self.source) else ""
        return Where(self.file, line, 1, text)

    def relocate(self, finding: Finding, network: str) -> Finding:
        """A finding about an endpoint of this file, at its line in the file."""
        rest = finding.path.removeprefix(f"networks.{network}.endpoints.")
        for name, line in self.lines.items():
            if rest != finding.path and (
                rest == name[:63] or rest.startswith((f"{name[:63]}.", f"{name[:63]}["))
            ):
                return Finding(
                    finding.code,
                    finding.path,
                    finding.message,
                    finding.hint,
                    finding.severity,
                    self.where(line),
                )
        return finding


def roster(raw: bytes, file: str, taken: Iterable[str], kind: str | None = None) -> Roster:
    """Every problem at once; `taken` are the names that the network has, `kind` the type where a
    row has none.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        line = raw.count(b"\n", 0, failure.start) + 1
        bad = Finding(
            "encoding",
            "",
            "this line is not UTF-8",
            "save the file as CSV UTF-8",
            "error",
            Where(file, line, 1),
        )
        return Roster({}, {}, (), file, (bad,))
    return _Table(text, file, frozenset(taken), kind).read()


class _Table:
    def __init__(self, text: str, file: str, taken: frozenset[str], kind: str | None) -> None:
        self.source = tuple(text.splitlines())
        head = self.source[0] if self.source else ""
        self.rows = csv.reader(
            io.StringIO(text, newline=""), delimiter=";" if ";" in head else ",", strict=True
        )
        self.file, self.taken, self.kind = file, taken, kind
        self.findings: list[Finding] = []
        self.endpoints: dict[str, dict[str, Any]] = {}
        self.lines: dict[str, int] = {}

    def read(self) -> Roster:
        lines = self.numbered()
        _, head = next(lines, (1, []))
        columns = [cell.strip() for cell in head]
        if self.columns_are_sound(columns):
            for line, row in lines:
                self.row(line, row, columns)
        if not self.findings and not self.endpoints:
            self.note(
                1, "holds no endpoints", "a line of column names, then a line for each endpoint"
            )
        return Roster(self.endpoints, self.lines, self.source, self.file, tuple(self.findings))

    def numbered(self) -> Iterator[tuple[int, list[str]]]:
        before = 0
        while True:
            try:
                row = next(self.rows)
            except StopIteration:
                return
            except csv.Error as failure:
                self.note(
                    self.rows.line_num,
                    f"is not valid CSV: {failure}",
                    "a cell with a quote or comma in it is quoted",
                )
                return
            line, before = before + 1, self.rows.line_num
            if any(cell.strip() for cell in row):
                yield line, row

    def note(self, line: int, message: str, hint: str = "", path: str = "") -> None:
        text = self.source[line - 1] if 0 < line <= len(self.source) else ""
        self.findings.append(
            Finding("csv", path, message, hint, "error", Where(self.file, line, 1, text))
        )

    def columns_are_sound(self, columns: list[str]) -> bool:
        before = len(self.findings)
        for number, name in enumerate(columns):
            if name not in COLUMNS:
                self.note(
                    1,
                    f"there is no field {name or '(empty)'} of an endpoint",
                    nearest(name, COLUMNS),
                    name,
                )
            elif name in columns[:number]:
                self.note(1, f"the column {name} stands twice", "leave one of them out", name)
        for name in ("name", "type") if self.kind is None else ("name",):
            if name not in columns:
                self.note(
                    1,
                    f"the column {name} is missing",
                    "the first line names the columns, as: name,type,address",
                    name,
                )
        return len(self.findings) == before

    def row(self, line: int, row: list[str], columns: list[str]) -> None:
        if len(row) != len(columns):
            self.note(
                line,
                f"has {len(row)} cells, the first line {len(columns)}",
                "a list of routes is divided by blanks",
            )
            return
        cells = {
            name: cell.strip() for name, cell in zip(columns, row, strict=True) if cell.strip()
        }
        name = cells.pop("name", "")
        if not name:
            self.note(line, "the endpoint has no name")
        elif name in self.taken:
            self.note(
                line,
                f"endpoint {name} is there already",
                "take another name, or leave the line out",
                name,
            )
        elif name in self.endpoints:
            self.note(
                line,
                f"endpoint {name} stands in line {self.lines[name]} already",
                "names are unique",
                name,
            )
        else:
            kind = {"type": self.kind} if self.kind is not None else {}
            self.endpoints[name] = {
                **kind,
                **{key: _cell(key, cell) for key, cell in cells.items()},
            }
            self.lines[name] = line


def _cell(field: str, text: str) -> Any:
    """The cell as the YAML would have it; what does not fit stays text, and `loader` says so."""
    if field in LISTS:
        return text.split()
    if field in FLAGS and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if field in NUMBERS and re.fullmatch(r"-?[0-9]{1,15}", text):
        return int(text)
    return text
