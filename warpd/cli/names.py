"""Complete names and values in a shell, from the YAML; without a message if it cannot be read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from warpd.cli.findings import FORMATS as REPORT_FORMATS
from warpd.clients import FORMATS
from warpd.errors import WarpError
from warpd.intent.loader import load
from warpd.intent.model import EndpointType, Intent
from warpd.intent.network_types import NETWORK_TYPES
from warpd.service import client
from warpd.service.history import History
from warpd.service.views.report import history_json
from warpd.service.workspace import DEFAULT_CONFIG, DEFAULT_STATE, Workspace
from warpd.store.event_log import EVENT_KINDS


def _intent(context: typer.Context) -> Intent | None:
    """Return the intent of the file that the command line or the environment names.

    During completion no command has run, so that there is no workspace yet.
    """
    named = context.find_root().params.get("config") or DEFAULT_CONFIG
    with contextlib.suppress(WarpError, OSError):
        return load(Path(named)).intent
    return None


def network_names(context: typer.Context, incomplete: str) -> Iterator[str]:
    """Yield the networks of the YAML."""
    intent = _intent(context)
    networks = sorted(intent.networks) if intent is not None else []
    yield from (name for name in networks if name.startswith(incomplete))


def endpoint_names(context: typer.Context, incomplete: str) -> Iterator[str]:
    """Yield `NETWORK/` for each network; the endpoints of a network once it is written."""
    intent = _intent(context)
    network, slash, name = incomplete.partition("/")
    if intent is None:
        return
    if not slash:
        yield from (f"{known}/" for known in sorted(intent.networks) if known.startswith(network))
    elif network in intent.networks:
        endpoints = sorted(intent.networks[network].endpoints)
        yield from (f"{network}/{known}" for known in endpoints if known.startswith(name))


def _history(workspace: Workspace) -> dict[str, Any]:
    """Return the history: root reads it from the state folder, other users ask the daemon."""
    if os.geteuid() == 0:
        return history_json(History(workspace))
    return client.ask("GET", "/v1/history")


def numbers(context: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield the numbers of the history with their times, the latest first."""
    workspace = Workspace(
        DEFAULT_CONFIG, context.find_root().params.get("state_dir") or DEFAULT_STATE
    )
    with contextlib.suppress(WarpError, OSError):
        for row in reversed(_history(workspace)["history"]):
            if str(row["number"]).startswith(incomplete):
                yield str(row["number"]), f"{row['time']} by {row['by']}"


def event_kinds(incomplete: str) -> list[str]:
    """Return kinds of events."""
    return [name for name in EVENT_KINDS if name.startswith(incomplete)]


def network_types(incomplete: str) -> list[str]:
    """Return types of networks."""
    return [name for name in NETWORK_TYPES if name.startswith(incomplete)]


def endpoint_types(incomplete: str) -> list[str]:
    """Return types of endpoints."""
    return [name for name in get_args(EndpointType) if name.startswith(incomplete)]


def formats(incomplete: str) -> list[str]:
    """Return formats of client configs."""
    return [name for name in FORMATS if name.startswith(incomplete)]


def report_formats(incomplete: str) -> list[str]:
    """Return formats of what `validate` found."""
    return [name for name in REPORT_FORMATS if name.startswith(incomplete)]


NetworkName = Annotated[str, typer.Argument(metavar="NAME", autocompletion=network_names)]
EndpointName = Annotated[str, typer.Argument(metavar="NETWORK/NAME", autocompletion=endpoint_names)]
