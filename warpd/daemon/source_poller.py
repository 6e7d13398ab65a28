"""Pulls from the source of the YAML at its interval, on a thread of its own: a pull may take
minutes, and repairs must not wait for it.

What is pulled becomes files (`intent/sources`); the loop is told to read them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from warpd.daemon.stats import SourceStatus
from warpd.intent.source import IntentSource


class SourcePoller:
    """Pulls until it is stopped.

    Attributes:
        state: how it stands with the source; replaced whole, so that the loop never sees half of
            it.
    """

    def __init__(self, source: IntentSource, pulled: Callable[[], None]) -> None:
        """`pulled` is called after each pull, on the poller's thread."""
        self._source, self._pulled = source, pulled
        self._asked, self._ended = threading.Event(), False
        self.state = SourceStatus(source.kind, source.origin, source.revision)
        # a pull may hang on the network: nobody waits for this thread at the end
        self._thread = threading.Thread(target=self._run, name="puller", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ask(self) -> None:
        """Pull now, not at the end of the interval."""
        self._asked.set()

    def stop(self) -> None:
        self._ended = True
        self._asked.set()

    def _run(self) -> None:
        while not self._ended:
            self.state = self._pull(self.state)
            self._pulled()
            self._asked.wait(self._source.interval_s)
            self._asked.clear()

    def _pull(self, before: SourceStatus) -> SourceStatus:
        try:
            pulled = self._source.pull()
        except Exception as failure:  # a thread that has ended would never pull again
            return replace(before, error=str(failure))
        return replace(before, revision=pulled.revision, last_success_s=time.time(), error="")
