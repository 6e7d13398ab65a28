"""Record what is about to be applied, and decide what may be applied where that is impossible.

Nothing that gives access is applied before its allocations, keys and history are on the disk. After
a crash, devices in use would otherwise have addresses that the next start gives to others. What
removes access, and what restores a guard, needs no disk: the previous intent is on the disk or in
memory, and what both it and the new one permit needs no new allocation. Where the previous intent
is not known any more, `recovery` reads it from the kernel.

The daemon and the commands both decide by this module. The daemon decides when to try again.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from warpd.allocation.model import Allocations
from warpd.errors import InvalidIntent, WarpError
from warpd.intent.intersection import different, restrict
from warpd.kernel.api import Kernel
from warpd.kernel.kinds.wireguard import WireguardDevice
from warpd.kernel.state import Observed
from warpd.keys.derivation import Keyring
from warpd.reconcile.engine import Target
from warpd.reconcile.observe import observe
from warpd.service.history import NOTHING, History, HistoryMark
from warpd.service.recovery import HINT, Recovered, recover
from warpd.service.workspace import NO_MASTER, LoadedIntent, Workspace, lost_master

IN_KERNEL: Final = "has WireGuard devices in the kernel"
LOST_ALLOCATIONS: Final = (
    f"the allocations are gone, but this gateway {IN_KERNEL}: new ones would move clients"
)


@dataclass(frozen=True, slots=True)
class Applied:
    """An intent that was applied before, and the target by which it can be applied again."""

    read: LoadedIntent
    target: Target


@dataclass(frozen=True, slots=True)
class Commitment:
    """What may be applied now.

    - `target`: the whole intent if `unwritten` is None; otherwise the part of it that the intent in
      force permits too.
    - `number`: the entry in the history; NOTHING if it could not be written.
    - `unwritten`: why the intent could not be recorded.
    - `previous`: what was in force before, if the new intent could not be recorded.
    - `waiting`: the networks of the new intent that are not in force as it says.
    """

    target: Target
    number: int
    unwritten: WarpError | None = None
    previous: Applied | None = None
    waiting: frozenset[str] = frozenset()


def commit(
    history: History,
    read: LoadedIntent,
    by: str,
    kernel: Kernel,
    in_force: Callable[[], Applied | None],
    obstacle: WarpError | None = None,
) -> Commitment:
    """Write the master secret (once), allocations and history, in this order, inside
    `store.writer` or `store.writer_if_possible`.

    Args:
        history: of the state folder that is written. The daemon keeps one, which knows its latest
            entry without reading it again.
        read: the intent to be applied.
        by: who asked for it.
        kernel: it is read only if something is lost, or nothing was applied before.
        in_force: returns what was applied before.
        obstacle: why the state folder takes no writes, if that is known already.

    Raises:
        InvalidIntent: a key file that the YAML names cannot be used.
        DumpError: the kernel could not be read.
        WarpError: nothing can be written, and it is not known what was in force.
    """
    workspace = history.workspace
    try:
        refuse_lost_state(workspace, read, kernel)
        if obstacle is not None and not _is_written(history, read):
            raise obstacle
        target = workspace.commit(read)
        return Commitment(target, history.record(read, by).number)
    except InvalidIntent:
        raise
    except (WarpError, OSError) as failure:
        previous = _known(in_force) or in_kernel(workspace, read, kernel)
        if previous is None:
            raise
        target = restricted(previous, read)
        waiting = different(read.intent, target.intent)
        return Commitment(target, NOTHING, as_error(failure), previous, waiting)


@contextlib.contextmanager
def withdrawn_on_failure(
    history: History, mark: HistoryMark | None, read: LoadedIntent, done: Commitment
) -> Iterator[None]:
    """Take back what `commit` has recorded since a mark if the body fails: nothing was applied.

    Without a mark nothing is taken back. Allocations go back too: those on the disk count as agreed
    to, and these were agreed to for this apply alone.
    """
    try:
        yield
    except (WarpError, OSError):
        if mark is not None and done.unwritten is None:
            history.workspace.store.write_allocations(read.previous)
            history.withdraw(mark)
        raise


def _known(in_force: Callable[[], Applied | None]) -> Applied | None:
    """Return what was applied before; None also where the state folder cannot be read, or the
    master secret is gone.
    """
    with contextlib.suppress(WarpError, OSError):
        return in_force()
    return None


def refuse_lost_state(workspace: Workspace, read: LoadedIntent, kernel: Kernel) -> None:
    """Refuse to go on where a new master secret or new allocations would replace lost ones.

    A gateway with allocations, or with devices in the kernel, has had a master secret. One with
    devices has had allocations: if neither the state folder nor a lock file has them, new ones
    would move clients.

    Raises:
        WarpError: the master secret or the allocations are gone, or cannot be read.
        DumpError: the kernel could not be read.
    """
    if workspace.master(read.intent) is None:
        workspace.refuse_lost_master()
        if has_devices(kernel):
            raise lost_master(IN_KERNEL)
    elif (
        not read.previous.networks
        and read.lockfile is None
        and read.intent.networks
        and has_devices(kernel)
    ):
        raise WarpError(LOST_ALLOCATIONS, code="state-lost", who="operator", hint=HINT)


def has_devices(kernel: Kernel) -> bool:
    """Whether the kernel has WireGuard devices that warpd has made.

    Raises:
        DumpError: the kernel could not be read.
    """
    return shows_devices(observe(kernel))


def shows_devices(observed: Observed) -> bool:
    """Whether an observation shows WireGuard devices that warpd has made."""
    return any(isinstance(item, WireguardDevice) for item in observed.state)


def in_kernel(
    workspace: Workspace, read: LoadedIntent, kernel: Kernel, record: LoadedIntent | None = None
) -> Applied | None:
    """Return what was applied, as far as the kernel shows it.

    Args:
        workspace: the files.
        read: the YAML.
        kernel: the kernel.
        record: what was applied last; by default the history says it.

    Returns:
        None where the kernel has nothing that warpd has made.

    Raises:
        DumpError: the kernel could not be read.
        WarpError: the kernel shows too little; or the YAML lacks more than half of its networks,
            and there is no record of them.
    """
    observed = observe(kernel)
    if not shows_devices(observed):
        return None
    if record is None:
        with contextlib.suppress(WarpError, OSError):
            record = last_read(workspace)
    base = record or read
    master = None
    with contextlib.suppress(WarpError, OSError):
        master = workspace.master(base.intent)
    today = datetime.now(UTC).date()
    found = recover(
        base.intent,
        _on_record(base, record is not None),
        base.allocations,
        master,
        observed.state,
        today,
    )
    if record is None:
        _refuse_mass_removal(found)
    ring = Keyring(master or NO_MASTER, {}, found.keys)
    shown = dataclasses.replace(base, intent=found.intent, allocations=found.allocations)
    suspensions = workspace.suspensions.current()
    return Applied(shown, Target(found.intent, found.allocations, ring, today, suspensions))


def _on_record(base: LoadedIntent, applied: bool) -> Allocations:
    """Return the allocations that are on record: applied, in the state folder or in the lock."""
    if applied:
        return base.allocations
    recorded = base.lockfile.allocations if base.lockfile is not None else None
    return base.previous if base.previous.networks or recorded is None else recorded


def _refuse_mass_removal(found: Recovered) -> None:
    """Apply `gateway.removal_guard` to networks that only the kernel has.

    Raises:
        WarpError: more than half of the networks in the kernel would be removed.
    """
    total = len(found.gone) + len(found.allocations.networks)
    if found.intent.gateway.removal_guard and len(found.gone) * 2 > total:
        text = (
            f"the state folder is lost, and the YAML lacks {len(found.gone)} of {total} networks"
            " that the kernel has"
        )
        raise WarpError(text, code="state-lost", who="operator", hint=HINT)


def restricted(previous: Applied, read: LoadedIntent) -> Target:
    """Return the target for what the intent in force and `read` both permit; it has the
    allocations of the former.
    """
    return dataclasses.replace(previous.target, intent=restrict(previous.read.intent, read.intent))


def last_applied(workspace: Workspace) -> Applied | None:
    """Return what was applied or restored last, from the history; None if nothing ever was.

    Raises:
        WarpError: the state folder cannot be read, or the master secret is gone.
    """
    read = last_read(workspace)
    return Applied(read, workspace.target_again(read)) if read is not None else None


def target_again(
    workspace: Workspace, read: LoadedIntent, kernel: Kernel
) -> tuple[Target, WarpError | None]:
    """Return the target of what was applied before.

    If the master secret is gone, the target has the keys that are in the kernel, and the second
    value is that failure.

    Raises:
        WarpError: the master secret is gone, and the kernel has nothing that warpd has made.
        InvalidIntent: a key file that the YAML names cannot be used.
        DumpError: the kernel could not be read.
    """
    return _with_secret_or(
        workspace,
        read,
        lambda: in_kernel(workspace, read, kernel, read),
        lambda shown: shown.target,
    )


def target_before(
    workspace: Workspace, read: LoadedIntent, kernel: Kernel
) -> tuple[Target, WarpError | None]:
    """Return the target of an entry of the history that is not in force.

    If the master secret is gone, the target is what the entry and the intent in force both permit,
    with the keys that are in the kernel, and the second value is that failure.

    Raises:
        WarpError: the master secret is gone, and the kernel has nothing that warpd has made.
        InvalidIntent: a key file that the YAML names cannot be used.
        DumpError: the kernel could not be read.
    """
    return _with_secret_or(
        workspace,
        read,
        lambda: in_kernel(workspace, read, kernel),
        lambda shown: restricted(shown, read),
    )


def _with_secret_or(
    workspace: Workspace,
    read: LoadedIntent,
    find: Callable[[], Applied | None],
    target: Callable[[Applied], Target],
) -> tuple[Target, WarpError | None]:
    """Return the target of what was applied; where the master secret is gone, `target` of what
    `find` finds in the kernel, and that failure.
    """
    try:
        return workspace.target_again(read), None
    except InvalidIntent:
        raise
    except WarpError as failure:
        shown = find()
        if shown is None:
            raise
        return target(shown), failure


def last_read(workspace: Workspace) -> LoadedIntent | None:
    """Return what was applied or restored last, without its keys; None if nothing ever was.

    Raises:
        WarpError: the state folder cannot be read.
    """
    history = History(workspace)
    entry = history.in_force()
    return history.read(entry) if entry is not None else None


def as_error(failure: Exception) -> WarpError:
    """Return a failure to write as an error that says who must act."""
    if isinstance(failure, WarpError):
        return failure
    return WarpError(str(failure), code="state-unusable", who="operator")


def _is_written(history: History, read: LoadedIntent) -> bool:
    """Whether everything that `commit` would write is on the disk already."""
    workspace = history.workspace
    if (
        workspace.store.read_allocations() != read.allocations
        or workspace.master(read.intent) is None
    ):
        return False
    return history.holds(read)
