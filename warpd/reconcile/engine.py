"""One pass: observe, compile, diff, plan, apply, verify.

Kernel and goal are arguments; no file, no clock.

Daemon and command line call these same functions. A network that fails keeps what it has and stops
there; the others go on. Where the gateway's own guard fails, nothing is given to anybody.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from warpd import naming
from warpd.allocation.model import Allocations
from warpd.intent.model import Intent
from warpd.kernel.api import Dump, Kernel, OperationError
from warpd.kernel.kinds.link import Veth, link_key
from warpd.kernel.kinds.nft_table import IngressFilter, NetworkSubtable, NftElements, NftTable
from warpd.kernel.state import ROOT, Action, Host, Key, Observed, State
from warpd.keys.derivation import Master
from warpd.networks.compiler import Compiled, compile_state, policy_facts, targets
from warpd.reconcile.diff import Differences, diff, groups_lost_with
from warpd.reconcile.observe import NOTHING, observe
from warpd.reconcile.plan import Plan, Step, plan, runs

ROUNDS = (
    3  # an answer that was lost, or an object that came in between, is looked at again this often
)


@dataclass(frozen=True, slots=True)
class Target:
    """Everything that decides what should exist, apart from the machine itself."""

    intent: Intent
    allocations: Allocations
    master: Master
    today: date


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """What a look at the kernel led to."""

    observed: Observed
    compiled: Compiled
    plan: Plan
    gone: frozenset[Key] = frozenset()  # what loses its content on the way


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """What became of a plan."""

    done: tuple[Step, ...]
    failed: tuple[tuple[Step, OperationError], ...] = ()
    skipped: tuple[Step, ...] = ()  # of a network that had failed before
    remaining: tuple[Step, ...] = ()  # not begun, because we were asked to stop
    unverified: tuple[Step, ...] = ()  # what the kernel still lacks afterwards

    @property
    def complete(self) -> bool:
        return not (self.failed or self.skipped or self.remaining or self.unverified)


Progress = Callable[[Step], None]
Stop = Callable[[], bool]


def planned_run(kernel: Kernel, goal: Target, last: PlannedRun | None = None) -> PlannedRun:
    """Look, and plan the way from there to the goal. Changes nothing.

    `last` is an earlier look for the same goal: only what its plan touches is looked at again, the
    gateway's own part always.

    Raises:
        DumpError: the kernel could not be read.
    """
    if last is not None:
        return glance(kernel, goal, last, {step.group for step in last.plan.steps})
    root = kernel.dump(ROOT, goal.intent.gateway.uplink, targets(goal.intent))
    compiled = _compile(goal, root.host or Host())
    return _planned(compiled, _observe(kernel, goal, None, root, compiled.state))


def _lasting(host: Host, before: Host) -> Host:
    """While there is no uplink, the size of its packets is taken to be what it was: no tunnel
    changes for a pulled cable.
    """
    return host if host.uplink else dataclasses.replace(host, uplink_mtu=before.uplink_mtu)


def survey(kernel: Kernel, goal: Target, last: PlannedRun, groups: Collection[str]) -> PlannedRun:
    """As `glance`, but also at every network of which the root shows something else than what is
    wanted.

    Raises:
        DumpError: as `prospect`.
    """
    root = kernel.dump(ROOT, goal.intent.gateway.uplink, targets(goal.intent))
    return glance(kernel, goal, last, {*groups, *_shown(root, last.compiled.state)}, root)


def _shown(root: Dump, wanted: State) -> set[str]:
    """Groups that differ in the root.

    Of a pair of links the root shows one end: that it is there is all that counts.
    """
    have = {item.key: item for item in root.objects}
    ends = {link_key(ROOT, end.name) for end in root.ends}
    differ = {
        item.group
        for item in wanted
        if item.key.netns == ROOT
        and (item.key not in ends if isinstance(item, Veth) else have.get(item.key) != item)
    }
    return differ | {item.group for key, item in have.items() if wanted.get(key) is None}


def glance(
    kernel: Kernel,
    goal: Target,
    last: PlannedRun,
    groups: Collection[str] | None,
    root: Dump | None = None,
) -> PlannedRun:
    """Look again for the goal of `last`, only at these groups and the gateway's own part; None: at
    everything.

    What was compiled is used again while the host is the same; when it is another, everything is
    looked at. `root` is a look at the root of just now.

    Raises:
        DumpError: as `prospect`.
    """
    observed = _observe(kernel, goal, groups, root, last.compiled.state)
    observed = dataclasses.replace(observed, host=_lasting(observed.host, last.observed.host))
    if policy_facts(last.observed.host) == policy_facts(observed.host):
        found = _planned(last.compiled, observed, groups)
        # The gateway's table holds what networks in the root have there: rebuilt, it takes that
        # along.
        more = (
            groups_lost_with(last.compiled.state, found.gone) - {ROOT, *groups}
            if groups is not None
            else set()
        )
        return glance(kernel, goal, last, {*(groups or ()), *more}) if more else found
    compiled = _compile(goal, observed.host, last.compiled)
    if groups is not None:
        lasting = observed.host
        observed = dataclasses.replace(
            _observe(kernel, goal, None, known=compiled.state), host=lasting
        )
    return _planned(compiled, observed)


def advance(
    kernel: Kernel, goal: Target, last: PlannedRun, groups: Collection[str] | None = ()
) -> PlannedRun:
    """Look for a goal that has taken the place of that of `last`: only where the two differ, and at
    `groups`.

    With None for groups, look at everything; what was compiled for `last` saves work all the same.

    Raises:
        DumpError: as `prospect`.
    """
    compiled = _compile(goal, last.observed.host, last.compiled)
    touched = None if groups is None else compiled.moved(last.compiled) | set(groups)
    return glance(kernel, goal, PlannedRun(last.observed, compiled, last.plan), touched)


def _observe(
    kernel: Kernel,
    goal: Target,
    groups: Collection[str] | None,
    root: Dump | None = None,
    known: State = NOTHING,
) -> Observed:
    return observe(kernel, goal.intent.gateway.uplink, targets(goal.intent), groups, root, known)


def _compile(goal: Target, host: Host, last: Compiled | None = None) -> Compiled:
    return compile_state(goal.intent, goal.allocations, goal.master, host, goal.today, last)


def _planned(
    compiled: Compiled, observed: Observed, groups: Collection[str] | None = None
) -> PlannedRun:
    """With groups, without what the root shows of other networks: of those it shows only half."""
    wanted = compiled.state
    if groups is not None:
        seen = {ROOT, *groups}
        wanted = compiled.of(seen)
        observed = dataclasses.replace(observed, state=_part(observed.state, seen))
    differences = diff(wanted, observed)
    made = plan(differences, _names(compiled, observed), compiled.stopped)
    return PlannedRun(observed, compiled, made, differences.gone)


def _part(state: State, groups: Collection[str]) -> State:
    return State({key: item for key, item in state.objects.items() if item.group in groups})


def removal(kernel: Kernel, group: str | None = None) -> PlannedRun:
    """Look, and plan to remove everything of ours, or only one network's (by its namespace's name).

    Raises:
        DumpError: the kernel could not be read.
    """
    observed = observe(kernel)
    kept = State.of(item for item in observed.state if group is not None and item.group != group)
    compiled = Compiled(kept, (), {})
    found = diff(kept, observed)
    return PlannedRun(
        observed, compiled, plan(Differences(found.items, ()), _names(compiled, observed))
    )


def _names(compiled: Compiled, observed: Observed) -> dict[str, str]:
    """Group -> network name; of what the intent no longer has, the name in the link's alias."""
    out: dict[str, str] = {}
    for item in observed.state:
        network = naming.network_of_alias(getattr(item, "alias", ""))
        if item.group and network:
            out[item.group] = network
    return {**out, **compiled.names}


def apply(
    kernel: Kernel,
    steps: Sequence[Step],
    progress: Progress = lambda _step: None,
    stop: Stop = lambda: False,
) -> ApplyResult:
    """Run the steps of one plan in its order; the first fault of a network ends that network's
    part.
    """
    done: list[Step] = []
    failed: list[tuple[Step, OperationError]] = []
    skipped: list[Step] = []
    lost: set[str] = set()
    todo = runs(steps)
    for number, run in enumerate(todo):
        if stop():
            rest = tuple(step for later in todo[number:] for step in later)
            return ApplyResult(tuple(done), tuple(failed), tuple(skipped), rest)
        kept = [step for step in run if not _is_lost(step, lost)]
        skipped += [step for step in run if _is_lost(step, lost)]
        for step, fault in zip(kept, _perform(kernel, kept), strict=True):
            if fault is None:
                done.append(step)
                progress(step)
            else:
                failed.append((step, fault))
                lost.add(step.group)
    return ApplyResult(tuple(done), tuple(failed), tuple(skipped))


def _is_lost(step: Step, lost: set[str]) -> bool:
    """Of a network that failed; what gives, once the gateway's guard has failed; that guard, while
    a door may still stand.
    """
    gives = step.change.action in (Action.CREATE, Action.UPDATE)
    unguards = step.group == ROOT and step.change.action is Action.DELETE and bool(lost)
    return step.group in lost or (gives and ROOT in lost) or unguards


def _perform(kernel: Kernel, run: Sequence[Step]) -> list[OperationError | None]:
    if not run:
        return []
    changes = [step.change for step in run]
    if isinstance(changes[0].subject, NftTable | NetworkSubtable | IngressFilter | NftElements):
        return [kernel.transact(changes[0].subject.key.netns, changes)] * len(changes)
    return kernel.send(changes)


def converge(
    kernel: Kernel,
    replan: Callable[[], PlannedRun],
    first: PlannedRun,
    progress: Progress = lambda _step: None,
    stop: Stop = lambda: False,
) -> ApplyResult:
    """Apply a plan, look again, and mend what a lost answer or a race left open; at most ROUNDS
    times.

    Raises:
        DumpError: the kernel could not be read afterwards.
    """
    done: tuple[Step, ...] = ()
    outcome = ApplyResult(())
    now = first
    kernel.prepare([step.change for step in first.plan.steps])
    for number in range(ROUNDS):
        outcome = apply(kernel, now.plan.steps, progress, stop)
        done += outcome.done
        if outcome.remaining or not now.plan.steps:
            return _with(outcome, done, ())
        now = replan()
        outcome = _without_settled(outcome, now.plan)
        again = number + 1 < ROUNDS and _worth_another(outcome.failed, now.plan)
        if not again:
            break
    return _with(outcome, done, _open(now.plan, outcome))


def _worth_another(failed: Iterable[tuple[Step, OperationError]], left: Plan) -> bool:
    """Another round helps when something is left and no fault says that it would fail the same way."""
    blocked = {item.key for item in left.blocked}
    return bool(left.steps) and all(
        fault.passing and step.key not in blocked for step, fault in failed
    )


def _without_settled(outcome: ApplyResult, left: Plan) -> ApplyResult:
    """Without the faults of which nothing is left: the change was made and its answer lost, or
    another program was quicker.
    """
    open_ = {step.key for step in left.steps} | {item.key for item in left.blocked}
    failed = tuple(
        (step, fault) for step, fault in outcome.failed if not fault.passing or step.key in open_
    )
    return dataclasses.replace(outcome, failed=failed)


def _open(left: Plan, outcome: ApplyResult) -> tuple[Step, ...]:
    """Steps still needed in networks that reported no failure: the kernel is not what was promised."""
    excused = {step.group for step, _ in outcome.failed}
    return tuple(step for step in left.steps if step.group not in excused)


def _with(
    outcome: ApplyResult, done: tuple[Step, ...], unverified: tuple[Step, ...]
) -> ApplyResult:
    return ApplyResult(done, outcome.failed, outcome.skipped, outcome.remaining, unverified)
