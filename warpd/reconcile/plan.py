"""Differences -> ordered steps. Pure; the plan is data, and apply runs that data and nothing else.

Order: first everything that takes reach away (revocations and removals, highest phase first), for
all networks, so that what one gives up another may take. Then the gateway's own guard, and each
network by phase. Last the addresses and routes that are no longer wanted, so that a route that
changes its prefix leaves no gap; they permit nothing by themselves. A step never permits more than
the plan's end does.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from warpd.kernel.state import ROOT, Action, Change, KernelObject, Key, Phase
from warpd.keys.derivation import Secret
from warpd.reconcile.diff import Conflict, Difference, Differences


@dataclass(frozen=True, slots=True)
class Step:
    """One change, with where it belongs and why.

    - `change`: what is done.
    - `key`: the object's. A replacement is two steps with one key, a removal and a creation.
    - `group`: the network that it belongs to, by its namespace's name; "" for the gateway's own.
    - `network`: that network's name for people; where the intent no longer has it, the name in the
      alias of its link, or else its namespace's.
    - `fields`: names of the fields that differ. A removal with fields is half of a replacement.
    - `reason`: why, for people.

    Hazard: `change.before` is what the kernel is expected to hold just before this step, which is
    not what was observed where an earlier step of the same key (a revocation) comes between.
    """

    change: Change
    key: Key
    group: str
    network: str
    fields: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What has to be done, in the order in which it is done.

    - `steps`: `apply` runs these and nothing else.
    - `blocked`: foreign objects that sit under keys of ours. Their networks get nothing, and lose
      what they should no longer have.
    - `networks`: group -> name of its network.

    Hazards:
    1. Stopping after any step must leave less reach than the plan's end, never more. So revocations
       and removals of all networks come before every addition, and within each network permits
       come last.
    2. A plan is of one look. What another program changes after it shows as an error of `apply`, or
       in the look that follows. The plan itself is never adapted.
    3. Two plans with the same `digest` do the same; a consent is given to a digest.
    """

    steps: tuple[Step, ...]
    blocked: tuple[Conflict, ...]
    networks: Mapping[str, str]  # group -> network name

    @property
    def empty(self) -> bool:
        return not self.steps and not self.blocked


def plan(differences: Differences, names: Mapping[str, str], stopped: Collection[str] = ()) -> Plan:
    """Order the differences.

    Args:
        differences: what `diff` found.
        names: group -> name of its network; a group without one is of a network that the intent no
            longer has.
        stopped: groups to which nothing is given, as to those that a foreign object blocks.
    """
    withheld = {*stopped, *(blocked.group for blocked in differences.blocked)} - {ROOT}
    # A network that cannot be completed still loses what it should no longer have.
    losing = [
        item for item in differences.items if _group(item) not in withheld or not item.replace
    ]
    gaining = [item for item in differences.items if _group(item) not in withheld]
    removals = _removals(losing, names)
    taking = [step for step in removals if not _is_tidying(step)]
    tidying = [step for step in removals if _is_tidying(step)]
    steps = (*taking, *_additions(gaining, names), *tidying)
    return Plan(steps, differences.blocked, dict(names))


def _removals(items: Iterable[Difference], names: Mapping[str, str]) -> list[Step]:
    return sorted((step for item in items for step in _taking(item, names)), key=_last_first)


def _additions(items: Iterable[Difference], names: Mapping[str, str]) -> list[Step]:
    steps = (step for item in items for step in _giving(item, names))
    return _by_needs(sorted(steps, key=_first_first))


def _group(item: Difference) -> str:
    subject = item.after if item.after is not None else item.before
    return subject.group if subject is not None else ROOT


def _step(
    action: Action,
    before: KernelObject | None,
    after: KernelObject | None,
    item: Difference,
    names: Mapping[str, str],
    why: str,
) -> Step:
    group = _group(item)
    name = names.get(group) or group
    return Step(Change(action, before, after), item.key, group, name, item.fields, why)


def _taking(item: Difference, names: Mapping[str, str]) -> Iterable[Step]:
    if item.before is None:
        return
    if item.after is None:
        why = "in the kernel, not in the intent"
        yield _step(Action.DELETE, item.before, None, item, names, why)
    elif item.replace:
        yield _step(
            Action.DELETE,
            item.before,
            None,
            item,
            names,
            f"{', '.join(item.fields)} cannot change in place",
        )
    else:
        less = item.before.revoked_to(item.after)
        if less is not None:
            yield _step(
                Action.REVOKE, item.before, less, item, names, "taken away before anything is given"
            )


def _giving(item: Difference, names: Mapping[str, str]) -> Iterable[Step]:
    if item.after is None:
        return
    if item.before is None or item.replace:
        why = (
            "in the intent, not in the kernel"
            if item.before is None
            else f"{', '.join(item.fields)} differ"
        )
        yield _step(Action.CREATE, None, item.after, item, names, why)
        return
    before = item.before.revoked_to(item.after) or item.before
    if before != item.after:
        yield _step(
            Action.UPDATE, before, item.after, item, names, f"{', '.join(item.fields)} differ"
        )


def _last_first(step: Step) -> tuple[int, str, tuple[str, ...]]:
    return (-step.change.subject.phase, step.group, step.key)


def _is_tidying(step: Step) -> bool:
    removed = step.change.action is Action.DELETE and not step.fields
    return removed and step.change.subject.removed_last


def _first_first(step: Step) -> tuple[bool, str, int, tuple[str, ...]]:
    return (step.group != ROOT, step.network, step.change.subject.phase, step.key)


def _by_needs(steps: list[Step]) -> list[Step]:
    """The same order, but whatever a step needs and the plan makes comes before it."""
    pending = {step.key: step for step in steps}
    out: list[Step] = []

    def emit(step: Step) -> None:
        if pending.pop(step.key, None) is None:
            return
        for key in step.change.subject.needs:
            if key in pending:
                emit(pending[key])
        out.append(step)

    for step in steps:
        emit(step)
    return out


def runs(steps: Iterable[Step]) -> list[list[Step]]:
    """Group neighbouring steps that can be sent together.

    A request to stop is checked between two groups.
    """
    out: list[list[Step]] = []
    for step in steps:
        if out and _joins(out[-1][-1], step):
            out[-1].append(step)
        else:
            out.append([step])
    return out


def _joins(last: Step, step: Step) -> bool:
    same = (last.group, last.key.kind, last.key.netns) == (
        step.group,
        step.key.kind,
        step.key.netns,
    )
    both = (last.change.action is Action.DELETE) == (step.change.action is Action.DELETE)
    return same and both and step.change.subject.phase is not Phase.GUARD


def digest(steps: Iterable[Step]) -> str:
    """A fingerprint of what is done, secrets included; two plans with one digest do the same."""
    hasher = hashlib.sha256()
    for step in steps:
        hasher.update(f"{step.change.action.value} {step.key}\n".encode())
        for side in (step.change.before, step.change.after):
            _feed(hasher, side)
    return hasher.hexdigest()


def _feed(hasher: hashlib._Hash, value: object) -> None:
    if isinstance(value, Secret):
        hasher.update(hashlib.sha256(value.reveal()).digest())
    elif isinstance(value, frozenset):
        hasher.update(repr(sorted(value)).encode())
    elif dataclasses.is_dataclass(value):
        for each in dataclasses.fields(value):
            _feed(hasher, getattr(value, each.name))
    else:
        hasher.update(repr(value).encode())
