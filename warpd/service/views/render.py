"""Plans, outcomes and status as JSON, and text made from that JSON. No secret ever gets in here.

Lives here: the documented, versioned shapes. Does not: colours of a terminal beyond ANSI marks that
the caller asks for, or any look at the kernel. The text is made from the JSON, so that both always
say the same.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from warpd import naming
from warpd.errors import Finding, Where
from warpd.kernel.kinds.nft_table import NetworkSubtable, NftTable
from warpd.kernel.state import Action, KernelObject
from warpd.keys.derivation import Secret
from warpd.networks.problems import Problem
from warpd.reconcile.plan import Plan, Step, digest

VERSION = 1
SYMBOL = {"create": "+", "update": "~", "revoke": "~", "delete": "-"}
COLOUR = {"create": "32", "update": "33", "revoke": "33", "delete": "31"}
HIDDEN = "(secret)"
PROBLEM_NETWORKS_SHOWN = 6
QUARANTINE_SHOWN = 10
WIDTH = 80  # columns of a terminal
ENDPOINTS_SHOWN = 20  # of one network, in a plan's text
ROW_SYMBOL = {"create": "+", "update": "~", "rename": "~", "delete": "-"}
ROW_COLOUR = {"create": "32", "update": "33", "rename": "33", "delete": "31"}
# What the text of a kernel step shows of an object that is made; everything else stands in its name
# already.
TEXT_FIELDS: Mapping[str, Sequence[str]] = {
    "link": ("mtu", "master", "vni"),
    "wireguard": ("port",),
    "peer": ("allowed_ips", "keepalive"),
    "route": ("device", "via"),
    "sysctl": ("value",),
    "bridge-port": ("pvid", "untagged", "tagged"),
    "nft-elements": ("elements",),
}
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


def headline(
    plan: Plan, warnings: Iterable[Mapping[str, Any]] = (), rows: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """The plan without its steps: `changes`, `overview` (the rows), `summary` (actions counted),
    `blocked`, `warnings`.

    A rename is a change, though the kernel may need no step for it.
    """
    counts = Counter(step.change.action.value for step in plan.steps)
    return {
        "version": VERSION,
        "changes": not plan.empty or any(row["action"] == "rename" for row in rows),
        "overview": list(rows),
        "summary": {action.value: counts.get(action.value, 0) for action in Action},
        "blocked": [
            {
                "network": plan.networks.get(b.group, b.group or "gateway"),
                "object": str(b.key),
                "foreign": b.foreign,
            }
            for b in plan.blocked
        ],
        "warnings": list(warnings),
    }


def plan_json(
    plan: Plan, warnings: Iterable[Mapping[str, Any]] = (), rows: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """The whole plan: the headline, `steps` in their order, and the `digest` by which a saved plan
    is recognised.
    """
    steps = [step_json(step, number) for number, step in enumerate(plan.steps, 1)]
    return {**headline(plan, warnings, rows), "steps": steps, "digest": digest(plan.steps)}


def step_json(step: Step, number: int) -> dict[str, Any]:
    subject = step.change.subject
    return {
        "step": number,
        "action": step.change.action.value,
        "network": step.network,
        "vcid": naming.vcid_of_namespace(step.group),
        "kind": step.key.kind,
        "netns": step.key.netns,
        "name": step.key.name,
        "label": getattr(subject, "label", ""),
        "before": _values(step.change.before, step.fields),
        "after": _values(step.change.after, step.fields),
        "fields": list(step.fields),
        "reason": step.reason,
    }


def _values(item: KernelObject | None, fields: Sequence[str]) -> dict[str, Any] | None:
    if item is None:
        return None
    if isinstance(item, NftTable | NetworkSubtable):
        return _table_values(item)
    names = fields or [f.name for f in dataclasses.fields(item)]  # type: ignore[arg-type]  # every Object is a dataclass
    return {
        name: _plain(getattr(item, name))
        for name in names
        if (fields or name not in IDENTITY) and hasattr(item, name)
    }


def _table_values(table: NftTable | NetworkSubtable) -> dict[str, Any]:
    rules = {chain.name: list(chain.rules) for chain in table.chains}
    return {
        "sets": {s.name: list(s.elements) for s in table.sets},
        "counters": list(table.counters),
        "rules": rules,
    }


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


def plan_text(data: Mapping[str, Any], paint: Paint, verbose: bool = False) -> str:
    """What a plan does, risks first; with `verbose` the kernel steps too."""
    lines = attention_lines(data, paint)
    rows = row_lines(data.get("overview", ()), paint)
    lines += ["", *rows] if rows and lines else rows
    if verbose:
        lines += steps_lines(data["steps"], paint)
    return "\n".join([*lines, *([""] if lines else []), summary_text(data, verbose)])


def attention_lines(data: Mapping[str, Any], paint: Paint) -> list[str]:
    """Risks, configs that go stale, problems, what is blocked, warnings: what stands above
    everything else.
    """
    lines = [*outlook_lines(data, paint), *problem_lines(data.get("problems", ()), paint)]
    for blocked in data["blocked"]:
        text = (
            f"{blocked['network']}: {blocked['object']} is in the way and not ours:"
            f" {blocked['foreign']}"
        )
        lines.append(paint("blocked ", "31") + text)
    return [*lines, *(warning_text(warning, paint) for warning in without_risks(data))]


def problems_json(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """What this machine keeps networks from, network by network; `whole`: nothing is given to that
    network.
    """
    return [
        {
            "network": item.network,
            "code": item.finding.code,
            "path": item.finding.path,
            "message": item.finding.message,
            "hint": item.finding.hint,
            "whole": item.whole,
        }
        for item in problems
    ]


def problem_lines(rows: Iterable[Mapping[str, Any]], paint: Paint) -> list[str]:
    """One problem once, with the networks that have it."""
    networks: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        networks.setdefault((row["message"], row["hint"]), []).append(row["network"])
    return [
        noted("problem", "31", f"{_few(names)}: {message}", hint, paint)
        for (message, hint), names in networks.items()
    ]


def problem_text(message: str, hint: str) -> list[str]:
    """What this machine lacks for the one network that is shown."""
    return [noted("problem", "31", message, hint, Paint(False))]


def _few(names: Sequence[str]) -> str:
    more = (
        f" and {len(names) - PROBLEM_NETWORKS_SHOWN} more"
        if len(names) > PROBLEM_NETWORKS_SHOWN
        else ""
    )
    return ", ".join(names[:PROBLEM_NETWORKS_SHOWN]) + more


def steps_lines(steps: Sequence[Mapping[str, Any]], paint: Paint) -> list[str]:
    """The kernel steps, network by network."""
    lines: list[str] = []
    for network, own in _by_network(steps):
        vcid = next((step["vcid"] for step in own if step["vcid"]), None)
        lines += ["", paint(network + (f" (VCID {vcid})" if vcid else ""), "1")]
        lines += [step_text(step, paint) for step in own]
    return lines


def row_lines(rows: Sequence[Mapping[str, Any]], paint: Paint) -> list[str]:
    """One line a network and endpoint; of many endpoints of one network that all come or go the
    first ones.
    """
    lines: list[str] = []
    shown: Counter[tuple[str, str]] = Counter()
    for row in rows:
        shown[row["network"], row["action"]] += row["subject"] == "endpoint"
        if shown[row["network"], row["action"]] <= ENDPOINTS_SHOWN or row["subject"] != "endpoint":
            lines += _wrapped(row_text(row), ROW_COLOUR[row["action"]], paint)
    for (network, action), count in shown.items():
        if count > ENDPOINTS_SHOWN:
            text = f"{ROW_SYMBOL[action]} and {count - ENDPOINTS_SHOWN} more endpoints of {network}"
            lines.append(paint(text[0], ROW_COLOUR[action]) + text[1:])
    return lines


def row_text(row: Mapping[str, Any]) -> str:
    """`+ endpoint bravo/anna 10.200.0.5`, in one line of any length."""
    if row["subject"] == "gateway":
        name = "gateway"
    else:
        name = f"{row['subject']} {row['network']}" + (
            f"/{row['endpoint']}" if row["endpoint"] else ""
        )
    text = f"{ROW_SYMBOL[row['action']]} {name}" + (f" {row['address']}" if row["address"] else "")
    if row["connected_s"] is not None:
        text += f", connected {row['connected_s']} s ago"
    facts = [*row["details"], *_counts(row)]
    if row["action"] == "update" and row["reason"] == "repair":
        facts = ["repair: " + "; ".join(facts)]
    elif row["reason"]:
        facts.append(row["reason"])
    return f"{text}: {'; '.join(facts)}" if facts else text


def _counts(row: Mapping[str, Any]) -> list[str]:
    if row["subject"] != "network" or row["action"] not in ("create", "delete"):
        return []
    connected = [f"{row['connected']} connected"] if row["action"] == "delete" else []
    return [f"{row['endpoints']} endpoint{'' if row['endpoints'] == 1 else 's'}", *connected]


def _wrapped(text: str, colour: str, paint: Paint) -> list[str]:
    lines = textwrap.wrap(
        text, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return [paint(lines[0][0], colour) + lines[0][1:], *lines[1:]]


def without_risks(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The warnings that are not told as risks."""
    told = {risk["message"] for risk in data.get("risks", ())}
    return [warning for warning in data["warnings"] if warning["message"] not in told]


def outlook_lines(data: Mapping[str, Any], paint: Paint) -> list[str]:
    """What a plan means for clients in the field."""
    lines = [
        noted("risk", "31", risk["message"], risk["hint"], paint) for risk in data.get("risks", ())
    ]
    stale = data.get("stale_configs", ())
    if stale:
        lines.append(
            noted(
                "stale",
                "33",
                f"these devices then need their configs again: {_first_few(stale)}",
                "",
                paint,
            )
        )
    return lines


def _first_few(names: Sequence[str]) -> str:
    more = f" and {len(names) - ENDPOINTS_SHOWN} more" if len(names) > ENDPOINTS_SHOWN else ""
    return ", ".join(names[:ENDPOINTS_SHOWN]) + more


def noted(word: str, colour: str, message: str, hint: str, paint: Paint) -> str:
    """A word in front, the message and the hint beside it, as wide as a terminal; commands stand
    each on a line of its own.
    """
    lines = [part for text in (message, hint) if text for part in _folded(text)]
    return "\n".join(
        [paint(word.ljust(8), colour) + lines[0], *(" " * 8 + line for line in lines[1:])]
    )


def _folded(text: str) -> list[str]:
    first, *commands = text.split("\n")
    return [*_filled(first), *commands]


def _filled(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH - 8, break_long_words=False, break_on_hyphens=False)


def quarantine_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line an owner: what is quarantined; the first few."""
    more = [f"and {len(rows) - QUARANTINE_SHOWN} more"] if len(rows) > QUARANTINE_SHOWN else []
    lines = [
        f"quarantined {row['network']}{'/' + row['endpoint'] if row['endpoint'] else ''} until"
        f" {row['until']}: " + ", ".join(f"{key} {value}" for key, value in row["values"].items())
        for row in rows[:QUARANTINE_SHOWN]
    ]
    return lines + more


def warning_text(warning: Mapping[str, Any], paint: Paint) -> str:
    return noted("warning", "33", str(warning["message"]), str(warning.get("hint") or ""), paint)


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
    if step["kind"] in ("nft-table", "nft-part"):
        return "  " + "; ".join(_table_changes(step["before"], step["after"]))
    changes = (_field_change(step, name) for name in step["fields"])
    why = " (revoked first)" if step["action"] == "revoke" else ""
    return "  " + "; ".join(changes) + why


def _field_change(step: Mapping[str, Any], name: str) -> str:
    """`mtu: 1420 -> 1380`; of a list what it gains and loses."""
    before, after = (step[side] or {} for side in ("before", "after"))
    was, now = before.get(name), after.get(name)
    if not isinstance(was, list) or not isinstance(now, list):
        return f"{name}: {_clip(was)} -> {_clip(now)}"
    if name == "rules":
        return f"rules: {len(was)} -> {len(now)}"
    gained = [f"+{item}" for item in now if item not in was]
    lost = [f"-{item}" for item in was if item not in now]
    return f"{name}: {_clip([*gained, *lost]) or 'in another order'}"


def _table_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Which sets and chains of a table change, and how: elements by name, rules by number."""
    out = []
    for part in ("sets", "rules"):
        for name in sorted(before[part].keys() | after[part].keys()):
            old, new = before[part].get(name, []), after[part].get(name, [])
            if old == new and (name in before[part]) == (name in after[part]):
                continue
            if part == "rules":
                out.append(
                    f"chain {name}: {len(old)} -> {len(new)} rules"
                    + (" (changed)" if len(old) == len(new) else "")
                )
            else:
                marks = [f"+{e}" for e in sorted(set(new) - set(old))] + [
                    f"-{e}" for e in sorted(set(old) - set(new))
                ]
                out.append(f"set {name}: {_clip(marks) or 'added or removed'}")
    return out or ["counters or hooks differ"]


def _created(step: Mapping[str, Any]) -> str:
    values = step["after"] or {}
    if step["kind"] in ("nft-table", "nft-part"):
        rules = sum(len(chain) for chain in values["rules"].values())
        return f"  {len(values['sets'])} sets, {rules} rules"
    if step["kind"] == "nft-gate":
        return f"  {len(values['rules'])} rules"
    shown = [
        name
        for name in TEXT_FIELDS.get(step["kind"], ())
        if values.get(name) not in (None, "", [], False, 0)
    ]
    text = ", ".join(f"{name} {_clip(values[name])}" for name in shown)
    return f"  {text}" if text else ""


def _clip(value: Any) -> str:
    text = ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)
    return (
        text
        if len(text) <= 60
        else f"{text[:48]}… ({len(value)} in all)"
        if isinstance(value, list)
        else text[:59] + "…"
    )


def summary_text(data: Mapping[str, Any], verbose: bool = False) -> str:
    """What the plan counts: networks and endpoints, and the kernel steps that this takes."""
    if not data["changes"] and data.get("problems"):
        return "Nothing to do as long as the problems above remain."
    if not data["changes"]:
        return "In sync: the kernel is what the YAML says. Nothing to do."
    parts = []
    for verb, actions in (
        ("add", ("create",)),
        ("change", ("update", "rename")),
        ("remove", ("delete",)),
    ):
        counts = Counter(
            row["subject"] for row in data.get("overview", ()) if row["action"] in actions
        )
        things = [
            _number(counts[subject], subject)
            for subject in ("network", "endpoint")
            if counts[subject]
        ]
        parts += [f"{' and '.join(things)} to {verb}"] if things else []
    if any(row["subject"] == "gateway" for row in data.get("overview", ())):
        parts.append("the gateway itself")
    parts += [f"{len(data['blocked'])} blocked"] if data["blocked"] else []
    steps = _number(sum(data["summary"].values()), "kernel step")
    hint = "" if verbose else " (--verbose shows them)"
    return "\n".join(wrapped(f"Plan: {', '.join(parts) or 'changes'}; {steps}{hint}."))


def wrapped(text: str, indent: str = "  ") -> list[str]:
    """In lines of a terminal's width; `indent` stands before all but the first."""
    return textwrap.wrap(
        text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _number(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def finding_json(finding: Finding) -> dict[str, Any]:
    """A problem of the YAML, with its place: file, line and column from 1, and the text of that
    line.
    """
    where = finding.where
    place = None
    if where is not None:
        place = {
            "file": where.file,
            "line": where.line,
            "column": where.column,
            "source": where.source,
        }
    return {
        "severity": finding.severity,
        "code": finding.code,
        "path": finding.path,
        "message": finding.message,
        "hint": finding.hint,
        "where": place,
    }


def finding_of(data: Mapping[str, Any]) -> Finding:
    """The same again. Raises: KeyError, TypeError when it is none."""
    place = data["where"]
    where = (
        Where(place["file"], place["line"], place["column"], place["source"])
        if place is not None
        else None
    )
    return Finding(
        data["code"], data["path"], data["message"], data["hint"], data["severity"], where
    )
