"""Answers for somebody who sees only some networks: without what is of the others. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from warpd.service.edits import Draft, difference
from warpd.yamlfile.positions import Node, extent, outline

Sees = Callable[[str], bool]

GATEWAY: Final = "gateway"  # what steps and rows of the gateway itself name as their network
# Texts without a network that they are about, or about the whole gateway.
_LEFT_OUT: Final = frozenset({"warnings", "conditions"})
_BY_PATH: Final = frozenset({"risks", "findings"})


def plan_of_networks(data: Mapping[str, Any], sees: Sees) -> dict[str, Any]:
    """Return a plan, or its outcome, as far as it is about networks that are seen.

    The digest stays: it is of the whole plan.
    """
    shown = rows_of_networks(data, sees)
    if "summary" in shown and "steps" in shown:
        counts = Counter(step["action"] for step in shown["steps"])
        shown["summary"] = {action: counts.get(action, 0) for action in shown["summary"]}
    return shown


def rows_of_networks(data: Mapping[str, Any], sees: Sees) -> dict[str, Any]:
    """Return data whose lists are left with the rows of networks that are seen."""
    return {key: _part(key, value, sees) for key, value in data.items()}


def _part(key: str, value: Any, sees: Sees) -> Any:
    if not isinstance(value, list):
        return value
    if key in _LEFT_OUT:
        return []
    if key in _BY_PATH:
        return [row for row in value if _of_path(row["path"], sees)]
    if key == "stale_configs":
        return [name for name in value if sees(name.partition("/")[0])]
    return [row for row in value if not isinstance(row, Mapping) or _is_seen(row, sees)]


def _is_seen(row: Mapping[str, Any], sees: Sees) -> bool:
    network = row.get("network")
    return network is None or (network != GATEWAY and sees(network))


def _of_path(path: str, sees: Sees) -> bool:
    first, _, rest = path.partition(".")
    return first == "networks" and sees(rest.partition(".")[0])


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
