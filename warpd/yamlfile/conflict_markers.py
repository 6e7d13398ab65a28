"""Find the conflict markers that git leaves after a failed merge, and split the two sides. Pure.

The markers are described in git-merge(1), "How conflicts are presented".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_BEGINS: Final = re.compile(r"<{7}( |$)")
_BASE: Final = re.compile(r"\|{7}( |$)")
_MIDDLE: Final = re.compile(r"={7}$")
_ENDS: Final = re.compile(r">{7}( |$)")


@dataclass(frozen=True, slots=True)
class MarkedConflict:
    """The first and the last line of a conflict, counted from 1."""

    first: int
    last: int


def conflicts(text: str) -> list[MarkedConflict]:
    """Return the conflicts that have a begin, a middle and an end marker, in this order.

    A marker line alone is not a conflict.
    """
    out: list[MarkedConflict] = []
    first = middle = 0
    for number, line in enumerate(text.splitlines(), 1):
        if _BEGINS.match(line):
            first, middle = number, 0
        elif _MIDDLE.match(line) and first:
            middle = number
        elif _ENDS.match(line) and first and middle:
            out.append(MarkedConflict(first, number))
            first = 0
    return out


def markers(text: str) -> list[int]:
    """Return the lines that look like a marker, counted from 1.

    No line of a sound YAML in block style begins so, but in a quoted text of several lines.
    """
    kinds = (_BEGINS, _BASE, _MIDDLE, _ENDS)
    return [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if any(kind.match(line) for kind in kinds)
    ]


def sides(text: str) -> tuple[str, str]:
    """Return (our side, their side) of a text with conflict markers.

    Lines outside of conflicts are in both sides. Lines of the common base (`merge.conflictStyle
    diff3`) are in neither.
    """
    ours: list[str] = []
    theirs: list[str] = []
    targets: tuple[list[str], ...] = (ours, theirs)
    for line in text.splitlines(keepends=True):
        content = line.rstrip("\r\n")
        if _BEGINS.match(content):
            targets = (ours,)
        elif len(targets) < 2 and _BASE.match(content):
            targets = ()
        elif len(targets) < 2 and _MIDDLE.match(content):
            targets = (theirs,)
        elif len(targets) < 2 and _ENDS.match(content):
            targets = (ours, theirs)
        else:
            for side in targets:
                side.append(line)
    return "".join(ours), "".join(theirs)
