"""The first lines of every command that looks: what is wrong with the gateway, or waits.

Lives here: where a command has the conditions from, and their text. Does not: which conditions
there are (`service.conditions`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from warpd.cli import asking, output
from warpd.errors import Finding, InvalidIntent, WarpError
from warpd.service import client
from warpd.service.conditions import (
    EDIT_UNWRITTEN,
    NO_PLAN,
    Condition,
    conditions,
    from_json,
    merged,
)
from warpd.service.health import DAMAGED, facts_on_disk
from warpd.service.views.render import Paint, noted
from warpd.service.workspace import LoadedIntent, Workspace

SILENT: Final = Condition(
    "daemon-silent",
    "error",
    "warpd does not answer, though its socket exists: what is shown is read without it",
    "see `journalctl -u warpd`; `systemctl restart warpd`",
)
Rows = Sequence[Mapping[str, Any]]

# Conditions that make what is shown something else than what the YAML says, or leave out what only
# warpd knows.
OF_THE_INTENT: Final = frozenset(
    {
        "master-lost",
        "master-unusable",
        "allocations-lost",
        "state-damaged",
        "pending-damaged",
        "endpoints-unnamed",
        "state-unwritable",
        "yaml-invalid",
        "awaiting-consent",
        "edit-unwritten",
        "confirm-pending",
        "rolled-back",
        "suspended",
        "suspension-unwritten",
        "suspensions-unreadable",
        SILENT.code,
    }
)
NOT_IN_SYNC: Final = NO_PLAN | {EDIT_UNWRITTEN}
COLOURS: Final[Mapping[str, str]] = {"error": "31", "warning": "33"}


def conditions_now(workspace: Workspace) -> list[dict[str, Any]]:
    """What is wrong, or waits: as the daemon tells it; without one, as the files show it.

    For commands that show something else than a look at the kernel.

    Raises:
        WarpError: this user has to ask the daemon, and nobody answers.
    """
    if asking.through_daemon():
        return asking.DaemonGateway(workspace).conditions()
    running, daemon, watched = watch_daemon(workspace)
    if daemon is not None:
        return list(daemon["conditions"])
    now: LoadedIntent | None = None
    findings: tuple[Finding, ...] = ()
    with contextlib.suppress(WarpError, OSError):  # files that are not there are no news here
        now, findings = read_now(workspace)
    facts = facts_on_disk(workspace, now, findings, None, running)
    return [item.as_json() for item in merged(watched, conditions(facts))]


def read_now(workspace: Workspace) -> tuple[LoadedIntent | None, tuple[Finding, ...]]:
    """The YAML as it is now; None, and why, when it is invalid.

    None, without a finding, also while the allocations are damaged.
    """
    try:
        return workspace.read(), ()
    except InvalidIntent as failure:
        return None, failure.findings
    except WarpError as failure:
        if failure.code not in DAMAGED:
            raise
        return None, ()


def ask_daemon(workspace: Workspace) -> tuple[bool, Mapping[str, Any] | None]:
    """Whether a daemon keeps this gateway, and what it tells of itself."""
    running, daemon, _ = watch_daemon(workspace)
    return running, daemon


def watch_daemon(
    workspace: Workspace,
) -> tuple[bool, Mapping[str, Any] | None, tuple[Condition, ...]]:
    """As `ask_daemon`, and the conditions that it tells; of a silent one, that it is silent."""
    watched: tuple[Condition, ...] = ()
    try:
        daemon: Mapping[str, Any] = client.ask("GET", "/v1/daemon", timeout_s=client.AT_ONCE_S)
        if (
            "conditions" in daemon
            and Path(daemon["state_dir"]).absolute() == workspace.store.folder.absolute()
        ):
            return True, daemon, from_json(daemon["conditions"])
    except WarpError as failure:
        if isinstance(failure.__cause__, TimeoutError):
            watched = (SILENT,)
    return workspace.store.has_daemon(), None, watched


def first_lines(rows: Rows, paint: Paint) -> list[str]:
    """What is wrong or waits, above everything else."""
    return [
        noted(row["severity"], COLOURS[row["severity"]], _condition_text(row), row["hint"], paint)
        for row in rows
    ]


def _condition_text(row: Mapping[str, Any]) -> str:
    since = f" (since {row['since']})" if row["since"] else ""
    return f"{row['text']}{since}"


def intent_rows(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The conditions that make an answer something else than the YAML."""
    return [row for row in rows if row["code"] in OF_THE_INTENT]


def intent_lines(rows: Rows) -> list[str]:
    """As `first_lines`, of what makes an answer something else than the YAML."""
    return first_lines(intent_rows(rows), output.paint())
