"""Find where each key, value, brace and comment of a YAML text begins and ends.

This module holds offsets into the text and does not interpret the values. `editor` changes the
text; `parser` reads values and problems, and provides the events used here. Offsets are computed
from lines and columns, since these are equal in all parsers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from warpd.yamlfile.parser import events

BREAK = re.compile(r"\r\n|\n|\r")
_BLOCK_SCALAR = re.compile(r"[|>]([0-9])?([+-])?([0-9])?")


@dataclass(frozen=True, slots=True)
class Node:
    """A part of the text: a mapping, list, scalar or alias.

    It begins at the offset `start` (at its anchor, if it has one) and ends before the offset `end`.
    Blanks and comments after it are not part of it.
    """

    kind: str  # mapping, list, scalar or alias
    start: int
    end: int
    column: int
    flow: bool = False
    inside: int = 0  # only for a flow collection: the offset after its opening brace
    word: str = ""  # the value of a scalar, or the anchor name of an alias
    anchor: str = ""
    pairs: tuple[Pair, ...] = ()
    items: tuple[Node, ...] = ()

    def get(self, name: str) -> Pair | None:
        """Return the pair of a mapping whose key is `name`."""
        return next((pair for pair in self.pairs if pair.key.word == name), None)

    def walk(self) -> Iterator[Node]:
        """Yield this node and all nodes inside it."""
        yield self
        for pair in self.pairs:
            yield from pair.key.walk()
            yield from pair.value.walk()
        for item in self.items:
            yield from item.walk()


@dataclass(frozen=True, slots=True)
class Pair:
    """A key of a mapping, with its value."""

    key: Node
    value: Node


def outline(text: str) -> Node:
    """Return the root node of a text in which `parser` found no problem."""
    reader = _PositionReader(text)
    reader.next()
    reader.next()
    return reader.node(reader.next())


def line_start(text: str, at: int) -> int:
    """Return the offset of the first character of the line that holds the offset `at`."""
    return max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1


def line_end(text: str, at: int) -> int:
    """Return the offset after the next line break, or the end of the text."""
    found = BREAK.search(text, at)
    return found.end() if found else len(text)


def extent(text: str, pair: Pair) -> int:
    """Return the offset at which a pair in block style ends.

    This is after its last line, and after comments below that are indented deeper than its key.
    """
    end = max(pair.key.end, pair.value.end)
    at = end if end and text[end - 1] in "\r\n" else line_end(text, end)
    pair_end = at
    while at < len(text):
        after = line_end(text, at)
        line = text[at:after].rstrip()
        at = after
        if line and not line.lstrip().startswith("#"):
            break
        if line and len(line) - len(line.lstrip(" ")) <= pair.key.column:
            break
        if line:
            pair_end = at
    return pair_end


class _PositionReader:
    """Builds the nodes of one text in one pass over its events."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts = [0, *(match.end() for match in BREAK.finditer(text))]
        self.events = iter(events(text))

    def next(self) -> Any:
        return next(self.events)

    def offset(self, mark: Any) -> int:
        return (
            min(len(self.text), self.starts[mark.line] + mark.column)
            if mark.line < len(self.starts)
            else len(self.text)
        )

    def node(self, event: Any) -> Node:
        kind = type(event).__name__.removesuffix("Event")
        start, end = self.offset(event.start_mark), self.offset(event.end_mark)
        column, anchor = event.start_mark.column, event.anchor or ""
        if kind == "Alias":
            return Node("alias", start, end, column, word=anchor)
        if kind == "Scalar":
            end = self.block_end(start, end) if event.style in ("|", ">") else end
            return Node("scalar", start, end, column, word=event.value, anchor=anchor)
        flow = bool(event.flow_style)
        parts, last = self.parts()
        close = (
            self.offset(last.end_mark) if flow else max((part.end for part in parts), default=end)
        )
        if kind == "SequenceStart":
            return Node("list", start, close, column, flow, end, anchor=anchor, items=tuple(parts))
        pairs = tuple(Pair(key, value) for key, value in zip(parts[::2], parts[1::2], strict=True))
        return Node("mapping", start, close, column, flow, end, anchor=anchor, pairs=pairs)

    def parts(self) -> tuple[list[Node], Any]:
        out = []
        while not type(event := self.next()).__name__.endswith("EndEvent"):
            out.append(self.node(event))
        return out, event

    def block_end(self, start: int, end: int) -> int:
        """Return the end of a block scalar.

        Empty lines after it do not belong to it, unless its header keeps them (`|+`). A line of
        blanks may be content, so it belongs to the scalar.
        """
        header = _BLOCK_SCALAR.search(self.text, start)
        if header and header[2] == "+":
            return end
        body = self.text[start:end]
        trimmed = body.rstrip("\r\n")
        return start + len(trimmed)
