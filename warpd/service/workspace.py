"""Read the files of a gateway: the checked intent, the allocations, the keys.

Every command and every pass of the daemon begins here. Reading creates nothing: the master secret
and the allocations are written by `Workspace.commit`, and by a rollback.
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
from warpd.allocation.lockfile import Lockfile, beside
from warpd.allocation.lockfile_checks import behind, contradictions, without_contradictions
from warpd.allocation.model import Allocations
from warpd.allocation.quarantine import Quarantine, quarantine_of
from warpd.allocation.suspensions import without_removed
from warpd.errors import Finding, InvalidIntent, WarpError, Where
from warpd.intent.file_names import MAIN_FILE
from warpd.intent.loader import Loaded, load, pointer
from warpd.intent.model import Intent
from warpd.intent.source import IntentSource
from warpd.intent.validation import check
from warpd.intent.validation.network import check_day
from warpd.kernel.linux import bindings
from warpd.keys.derivation import Keyring, Secret
from warpd.keys.files import read_key_files
from warpd.reconcile.engine import Target
from warpd.reconcile.incremental import IncrementalReader
from warpd.store.state_folder import MasterUnusable, Store
from warpd.store.suspensions import SuspensionStore

if TYPE_CHECKING:
    from warpd.kernel.linux.live_kernel import LiveKernel

DEFAULT_CONFIG = Path("/etc/warpd/warp.yaml")
DEFAULT_STATE = Path("/var/lib/warpd")
DEFAULT_SOCKET = Path("/run/warpd/warpd.sock")
# It stands for the master secret in a plan on a machine that has none yet. Such a plan is shown and
# never applied.
NO_MASTER = Secret(bytes(32))
# Findings about what changes for clients that are in use. They are shown apart from other warnings,
# and an operator agrees to them before they happen.
RISKS = ("subnet-moves", "allocation-moves", "rolled-back")


@dataclass(frozen=True, slots=True)
class LoadedIntent:
    """The checked intent, with the allocations that follow from it.

    - `loaded`: the files, and the places of values in them.
    - `intent`: it has no errors.
    - `allocations`: one for each network and endpoint of the intent, and the tombstones.
    - `warnings`: findings that are no errors.
    - `lockfile`: the lock file; None where there is none.
    - `quarantine`: the released allocations that are not given to others yet.
    - `previous`: the allocations before this reading.
    """

    loaded: Loaded
    intent: Intent
    allocations: Allocations
    warnings: tuple[Finding, ...]
    lockfile: Lockfile | None = None
    quarantine: Quarantine = field(default_factory=Quarantine)
    previous: Allocations = field(default_factory=Allocations)

    @property
    def risks(self) -> tuple[Finding, ...]:
        """The warnings about what clients that are in use would notice."""
        return tuple(item for item in self.warnings if item.code in RISKS)


class Workspace:
    """The files of one gateway: its YAML, its lock file and its state folder.

    - `named`: the file or folder that the operator named.
    - `config`: the file or folder that is read; another one where `named` contains `source:`.
    - `checkout`: what was pulled from that source; None where the YAML is local.
    - `store`: the state folder.
    - `suspensions`: the endpoints that are taken out, whatever the YAML says.
    """

    def __init__(self, config: Path, state_dir: Path) -> None:
        self.named = config
        self.store = Store(state_dir)
        source = pointer(config)
        self.checkout = source.open(state_dir) if source is not None else None
        self.config = config if self.checkout is None else self.checkout.current
        self.suspensions = SuspensionStore(self.store)
        self._reader = IncrementalReader()

    def read(
        self,
        instead: Mapping[Path, bytes] | None = None,
        yaml_wins: bool = False,
        previous: Allocations | None = None,
    ) -> LoadedIntent:
        """Read and check the YAML, and allocate what it leaves to warpd.

        Args:
            instead: contents that count instead of those on the disk, by path.
            yaml_wins: a lock file that contradicts the YAML is only behind it, for a command that
                writes the lock file anew.
            previous: the previous allocations, where those on the disk cannot be read.

        Raises:
            InvalidIntent: with every problem, each at its place.
            WarpError: the state folder cannot be read.
        """
        if self.checkout is not None and not self.checkout.revision:
            raise InvalidIntent([self._not_pulled(self.checkout)])
        loaded = self._reader.load(self.config, instead)
        lockfile = self._reader.lock(self.lock_file)
        if previous is None:
            previous = self.store.read_allocations()
        return self._checked(loaded, lockfile, previous, yaml_wins)

    def files(self) -> Loaded:
        """Read the files of the YAML, without a check of the whole."""
        return self._reader.load(self.config)

    def _not_pulled(self, checkout: IntentSource) -> Finding:
        text = f"nothing was pulled from {checkout.origin} yet"
        hint = "a running warpd pulls it; or run `warpctl pull`"
        where = Where(str(self.named), 1, 1)
        return Finding("source-not-pulled", "source", text, hint, "error", where)

    def read_again(self, files: Mapping[Path, bytes], allocations: Allocations) -> LoadedIntent:
        """Read an intent that was in force before; no lock file counts.

        Args:
            files: its files, the main one first.
            allocations: its allocations.

        Raises:
            InvalidIntent: this version of warpd refuses what an earlier one accepted.
        """
        return self._checked(load(self.config, files, whole=True), None, allocations, False)

    def _checked(
        self, loaded: Loaded, lockfile: Lockfile | None, previous: Allocations, yaml_wins: bool
    ) -> LoadedIntent:
        """Check what was loaded, and allocate.

        Raises:
            InvalidIntent: with every problem, each at its place.
        """
        now_s = int(time.time())
        findings = list(loaded.findings)
        if lockfile is not None:
            findings += lockfile.findings
        allocations = Allocations({})
        if loaded.intent is not None:
            findings += _between_objects(loaded.intent, lockfile, now_s, yaml_wins)
            if not any(item.is_error for item in findings):
                allocations, more = _allocated(loaded.intent, lockfile, previous, now_s)
                findings += more
        located = tuple(loaded.locate(item) for item in findings)
        if loaded.intent is None or any(item.is_error for item in located):
            raise InvalidIntent(located)
        quarantined = quarantine_of(loaded.intent, allocations, now_s)
        return LoadedIntent(
            loaded, loaded.intent, allocations, located, lockfile, quarantined, previous
        )

    def take_lock(self, lockfile: Lockfile) -> None:
        """Use this lock while the bytes of the lock file are those that it was made from."""
        self._reader.learn_lock(self.lock_file, lockfile)

    def to_edit(self) -> Path:
        """Return the file or folder that an editing command may change.

        Raises:
            WarpError: the YAML comes from a repository.
        """
        if self.checkout is not None:
            raise WarpError(
                f"the YAML comes from {self.checkout.origin}: what is changed here would be lost",
                code="source",
                who="operator",
                hint="change it in a clone, with `warpctl -c CLONE ...`, and push",
            )
        return self.config

    @property
    def lock_file(self) -> Path:
        """The path of the lock file, which need not exist."""
        return beside(self.main_file)

    @property
    def main_file(self) -> Path:
        """The path of the main file of the YAML."""
        return self.config / MAIN_FILE if os.path.isdir(self.config) else self.config

    def target(self, read: LoadedIntent, create: bool) -> Target:
        """Return the target for the kernel.

        Args:
            read: the intent and its allocations.
            create: whether to make a master secret where there is none.

        Raises:
            WarpError: the master secret cannot be read, or is gone from a gateway that had one.
            InvalidIntent: a key file that the YAML names cannot be used.
        """
        _forbid_core_dumps()  # keys are in memory from here on
        master = self.master(read.intent)
        if master is None and create:
            self.refuse_lost_master()
            master = self.store.master_key(create=True, path=key_file(read.intent))
        return self._target(read, master)

    def target_to_show(self, read: LoadedIntent) -> Target:
        """Return the target for a command that only looks.

        Where the master secret cannot be used, another one stands for it, so that keys of endpoints
        are not the real ones.

        Raises:
            WarpError: the state folder cannot be read.
            InvalidIntent: as `target`.
        """
        _forbid_core_dumps()
        with contextlib.suppress(MasterUnusable):
            return self._target(read, self.master(read.intent))
        return self._target(read, None)

    def _target(self, read: LoadedIntent, master: Secret | None) -> Target:
        keys, findings = read_key_files(read.intent)
        if findings:
            raise InvalidIntent(read.loaded.locate(item) for item in findings)
        ring = Keyring(master or NO_MASTER, keys)
        today = datetime.now(UTC).date()
        return Target(
            read.intent,
            read.allocations,
            ring if keys else ring.master,
            today,
            self.suspensions.current(),
        )

    def target_again(self, read: LoadedIntent) -> Target:
        """Return the target of what was applied before; it never has other keys than then.

        Raises:
            WarpError: the master secret cannot be read, or is gone.
            InvalidIntent: as `target`.
        """
        if self.master(read.intent) is None:
            raise lost_master("has applied this with it")
        return self.target(read, create=False)

    def master(self, intent: Intent) -> Secret | None:
        """Return the master secret; None where there is none yet.

        Raises:
            WarpError: it cannot be read.
        """
        return self.store.master_key(create=False, path=key_file(intent))

    def commit(self, read: LoadedIntent) -> Target:
        """Make the master secret if there is none, write the allocations, and return the target.

        It is called by whoever holds the lock of the store, before the first change of the kernel.

        Raises:
            WarpError: the state folder cannot be written, or the master secret is gone.
            InvalidIntent: as `target`.
        """
        self._forget_removed(read)
        # The secret is first, so that allocations are never on the disk without their secret.
        target = self.target(read, create=True)
        self.store.write_allocations(read.allocations)
        return target

    def _forget_removed(self, read: LoadedIntent) -> None:
        """Drop suspensions of endpoints that had been removed already before this reading.

        One that this reading removes is kept: an apply that nobody confirms brings it back.
        """
        if read.previous.networks:
            quarantined = quarantine_of(read.intent, read.previous, int(time.time())).rows
            self.suspensions.retain(lambda rows: without_removed(read.previous, quarantined, rows))

    def refuse_lost_master(self) -> None:
        """Refuse to make a master secret on a gateway that must have had one.

        A new secret would cut off every client without a message.

        Raises:
            WarpError: there are allocations.
        """
        if self.store.read_allocations().networks:
            raise lost_master("has given allocations")


def _between_objects(
    intent: Intent, lockfile: Lockfile | None, now_s: int, yaml_wins: bool
) -> Iterator[Finding]:
    """Yield what is wrong between the objects of an intent, and between it and the lock file."""
    yield from check(intent)
    yield from check_day(intent, datetime.fromtimestamp(now_s, UTC).date())
    if lockfile is not None:
        against = tuple(contradictions(lockfile, intent))
        yield from without_contradictions(against) if yaml_wins else against


def _allocated(
    intent: Intent, lockfile: Lockfile | None, previous: Allocations, now_s: int
) -> tuple[Allocations, list[Finding]]:
    """Allocate, and say where the lock file is behind."""
    if lockfile is None:
        allocations, findings = allocate(intent, previous, now_s, None)
        return allocations, list(findings)
    allocations, findings = allocate(intent, previous, now_s, lockfile.allocations)
    return allocations, [*findings, *behind(lockfile, allocations)]


def lost_master(evidence: str) -> WarpError:
    """Return the error for a master secret that is gone.

    Args:
        evidence: what shows that there was one, as a verb with its object.
    """
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
    with contextlib.suppress(ImportError):  # a system without such a limit
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def key_file(intent: Intent) -> Path | None:
    """Return the file that the YAML names for the master secret; None for the usual one."""
    return Path(intent.gateway.master_key_file) if intent.gateway.master_key_file else None


def require_root(what: str) -> None:
    """Refuse what this process has no rights for; `what` is a noun.

    Raises:
        WarpError: the process does not run as root.
    """
    if os.geteuid() != 0:
        raise WarpError(
            f"{what} needs root",
            code="not-root",
            who="operator",
            hint="run it again with sudo; no group permits it",
        )


def require_nftables() -> None:
    """Refuse to go on without the Python bindings of libnftables.

    Raises:
        WarpError: they are not installed.
    """
    if not bindings.are_here():
        raise WarpError(bindings.MISSING, code="no-nftables", who="operator", hint=bindings.HINT)


def socket_path() -> Path:
    """Return the socket that WARPD_SOCKET names, or that of the system."""
    return Path(os.environ.get("WARPD_SOCKET") or DEFAULT_SOCKET)


@contextlib.contextmanager
def live_kernel() -> Iterator[LiveKernel]:
    """Open the kernel of this machine for the time of the context.

    Commands that only read and write files do not open it, so that they run on any machine.

    Raises:
        WarpError: a package of the distribution that it needs is not installed.
    """
    # Imported here: commands without a kernel need neither netlink nor nftables.
    from warpd.kernel.linux.live_kernel import LiveKernel

    require_nftables()
    kernel = LiveKernel(runtime_dir=socket_path().parent)
    try:
        yield kernel
    finally:
        kernel.close()
