"""`warpd`: keep the kernel as the YAML says. SIGHUP looks at once; SIGTERM stops and leaves the data plane as it is.

Its triggers are the clock and signals: a look every `--interval` seconds at the YAML and the kernel. A YAML
that is broken or unreadable leaves everything as it was, and says so.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import Annotated

import structlog
import typer

from warpd.errors import Busy, InvalidIntent, WarpError, render_finding
from warpd.grants import Grants
from warpd.kernel.live import LiveKernel
from warpd.kernel.protocol import LookFailed
from warpd.objects.netns import vcid_of
from warpd.plan import Step
from warpd.reconcile import Outcome, converge, prospect
from warpd.session import DEFAULT_CONFIG, DEFAULT_STATE, Read, Session, require_root

WAITED_FOR = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)


def main() -> None:
    """The entry point of the service."""
    typer.run(serve)


def serve(
    config: Annotated[Path, typer.Option("-c", "--config", envvar="WARPD_CONFIG")] = DEFAULT_CONFIG,
    state_dir: Annotated[Path, typer.Option("--state-dir", envvar="WARPD_STATE_DIR")] = DEFAULT_STATE,
    interval_s: Annotated[float, typer.Option("--interval", min=1, help="seconds between two looks")] = 30.0,
    once: Annotated[bool, typer.Option("--once", help="one pass, then end with its exit code")] = False,
) -> None:
    """Keep the kernel as the YAML says."""
    log = logger()
    try:
        require_root("warpd")
    except WarpError as failure:
        log.error("not started", error=failure.message, hint=failure.hint)
        raise typer.Exit(failure.exit_code) from None
    session = Session(config, state_dir)
    # Blocked, so that a signal never comes between two steps: it is taken when the pass is over.
    signal.pthread_sigmask(signal.SIG_BLOCK, WAITED_FOR)
    kernel = LiveKernel()
    try:
        while True:
            fine = run_pass(session, kernel, log)
            if once:
                raise typer.Exit(0 if fine else 1)
            notify("READY=1")
            got = signal.sigtimedwait(WAITED_FOR, interval_s)
            if got is not None and got.si_signo != signal.SIGHUP:
                log.info("stopping", signal=signal.Signals(got.si_signo).name, data_plane="left as it is")
                return
    finally:
        kernel.close()


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


def run_pass(session: Session, kernel: LiveKernel, log: structlog.stdlib.BoundLogger) -> bool:
    """One pass; whether the kernel is now what the YAML says. Never raises for what the operator must mend."""
    try:
        outcome = _converge(session, kernel, log)
    except InvalidIntent as failure:
        for finding in failure.findings:
            log.error("the YAML is not valid; the kernel is left as it is", finding=render_finding(finding))
        return False
    except Busy as failure:
        log.warning("busy", error=failure.message)
        return False
    except (WarpError, LookFailed, OSError) as failure:
        log.error("pass failed", error=str(failure))
        return False
    for step, fault in outcome.failed:
        log.error("step failed", network=step.network, vcid=vcid_of(step.group), step=str(step.key), error=str(fault))
    return outcome.complete


def _converge(session: Session, kernel: LiveKernel, log: structlog.stdlib.BoundLogger) -> Outcome:
    with session.store.writer(command="warpd"):
        read = session.read()
        why = why_wait(read, session.store.read_grants())
        if why:
            raise WarpError(f"{why}: waits for `warpctl apply --yes`, the kernel is left as it is", code="waits", who="operator")
        goal = session.commit(read)
        found = prospect(kernel, goal)

        def progress(step: Step) -> None:
            log.info(step.change.action.value, network=step.network, vcid=vcid_of(step.group), step=str(step.key))

        for blocked in found.plan.blocked:
            log.error("blocked", object=str(blocked.key), foreign=blocked.foreign, vcid=vcid_of(blocked.group))
        return converge(kernel, lambda: prospect(kernel, goal, found), found, progress)


def why_wait(read: Read, before: Grants) -> str:
    """What nobody should do unasked: move what clients depend on, or remove more than half of the networks. "" for neither."""
    if read.risks:
        return read.risks[0].message
    gone = sorted(before.networks.keys() - read.grants.networks.keys())
    if len(gone) * 2 > len(before.networks):
        return f"the YAML lacks {len(gone)} of {len(before.networks)} networks, {', '.join(gone[:3])} among them"
    return ""


def notify(message: str) -> None:
    """Tell systemd, when it asked to be told (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
        line.connect("\0" + address[1:] if address.startswith("@") else address)
        line.sendall(message.encode())


if __name__ == "__main__":
    main()
