"""Decide whom a command asks: root reads the kernel and the files, other users ask the daemon.

Both answers are the same data, so that they are shown by the same text.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from warpd.allocation.model import Allocations
from warpd.cli import output
from warpd.errors import InvalidIntent, WarpError
from warpd.kernel.linux import bindings
from warpd.service import client
from warpd.service.queries import ExplainRequest, not_valid, validated
from warpd.service.workspace import DEFAULT_CONFIG, Workspace

WAITING = f"waiting for warpd to answer, for up to {client.TIMEOUT_S:.0f} s"


class DaemonGateway:
    """A gateway as the daemon describes it; the daemon decides what the caller may do."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def ask(self, method: str, what: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the daemon; see `client.ask`.

        Raises:
            WarpError: no daemon answers, it refuses, or it serves another YAML than was named.
        """
        named = self._workspace.named
        waiting = threading.Timer(client.AT_ONCE_S, output.note, [WAITING])
        waiting.daemon = True
        waiting.start()
        try:
            return client.ask(method, what, body, config=None if named == DEFAULT_CONFIG else named)
        except WarpError as failure:
            if failure.code != "no-daemon" or bindings.are_here():
                raise
            text = f"{failure.message}; without it, this is missing: {bindings.MISSING}"
            raise WarpError(text, code=failure.code, who="operator", hint=bindings.HINT) from None
        finally:
            waiting.cancel()

    def status(self) -> dict[str, Any]:
        return self.ask("GET", "/v1/status?fresh=1")

    def conditions(self) -> list[dict[str, Any]]:
        """Return the current conditions."""
        found: list[dict[str, Any]] = self.ask("GET", "/v1/daemon").get("conditions", [])
        return found

    def plan(self) -> dict[str, Any]:
        return self.ask("GET", "/v1/plan?fresh=1")

    def explain(self, request: ExplainRequest) -> dict[str, Any]:
        query = {
            "endpoint": request.endpoint,
            "target": request.target,
            "proto": request.protocol,
            "port": request.port,
        }
        return self.ask("GET", f"/v1/explain?{urlencode(query)}")

    def history(self) -> dict[str, Any]:
        return self.ask("GET", "/v1/history")

    def entry(self, number: int) -> dict[str, Any]:
        return self.ask("GET", f"/v1/history/{number}")

    def doctor(self) -> dict[str, Any]:
        return self.ask("GET", "/v1/doctor?fresh=1")

    def validate(self) -> dict[str, Any]:
        return self.ask("GET", "/v1/validate?fresh=1")


def through_daemon() -> bool:
    """Whether this user has to ask the daemon."""
    return os.geteuid() != 0


def validate(workspace: Workspace, instead: Mapping[Path, bytes] | None = None) -> dict[str, Any]:
    """Check the YAML; the daemon does it where this user may not read the files.

    Args:
        workspace: the files.
        instead: contents that count instead of those on the disk, by path.
    """
    if through_daemon() and instead is None and not _is_readable(workspace.named):
        return DaemonGateway(workspace).validate()
    previous = readable_allocations(workspace)
    try:
        return validated(workspace, workspace.read(instead, previous=previous))
    except InvalidIntent as failure:
        return not_valid(failure)


def _is_readable(path: Path) -> bool:
    """Whether this user may read a file; a file that does not exist counts as readable.

    So it is reported as missing. A folder that may not be entered makes it unreadable.
    """
    try:
        os.stat(path)
    except PermissionError:
        return False
    except OSError:
        return True
    return os.access(path, os.R_OK)


def readable_allocations(workspace: Workspace) -> Allocations | None:
    """Return the allocations as this user may read them, for `Workspace.read`; None for root."""
    return allocations(workspace) if through_daemon() else None


def allocations(workspace: Workspace) -> Allocations:
    """Return the allocations of the state folder; none where this user may not read them."""
    try:
        return workspace.store.read_allocations()
    except (WarpError, OSError):
        return Allocations({})
