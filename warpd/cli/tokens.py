"""The commands `token`: credentials of programs that use the API."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from warpd.cli import output
from warpd.cli.app import Output, token_app
from warpd.cli.export import user
from warpd.cli.output import Format
from warpd.cli.users import split_globs
from warpd.errors import WarpError
from warpd.service import client
from warpd.service.credentials import (
    DAYS_DEFAULT,
    TokenRequest,
    make_token,
    token_json,
)
from warpd.service.views.render import VERSION
from warpd.service.workspace import Workspace
from warpd.store.tokens import TokenKind, TokenStore

HEADS = ("ID", "NAME", "ROLE", "NETWORKS", "EXPIRES", "LAST USED", "MADE BY")


@token_app.command("create")
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="history and events name it")],
    role: Annotated[str, typer.Option("--role", help="viewer, helpdesk, operator or admin")],
    networks: Annotated[
        str | None,
        typer.Option(
            "--networks", metavar="GLOB,...", help="the networks it sees; default: all of them"
        ),
    ] = None,
    days: Annotated[int, typer.Option("--days", help="days until it expires")] = DAYS_DEFAULT,
    output_format: Output = Format.text,
) -> None:
    """Make a token for a program. It is shown once, and only here."""
    workspace: Workspace = context.obj
    globs = ("*",) if networks is None else tuple(split_globs(networks))
    request = TokenRequest(name, role, globs, days)
    request.check()
    data = _made(workspace.store.folder, request)
    about = f"{name} ({role}, until {data['expires']}): warpctl token revoke {data['id']} ends it"
    output.note(about)
    output.emit({"version": VERSION, **data}, data["token"], output_format)


def _made(folder: Path, request: TokenRequest) -> dict[str, Any]:
    """Root writes the file; other users ask the daemon, which also knows what they may."""
    if os.geteuid() == 0:
        token, text = make_token(TokenStore(folder), request, f"{user()} (warpctl)")
        return {"token": text, **token_json(token)}
    body = {
        "name": request.name,
        "role": request.role,
        "networks": list(request.networks),
        "days": request.days,
    }
    return client.ask("POST", "/v1/tokens", body)


@token_app.command("list")
def list_(context: typer.Context, output_format: Output = Format.text) -> None:
    """Show the tokens of programs; what they are is not kept."""
    workspace: Workspace = context.obj
    if os.geteuid() == 0:
        kept = TokenStore(workspace.store.folder).listed(TokenKind.TOKEN)
        rows = [token_json(token) for token in kept]
    else:
        rows = client.ask("GET", "/v1/tokens")["tokens"]
    text = output.table([_cells(row) for row in rows], HEADS) if rows else "there are no tokens"
    output.emit({"version": VERSION, "tokens": rows}, text, output_format)


@token_app.command("revoke")
def revoke(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="ID", help="as `warpctl token list` shows it")],
    output_format: Output = Format.text,
) -> None:
    """End a token at once."""
    workspace: Workspace = context.obj
    if os.geteuid() == 0:
        ended = TokenStore(workspace.store.folder).revoke(name, TokenKind.TOKEN)
        if ended is None:
            raise no_token(name)
    elif not name.isalnum():
        raise no_token(name)
    else:
        client.ask("DELETE", f"/v1/tokens/{name}")
    output.emit({"version": VERSION, "revoked": name}, f"token {name} has ended", output_format)


def no_token(name: str) -> WarpError:
    """That there is none of this id."""
    text = f"there is no token {name[:80]}"
    return WarpError(text, code="unknown-token", who="operator", hint="warpctl token list")


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    networks = ", ".join(row["networks"])
    used = row["last_used"] or "never"
    return row["id"], row["name"], row["role"], networks, row["expires"], used, row["created_by"]
