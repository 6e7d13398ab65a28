"""How many devices have another config than the one that they need, network by network.

To know it, the keys of each endpoint that was ever given a config are derived, which takes a third
of a millisecond each. That is done on a thread of its own, which pauses after each: neither a
repair nor a reader waits for it. It runs when something has changed that configs are made from, or
when one was exported, and is gone otherwise.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from warpd.clients.current import current_digest, identity, public_host
from warpd.daemon.mailbox import Mailbox
from warpd.errors import WarpError
from warpd.kernel.state import Host
from warpd.reconcile.engine import Target
from warpd.store import export_log
from warpd.store.state_folder import VERSIONS, Store

PAUSE_S: Final = 0.002  # after each endpoint

Work = Callable[[], None]
Background = Callable[[Work], None]


def on_a_thread(work: Work) -> None:
    """Do something beside the loop; it ends with the process."""
    threading.Thread(target=work, name="stale configs", daemon=True).start()


class StaleConfigs:
    """Keeps `Mailbox.stale_configs`. For the loop's thread."""

    def __init__(self, mailbox: Mailbox, store: Store, background: Background) -> None:
        self._mailbox, self._store, self._background = mailbox, store, background
        self._target: Target | None = None  # what the last count was made for
        self._inputs: tuple[object, ...] = ()
        self._is_busy = False

    def refresh(self, target: Target, host: Host) -> None:
        """Count again, where something has changed since; while a count is under way, the next
        pass does.
        """
        exported = self._store.stamp(VERSIONS), self._store.stamp(export_log.FILE)
        inputs = _dialled(target, host), host.uplink_mtu, *exported
        if self._is_busy or (target is self._target and inputs == self._inputs):
            return
        self._target, self._inputs, self._is_busy = target, inputs, True
        self._background(lambda: self._count(target, host))

    def _count(self, target: Target, host: Host) -> None:
        """On the other thread."""
        try:
            counts = dict.fromkeys(target.intent.networks, 0)
            counts |= Counter(_stale(target, host, self._store.delivered()))
            self._mailbox.stale_configs = counts
        except (WarpError, OSError):  # what was exported cannot be read: nobody knows
            self._mailbox.stale_configs = {}
        finally:
            self._is_busy = False


def _dialled(target: Target, host: Host) -> str:
    try:
        return public_host(target.intent, host)
    except WarpError:
        return ""


def _stale(target: Target, host: Host, delivered: Mapping[str, str]) -> Iterator[str]:
    """Yield the network of each endpoint whose device has another config than it needs."""
    for network, body in target.intent.networks.items() if delivered else ():
        for name in body.endpoints:
            digest = delivered.get("/".join(identity(target, network, name)))
            if digest is None:
                continue
            needed = current_digest(target, host, network, name)
            if needed and needed != digest:
                yield network
            time.sleep(PAUSE_S)
