"""The client of the daemon's control socket: plain HTTP over a unix socket.

Commands of users who may not touch the kernel use it, and everything that follows events. The
commands decide when to ask the daemon instead of the kernel.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from warpd.errors import EXIT_FAILED, Finding, InvalidIntent, WarpError
from warpd.service.views.render import finding_of
from warpd.service.workspace import socket_path

NEEDS_READ = "permission denied: membership in group warpd-read required"
RIGHTS = "root and the group warpd may change, the group warpd-read may look"
TIMEOUT_S = 130.0
AT_ONCE_S = 5.0  # for those who can go on without an answer
CONNECT_S = 5.0


class _Connection(http.client.HTTPConnection):
    """HTTP over the unix socket."""

    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__("warpd", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = _connected(self._path)
        self.sock.settimeout(self.timeout)


def _connected(path: Path) -> socket.socket:
    """Connect to the socket, and wait up to `CONNECT_S` while its queue is full.

    SO_SNDTIMEO sets that time: a non-blocking connect fails with EAGAIN at once (unix(7)).

    Raises:
        OSError: nobody listens, or this user may not connect.
    """
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    timeout = struct.pack("ll", int(CONNECT_S), 0)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
    try:
        connected.connect(str(path))
    except OSError:
        connected.close()
        raise
    return connected


def answers(path: Path | None = None) -> bool:
    """Whether a daemon serves the socket."""
    try:
        _connected(path or socket_path()).close()
    except OSError:
        return False
    return True


def ask(
    method: str,
    what: str,
    body: Mapping[str, Any] | None = None,
    path: Path | None = None,
    config: Path | None = None,
    timeout_s: float | None = None,
) -> dict[str, Any]:
    """Ask the daemon.

    Args:
        method: of HTTP.
        what: the path of the resource, with its query.
        body: what is sent, as JSON.
        path: the socket; by default that of WARPD_SOCKET or of the system.
        config: the YAML that the daemon has to serve; None for any.
        timeout_s: how long to wait for the answer; `TIMEOUT_S` by default.

    Raises:
        WarpError: no daemon answers, it serves another YAML, or it refuses; a refusal has the
            daemon's message and exit code.
        InvalidIntent: the YAML has errors.
    """
    if config is not None:
        _refuse_other(config, path)
    limit_s = TIMEOUT_S if timeout_s is None else timeout_s
    with contextlib.closing(_Connection(path or socket_path(), limit_s)) as connection:
        try:
            answer = _answer(
                connection, method, what, json.dumps(body) if body is not None else None
            )
            data: dict[str, Any] = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as failure:
            raise _nobody(failure) from failure
    if answer.status != 200:
        raise _failure(answer.status, data)
    return data


def _refuse_other(config: Path, path: Path | None) -> None:
    """Refuse to go on with a daemon that serves another YAML than the one that was named.

    Raises:
        WarpError: it does, or it does not answer.
    """
    served = ask("GET", "/v1/daemon", path=path)["config"]
    if os.path.abspath(config) != os.path.abspath(served):
        text = f"warpd serves {served}, not {config}"
        raise WarpError(
            text,
            code="other-config",
            who="operator",
            hint="leave out -c, or run it as root on another file",
        )


def _failure(status: int, data: Mapping[str, Any]) -> WarpError:
    """Return the daemon's refusal as an exception, with the findings of an invalid YAML."""
    try:
        problems = [finding_of(item) for item in data.get("problems", ())]
    except (KeyError, TypeError):
        problems = []
    return AnsweredInvalid(status, data, problems) if problems else Answered(status, data)


def events(
    after: int = 0, follow: bool = True, path: Path | None = None
) -> Iterator[dict[str, Any]]:
    """Yield events, the oldest first.

    Args:
        after: the number of an event; later ones are yielded.
        follow: whether to wait for further events until the daemon ends.
        path: the socket, as in `ask`.

    Raises:
        WarpError: nobody answers, or the daemon refuses.
    """
    with contextlib.closing(_Connection(path or socket_path(), 60.0)) as connection:
        try:
            answer = _answer(connection, "GET", f"/v1/events?after={after}&follow={int(follow)}")
            if answer.status != 200:
                raise Answered(answer.status, json.loads(answer.read()))
            while row := answer.readline():
                if row.strip():
                    yield json.loads(row)
        except (OSError, http.client.HTTPException, ValueError) as failure:
            raise _nobody(failure) from failure


def _answer(
    connection: http.client.HTTPConnection, method: str, what: str, body: str | None = None
) -> http.client.HTTPResponse:
    """Send a request and return the response.

    Raises:
        OSError, http.client.HTTPException: the connection failed.
    """
    # A daemon that refuses a connection answers and closes it; the answer can still be read.
    with contextlib.suppress(BrokenPipeError):
        connection.request(method, what, body)
    return connection.getresponse()


class Answered(WarpError):
    """The daemon refused a request; message, code and exit code are its own."""

    def __init__(self, status: int, data: Mapping[str, Any]) -> None:
        WarpError.__init__(
            self,
            "\n".join([str(data.get("error", f"status {status}")), *data.get("findings", ())]),
            code=str(data.get("code", "refused")),
            who="operator",
            exit_code=int(data.get("exit_code", EXIT_FAILED)),
            hint=str(data.get("hint", "")),
        )


class AnsweredInvalid(Answered, InvalidIntent):
    """The daemon refused a request because the YAML has errors."""

    def __init__(self, status: int, data: Mapping[str, Any], findings: Iterable[Finding]) -> None:
        Answered.__init__(self, status, data)
        self.findings = tuple(findings)


def _nobody(failure: Exception) -> WarpError:
    if isinstance(failure, PermissionError):
        hint = f"{RIGHTS}; a new membership counts from the next login"
        return WarpError(NEEDS_READ, code="not-permitted", who="operator", hint=hint)
    why = failure.strerror if isinstance(failure, OSError) and failure.strerror else str(failure)
    hint = "is warpd running? `systemctl status warpd`; root can look without it"
    text = f"warpd does not answer: {socket_path()}: {why}"
    return WarpError(text, code="no-daemon", who="operator", hint=hint)
