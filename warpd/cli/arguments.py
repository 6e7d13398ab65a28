"""Reorder a command line so that the parser accepts it. Pure.

Global options may stand behind the command, and `-o` before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

# Options with a value: the parser wants these before the command, and those behind it.
_GLOBAL: Final = ("-c", "--config", "--state-dir")
_OF_COMMANDS: Final = ("-o", "--output")
_SHORT: Final = ("-c", "-o")
_PASSES_ON: Final = "exec"  # the words behind this command are another command line
_GROUPS: Final = ("network", "endpoint", "user", "token", "web")


def in_order(words: Sequence[str]) -> list[str]:
    """Return the same words in the order that the parser wants."""
    before: list[str] = []  # global options
    behind: list[str] = []  # options of the command
    rest: list[str] = []
    left = list(words)
    while left and left[0] != "--" and _PASSES_ON not in rest[:1]:
        option, length = _option(left)
        taken, left = left[:length], left[length:]
        if option in _GLOBAL:
            before += taken
        elif option in _OF_COMMANDS:
            behind += taken
        else:
            rest += taken
    place = 2 if rest[:1] and rest[0] in _GROUPS else 1
    return [*before, *rest[:place], *behind, *rest[place:], *left]


def command(words: Sequence[str]) -> str:
    """Return the command, or the group of commands, of words that are in order; "" for none."""
    left = list(words)
    while left:
        option, length = _option(left)
        if not option:
            return left[0]
        left = left[length:]
    return ""


def _option(words: Sequence[str]) -> tuple[str, int]:
    """Return the option that the first word is, and how many words it takes with its value.

    The option is "" for a word that is not to be moved.
    """
    word = words[0]
    if word in (*_GLOBAL, *_OF_COMMANDS):
        return word, 2
    name, equals, _value = word.partition("=")
    if equals and name in (*_GLOBAL, *_OF_COMMANDS):
        return name, 1
    if word[:2] in _SHORT:  # with its value in the same word, as -ojson
        return word[:2], 1
    return "", 1
