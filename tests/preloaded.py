"""warpctl, started in a fraction of the time: in a guest kernel a new interpreter takes one to two
seconds until it has imported the package, and the live tests run thousands of commands.

A server imports the package once and forks for each command; the child joins the namespaces, the
folder, the environment and the standard streams of whoever asks, and runs the same `main`. As a
script this is that client, a command like any other:

    preloaded.py SOCKET WORDS...

Not for tests that are about a process of warpctl itself: its start, signals, users, limits.
"""

import array
import os
import sys
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socket

STREAMS = (0, 1, 2)
REQUEST_MAX = 128 * 1024  # bytes; below what a Unix socket takes in one message
FD_BYTES = array.array("i").itemsize


def client(path, *words):  # type: ignore[no-untyped-def]  # `typing` would take as long as it saves
    """Have the server run a command here; its exit code."""
    line = socket(AF_UNIX, SOCK_SEQPACKET)
    line.connect(path)
    place = [f"{name}={value}" for name, value in os.environ.items()]
    parts = [os.getcwd(), str(len(words)), *words, *place]
    own = os.pidfd_open(os.getpid())
    rights = (SOL_SOCKET, SCM_RIGHTS, array.array("i", (*STREAMS, own)))
    line.sendmsg([os.fsencode("\0".join(parts))], [rights])
    return int(line.recv(16) or b"70")


if __name__ == "__main__":
    sys.exit(client(*sys.argv[1:]))
