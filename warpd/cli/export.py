"""endpoint config: what the device needs, as text, files or QR code; who took it, and what changed between versions."""

from __future__ import annotations

import dataclasses
import json
import os
import pwd
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from warpd.cli import output
from warpd.cli.app import Output, endpoint_app
from warpd.cli.inspect import split_name
from warpd.cli.output import Format
from warpd.clients import FORMATS, IN_FILES, qr, wg_quick
from warpd.clients.config import ClientConfig
from warpd.clients.current import current_config, known_as
from warpd.clients.files import split
from warpd.errors import WarpError
from warpd.kernel.protocol import LookFailed
from warpd.render import VERSION
from warpd.scalars import is_link_name
from warpd.session import Read, Session, live_kernel
from warpd.state import ROOT, Host

NOTHING = (0, 0)  # of --diff: not asked for

# Two operators may take configs at once; behind an apply of many networks it is better to say so than to hang.
PATIENCE_S = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
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
    name: Annotated[str, typer.Argument(metavar="NETWORK/NAME")],
    style: Annotated[str, typer.Option("--format", help=", ".join(FORMATS))] = wg_quick.NAME,
    lan_port: Annotated[str | None, typer.Option("--lan-port", metavar="IF", help="L2: port bridged into the tunnel")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="write it there, mode 0600; a folder gets the files apart")] = None,
    qr_: Annotated[bool, typer.Option("--qr", help="show it as a QR code in the terminal")] = False,
    qr_file: Annotated[Path | None, typer.Option("--qr-file", help="write a QR code: FILE.png or FILE.svg")] = None,
    history: Annotated[bool, typer.Option("--history", help="list the versions of this config, and who took them")] = False,
    diff: Annotated[tuple[int, int], typer.Option("--diff", metavar="A B", help="what changed between two versions")] = NOTHING,
    form: Output = Format.text,
) -> None:
    """Print what a device needs to connect. It holds the endpoint's private key: treat it as a password."""
    session: Session = context.obj
    read = session.read()
    goal = session.goal(read, create=False)
    network, endpoint = split_name(goal, name)
    if history:
        return _history(session, (network, endpoint), known_as(goal, network, endpoint), form)
    if diff != NOTHING:
        return _diff(session, (network, endpoint), known_as(goal, network, endpoint), diff, form)
    wish = Wish(network, endpoint, style, lan_port, drawn=qr_ or qr_file is not None)
    _refuse(wish, out)
    made, text = _make(session, read, wish)
    if qr_file is not None:
        output.write_private(qr_file, qr.image(made, text, qr_file.suffix))
    if out is not None:
        _write(out, text)
    if qr_:
        output.say(qr.terminal(made, text))
    elif out is None and qr_file is None:
        output.say(text.rstrip("\n"))
    return None


def _refuse(wish: Wish, out: Path | None) -> None:
    """Raises: WarpError for what cannot be made, before anything is remembered as exported."""
    if wish.style not in FORMATS:
        raise WarpError(f"there is no format {wish.style}", who="operator", hint=f"formats: {', '.join(FORMATS)}")
    if out is not None and out.is_dir() and wish.style not in IN_FILES:
        raise WarpError(f"{out} is a folder", who="operator", hint=f"name a file; several files have: {', '.join(IN_FILES)}")
    if wish.drawn and wish.style != wg_quick.NAME:
        text = f"no app reads a QR code of the format {wish.style}"
        raise WarpError(text, code="qr-format", who="operator", hint=f"leave --format out: {wg_quick.NAME} is what they read")
    if wish.lan_port is not None and not _is_port(wish.lan_port):
        text = f"{wish.lan_port!r} is no name for a port"
        raise WarpError(text, code="lan-port", who="operator", hint="1 to 15 letters, digits, dots, dashes or underscores")


def _is_port(name: str) -> bool:
    """A link's name that means nothing to a shell or a config's parser."""
    letters = name.replace(".", "").replace("-", "").replace("_", "")
    return is_link_name(name) and letters.isascii() and letters.isalnum() and not name.startswith("-")


def _make(session: Session, read: Read, wish: Wish) -> tuple[ClientConfig, str]:
    """The config with its version, which is remembered as exported, with the name of who took it."""
    with session.store.writer(command="warpctl endpoint config", patience_s=PATIENCE_S):
        made = current_config(session.commit(read), _host(read), wish.network, wish.endpoint)
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


def _host(read: Read) -> Host:
    """The machine, or what can be said without seeing it: then the gateway's address and the MTU must be in the YAML."""
    try:
        with live_kernel() as kernel:
            return kernel.dump(ROOT, read.intent.gateway.uplink).host or Host()
    except (WarpError, LookFailed, OSError) as failure:
        if read.intent.gateway.public_endpoint == "auto":
            raise
        output.note(f"warning: the uplink cannot be seen ({failure}): its MTU is taken to be {Host().uplink_mtu}")
        return Host()


def _write(out: Path, text: str) -> None:
    if not out.is_dir():
        output.write_private(out, text.encode())
        return
    for name, body in split(text).items():
        output.write_private(out / name, body.encode())
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


def _diff(session: Session, name: tuple[str, str], known: tuple[str, str], pair: tuple[int, int], form: Format) -> None:
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
