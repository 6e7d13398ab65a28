"""Kernel events of every namespace through one socket (NETLINK_LISTEN_ALL_NSID, Linux 4.2).

Only namespaces with an id in ours are heard; a namespace gets one with its first link into the root, and
`assign` gives one to those without. An event says only where to look, never what to believe.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Mapping

from warpd.kernel.live_socket import SO_RCVBUFFORCE, SOL_NETLINK
from warpd.kernel.protocol import Event
from warpd.state import ROOT

NETLINK_LISTEN_ALL_NSID = 8
# RTMGRP_ bits: link, IPv4 and IPv6 addresses and routes; neighbours are left out, they only make noise
GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
RECEIVE_BYTES = 8 * 1024 * 1024


class Listener:
    """Hears rtnetlink events. Not for use by two threads."""

    def __init__(self, receive_bytes: int = RECEIVE_BYTES) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, receive_bytes)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
        self._socket.bind((0, GROUPS))
        self.names: Mapping[int, str] = {}

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def wait(self, timeout_s: float) -> Iterator[Event]:
        """Events since the last call, waiting at most `timeout_s` for the first one."""
        self._socket.settimeout(timeout_s or None if timeout_s else 0.0)
        while True:
            try:
                _data, ancillary, _flags, _address = self._socket.recvmsg(1 << 16, 64)
            except (TimeoutError, BlockingIOError):
                return
            except OSError as failure:
                if failure.errno != errno.ENOBUFS:
                    raise
                yield Event(ROOT, overrun=True)
                continue
            yield Event(self._where(ancillary))
            self._socket.settimeout(0.0)

    def _where(self, ancillary: list[tuple[int, int, bytes]]) -> str:
        for level, kind, data in ancillary:
            if level == SOL_NETLINK and kind == NETLINK_LISTEN_ALL_NSID:
                return self.names.get(struct.unpack("=i", data[:4])[0], ROOT)
        return ROOT
