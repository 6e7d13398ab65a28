"""The control socket: accepts, admits and serves connections, on a thread of its own that sleeps
while nobody asks.

A connection is judged by the kernel's credentials of its peer as soon as it is accepted. A peer
without a right, or without a place left, gets one short answer by one system call, and one count;
nothing of it is read or kept. Root is judged before all others who wait, so that a thousand
connections of others in the kernel's queue delay it by no more than it takes to accept them.
Readers get at most a quarter of a CPU all together, so that they do not delay the loop that keeps
the kernel as the YAML says.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import json
import os
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import structlog

from warpd.daemon.http.admission import Admission, Budget, FloodGate
from warpd.daemon.http.api import Api
from warpd.daemon.http.auth import (
    NEEDS_READ,
    RIGHTS,
    AccessLevel,
    Groups,
    PeerCredentials,
    peer_of,
    uid_of,
)
from warpd.daemon.http.branches import DEFAULT_PROPOSE, Branches
from warpd.daemon.http.connection import Connection, Receive, Scope, Send, short_answer
from warpd.daemon.http.credentials import Credentials
from warpd.daemon.http.listener import SocketFile, listen
from warpd.daemon.mailbox import Mailbox
from warpd.errors import WarpError

ACCEPTED: Final = 256  # connections accepted in one go
BATCH: Final = 64  # connections judged in one go
PAUSE_S: Final = 0.01  # after such a batch, so that a flood leaves time for others
WAITING_MAX: Final = 1024  # connections that are accepted and not judged yet
NO_DESCRIPTOR_S: Final = 0.5  # the pause when no descriptor is left for a connection
CLOSED_S: Final = 10.0  # how long strangers are kept out after a flood of theirs
TOLD_S: Final = 60.0  # refusals are told once in this time
READERS_CPU: Final = 0.25  # of one CPU, for all readers together
READERS_BURST_S: Final = 0.1
STOP_S: Final = 1.0
STRANGERS: Final = -1  # stands for every user without a right


def _refusal(status: int, reason: str, error: str, hint: str) -> bytes:
    body = {"version": 1, "error": error, "code": "refused", "hint": hint}
    return short_answer(status, reason, json.dumps(body).encode() + b"\n")


NO_RIGHT: Final = _refusal(403, "Forbidden", NEEDS_READ, RIGHTS)
NO_PLACE: Final = _refusal(
    503, "Service Unavailable", "too many connections are open", "close some, or try again"
)


class Server:
    """The socket and its thread. Without it, the loop keeps the kernel all the same."""

    def __init__(
        self,
        mailbox: Mailbox,
        path: Path,
        credentials: Credentials,
        log: structlog.stdlib.BoundLogger | None = None,
        interval_s: float = 30.0,
        propose_socket: Path = DEFAULT_PROPOSE,
    ) -> None:
        self._mailbox, self._path = mailbox, path
        self._log: Any = log or structlog.get_logger()
        self._api = Api(mailbox, interval_s, credentials, Branches(propose_socket))
        self._groups, self._admission = Groups(), Admission()
        self._floods: dict[int, FloodGate] = {}  # by user; all strangers together
        self._kept_out: set[int] = set()
        self._budget = Budget(READERS_CPU, READERS_BURST_S)
        self._refused: Counter[str] = Counter()
        self._told_at, self._told_count = float("-inf"), 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: deque[socket.socket] = deque()  # accepted, of others than root
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control socket", daemon=True)
        self._sock: socket.socket | None = None
        self._socket_file: SocketFile | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None

    def start(self) -> None:
        """Listen, and begin to accept.

        Raises:
            WarpError: the socket cannot be made, or another warpd serves it.
        """
        try:
            self._sock = listen(self._path)
            self._socket_file = SocketFile(self._path)
            self._socket_file.open_to_all()
        except OSError as failure:
            hint = (
                "another warpd is at work there"
                if failure.errno == errno.EADDRINUSE
                else "is its folder there?"
            )
            text = f"{self._path}: {failure.strerror}"
            raise WarpError(text, code="socket", who="operator", hint=hint) from failure
        self._thread.start()
        self._up.wait(10)

    def stop(self) -> None:
        """End all connections, and remove the socket's name."""
        if self._loop is None or self._over is None:
            return
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(5)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    # -- on the thread

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        sock, socket_file = self._sock, self._socket_file
        assert sock is not None and socket_file is not None  # noqa: S101  # start() has made them
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._loop.add_reader(sock, self._accept)
        self._up.set()
        try:
            await self._over.wait()
        finally:
            self._loop.remove_reader(sock)
            sock.close()
            for waiting in self._waiting:
                waiting.close()
            self._waiting.clear()
            socket_file.leave()
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=STOP_S)

    def _accept(self) -> None:
        """Accept what is in the kernel's queue, at most ACCEPTED at a time: root's connections are
        judged at once, others in turn.
        """
        assert self._sock is not None  # noqa: S101  # start() has made it
        for _ in range(ACCEPTED):
            if len(self._waiting) >= WAITING_MAX:
                self._pause(PAUSE_S)
                return
            try:
                sock, _address = self._sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:
                self._pause(NO_DESCRIPTOR_S)
                return
            self._sort(sock)

    def _sort(self, sock: socket.socket) -> None:
        assert self._loop is not None  # noqa: S101  # it runs
        try:
            uid = uid_of(sock)
        except OSError:
            sock.close()
            return
        if uid == 0:
            self._admit(sock)
            return
        if not self._waiting:
            self._loop.call_soon(self._admit_waiting)
        self._waiting.append(sock)

    def _admit_waiting(self) -> None:
        assert self._loop is not None  # noqa: S101  # it runs
        for _ in range(min(BATCH, len(self._waiting))):
            self._admit(self._waiting.popleft())
        if self._waiting:
            self._loop.call_later(PAUSE_S, self._admit_waiting)

    def _pause(self, seconds: float) -> None:
        assert self._loop is not None and self._sock is not None  # noqa: S101  # it runs
        self._loop.remove_reader(self._sock)
        self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        assert self._loop is not None and self._sock is not None  # noqa: S101  # it runs
        if self._sock.fileno() >= 0:
            self._loop.add_reader(self._sock, self._accept)

    def _admit(self, sock: socket.socket) -> None:
        try:
            sock.setblocking(False)
            peer = peer_of(sock, self._groups)
        except OSError:
            sock.close()
            return
        if peer.right is AccessLevel.NOTHING:
            self._refuse(sock, NO_RIGHT, "right")
            self._watch_flood(STRANGERS)
        elif self._admission.enter(peer):
            self._begin(self._attend(sock, peer))
        else:
            self._refuse(sock, NO_PLACE, "place")
            self._watch_flood(peer.uid)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _refuse(self, sock: socket.socket, answer: bytes, why: str) -> None:
        with sock, contextlib.suppress(OSError):
            sock.send(answer)
        self._refused[why] += 1
        self._told_count += 1
        now = time.monotonic()
        if now - self._told_at >= TOLD_S:
            self._log.warning(
                "control socket: connections refused", count=self._told_count, reason=f"no {why}"
            )
            self._told_at, self._told_count = now, 0
        self._publish()

    def _publish(self) -> None:
        stats = self._mailbox.socket
        self._mailbox.socket = dataclasses.replace(
            stats, refused=dict(self._refused), closed=bool(self._kept_out)
        )

    def _watch_flood(self, who: int) -> None:
        """One more of this user's connections was refused: keep them out when it is a flood.

        Root is never kept out.
        """
        gate = self._floods.setdefault(who, FloodGate())
        if who and who not in self._kept_out and gate.refused(time.monotonic()):
            self._close_to_floods(who)

    def _close_to_floods(self, who: int) -> None:
        assert self._loop is not None and self._socket_file is not None  # noqa: S101  # it runs
        if not self._kept_out:
            self._loop.call_later(CLOSED_S, self._open_again)
        self._kept_out.add(who)
        with contextlib.suppress(OSError):
            self._socket_file.close_to_others(
                self._groups.gids().values(), self._kept_out - {STRANGERS}
            )
        user = "strangers" if who == STRANGERS else f"uid {who}"
        self._log.warning(
            "control socket: flood of connections, refused by the kernel for a while",
            user=user,
            seconds=CLOSED_S,
        )
        self._publish()

    def _open_again(self) -> None:
        assert self._socket_file is not None  # noqa: S101  # it runs
        with contextlib.suppress(OSError):
            self._socket_file.open_to_all()
        self._kept_out.clear()
        self._floods.clear()
        self._publish()

    async def _attend(self, sock: socket.socket, peer: PeerCredentials) -> None:
        """Serve one connection; its place is free again afterwards, whatever happens."""
        try:
            with sock:
                await Connection(sock, self._application, {"warpd.peer": peer}).serve()
        except Exception:
            self._log.exception("control socket: a request could not be answered")
        finally:
            self._admission.leave(peer)

    async def _application(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer: PeerCredentials = scope["warpd.peer"]
        while peer.right < AccessLevel.CHANGE:
            wait_s = self._budget.wait_s(time.thread_time(), time.monotonic())
            if not wait_s:
                break
            await asyncio.sleep(wait_s)
        await self._api(scope, receive, send)
