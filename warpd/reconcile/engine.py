"""One pass: observe, compile, diff, plan, apply, verify.

Kernel and target are arguments; no file, no clock.

Daemon and command line call these same functions. A network that fails keeps what it has and stops
there; the others go on. Where the gateway's own guard fails, nothing is given to anybody.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from warpd import naming
from warpd.allocation.model import Allocations
from warpd.allocation.suspensions import Suspension, by_name
from warpd.intent.model import Intent
from warpd.kernel.api import Kernel, OperationError
from warpd.kernel.kinds.netns import Netns
from warpd.kernel.state import ROOT, Action, Host, KernelObject, Key, Observed, State
from warpd.keys.derivation import Master
from warpd.networks.compiler import (
    Compiled,
    CompileNetwork,
    compile_network,
    compile_state,
)
from warpd.networks.resolved import ResolvedNetwork, resolve_named
from warpd.reconcile.diff import Conflict, Differences, diff
from warpd.reconcile.observe import EVERYTHING, Scope, observe
from warpd.reconcile.plan import Plan, Step, plan, runs

# A pass applies at most this many plans, the first one included: after a lost answer, or a change
# by another program, the verifying look leads to another one.
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Target:
    """Everything that decides what should exist, apart from the machine itself.

    suspensions: those that count now; they only ever take away.
    """

    intent: Intent
    allocations: Allocations
    master: Master
    today: date
    suspensions: tuple[Suspension, ...] = ()

    @property
    def suspended(self) -> dict[tuple[str, str], Suspension]:
        """The suspended endpoints of the intent, by the names of network and endpoint."""
        found = by_name(self.allocations, self.suspensions)
        networks = self.intent.networks
        return {
            name: item
            for name, item in found.items()
            if name[0] in networks and name[1] in networks[name[0]].endpoints
        }

    def resolved(self, network: str, host: Host) -> ResolvedNetwork:
        """One network with every default decided, enabled or not."""
        return resolve_named(
            network, self.intent, self.allocations, host, self.today, self.suspensions
        )


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """What a look at the kernel led to.

    observed: what was read, as far as `scope` reaches.
    compiled: what should exist; of all networks, whatever the scope.
    plan: the steps from what was observed to what is wanted.
    gone: keys of objects that lose their content on the way.
    scope: what was read of the kernel.
    """

    observed: Observed
    compiled: Compiled
    plan: Plan
    gone: frozenset[Key] = frozenset()
    scope: Scope = EVERYTHING


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """What became of a plan."""

    done: tuple[Step, ...]
    failed: tuple[tuple[Step, OperationError], ...] = ()
    skipped: tuple[Step, ...] = ()  # because others had failed before (`_is_lost`)
    remaining: tuple[Step, ...] = ()  # not begun, because we were asked to stop
    unverified: tuple[Step, ...] = ()  # what the kernel still lacks afterwards

    @property
    def complete(self) -> bool:
        return not (self.failed or self.skipped or self.remaining or self.unverified)


Progress = Callable[[Step], None]
Stop = Callable[[], bool]


def compile_target(
    target: Target, host: Host, compile_one: CompileNetwork = compile_network
) -> Compiled:
    """What should exist for the target on this host."""
    return compile_state(
        target.intent,
        target.allocations,
        target.master,
        host,
        target.today,
        compile_one,
        target.suspensions,
    )


def plan_from(compiled: Compiled, observed: Observed, scope: Scope) -> PlannedRun:
    """Compare what is wanted with what was read, as far as it was read.

    Of networks outside the scope, and of those that could not be read, only the objects in the root
    are known. They are left out. A network that should not exist any more goes all the same, with
    its namespace.
    """
    unread = {group: text for group, text in observed.unread.items() if group in compiled.parts}
    wanted = compiled.state
    if unread or scope.groups is not None:
        groups = compiled.parts.keys() if scope.groups is None else scope.groups
        wanted = compiled.of({ROOT, *groups} - unread.keys())
        objects = _covered(observed.state, scope, unread)
        observed = dataclasses.replace(observed, state=State(objects))
    found = diff(wanted, observed)
    conflicts = [
        Conflict(Key(Netns.KIND, ROOT, group), group, "", text) for group, text in unread.items()
    ]
    found = dataclasses.replace(found, blocked=(*found.blocked, *conflicts))
    steps = plan(found, _names(compiled, observed), compiled.stopped)
    return PlannedRun(observed, compiled, steps, found.gone, scope)


def _covered(state: State, scope: Scope, unread: Collection[str]) -> dict[Key, KernelObject]:
    return {
        key: item
        for key, item in state.objects.items()
        if scope.covers(item.group) and item.group not in unread
    }


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
    """Whether a step is skipped because others failed.

    Skipped are all further steps of a network that failed, all additions after a failure of the
    gateway's own steps, and deletions of the gateway's own objects after any failure: what could
    not be removed may still need the guard.
    """
    gives = step.change.action in (Action.CREATE, Action.UPDATE)
    unguards = step.group == ROOT and step.change.action is Action.DELETE and bool(lost)
    return step.group in lost or (gives and ROOT in lost) or unguards


def _perform(kernel: Kernel, run: Sequence[Step]) -> list[OperationError | None]:
    if not run:
        return []
    changes = [step.change for step in run]
    if changes[0].subject.TRANSACTED:
        return [kernel.transact(changes[0].subject.key.netns, changes)] * len(changes)
    return kernel.send(changes)


def converge(
    kernel: Kernel,
    replan: Callable[[], PlannedRun],
    first: PlannedRun,
    progress: Progress = lambda _step: None,
    stop: Stop = lambda: False,
) -> ApplyResult:
    """Apply a plan, look again, and apply what a lost answer or a race left open; at most ROUNDS
    plans in all.

    Raises:
        DumpError: the kernel could not be read afterwards.
    """
    done: tuple[Step, ...] = ()
    outcome = ApplyResult(())
    now = first
    prepared: set[Key] = set()
    for number in range(ROUNDS):
        kernel.prepare([step.change for step in now.plan.steps if step.key not in prepared])
        prepared |= {step.key for step in now.plan.steps}
        untried = _not_in(now.plan, outcome.failed)
        outcome = apply(kernel, now.plan.steps, progress, stop)
        outcome = dataclasses.replace(outcome, failed=(*untried, *outcome.failed))
        done += outcome.done
        if outcome.remaining or not now.plan.steps:
            return _with(outcome, done, ())
        now = replan()
        outcome = _without_settled(outcome, now.plan)
        again = number + 1 < ROUNDS and _worth_another(outcome.failed, now.plan)
        if not again:
            break
    return _with(outcome, done, (*_open(now.plan, outcome), *_unseen(now, done)))


def _not_in(
    todo: Plan, failed: Iterable[tuple[Step, OperationError]]
) -> tuple[tuple[Step, OperationError], ...]:
    """Faults of an earlier round whose steps this plan does not try again."""
    tried = {step.key for step in todo.steps}
    return tuple((step, fault) for step, fault in failed if step.key not in tried)


def _worth_another(failed: Iterable[tuple[Step, OperationError]], left: Plan) -> bool:
    """Another round helps when a step is left that would not be lost again with one that the kernel
    refuses, or that has something in its way.
    """
    blocked = {item.key for item in left.blocked}
    refused = (step for step, fault in failed if step.key in blocked or not fault.is_transient)
    lost = {step.group for step in refused}
    return any(not _is_lost(step, lost) for step in left.steps)


def _without_settled(outcome: ApplyResult, left: Plan) -> ApplyResult:
    """Without the faults of which nothing is left: the change was made and its answer lost, or
    another program was quicker.
    """
    open_ = {step.key for step in left.steps} | {item.key for item in left.blocked}
    failed = tuple(
        (step, fault)
        for step, fault in outcome.failed
        if not fault.is_transient or step.key in open_
    )
    return dataclasses.replace(outcome, failed=failed)


def _open(left: Plan, outcome: ApplyResult) -> tuple[Step, ...]:
    """Steps still needed in networks that reported no failure: the kernel is not what was
    promised.
    """
    excused = {step.group for step, _ in outcome.failed}
    return tuple(step for step in left.steps if step.group not in excused)


def _unseen(run: PlannedRun, done: Iterable[Step]) -> Iterator[Step]:
    """Return the applied steps of networks whose namespace could not be read afterwards."""
    return (step for step in done if step.group in run.observed.unread)


def _with(
    outcome: ApplyResult, done: tuple[Step, ...], unverified: tuple[Step, ...]
) -> ApplyResult:
    return ApplyResult(done, outcome.failed, outcome.skipped, outcome.remaining, unverified)
