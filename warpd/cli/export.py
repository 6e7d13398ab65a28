"""endpoint config: what the device needs, as text, file or QR code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from warpd.cli import output
from warpd.cli.app import Output, endpoint_app
from warpd.cli.inspect import split_name
from warpd.cli.output import Format
from warpd.clients import FORMATS, qr
from warpd.clients.config import ClientConfig
from warpd.clients.current import current_config
from warpd.errors import WarpError
from warpd.render import VERSION
from warpd.session import Read, Session, live_kernel
from warpd.state import ROOT, Host


@endpoint_app.command("config")
def config(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NETWORK/NAME")],
    style: Annotated[str, typer.Option("--format", help=", ".join(FORMATS))] = "wg-quick",
    out: Annotated[Path | None, typer.Option("--out", help="write it there, mode 0600")] = None,
    qr_: Annotated[bool, typer.Option("--qr", help="show it as a QR code in the terminal")] = False,
    qr_file: Annotated[Path | None, typer.Option("--qr-file", help="write a QR code: FILE.png or FILE.svg")] = None,
    history: Annotated[bool, typer.Option("--history", help="list the versions of this config")] = False,
    form: Output = Format.text,
) -> None:
    """Print what a device needs to connect. It holds the endpoint's private key: treat it as a password."""
    session: Session = context.obj
    read = session.read()
    goal = session.goal(read, create=False)
    network, endpoint = split_name(goal, name)
    if history:
        _history(session, network, endpoint, form)
        return
    if style not in FORMATS:
        raise WarpError(f"there is no format {style}", who="operator", hint=f"formats: {', '.join(FORMATS)}")
    made, text = _make(session, read, network, endpoint, style)
    if qr_file is not None:
        output.write_private(qr_file, qr.image(made, text, qr_file.suffix))
    if out is not None:
        output.write_private(out, text.encode())
    if qr_:
        output.say(qr.terminal(made, text))
    elif out is None and qr_file is None:
        output.say(text.rstrip("\n"))


def _make(session: Session, read: Read, network: str, endpoint: str, style: str) -> tuple[ClientConfig, str]:
    """The config with its version, which is remembered as exported."""
    with session.store.writer(command="warpctl endpoint config"):
        made = current_config(session.commit(read), _host(read), network, endpoint)
        return session.store.versioned(made, FORMATS[style])


def _host(read: Read) -> Host:
    with live_kernel() as kernel:
        return kernel.dump(ROOT, read.intent.gateway.uplink).host or Host()


def _history(session: Session, network: str, endpoint: str, form: Format) -> None:
    rows = session.store.history(network, endpoint)
    cells = [(str(row["version"]), row["date"], "yes" if row["exported"] else "no") for row in rows]
    data = {"version": VERSION, "network": network, "name": endpoint, "configs": rows}
    output.emit(data, output.table(cells, ("VERSION", "DATE", "EXPORTED")), form)
