"""Events, told as people read them: changes of one pass to one network are one line. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any, Final

LINES_MAX: Final = 60  # of the single changes that one line unfolds to
# Fields that say what happened, the first that is there; the others are told by name.
TOLD_FIRST: Final = ("text", "why", "error", "message")
NOT_TOLD: Final = frozenset({"number", "time", "kind", "vcid", "network", "code", "severity"})

Event = Mapping[str, Any]


def happenings(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Lines of `time, kind, network, text, more`, the newest first, as the events are."""
    rows: list[dict[str, Any]] = []
    for _, group in groupby(events, key=_one_line):
        rows.append(_told(list(group)))
    return rows


def _one_line(event: Event) -> tuple[object, ...]:
    """Events that are alike in this are one line."""
    if event["kind"] != "change":
        return ("", event["number"])
    return ("change", event.get("network"), str(event["time"])[:19], event.get("repair"))


def _told(group: list[Event]) -> dict[str, Any]:
    first = group[0]
    about = {"time": first["time"], "kind": _kind(first), "network": first.get("network") or ""}
    if len(group) == 1:
        return {**about, "text": _text(first), "more": []}
    actions = Counter(str(event["action"]) for event in group)
    text = ", ".join(f"{action} {count}" for action, count in actions.items())
    more = [_text(event) for event in group[:LINES_MAX]]
    return {**about, "text": text, "more": more}


def _kind(event: Event) -> str:
    kind = str(event["kind"]).replace("_", " ")
    return "repair" if event.get("repair") else kind


def _text(event: Event) -> str:
    if event["kind"] == "change":
        return f"{event['action']} {event['object']} ({event['why']})"
    if event["kind"] == "condition":
        return f"{event['state']}: {event['text']}"
    told = [name for name in TOLD_FIRST if event.get(name)]
    texts = [str(event[name]) for name in told]
    texts += [
        f"{name.replace('_', ' ')} {value}"
        for name, value in event.items()
        if name not in NOT_TOLD and name not in told and value not in (None, "", False)
    ]
    return "; ".join(texts)
