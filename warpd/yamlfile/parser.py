"""Parse YAML bytes into plain values that carry their positions.

This module knows YAML 1.2 and nothing of warpd's fields. Values are dicts, lists and scalars of the
core schema (YAML 1.2.2, section 10.3); keys are always text. Invalid and hostile input gives a
`SyntaxProblem` and never an exception: bytes that are not UTF-8, tabs, duplicate keys, aliases that
expand to too many values, and nesting without end.

The events come from libyaml if a binding is installed (ruamel.yaml.clib or PyYAML; 1 MB takes
0.1 s). Otherwise they come from ruamel.yaml's own parser, which is 40 times slower.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

SIZE_MAX: Final = 64 * 2**20  # bytes of one file
DEPTH_MAX: Final = 32  # levels; the intent needs 7
VALUES_MAX: Final = 2_000_000  # values in one file
PURE_MAX: Final = 200_000  # characters; ruamel.yaml's own parser reads them in under a second
EXPANDED_MAX: Final = 100_000  # values that aliases and merge keys repeat, in one file
PER_KIND_MAX: Final = 1000  # problems of one kind that are reported

Mark = tuple[int, int]  # line and column from 0

_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_TAB_INDENT = re.compile(r" *\t\s*\S")
_BREAK = re.compile(r"\r\n|\n|\r")
_INT = re.compile(r"[-+]?[0-9]{1,30}\Z")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+\Z")
_BASED = re.compile(r"0o[0-7]{1,30}\Z|0x[0-9a-fA-F]{1,30}\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,300}|[0-9]{1,300}(\.[0-9]{0,300})?)([eE][-+]?[0-9]{1,3})?\Z")
_WORDS: Final[dict[str, Any]] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
# Some builds of libyaml, as in wheels of PyYAML, refuse it by themselves; others read on.
_TOO_DEEP_FOR_LIBYAML: Final = "exceeded maximum nesting depth"
_TOO_DEEP: Final = f"nests deeper than {DEPTH_MAX} levels"
_EMPTY_HINT: Final = "for a gateway without networks write: version: 1, networks: {}"
_STRING_TAGS: Final = ("!", "tag:yaml.org,2002:str")


class PositionedDict(dict[str, Any]):
    """A mapping with positions.

    `keys_at` and `values_at` hold the position of each key and of its value. `size` counts the
    values inside. A value that `sections` parsed separately has positions that count from its own
    first line; `shifts` holds the number of that line in the file, by key.
    """

    __slots__ = ("at", "keys_at", "shifts", "size", "values_at")

    def __init__(self, at: Mark) -> None:
        self.at = at
        self.keys_at: dict[str, Mark] = {}
        self.values_at: dict[str, Mark] = {}
        self.shifts: dict[str, int] = {}
        self.size = 1

    def put(self, key: str, value: Any, key_at: Mark, value_at: Mark) -> None:
        """Set a key with its value and the positions of both."""
        self[key] = value
        self.keys_at[key] = key_at
        self.values_at[key] = value_at


class PositionedList(list[Any]):
    """A sequence with positions: `items_at` holds the position of each item."""

    __slots__ = ("at", "items_at", "size")

    def __init__(self, at: Mark) -> None:
        self.at = at
        self.items_at: list[Mark] = []
        self.size = 1


@dataclass(frozen=True, slots=True)
class SyntaxProblem:
    """A problem with the YAML syntax at a position. `path` holds the keys that lead to it."""

    code: str
    at: Mark
    message: str
    hint: str = ""
    path: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """The values of a text, and the problems that were found.

    `whole` is False if parsing stopped early. In this case a value that is missing here may still
    be in the text.
    """

    value: PositionedDict | None
    problems: tuple[SyntaxProblem, ...]
    whole: bool


class _Stop(Exception):
    """Parsing cannot continue. The problem is already in the list."""


def lines_of(text: str) -> list[str]:
    """Split a text at YAML's line breaks: LF, CR LF and CR."""
    return _BREAK.split(text)


def read_text(raw: bytes) -> tuple[str, tuple[SyntaxProblem, ...]]:
    """Decode UTF-8 bytes, without a byte order mark.

    If there are problems, use the text only to show lines of it.
    """
    body = raw.removeprefix(b"\xef\xbb\xbf")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return body.decode("utf-8", "replace"), tuple(_bad_bytes(body))
    return text, tuple(_unprintable(text))


def _bad_bytes(body: bytes) -> Iterator[SyntaxProblem]:
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        yield SyntaxProblem("encoding", (0, 0), "is UTF-16, not UTF-8", "save the file as UTF-8")
        return
    listed = 0
    for number, line in enumerate(body.split(b"\n")):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            column = len(line[: error.start].decode("utf-8"))
            yield SyntaxProblem(
                "encoding",
                (number, column),
                f"byte 0x{line[error.start]:02x} is not UTF-8",
                "save the file as UTF-8",
            )
            listed += 1
        if listed == PER_KIND_MAX:
            return


def _unprintable(text: str) -> Iterator[SyntaxProblem]:
    previous_line = -1
    for listed, match in enumerate(_UNPRINTABLE.finditer(text)):
        line, column = _position(text, match.start())
        if line != previous_line:
            name = "NUL" if match[0] == "\0" else f"U+{ord(match[0]):04X}"
            yield SyntaxProblem(
                "control-character",
                (line, column),
                f"contains the control character {name}",
                "remove it",
            )
        previous_line = line
        if listed == PER_KIND_MAX:
            return


def _position(text: str, offset: int) -> Mark:
    start = max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset)) + 1
    return len(_BREAK.findall(text, 0, start)), offset - start


def read_tree(text: str, pure: bool = False) -> ParsedDocument:
    """Parse a text. `pure` forces ruamel.yaml's own parser.

    libyaml refuses some texts that YAML 1.2 allows (`[::1]`), and it words its errors differently.
    A text that libyaml refuses is therefore parsed again by the other parser, unless it is longer
    than PURE_MAX.
    """
    if pure or _libyaml() is None:
        return _read(text, True)
    found = _read(text, False)
    refused = any(problem.code in ("yaml-syntax", "yaml-tab") for problem in found.problems)
    return _read(text, True) if refused and len(text) <= PURE_MAX else found


def _read(text: str, pure: bool) -> ParsedDocument:
    reader = _Reader(text, pure)
    try:
        value = reader.document()
    except _Stop:
        return ParsedDocument(None, tuple(reader.problems), False)
    return ParsedDocument(value, tuple(reader.problems), True)


@functools.cache
def _libyaml() -> Callable[[str], Any] | None:
    for module in ("_ruamel_yaml", "yaml._yaml"):
        try:
            return importlib.import_module(module).CParser  # type: ignore[no-any-return]
        except (ImportError, AttributeError):
            continue
    return None


def _events(text: str, pure: bool) -> Iterator[Any]:
    parser = None if pure else _libyaml()
    if parser is None:
        # This import takes a tenth of the start-up time, and libyaml does not need it.
        from ruamel.yaml import YAML

        # The round-trip parser would leave marks in folded text.
        yield from YAML(typ="safe", pure=True).parse(text)
        return
    next_event = parser(text).get_event
    while (event := next_event()) is not None:
        yield event


def events(text: str) -> Iterator[Any]:
    """Return the parser events of a text that `read_tree` accepts."""
    try:
        return iter(list(_events(text, _libyaml() is None)))
    except Exception:  # libyaml refuses some texts that YAML 1.2 allows
        return _events(text, True)


class _Reader:
    """Builds the values of one text in one pass over its events."""

    def __init__(self, text: str, pure: bool) -> None:
        self.text = text
        self.events = _events(text, pure)
        self.problems: list[SyntaxProblem] = []
        self.noted: Counter[str] = Counter()
        self.anchors: dict[str, tuple[Any, bool]] = {}  # (value, whether it is complete)
        self.values = 0
        self.expanded = 0
        self.path: list[str | int] = []

    def next(self) -> Any:
        try:
            return next(self.events)
        except StopIteration:
            self.stop("yaml-syntax", (0, 0), "the document ends too early")
        except RecursionError:
            self.stop("yaml-depth", (0, 0), _TOO_DEEP)
        except Exception as error:  # libyaml and ruamel.yaml raise different classes
            self.syntax(error)

    def stop(self, code: str, at: Mark, message: str, hint: str = "") -> Any:
        self.path = self.path[: DEPTH_MAX // 4]
        self.note(code, at, message, hint)
        raise _Stop

    def note(
        self, code: str, at: Mark, message: str, hint: str = "", key: str | None = None
    ) -> None:
        path = tuple(self.path) if key is None else (*self.path, key)
        self.noted[code] += 1
        if self.noted[code] <= PER_KIND_MAX:
            self.problems.append(SyntaxProblem(code, at, message, hint, path))

    def syntax(self, error: Exception) -> None:
        at = self.error_position(error)
        self.path = []
        tabs = dict(_tab_indents(self.text))
        # Tabs are allowed in block scalars. They are the problem only on the line of the error.
        if at[0] in tabs:
            for mark in tabs.items():
                self.note("yaml-tab", mark, "a tab in the indentation", "indent YAML with spaces")
        else:
            problem = str(getattr(error, "problem", None) or "cannot be parsed")
            if problem == _TOO_DEEP_FOR_LIBYAML:
                self.stop("yaml-depth", at, _TOO_DEEP)
            context = getattr(error, "context", None)
            self.note(
                "yaml-syntax",
                at,
                f"not valid YAML: {problem}" + (f" ({context})" if context else ""),
                _syntax_hint(problem),
            )
        raise _Stop

    def error_position(self, error: Exception) -> Mark:
        """Return the position of a parser error.

        An error at the end of the text is a quote or bracket that was not closed: return the
        position where it was opened.
        """
        marks = [getattr(error, name, None) for name in ("problem_mark", "context_mark")]
        positions = [(mark.line, mark.column) for mark in marks if mark is not None] or [(0, 0)]
        lines = lines_of(self.text)
        at_end = positions[0][0] >= len(lines) or not any(
            line.strip() for line in lines[positions[0][0] :]
        )
        return positions[-1] if at_end else positions[0]

    def document(self) -> Any:
        self.next()  # the start of the stream
        event = self.next()
        if _kind(event) == "StreamEnd":
            self.stop("yaml-empty", (0, 0), "the document is empty", _EMPTY_HINT)
        first = self.next()
        value, at = self.node(first), _at(first)
        self.next()  # the end of the document
        event = self.next()
        if _kind(event) != "StreamEnd":
            self.note(
                "yaml-documents",
                _at(event),
                "a second document begins here",
                "a file holds one document: remove the ---",
            )
        if value is None:
            self.stop("yaml-empty", (0, 0), "the document is empty", _EMPTY_HINT)
        if not isinstance(value, PositionedDict):
            self.stop("type", at, "the document must be a mapping", "begin with version: 1")
        return value

    def node(self, event: Any) -> Any:
        self.values += 1
        if self.values > VALUES_MAX:
            self.stop("yaml-size", _at(event), f"holds more than {VALUES_MAX} values")
        kind = _kind(event)
        if kind == "Scalar":
            return self.anchored(event, self.scalar(event))
        if kind == "Alias":
            return self.alias(event)
        if len(self.path) >= DEPTH_MAX:
            self.stop("yaml-depth", _at(event), _TOO_DEEP)
        self.refuse_tag(event)
        return self.mapping(event) if kind == "MappingStart" else self.sequence(event)

    def anchored(self, event: Any, value: Any, complete: bool = True) -> Any:
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, complete)
        return value

    def alias(self, event: Any) -> Any:
        value, complete = self.anchors.get(event.anchor, (None, False))
        if event.anchor not in self.anchors:
            self.note("yaml-anchor", _at(event), f"the anchor &{event.anchor} is not defined above")
        elif not complete:
            self.note("yaml-anchor", _at(event), f"*{event.anchor} contains itself")
        else:
            self.repeat(event, value)
            return value
        return None

    def repeat(self, event: Any, value: Any) -> None:
        """Count the values that an alias or a merge key repeats, and stop if they are too many."""
        self.expanded += getattr(value, "size", 1)
        if self.expanded > EXPANDED_MAX:
            self.stop(
                "yaml-explodes",
                _at(event),
                f"aliases expand to more than {EXPANDED_MAX} values",
                "write the values out",
            )

    def scalar(self, event: Any) -> Any:
        if event.tag is not None and str(event.tag) not in _STRING_TAGS:
            self.refuse_tag(event)
        if event.tag is not None or event.style in ('"', "'", "|", ">"):
            return event.value
        text = event.value
        if _LEADING_ZERO.match(text):
            message = f"{text[:60]} begins with a zero; some YAML readers take it for octal"
            self.note(
                "yaml-octal", _at(event), message, f"write {text.lstrip('+0') or 0}, or quote it"
            )
        return resolve(text)

    def refuse_tag(self, event: Any) -> None:
        if event.tag is not None:
            self.note(
                "yaml-tag",
                _at(event),
                f"the tag {str(event.tag)[:60]} has no meaning here",
                "remove it",
            )

    def sequence(self, event: Any) -> PositionedList:
        items = PositionedList(_at(event))
        self.anchored(event, items, complete=False)
        while _kind(item := self.next()) != "SequenceEnd":
            self.path.append(len(items))
            value = self.node(item)
            self.path.pop()
            items.append(value)
            items.items_at.append(_at(item))
            items.size += getattr(value, "size", 1)
        return self.anchored(event, items)  # type: ignore[no-any-return]

    def mapping(self, event: Any) -> PositionedDict:
        mapping = PositionedDict(_at(event))
        merges: list[tuple[Any, Any]] = []
        self.anchored(event, mapping, complete=False)
        while _kind(key_event := self.next()) != "MappingEnd":
            key = self.key(key_event)
            self.path.append(key or "")
            value_event = self.next()
            value = self.node(value_event)
            self.path.pop()
            mapping.size += getattr(value, "size", 1)
            if key is None:
                continue
            if key == "<<" and _is_plain(key_event):
                merges.append((value_event, value))
            else:
                self.put(mapping, key, value, _at(key_event), _at(value_event))
        for value_event, value in merges:
            self.merge(mapping, value_event, value)
        return self.anchored(event, mapping)  # type: ignore[no-any-return]

    def put(
        self, mapping: PositionedDict, key: str, value: Any, key_at: Mark, value_at: Mark
    ) -> None:
        """Set a key. Of two equal keys the first one is kept, so that the rest can be checked."""
        if key in mapping:
            first = mapping.keys_at[key][0] + 1
            self.note(
                "duplicate-key",
                key_at,
                f"{key[:63]} is defined twice",
                f"the first definition is in line {first}",
                key,
            )
        else:
            mapping.put(key, value, key_at, value_at)

    def key(self, event: Any) -> str | None:
        if _kind(event) == "Scalar":
            self.anchored(event, event.value)
            return str(event.value)
        value = self.node(event)
        if not isinstance(value, str):
            self.note(
                "yaml-key",
                _at(event),
                "a key must be a scalar",
                "quote a value that contains braces or brackets",
            )
        return value if isinstance(value, str) else None

    def merge(self, mapping: PositionedDict, event: Any, value: Any) -> None:
        """Add the keys of a merge (`<<: *defaults`) that the mapping does not have itself."""
        for source in value if isinstance(value, PositionedList) else [value]:
            if not isinstance(source, PositionedDict):
                self.note("yaml-merge", _at(event), "<< takes a mapping or a list of mappings")
                continue
            self.repeat(event, source)
            for key in source:
                if key not in mapping:
                    mapping.put(key, source[key], source.keys_at[key], source.values_at[key])


def resolve(text: str) -> Any:
    """Return the value of a plain scalar by the core schema of YAML 1.2.

    `no` and `1:30` are text, `0o17` is a number.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text):
        return int(text)
    if _BASED.match(text):
        return int(text, 0)
    if _FLOAT.match(text):
        return float(text)
    return text


def _tab_indents(text: str) -> Iterator[Mark]:
    for number, line in enumerate(lines_of(text)):
        if _TAB_INDENT.match(line):
            yield number, line.index("\t")


def _syntax_hint(problem: str) -> str:
    if "mapping values are not allowed" in problem:
        return "check the indentation; quote a value that contains ': '"
    if "block end" in problem:
        return "check the indentation of this line and the lines above"
    if "cannot start any token" in problem:
        return "quote a value that begins with this character"
    return ""


_KINDS: dict[type, str] = {}


def _kind(event: Any) -> str:
    kind = _KINDS.get(type(event))
    if kind is None:
        kind = _KINDS[type(event)] = type(event).__name__.removesuffix("Event")
    return kind


def _at(event: Any) -> Mark:
    mark = event.start_mark
    return mark.line, mark.column


def _is_plain(event: Any) -> bool:
    return event.style not in ('"', "'")
