"""Write down what is about to be applied; and what may be applied where it cannot be written.

Nothing that gives access is applied before its allocations, keys and history are on the disk: a
crash would leave devices in the field with addresses that the next start gives to others. What
takes access away, and what restores a guard, waits for no
disk: the previous intent is on the disk or in memory, and what both it and the new one permit needs
no new allocation.

Where neither is known any more, what the kernel has is (`recovery`).

Lives here: that decision, for the daemon and for the commands. Does not: when to try again
(`daemon`).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from warpd.allocation.model import Allocations
from warpd.errors import InvalidIntent, WarpError
from warpd.intent.intersection import restrict
from warpd.kernel.api import Kernel
from warpd.kernel.kinds.wireguard import WireguardDevice
from warpd.kernel.state import Observed
from warpd.keys.derivation import Keyring
from warpd.reconcile.engine import Target
from warpd.reconcile.observe import observe
from warpd.service.history import NOTHING, History
from warpd.service.recovery import HINT, Recovered, recover
from warpd.service.workspace import NO_MASTER, LoadedIntent, Session, lost_master

IN_KERNEL: Final = "has WireGuard devices in the kernel"
LOST_ALLOCATIONS: Final = (
    f"the allocations are gone, but this gateway {IN_KERNEL}: new ones would move clients"
)


@dataclass(frozen=True, slots=True)
class Applied:
    """An intent that was applied before, with all that it needs to be applied again."""

    read: LoadedIntent
    goal: Target


@dataclass(frozen=True, slots=True)
class Commitment:
    """What may be applied now.

    `goal` is everything that was asked for when `unwritten` is None; else only what the intent in
    force permits too. `number` is the entry in the history, NOTHING while unwritten; `previous` is
    then what was in force before.
    """

    goal: Target
    number: int
    unwritten: WarpError | None = None
    previous: Applied | None = None


def commit(
    session: Session,
    read: LoadedIntent,
    by: str,
    kernel: Kernel,
    in_force: Callable[[], Applied | None],
    obstacle: WarpError | None = None,
) -> Commitment:
    """Write down allocations, master secret and history.

    Inside `store.writer` or `store.writer_if_possible`.

    `by` is who asked for it; `kernel` is looked at only where something is lost; `in_force` finds
    what was applied before; `obstacle` is why the folder takes no writes, as far as it is known
    already.

    Raises:
        InvalidIntent: the keys that it names cannot be used.
        DumpError: the kernel could not be read.
        WarpError: nothing can be written, and nothing is known to have been in force.
    """
    try:
        refuse_lost_state(session, read, kernel)
        if obstacle is not None and not _is_written(session, read):
            raise obstacle
        goal = session.commit(read)
        return Commitment(goal, History(session).record(read, by).number)
    except InvalidIntent:
        raise
    except (WarpError, OSError) as failure:
        previous = _known(in_force) or in_kernel(session, read, kernel)
        if previous is None:
            raise
        return Commitment(restricted(previous, read), NOTHING, as_error(failure), previous)


def _known(in_force: Callable[[], Applied | None]) -> Applied | None:
    """None also where the state folder cannot be read, or the master secret is gone."""
    with contextlib.suppress(WarpError, OSError):
        return in_force()
    return None


def refuse_lost_state(session: Session, read: LoadedIntent, kernel: Kernel) -> None:
    """A gateway that has allocated, or that has devices in the kernel, has had a master secret:
    never make another in silence.

    One that has devices has had allocations: where neither the state folder nor a lock file has
    them, new ones would move clients.

    Raises:
        WarpError: the master secret or the allocations are gone, or cannot be read.
        DumpError: the kernel could not be read.
    """
    if session.master(read.intent) is None:
        session.refuse_lost_master()
        if has_devices(kernel):
            raise lost_master(IN_KERNEL)
    elif (
        not read.previous.networks
        and read.lock is None
        and read.intent.networks
        and has_devices(kernel)
    ):
        raise WarpError(LOST_ALLOCATIONS, code="state-lost", who="operator", hint=HINT)


def has_devices(kernel: Kernel) -> bool:
    """Whether an apply of ours is in this kernel. Raises: DumpError."""
    return shows_devices(observe(kernel))


def shows_devices(observed: Observed) -> bool:
    """Whether an apply of ours is in the kernel that was looked at."""
    return any(isinstance(item, WireguardDevice) for item in observed.state)


def in_kernel(
    session: Session, read: LoadedIntent, kernel: Kernel, record: LoadedIntent | None = None
) -> Applied | None:
    """What was applied, as far as the kernel shows it; None where it shows nothing.

    `read` is the YAML; `record` is what was applied last, by default as the history says.

    Raises:
        DumpError: the kernel could not be read.
        WarpError: it shows too little, or the YAML lacks most of its networks and nothing else
        tells of them.
    """
    observed = observe(kernel)
    if not shows_devices(observed):
        return None
    if record is None:
        with contextlib.suppress(WarpError, OSError):
            record = last_read(session)
    base = record or read
    master = None
    with contextlib.suppress(WarpError, OSError):
        master = session.master(base.intent)
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
    return Applied(shown, Target(found.intent, found.allocations, ring, today))


def _on_record(base: LoadedIntent, applied: bool) -> Allocations:
    """Allocations that somebody has written down."""
    if applied:
        return base.allocations
    locked = base.lock.allocations if base.lock is not None else None
    return base.previous if base.previous.networks or locked is None else locked


def _refuse_mass_removal(found: Recovered) -> None:
    """As a daemon waits for consent before it removes more than half of the networks.

    Raises: WarpError.
    """
    total = len(found.gone) + len(found.allocations.networks)
    if found.intent.gateway.removal_guard and len(found.gone) * 2 > total:
        text = (
            f"the state folder is lost, and the YAML lacks {len(found.gone)} of {total} networks"
            " that the kernel has"
        )
        raise WarpError(text, code="state-lost", who="operator", hint=HINT)


def restricted(previous: Applied, read: LoadedIntent) -> Target:
    """What the intent in force and `read` both permit, with the allocations of the former."""
    return dataclasses.replace(previous.goal, intent=restrict(previous.read.intent, read.intent))


def last_applied(session: Session) -> Applied | None:
    """From the history: what was applied or gone back to last; None when nothing ever was.

    Raises:
        WarpError: the state folder cannot be read, or the master secret is gone.
    """
    read = last_read(session)
    return Applied(read, session.goal_again(read)) if read is not None else None


def goal_again(
    session: Session, read: LoadedIntent, kernel: Kernel
) -> tuple[Target, WarpError | None]:
    """The goal of what was applied before; and why it has only the keys that the kernel has, where
    the master secret is gone.

    Raises:
        WarpError: the master secret is gone, and the kernel shows nothing. InvalidIntent,
        DumpError: as for any pass.
    """
    try:
        return session.goal_again(read), None
    except InvalidIntent:
        raise
    except WarpError as failure:
        found = in_kernel(session, read, kernel, read)
        if found is None:
            raise
        return found.goal, failure


def last_read(session: Session) -> LoadedIntent | None:
    """As `last_applied`, without its keys: for whoever only looks.

    Raises:
        WarpError: the state folder cannot be read.
    """
    history = History(session)
    entry = history.in_force()
    return history.read(entry) if entry is not None else None


def as_error(failure: Exception) -> WarpError:
    """Any failure to write, as one that says who must act."""
    if isinstance(failure, WarpError):
        return failure
    return WarpError(str(failure), code="state-unusable", who="operator")


def _is_written(session: Session, read: LoadedIntent) -> bool:
    """Whether all of it is on the disk already, so that nothing needs to be written."""
    if session.store.read_allocations() != read.allocations or session.master(read.intent) is None:
        return False
    return History(session).holds(read)
