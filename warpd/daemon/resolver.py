"""Endpoints that the gateway dials: while they are silent they are dialled where the YAML says, and
a host name is resolved again, for it may have a new address.

Lives here: which endpoints are silent, and what their names last resolved to. A look-up runs on a
thread of its own and is used by the next look, so that no pass ever waits for a name server. An
endpoint with a session is left alone: the kernel knows better where it is. The clock says how old a
session is only of a peer that is seen for the first time. After that a session begins when a look
finds another handshake, so that a clock that is set forward or back makes nobody silent or heard.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import ip_address

from warpd.daemon.clock import Clock
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.linux.resolver import AT_ONCE, is_name, look_up
from warpd.kernel.state import SESSION_S, KernelObject, Key, PeerTraffic, session_age_s

Names = Iterable[str]


class EndpointResolver:
    """What host names last resolved to. For one thread; the look-up itself runs on another."""

    def __init__(self, by: Callable[[Names], dict[str, str]] = look_up) -> None:
        self._by = by
        self._known: dict[str, str] = {}
        self._failed: frozenset[str] = frozenset()  # those that did not resolve when last asked
        self._silent: list[WireguardPeer] = []  # those with a host name
        # Peer -> its last handshake, and when that was or was found, in monotonic seconds.
        self._heard: dict[Key, tuple[int, float]] = {}
        self._turn = 0
        self._thread: threading.Thread | None = None

    def due(
        self, wanted: Iterable[KernelObject], traffic: Mapping[Key, PeerTraffic], clock: Clock
    ) -> Iterator[tuple[WireguardPeer, str]]:
        """Peers to be dialled at another address than the kernel has; asks for the names of all
        that are silent.
        """
        now_s, monotonic_s = clock.since_epoch(), clock.monotonic()
        before, self._heard = self._heard, {}
        self._silent = []
        for peer, dialled in _dialled(wanted):
            seen = traffic.get(peer.key)
            if seen is None:
                continue
            heard = _heard(before.get(peer.key), seen.handshake, now_s, monotonic_s)
            self._heard[peer.key] = heard
            if monotonic_s - heard[1] < SESSION_S:
                continue
            if is_name(dialled):
                self._silent.append(peer)
                address = self._known.get(dialled)
            else:
                address = _canonical(dialled)
            if address is not None and address != seen.endpoint:
                yield peer, address
        self._ask({peer.endpoint for peer in self._silent if peer.endpoint})

    @property
    def unresolved(self) -> list[WireguardPeer]:
        """The silent peers whose host names did not resolve when they were last asked for."""
        return [peer for peer in self._silent if peer.endpoint in self._failed]

    def _ask(self, names: set[str]) -> None:
        if not names or (self._thread is not None and self._thread.is_alive()):
            return
        asked = self._next(sorted(names))
        self._thread = threading.Thread(target=self._answer, args=(asked,), daemon=True)
        self._thread.start()

    def _next(self, names: list[str]) -> frozenset[str]:
        """Return the names whose turn it is; of many not all are asked for at once."""
        start = self._turn % len(names)
        self._turn = start + AT_ONCE
        return frozenset([*names[start:], *names[:start]][:AT_ONCE])

    def _answer(self, asked: frozenset[str]) -> None:
        found = self._by(asked)
        kept = {name: address for name, address in self._known.items() if name not in asked}
        self._known = kept | found
        self._failed = (self._failed - asked) | (asked - found.keys())

    def wait(self, timeout_s: float) -> None:
        """Until the look-up under way has ended."""
        if self._thread is not None:
            self._thread.join(timeout_s)


def _dialled(wanted: Iterable[KernelObject]) -> Iterator[tuple[WireguardPeer, str]]:
    """Peers that the gateway dials, with what the YAML says: address or host name, and port."""
    for item in wanted:
        if isinstance(item, WireguardPeer) and item.endpoint:
            yield item, item.endpoint


def _canonical(endpoint: str) -> str:
    """ADDRESS:PORT as a dump of the kernel has it."""
    host, _colon, port = endpoint.rpartition(":")
    address = ip_address(host.strip("[]"))
    return f"[{address}]:{int(port)}" if address.version == 6 else f"{address}:{int(port)}"


def _heard(
    before: tuple[int, float] | None, handshake_s: int, now_s: float, monotonic_s: float
) -> tuple[int, float]:
    """A handshake, and when it was or was found, in monotonic seconds; long ago for never.

    `before` is what the look before had of this peer; None for nothing.
    """
    if before is not None and before[0] == handshake_s:
        return before
    if before is not None and handshake_s:
        return handshake_s, monotonic_s
    age_s = session_age_s(handshake_s, now_s)
    return handshake_s, float("-inf") if age_s is None else monotonic_s - age_s
