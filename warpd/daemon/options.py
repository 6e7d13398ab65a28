"""The command line of `warpd`.

By argparse: the service has a handful of options, and a framework for commands would stay in its
memory for as long as it runs (2.7 MiB).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from warpd import __version__
from warpd.daemon.http.branches import DEFAULT_PROPOSE
from warpd.daemon.http.oidc import DEFAULT_OIDC_SOCKET
from warpd.daemon.log import LogFormat
from warpd.errors import EXIT_FAILED
from warpd.kernel.netlink.events import RECEIVE_BYTES
from warpd.service.oidc import DEFAULT_OIDC
from warpd.service.users import DEFAULT_USERS
from warpd.service.workspace import DEFAULT_CONFIG, DEFAULT_SOCKET, DEFAULT_STATE

EVENT_BYTES_MIN = 1024
INTERVAL_MIN_S = 1.0
WIREGUARD_METRICS = "WARPD_WIREGUARD_METRICS"


@dataclass(frozen=True, slots=True)
class Options:
    """What an operator may choose.

    Attributes:
        config: the YAML, or the folder that holds it.
        state_dir: the state folder.
        interval_s: seconds between periodic resyncs.
        socket: the name of the control socket.
        users: the file of those who may sign in.
        propose_socket: of `warpd-propose`, which pushes proposed changes as branches.
        oidc: the folder that names a provider of OpenID Connect.
        oidc_socket: of `warpd-oidc`, which speaks to it.
        event_bytes: how much the kernel keeps of events that were not taken in yet.
        log_format: of the lines on stderr.
        once: make one pass, then end with its exit code.
        wireguard_metrics: also the metrics of prometheus_wireguard_exporter, by its names.
    """

    config: Path
    state_dir: Path
    interval_s: float
    socket: Path
    users: Path
    propose_socket: Path
    oidc: Path
    oidc_socket: Path
    event_bytes: int
    log_format: LogFormat
    once: bool
    wireguard_metrics: bool


class Parser(argparse.ArgumentParser):
    """Ends with the exit code of every other failure where a command line is wrong."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_FAILED, f"{self.prog}: error: {message}\n")


def parse(words: Sequence[str]) -> Options:
    """The options that these words of a command line say, and those of the environment.

    Raises:
        SystemExit: with 0 after `--help` and `--version`, with 1 for a wrong command line.
    """
    chosen = parser().parse_args(words)
    return Options(
        config=chosen.config,
        state_dir=chosen.state_dir,
        interval_s=chosen.interval,
        socket=chosen.socket,
        users=chosen.users,
        propose_socket=chosen.propose_socket,
        oidc=chosen.oidc,
        oidc_socket=chosen.oidc_socket,
        event_bytes=chosen.event_buffer,
        log_format=chosen.log_format,
        once=chosen.once,
        wireguard_metrics=chosen.wireguard_metrics,
    )


def parser() -> argparse.ArgumentParser:
    """All options, with what `--help` says of them."""
    made = Parser(
        prog="warpd",
        description="Keep the kernel as the YAML says.",
        epilog="SIGHUP starts a full resync; SIGTERM stops and leaves the data plane as it is.",
        allow_abbrev=False,
    )
    _add(made, "-c", "--config", Path, "WARPD_CONFIG", DEFAULT_CONFIG, "the YAML, or its folder")
    _add(made, "--state-dir", "", Path, "WARPD_STATE_DIR", DEFAULT_STATE, "the state folder")
    _add(made, "--socket", "", Path, "WARPD_SOCKET", DEFAULT_SOCKET, "the control socket")
    _add(made, "--users", "", Path, "WARPD_USERS", DEFAULT_USERS, "who may sign in")
    text = "socket of warpd-propose"
    _add(made, "--propose-socket", "", Path, "WARPD_PROPOSE_SOCKET", DEFAULT_PROPOSE, text)
    text = "folder with the OpenID Connect settings"
    _add(made, "--oidc", "", Path, "WARPD_OIDC", DEFAULT_OIDC, text)
    text = "socket of warpd-oidc"
    _add(made, "--oidc-socket", "", Path, "WARPD_OIDC_SOCKET", DEFAULT_OIDC_SOCKET, text)
    text = "auto (by where the log goes), console, logfmt or json"
    _add(made, "--log-format", "", LogFormat, "WARPD_LOG_FORMAT", LogFormat.auto, text)
    text = "seconds between periodic resyncs"
    _add(made, "--interval", "", _at_least(INTERVAL_MIN_S, float), "", 30.0, text)
    text = "receive buffer for kernel events, in bytes"
    _add(made, "--event-buffer", "", _at_least(EVENT_BYTES_MIN, int), "", RECEIVE_BYTES, text)
    text = "make one pass, then end with its exit code"
    made.add_argument("--once", action="store_true", help=text)
    text = f"also metrics by the names of prometheus_wireguard_exporter; ${WIREGUARD_METRICS}=1"
    is_set = os.environ.get(WIREGUARD_METRICS) == "1"
    made.add_argument("--wireguard-metrics", action="store_true", default=is_set, help=text)
    made.add_argument("--version", action="version", version=f"warpd {__version__}")
    return made


def _add(
    to: argparse.ArgumentParser,
    name: str,
    other_name: str,
    convert: Callable[[str], Any],
    variable: str,
    default: object,
    text: str,
) -> None:
    """Add an option with a value; `variable` of the environment gives it where no word does."""
    value = (os.environ.get(variable) if variable else None) or str(default)
    named = f"; ${variable}" if variable else ""
    names = [item for item in (name, other_name) if item]
    about = f"{text} (default: {default}{named})"
    to.add_argument(*names, type=convert, default=value, help=about, metavar="VALUE")


def _at_least(minimum: float, convert: Callable[[str], float]) -> Callable[[str], float]:
    """Convert a number, and refuse one that is too small."""

    def converted(text: str) -> float:
        number = convert(text)
        if not number >= minimum:
            raise argparse.ArgumentTypeError(f"{text} is less than {minimum:g}")
        return number

    return converted
