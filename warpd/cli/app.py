"""The program `warpctl`: its global options and its entry point; each command has a file here.

Global options may stand before the command or behind it: `warpctl -c warp.yaml plan` or
`warpctl plan -c warp.yaml`.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from warpd import __version__
from warpd.cli import arguments, output
from warpd.errors import EXIT_FAILED, WarpError
from warpd.kernel.api import DumpError
from warpd.service.standard_streams import open_standard_streams
from warpd.service.usage import run
from warpd.service.workspace import DEFAULT_CONFIG, DEFAULT_STATE, Workspace

app = typer.Typer(
    name="warpctl",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Plan and apply a multi-tenant VPN gateway described in YAML.

    A first run: write /etc/warpd/warp.yaml (see examples/quickstart.yaml), then
    `warpctl validate`, `warpctl plan`, `warpctl apply`, and
    `warpctl endpoint config NETWORK/NAME` for each device.

    Exit codes: 0 done or in sync, 1 failed or a wrong command line, 2 plan has changes,
    3 applied in part, 4 the YAML is invalid, 5 busy.""",
)
network_app = typer.Typer(no_args_is_help=True, help="Show and edit networks.")
endpoint_app = typer.Typer(
    no_args_is_help=True, help="Show, edit and suspend endpoints; export client configs."
)
user_app = typer.Typer(no_args_is_help=True, help="Manage dashboard users.")
token_app = typer.Typer(no_args_is_help=True, help="Make and revoke tokens for programs.")
web_app = typer.Typer(no_args_is_help=True, help="The dashboard: sign in, and who may what.")
app.add_typer(network_app, name="network")
app.add_typer(endpoint_app, name="endpoint")
app.add_typer(user_app, name="user")
app.add_typer(token_app, name="token")
app.add_typer(web_app, name="web")

Output = Annotated[
    output.Format, typer.Option("-o", "--output", help="text for people, json for programs")
]


def _version(wanted: bool) -> None:
    if wanted:
        output.say(f"warpctl {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[
        Path,
        typer.Option(
            "-c",
            "--config",
            envvar="WARPD_CONFIG",
            readable=False,
            help="the YAML: a file or a folder",
        ),
    ] = DEFAULT_CONFIG,
    state_dir: Annotated[
        Path,
        typer.Option(
            "--state-dir",
            envvar="WARPD_STATE_DIR",
            readable=False,
            help="where allocations and the master secret are kept",
        ),
    ] = DEFAULT_STATE,
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    context.obj = Workspace(config, state_dir)


# The modules that register a command, or the commands of a group. Only those of the command that
# is named are imported: a start is a quarter shorter. For any other word it is all of them.
MODULES: Final[Mapping[str, Sequence[str]]] = {
    "apply": ("change",),
    "confirm": ("history",),
    "destroy": ("change",),
    "doctor": ("inspect",),
    "endpoint": ("edit", "export", "inspect", "settings", "suspend"),
    "events": ("events",),
    "exec": ("inspect",),
    "explain": ("explain",),
    "history": ("history",),
    "import": ("import_",),
    "lock": ("lock",),
    "network": ("edit", "inspect", "settings"),
    "plan": ("change",),
    "pull": ("pull",),
    "rollback": ("history",),
    "schema": ("inspect",),
    "status": ("inspect",),
    "token": ("tokens",),
    "user": ("users",),
    "validate": ("change",),
    "web": ("web",),
}
ALL: Final = sorted({module for modules in MODULES.values() for module in modules})


def register(command: str) -> None:
    """Import what registers a command; everything where there is none of this name."""
    for module in MODULES.get(command, ALL):
        importlib.import_module(f"warpd.cli.{module}")


def main() -> None:
    """Run one command line; every failure becomes one message and an exit code."""
    open_standard_streams()
    output.escape_what_is_missing()
    sys.argv[1:] = arguments.in_order(sys.argv[1:])
    try:
        register(arguments.command(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    try:
        sys.exit(output.exit_code(run(app)))
    except WarpError as failure:
        output.show_failure(failure)
        sys.exit(failure.exit_code)
    except DumpError as failure:
        output.note(
            f"error: the kernel could not be read: {failure}\nhint: nothing was changed; try again"
        )
        sys.exit(EXIT_FAILED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as failure:
        where = f"{failure.filename}: " if failure.filename else ""
        output.note(f"error: {where}{failure.strerror or failure}{_who_may(failure)}")
        sys.exit(EXIT_FAILED)


def _who_may(failure: OSError) -> str:
    """Return a hint for users without the rights that the command needs."""
    if not isinstance(failure, PermissionError) or os.geteuid() == 0:
        return ""
    return (
        "\nhint: root may; members of warpd-read and warpd do what warpctl asks the daemon (status,"
        " plan, apply)"
    )


if __name__ == "__main__":
    main()
