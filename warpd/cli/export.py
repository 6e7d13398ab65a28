"""endpoint config: what the device needs, as text, files or QR code; who took it, and what changed
between versions.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import io
import json
import os
import pwd
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from warpd.cli import names, output
from warpd.cli.app import Output, endpoint_app
from warpd.cli.output import Format
from warpd.clients import FORMATS, IN_FILES, qr, wg_quick
from warpd.clients.config import ClientConfig
from warpd.clients.current import current_config, known_as
from warpd.clients.files import split
from warpd.errors import WarpError
from warpd.intent.types import is_link_name, natural
from warpd.kernel.api import DumpError
from warpd.kernel.state import ROOT, Host
from warpd.networks.resolved import in_force
from warpd.reconcile.engine import Target
from warpd.service.queries import split_name
from warpd.service.views.render import VERSION
from warpd.service.workspace import LoadedIntent, Session, live_kernel
from warpd.store.private_file import write_private

SUFFIXES = {"wg-quick": "conf", "json": "json", "networkmanager": "nmconnection", "mikrotik": "rsc"}
NOTHING = (0, 0)  # of --diff: not asked for

# Two operators may take configs at once; behind an apply of many networks it is better to say so
# than to hang.
PATIENCE_S = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class ExportRequest:
    """Which config, for what kind of device."""

    network: str
    endpoint: str
    style: str
    lan_port: str | None
    drawn: bool  # as a QR code

    def text(self, config: ClientConfig) -> str:
        """Raises: WarpError when the format cannot say it, or no QR code can show it."""
        text = FORMATS[self.style](config)
        if self.drawn:
            qr.code(config, text)
        return text


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
    every: Annotated[bool, typer.Option("--all", help="of all endpoints; with --out")] = False,
    style: Annotated[
        str, typer.Option("--format", help=", ".join(FORMATS), autocompletion=names.formats)
    ] = wg_quick.NAME,
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
        bool, typer.Option("--history", help="list the versions of this config, and who took them")
    ] = False,
    diff: Annotated[
        tuple[int, int],
        typer.Option("--diff", metavar="A B", help="what changed between two versions"),
    ] = NOTHING,
    form: Output = Format.text,
) -> None:
    """Print what a device needs to connect.

    It holds the endpoint's private key: treat it as a password.
    """
    session: Session = context.obj
    read = session.read()
    goal = session.goal(read, create=False)
    if name is None and not every:
        text = "which endpoint is not said"
        raise WarpError(
            text,
            code="usage",
            who="operator",
            hint="NETWORK/NAME; or NETWORK, 'NETWORK/*' or --all, with --out",
        )
    if every or name is None or "/" not in name or any(char in name for char in "*?["):
        return _many(
            session,
            read,
            matching(goal, "*/*" if name is None else name),
            Bulk(style, lan_port, out),
            form,
        )
    network, endpoint = split_name(goal, name)
    if history:
        return _history(session, (network, endpoint), known_as(goal, network, endpoint), form)
    if diff != NOTHING:
        return _diff(session, (network, endpoint), known_as(goal, network, endpoint), diff, form)
    wish = ExportRequest(network, endpoint, style, lan_port, drawn=qr_ or qr_file is not None)
    _refuse(wish, out)
    made, text = _make(session, read, wish)
    if qr_file is not None:
        write_private(qr_file, qr.image(made, text, qr_file.suffix))
    if out is not None:
        _write(out, text)
    if qr_:
        output.say(qr.terminal(made, text))
    elif out is None and qr_file is None:
        output.say(text.rstrip("\n"))
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class Bulk:
    """How the configs of many endpoints are handed out."""

    style: str
    lan_port: str | None
    out: Path | None


def matching(goal: Target, pattern: str) -> list[tuple[str, str]]:
    """Endpoints in force that a network's name, or a pattern as a shell has them, stands for.

    Raises:
        WarpError: it stands for none.
    """
    text = pattern if "/" in pattern else f"{pattern}/*"
    found = [
        (network, name)
        for network, body in sorted(goal.intent.networks.items())
        for name, endpoint in sorted(body.endpoints.items(), key=lambda item: natural(item[0]))
        if fnmatch.fnmatchcase(f"{network}/{name}", text) and in_force(endpoint, goal.today)
    ]
    if not found:
        known = ", ".join(sorted(goal.intent.networks)) or "none"
        raise WarpError(
            f"{pattern} is no endpoint in force",
            code="unknown-endpoint",
            who="operator",
            hint=f"networks: {known}",
        )
    return found


def _many(
    session: Session, read: LoadedIntent, wanted: list[tuple[str, str]], bulk: Bulk, form: Format
) -> None:
    """A file each, in a folder or a zip archive; all of them or none."""
    out = bulk.out
    if out is None or (out.exists() and not out.is_dir() and out.suffix != ".zip"):
        text = f"{output.plural(len(wanted), 'config')} need a folder or a FILE.zip"
        raise WarpError(text, code="usage", who="operator", hint="--out FOLDER, or --out FILE.zip")
    wishes = [
        ExportRequest(network, endpoint, bulk.style, bulk.lan_port, drawn=False)
        for network, endpoint in wanted
    ]
    _refuse(wishes[0], None)
    files = dict(_files(session, read, wishes))
    if out.suffix == ".zip":
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, body in files.items():
                archive.writestr(path, body)
        write_private(out, packed.getvalue())
    else:
        _into_folder(out, files)
    data = {"version": VERSION, "out": str(out), "files": sorted(files)}
    output.emit(data, f"{out}: {output.plural(len(wanted), 'config')}", form)


def _files(
    session: Session, read: LoadedIntent, wishes: list[ExportRequest]
) -> Iterator[tuple[str, str]]:
    """Relative path and text of each file; each config is remembered as exported."""
    host = _host(read)
    with session.store.writer(command="warpctl endpoint config", patience_s=PATIENCE_S):
        goal = session.commit(read)
        for wish in wishes:
            _made, text = _versioned(session, goal, host, wish)
            where = f"{wish.network}/{wish.endpoint}"
            if wish.style in IN_FILES:
                yield from ((f"{where}/{name}", body) for name, body in split(text).items())
            else:
                yield f"{where}.{SUFFIXES.get(wish.style, 'txt')}", text


def _into_folder(out: Path, files: Mapping[str, str]) -> None:
    for path, body in files.items():
        file = out / path
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(file, body.encode())


def _refuse(wish: ExportRequest, out: Path | None) -> None:
    """Raises: WarpError for what cannot be made, before anything is remembered as exported."""
    if wish.style not in FORMATS:
        raise WarpError(
            f"there is no format {wish.style}",
            who="operator",
            hint=f"formats: {', '.join(FORMATS)}",
        )
    if out is not None and out.is_dir() and wish.style not in IN_FILES:
        raise WarpError(
            f"{out} is a folder",
            who="operator",
            hint=f"name a file; several files have: {', '.join(IN_FILES)}",
        )
    if wish.drawn and wish.style != wg_quick.NAME:
        text = f"no app reads a QR code of the format {wish.style}"
        raise WarpError(
            text,
            code="qr-format",
            who="operator",
            hint=f"leave --format out: {wg_quick.NAME} is what they read",
        )
    if wish.lan_port is not None and not _is_port(wish.lan_port):
        text = f"{wish.lan_port!r} is no name for a port"
        raise WarpError(
            text,
            code="lan-port",
            who="operator",
            hint="1 to 15 letters, digits, dots, dashes or underscores",
        )


def _is_port(name: str) -> bool:
    """A link's name that means nothing to a shell or a config's parser."""
    letters = name.replace(".", "").replace("-", "").replace("_", "")
    return (
        is_link_name(name) and letters.isascii() and letters.isalnum() and not name.startswith("-")
    )


def _make(session: Session, read: LoadedIntent, wish: ExportRequest) -> tuple[ClientConfig, str]:
    """The config with its version, which is remembered as exported, with the name of who took it."""
    host = _host(read)
    with session.store.writer(command="warpctl endpoint config", patience_s=PATIENCE_S):
        return _versioned(session, session.commit(read), host, wish)


def _versioned(
    session: Session, goal: Target, host: Host, wish: ExportRequest
) -> tuple[ClientConfig, str]:
    """Inside `store.writer`."""
    made = current_config(goal, host, wish.network, wish.endpoint)
    if wish.lan_port is not None:
        made = made.with_port(wish.lan_port)
    numbered, text = session.store.versioned(made, wish.text)
    session.store.log_export(numbered, numbered.version, wish.style, user())
    return numbered, text


def user() -> str:
    """Who runs this: the one who called sudo, else the one who logged in."""
    said = os.environ.get("SUDO_USER") or _login()
    return "".join(char for char in said if char.isprintable())[:64]


def _login() -> str:
    try:
        return os.getlogin()
    except OSError:  # no terminal: cron, a service
        pass
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _host(read: LoadedIntent) -> Host:
    """The machine, or what can be said without seeing it: then the gateway's address and the MTU
    must be in the YAML.
    """
    try:
        with live_kernel() as kernel:
            return kernel.dump(ROOT, read.intent.gateway.uplink).host or Host()
    except (WarpError, DumpError, OSError) as failure:
        if read.intent.gateway.public_endpoint == "auto":
            raise
        output.note(
            f"warning: the uplink cannot be seen ({failure}): its MTU is taken to be"
            f" {Host().uplink_mtu}"
        )
        return Host()


def _write(out: Path, text: str) -> None:
    if not out.is_dir():
        write_private(out, text.encode())
        return
    for name, body in split(text).items():
        write_private(out / name, body.encode())
        output.note(f"{out / name}")


def _history(session: Session, name: tuple[str, str], known: tuple[str, str], form: Format) -> None:
    rows = session.store.history(*known)
    cells = [cell for row in rows for cell in _lines(row)]
    data = {"version": VERSION, "network": name[0], "name": name[1], "configs": rows}
    output.emit(data, output.table(cells, ("VERSION", "DATE", "EXPORTED", "BY", "AS")), form)


def _lines(row: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A line for the version, or one for each time it was taken."""
    head = (str(row["version"]), row["date"])
    for each in row["exports"]:
        yield (*head, each["time"], each["user"], each["format"])
    if not row["exports"]:
        yield (*head, "yes" if row["exported"] else "no", "", "")


def _diff(
    session: Session,
    name: tuple[str, str],
    known: tuple[str, str],
    pair: tuple[int, int],
    form: Format,
) -> None:
    old, new = (session.store.masked(*known, version) for version in pair)
    changes = [
        {"field": field, "old": old.get(field), "new": new.get(field)}
        for field in sorted({*old, *new})
        if old.get(field) != new.get(field)
    ]
    lines = [line for change in changes for line in _change(change)]
    head = {"version": VERSION, "network": name[0], "name": name[1], "from": pair[0], "to": pair[1]}
    output.emit({**head, "changes": changes}, "\n".join(lines) or "no difference", form)


def _change(change: Mapping[str, Any]) -> Iterator[str]:
    for sign, value in (("-", change["old"]), ("+", change["new"])):
        yield f"{sign} {change['field']}: {value if isinstance(value, str) else json.dumps(value)}"
