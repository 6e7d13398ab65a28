"""What an identity sees of an answer: nothing of networks that are not its own, and no outer
address without the right to see those. Pure.

Lists keep the rows of seen networks, and nothing that is about no network: that may name others.
In texts the names of other networks are replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from warpd.service.rights import Identity, Right

WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
# Parts of an outcome whose rows are each of a network.
STEPS: Final = (
    "done",
    "failed",
    "skipped",
    "remaining",
    "unverified",
    "blocked",
    "problems",
    "overview",
    "quarantine",
)
OTHER: Final = "(another network)"
HIDDEN: Final = "(hidden)"
OUTER: Final = "endpoint"  # the field that says where an endpoint connects from

Row = Mapping[str, Any]


def sees_everything(who: Identity) -> bool:
    """Whether an answer can be passed on as it is."""
    return who.sees_all and who.may(Right.SEE_ADDRESSES)


def unseen(names: Iterable[str], who: Identity) -> frozenset[str]:
    """The networks that this identity does not see."""
    return frozenset(name for name in names if not who.sees(name))


def redacted(value: Any, names: frozenset[str]) -> Any:
    """The same, with these names replaced in all texts."""
    if isinstance(value, str):
        return WORD.sub(lambda found: OTHER if found[0] in names else found[0], value)
    if isinstance(value, Mapping):
        return {key: redacted(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item, names) for item in value]
    return value


def without_outer(value: Any) -> Any:
    """The same, with every outer address hidden."""
    if isinstance(value, Mapping):
        return {
            key: HIDDEN if key == OUTER and item else without_outer(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_outer(item) for item in value]
    return value


# -- status


def status_head(head: Row, networks: Iterable[Row], who: Identity) -> dict[str, Any]:
    """The fields of the status before its networks, as somebody sees them who sees `networks`."""
    rows = list(networks)
    return {
        "version": head["version"],
        "gateway": head.get("gateway", ""),
        "uplink": None,
        "in_sync": all(row.get("in_sync", True) for row in rows),
        "pending_networks": [name for name in head.get("pending_networks", ()) if who.sees(name)],
        "blocked": [],
        "problems": _own(head.get("problems", ()), who),
        "drops": {},
    }


def status_tail(tail: Row, who: Identity) -> dict[str, Any]:
    """The fields of the status behind its networks."""
    pending = tail.get("pending_confirm")
    return {
        "warnings": [],
        "quarantine": _own(tail.get("quarantine", ()), who),
        "pending_confirm": {**pending, "by": HIDDEN} if pending is not None else None,
    }


def _pending(pending: Row | None, who: Identity) -> dict[str, Any] | None:
    """What waits to be confirmed, with the name of whoever has applied it if they ask."""
    if pending is None:
        return None
    return {**pending, "by": pending["by"] if pending["by"] == who.user else HIDDEN}


def daemon(data: Row, who: Identity) -> dict[str, Any]:
    """The daemon's own part, in its shape: without files, texts and other networks."""
    pending, source = data.get("pending_confirm"), data.get("source")
    intent = data.get("intent") or {}
    plain = ("version", "gateway", "last_pass", "next_resync_s", "last_event")
    return {
        **{name: data[name] for name in plain if name in data},
        "pid": None,
        "config": "",
        "state_dir": "",
        "source": {"revision": source.get("revision")} if source else None,
        "intent": {
            "in_force": intent.get("in_force"),
            "since": intent.get("since"),
            "awaiting_consent": HIDDEN if intent.get("awaiting_consent") else None,
            "findings": [],
        },
        "pending_confirm": _pending(pending, who),
        "contested_objects": _own(data.get("contested_objects", ()), who),
        "failing": _own(data.get("failing", ()), who),
        "event_overruns": 0,
        "conditions": [],
    }


def network_fields(fields: Row, names: frozenset[str]) -> dict[str, Any]:
    """The fields of one network; what the machine says of it may name others."""
    shown = {key: redacted(fields[key], names) for key in ("blocked", "problems") if key in fields}
    return {**fields, **shown}


# -- plan, events, explanations


def plan(data: Row, who: Identity, names: frozenset[str]) -> dict[str, Any]:
    """A plan: the steps, rows, risks and findings of seen networks."""
    shown: dict[str, Any] = dict(data)
    if not who.sees_all:
        steps = _own(data["steps"], who)
        shown |= {
            "changes": bool(steps),
            "summary": _summary(data["summary"], steps),
            "steps": steps,
            "overview": _own(data["overview"], who),
            "blocked": _own(data["blocked"], who),
            "problems": _own(data["problems"], who),
            "quarantine": _own(data["quarantine"], who),
            "risks": _of_paths(data["risks"], who),
            "stale_configs": [
                name for name in data["stale_configs"] if who.sees(name.partition("/")[0])
            ],
            "warnings": [],
        }
        if "findings" in data:  # a plan of the YAML as it is, not of a change
            shown |= {"findings": _of_paths(data["findings"], who), "conditions": []}
        shown = redacted(shown, names)
    if who.may(Right.SEE_ADDRESSES):
        return shown
    return {**shown, "steps": [_step_without_outer(step) for step in shown["steps"]]}


def _step_without_outer(step: Row) -> dict[str, Any]:
    """A step whose values hold no outer address; elsewhere `endpoint` is a name."""
    return {**step, **{side: without_outer(step[side]) for side in ("before", "after")}}


def change(data: Row, who: Identity, names: frozenset[str]) -> dict[str, Any]:
    """A change that was looked at; its `files` are left as they are."""
    shown = plan(data["plan"], who, names)
    own = {
        "networks": [name for name in data["networks"] if who.sees(name)],
        "findings": _of_paths(data["findings"], who),
        "risks": _of_paths(data["risks"], who),
        "stale_configs": shown["stale_configs"],
    }
    rest = {key: value for key, value in data.items() if key not in ("plan", "files")}
    return {**redacted({**rest, **own}, names), "plan": shown, "files": data["files"]}


def outcome(data: Row, who: Identity, names: frozenset[str]) -> dict[str, Any]:
    """What an apply has done."""
    own = {key: _own(data[key], who) for key in STEPS if key in data}
    risks = _of_paths(data.get("risks", ()), who)
    stale = [name for name in data.get("stale_configs", ()) if who.sees(name.partition("/")[0])]
    less = {"risks": risks, "stale_configs": stale, "warnings": []}
    return dict(redacted({**data, **own, **less}, names))


def event_seen(row: Row, who: Identity, names: frozenset[str]) -> dict[str, Any] | None:
    """An event; None for one of a network that is not seen, or of none."""
    if who.sees_all:
        return dict(row)
    network = row.get("network")
    if not isinstance(network, str) or not network or not who.sees(network):
        return None
    return dict(redacted(row, names))


def explanation(data: Row, who: Identity, names: frozenset[str]) -> dict[str, Any]:
    """Why a packet passes, or does not."""
    shown = dict(data)
    if not who.sees_all:
        shown = redacted(shown, names)
    session = shown.get("session")
    if session and not who.may(Right.SEE_ADDRESSES) and session.get("remote_address"):
        text = session.get("text", "").replace(session["remote_address"], HIDDEN)
        shown["session"] = {**session, "remote_address": HIDDEN, "text": text}
    return shown


def _own(rows: Iterable[Row], who: Identity) -> list[Row]:
    """The rows of seen networks."""
    return [row for row in rows if row.get("network") and who.sees(str(row["network"]))]


def _of_paths(rows: Iterable[Row], who: Identity) -> list[dict[str, Any]]:
    """The rows whose path leads into a seen network; without the line of the file."""
    found: list[dict[str, Any]] = []
    for row in rows:
        words = str(row.get("path", "")).split(".")
        if words[0] == "networks" and len(words) > 1 and who.sees(words[1]):
            found.append({key: value for key, value in row.items() if key != "where"})
    return found


def _summary(summary: Row, steps: Iterable[Row]) -> dict[str, int]:
    """How many steps of each action there are among these."""
    actions = [row["action"] for row in steps]
    return {action: actions.count(action) for action in summary}
