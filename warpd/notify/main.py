"""The entry point of `warpd-notify`: follow the events of the socket, and hand them to outboxes.

It is a reader like any other: the daemon never waits for it. The number of the last event that is
delivered everywhere is kept on the disk, so that a restart goes on from there.
"""

from __future__ import annotations

import argparse
import base64
import os
import secrets
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from warpd import __version__
from warpd.errors import WarpError
from warpd.notify.delivery import Outbox
from warpd.notify.settings import PREFIX, read_webhooks
from warpd.service import client
from warpd.store.private_file import write_private

CONFIG: Final = "/etc/warpd/notify.yaml"
AGAIN_S: Final = 5.0  # until the socket is tried again
SECRET_BYTES: Final = 32


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Run until a signal ends it; exit code 4 for settings that are wrong."""
    chosen = parser().parse_args()
    if chosen.new_secret:
        print(PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode())
        return
    try:
        settings = read_webhooks(Path(chosen.config))
    except WarpError as failure:
        say(f"error: {failure}")
        sys.exit(failure.exit_code)
    outboxes = [Outbox(hook, say) for hook in settings.webhooks]
    progress = Progress(outboxes, Path(chosen.state_dir) / "position")
    for outbox in outboxes:
        outbox.on_done = progress.save
        outbox.start()
    follow(outboxes, progress)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="warpd-notify",
        description="Send warpd's events to webhooks.",
        epilog="It needs to read the control socket: root, or the group warpd-read.",
        allow_abbrev=False,
    )
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    config = f"{credentials}/notify.yaml" if credentials else CONFIG
    state = os.environ.get("STATE_DIRECTORY") or "/var/lib/warpd-notify"
    made.add_argument("-c", "--config", default=config, help=f"the webhooks (default: {CONFIG})")
    made.add_argument("--state-dir", default=state, help="where the position is kept")
    text = "print a new secret for a webhook, and end"
    made.add_argument("--new-secret", action="store_true", help=text)
    made.add_argument("--version", action="version", version=f"warpd-notify {__version__}")
    return made


class Progress:
    """Which events need no delivery any more, kept on the disk. Thread-safe."""

    def __init__(self, outboxes: Sequence[Outbox], path: Path) -> None:
        self._outboxes, self._path = outboxes, path
        self._guard = threading.Lock()
        self._reached, self._saved = 0, -1

    def read(self) -> int | None:
        """Return the number of the last such event; None the first time."""
        try:
            return int(self._path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def reach(self, number: int) -> None:
        """Everything up to this event is in the outboxes, or wanted by none."""
        self._reached = number
        self.save()

    def save(self) -> None:
        with self._guard:
            oldest = [outbox.oldest for outbox in self._outboxes]
            waiting = [number - 1 for number in oldest if number is not None]
            settled = min([self._reached, *waiting])
            if settled == self._saved:
                return
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_private(self._path, f"{settled}\n".encode())
                self._saved = settled
            except (OSError, WarpError) as failure:
                say(f"the position is not kept: {failure}")


def follow(outboxes: Sequence[Outbox], progress: Progress) -> None:
    """Hand events to the outboxes as they come; where nobody answers, try again."""
    after = progress.read()
    while True:
        try:
            after = _start(after)
            progress.reach(after)
            for event in client.events(after):
                for outbox in outboxes:
                    if outbox.hook.takes(event):
                        outbox.add(event)
                after = int(event["number"])
                progress.reach(after)
        except WarpError as failure:
            say(f"{failure.message}; trying again")
        time.sleep(AGAIN_S)


def _start(after: int | None) -> int:
    """Return where to begin: the first time, and after the daemon has lost its numbers, at the
    events to come.

    Raises:
        WarpError: the daemon does not answer.
    """
    last = max((int(event["number"]) for event in client.events(follow=False)), default=0)
    return last if after is None or after > last else after


if __name__ == "__main__":
    main()
