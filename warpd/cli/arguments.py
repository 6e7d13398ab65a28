"""The order of words on a command line: global options may stand behind the command, and `-o`
before it.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

# Options with a value that belong before the command, and those that belong behind it.
_GLOBAL: Final = ("-c", "--config", "--state-dir")
_OF_COMMANDS: Final = ("-o", "--output")
_PASSES_ON: Final = "exec"  # what follows is somebody else's command line
_GROUPS: Final = ("network", "endpoint")


def in_order(words: Sequence[str]) -> list[str]:
    """The same words, as the parser wants them."""
    front: list[str] = []
    back: list[str] = []
    rest: list[str] = []
    waiting = list(words)
    while waiting and waiting[0] != "--" and _PASSES_ON not in rest[:1]:
        word = waiting.pop(0)
        name, equals, _value = word.partition("=")
        is_short = word[:2] in ("-c", "-o") and len(word) > 2 and not word.startswith("--")
        moved = front if name in _GLOBAL or (is_short and word[:2] == "-c") else back
        if name not in (*_GLOBAL, *_OF_COMMANDS) and not is_short:
            rest.append(word)
            continue
        moved.append(word)
        if not equals and not is_short and waiting:
            moved.append(waiting.pop(0))
    place = 2 if rest[:1] and rest[0] in _GROUPS else 1
    return (
        [*front, *rest[:place], *back, *rest[place:], *waiting]
        if rest
        else [*front, *back, *waiting]
    )
