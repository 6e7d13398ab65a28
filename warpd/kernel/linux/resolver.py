"""Addresses behind the host names that endpoints are dialled by: looked up apart from any change,
all at once, in bounded time.

A name that is not answered in time leaves that one endpoint without an address to dial; it can
still dial us.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Final

PATIENCE_S: Final = 2.0  # for all names together
AT_ONCE: Final = 32  # threads; the others' names wait for the next time

LookUp = Callable[[str, int], str]


def is_name(endpoint: str) -> bool:
    """Whether `HOST:PORT` names a host, instead of giving its address."""
    try:
        ip_address(endpoint.rpartition(":")[0].strip("[]"))
    except ValueError:
        return True
    return False


def system_look_up(host: str, port: int) -> str:
    """The first address of a host as this machine resolves it.

    Raises:
        OSError: there is none, or nobody answers.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_ADDRCONFIG)
    return str(found[0][4][0])


def look_up(
    endpoints: Iterable[str], patience_s: float = PATIENCE_S, by: LookUp = system_look_up
) -> dict[str, str]:
    """`HOST:PORT` -> `ADDRESS:PORT`, of those that were answered within `patience_s` seconds.

    The resolver cannot be interrupted: a thread that waits for it still is left to end by itself.
    """
    out: dict[str, str] = {}
    threads = [
        threading.Thread(target=_ask, args=(name, out, by), daemon=True)
        for name in sorted(set(endpoints))[:AT_ONCE]
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + patience_s
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(out)


def _ask(endpoint: str, out: dict[str, str], by: LookUp) -> None:
    host, _, port = endpoint.rpartition(":")
    try:
        address = by(host, int(port))
    except (OSError, UnicodeError):
        return
    out[endpoint] = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
