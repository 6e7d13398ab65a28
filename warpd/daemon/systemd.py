"""Notifications to systemd, where it wants them: sd_notify(3) over a datagram socket.

Environment: NOTIFY_SOCKET is the address, WATCHDOG_USEC how often it wants a sign of life, in
microseconds.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import time


class Notifier:
    """Sends nothing, and needs no wake-up, where no NOTIFY_SOCKET is set."""

    def __init__(self) -> None:
        address = os.environ.pop("NOTIFY_SOCKET", "")  # not for programs that we start
        self._address = "\0" + address[1:] if address.startswith("@") else address
        watchdog_us = os.environ.get("WATCHDOG_USEC", "")
        mine = os.environ.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        self.interval_s = (
            int(watchdog_us) / 2e6 if watchdog_us.isdigit() and mine and address else math.inf
        )
        self._last_s = time.monotonic()

    def say(self, message: str) -> None:
        """Send a message; errors are ignored, because systemd may be restarting."""
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line,
        ):
            line.connect(self._address)
            line.sendall(message.encode())

    def alive(self) -> None:
        """Send a sign of life, at most four times as often as systemd wants it."""
        now = time.monotonic()
        if now - self._last_s >= self.interval_s / 2:
            self._last_s = now
            self.say("WATCHDOG=1")
