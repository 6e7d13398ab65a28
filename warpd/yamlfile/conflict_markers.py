"""Merges that git could not finish: where its markers stand, and what the two sides were. Pure."""

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
    """Lines, counted from 1, on which a conflict begins and ends."""

    first: int
    last: int


def conflicts(text: str) -> list[MarkedConflict]:
    """Conflicts that are marked from begin to end; a line of signs alone is none."""
    out: list[MarkedConflict] = []
    begun = middle = 0
    for number, line in enumerate(text.splitlines(), 1):
        if _BEGINS.match(line):
            begun, middle = number, 0
        elif _MIDDLE.match(line) and begun:
            middle = number
        elif _ENDS.match(line) and begun and middle:
            out.append(MarkedConflict(begun, number))
            begun = 0
    return out


def sides(text: str) -> tuple[str, str]:
    """The text as ours and as theirs had it; what neither changed is in both, what the base had in
    none.
    """
    ours: list[str] = []
    theirs: list[str] = []
    into: tuple[list[str], ...] = (ours, theirs)
    for line in text.splitlines(keepends=True):
        word = line.rstrip("\r\n")
        if _BEGINS.match(word):
            into = (ours,)
        elif len(into) < 2 and _BASE.match(word):
            into = ()
        elif len(into) < 2 and _MIDDLE.match(word):
            into = (theirs,)
        elif len(into) < 2 and _ENDS.match(word):
            into = (ours, theirs)
        else:
            for side in into:
                side.append(line)
    return "".join(ours), "".join(theirs)
