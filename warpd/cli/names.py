"""Names and values that a shell completes: from the YAML alone, in silence where it cannot be read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, get_args

import typer

from warpd.clients import FORMATS
from warpd.errors import WarpError
from warpd.intent.loader import load
from warpd.intent.model import EndpointType, Intent
from warpd.intent.network_types import NETWORK_TYPES
from warpd.service import client
from warpd.service.history import History
from warpd.service.views.report import history_json
from warpd.service.workspace import DEFAULT_CONFIG, DEFAULT_STATE, Session

# As the daemon tells them (docs/daemon.md).
EVENT_KINDS: Final = (
    "awaiting_consent",
    "blocked",
    "change",
    "condition",
    "failed",
    "forwarding",
    "from_kernel",
    "intent",
    "invalid",
    "object_contested",
    "problem",
    "problem_over",
    "rollback",
    "source",
    "started",
    "stopping",
    "unwritten",
    "written",
)


def _intent(context: typer.Context) -> Intent | None:
    """Of the file that the command line, or the environment, names.

    While completing no command has run yet.
    """
    named = context.find_root().params.get("config") or DEFAULT_CONFIG
    with contextlib.suppress(WarpError, OSError):
        return load(Path(named)).intent
    return None


def network_names(context: typer.Context, incomplete: str) -> Iterator[str]:
    intent = _intent(context)
    yield from (
        name for name in sorted(intent.networks if intent else ()) if name.startswith(incomplete)
    )


def endpoint_names(context: typer.Context, incomplete: str) -> Iterator[str]:
    """`NETWORK/` first; the endpoints of a network once it is written."""
    intent = _intent(context)
    network, slash, name = incomplete.partition("/")
    if intent is None:
        return
    if not slash:
        yield from (f"{each}/" for each in sorted(intent.networks) if each.startswith(network))
    elif network in intent.networks:
        yield from (
            f"{network}/{each}"
            for each in sorted(intent.networks[network].endpoints)
            if each.startswith(name)
        )


def numbers(context: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Numbers of the history with their times, the latest first; of root's state folder, or asked
    of the daemon.
    """
    session = Session(DEFAULT_CONFIG, context.find_root().params.get("state_dir") or DEFAULT_STATE)
    with contextlib.suppress(WarpError, OSError):
        rows = (
            client.ask("GET", "/v1/history")["history"]
            if os.geteuid()
            else history_json(History(session))["history"]
        )
        for row in reversed(rows):
            if str(row["number"]).startswith(incomplete):
                yield str(row["number"]), f"{row['time']} by {row['by']}"


def event_kinds(incomplete: str) -> list[str]:
    return [name for name in EVENT_KINDS if name.startswith(incomplete)]


def network_types(incomplete: str) -> list[str]:
    return [name for name in NETWORK_TYPES if name.startswith(incomplete)]


def endpoint_types(incomplete: str) -> list[str]:
    return [name for name in get_args(EndpointType) if name.startswith(incomplete)]


def formats(incomplete: str) -> list[str]:
    return [name for name in FORMATS if name.startswith(incomplete)]


NetworkName = Annotated[str, typer.Argument(metavar="NAME", autocompletion=network_names)]
EndpointName = Annotated[str, typer.Argument(metavar="NETWORK/NAME", autocompletion=endpoint_names)]
