"""Plan from one YAML to another without a kernel, for review: no root, no gateway, no secret.

Both are compiled for a machine in memory (`testing.fake_kernel`) that lacks nothing and has one
uplink. Nothing of the machine that runs this counts: not its state folder, not its kernel, not its
key files. The allocations are those of the lock files, and else those that a new gateway would
make. So the same two files give the same plan everywhere, on the same day.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from warpd.allocation.model import Allocations
from warpd.clients.current import current_digest, identity
from warpd.errors import WarpError
from warpd.kernel.state import Host
from warpd.keys.derivation import KEY_BYTES, Keyring, Secret
from warpd.keys.files import key_files_named
from warpd.reconcile.engine import Target, converge
from warpd.reconcile.incremental import planned_run
from warpd.service.views.report import described_between
from warpd.service.workspace import NO_MASTER, LoadedIntent, Workspace
from warpd.testing.fake_kernel import PLAIN, FakeKernel

EMPTY = "empty"


def planned_against(workspace: Workspace, before: str) -> dict[str, Any]:
    """Return the plan from another YAML to that of the workspace, as `queries.planned` does.

    It has `against` besides, and its `quarantine` is empty: when that ends depends on the moment of
    an apply.

    Args:
        workspace: the files that are to be in force.
        before: the file or folder that is in force; "empty" for nothing.

    Raises:
        InvalidIntent: one of the two is invalid.
        WarpError: what is in force cannot be made in memory.
    """
    kernel = FakeKernel()
    previous = None if before == EMPTY else _read(Path(before), workspace.store.folder)
    held = previous.allocations if previous is not None else Allocations({})
    read = workspace.read(previous=held)
    delivered: dict[str, str] = {}
    if previous is not None:
        delivered = _put(kernel, _target(previous))
    target = _target(read)
    found = planned_run(kernel, target)
    intent_before = previous.intent if previous is not None else None
    return {
        **described_between(intent_before, target, found, read, delivered),
        "against": before,
        "findings": [],
        "conditions": [],
    }


def _read(path: Path, state_dir: Path) -> LoadedIntent:
    """Read the YAML that is in force, with the lock file beside it.

    Raises:
        InvalidIntent: it is invalid.
        WarpError: there is no such file or folder.
    """
    if not path.exists():
        text = f"there is no {path} to plan against"
        hint = f"name a file or a folder, or {EMPTY} for a new gateway"
        raise WarpError(text, code="no-such-file", who="operator", hint=hint)
    return Workspace(path, state_dir).read(previous=Allocations({}))


def _target(read: LoadedIntent) -> Target:
    """Return the target with keys that stand for the real ones: the same wherever they are."""
    keys = {file: _stand_in(file) for file in key_files_named(read.intent)}
    today = datetime.now(UTC).date()
    return Target(read.intent, read.allocations, Keyring(NO_MASTER, keys), today)


def _stand_in(file: str) -> Secret:
    """Return what stands for the key in a file, so that another file is another key."""
    return Secret(hashlib.sha256(file.encode()).digest()[:KEY_BYTES])


def _put(kernel: FakeKernel, target: Target) -> dict[str, str]:
    """Make a target in the kernel; return the digest of each device's config, by first names.

    Raises:
        WarpError: the kernel has refused something.
    """
    first = planned_run(kernel, target)
    outcome = converge(kernel, lambda: planned_run(kernel, target), first)
    if not outcome.complete:
        raise WarpError(f"what is in force cannot be made in memory: {outcome.failed[:1]}")
    return _configs(target, PLAIN)


def _configs(target: Target, host: Host) -> dict[str, str]:
    names = [
        (network, name)
        for network, body in target.intent.networks.items()
        for name in body.endpoints
    ]
    return {
        "/".join(identity(target, network, name)): current_digest(target, host, network, name)
        for network, name in names
    }
