"""What every command and every pass of the daemon starts from: the checked intent, the grants, the
kernel.

Reading creates nothing.

Lives here: the way from files to a `Target`, the same for all. Does not: arguments, output.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from warpd.allocation.allocator import allocate
from warpd.allocation.lockfile import (
    Lock,
    behind,
    beside,
    contradictions,
    read_lock,
    without_contradictions,
)
from warpd.allocation.model import Allocations
from warpd.allocation.renames import Quarantine, resting
from warpd.errors import Finding, InvalidIntent, WarpError, Where
from warpd.intent.loader import MAIN_FILE, Loaded, load, pointer
from warpd.intent.model import Intent
from warpd.intent.sources.git import Checkout
from warpd.intent.validation import check, check_day
from warpd.kernel.linux import bindings
from warpd.keys.derivation import Keyring, Secret
from warpd.keys.files import read_key_files
from warpd.reconcile.engine import Target
from warpd.store.state_folder import Store

if TYPE_CHECKING:
    from warpd.kernel.linux.live_kernel import LiveKernel

DEFAULT_CONFIG = Path("/etc/warpd/warp.yaml")
DEFAULT_STATE = Path("/var/lib/warpd")
DEFAULT_SOCKET = Path("/run/warpd/warpd.sock")
# Stands for the master secret in a plan on a machine that has none yet: such a plan is shown, never
# applied.
NO_MASTER = Secret(bytes(32))
# Findings that say what moves under clients in the field: shown apart, and agreed to before they
# happen.
RISKS = ("subnet-moves", "grant-moves", "rolled-back")


@dataclass(frozen=True, slots=True)
class LoadedIntent:
    """The intent as read and checked, with the grants it leads to."""

    loaded: Loaded
    intent: Intent
    allocations: Allocations
    warnings: tuple[Finding, ...]
    lock: Lock | None = None
    resting: Quarantine = field(default_factory=Quarantine)  # what nobody else may have yet
    previous: Allocations = field(
        default_factory=Allocations
    )  # what was allocated before this reading

    @property
    def risks(self) -> tuple[Finding, ...]:
        """What a client in the field would notice, that nobody has said in so many words."""
        return tuple(item for item in self.warnings if item.code in RISKS)


class Session:
    """One view of the files. The kernel is opened by whoever needs it."""

    def __init__(self, config: Path, state_dir: Path) -> None:
        self.named = (
            config  # by the operator; a file with `source:` stands for what was pulled from there
        )
        self.store = Store(state_dir)
        source = pointer(config)
        self.checkout = Checkout(source, state_dir) if source is not None else None
        self.config = config if self.checkout is None else self.checkout.current
        self._lock: Lock | None = None
        self._loaded: Loaded | None = (
            None  # the last good one: what is still the same is not read again
        )

    def read(
        self,
        instead: Mapping[Path, bytes] | None = None,
        yaml_wins: bool = False,
        previous: Allocations | None = None,
    ) -> LoadedIntent:
        """Load, check and grant; `instead` holds what files are to be read as.

        With `yaml_wins`, a lock that contradicts the YAML is only behind: for whoever writes it
        anew. `previous` are the allocations to go on from where those on the disk cannot be read.

        Raises:
            InvalidIntent: with every problem, each at its place.
        """
        if self.checkout is not None and not self.checkout.revision:
            text, hint = (
                f"nothing was pulled from {self.checkout.source.git} yet",
                "warpd does it, and `warpctl pull`",
            )
            raise InvalidIntent(
                [
                    Finding(
                        "source-not-pulled",
                        "source",
                        text,
                        hint,
                        "error",
                        Where(str(self.named), 1, 1),
                    )
                ]
            )
        loaded = load(self.config, instead, previous=self._loaded)
        if loaded.intent is not None:
            self._loaded = loaded
        lock = self._lock = read_lock(self.lock_file, self._lock)
        return self._judged(
            loaded, lock, self.store.read_allocations() if previous is None else previous, yaml_wins
        )

    def read_again(self, files: Mapping[Path, bytes], allocations: Allocations) -> LoadedIntent:
        """What was in force once, from its files (the main one first) and with its grants; no lock
        counts.

        Raises:
            InvalidIntent: this warpd refuses what another one accepted.
        """
        return self._judged(load(self.config, files, whole=True), None, allocations, False)

    def _judged(
        self, loaded: Loaded, lock: Lock | None, before: Allocations, yaml_wins: bool
    ) -> LoadedIntent:
        findings = [*loaded.findings, *(lock.findings if lock is not None else ())]
        allocations, now_s = Allocations({}), int(time.time())
        if loaded.intent is not None:
            findings += check(loaded.intent)
            findings += check_day(loaded.intent, datetime.fromtimestamp(now_s, UTC).date())
            against = tuple(contradictions(lock, loaded.intent)) if lock is not None else ()
            findings += without_contradictions(against) if yaml_wins else against
            if not any(item.is_error for item in findings):
                firm = lock.allocations if lock is not None else None
                allocations, more = allocate(loaded.intent, before, now_s, firm)
                findings += [*more, *(behind(lock, allocations) if lock is not None else ())]
        located = tuple(loaded.locate(item) for item in findings)
        if loaded.intent is None or any(item.is_error for item in located):
            raise InvalidIntent(located)
        return LoadedIntent(
            loaded,
            loaded.intent,
            allocations,
            located,
            lock,
            resting(loaded.intent, allocations, now_s),
            before,
        )

    def take_lock(self, lock: Lock) -> None:
        """Read with this lock as long as the file's bytes are those that it was made from."""
        self._lock = lock

    def to_edit(self) -> Path:
        """The file or folder that an editing command may change.

        Raises:
            WarpError: the YAML comes from a repository.
        """
        if self.checkout is not None:
            raise WarpError(
                f"the YAML comes from {self.checkout.source.git}: what is changed here would be"
                " lost",
                code="source",
                who="operator",
                hint="change it in a clone, with `warpctl -c CLONE ...`, and push",
            )
        return self.config

    @property
    def lock_file(self) -> Path:
        """Where the lock stands, there or not."""
        return beside(self.config / MAIN_FILE if os.path.isdir(self.config) else self.config)

    def goal(self, read: LoadedIntent, create: bool) -> Target:
        """The goal for the kernel; `create` makes the master secret when there is none.

        Raises:
            WarpError: the master secret cannot be read, or is gone from a gateway that has had one.
            InvalidIntent: a key file that the YAML names cannot be used.
        """
        _forbid_core_dumps()  # keys are in memory from here on
        given, findings = read_key_files(read.intent)
        if findings:
            raise InvalidIntent(read.loaded.locate(item) for item in findings)
        master = self.master(read.intent)
        if master is None and create:
            self.refuse_lost_master()
            master = self.store.master_key(create=True, path=key_file(read.intent))
        ring = Keyring(master or NO_MASTER, given)
        return Target(
            read.intent, read.allocations, ring if given else ring.master, datetime.now(UTC).date()
        )

    def goal_again(self, read: LoadedIntent) -> Target:
        """The goal of what was applied before, to be applied again: never with other keys.

        Raises:
            WarpError: the master secret cannot be read, or is gone.
            InvalidIntent: as `goal`.
        """
        if self.master(read.intent) is None:
            raise lost_master("has applied this with it")
        return self.goal(read, create=False)

    def master(self, intent: Intent) -> Secret | None:
        """The master secret, None where there is none yet.

        Raises: WarpError when it cannot be read.
        """
        return self.store.master_key(create=False, path=key_file(intent))

    def commit(self, read: LoadedIntent) -> Target:
        """The goal, with the master secret made if need be and the grants written down: before the
        first change.

        Called inside `store.writer`.

        Raises:
            WarpError: the state folder cannot be written, or the master secret is gone.
        """
        goal = self.goal(
            read, create=True
        )  # first, so that grants never stand without the secret they go with
        self.store.write_allocations(read.allocations)
        return goal

    def refuse_lost_master(self) -> None:
        """A gateway that has granted has had a master secret: a new one would cut off every client
        in silence.

        Raises:
            WarpError: there are allocations.
        """
        if self.store.read_allocations().networks:
            raise lost_master("has given allocations")


def lost_master(evidence: str) -> WarpError:
    """`evidence` is what shows that there has been one, as a verb with its object."""
    return WarpError(
        f"the master secret is gone, but this gateway {evidence}: a new secret would cut off every"
        " client",
        code="master-lost",
        who="operator",
        hint=(
            "restore master.key from the backup; to start anew instead, `warpctl destroy` and"
            " remove the state folder"
        ),
    )


def _forbid_core_dumps() -> None:
    with contextlib.suppress(ImportError):  # a system that knows no such limit
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def key_file(intent: Intent) -> Path | None:
    return Path(intent.gateway.master_key_file) if intent.gateway.master_key_file else None


def require_root(what: str) -> None:
    """Raises: WarpError when this process may not change the network."""
    if os.geteuid() != 0:
        raise WarpError(
            f"{what} needs root", code="not-root", who="operator", hint="run it again with sudo"
        )


def require_nftables() -> None:
    """Raises: WarpError when the Python bindings of libnftables are not installed."""
    if not bindings.are_here():
        raise WarpError(bindings.MISSING, code="no-nftables", who="operator", hint=bindings.HINT)


@contextlib.contextmanager
def live_kernel() -> Iterator[LiveKernel]:
    """The kernel of this machine.

    What only reads and writes files never comes here, and runs where there is none of ours.

    Raises:
        WarpError: a program of the distribution that it needs is not installed.
    """
    from warpd.kernel.linux.live_kernel import (
        LiveKernel,
    )  # what has no kernel to look at does without netlink and nftables

    require_nftables()
    kernel = LiveKernel()
    try:
        yield kernel
    finally:
        kernel.close()
