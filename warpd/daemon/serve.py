"""The parts of the service, put together and started."""

from __future__ import annotations

import gc
import random
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from warpd import __version__
from warpd.daemon.clock import Clock
from warpd.daemon.handlers import ANSWERS
from warpd.daemon.http.credentials import Credentials
from warpd.daemon.http.oidc import Provider
from warpd.daemon.http.server import Server
from warpd.daemon.kernel_events import KernelEvents
from warpd.daemon.log import logger
from warpd.daemon.loop import Loop
from warpd.daemon.mailbox import Mailbox, SelfPipe
from warpd.daemon.options import Options
from warpd.daemon.publisher import Publisher
from warpd.daemon.reconciler import REAL_CLOCK, Reconciler
from warpd.daemon.scheduler import PassRequest, Scheduler
from warpd.daemon.stale_configs import Background, StaleConfigs, on_a_thread
from warpd.daemon.stats import Stats
from warpd.errors import EXIT_FAILED, EXIT_PARTIAL, WarpError
from warpd.kernel.api import Kernel
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.service.workspace import (
    Workspace,
    require_root,
)
from warpd.store import event_log
from warpd.store.state_folder import Store

DESCRIPTORS: Final = 65_536
SWITCH_S: Final = 0.001


def serve(options: Options) -> int:
    """Keep the kernel as the YAML says, until a signal ends it; the exit code."""
    log = logger(options.log_format)
    prepare_process()
    try:
        require_root("warpd")
    except WarpError as failure:
        log.error("not started", error=failure.message, hint=failure.hint)
        return failure.exit_code
    workspace, self_pipe = Workspace(options.config, options.state_dir), SelfPipe()
    kernel = LiveKernel(options.event_bytes, options.socket.parent)
    daemon = assemble(kernel, self_pipe, workspace, log, options.interval_s)
    daemon.mailbox.stats = Stats(keeps_peers=options.wireguard_metrics)
    try:
        if options.once:
            return one_pass(daemon.reconciler)
        keep(daemon, options, self_pipe, log)
        return 0
    finally:
        kernel.close()
        self_pipe.close()


def keep(
    daemon: Daemon, options: Options, self_pipe: SelfPipe, log: structlog.stdlib.BoundLogger
) -> None:
    """Run the loop and the control socket until a signal ends them."""
    provider = Provider(options.oidc, options.oidc_socket)
    credentials = Credentials(options.state_dir, options.users, log, provider=provider)
    server = started(daemon.mailbox, options, credentials, log)
    about = {"config": str(options.config), "state_dir": str(options.state_dir)}
    log.info("started", version=__version__, **about, interval_s=options.interval_s)
    gc.freeze()  # what was imported stays: no collection needs to walk it again
    ended_by = daemon.loop(self_pipe).run()
    if server is not None:
        server.stop()
    log.info("stopping", signal=signal.Signals(ended_by).name, data_plane="left as it is")


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
    workspace: Workspace,
    log: structlog.stdlib.BoundLogger,
    interval_s: float,
    clock: Clock = REAL_CLOCK,
    jitter: Callable[[], float] = random.random,
    background: Background = on_a_thread,
) -> Daemon:
    """Make the parts of a daemon on this kernel, without starting anything.

    Args:
        wake: ends the loop's wait, from any thread.
        interval_s: seconds between periodic resyncs.
        jitter: a number between 0 and 1, by which pauses differ.
        background: does what takes long beside the loop.
    """
    mailbox = Mailbox(wake)
    mailbox.records = Store(workspace.store.folder)
    mailbox.restore(event_log.read(workspace.store.folder))
    scheduler = Scheduler(interval_s, jitter, clock.monotonic())
    events = KernelEvents(kernel, scheduler, mailbox, log, clock)
    reconciler = Reconciler(workspace, kernel, mailbox, log, clock, before_look=events.take_in)
    stale = StaleConfigs(mailbox, workspace.store, background)
    publisher = Publisher(reconciler, scheduler, mailbox, events, clock, stale)
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
    mailbox: Mailbox,
    options: Options,
    credentials: Credentials,
    log: structlog.stdlib.BoundLogger,
) -> Server | None:
    """The control socket; without it the kernel is kept all the same."""
    path, interval_s = options.socket, options.interval_s
    server = Server(mailbox, path, credentials, log, interval_s, options.propose_socket)
    try:
        server.start()
    except WarpError as failure:
        log.error("no control socket", error=failure.message, hint=failure.hint)
        return None
    return server
