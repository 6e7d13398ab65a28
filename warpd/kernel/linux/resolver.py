"""Resolve the host names in `endpoint` fields, in parallel, in bounded time, before any change.

An endpoint whose name is not resolved in time has no address that the gateway can dial. The
endpoint can still dial the gateway.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Final

PATIENCE_S: Final = 2.0  # for all names together
AT_ONCE: Final = 32  # threads; further names are resolved by a later call

LookUp = Callable[[str, int], str]


def is_name(endpoint: str) -> bool:
    """Whether HOST in `HOST:PORT` is a name and not an address."""
    try:
        ip_address(host_of(endpoint))
    except ValueError:
        return True
    return False


def host_of(endpoint: str) -> str:
    """Return HOST of `HOST:PORT`."""
    return endpoint.rpartition(":")[0].strip("[]")


def system_look_up(host: str, port: int) -> str:
    """Return the first address that this machine's resolver returns for a host.

    Raises:
        OSError: the host has no address, or the resolver does not answer.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_ADDRCONFIG)
    return str(found[0][4][0])


def look_up(
    endpoints: Iterable[str], patience_s: float = PATIENCE_S, by: LookUp = system_look_up
) -> dict[str, str]:
    """Return `ADDRESS:PORT` by `HOST:PORT` for names that are resolved in `patience_s` seconds.

    The resolver cannot be interrupted. A thread that still waits for it ends later by itself.
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
