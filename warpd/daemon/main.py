"""The entry point of the service."""

from __future__ import annotations

import sys

import typer

from warpd.service.usage import open_standard_streams, run

HELP = {"help_option_names": ["-h", "--help"]}


def main() -> None:
    """Load what `warpd` needs, and serve."""
    open_standard_streams()
    # structlog loads rich where there is one, to print tracebacks in colour: 4 MB of a service that
    # logs JSON.
    sys.modules["rich"] = None  # type: ignore[assignment]  # None is how an import is forbidden (Python reference, 5.3.1)
    # asyncio loads ssl where there is one, 2 MB; the control socket is a unix socket without TLS.
    sys.modules["ssl"] = None  # type: ignore[assignment]  # as above
    import asyncio  # noqa: F401  # first, likewise

    import structlog  # noqa: F401  # first, so that the others find it loaded

    del sys.modules["ssl"]
    del sys.modules["rich"]  # typer loads it for --help

    from warpd.daemon.serve import serve

    app = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings=HELP,
    )
    app.command()(serve)
    sys.exit(run(app))


if __name__ == "__main__":
    main()
