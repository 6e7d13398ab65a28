"""The command endpoint config: client configs as text, files or QR codes, who exported them, and
what changed between versions.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import io
import json
import os
import pwd
import sys
import syslog
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from warpd.allocation.suspensions import Name, first_names
from warpd.cli import names, output
from warpd.cli.app import Output, endpoint_app
from warpd.cli.output import Format
from warpd.clients import DEFAULT, FORMATS, qr
from warpd.clients.files import split
from warpd.errors import InvalidIntent, WarpError
from warpd.intent.types import natural
from warpd.kernel.api import DumpError, Kernel
from warpd.kernel.state import ROOT, Host
from warpd.networks.resolved import permitted_on
from warpd.reconcile.engine import Target
from warpd.service.candidates import consent_needed
from warpd.service.commitment import refuse_lost_state
from warpd.service.exports import ExportedConfig, ExportRequest, export, refuse
from warpd.service.queries import known_endpoint, split_name
from warpd.service.views.render import VERSION
from warpd.service.views.report import with_rollback
from warpd.service.views.words import plural
from warpd.service.workspace import LoadedIntent, Workspace, live_kernel
from warpd.store.private_file import write_private

NOTHING = (0, 0)  # the value of --diff that stands for no --diff

# How long to wait for another operator's export. Behind a long apply it is better to fail than to
# hang.
PATIENCE_S = 10.0


@endpoint_app.command("config")
def config(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NETWORK/NAME",
            help="or NETWORK, or a pattern",
            autocompletion=names.endpoint_names,
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="configs of all endpoints; with --out")
    ] = False,
    style: Annotated[
        str, typer.Option("--format", help=", ".join(FORMATS), autocompletion=names.formats)
    ] = DEFAULT.name,
    lan_port: Annotated[
        str | None,
        typer.Option("--lan-port", metavar="IF", help="L2: port bridged into the tunnel"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="a file, a folder or (of many) FILE.zip; mode 0600")
    ] = None,
    qr_: Annotated[bool, typer.Option("--qr", help="show it as a QR code in the terminal")] = False,
    qr_file: Annotated[
        Path | None, typer.Option("--qr-file", help="write a QR code: FILE.png or FILE.svg")
    ] = None,
    history: Annotated[
        bool,
        typer.Option("--history", help="list the versions of this config, and who exported them"),
    ] = False,
    diff: Annotated[
        tuple[int, int],
        typer.Option(
            "--diff",
            metavar="A B",
            help="what changed between two versions",
            show_default=False,
        ),
    ] = NOTHING,
    output_format: Output = Format.text,
) -> None:
    """Print what a device needs to connect.

    It contains the endpoint's private key: treat it as a password.
    """
    workspace: Workspace = context.obj
    pattern = _pattern(name, every)
    if history:
        _history(workspace, *_on_record(workspace, name or ""), output_format)
        return
    if diff != NOTHING:
        _diff(workspace, *_on_record(workspace, name or ""), diff, output_format)
        return
    read = workspace.read()
    target = workspace.target(read, create=False)
    if pattern is not None:
        _many(workspace, read, matching(target, pattern), Bulk(style, lan_port, out), output_format)
        return
    network, endpoint = split_name(target, name or "")
    drawn = qr_ or qr_file is not None
    request = ExportRequest(network, endpoint, style, lan_port, drawn)
    _one(workspace, read, request, Destination(out, qr_, qr_file))


def _on_record(workspace: Workspace, text: str) -> tuple[Name, Name]:
    """Return an endpoint's name, and the name under which its versions are kept.

    Only the state folder is needed: neither a valid YAML nor the master secret. A valid YAML tells
    of renames that are not applied yet.

    Raises:
        WarpError: there is no such endpoint, or the state folder cannot be read.
    """
    try:
        allocations = workspace.read().allocations
    except InvalidIntent:
        allocations = workspace.store.read_allocations()
    names = {name: tuple(network.endpoints) for name, network in allocations.networks.items()}
    network, endpoint = known_endpoint(names, text)
    return (network, endpoint), first_names(allocations, network, endpoint)


def _pattern(name: str | None, every: bool) -> str | None:
    """Return the pattern of names for many configs; None where one endpoint is named.

    Raises:
        WarpError: no endpoint is named.
    """
    if name is None:
        if every:
            return "*/*"
        text, hint = (
            "no endpoint is named",
            "NETWORK/NAME; or NETWORK, 'NETWORK/*' or --all, with --out",
        )
        raise WarpError(text, code="usage", who="operator", hint=hint)
    is_pattern = "/" not in name or any(char in name for char in "*?[")
    return name if every or is_pattern else None


@dataclasses.dataclass(frozen=True, slots=True)
class Destination:
    """Where one config goes: a file or folder, the terminal as a QR code, an image file."""

    out: Path | None
    terminal: bool
    image: Path | None


def _one(workspace: Workspace, read: LoadedIntent, request: ExportRequest, to: Destination) -> None:
    """Export one config."""
    if to.terminal:
        _refuse_charset()
    refuse(request, to.out)
    made = _make(workspace, read, request)
    config, text = made.config, made.text
    if to.image is not None:
        write_private(to.image, qr.image(config, text, to.image.suffix))
    if to.out is not None:
        _write(to.out, text)
    if to.terminal:
        output.say(qr.terminal(config, text))
    elif to.out is None and to.image is None:
        output.say(text.rstrip("\n"))


def _refuse_charset() -> None:
    """Raises: WarpError: stdout's character set has no blocks to draw a QR code with."""
    if not output.can_show(qr.CHARACTERS):
        raise WarpError(
            f"a QR code cannot be shown: {sys.stdout.encoding} lacks its characters",
            code="qr-charset",
            who="operator",
            hint="write it with --qr-file FILE.png, or use a UTF-8 locale",
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Bulk:
    """How the configs of many endpoints are exported: format, L2 port, folder or archive."""

    style: str
    lan_port: str | None
    out: Path | None


def matching(target: Target, pattern: str) -> list[tuple[str, str]]:
    """Return the endpoints in force that match a network's name or a shell pattern.

    Raises:
        WarpError: there are none.
    """
    text = pattern if "/" in pattern else f"{pattern}/*"
    found = []
    suspended = target.suspended
    for network, body in sorted(target.intent.networks.items()):
        for name in sorted(body.endpoints, key=natural):
            is_meant = fnmatch.fnmatchcase(f"{network}/{name}", text)
            is_permitted = permitted_on(body.endpoints[name], target.today)
            if is_meant and is_permitted and (network, name) not in suspended:
                found.append((network, name))
    if not found:
        known = ", ".join(sorted(target.intent.networks)) or "none"
        raise WarpError(
            f"{pattern} is no endpoint in force",
            code="unknown-endpoint",
            who="operator",
            hint=f"networks: {known}",
        )
    return found


def _many(
    workspace: Workspace,
    read: LoadedIntent,
    wanted: list[tuple[str, str]],
    bulk: Bulk,
    output_format: Format,
) -> None:
    """Write one file for each config, in a folder or a zip archive; all of them or none."""
    out = bulk.out
    if out is None or (out.exists() and not out.is_dir() and out.suffix != ".zip"):
        text = f"{plural(len(wanted), 'config')} need a folder or a FILE.zip"
        raise WarpError(text, code="usage", who="operator", hint="--out FOLDER, or --out FILE.zip")
    requests = [
        ExportRequest(network, endpoint, bulk.style, bulk.lan_port, drawn=False)
        for network, endpoint in wanted
    ]
    refuse(requests[0], None)
    files = dict(_files(workspace, read, requests))
    if out.suffix == ".zip":
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, body in files.items():
                archive.writestr(path, body)
        write_private(out, packed.getvalue())
    else:
        _into_folder(out, files)
    data = {"version": VERSION, "out": str(out), "files": sorted(files)}
    output.emit(data, f"{out}: {plural(len(wanted), 'config')}", output_format)


def _files(
    workspace: Workspace, read: LoadedIntent, requests: list[ExportRequest]
) -> Iterator[tuple[str, str]]:
    """Yield relative path and text of each file; each config is recorded as exported."""
    host = _host(workspace, read)
    with workspace.store.writer(command="warpctl endpoint config", patience_s=PATIENCE_S):
        target = _commit(workspace, requests)
        for request in requests:
            text = _export(workspace, target, host, request).text
            where = f"{request.network}/{request.endpoint}"
            if FORMATS[request.style].in_files:
                for name, body in split(text).items():
                    yield f"{where}/{name}", body
            else:
                yield f"{where}.{FORMATS[request.style].suffix}", text


def _into_folder(out: Path, files: Mapping[str, str]) -> None:
    for path, body in files.items():
        file = out / path
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(file, body.encode())


def _make(workspace: Workspace, read: LoadedIntent, request: ExportRequest) -> ExportedConfig:
    """Make a config and its text, and record that this user has exported it."""
    host = _host(workspace, read)
    with workspace.store.writer(command="warpctl endpoint config", patience_s=PATIENCE_S):
        return _export(workspace, _commit(workspace, [request]), host, request)


def _commit(workspace: Workspace, requests: Sequence[ExportRequest]) -> Target:
    """Write down what the YAML allocates, inside the store's writer.

    The allocations of the state folder count as agreed to, so that nothing is written that an
    operator has yet to agree to. The YAML is read here, since an apply that held the lock before
    has other allocations than were read without it.

    Raises:
        WarpError: the YAML waits for consent, or has no such endpoint any more.
    """
    read = workspace.read()
    with contextlib.suppress(WarpError):  # what is wrong with the history is told by `apply`
        read = with_rollback(workspace, read)
    why = consent_needed(read, read.previous)
    if why:
        raise WarpError(
            f"the YAML waits for consent, which an export does not give: {why}",
            code="awaiting-consent",
            who="operator",
            hint="see it with `warpctl plan`, agree to it with `warpctl apply`; then export",
        )
    names = {name: network.endpoints for name, network in read.intent.networks.items()}
    for request in requests:
        known_endpoint(names, f"{request.network}/{request.endpoint}")
    return workspace.commit(read)


def _export(
    workspace: Workspace, target: Target, host: Host, request: ExportRequest
) -> ExportedConfig:
    """Export inside the store's writer, and tell the system's log of it.

    What root can alter in the state folder is not altered in a journal that is kept elsewhere.
    """
    made = export(workspace.store, target, host, request, user())
    about = f"network={request.network} endpoint={request.endpoint} by={user()} chain={made.chain}"
    syslog.openlog("warpctl", 0, syslog.LOG_AUTHPRIV)
    syslog.syslog(syslog.LOG_INFO, f"client config exported {about}")
    return made


def user() -> str:
    """Return who runs this command: the user who called sudo, or else the one who logged in."""
    name = os.environ.get("SUDO_USER") or _login()
    return "".join(char for char in name if char.isprintable())[:64]


def _login() -> str:
    try:
        return os.getlogin()
    except OSError:  # no terminal: cron, a service
        pass
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _host(workspace: Workspace, read: LoadedIntent) -> Host:
    """Read the host; where that is impossible, return the defaults.

    Raises:
        WarpError: the kernel has devices of warpd, and the state folder has lost what they were
            made from: a config with new keys would be of no use, and cut off everybody else.
        WarpError, DumpError, OSError: it is impossible, and the YAML does not say the gateway's
            address.
    """
    try:
        with live_kernel() as kernel:
            host = kernel.dump(ROOT, read.intent.gateway.uplink).host or Host()
            lost = _lost_state(workspace, read, kernel)
    except (WarpError, DumpError, OSError) as failure:
        if read.intent.gateway.public_endpoint == "auto":
            raise
        output.note(
            f"warning: the uplink cannot be read ({failure}): its MTU is assumed to be"
            f" {Host().uplink_mtu}"
        )
        return Host()
    if lost is not None:
        raise lost
    return host


def _lost_state(workspace: Workspace, read: LoadedIntent, kernel: Kernel) -> WarpError | None:
    try:
        refuse_lost_state(workspace, read, kernel)
    except WarpError as failure:
        return failure
    return None


def _write(out: Path, text: str) -> None:
    if not out.is_dir():
        write_private(out, text.encode())
        return
    for name, body in split(text).items():
        write_private(out / name, body.encode())
        output.note(f"{out / name}")


def _history(
    workspace: Workspace, name: tuple[str, str], known: tuple[str, str], output_format: Format
) -> None:
    rows = workspace.store.history(*known)
    cells: list[tuple[str, ...]] = []
    for row in rows:
        cells += _lines(row)
    data = {"version": VERSION, "network": name[0], "name": name[1], "configs": rows}
    output.emit(
        data, output.table(cells, ("VERSION", "DATE", "EXPORTED", "BY", "AS")), output_format
    )


def _lines(row: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield a line for the version, or one for each time it was exported."""
    head = (str(row["version"]), row["date"])
    for taken in row["exports"]:
        yield (*head, taken["time"], taken["user"], taken["format"])
    if not row["exports"]:
        yield (*head, "yes" if row["exported"] else "no", "", "")


def _diff(
    workspace: Workspace,
    name: tuple[str, str],
    known: tuple[str, str],
    pair: tuple[int, int],
    output_format: Format,
) -> None:
    old, new = (workspace.store.masked(*known, version) for version in pair)
    changes = [
        {"field": field, "old": old.get(field), "new": new.get(field)}
        for field in sorted({*old, *new})
        if old.get(field) != new.get(field)
    ]
    lines: list[str] = []
    for change in changes:
        lines += _change(change)
    head = {"version": VERSION, "network": name[0], "name": name[1], "from": pair[0], "to": pair[1]}
    output.emit({**head, "changes": changes}, "\n".join(lines) or "no difference", output_format)


def _change(change: Mapping[str, Any]) -> Iterator[str]:
    for sign, value in (("-", change["old"]), ("+", change["new"])):
        yield f"{sign} {change['field']}: {value if isinstance(value, str) else json.dumps(value)}"
