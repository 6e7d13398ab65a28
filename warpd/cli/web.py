"""The commands `web`: set the dashboard up, sign in to it by a link, and ask who may what."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from warpd.cli import output
from warpd.cli.app import Output, web_app
from warpd.cli.export import user as who
from warpd.cli.output import Format
from warpd.cli.users import File
from warpd.errors import EXIT_FAILED, WarpError
from warpd.service.credentials import iso, make_login_code
from warpd.service.rights import ROLES, Identity, Right, roles_with
from warpd.service.users import DEFAULT_USERS, NAME, UsersFile
from warpd.service.views.render import VERSION
from warpd.service.web_setup import (
    DEFAULT_ORIGIN,
    FIRST_YAML,
    PUBLIC,
    WebFiles,
    environment_text,
    host_of,
    make_certificate,
)
from warpd.service.workspace import DEFAULT_CONFIG, Workspace, require_root
from warpd.store.private_file import write_private
from warpd.store.tokens import TokenStore

LOCAL: Final = "https://localhost:"
START: Final = "systemctl enable --now warpd warpd-web.socket"


@web_app.command("init")
def init(
    origin: Annotated[
        str, typer.Option("--origin", help="under which address browsers come")
    ] = DEFAULT_ORIGIN,
    folder: Annotated[
        Path, typer.Option("--folder", help="where the configuration is", hidden=True)
    ] = DEFAULT_CONFIG.parent,
    renew: Annotated[
        bool, typer.Option("--renew", help="make another certificate, though there is one")
    ] = False,
    output_format: Output = Format.text,
) -> None:
    """Make a self-signed certificate for the dashboard, and say how to start it.

    Where there is no YAML, one without networks is made. Nothing listens before. With a proxy
    before it, the proxy has the certificate: see examples/web.
    """
    require_root("warpctl web init")
    host, files = host_of(origin), WebFiles(folder)
    if files.key.exists() and not renew:
        raise WarpError(
            f"{files.key} is there already",
            code="exists",
            who="operator",
            hint="--renew makes another one: browsers will ask again whether they trust it",
        )
    made = make_certificate(host, datetime.now(UTC))
    files.key.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_private(files.key, made.key_pem)
    write_private(files.certificate, made.pem, PUBLIC)
    write_private(files.environment, environment_text(origin).encode(), PUBLIC)
    is_first = not os.path.lexists(files.yaml)
    if is_first:
        write_private(files.yaml, FIRST_YAML.encode(), PUBLIC)
    lines = [
        f"SHA-256 of the certificate: {made.fingerprint}",
        *([f"made {files.yaml}: a gateway without networks"] if is_first else []),
        f"next: {START}",
        "then: warpctl web login",
    ]
    data = {"version": VERSION, "origin": origin, "fingerprint": made.fingerprint, "next": [START]}
    output.emit(data, "\n".join(lines), output_format)


@web_app.command("login")
def login(
    context: typer.Context,
    role: Annotated[
        str | None, typer.Option("--role", help="viewer, helpdesk, operator or admin (default)")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--user", help="whose session it is; one of `warpctl user list`")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--url", envvar="WARPD_WEB_URL", help="where the dashboard is: as `web init` set it up"
        ),
    ] = None,
    file: File = DEFAULT_USERS,
    output_format: Output = Format.text,
) -> None:
    """Print a link that signs in to the dashboard: once, within ten minutes."""
    require_root("warpctl web login")
    workspace: Workspace = context.obj
    account = UsersFile(file).users().get(name) if name is not None else None
    if account is not None and role is not None:
        raise WarpError(
            f"the role of {account.name} is {account.role}, as {file} says",
            code="usage",
            who="operator",
            hint="leave --role out, or --user",
        )
    made_by = who()
    code, text = make_login_code(
        TokenStore(workspace.store.folder),
        name or (made_by if NAME.fullmatch(made_by) else "root"),
        role or "admin",
        account,
        f"{made_by} (warpctl web login)",
    )
    origin = url or WebFiles(workspace.main_file.parent).origin()
    link = f"{origin.rstrip('/')}/login#{text}"
    data = {"version": VERSION, "url": link, "user": code.user, "expires": iso(code.expires_s)}
    output.note(f"signs in as {code.user}, once, until {data['expires']}")
    if origin.startswith(LOCAL):
        port = origin.removeprefix(LOCAL).rstrip("/")
        here = socket.gethostname()
        output.note(f"in a browser here; elsewhere first: ssh -L {port}:localhost:{port} {here}")
    output.emit(data, link, output_format)


@web_app.command("can")
def can(
    name: Annotated[str, typer.Argument(metavar="USER")],
    right: Annotated[Right, typer.Argument(metavar="RIGHT", help=", ".join(Right))],
    target: Annotated[str, typer.Argument(metavar="NETWORK[/ENDPOINT]")],
    file: File = DEFAULT_USERS,
    output_format: Output = Format.text,
) -> None:
    """Say whether somebody may do something; the exit code is 0 for yes and 1 for no."""
    account = UsersFile(file).users().get(name)
    if account is None:
        raise WarpError(
            f"there is no user {name[:80]} in {os.fspath(file)}",
            code="unknown-user",
            who="operator",
            hint="warpctl user list",
        )
    identity = Identity(name, ROLES[account.role], account.networks)
    network = target.partition("/")[0]
    if account.disabled:
        why = f"no: {name} is disabled"
    elif not identity.may(right):
        why = f"no: {name} is {account.role}; {right} needs {' or '.join(roles_with(right))}"
    elif not identity.sees(network):
        why = f"no: {name} sees {', '.join(account.networks)} and not {network}"
    else:
        why = f"yes: {name} is {account.role} of {', '.join(account.networks)}"
    is_allowed = why.startswith("yes")
    output.emit({"version": VERSION, "allowed": is_allowed, "why": why}, why, output_format)
    raise typer.Exit(0 if is_allowed else EXIT_FAILED)
