"""What every command starts from: the options, the checked intent, the grants, the kernel. Reading creates nothing.

Lives here: the way from files to a `Goal`, the same for all commands. Does not: arguments, output.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from warpd.checks import check
from warpd.errors import Finding, InvalidIntent, WarpError
from warpd.grants import Grants, grant
from warpd.intent import Intent
from warpd.kernel.live import LiveKernel
from warpd.keys import Secret
from warpd.load import Loaded, load
from warpd.reconcile import Goal
from warpd.store import Store

DEFAULT_CONFIG = Path("/etc/warpd/warp.yaml")
DEFAULT_STATE = Path("/var/lib/warpd")
# Stands for the master secret in a plan on a machine that has none yet: such a plan is shown, never applied.
NO_MASTER = Secret(bytes(32))


@dataclass(frozen=True, slots=True)
class Read:
    """The intent as read and checked, with the grants it leads to."""

    loaded: Loaded
    intent: Intent
    grants: Grants
    warnings: tuple[Finding, ...]


class Session:
    """One command's view of the files. The kernel is opened by the command that needs it."""

    def __init__(self, config: Path, state_dir: Path) -> None:
        self.config = config
        self.store = Store(state_dir)

    def read(self) -> Read:
        """Load, check and grant.

        Raises:
            InvalidIntent: with every problem, each at its place.
        """
        loaded = load(self.config)
        findings = list(loaded.findings)
        grants = Grants({})
        if loaded.intent is not None:
            findings += check(loaded.intent)
            if not any(item.is_error for item in findings):
                grants, more = grant(loaded.intent, self.store.read_grants())
                findings += more
        located = tuple(loaded.locate(item) for item in findings)
        if loaded.intent is None or any(item.is_error for item in located):
            raise InvalidIntent(located)
        return Read(loaded, loaded.intent, grants, located)

    def goal(self, read: Read, create: bool) -> Goal:
        """The goal for the kernel; `create` makes the master secret when there is none.

        Raises:
            WarpError: the master secret cannot be read.
        """
        master = self.store.master_key(create=create, path=key_file(read.intent))
        return Goal(read.intent, read.grants, master or NO_MASTER, datetime.now(UTC).date())


def key_file(intent: Intent) -> Path | None:
    return Path(intent.gateway.master_key_file) if intent.gateway.master_key_file else None


def require_root(what: str) -> None:
    """Raises: WarpError when this process may not change the network."""
    if os.geteuid() != 0:
        raise WarpError(f"{what} needs root", code="not-root", who="operator", hint="run it again with sudo")


@contextlib.contextmanager
def live_kernel() -> Iterator[LiveKernel]:
    kernel = LiveKernel()
    try:
        yield kernel
    finally:
        kernel.close()


def located(failure: InvalidIntent, read: Read) -> InvalidIntent:
    """Findings that came from the compiler, with their place in the file."""
    return InvalidIntent(read.loaded.locate(item) for item in failure.findings)
