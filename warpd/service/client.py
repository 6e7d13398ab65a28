"""The daemon's control socket from the other side: plain HTTP, for whoever may not touch the
kernel, and for events.

Lives here: questions and answers. Does not: when to ask the daemon rather than the kernel (`cli`).
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
from warpd.service.workspace import DEFAULT_SOCKET

NEEDS_READ = "permission denied: membership in group warpd-read required"
TIMEOUT_S = 130.0
CONNECT_S = 5.0


def socket_path() -> Path:
    return Path(os.environ.get("WARPD_SOCKET") or DEFAULT_SOCKET)


class _Line(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__("warpd", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = _connected(self._path)
        self.sock.settimeout(self.timeout)


def _connected(path: Path) -> socket.socket:
    """Wait for a place in the queue of the socket: one that does not block gets EAGAIN when it is
    full (unix(7)).

    Raises:
        OSError: nobody listens, or not for us.
    """
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(CONNECT_S), 0))
    try:
        line.connect(str(path))
    except OSError:
        line.close()
        raise
    return line


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
) -> dict[str, Any]:
    """The daemon's answer. With `config`, only of a daemon that serves this YAML.

    Raises:
        WarpError: nobody answers, or the daemon refuses; with its own words and exit code.
        InvalidIntent: the YAML has problems.
    """
    if config is not None:
        _refuse_other(config, path)
    with contextlib.closing(_Line(path or socket_path(), TIMEOUT_S)) as line:
        try:
            answer = _answer(line, method, what, json.dumps(body) if body is not None else None)
            data: dict[str, Any] = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as failure:
            raise _nobody(failure) from failure
    if answer.status != 200:
        raise _failure(answer.status, data)
    return data


def _refuse_other(config: Path, path: Path | None) -> None:
    """Raises: WarpError when the daemon serves another YAML than was named."""
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
    """As the daemon had it: the problems of a YAML with their places."""
    try:
        problems = [finding_of(item) for item in data.get("problems", ())]
    except (KeyError, TypeError):
        problems = []
    return AnsweredInvalid(status, data, problems) if problems else Answered(status, data)


def events(
    after: int = 0, follow: bool = True, path: Path | None = None
) -> Iterator[dict[str, Any]]:
    """What happened since `after`, and with `follow` what happens, until the daemon ends.

    Raises:
        WarpError: nobody answers, or the daemon refuses.
    """
    with contextlib.closing(_Line(path or socket_path(), 60.0)) as line:
        try:
            answer = _answer(line, "GET", f"/v1/events?after={after}&follow={int(follow)}")
            if answer.status != 200:
                raise Answered(answer.status, json.loads(answer.read()))
            while row := answer.readline():
                if row.strip():
                    yield json.loads(row)
        except (OSError, http.client.HTTPException, ValueError) as failure:
            raise _nobody(failure) from failure


def _answer(
    line: http.client.HTTPConnection, method: str, what: str, body: str | None = None
) -> http.client.HTTPResponse:
    """Raises: OSError, http.client.HTTPException."""
    with contextlib.suppress(
        BrokenPipeError
    ):  # refused at the door: what was answered can still be read
        line.request(method, what, body)
    return line.getresponse()


class Answered(WarpError):
    """A refusal of the daemon's."""

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
    """A refusal because of the YAML, with its problems."""

    def __init__(self, status: int, data: Mapping[str, Any], findings: Iterable[Finding]) -> None:
        Answered.__init__(self, status, data)
        self.findings = tuple(findings)


def _nobody(failure: Exception) -> WarpError:
    if isinstance(failure, PermissionError):
        hint = "root may do it; a new membership counts from the next login"
        return WarpError(NEEDS_READ, code="not-permitted", who="operator", hint=hint)
    why = failure.strerror if isinstance(failure, OSError) and failure.strerror else str(failure)
    hint = "is warpd running? `systemctl status warpd`; root looks without it"
    text = f"warpd does not answer: {socket_path()}: {why}"
    return WarpError(text, code="no-daemon", who="operator", hint=hint)
