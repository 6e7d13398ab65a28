"""Asks the git repository again and again, on a thread of its own: git may take minutes, and
repairs must not wait for it.

What it pulls becomes files (`source`), and files are what the loop follows; this here only tells it
to look.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from warpd.daemon.stats import GitStatus
from warpd.intent.sources.git import Checkout
from warpd.intent.types import seconds_of


class GitPoller:
    """`state` is replaced whole, so that the loop never sees half of it."""

    def __init__(self, checkout: Checkout, tell: Callable[[], None]) -> None:
        self._checkout, self._tell = checkout, tell
        self._interval_s = seconds_of(checkout.source.interval)
        self._asked, self._ended = threading.Event(), False
        self.state = GitStatus(checkout.source.git, checkout.revision)
        # git may hang on the network: nobody waits for this thread at the end
        self._thread = threading.Thread(target=self._run, name="puller", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ask(self) -> None:
        """Now, not at the next turn."""
        self._asked.set()

    def stop(self) -> None:
        self._ended = True
        self._asked.set()

    def _run(self) -> None:
        while not self._ended:
            self.state = self._pull(self.state)
            self._tell()
            self._asked.wait(self._interval_s)
            self._asked.clear()

    def _pull(self, before: GitStatus) -> GitStatus:
        try:
            pulled = self._checkout.pull()
        except (
            Exception
        ) as failure:  # whatever it is: a thread that has ended would never ask again
            return GitStatus(before.url, before.revision, before.asked_s, str(failure))
        return GitStatus(before.url, pulled.revision, time.time(), "")
