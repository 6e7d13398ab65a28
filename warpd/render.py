"""Plans, outcomes and status as JSON, and text made from that JSON. No secret ever gets in here.

Lives here: the documented, versioned shapes. Does not: colours of a terminal beyond ANSI marks that the caller
asks for, or any look at the kernel. The text is made from the JSON, so that both always say the same.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from warpd.keys import Secret
from warpd.objects.netns import vcid_of
from warpd.objects.nft import NftPart, NftTable
from warpd.plan import Plan, Step, digest
from warpd.state import Action, Object

VERSION = 1
SYMBOL = {"create": "+", "update": "~", "revoke": "~", "delete": "-"}
COLOUR = {"create": "32", "update": "33", "revoke": "33", "delete": "31"}
HIDDEN = "(secret)"
QUARANTINE_SHOWN = 10
# What a reader of a plan does not need to see on each line: it stands in the key already.
IDENTITY = frozenset(
    [
        "netns",
        "name",
        "link",
        "label",
        "holder",
        "owner",
        "part",
        "device",
        "set",
        "public_key",
        "reach",
        "path",
        "prefix",
        "table",
        "restore",
    ]
)


def headline(plan: Plan, warnings: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The plan without its steps: `changes`, `summary` (actions counted), `blocked`, `warnings`."""
    counts = Counter(step.change.action.value for step in plan.steps)
    return {
        "version": VERSION,
        "changes": not plan.empty,
        "summary": {action.value: counts.get(action.value, 0) for action in Action},
        "blocked": [
            {"network": plan.networks.get(b.group, b.group or "gateway"), "object": str(b.key), "foreign": b.foreign}
            for b in plan.blocked
        ],
        "warnings": list(warnings),
    }


def plan_json(plan: Plan, warnings: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The whole plan: the headline, `steps` in their order, and the `digest` by which a saved plan is recognised."""
    steps = [step_json(step, number) for number, step in enumerate(plan.steps, 1)]
    return {**headline(plan, warnings), "steps": steps, "digest": digest(plan.steps)}


def step_json(step: Step, number: int) -> dict[str, Any]:
    subject = step.change.subject
    return {
        "step": number,
        "action": step.change.action.value,
        "network": step.network,
        "vcid": vcid_of(step.group),
        "kind": step.key.kind,
        "netns": step.key.netns,
        "name": step.key.name,
        "label": getattr(subject, "label", ""),
        "before": _values(step.change.before, step.fields),
        "after": _values(step.change.after, step.fields),
        "fields": list(step.fields),
        "reason": step.reason,
    }


def _values(item: Object | None, fields: Sequence[str]) -> dict[str, Any] | None:
    if item is None:
        return None
    if isinstance(item, NftTable | NftPart):
        return _table_values(item)
    names = fields or [f.name for f in dataclasses.fields(item)]  # type: ignore[arg-type]  # every Object is a dataclass
    return {name: _plain(getattr(item, name)) for name in names if (fields or name not in IDENTITY) and hasattr(item, name)}


def _table_values(table: NftTable | NftPart) -> dict[str, Any]:
    rules = {chain.name: list(chain.rules) for chain in table.chains}
    return {"sets": {s.name: list(s.elements) for s in table.sets}, "counters": list(table.counters), "rules": rules}


def _plain(value: Any) -> Any:
    if isinstance(value, Secret):
        return HIDDEN
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value if isinstance(value, str | int | float | bool | None) else str(value)


# -- text -----------------------------------------------------------------------------------------------------


class Paint:
    """ANSI marks, or none."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def __call__(self, text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colour else text


def plan_text(data: Mapping[str, Any], paint: Paint) -> str:
    lines: list[str] = []
    for network, steps in _by_network(data["steps"]):
        vcid = next((step["vcid"] for step in steps if step["vcid"]), None)
        lines += ["", paint(network + (f" (VCID {vcid})" if vcid else ""), "1")]
        lines += [step_text(step, paint) for step in steps]
    for blocked in data["blocked"]:
        text = f"{blocked['network']}: {blocked['object']} is in the way and not ours: {blocked['foreign']}"
        lines += ["", paint("blocked ", "31") + text]
    for warning in without_risks(data):
        lines += ["", warning_text(warning, paint)]
    for extra in outlook_lines(data, paint):
        lines += ["", extra]
    return "\n".join([*lines, "", summary_text(data)]).lstrip("\n")


def without_risks(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The warnings that are not told as risks."""
    told = {risk["message"] for risk in data.get("risks", ())}
    return [warning for warning in data["warnings"] if warning["message"] not in told]


def outlook_lines(data: Mapping[str, Any], paint: Paint) -> list[str]:
    """What a plan means for clients in the field."""
    lines = [paint("risk    ", "31") + f"{risk['message']}\n        {risk['hint']}" for risk in data.get("risks", ())]
    stale = data.get("stale_configs", ())
    if stale:
        lines.append(paint("stale   ", "33") + f"these devices then need their configs again: {', '.join(stale)}")
    return lines


def quarantine_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line an owner: what nobody else gets yet; the first few."""
    more = [f"and {len(rows) - QUARANTINE_SHOWN} more"] if len(rows) > QUARANTINE_SHOWN else []
    lines = [
        f"resting {row['network']}{'/' + row['endpoint'] if row['endpoint'] else ''} until {row['until']}: "
        + ", ".join(f"{key} {value}" for key, value in row["values"].items())
        for row in rows[:QUARANTINE_SHOWN]
    ]
    return lines + more


def warning_text(warning: Mapping[str, Any], paint: Paint) -> str:
    hint = f"\n        {warning['hint']}" if warning.get("hint") else ""
    return paint("warning ", "33") + str(warning["message"]) + hint


def _by_network(steps: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    out: dict[str, list[Mapping[str, Any]]] = {}
    for step in steps:
        out.setdefault(step["network"], []).append(step)
    return list(out.items())


def step_text(step: Mapping[str, Any], paint: Paint) -> str:
    mark = paint(SYMBOL[step["action"]], COLOUR[step["action"]])
    name = f"{step['label']} {step['name']}" if step["label"] else step["name"]
    where = f" in {step['netns']}" if step["netns"] else ""
    return f"  {mark} {step['kind']:<13}{name}{where}{_detail(step)}"


def _detail(step: Mapping[str, Any]) -> str:
    if step["action"] == "delete":
        return f"  ({step['reason']})"
    if step["action"] == "create":
        return _created(step)
    if step["kind"] == "nft-table":
        return "  " + "; ".join(_table_changes(step["before"], step["after"]))
    changes = (f"{name}: {_short(step, 'before', name)} -> {_short(step, 'after', name)}" for name in step["fields"])
    why = " (revoked first)" if step["action"] == "revoke" else ""
    return "  " + "; ".join(changes) + why


def _table_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Which sets and chains of a table change, and how: elements by name, rules by number."""
    out = []
    for part in ("sets", "rules"):
        for name in sorted(before[part].keys() | after[part].keys()):
            old, new = before[part].get(name, []), after[part].get(name, [])
            if old == new and (name in before[part]) == (name in after[part]):
                continue
            if part == "rules":
                out.append(f"chain {name}: {len(old)} -> {len(new)} rules" + (" (changed)" if len(old) == len(new) else ""))
            else:
                marks = [f"+{e}" for e in sorted(set(new) - set(old))] + [f"-{e}" for e in sorted(set(old) - set(new))]
                out.append(f"set {name}: {_clip(marks) or 'added or removed'}")
    return out or ["counters or hooks differ"]


def _created(step: Mapping[str, Any]) -> str:
    values = step["after"] or {}
    if step["kind"] == "nft-table":
        rules = sum(len(chain) for chain in values["rules"].values())
        return f"  {len(values['sets'])} sets, {rules} rules"
    shown = [f"{name} {_clip(value)}" for name, value in values.items() if value not in (None, "", [], False, step["name"])]
    return ("  " + ", ".join(shown)) if shown else ""


def _short(step: Mapping[str, Any], side: str, name: str) -> str:
    values = step[side] or {}
    return _clip(values.get(name))


def _clip(value: Any) -> str:
    text = ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:48]}… ({len(value)} in all)" if isinstance(value, list) else text[:59] + "…"


def summary_text(data: Mapping[str, Any]) -> str:
    counts = data["summary"]
    if not data["changes"]:
        return "In sync: the kernel is what the YAML says. Nothing to do."
    changed = counts["update"] + counts["revoke"]
    networks = len({step["network"] for step in data["steps"]})
    text = f"Plan: {counts['create']} to create, {changed} to change, {counts['delete']} to remove, in {networks} network"
    blocked = f", {len(data['blocked'])} blocked" if data["blocked"] else ""
    return f"{text}{'' if networks == 1 else 's'}{blocked}."
