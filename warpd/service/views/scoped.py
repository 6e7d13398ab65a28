"""The difference of a file for somebody who sees only some networks. Pure."""

from __future__ import annotations

from collections.abc import Callable

from warpd.service.edits import Draft, difference
from warpd.yamlfile.positions import Node, extent, outline

Sees = Callable[[str], bool]


def diff_of_networks(draft: Draft, name: str, sees: Sees) -> str:
    """Return the difference of a file without a line of networks that are not seen.

    Returns:
        "" where a line that changes holds more than networks that are seen.
    """
    own = {
        "-": _lines_of(draft.old or b"", sees),
        "+": _lines_of(draft.new, sees),
    }
    text = difference(draft, name, name, context=0)
    for mark, number in _changed_lines(text):
        if number not in own[mark]:
            return ""
    return text


def _changed_lines(text: str) -> list[tuple[str, int]]:
    """Return the marks and numbers of the lines that a difference without context changes."""
    found: list[tuple[str, int]] = []
    at = {"-": 0, "+": 0}
    for line in text.split("\n")[2:]:
        if line.startswith("@@ "):
            old, new = line.split(" ")[1:3]
            at = {"-": int(old[1:].split(",")[0]), "+": int(new[1:].split(",")[0])}
        elif line[:1] in at:
            found.append((line[0], at[line[0]]))
            at[line[0]] += 1
    return found


def _lines_of(raw: bytes, sees: Sees) -> set[int]:
    """Return the numbers of the lines that hold networks that are seen, and nothing else."""
    text = raw.decode(errors="replace")
    networks = _networks(text)
    if networks is None or networks.flow:
        return set()
    own: set[int] = set()
    others: set[int] = set()
    for pair in networks.pairs:
        first = text.count("\n", 0, pair.key.start) + 1
        last = text.count("\n", 0, max(pair.key.start, extent(text, pair) - 1)) + 1
        (own if sees(pair.key.word) else others).update(range(first, last + 1))
    return own - others


def _networks(text: str) -> Node | None:
    pair = outline(text).get("networks") if text.strip() else None
    return pair.value if pair is not None and pair.value.pairs else None
