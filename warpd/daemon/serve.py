"""`warpd`: keep the kernel as the YAML says.

SIGHUP looks at once; SIGTERM stops and leaves the data plane as it is.
"""

from __future__ import annotations

import enum
import gc
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TextIO

import structlog
import typer

from warpd import __version__
from warpd.daemon.clock import Clock
from warpd.daemon.event_buffer import LineRate
from warpd.daemon.handlers import ANSWERS
from warpd.daemon.http.server import Server
from warpd.daemon.kernel_events import KernelEvents
from warpd.daemon.loop import Loop
from warpd.daemon.mailbox import Mailbox, SelfPipe
from warpd.daemon.publisher import Publisher
from warpd.daemon.reconciler import REAL_CLOCK, Reconciler
from warpd.daemon.scheduler import PassRequest, Scheduler
from warpd.errors import EXIT_FAILED, EXIT_PARTIAL, WarpError
from warpd.kernel.api import Kernel
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.kernel.netlink.events import RECEIVE_BYTES
from warpd.service.workspace import (
    DEFAULT_CONFIG,
    DEFAULT_SOCKET,
    DEFAULT_STATE,
    Session,
    require_root,
)
from warpd.store import event_log

DESCRIPTORS: Final = 65_536
SWITCH_S: Final = 0.001


class LogFormat(enum.StrEnum):
    auto = "auto"  # console on a terminal, logfmt for the journal, else json
    console = "console"
    logfmt = "logfmt"
    json = "json"


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"warpd {__version__}")
        raise typer.Exit


def serve(
    config: Annotated[Path, typer.Option("-c", "--config", envvar="WARPD_CONFIG")] = DEFAULT_CONFIG,
    state_dir: Annotated[
        Path, typer.Option("--state-dir", envvar="WARPD_STATE_DIR")
    ] = DEFAULT_STATE,
    interval_s: Annotated[
        float, typer.Option("--interval", min=1, help="seconds between two looks at everything")
    ] = 30.0,
    socket: Annotated[
        Path, typer.Option("--socket", envvar="WARPD_SOCKET", help="the control socket")
    ] = DEFAULT_SOCKET,
    event_bytes: Annotated[
        int,
        typer.Option(
            "--event-buffer", min=1024, help="bytes kept of kernel events not taken in yet"
        ),
    ] = RECEIVE_BYTES,
    log_format: Annotated[
        LogFormat,
        typer.Option("--log-format", envvar="WARPD_LOG_FORMAT", help="auto: by who reads it"),
    ] = LogFormat.auto,
    once: Annotated[
        bool, typer.Option("--once", help="one pass, then end with its exit code")
    ] = False,
    _shown: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="print it")
    ] = False,
) -> None:
    """Keep the kernel as the YAML says."""
    log = logger(log_format)
    prepare_process()
    try:
        require_root("warpd")
    except WarpError as failure:
        log.error("not started", error=failure.message, hint=failure.hint)
        raise typer.Exit(failure.exit_code) from None
    self_pipe = SelfPipe()
    daemon = assemble(
        LiveKernel(event_bytes), self_pipe, Session(config, state_dir), log, interval_s
    )
    try:
        if once:
            raise typer.Exit(one_pass(daemon.reconciler))
        about = {"config": str(config), "state_dir": str(state_dir), "interval_s": interval_s}
        server = started(daemon.mailbox, socket, log, interval_s)
        log.info("started", version=__version__, **about)
        gc.freeze()  # what was imported stays: no collection needs to walk it again
        ended_by = daemon.loop(self_pipe).run()
        if server is not None:
            server.stop()
        log.info("stopping", signal=signal.Signals(ended_by).name, data_plane="left as it is")
    finally:
        daemon.reconciler.kernel.close()
        self_pipe.close()


@dataclass(frozen=True, slots=True)
class Daemon:
    """The parts of one daemon, each made with those that it needs."""

    mailbox: Mailbox
    scheduler: Scheduler
    events: KernelEvents
    reconciler: Reconciler
    publisher: Publisher

    def loop(self, self_pipe: SelfPipe) -> Loop:
        parts = self.reconciler, self.scheduler, self.events, self.publisher, self.mailbox
        return Loop(*parts, self_pipe, ANSWERS)


def assemble(
    kernel: Kernel,
    wake: Callable[[], None],
    session: Session,
    log: structlog.stdlib.BoundLogger,
    interval_s: float,
    clock: Clock = REAL_CLOCK,
    jitter: Callable[[], float] = random.random,
) -> Daemon:
    """Make the parts of a daemon on this kernel, without starting anything.

    Args:
        wake: ends the loop's wait, from any thread.
        interval_s: seconds between two looks at everything.
        jitter: a number between 0 and 1, by which pauses differ.
    """
    mailbox = Mailbox(wake)
    mailbox.restore(event_log.read(session.store.folder))
    scheduler = Scheduler(interval_s, jitter, clock.monotonic())
    events = KernelEvents(kernel, scheduler, mailbox, log, clock)
    reconciler = Reconciler(session, kernel, mailbox, log, clock, before_look=events.take_in)
    publisher = Publisher(reconciler, scheduler, mailbox, events, clock)
    return Daemon(mailbox, scheduler, events, reconciler, publisher)


def one_pass(reconciler: Reconciler) -> int:
    """Make one pass; the exit code for what came of it."""
    result = reconciler.run(PassRequest(True, None, True))
    if result.unwritten:
        return EXIT_PARTIAL
    is_done = not (result.busy or result.writing or result.failed or result.all_failed)
    return 0 if is_done and not reconciler.desired.findings else EXIT_FAILED


def prepare_process() -> None:
    """Set what the process has from the system: descriptors, and how threads take turns.

    Descriptors of many networks need room beside those of the control socket. The loop makes many
    short system calls; after each it waits for the interpreter at most SWITCH_S
    (sys.setswitchinterval).
    """
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    sys.setswitchinterval(SWITCH_S)


def started(
    mailbox: Mailbox, path: Path, log: structlog.stdlib.BoundLogger, interval_s: float
) -> Server | None:
    """The control socket; without it the kernel is kept all the same."""
    server = Server(mailbox, path, log, interval_s)
    try:
        server.start()
    except WarpError as failure:
        log.error("no control socket", error=failure.message, hint=failure.hint)
        return None
    return server


# The journal's priorities (sd-daemon(3)), which it takes off the front of a line.
PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def chosen_format(wanted: LogFormat, terminal: bool, journal: bool) -> LogFormat:
    """What `auto` stands for here."""
    if wanted is not LogFormat.auto:
        return wanted
    if terminal:
        return LogFormat.console
    return LogFormat.logfmt if journal else LogFormat.json


def is_journal(stream: TextIO) -> bool:
    """Whether systemd's journal reads this stream.

    The variable alone is inherited by whoever is started from a unit.

    systemd.exec(5), JOURNAL_STREAM: the device and inode of the stream that leads there.
    """
    try:
        seen = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{seen.st_dev}:{seen.st_ino}"


def logger(wanted: LogFormat = LogFormat.auto) -> structlog.stdlib.BoundLogger:
    """A logger to stderr.

    For the journal a line carries its priority, and as logfmt no time: the journal has its own.
    """
    journal = is_journal(sys.stderr)
    style = chosen_format(wanted, sys.stderr.isatty(), journal)
    processors: list[Any] = [FairLines(), structlog.processors.add_log_level]
    if not (journal and style is LogFormat.logfmt):
        processors.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
    if style is LogFormat.console:
        processors.append(structlog.dev.ConsoleRenderer())
    elif style is LogFormat.json:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        written = structlog.processors.LogfmtRenderer(
            key_order=["level", "event"], bool_as_flag=False
        )
        processors += [structlog.processors.format_exc_info, written]
    if journal:
        processors.append(with_priority)
    structlog.configure(
        processors=processors, logger_factory=structlog.PrintLoggerFactory(sys.stderr)
    )
    made: structlog.stdlib.BoundLogger = structlog.get_logger()
    return made


class FairLines:
    """A processor that leaves out lines of a network that has too many; the next one says how many
    (`left_out`).
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = LineRate(), clock

    def __call__(
        self, _logger: Any, _method: str, line: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Raises: structlog.DropEvent for a line that is left out."""
        if not line.get("network"):
            return line
        left_out = self._rate.admit(str(line["network"]), self._clock())
        if left_out is None:
            raise structlog.DropEvent
        if left_out:
            line["left_out"] = left_out
        return line


def with_priority(_logger: Any, method: str, line: str) -> str:
    """The journal takes the priority off the front of each line."""
    return f"<{PRIORITIES.get(method, 6)}>{line}"
