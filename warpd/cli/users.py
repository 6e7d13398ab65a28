"""The commands `user`: who may sign in to the dashboard, in users.yaml.

The file is edited as the YAML of the gateway is: comments and layout stay. A password is read from
the terminal or from stdin, and never from the command line, which others can see.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from warpd.cli import output
from warpd.cli.app import Output, user_app
from warpd.cli.output import Format
from warpd.errors import WarpError
from warpd.service import users
from warpd.service.credentials import check_name
from warpd.service.users import DEFAULT_USERS, EMPTY, User
from warpd.service.views.render import VERSION
from warpd.store.atomic_file import create, replace, translate_oserror
from warpd.yamlfile import editor

LINE_MAX: Final = 8192  # characters of a password on stdin

UserName = Annotated[str, typer.Argument(metavar="NAME")]
File = Annotated[
    Path,
    typer.Option("--users", envvar="WARPD_USERS", help="the file of users"),
]
Role = Annotated[str | None, typer.Option("--role", help="viewer, helpdesk, operator or admin")]
Networks = Annotated[
    str | None,
    typer.Option(
        "--networks", metavar="GLOB,...", help="the networks they see; * stands for any text"
    ),
]


@user_app.command("add")
def add(
    name: UserName,
    role: Annotated[str, typer.Option("--role", help="viewer, helpdesk, operator or admin")],
    networks: Networks = None,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="sign in by `warpctl web login --user` only")
    ] = False,
    file: File = DEFAULT_USERS,
    output_format: Output = Format.text,
) -> None:
    """Add somebody who may sign in. The password is asked for, or read from stdin."""
    check_name(name)
    fields: dict[str, Any] = {"role": role}
    if networks is not None:
        fields["networks"] = split_globs(networks)
    if not no_password:
        fields["password"] = users.hashed(_new_password(name))
    _edit(file, lambda text: editor.add_users(text, {name: fields}))
    _done(file, name, "added", output_format)


@user_app.command("set")
def set_(
    name: UserName,
    role: Role = None,
    networks: Networks = None,
    file: File = DEFAULT_USERS,
    output_format: Output = Format.text,
) -> None:
    """Change what somebody may do, and where. It holds at once, for open sessions too."""
    changes: dict[str, Any] = {"role": role} if role is not None else {}
    if networks is not None:
        changes["networks"] = split_globs(networks)
    if not changes:
        raise WarpError("nothing to change was named", code="usage", who="operator", hint="--help")
    _change(file, name, changes)
    _done(file, name, "changed", output_format)


@user_app.command("passwd")
def passwd(name: UserName, file: File = DEFAULT_USERS, output_format: Output = Format.text) -> None:
    """Set the password of somebody, which ends their sessions."""
    _known(file, name)
    _change(file, name, {"password": users.hashed(_new_password(name))})
    _done(file, name, "has a new password", output_format)


@user_app.command("totp")
def totp(
    name: UserName,
    remove: Annotated[
        bool, typer.Option("--remove", help="stop asking for one-time passwords")
    ] = False,
    file: File = DEFAULT_USERS,
    output_format: Output = Format.text,
) -> None:
    """Ask somebody for one-time passwords too; the secret for their phone is shown once."""
    if remove:
        _change(file, name, {"totp": None})
        _done(file, name, "signs in without one-time passwords", output_format)
        return
    secret = users.new_totp()
    _change(file, name, {"totp": secret})
    url = users.totp_url(name, secret)
    data = {"version": VERSION, "user": name, "secret": secret, "url": url}
    output.emit(data, f"{name} signs in with one-time passwords from now on\n{url}", output_format)


@user_app.command("disable")
def disable(
    name: UserName, file: File = DEFAULT_USERS, output_format: Output = Format.text
) -> None:
    """Let somebody in no more; open sessions end at once."""
    _change(file, name, {"disabled": True})
    _done(file, name, "disabled", output_format)


@user_app.command("enable")
def enable(name: UserName, file: File = DEFAULT_USERS, output_format: Output = Format.text) -> None:
    """Let somebody in again."""
    _change(file, name, {"disabled": None})
    _done(file, name, "enabled", output_format)


@user_app.command("remove")
def remove(name: UserName, file: File = DEFAULT_USERS, output_format: Output = Format.text) -> None:
    """Remove somebody; open sessions end at once."""
    _known(file, name)
    _edit(file, lambda text: editor.remove_user(text, name))
    _done(file, name, "removed", output_format)


@user_app.command("list")
def list_(file: File = DEFAULT_USERS, output_format: Output = Format.text) -> None:
    """Show who may sign in, and as what."""
    rows = [_shown(user) for user in _users(file).values()]
    heads = ("USER", "ROLE", "NETWORKS", "PASSWORD", "ONE-TIME", "STATE")
    cells = [_cells(row) for row in rows]
    text = output.table(cells, heads) if rows else "nobody may sign in: warpctl user add"
    output.emit({"version": VERSION, "users": rows}, text, output_format)


def split_globs(text: str) -> list[str]:
    """The globs of `--networks`."""
    return [item.strip() for item in text.split(",") if item.strip()]


def _shown(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "role": user.role,
        "networks": list(user.networks),
        "password": bool(user.password),
        "totp": bool(user.totp),
        "disabled": user.disabled,
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    words = {True: "yes", False: "no"}
    state = "disabled" if row["disabled"] else "enabled"
    networks = ", ".join(row["networks"])
    return row["name"], row["role"], networks, words[row["password"]], words[row["totp"]], state


def _users(file: Path) -> dict[str, User]:
    return dict(users.UsersFile(file).users())


def _known(file: Path, name: str) -> User:
    """Raises: WarpError when there is nobody of this name."""
    known = _users(file)
    if name not in known:
        raise WarpError(
            f"there is no user {name[:80]}",
            code="unknown-user",
            who="operator",
            hint=editor.nearest(name, known),
        )
    return known[name]


def _change(file: Path, name: str, changes: dict[str, Any]) -> None:
    _known(file, name)
    _edit(file, lambda text: editor.set_fields(text, ("users", name), changes))


def _edit(file: Path, edit: Callable[[str], str]) -> None:
    """Write the edited text, once it has been found to be sound.

    Raises:
        WarpError: the file is not sound before or after the edit, or cannot be written.
    """
    _users(file)
    with translate_oserror(file):
        old = file.read_bytes() if file.exists() else None
    new = edit(EMPTY if old is None else old.decode()).encode()
    users.parsed(str(file), new)
    if old is None:
        with translate_oserror(file):
            file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        create(file, new, 0o600)
    else:
        replace(file, old, new)


def _new_password(name: str) -> str:
    """From the terminal, twice; or a line of stdin.

    Raises:
        WarpError: the two differ, or there is none.
    """
    if not sys.stdin.isatty():
        return sys.stdin.readline(LINE_MAX).rstrip("\r\n")
    first = getpass.getpass(f"password of {name}: ")
    if getpass.getpass("once more: ") != first:
        raise WarpError("the two differ", code="password", who="operator", hint="try again")
    return first


def _done(file: Path, name: str, what: str, output_format: Format) -> None:
    data = {"version": VERSION, "user": name, "file": os.fspath(file), "done": what}
    output.emit(data, f"{name}: {what}", output_format)
