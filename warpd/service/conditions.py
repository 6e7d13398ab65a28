"""Decide from facts about a gateway what is wrong with it, or waits for somebody. Pure.

status, doctor, metrics, events and the log all show these conditions, so that they agree. This
module decides which facts are a condition, how severe it is, and its text. `health` and
`daemon.health` collect the facts. What a plan says of one network is not a condition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

from warpd.errors import WarpError
from warpd.service.views.words import first_of, owner_text

Severity = Literal["error", "warning"]

NAMED_MAX: Final = 5  # networks or objects that one condition names
FINDING_MAX: Final = 300  # characters of a finding that a condition quotes
# What is wrong with the uplink, and whether its name is known -> code and text.
UPLINK_STATES: Final[Mapping[tuple[str, bool], tuple[str, str]]] = {
    ("missing", False): ("uplink-missing", "there is no default route, so that no uplink is known"),
    ("missing", True): ("uplink-missing", "there is no link {}"),
    ("down", True): ("uplink-down", "the uplink {} is down"),
    ("no route", True): ("uplink-unrouted", "no default route leads through the uplink {}"),
}
# How to see why one IP version has no route, and that the other one works.
ROUTE_HINTS: Final[Mapping[int, str]] = {
    4: "see `ip -4 route get 198.41.0.4`; IPv6 goes on",
    6: "see `ip -6 route get 2001:503:ba3e::2:30`; IPv4 goes on",
}
# Conditions while which no plan can be made, so that no network is known to be in sync.
NO_PLAN: Final = frozenset({"master-lost", "master-unusable", "allocations-lost", "state-damaged"})
EDIT_UNWRITTEN: Final = "edit-unwritten"  # a code


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that an operator should know.

    - `code`: a stable name for scripts and metrics; a list has each code once.
    - `severity`: an error is something that does not work; a warning is something to decide or to
      watch.
    - `text`, `hint`: what is wrong, and what to do about it.
    - `since`: when it began, ISO 8601 in UTC; "" where no daemon has observed that.
    """

    code: str
    severity: Severity
    text: str
    hint: str = ""
    since: str = ""

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "since": self.since or None}


@dataclass(frozen=True, slots=True)
class Retry:
    """The retries of a network whose last apply failed.

    - `times`: how often it was tried.
    - `next_s`: seconds until the next try.
    - `why`: the last failure; "" where it is not known.
    """

    times: int
    next_s: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Unrouted:
    """An IP version in which nothing leaves to the internet, while the other one works.

    - `networks`: those whose clients send to the internet in it; at least one.
    - `has_address`: whether the uplink has an address of this version.
    """

    version: int
    networks: tuple[str, ...]
    has_address: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a gateway at one moment. With the defaults there is no condition.

    - `running`: a daemon keeps this gateway.
    - `lost_master`: what shows that there was a master secret, where it is gone.
    - `unusable_master`: why the master secret, which is there, cannot be used.
    - `lost_allocations`: what shows that there were allocations, where they are gone.
    - `damaged`: which file of the state folder is damaged, with a hint how to fix it.
    - `damaged_pending`: the damaged file of an apply to be confirmed.
    - `unnamed`: network -> how many of its endpoints are known from the kernel only.
    - `obstacle`: why the state folder takes no writes: gone, read-only or full.
    - `unwritten`: why an edit of the YAML could not be recorded in the state folder.
    - `waiting`: the networks that this edit is about.
    - `state_dir`: the path of the state folder.
    - `findings`: the errors of the YAML as it is now, each as `FILE:LINE:COL: PATH: message`.
    - `awaiting`: why the YAML waits for an operator's consent.
    - `pending`: the apply that is undone unless it is confirmed: `number, by, until, left_s`.
    - `rolled_back_to`: the number that a rollback went back to, while the files are still those
      that were rolled back.
    - `uplink`, `uplink_state`: its name, and missing, down, no route or "".
    - `unrouted`: the IP version without a default route; None where both have one, or neither.
    - `taken_forwarding`: IP versions whose forwarding others turned on for the whole host, after
      warpd had turned it on for its links.
    - `failing`: network -> its retries; "" stands for what belongs to no network.
    - `problems`: network -> what this machine lacks for it.
    - `contested`: object that another program keeps changing or deleting -> its network.
    - `event_overruns`: how often events of the kernel were lost.
    - `events_unwritten`: why the latest events of warpd are not on the disk.
    - `last_good`: whether a valid intent was applied before.
    - `source_error`: why the last pull of the YAML failed.
    - `unresolved`: endpoint, as NETWORK/NAME -> the host name in its `endpoint:`, which does not
      resolve.
    - `suspended`: endpoint, as NETWORK/NAME -> by whom it is suspended, and until when.
    - `suspensions_unwritten`: whether a suspension counts that a restart would lose.
    - `suspensions_unreadable`: why the file of suspensions does not say what it should.
    """

    running: bool = True
    lost_master: str = ""
    unusable_master: WarpError | None = None
    lost_allocations: str = ""
    damaged: WarpError | None = None
    damaged_pending: str = ""
    unnamed: Mapping[str, int] = field(default_factory=dict)
    obstacle: str = ""
    unwritten: str = ""
    waiting: tuple[str, ...] = ()
    state_dir: str = ""
    findings: tuple[str, ...] = ()
    awaiting: str = ""
    pending: Mapping[str, Any] | None = None
    rolled_back_to: int | None = None
    uplink: str = ""
    uplink_state: str = ""
    unrouted: Unrouted | None = None
    taken_forwarding: tuple[int, ...] = ()
    failing: Mapping[str, Retry] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    contested: Mapping[str, str] = field(default_factory=dict)
    event_overruns: int = 0
    events_unwritten: str = ""
    last_good: bool = True
    source_error: str = ""
    unresolved: Mapping[str, str] = field(default_factory=dict)
    suspended: Mapping[str, str] = field(default_factory=dict)
    suspensions_unwritten: bool = False
    suspensions_unreadable: str = ""


def conditions(facts: Facts) -> tuple[Condition, ...]:
    """Return the conditions, errors first."""
    found = [
        *_lost(facts),
        *_unwritable(facts),
        *_intent(facts),
        *_suspensions(facts),
        *_uplink(facts),
        *_names(facts),
        *_forwarding(facts),
        *_kernel(facts),
    ]
    return tuple(sorted(found, key=lambda item: item.severity != "error"))


def _lost(facts: Facts) -> Iterator[Condition]:
    """What the state folder no longer has, or no longer tells."""
    if facts.lost_master:
        hint = "restore master.key from the backup: until then no plan can be made"
        yield Condition(
            "master-lost", "error", f"the master secret is gone: {facts.lost_master}", hint
        )
    if facts.unusable_master:
        text = f"the master secret cannot be used: {facts.unusable_master.message}"
        hint = f"{facts.unusable_master.hint}; until then no plan can be made"
        yield Condition("master-unusable", "error", text, hint)
    if facts.lost_allocations:
        hint = "restore the state folder from a backup: until then no plan can be made"
        yield Condition("allocations-lost", "error", facts.lost_allocations, hint)
    if facts.damaged:
        hint = f"{facts.damaged.hint}; until then what gives access waits"
        yield Condition("state-damaged", "error", facts.damaged.message, hint)
    if facts.damaged_pending:
        text = (
            f"{facts.damaged_pending} is damaged: it is unknown whether an apply awaits"
            " confirmation; nothing will be rolled back"
        )
        hint = "what is applied stays; see `warpctl history`, then remove that file"
        yield Condition("pending-damaged", "error", text, hint)
    if facts.unnamed:
        named = _few([f"{name} ({count})" for name, count in sorted(facts.unnamed.items())])
        text = (
            "endpoints that only the kernel knows keep their access, also if the YAML does not"
            f" have them any more: {named}"
        )
        hint = (
            "restore the state folder; to cut one off at once, remove its peer with `wg set ..."
            " peer ... remove`"
        )
        yield Condition("endpoints-unnamed", "error", text, hint)


def _unwritable(facts: Facts) -> Iterator[Condition]:
    """What could not be written to the state folder."""
    where = facts.state_dir or "the state folder"
    if facts.obstacle:
        hint = "repairs and removals go on; what gives access waits"
        if facts.obstacle == "full":
            hint += ": make room"
        yield Condition("state-unwritable", "error", f"{where} is {facts.obstacle}", hint)
    if facts.unwritten:
        of = f" of {_few(facts.waiting)}" if facts.waiting else ""
        text = f"an edit{of} could not be recorded: {facts.unwritten}"
        hint = "what it removes is removed; what it adds is tried again until it can be recorded"
        yield Condition(EDIT_UNWRITTEN, "error", text, hint)
    if facts.events_unwritten and not facts.obstacle:
        text = f"the latest events are in memory only: {facts.events_unwritten}"
        hint = f"make room in {where}; nothing else waits for it"
        yield Condition("events-unwritten", "warning", text, hint)


def _intent(facts: Facts) -> Iterator[Condition]:
    """Why the YAML is not in force, or not for good."""
    if facts.awaiting:
        command = "warpctl apply --yes" if facts.pending is None else "warpctl confirm"
        hint = f"agree to it with `{command}`"
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
            f"a rollback is in force, to number {facts.rolled_back_to}: the YAML is still the one"
            " that was rolled back"
        )
        hint = (
            "edit the YAML, put the earlier one back with `warpctl rollback --files`, or apply it"
            " again with `warpctl apply`"
        )
        yield Condition("rolled-back", "warning", text, hint)
    if facts.source_error:
        text = f"the YAML could not be pulled: {facts.source_error}"
        yield Condition("source-failing", "warning", text, "what was applied stays")


def _suspensions(facts: Facts) -> Iterator[Condition]:
    """Which endpoints are taken out whatever the YAML says, and what may bring them back."""
    if facts.suspended:
        named = _few([f"{name} ({about})" for name, about in sorted(facts.suspended.items())])
        hint = "they are out whatever the YAML says; `warpctl endpoint resume NETWORK/NAME`"
        yield Condition("suspended", "warning", named, hint)
    if facts.suspensions_unwritten:
        text = "a suspension is in memory only: a restart of warpd would end it"
        hint = f"make room in {facts.state_dir or 'the state folder'}; it is tried again"
        yield Condition("suspension-unwritten", "error", text, hint)
    if facts.suspensions_unreadable:
        text = f"suspensions cannot be read: {facts.suspensions_unreadable}"
        hint = (
            "those that are known go on; restore the file from a backup, or remove it and suspend"
            " again"
        )
        yield Condition("suspensions-unreadable", "error", text, hint)


def _uplink(facts: Facts) -> Iterator[Condition]:
    """What keeps traffic from leaving by the uplink."""
    if facts.uplink_state:
        code, text = UPLINK_STATES[facts.uplink_state, bool(facts.uplink)]
        hint = "networks without internet go on; see `ip route get 1.1.1.1`"
        yield Condition(code, "error", text.format(facts.uplink), hint)
    elif facts.unrouted is not None:
        yield _one_version_unrouted(facts.unrouted)


def _one_version_unrouted(unrouted: Unrouted) -> Condition:
    """What of the networks' traffic goes nowhere, while the other IP version works.

    Where the uplink has an address of this version, a route is gone; otherwise the host may have
    none by intent.
    """
    version = unrouted.version
    text = (
        f"this host has no usable IPv{version} default route: what"
        f" {_few(unrouted.networks)} send to the internet by IPv{version} goes nowhere"
    )
    hint = ROUTE_HINTS[version]
    if version == 6 and not unrouted.has_address:
        hint += ". Where this host has no IPv6, write `ipv6: false` in these networks"
    severity: Severity = "error" if unrouted.has_address else "warning"
    return Condition("uplink-unrouted", severity, text, hint)


def _names(facts: Facts) -> Iterator[Condition]:
    """Which endpoints the gateway cannot dial, because it does not know where they are."""
    if facts.unresolved:
        named = [f"{name} ({host})" for name, host in sorted(facts.unresolved.items())]
        text = f"the host name in `endpoint:` does not resolve: {_few(named)}"
        hint = (
            "the gateway cannot dial these endpoints, they can dial it; correct `endpoint:`, or see"
            " `getent ahosts NAME`. The name is looked up again"
        )
        yield Condition("endpoint-unresolved", "warning", text, hint)


def _forwarding(facts: Facts) -> Iterator[Condition]:
    """What of the host's forwarding is no longer warpd's to fence and to turn off."""
    if facts.taken_forwarding:
        versions = " and ".join(f"IPv{version}" for version in facts.taken_forwarding)
        text = (
            f"another program has turned on {versions} forwarding for the whole host after warpd:"
            " it is not fenced off, and destroy leaves it on"
        )
        hint = (
            "where that is meant, set it in /etc/sysctl.d: from the next boot on it is the host's"
            " own; where it is not, turn it off: warpd turns on, and fences, what it needs"
        )
        yield Condition("forwarding-taken", "warning", text, hint)


def _kernel(facts: Facts) -> Iterator[Condition]:
    """What the kernel does not do, and what nobody keeps in it."""
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
        rows = sorted(facts.failing.items())
        named = [f"{owner_text(name)} ({_tried(retry)})" for name, retry in rows]
        yield Condition(
            "failing",
            "error",
            f"not as it should be: {_few(named)}",
            "`warpctl events` tells what was tried",
        )
    if facts.contested:
        objects = sorted(facts.contested.items())
        named = [f"{item} of {owner_text(network)}" for item, network in objects]
        text = f"another program keeps changing or deleting: {_few(named)}"
        yield Condition("contested", "warning", text, "find and stop it; repairs are slowed down")
    if facts.event_overruns:
        text = (
            f"kernel events were lost {facts.event_overruns} times; each time the whole kernel"
            " was read again"
        )
        yield Condition("events-lost", "warning", text, "a larger --event-buffer helps")
    if not facts.running:
        text = "warpd is not running: nothing is repaired, and edits are not applied"
        yield Condition("daemon-down", "warning", text, "`systemctl start warpd`")


def _tried(retry: Retry) -> str:
    why = f"{retry.why}; " if retry.why else ""
    return f"{why}tried {retry.times} times, again in {retry.next_s:.0f} s"


def _few(named: Sequence[str]) -> str:
    return first_of(named, NAMED_MAX)


def from_json(rows: Iterable[Mapping[str, Any]]) -> tuple[Condition, ...]:
    """Return the conditions that `Condition.as_json` wrote.

    Raises:
        KeyError: a row lacks a field.
    """
    return tuple(
        Condition(row["code"], row["severity"], row["text"], row["hint"], row["since"] or "")
        for row in rows
    )


def merged(own: Iterable[Condition], watched: Iterable[Condition]) -> tuple[Condition, ...]:
    """Join two lists, each code once, errors first.

    Args:
        own: conditions that this process has found.
        watched: conditions of the daemon, which knows since when they hold. They count where both
            lists have a code.
    """
    found = {item.code: item for item in own} | {item.code: item for item in watched}
    return tuple(sorted(found.values(), key=lambda item: item.severity != "error"))


class Watched:
    """The conditions of a daemon over time; `now` are those that hold, with their `since`."""

    def __init__(self) -> None:
        self.now: tuple[Condition, ...] = ()

    def update(
        self, found: Iterable[Condition], time: str
    ) -> tuple[list[Condition], list[Condition]]:
        """Replace the conditions by those that hold now.

        Args:
            found: the conditions that hold.
            time: ISO 8601 in UTC.

        Returns:
            The conditions that have begun, and those that are over.
        """
        before = {item.code: item for item in self.now}
        after = {}
        for item in found:
            known = before.get(item.code)
            after[item.code] = replace(item, since=time if known is None else known.since)
        self.now = tuple(after.values())
        begun = [item for item in after.values() if item.code not in before]
        return begun, [item for item in before.values() if item.code not in after]
