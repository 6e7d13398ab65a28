"""Pulls from the git repository at its interval, on a thread of its own: git may take minutes, and
repairs must not wait for it.

What is pulled becomes files (`intent.sources.git`); the loop is told to read them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from warpd.daemon.stats import GitStatus
from warpd.intent.sources.git import Checkout
from warpd.intent.types import seconds_of


class GitPoller:
    """Pulls until it is stopped.

    Attributes:
        state: how it stands with the repository; replaced whole, so that the loop never sees half
            of it.
    """

    def __init__(self, checkout: Checkout, pulled: Callable[[], None]) -> None:
        """`pulled` is called after each pull, on the poller's thread."""
        self._checkout, self._pulled = checkout, pulled
        self._interval_s = seconds_of(checkout.source.interval)
        self._asked, self._ended = threading.Event(), False
        self.state = GitStatus(checkout.source.git, checkout.revision)
        # git may hang on the network: nobody waits for this thread at the end
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
            self._asked.wait(self._interval_s)
            self._asked.clear()

    def _pull(self, before: GitStatus) -> GitStatus:
        try:
            pulled = self._checkout.pull()
        except Exception as failure:  # a thread that has ended would never pull again
            return GitStatus(before.url, before.revision, before.asked_s, str(failure))
        return GitStatus(before.url, pulled.revision, time.time(), "")
