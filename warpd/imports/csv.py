"""Read a CSV file of endpoints: the fields of each endpoint, and its line. Pure.

The first line holds the column names, which are the field names of the YAML. An empty cell means
that the field is not set. The items of a list are separated by blanks. This module checks rows and
cells; `loader` checks the values in the YAML that is made of them.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args, get_origin

from warpd.errors import Finding, Where
from warpd.intent.model import Endpoint
from warpd.yamlfile.editor import nearest

COLUMNS: Final = ("name", *Endpoint.model_fields)


def _is_of(annotation: object, wanted: type) -> bool:
    """Whether values of an annotated type, as `StrictInt | None`, may be of the wanted type."""
    inner = get_args(annotation)
    return wanted in (annotation, get_origin(annotation)) or any(
        _is_of(item, wanted) for item in inner
    )


def _fields_of(wanted: type) -> frozenset[str]:
    fields = Endpoint.model_fields.items()
    return frozenset(name for name, field in fields if _is_of(field.annotation, wanted))


LISTS: Final = _fields_of(tuple)
FLAGS: Final = _fields_of(bool)
NUMBERS: Final = _fields_of(int)


@dataclass(frozen=True, slots=True)
class EndpointTable:
    """The endpoints of a CSV file, and the problems of the file as a table.

    `lines` holds the line number of each endpoint, `source` the lines of the file.
    """

    endpoints: Mapping[str, Mapping[str, Any]]
    lines: Mapping[str, int]
    source: tuple[str, ...]
    file: str
    findings: tuple[Finding, ...]

    def where(self, line: int) -> Where:
        """Return the position of a line, with its text."""
        text = self.source[line - 1] if 0 < line <= len(self.source) else ""
        return Where(self.file, line, 1, text)

    def relocate(self, finding: Finding, network: str) -> Finding:
        """Return a finding with its position in this file if it is about an endpoint of it."""
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


def read_endpoints(
    raw: bytes, file: str, taken: Iterable[str], kind: str | None = None
) -> EndpointTable:
    """Read a CSV file. All problems are in the findings of the result.

    `taken` holds the endpoint names that the network has already. `kind` is the type of endpoints
    in whose row the type is empty.
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
        return EndpointTable({}, {}, (), file, (bad,))
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

    def read(self) -> EndpointTable:
        lines = self.numbered()
        _, head = next(lines, (1, []))
        columns = [cell.strip() for cell in head]
        if self.columns_are_sound(columns):
            for line, row in lines:
                self.row(line, row, columns)
        if not self.findings and not self.endpoints:
            self.note(
                1, "holds no endpoints", "write a line of column names, then one line per endpoint"
            )
        return EndpointTable(
            self.endpoints, self.lines, self.source, self.file, tuple(self.findings)
        )

    def numbered(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the first line number and the cells of each row that is not empty."""
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
                    "quote a cell that contains a quote or a comma",
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
                    f"an endpoint has no field {name or '(empty)'}",
                    nearest(name, COLUMNS),
                    name,
                )
            elif name in columns[:number]:
                self.note(1, f"the column {name} exists twice", "remove one of them", name)
        for name in ("name", "type") if self.kind is None else ("name",):
            if name not in columns:
                self.note(
                    1,
                    f"the column {name} is missing",
                    "write the column names into the first line, as in: name,type,address",
                    name,
                )
        return len(self.findings) == before

    def row(self, line: int, row: list[str], columns: list[str]) -> None:
        if len(row) != len(columns):
            self.note(
                line,
                f"has {len(row)} cells, but the first line has {len(columns)}",
                "separate the routes of a list by blanks",
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
                f"endpoint {name} exists already",
                "choose another name, or remove the line",
                name,
            )
        elif name in self.endpoints:
            self.note(
                line,
                f"endpoint {name} is already in line {self.lines[name]}",
                "choose another name",
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
    """Return the value of a cell. Text of the wrong form stays text; `loader` reports it."""
    if field in LISTS:
        return text.split()
    if field in FLAGS and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if field in NUMBERS and re.fullmatch(r"-?[0-9]{1,15}", text):
        return int(text)
    return text
