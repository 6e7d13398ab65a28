"""The commands endpoint suspend and endpoint resume: out at once, the YAML stays as it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from warpd.cli import asking, output
from warpd.cli.app import Output, endpoint_app
from warpd.cli.conditions import ask_daemon
from warpd.cli.export import user
from warpd.cli.names import EndpointName
from warpd.cli.output import Format
from warpd.errors import EXIT_PARTIAL, WarpError
from warpd.service.suspending import SuspendRequest, for_seconds, resume_alone, suspend_alone
from warpd.service.workspace import Workspace, live_kernel

if TYPE_CHECKING:
    from warpd.kernel.linux.live_kernel import LiveKernel

Answer = dict[str, Any]


@endpoint_app.command("suspend")
def suspend(
    context: typer.Context,
    name: EndpointName,
    for_: Annotated[
        str, typer.Option("--for", metavar="TIME", help="for 30m, 2h, 7d; default: until resumed")
    ] = "",
    reason: Annotated[str, typer.Option("--reason", help="why; shown in status")] = "",
    output_format: Output = Format.text,
) -> None:
    """Disconnect an endpoint at once. The YAML stays as it is."""
    workspace: Workspace = context.obj
    for_s = for_seconds(for_) if for_ else None
    request = SuspendRequest(name, for_s, f"{user()} (warpctl)", reason)
    body = {"endpoint": name, "reason": reason, **({"for_s": for_s} if for_s else {})}
    data = _done(
        workspace,
        lambda daemon: daemon.ask("POST", "/v1/suspensions", body),
        lambda kernel: suspend_alone(workspace, kernel, request),
    )
    about = data["suspended"]
    until = f"until {about['until']}" if about["until"] else "until it is resumed"
    _show(data, f"{name} is suspended {until}", output_format)


@endpoint_app.command("resume")
def resume(context: typer.Context, name: EndpointName, output_format: Output = Format.text) -> None:
    """Restore the access of a suspended endpoint."""
    workspace: Workspace = context.obj
    network, _slash, endpoint = name.partition("/")
    place = f"/v1/suspensions/{quote(network, safe='')}/{quote(endpoint, safe='')}"
    data = _done(
        workspace,
        lambda daemon: daemon.ask("DELETE", place),
        lambda kernel: resume_alone(workspace, kernel, name),
    )
    _show(data, f"{name} is resumed", output_format)


def _done(
    workspace: Workspace,
    ask: Callable[[asking.DaemonGateway], Answer],
    alone: Callable[[LiveKernel], Answer],
) -> Answer:
    """Let the daemon do it where one keeps this gateway; root does it itself otherwise.

    Raises:
        WarpError: it was refused, or could not be done.
    """
    if os.geteuid() != 0 or ask_daemon(workspace)[0]:
        try:
            return ask(asking.DaemonGateway(workspace))
        except WarpError as failure:
            if failure.code != "no-daemon" or os.geteuid() != 0:
                raise
    with live_kernel() as kernel:
        return alone(kernel)


def _show(data: Mapping[str, Any], text: str, output_format: Format) -> None:
    """Show what was done, and what was not."""
    if data["unwritten"]:
        output.note(
            "warning: a restart of warpd, or an apply while none runs, ends this:"
            f" {data['unwritten']}"
        )
    if not data["done"]:
        output.note("warning: the kernel does not have it yet; see `warpctl plan`")
    output.emit(dict(data), text, output_format)
    if not data["done"]:
        raise typer.Exit(EXIT_PARTIAL)
