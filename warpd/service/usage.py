"""The start of both programs: standard streams that are open, and exit codes of command lines.

A wrong command line has the exit code of every other failure: exit code 2 only means that `plan`
has changes.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final

import typer

from warpd.errors import EXIT_FAILED

# Typer exports no name for the base class of all wrong command lines, but a class derived from it.
USAGE_ERROR: Final[type[Exception]] = typer.BadParameter.__mro__[1]


def open_standard_streams() -> None:
    """Open /dev/null in place of standard streams that were closed before the start (`>&-`).

    Python has None for such a stream, and the next file or socket that is opened would be taken
    for it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is not None:
            continue
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  # until the end


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
