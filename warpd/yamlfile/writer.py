"""Plain values to YAML text, for what is written into an operator's file: short, safe in flow and
block style.

Lives here: quoting and layout of one new entry. Does not: where it goes (`editor`). Text stands
bare only where no reader of YAML, of 1.1 or of 1.2, would take it for anything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from warpd.yamlfile.parser import resolve

Value = Any  # str, int, bool, list or mapping of these

_BARE = re.compile(r"[A-Za-z0-9_/]([A-Za-z0-9_./+@ -]*[A-Za-z0-9_./+@-])?\Z")
_NUMBER_OF_OLD = re.compile(r"[0-9][0-9_,.]*\Z")  # also with underscores, and with a leading zero
_WORDS_OF_OLD: Final = frozenset({"y", "n", "yes", "no", "on", "off"})
_ESCAPED = re.compile(
    '["\\\\]|[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]'
)


def scalar(value: str | int) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return value if _is_bare(value) else f'"{_ESCAPED.sub(_escape, value)}"'


def flow(value: Value) -> str:
    """On one line: `{type: cpe, routes: [10.0.0.0/24]}`."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return scalar(value)


def entry(name: str, value: Value, column: int, step: int) -> list[str]:
    """Lines of `name: value` at a column; `step` 0 puts a mapping on the line of its name."""
    head = " " * column + scalar(name) + ":"
    if step and isinstance(value, Mapping) and value:
        return [
            head,
            *(
                line
                for key, item in value.items()
                for line in entry(key, item, column + step, _step(item, step))
            ),
        ]
    return [f"{head} {flow(value)}"]


def document(values: Mapping[str, Value], comments: Iterable[str] = ()) -> str:
    """A whole file, two spaces a level."""
    lines = [f"# {_ESCAPED.sub(_blank, comment)}".rstrip() for comment in comments]
    for key, value in values.items():
        lines += entry(key, value, 0, _step(value, 2))
    return "\n".join(lines) + "\n"


def _step(value: Value, step: int) -> int:
    """Mappings of mappings get lines of their own, and so does what would be a long line."""
    if not isinstance(value, Mapping):
        return 0
    return (
        step
        if any(isinstance(item, Mapping) for item in value.values()) or len(flow(value)) > 100
        else 0
    )


def _is_bare(text: str) -> bool:
    if not _BARE.match(text) or (_NUMBER_OF_OLD.match(text) and text.count(".") < 2):
        return False
    return isinstance(resolve(text), str) and text.lower() not in _WORDS_OF_OLD


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    if char in '"\\':
        return "\\" + char
    return f"\\x{ord(char):02x}" if char < "\x80" else f"\\u{ord(char):04x}"


def _blank(match: re.Match[str]) -> str:
    return match[0] if match[0] in '"\\' else " "
