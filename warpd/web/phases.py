"""The objects of a network in the order of their creation, each phase with what is not as it should
be. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# The order in which objects are created; the guard is first, permits are last.
PHASES: Final = (
    "guard",
    "namespace",
    "device",
    "setting",
    "peer",
    "address",
    "up",
    "route",
    "permit",
)
_STATES: Final[Mapping[str, str]] = {
    "create": "missing",
    "update": "differs",
    "revoke": "unexpected",
    "delete": "unexpected",
}


def phase_rows(network: Mapping[str, Any], plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each phase that the network has objects in, or steps: how many objects there should
    be, its state, and each object that is not in sync.
    """
    steps = [step for step in plan["steps"] if step["network"] == network["name"]]
    counts = network.get("objects") or {}
    rows = [_row(phase, counts.get(phase, 0), steps) for phase in PHASES]
    foreign = [_foreign(item) for item in _blocked(network, plan)]
    if foreign:
        rows.append({"phase": "foreign", "count": 0, "state": "foreign", "objects": foreign})
    return [row for row in rows if row["count"] or row["objects"]]


def _row(phase: str, count: int, steps: list[dict[str, Any]]) -> dict[str, Any]:
    objects = [_object(step) for step in steps if step.get("phase") == phase]
    states = {item["state"] for item in objects}
    state = "in-sync"
    for worst in ("missing", "differs", "unexpected"):
        if worst in states:
            state = worst
            break
    return {"phase": phase, "count": count, "state": state, "objects": objects}


def _object(step: Mapping[str, Any]) -> dict[str, Any]:
    kind, name = str(step["kind"]), str(step["label"] or step["name"])
    return {"kind": kind, "name": name, "state": _STATES[step["action"]], "why": step["reason"]}


def _blocked(network: Mapping[str, Any], plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is in the way, as the plan says; as the network says where the plan does not."""
    found = [item for item in plan["blocked"] if item.get("network") == network["name"]]
    return found or [{"object": "", "foreign": text} for text in network["blocked"]]


def _foreign(item: Mapping[str, Any]) -> dict[str, Any]:
    about = {"kind": "", "name": str(item["object"]), "state": "foreign"}
    return {**about, "why": str(item["foreign"])}
