"""Bytes of YAML to plain values that remember their places. Knows YAML, nothing of warpd's fields.

Values are dicts, lists and scalars by YAML 1.2's core schema; keys are always text. Everything
hostile or surprising becomes a `SyntaxProblem` and never an exception: bytes that are no text,
tabs, duplicate keys, anchors that explode, nesting without end. Events come from libyaml where a
binding is there (ruamel.yaml.clib or PyYAML; 1 MB takes 0.1 s) and from ruamel.yaml's own parser
where none is (40 times slower).
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
DEPTH_MAX: Final = 32  # the intent needs 7
VALUES_MAX: Final = 2_000_000  # of one file
PURE_MAX: Final = 200_000  # characters that ruamel.yaml's own parser reads in under a second
EXPANDED_MAX: Final = 100_000  # values that aliases and merge keys repeat
PER_KIND_MAX: Final = 1000  # flaws of one kind that are listed

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
_TOO_DEEP: Final = f"nests deeper than {DEPTH_MAX} levels"
_EMPTY_HINT: Final = "a gateway without networks says: version: 1, networks: {}"
_STRING_TAGS: Final = ("!", "tag:yaml.org,2002:str")


class PositionedDict(dict[str, Any]):
    """A mapping; `keys_at` and `values_at` hold the places of each key and its value.

    The marks inside a value that was read by itself (`sections`) count from its own first line:
    `shifts` says which that is.
    """

    __slots__ = ("at", "keys_at", "shifts", "size", "values_at")

    def __init__(self, at: Mark) -> None:
        self.at = at
        self.keys_at: dict[str, Mark] = {}
        self.values_at: dict[str, Mark] = {}
        self.shifts: dict[str, int] = {}
        self.size = 1

    def put(self, key: str, value: Any, key_at: Mark, value_at: Mark) -> None:
        self[key] = value
        self.keys_at[key] = key_at
        self.values_at[key] = value_at


class PositionedList(list[Any]):
    """A sequence; `items_at` holds the place of each item."""

    __slots__ = ("at", "items_at", "size")

    def __init__(self, at: Mark) -> None:
        self.at = at
        self.items_at: list[Mark] = []
        self.size = 1


@dataclass(frozen=True, slots=True)
class SyntaxProblem:
    """Something wrong with the YAML as such; `path` are the keys that lead there."""

    code: str
    at: Mark
    message: str
    hint: str = ""
    path: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """What a text holds.

    `whole` is False when reading had to stop: then nothing may be concluded from absence.
    """

    value: PositionedDict | None
    flaws: tuple[SyntaxProblem, ...]
    whole: bool


class _Stop(Exception):
    """Reading cannot go on; the flaw is already noted."""


def lines_of(text: str) -> list[str]:
    return _BREAK.split(text)


def read_text(raw: bytes) -> tuple[str, tuple[SyntaxProblem, ...]]:
    """Bytes to text; with flaws the text is only good for showing lines."""
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
    seen = -1
    for listed, match in enumerate(_UNPRINTABLE.finditer(text)):
        line, column = _place(text, match.start())
        if line != seen:
            name = "NUL" if match[0] == "\0" else f"U+{ord(match[0]):04X}"
            yield SyntaxProblem(
                "control-character",
                (line, column),
                f"holds the control character {name}",
                "remove it",
            )
        seen = line
        if listed == PER_KIND_MAX:
            return


def _place(text: str, offset: int) -> Mark:
    start = max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset)) + 1
    return len(_BREAK.findall(text, 0, start)), offset - start


def read_tree(text: str, pure: bool = False) -> ParsedDocument:
    """Text to values. `pure` forces ruamel.yaml's own parser.

    libyaml refuses a little that YAML 1.2 allows (`[::1]`) and words its errors otherwise, so that
    what it refuses is read again by the other parser where that is quick.
    """
    if pure or _libyaml() is None:
        return _read(text, True)
    found = _read(text, False)
    refused = any(flaw.code in ("yaml-syntax", "yaml-tab") for flaw in found.flaws)
    return _read(text, True) if refused and len(text) <= PURE_MAX else found


def _read(text: str, pure: bool) -> ParsedDocument:
    reader = _Reader(text, pure)
    try:
        value = reader.document()
    except _Stop:
        return ParsedDocument(None, tuple(reader.flaws), False)
    return ParsedDocument(value, tuple(reader.flaws), True)


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
        from ruamel.yaml import (
            YAML,
        )  # a tenth of the start-up, and what libyaml reads does not need it

        yield from YAML(typ="safe", pure=True).parse(
            text
        )  # the round-trip one leaves marks in folded text
        return
    following = parser(text).get_event
    while (event := following()) is not None:
        yield event


def events(text: str) -> Iterator[Any]:
    """The events of a text that `read_tree` takes, whichever parser it took."""
    try:
        return iter(list(_events(text, _libyaml() is None)))
    except Exception:  # libyaml refuses a little that YAML 1.2 allows
        return _events(text, True)


class _Reader:
    """One pass over the events of one text."""

    def __init__(self, text: str, pure: bool) -> None:
        self.text = text
        self.events = _events(text, pure)
        self.flaws: list[SyntaxProblem] = []
        self.noted: Counter[str] = Counter()
        self.anchors: dict[str, tuple[Any, bool]] = {}  # value, and whether it is complete
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
        except Exception as error:  # libyaml and ruamel.yaml each raise classes of their own
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
            self.flaws.append(SyntaxProblem(code, at, message, hint, path))

    def syntax(self, error: Exception) -> None:
        at = self.error_place(error)
        self.path = []
        tabs = dict(_tab_indents(self.text))
        if at[0] in tabs:  # else the tabs stand in block text, where they are welcome
            for mark in tabs.items():
                self.note(
                    "yaml-tab", mark, "a tab in the indentation", "YAML is indented by spaces"
                )
        else:
            problem = str(getattr(error, "problem", None) or "cannot be parsed")
            context = getattr(error, "context", None)
            self.note(
                "yaml-syntax",
                at,
                f"not valid YAML: {problem}" + (f" ({context})" if context else ""),
                _mend(problem),
            )
        raise _Stop

    def error_place(self, error: Exception) -> Mark:
        """Where the parser stumbled; what was left open until the end is shown where it was
        opened.
        """
        marks = [getattr(error, name, None) for name in ("problem_mark", "context_mark")]
        places = [(mark.line, mark.column) for mark in marks if mark is not None] or [(0, 0)]
        lines = lines_of(self.text)
        at_end = places[0][0] >= len(lines) or not any(
            line.strip() for line in lines[places[0][0] :]
        )
        return places[-1] if at_end else places[0]

    def document(self) -> Any:
        self.next()  # the stream's start
        event = self.next()
        if _kind(event) == "StreamEnd":
            self.stop("yaml-empty", (0, 0), "the document is empty", _EMPTY_HINT)
        first = self.next()
        value, at = self.node(first), _at(first)
        self.next()  # the document's end
        event = self.next()
        if _kind(event) != "StreamEnd":
            self.note(
                "yaml-documents",
                _at(event),
                "a second document begins here",
                "one document a file: remove the ---",
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
            self.note("yaml-anchor", _at(event), f"no anchor &{event.anchor} stands before this")
        elif not complete:
            self.note("yaml-anchor", _at(event), f"*{event.anchor} holds itself")
        else:
            self.repeat(event, value)
            return value
        return None

    def repeat(self, event: Any, value: Any) -> None:
        self.expanded += getattr(value, "size", 1)
        if self.expanded > EXPANDED_MAX:
            self.stop(
                "yaml-explodes",
                _at(event),
                f"anchors expand to more than {EXPANDED_MAX} values",
                "write it out",
            )

    def scalar(self, event: Any) -> Any:
        if event.tag is not None and str(event.tag) not in _STRING_TAGS:
            self.refuse_tag(event)
        if event.tag is not None or event.style in ('"', "'", "|", ">"):
            return event.value
        text = event.value
        if _LEADING_ZERO.match(text):
            message = f"{text[:60]} begins with a zero, which some YAML readers take for octal"
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
        """The first of two wins, so that the rest of the file can still be checked."""
        if key in mapping:
            first = mapping.keys_at[key][0] + 1
            self.note(
                "duplicate-key",
                key_at,
                f"{key[:63]} is given twice",
                f"it stands in line {first} already",
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
                "a key must be a plain word",
                "braces and brackets in a value need quotes",
            )
        return value if isinstance(value, str) else None

    def merge(self, mapping: PositionedDict, event: Any, value: Any) -> None:
        """`<<: *defaults`: what the mapping does not say itself."""
        for source in value if isinstance(value, PositionedList) else [value]:
            if not isinstance(source, PositionedDict):
                self.note("yaml-merge", _at(event), "<< takes a mapping or a list of mappings")
                continue
            self.repeat(event, source)
            for key in source:
                if key not in mapping:
                    mapping.put(key, source[key], source.keys_at[key], source.values_at[key])


def resolve(text: str) -> Any:
    """A plain scalar by YAML 1.2's core schema: `no` is text, `0o17` a number, `1:30` text."""
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


def _mend(problem: str) -> str:
    if "mapping values are not allowed" in problem:
        return "check the indentation; a value with ': ' in it needs quotes"
    if "block end" in problem:
        return "check the indentation of this line and the lines above"
    if "cannot start any token" in problem:
        return "a value that begins with this character needs quotes"
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
