"""Write plain values as YAML text that is valid in flow and in block style.

This module quotes and lays out one new entry; `editor` decides where it goes. A string is written
without quotes only if every reader of YAML 1.1 and 1.2 reads it as the same string.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from warpd.yamlfile.parser import resolve

Value = Any  # str, int, bool, list or mapping of these

_BARE = re.compile(r"[A-Za-z0-9_/]([A-Za-z0-9_./+@ -]*[A-Za-z0-9_./+@-])?\Z")
# YAML 1.1 reads these as numbers and booleans: https://yaml.org/type/
_YAML_1_1_NUMBER = re.compile(r"[0-9][0-9_,.]*\Z")
_YAML_1_1_BOOLEANS: Final = frozenset({"y", "n", "yes", "no", "on", "off"})
_ESCAPED = re.compile(
    '["\\\\]|[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]'
)


def scalar(value: str | int) -> str:
    """Write a string, integer or boolean; a string is quoted if it needs quotes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return value if _is_bare(value) else f'"{_ESCAPED.sub(_escape, value)}"'


def flow(value: Value) -> str:
    """Write a value on one line, in flow style: `{type: cpe, routes: [10.0.0.0/24]}`."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return scalar(value)


def entry(name: str, value: Value, column: int, step: int) -> list[str]:
    """Return the lines of `name: value`, indented by `column` blanks.

    `step` is the further indentation of a mapping's own entries. With 0 a mapping is written on
    the line of its name, in flow style.
    """
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
    """Write a whole file, indented by two blanks per level, with `comments` at its top."""
    lines = [f"# {_ESCAPED.sub(_blank, comment)}".rstrip() for comment in comments]
    for key, value in values.items():
        lines += entry(key, value, 0, _step(value, 2))
    return "\n".join(lines) + "\n"


def _step(value: Value, step: int) -> int:
    """Return the indentation of the entries of a value, or 0 to write it on one line.

    A mapping that holds mappings, or that needs more than 100 characters, gets several lines.
    """
    if not isinstance(value, Mapping):
        return 0
    return (
        step
        if any(isinstance(item, Mapping) for item in value.values()) or len(flow(value)) > 100
        else 0
    )


def _is_bare(text: str) -> bool:
    if not _BARE.match(text) or (_YAML_1_1_NUMBER.match(text) and text.count(".") < 2):
        return False
    return isinstance(resolve(text), str) and text.lower() not in _YAML_1_1_BOOLEANS


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    if char in '"\\':
        return "\\" + char
    return f"\\x{ord(char):02x}" if char < "\x80" else f"\\u{ord(char):04x}"


def _blank(match: re.Match[str]) -> str:
    return match[0] if match[0] in '"\\' else " "
