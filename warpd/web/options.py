"""The command line of `warpd-web`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DEFAULT_SOCKET: Final = Path("/run/warpd/warpd.sock")
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
FIRST_DESCRIPTOR: Final = 3  # SD_LISTEN_FDS_START, sd_listen_fds(3)


@dataclass(frozen=True, slots=True)
class WebOptions:
    """What an operator may choose.

    Attributes:
        socket: the daemon's.
        origins: under which browsers reach this dashboard, such as `https://gw.example.com:8443`.
        host, port: what to listen on where no socket is inherited.
        certificate, key: of TLS; None for plain HTTP, which only a proxy or loopback may speak.
        descriptor: of an inherited socket; None for none.
    """

    socket: Path
    origins: frozenset[str]
    host: str
    port: int
    certificate: Path | None
    key: Path | None
    descriptor: int | None


def parse_options(words: Sequence[str], variables: Mapping[str, str] = os.environ) -> WebOptions:
    """The options of a command line and of the environment.

    Raises:
        SystemExit: with 0 after `--help`, with 2 for a wrong command line.
    """
    made = parser(variables)
    chosen = made.parse_args(words)
    descriptor = _inherited(variables)
    if bool(chosen.certificate) != bool(chosen.key):
        made.error("--certificate and --key go together")
    origins = frozenset(chosen.origin.lower().split())
    plain = [origin for origin in origins if not origin.startswith("https://")]
    if any(_host_of(origin) not in LOOPBACK for origin in plain):
        made.error(f"plain HTTP is for loopback only, not for {', '.join(sorted(plain))}")
    if not origins:
        made.error("--origin is missing: under which address do browsers come?")
    if descriptor is None and not chosen.certificate and chosen.listen[0] not in LOOPBACK:
        made.error("without --certificate it listens on loopback only")
    host, port = chosen.listen
    files = chosen.certificate, chosen.key
    return WebOptions(chosen.socket, origins, host, port, *files, descriptor)


def parser(variables: Mapping[str, str]) -> argparse.ArgumentParser:
    """The options; their defaults are those of the environment."""
    made = argparse.ArgumentParser(
        prog="warpd-web",
        description="The dashboard of a warpd gateway. It has no right of its own.",
        allow_abbrev=False,
    )
    socket = variables.get("WARPD_SOCKET") or DEFAULT_SOCKET
    made.add_argument("--socket", type=Path, default=socket, help="the daemon's control socket")
    made.add_argument(
        "--origin",
        default=variables.get("WARPD_WEB_ORIGINS", ""),
        help="URL of the dashboard as browsers enter it, such as https://gw.example.com:8443;"
        " separate several by spaces",
    )
    made.add_argument(
        "--listen",
        type=_address,
        default=variables.get("WARPD_WEB_LISTEN") or "127.0.0.1:8443",
        metavar="HOST:PORT",
        help="not used where systemd hands over a socket",
    )
    for name, about in (("certificate", "PEM, with its chain"), ("key", "PEM")):
        default = variables.get(f"WARPD_WEB_{name.upper()}") or None
        path = Path(default) if default else None
        made.add_argument(f"--{name}", type=Path, default=path, help=about)
    return made


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535 or not host:
        raise argparse.ArgumentTypeError(f"{text} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _host_of(origin: str) -> str:
    host = origin.partition("://")[2]
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _inherited(variables: Mapping[str, str]) -> int | None:
    """The descriptor that systemd hands over (sd_listen_fds(3)); None for none, or of another
    process.
    """
    if variables.get("LISTEN_PID") != str(os.getpid()):
        return None
    return FIRST_DESCRIPTOR if variables.get("LISTEN_FDS") == "1" else None
