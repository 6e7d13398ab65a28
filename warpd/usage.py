"""A wrong command line ends with the exit code of every other failure: 2 means that `plan` has changes, and nothing else."""

from __future__ import annotations

from typing import Any, Final

import typer

from warpd.errors import EXIT_FAILED

# Typer shows no name for the class of all wrong command lines; this one is among its public children.
USAGE_ERROR: Final[type[Exception]] = typer.BadParameter.__mro__[1]


def run(app: typer.Typer) -> int:
    """Run one command line; its exit code. Raises: what the command raises."""
    try:
        code = app(standalone_mode=False)
    except USAGE_ERROR as failure:
        show: Any = failure
        show.show()
        return EXIT_FAILED
    except typer.Abort:
        typer.echo("Aborted!", err=True)
        return EXIT_FAILED
    return code if isinstance(code, int) else 0
