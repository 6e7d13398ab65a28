"""Write down what is about to be applied; and what may be applied where it cannot be written.

Nothing that gives access is applied before its allocations, keys and history are on the disk: a crash would leave devices in the
field with addresses that the next start gives to others. What takes access away, and what restores a guard, waits for no
disk: the previous intent is on the disk or in memory, and what both it and the new one permit needs no new allocation.

Lives here: that decision, for the daemon and for the commands. Does not: when to try again (`daemon`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from warpd.errors import InvalidIntent, WarpError
from warpd.history import NOTHING, History
from warpd.kernel.protocol import Kernel
from warpd.objects.wireguard import WireguardDevice
from warpd.reconcile import Goal, removal
from warpd.restrict import restrict
from warpd.session import Read, Session, lost_master


@dataclass(frozen=True, slots=True)
class Applied:
    """An intent that was applied before, with all that it needs to be applied again."""

    read: Read
    goal: Goal


@dataclass(frozen=True, slots=True)
class Commitment:
    """What may be applied now.

    `goal` is everything that was asked for when `unwritten` is None; else only what the intent in force permits too.
    `number` is the entry in the history, NOTHING while unwritten.
    """

    goal: Goal
    number: int
    unwritten: WarpError | None = None


def commit(
    session: Session,
    read: Read,
    by: str,
    kernel: Kernel,
    in_force: Callable[[], Applied | None],
    obstacle: WarpError | None = None,
) -> Commitment:
    """Write down allocations, master secret and history. Inside `store.writer` or `store.writer_if_possible`.

    `by` is who asked for it; `kernel` is looked at only where no master secret is found; `in_force` finds what was applied
    before; `obstacle` is why the folder takes no writes, as far as it is known already.

    Raises:
        InvalidIntent: the keys that it names cannot be used.
        WarpError: nothing can be written, and nothing is known to have been in force.
    """
    try:
        refuse_new_master(session, read, kernel)
        if obstacle is not None and not _is_written(session, read):
            raise obstacle
        goal = session.commit(read)
        return Commitment(goal, History(session).record(read, by).number)
    except InvalidIntent:
        raise
    except (WarpError, OSError) as failure:
        previous = in_force()
        if previous is None:
            raise
        return Commitment(restricted(previous, read), NOTHING, as_error(failure))


def refuse_new_master(session: Session, read: Read, kernel: Kernel) -> None:
    """A gateway that has allocated, or that has devices in the kernel, has had a master secret: never make another in silence.

    Raises:
        WarpError: the master secret is gone, or cannot be read.
        LookFailed: the kernel could not be read.
    """
    if session.master(read.intent) is None:
        session.refuse_lost_master()
        if has_devices(kernel):
            raise lost_master("has WireGuard devices in the kernel")


def has_devices(kernel: Kernel) -> bool:
    """Whether an apply of ours is in this kernel. Raises: LookFailed."""
    return any(isinstance(item, WireguardDevice) for item in removal(kernel).observed.state)


def restricted(previous: Applied, read: Read) -> Goal:
    """What the intent in force and `read` both permit, with the allocations of the former."""
    return dataclasses.replace(previous.goal, intent=restrict(previous.read.intent, read.intent))


def last_applied(session: Session) -> Applied | None:
    """From the history: what was applied or gone back to last; None when nothing ever was.

    Raises:
        WarpError: the state folder cannot be read, or the master secret is gone.
    """
    read = last_read(session)
    return Applied(read, session.goal_again(read)) if read is not None else None


def last_read(session: Session) -> Read | None:
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


def _is_written(session: Session, read: Read) -> bool:
    """Whether all of it is on the disk already, so that nothing needs to be written."""
    if session.store.read_grants() != read.grants or session.master(read.intent) is None:
        return False
    return History(session).holds(read)
