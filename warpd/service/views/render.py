"""Plans as JSON, and text that is made from that JSON.

The shapes are documented in docs/json.md and carry a version. The text is made from the JSON, so
that both always say the same. No secret is shown in either.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from warpd import naming
from warpd.errors import Finding, Where
from warpd.kernel.kinds.nft_table import NetworkSubtable, NftTable
from warpd.kernel.state import Action, KernelObject
from warpd.keys.derivation import Secret
from warpd.networks.problems import Problem
from warpd.reconcile.plan import Plan, Step, digest
from warpd.service.views.words import first_of, owner_text, plural

VERSION = 1
SYMBOL = {"create": "+", "update": "~", "revoke": "~", "delete": "-"}
COLOUR = {"create": "32", "update": "33", "revoke": "33", "delete": "31"}
HIDDEN = "(secret)"
PROBLEM_NETWORKS_SHOWN = 6
QUARANTINE_SHOWN = 10
WIDTH = 80  # columns of a terminal
NOTE_INDENT = 8  # columns for the word in front of a note
ENDPOINTS_SHOWN = 20  # of one network, in a plan's text
ROW_SYMBOL = {"create": "+", "update": "~", "rename": "~", "delete": "-"}
ROW_VERB = {"create": "add", "update": "change", "rename": "change", "delete": "remove"}
ROW_COLOUR = {"create": "32", "update": "33", "rename": "33", "delete": "31"}
# Fields that the text of a kernel step shows of an object that is created; its name says the rest.
TEXT_FIELDS: Mapping[str, Sequence[str]] = {
    "link": ("mtu", "master", "vni"),
    "wireguard": ("port",),
    "peer": ("allowed_ips", "keepalive"),
    "route": ("device", "via"),
    "sysctl": ("value",),
    "bridge-port": ("pvid", "untagged", "tagged"),
    "nft-elements": ("elements",),
}
# Fields that the JSON of a step leaves out, since the key of the object contains them.
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
    """Return a plan without its steps.

    It has `changes`, `overview` (the rows), `summary` (how many steps of each action), `blocked`
    and `warnings`. A rename is a change, although the kernel may need no step for it.
    """
    counts = Counter(step.change.action.value for step in plan.steps)
    blocked = [
        {
            "network": plan.networks.get(conflict.group, conflict.group),
            "object": str(conflict.key),
            "foreign": conflict.foreign,
            "unread": conflict.unread,
        }
        for conflict in plan.blocked
    ]
    return {
        "version": VERSION,
        "changes": not plan.empty or any(row["action"] == "rename" for row in rows),
        "overview": list(rows),
        "summary": {action.value: counts.get(action.value, 0) for action in Action},
        "blocked": blocked,
        "warnings": list(warnings),
    }


def plan_json(
    plan: Plan, warnings: Iterable[Mapping[str, Any]] = (), rows: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Return the whole plan: the headline, the `steps` in their order, and the `digest`.

    The digest shows whether a saved plan is still the current one.
    """
    steps = [step_json(step, number) for number, step in enumerate(plan.steps, 1)]
    return {**headline(plan, warnings, rows), "steps": steps, "digest": digest(plan.steps)}


def step_json(step: Step, number: int) -> dict[str, Any]:
    """Return one step; `number` counts from 1, and is 0 outside a plan's order."""
    subject = step.change.subject
    return {
        "step": number,
        "action": step.change.action.value,
        "network": step.network,
        "vcid": naming.vcid_of_namespace(step.group),
        "kind": step.key.kind,
        "phase": step.change.subject.phase.name.lower(),
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
    names = [name for name in fields or _described_fields(item) if hasattr(item, name)]
    return {name: _plain(getattr(item, name)) for name in names}


def _described_fields(item: Any) -> list[str]:
    """Return the fields of an object that its key does not contain; every object is a dataclass."""
    return [each.name for each in dataclasses.fields(item) if each.name not in IDENTITY]


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


# -- text


class Paint:
    """Put ANSI colours around text, or leave it as it is."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def __call__(self, text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colour else text


def plan_text(data: Mapping[str, Any], paint: Paint, verbose: bool = False) -> str:
    """Return the text of a plan, risks first; with `verbose` it contains the kernel steps."""
    lines = attention_lines(data, paint)
    rows = row_lines(data.get("overview", ()), paint)
    if lines and rows:
        lines.append("")
    lines += rows
    if verbose:
        lines += steps_lines(data["steps"], paint)
    if lines:
        lines.append("")
    return "\n".join([*lines, summary_text(data, verbose)])


def blocked_text(blocked: Mapping[str, Any]) -> tuple[str, str]:
    """Return what is wrong, and what to do."""
    if blocked["unread"]:
        text = f"{blocked['object']} could not be read: {blocked['unread']}"
        return text, "the network stays as it is, and is tried again; the others go on"
    text = f"{blocked['object']} is in the way and not ours: {blocked['foreign']}"
    hint = "rename or remove it, or give the network another `vcid` or `bridge_name`"
    return text, f"{hint}; warpd never touches what is not its own"


def attention_lines(data: Mapping[str, Any], paint: Paint) -> list[str]:
    """Return the lines above everything else: risks, configs that become stale, problems, blocked
    objects and warnings.
    """
    lines = [*client_impact_lines(data, paint), *problem_lines(data.get("problems", ()), paint)]
    for blocked in data["blocked"]:
        text, hint = blocked_text(blocked)
        lines.append(noted("blocked", "31", f"{blocked['network']}: {text}", hint, paint))
    return [*lines, *(warning_text(warning, paint) for warning in without_risks(data))]


def problems_json(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """Return what this machine lacks for networks; with `whole` nothing of a network is made."""
    return [_problem_json(problem) for problem in problems]


def _problem_json(problem: Problem) -> dict[str, Any]:
    finding = problem.finding
    return {
        "network": problem.network,
        "code": finding.code,
        "path": finding.path,
        "message": finding.message,
        "hint": finding.hint,
        "whole": problem.whole,
    }


def problem_lines(rows: Iterable[Mapping[str, Any]], paint: Paint) -> list[str]:
    """Return each problem once, with the networks that have it."""
    networks: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        networks.setdefault((row["message"], row["hint"]), []).append(row["network"])
    return [
        noted("problem", "31", f"{first_of(names, PROBLEM_NETWORKS_SHOWN)}: {message}", hint, paint)
        for (message, hint), names in networks.items()
    ]


def problem_text(message: str, hint: str) -> list[str]:
    """Return a problem of the network that is shown alone."""
    return [noted("problem", "31", message, hint, Paint(False))]


def steps_lines(steps: Sequence[Mapping[str, Any]], paint: Paint) -> list[str]:
    """Return the kernel steps, network by network."""
    lines: list[str] = []
    for network, own in _by_network(steps):
        vcid = next((step["vcid"] for step in own if step["vcid"]), None)
        title = f"{network} (VCID {vcid})" if vcid else owner_text(network)
        lines += ["", paint(title, "1")]
        lines += [step_text(step, paint) for step in own]
    return lines


def row_lines(rows: Sequence[Mapping[str, Any]], paint: Paint) -> list[str]:
    """Return one entry for each network and endpoint.

    Of the endpoints of one network with the same action, only the first are listed.
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
    """Return a row as one line of any length, such as `+ endpoint bravo/anna 10.200.0.5`."""
    text = f"{ROW_SYMBOL[row['action']]} {_row_name(row)}"
    if row["address"]:
        text += f" {row['address']}"
    if row["connected_s"] is not None:
        text += f", connected {row['connected_s']} s ago"
    facts = [*row["details"], *_counts(row)]
    if row["action"] == "update" and row["reason"] == "repair":
        facts = ["repair: " + "; ".join(facts)]
    elif row["reason"]:
        facts.append(row["reason"])
    return f"{text}: {'; '.join(facts)}" if facts else text


def _row_name(row: Mapping[str, Any]) -> str:
    if row["subject"] == "gateway":
        return "gateway"
    name = f"{row['subject']} {row['network']}"
    return f"{name}/{row['endpoint']}" if row["endpoint"] else name


def _counts(row: Mapping[str, Any]) -> list[str]:
    """Return how many endpoints a network has that is created or deleted."""
    if row["subject"] != "network" or row["action"] not in ("create", "delete"):
        return []
    connected = [f"{row['connected']} connected"] if row["action"] == "delete" else []
    return [plural(row["endpoints"], "endpoint"), *connected]


def _wrapped(text: str, colour: str, paint: Paint) -> list[str]:
    lines = textwrap.wrap(
        text, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return [paint(lines[0][0], colour) + lines[0][1:], *lines[1:]]


def without_risks(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the warnings that are not among the risks."""
    told = {risk["message"] for risk in data.get("risks", ())}
    return [warning for warning in data["warnings"] if warning["message"] not in told]


def client_impact_lines(data: Mapping[str, Any], paint: Paint) -> list[str]:
    """Return what a plan means for clients that are in use."""
    lines = [
        noted("risk", "31", risk["message"], risk["hint"], paint) for risk in data.get("risks", ())
    ]
    stale = data.get("stale_configs", ())
    if stale:
        names = first_of(stale, ENDPOINTS_SHOWN)
        text = f"these devices then need their configs again: {names}"
        lines.append(noted("stale", "33", text, "", paint))
    return lines


def noted(word: str, colour: str, message: str, hint: str, paint: Paint) -> str:
    """Return a message and a hint in the width of a terminal, beside a word in colour.

    Commands, which follow a line break in the text, have a line of their own.
    """
    lines = _folded(message) + _folded(hint)
    rest = (" " * NOTE_INDENT + line for line in lines[1:])
    return "\n".join([paint(word.ljust(NOTE_INDENT), colour) + lines[0], *rest])


def _folded(text: str) -> list[str]:
    first, *commands = text.split("\n")
    width = WIDTH - NOTE_INDENT
    wrapped_lines = textwrap.wrap(first, width, break_long_words=False, break_on_hyphens=False)
    return [*wrapped_lines, *commands]


def quarantine_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one line for each owner of quarantined allocations; of many the first."""
    lines = [_quarantine_line(row) for row in rows[:QUARANTINE_SHOWN]]
    if len(rows) > QUARANTINE_SHOWN:
        lines.append(f"and {len(rows) - QUARANTINE_SHOWN} more")
    return lines


def _quarantine_line(row: Mapping[str, Any]) -> str:
    owner = row["network"]
    if row["endpoint"]:
        owner += f"/{row['endpoint']}"
    values = ", ".join(f"{key} {value}" for key, value in row["values"].items())
    return f"quarantined {owner} until {row['until']}: {values}"


def warning_text(warning: Mapping[str, Any], paint: Paint) -> str:
    """Return one warning as a note."""
    return noted("warning", "33", str(warning["message"]), str(warning.get("hint") or ""), paint)


def _by_network(steps: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    out: dict[str, list[Mapping[str, Any]]] = {}
    for step in steps:
        out.setdefault(step["network"], []).append(step)
    return list(out.items())


def step_text(step: Mapping[str, Any], paint: Paint) -> str:
    """Return one kernel step as a line."""
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
    """Return the change of one field, such as `mtu: 1420 -> 1380`; of a list its differences."""
    before, after = (step[side] or {} for side in ("before", "after"))
    old, new = before.get(name), after.get(name)
    if not isinstance(old, list) or not isinstance(new, list):
        return f"{name}: {_clip(old)} -> {_clip(new)}"
    if name == "rules":
        return f"rules: {len(old)} -> {len(new)}"
    gained = [f"+{item}" for item in new if item not in old]
    lost = [f"-{item}" for item in old if item not in new]
    return f"{name}: {_clip([*gained, *lost]) or 'in another order'}"


def _table_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return which sets and chains of a table change: elements by name, rules by their number."""
    changes = [
        _set_change(name, before["sets"].get(name, []), after["sets"].get(name, []))
        for name in _different(before["sets"], after["sets"])
    ]
    changes += [
        _chain_change(name, before["rules"].get(name, []), after["rules"].get(name, []))
        for name in _different(before["rules"], after["rules"])
    ]
    return changes or ["counters or hooks differ"]


def _different(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the names whose values differ, or that are on one side only."""
    names = sorted(before.keys() | after.keys())
    return [
        name
        for name in names
        if name not in before or name not in after or before[name] != after[name]
    ]


def _set_change(name: str, before: Iterable[str], after: Iterable[str]) -> str:
    old, new = set(before), set(after)
    gained = [f"+{element}" for element in sorted(new - old)]
    lost = [f"-{element}" for element in sorted(old - new)]
    return f"set {name}: {_clip([*gained, *lost]) or 'added or removed'}"


def _chain_change(name: str, before: Sequence[str], after: Sequence[str]) -> str:
    text = f"chain {name}: {len(before)} -> {len(after)} rules"
    return f"{text} (changed)" if len(before) == len(after) else text


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
    """Return a value as text of about 60 characters at most."""
    if not isinstance(value, list):
        text = str(value)
        return text if len(text) <= 60 else text[:59] + "…"
    text = ", ".join(str(item) for item in value)
    return text if len(text) <= 60 else f"{text[:48]}… ({len(value)} in all)"


def summary_text(data: Mapping[str, Any], verbose: bool = False) -> str:
    """Return how many networks and endpoints change, and how many kernel steps that takes."""
    if not data["changes"]:
        return _nothing_text(data)
    rows = data.get("overview", ())
    parts = list(_counted_changes(rows))
    if any(row["subject"] == "gateway" for row in rows):
        parts.append("the gateway itself")
    if data["blocked"]:
        parts.append(f"{len(data['blocked'])} blocked")
    steps = plural(sum(data["summary"].values()), "kernel step")
    hint = "" if verbose else " (--verbose shows them)"
    return "\n".join(wrapped(f"Plan: {', '.join(parts) or 'changes'}; {steps}{hint}."))


def _nothing_text(data: Mapping[str, Any]) -> str:
    if data.get("unwritten"):
        return "Nothing else to do until what the apply writes can be written."
    if data.get("problems"):
        return "Nothing to do as long as the problems above remain."
    if data.get("against"):
        return "No changes: both make the same gateway."
    intent = "last good intent" if data.get("findings") else "YAML"
    return f"In sync: the kernel is what the {intent} says. Nothing to do."


def _counted_changes(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield texts such as `1 network and 3 endpoints to add`."""
    counts = Counter((ROW_VERB[row["action"]], row["subject"]) for row in rows)
    for verb in ("add", "change", "remove"):
        things = [
            plural(counts[verb, subject], subject)
            for subject in ("network", "endpoint")
            if counts[verb, subject]
        ]
        if things:
            yield f"{' and '.join(things)} to {verb}"


def wrapped(text: str, indent: str = "  ") -> list[str]:
    """Return lines of a terminal's width; `indent` is before all but the first."""
    return textwrap.wrap(
        text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def finding_json(finding: Finding) -> dict[str, Any]:
    """Return a finding; its place has file, line and column from 1, and the text of the line."""
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
    """Return the finding that `finding_json` wrote.

    Raises:
        KeyError, TypeError: the data is not one.
    """
    place = data["where"]
    where = None
    if place is not None:
        where = Where(place["file"], place["line"], place["column"], place["source"])
    return Finding(
        data["code"], data["path"], data["message"], data["hint"], data["severity"], where
    )
