"""Messages to one webhook: signed, one after another, retried ever more slowly, in a bounded queue.

They follow the Standard Webhooks specification (standardwebhooks.com): the headers `webhook-id`,
`webhook-timestamp` and `webhook-signature`, which is HMAC-SHA256 of `ID.TIMESTAMP.BODY`. A message
may arrive twice, with the same id, after a restart or a lost answer.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from warpd import __version__
from warpd.notify.settings import Webhook

QUEUED_MAX: Final = 1000  # events that wait for one webhook; then the oldest go
TIMEOUT_S: Final = 10.0
RETRY_MIN_S, RETRY_MAX_S = 1.0, 300.0
# Answers after which the same message may be taken later; others mean that it never is.
PASSING: Final = frozenset({408, 425, 429, *range(500, 600)})

Log = Callable[[str], None]


def signature(key: bytes, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the header `webhook-signature`."""
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


class Refused(Exception):
    """The receiver does not take this message, and will not later."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """What is signed for one address is not sent to another one."""

    def redirect_request(self, *_arguments: Any) -> None:
        return None


_OPENER: Final = urllib.request.build_opener(_NoRedirect)


def post(hook: Webhook, message_id: str, body: bytes) -> None:
    """Send one message.

    Raises:
        Refused: the receiver does not take it.
        OSError: nobody answers, or it may be taken later.
    """
    now_s = int(time.time())
    headers = {
        "content-type": "application/json",
        "user-agent": f"warpd/{__version__}",
        "webhook-id": message_id,
        "webhook-timestamp": str(now_s),
        "webhook-signature": signature(hook.key, message_id, now_s, body),
    }
    request = urllib.request.Request(hook.url, body, headers)  # noqa: S310  # settings check it
    try:
        with _OPENER.open(request, timeout=TIMEOUT_S):
            return
    except urllib.error.HTTPError as failure:
        failure.close()
        if failure.code in PASSING:
            raise
        raise Refused(f"it answers {failure.code}") from None


class Outbox:
    """What waits for one webhook. Adding never waits for a delivery."""

    def __init__(self, hook: Webhook, log: Log, retry_min_s: float = RETRY_MIN_S) -> None:
        self.hook = hook
        self._log, self._retry_min_s = log, retry_min_s
        self._queue: deque[Mapping[str, Any]] = deque()
        self._changed = threading.Condition()
        self._lost = 0  # events that had to go since the last message
        self.on_done: Callable[[], None] = lambda: None  # after each message, on its thread
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, event: Mapping[str, Any]) -> None:
        with self._changed:
            if len(self._queue) >= QUEUED_MAX:
                self._queue.popleft()
                self._lost += 1
            self._queue.append(event)
            self._changed.notify()

    @property
    def oldest(self) -> int | None:
        """The number of the oldest event that is not delivered; None where all are."""
        with self._changed:
            return int(self._queue[0]["number"]) if self._queue else None

    def _run(self) -> None:
        failures = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._queue))
                event, lost = self._queue[0], self._lost
            try:
                post(self.hook, _message_id(event), _body(event, lost))
            except OSError as failure:
                failures += 1
                if failures == 1:
                    self._log(f"{self.hook.url}: {failure}; it is tried again")
                time.sleep(self._pause_s(failures))
                continue
            except Refused as failure:
                self._log(f"{self.hook.url}: event {event['number']} is given up: {failure}")
            failures = 0
            self._done(event, lost)

    def _pause_s(self, failures: int) -> float:
        """Twice as long each time, and not the same for all who wait for one receiver."""
        longest = min(RETRY_MAX_S, self._retry_min_s * 2.0 ** min(failures - 1, 20))
        return random.uniform(0.5, 1.0) * longest  # noqa: S311  # no secret

    def _done(self, event: Mapping[str, Any], lost: int) -> None:
        with self._changed:
            if self._queue and self._queue[0] is event:  # else it had to go meanwhile
                self._queue.popleft()
            self._lost -= lost
        self.on_done()


def _message_id(event: Mapping[str, Any]) -> str:
    """The same for an event whenever it is sent, and another one for each event."""
    time_digits = "".join(char for char in str(event["time"]) if char.isdigit())
    return f"warpd_{time_digits}_{event['number']}"


def _body(event: Mapping[str, Any], lost: int) -> bytes:
    """`lost` is how many events before this one are not sent, as too many waited."""
    body = {
        "type": f"warpd.{event['kind']}",
        "timestamp": event["time"],
        "gateway": os.uname().nodename,
        "lost": lost,
        "data": dict(event),
    }
    return json.dumps(body).encode()
