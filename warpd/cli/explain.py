"""The command explain: whether a packet would pass, and what decides that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from warpd.cli import asking, output
from warpd.cli.app import Output, app
from warpd.cli.conditions import first_lines
from warpd.cli.inspect import load_and_observe
from warpd.cli.names import EndpointName, endpoint_names
from warpd.cli.output import Format
from warpd.service.explain import Protocol
from warpd.service.queries import ExplainRequest, explained
from warpd.service.views.render import warning_text, wrapped
from warpd.service.workspace import Workspace, live_kernel


@app.command("explain")
def explain_(
    context: typer.Context,
    name: EndpointName,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="an address, or NETWORK/NAME of another endpoint",
            autocompletion=endpoint_names,
        ),
    ],
    protocol: Annotated[Protocol, typer.Option("--proto", help="tcp, udp or icmp (ping)")] = "icmp",
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="of the target; 443 if left out")
    ] = None,
    output_format: Output = Format.text,
) -> None:
    """Show whether a packet of this endpoint would pass: which AllowedIPs, route or rule decides.

    The kernel is read; nothing is sent.

    The packet is the first one of a connection; answers to it come back the same way.
    """
    request = ExplainRequest(name, target, protocol, port or 0)
    data = (
        _asked(context.obj, request)
        if asking.through_daemon()
        else _explained(context.obj, request)
    )
    output.emit(
        data,
        "\n".join([*first_lines(data["conditions"], output.paint()), _text(data)]),
        output_format,
    )


def _asked(workspace: Workspace, request: ExplainRequest) -> dict[str, Any]:
    daemon = asking.DaemonGateway(workspace)
    return {**daemon.explain(request), "conditions": daemon.conditions()}


def _explained(workspace: Workspace, request: ExplainRequest) -> dict[str, Any]:
    seen = load_and_observe(workspace)
    with live_kernel() as kernel:
        return {**explained(kernel, seen.target, seen.found, request), "conditions": seen.rows()}


def _text(data: Mapping[str, Any]) -> str:
    """Return the text: the session, the packet's way, warnings, what cannot be observed here, and
    the verdict.
    """
    paint = output.paint()
    about = data["session"]["text"]
    lines = wrapped(f"session: {about}", "    ") if about else []
    for stage in data["path"]:
        mark = "  " if stage["passes"] else "* "
        lines += wrapped(f"{mark}{stage['where']}: {stage['what']}", "    ")
    lines += [warning_text(warning, paint) for warning in data["warnings"]]
    if not data["in_sync"]:
        lines += wrapped(
            "the kernel is not as the YAML says: this is the way as it is now (`warpctl plan`)"
        )
    for text in data["not_observable"]:
        lines += wrapped(f"not seen from here: {text}", "    ")
    return "\n".join([*lines, "passes" if data["passes"] else "does not pass"])
