"""`warpd`: keep the kernel as the YAML says. SIGHUP looks at once; SIGTERM stops and leaves the data plane as it is."""

from __future__ import annotations

import gc
import resource
import signal
import sys
from pathlib import Path
from typing import Annotated, Final

import structlog
import typer

from warpd import __version__
from warpd.daemon.answers import ANSWERS
from warpd.daemon.decide import Work
from warpd.daemon.desk import Desk, Waker
from warpd.daemon.keeper import Keeper
from warpd.daemon.loop import Loop
from warpd.daemon.socket_server import Server
from warpd.errors import WarpError
from warpd.kernel.live import LiveKernel
from warpd.kernel.live_events import RECEIVE_BYTES
from warpd.session import DEFAULT_CONFIG, DEFAULT_SOCKET, DEFAULT_STATE, Session, require_root

DESCRIPTORS: Final = 65_536
SWITCH_S: Final = 0.001


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"warpd {__version__}")
        raise typer.Exit


def serve(
    config: Annotated[Path, typer.Option("-c", "--config", envvar="WARPD_CONFIG")] = DEFAULT_CONFIG,
    state_dir: Annotated[Path, typer.Option("--state-dir", envvar="WARPD_STATE_DIR")] = DEFAULT_STATE,
    interval_s: Annotated[float, typer.Option("--interval", min=1, help="seconds between two looks at everything")] = 30.0,
    socket: Annotated[Path, typer.Option("--socket", envvar="WARPD_SOCKET", help="the control socket")] = DEFAULT_SOCKET,
    event_bytes: Annotated[
        int, typer.Option("--event-buffer", min=1024, help="bytes kept of kernel events not taken in yet")
    ] = RECEIVE_BYTES,
    once: Annotated[bool, typer.Option("--once", help="one pass, then end with its exit code")] = False,
    _shown: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="print it")] = False,
) -> None:
    """Keep the kernel as the YAML says."""
    log = logger()
    prepare_process()
    try:
        require_root("warpd")
    except WarpError as failure:
        log.error("not started", error=failure.message, hint=failure.hint)
        raise typer.Exit(failure.exit_code) from None
    kernel, waker = LiveKernel(event_bytes), Waker()
    desk = Desk(waker)
    keeper = Keeper(Session(config, state_dir), kernel, desk, log)
    try:
        if once:
            result = keeper.run(Work(True, None, True))
            wrong = result.busy or result.writing or result.failed or result.all_failed or keeper.findings
            raise typer.Exit(1 if wrong else 0)
        server = started(desk, socket, log, interval_s)
        log.info("started", version=__version__, config=str(config), state_dir=str(state_dir), interval_s=interval_s)
        gc.freeze()  # what was imported stays: no collection needs to walk it again
        ended_by = Loop(keeper, desk, waker, interval_s, ANSWERS).run()
        if server is not None:
            server.stop()
        log.info("stopping", signal=signal.Signals(ended_by).name, data_plane="left as it is")
    finally:
        kernel.close()
        waker.close()


def prepare_process() -> None:
    """Leave room for descriptors of many networks beside those of the control socket, and share the interpreter quickly.

    The loop makes many short system calls; after each it waits for the interpreter at most this long (sys.setswitchinterval).
    """
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    sys.setswitchinterval(SWITCH_S)


def started(desk: Desk, path: Path, log: structlog.stdlib.BoundLogger, interval_s: float) -> Server | None:
    """The control socket; without it the kernel is kept all the same."""
    server = Server(desk, path, log, interval_s)
    try:
        server.start()
    except WarpError as failure:
        log.error("no control socket", error=failure.message, hint=failure.hint)
        return None
    return server


def logger() -> structlog.stdlib.BoundLogger:
    """JSON when nobody watches, columns on a terminal."""
    terminal = sys.stderr.isatty()
    renderer = structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    made: structlog.stdlib.BoundLogger = structlog.get_logger()
    return made
