"""The server behind `tests/preloaded.py`: forks a warpctl that is imported already."""

from __future__ import annotations

import array
import atexit
import ctypes
import functools
import gc
import importlib
import io
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from socket import AF_UNIX, CMSG_SPACE, SOCK_SEQPACKET, socket

from tests import preloaded
from tests.preloaded import FD_BYTES, REQUEST_MAX, STREAMS

CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x20000000, 0x40000000  # linux/sched.h
SPACES = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET
DEBIAN = "/usr/bin/python3"  # starts four times faster than one from a virtual environment
BROKEN = 70  # EX_SOFTWARE
LIBC = ctypes.CDLL(None, use_errno=True)


@functools.cache
def warpctl() -> tuple[str, ...]:
    """The words that are `warpctl` for a test; the server starts with the first who asks."""
    folder = Path(tempfile.mkdtemp(prefix="warpd-preloaded-"))
    path = folder / "sock"
    listener = socket(AF_UNIX, SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen(64)
    words = [sys.executable, "-m", "tests.preloading", str(listener.fileno())]
    root = Path(__file__).parents[1]
    server = subprocess.Popen(words, pass_fds=[listener.fileno()], cwd=root, start_new_session=True)
    listener.close()
    atexit.register(_end, server, path)
    python = DEBIAN if Path(DEBIAN).exists() else sys.executable
    return (python, "-I", "-S", preloaded.__file__, str(path))


def _end(server: subprocess.Popen[bytes], path: Path) -> None:
    server.kill()
    server.wait()
    path.unlink()
    path.parent.rmdir()


def serve(listener: socket) -> None:
    """Run each command that is asked for, in a process of its own, until this one is killed."""
    _join(os.pidfd_open(1), CLONE_NEWNET)  # a test's own namespace ends with the test
    from warpd.cli import app

    for module in app.ALL:
        importlib.import_module(f"warpd.cli.{module}")
    importlib.import_module("warpd.kernel.linux.live_kernel")
    gc.collect()
    gc.freeze()  # else a collection in a child touches, and so copies, every page
    while True:
        line, _ = listener.accept()
        if not os.fork():
            listener.close()
            os._exit(_attend(line))
        line.close()
        _reap()


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _attend(line: socket) -> int:
    """Run what one client asks for, and tell it the exit code; end it when the client has gone."""
    text, ancillary, *_ = line.recvmsg(REQUEST_MAX, CMSG_SPACE(FD_BYTES * (len(STREAMS) + 1)))
    fds = array.array("i")
    for _level, _kind, data in ancillary:
        fds.frombytes(data)
    folder, count, *rest = os.fsdecode(text).split("\0")
    words, place = rest[: int(count)], rest[int(count) :]
    _join(fds[-1], SPACES)
    os.chdir(folder)
    child = os.fork()  # a process namespace is that of children only
    if not child:
        line.close()
        os._exit(_run(fds, words, dict(pair.split("=", 1) for pair in place)))
    for fd in fds:
        os.close(fd)
    ready = select.poll()
    ready.register(os.pidfd_open(child), select.POLLIN)
    ready.register(line, select.POLLIN)
    if any(fd == line.fileno() for fd, _ in ready.poll()):
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    line.send(str(code if code >= 0 else BROKEN).encode())
    return 0


def _join(pidfd: int, spaces: int) -> None:
    """Enter namespaces of another process; from Linux 5.8 a pidfd names them (setns(2)).

    Raises:
        OSError: they cannot be entered.
    """
    if LIBC.setns(pidfd, spaces):
        raise OSError(ctypes.get_errno(), "setns")


def _run(fds: array.array[int], words: list[str], environment: dict[str, str]) -> int:
    from warpd.cli import app

    for fd, stream in zip(fds, STREAMS, strict=False):
        os.dup2(fd, stream)
    sys.stdin, sys.stdout, sys.stderr = _streams()
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["warpctl", *words]
    random.seed()
    try:
        app.main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _streams() -> Iterator[io.TextIOWrapper]:
    """The standard streams as an interpreter makes them."""
    yield io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    for fd, errors in ((1, "strict"), (2, "backslashreplace")):
        raw = io.BufferedWriter(io.FileIO(fd, "w", closefd=False))
        yield io.TextIOWrapper(raw, "utf-8", errors, line_buffering=os.isatty(fd) or fd == 2)


if __name__ == "__main__":
    serve(socket(fileno=int(sys.argv[1])))
