"""Facts about a gateway -> what is wrong with it, or waits: told alike by status, doctor, metrics,
events and log. Pure.

Lives here: which facts are worth a line, how bad they are, the words. Does not: where facts come
from (`health`, `daemon`), and what a plan or a network says of itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

Severity = Literal["error", "warning"]

NAMED_MAX: Final = 5  # networks or objects that one line names
FINDING_MAX: Final = 300  # characters of a finding


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that an operator should know. `code` is stable and stands once in a list."""

    code: str
    severity: Severity
    text: str
    hint: str = ""
    since: str = ""  # ISO 8601 in UTC; "" where nobody has watched it begin

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "since": self.since or None}


@dataclass(frozen=True, slots=True)
class Retry:
    """A network that could not be brought to its state."""

    times: int
    next_s: float  # seconds until the next try
    why: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a gateway at one moment. Every default is what is well."""

    running: bool = True  # a daemon keeps the kernel
    lost_master: str = ""  # why the master secret must have been there
    lost_allocations: str = ""  # why there must have been allocations
    unnamed: Mapping[str, int] = field(
        default_factory=dict
    )  # network -> endpoints that only the kernel knows, without names
    obstacle: str = ""  # of the state folder: gone, read-only, full
    unwritten: str = ""  # what an edit needs and the state folder does not take
    state_dir: str = ""
    findings: tuple[
        str, ...
    ] = ()  # why the YAML as it is now is not in force, each as FILE:LINE:COL: PATH: message
    awaiting: str = ""  # for whose consent the YAML waits
    pending: Mapping[str, Any] | None = (
        None  # the apply that is undone unless it is confirmed: number, by, until, left_s
    )
    rolled_back_to: int | None = None  # while the files are those that were rolled back from
    uplink: str = ""
    uplink_state: str = ""  # missing, down, no route
    failing: Mapping[str, Retry] = field(
        default_factory=dict
    )  # by network; "gateway" is its own part
    problems: Mapping[str, str] = field(
        default_factory=dict
    )  # network -> what this machine keeps it from
    contested: Mapping[str, str] = field(default_factory=dict)  # object -> network
    event_overruns: int = 0
    events_unwritten: str = ""  # why the latest events are not on disk
    last_good: bool = True  # a valid intent was applied before
    source_error: str = ""


def conditions(facts: Facts) -> tuple[Condition, ...]:
    """What to tell, the worst first."""
    found = [*_state(facts), *_intent(facts), *_uplink(facts), *_kernel(facts)]
    return tuple(sorted(found, key=lambda item: item.severity != "error"))


def _state(facts: Facts) -> Iterator[Condition]:
    if facts.lost_master:
        hint = "restore master.key from the backup: until then no plan can be made"
        yield Condition(
            "master-lost", "error", f"the master secret is gone: {facts.lost_master}", hint
        )
    if facts.lost_allocations:
        hint = "restore the state folder from a backup: until then no plan can be made"
        yield Condition("allocations-lost", "error", facts.lost_allocations, hint)
    if facts.unnamed:
        named = _few([f"{name} ({count})" for name, count in sorted(facts.unnamed.items())])
        text = (
            "endpoints that only the kernel knows keep what they have, removed from the YAML or"
            f" not: {named}"
        )
        hint = (
            "restore the state folder; to cut one off at once, remove its peer with `wg set ..."
            " peer ... remove`"
        )
        yield Condition("endpoints-unnamed", "error", text, hint)
    where = facts.state_dir or "the state folder"
    if facts.obstacle:
        hint = "repairs and removals go on; what gives access waits" + (
            ": make room" if facts.obstacle == "full" else ""
        )
        yield Condition("state-unwritable", "error", f"{where} is {facts.obstacle}", hint)
    if facts.unwritten:
        hint = "what it takes away was taken away; the rest is tried again"
        yield Condition(
            "edit-unwritten", "error", f"an edit could not be written down: {facts.unwritten}", hint
        )
    if facts.events_unwritten and not facts.obstacle:
        text = f"the latest events are in memory only: {facts.events_unwritten}"
        yield Condition(
            "events-unwritten", "warning", text, f"make room in {where}; nothing else waits for it"
        )


def _intent(facts: Facts) -> Iterator[Condition]:
    if facts.awaiting:
        hint = "agree to it with `warpctl apply --yes`"
        yield Condition(
            "awaiting-consent", "warning", f"the YAML is not in force: {facts.awaiting}", hint
        )
    elif facts.findings and not facts.unwritten:
        more = f" (and {len(facts.findings) - 1} more)" if len(facts.findings) > 1 else ""
        instead = (
            "the last good one is in force" if facts.last_good else "and none was applied before"
        )
        text = f"the YAML is invalid, {instead}: {facts.findings[0][:FINDING_MAX]}{more}"
        yield Condition("yaml-invalid", "error", text, "see `warpctl validate`")
    if facts.pending is not None:
        about = facts.pending
        left = f"{max(0, round(about['left_s']))} s left, until {about['until']}"
        text = f"number {about['number']} by {about['by']} waits to be confirmed: {left}"
        yield Condition(
            "confirm-pending",
            "warning",
            text,
            "`warpctl confirm` keeps it, `warpctl rollback` undoes it",
        )
    if facts.rolled_back_to is not None:
        text = (
            f"a rollback is in force, to number {facts.rolled_back_to}: the YAML is what was rolled"
            " back from"
        )
        yield Condition(
            "rolled-back", "warning", text, "edit the YAML, or `warpctl apply` brings it again"
        )
    if facts.source_error:
        text = f"the YAML could not be pulled: {facts.source_error}"
        yield Condition("source-failing", "warning", text, "what was applied stays")


def _uplink(facts: Facts) -> Iterator[Condition]:
    hint = "networks without internet go on; see `ip route get 1.1.1.1`"
    if facts.uplink_state == "missing":
        text = (
            f"there is no link {facts.uplink}"
            if facts.uplink
            else "there is no default route, so that no uplink is known"
        )
        yield Condition("uplink-missing", "error", text, hint)
    elif facts.uplink_state == "down":
        yield Condition("uplink-down", "error", f"the uplink {facts.uplink} is down", hint)
    elif facts.uplink_state == "no route":
        yield Condition(
            "uplink-unrouted",
            "error",
            f"no default route leads through the uplink {facts.uplink}",
            hint,
        )


def _kernel(facts: Facts) -> Iterator[Condition]:
    if facts.problems:
        named = [f"{name} ({why})" for name, why in sorted(facts.problems.items())]
        hint = "do what `warpctl plan` says of it; a running warpd goes on by itself"
        yield Condition(
            "unsupported",
            "error",
            f"this machine cannot do what networks need: {_few(named)}",
            hint,
        )
    if facts.failing:
        named = [f"{name} ({_tried(retry)})" for name, retry in sorted(facts.failing.items())]
        yield Condition(
            "failing",
            "error",
            f"not as it should be: {_few(named)}",
            "`warpctl events` tells what was tried",
        )
    if facts.contested:
        named = [f"{item} of {network}" for item, network in sorted(facts.contested.items())]
        text = f"another program keeps reverting: {_few(named)}"
        yield Condition("contested", "warning", text, "find and stop it; repairs are slowed down")
    if facts.event_overruns:
        text = (
            f"kernel events were lost {facts.event_overruns} times; each time everything was"
            " looked at"
        )
        yield Condition("events-lost", "warning", text, "a larger --event-buffer helps")
    if not facts.running:
        text = "warpd is not running: nothing is repaired, and edits are not applied"
        yield Condition("daemon-down", "warning", text, "`systemctl start warpd`")


def _tried(retry: Retry) -> str:
    why = f"{retry.why}; " if retry.why else ""
    return f"{why}tried {retry.times} times, again in {retry.next_s:.0f} s"


def _few(named: list[str]) -> str:
    more = f" and {len(named) - NAMED_MAX} more" if len(named) > NAMED_MAX else ""
    return ", ".join(named[:NAMED_MAX]) + more


def from_json(rows: Iterable[Mapping[str, Any]]) -> tuple[Condition, ...]:
    """As `Condition.as_json` wrote them."""
    return tuple(
        Condition(row["code"], row["severity"], row["text"], row["hint"], row["since"] or "")
        for row in rows
    )


def merged(own: Iterable[Condition], watched: Iterable[Condition]) -> tuple[Condition, ...]:
    """What two have seen, each code once: what was watched goes before what was only found."""
    found = {item.code: item for item in own} | {item.code: item for item in watched}
    return tuple(sorted(found.values(), key=lambda item: item.severity != "error"))


class Watched:
    """Conditions over time: when each began, which are new, which are over."""

    def __init__(self) -> None:
        self.now: tuple[Condition, ...] = ()

    def update(
        self, found: Iterable[Condition], time: str
    ) -> tuple[list[Condition], list[Condition]]:
        """Take in what holds now; (what has begun, what is over)."""
        before = {item.code: item for item in self.now}
        after = [
            _since(item, before[item.code].since if item.code in before else time) for item in found
        ]
        self.now = tuple(after)
        codes = {item.code for item in after}
        begun = [item for item in after if item.code not in before]
        return begun, [item for item in before.values() if item.code not in codes]


def _since(item: Condition, time: str) -> Condition:
    return Condition(item.code, item.severity, item.text, item.hint, time)
