"""Exit codes of command lines.

A wrong command line has the exit code of every other failure: exit code 2 only means that `plan`
has changes.
"""

from __future__ import annotations

from typing import Any, Final

import typer

from warpd.errors import EXIT_FAILED

# Typer exports no name for the base class of all wrong command lines, but a class derived from it.
USAGE_ERROR: Final[type[Exception]] = typer.BadParameter.__mro__[1]


def run(app: typer.Typer) -> int:
    """Run one command line and return its exit code.

    Raises:
        Exception: whatever the command raises.
    """
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
