"""The live view of `status --watch`."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any, Final

from warpd.cli import output
from warpd.errors import WarpError

REDRAW_S: Final = 2.0
# xterm's control sequences (XTerm Control Sequences, "The Alternate Screen Buffer").
CLEAR: Final = "\x1b[H\x1b[2J"
ALTERNATE: Final = "\x1b[?1049h"
NORMAL: Final = "\x1b[?1049l"
ENDS: Final = (signal.SIGTERM, signal.SIGHUP)
_MARKS: Final = re.compile("\x1b\\[[0-9;]*m")


def watch(look: Callable[[], Mapping[str, Any]], text: Callable[[Mapping[str, Any]], str]) -> None:
    """Draw the status every two seconds, with rates, until interrupted or nobody reads it.

    On a terminal it is drawn on the alternate screen, which ends with the command, and cut to the
    terminal's height. If a later look fails, the error is shown above the previous status.

    Args:
        look: returns the JSON of `status`.
        text: makes text of it.

    Raises:
        WarpError: the first look failed.
    """
    terminal = sys.stdout.isatty()
    before: dict[str, tuple[int, int]] = {}
    data = look()
    then = time.monotonic()
    rates(data, before, 0)
    frame = text(data)
    with _screen(terminal), contextlib.suppress(KeyboardInterrupt):
        while _draw(frame, terminal):
            time.sleep(REDRAW_S)
            try:
                data = look()
            except WarpError as failure:
                frame = f"error   {failure}\n\n{frame}"
                continue
            now = time.monotonic()
            frame = with_rates(text(data), rates(data, before, now - then))
            then = now


@contextlib.contextmanager
def _screen(terminal: bool) -> Iterator[None]:
    """Use the alternate screen of a terminal during the context, and leave it at any end.

    Signals that end a command are treated like Ctrl-C.
    """

    def interrupted(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupted) for number in ENDS}
    try:
        if terminal:
            output.say(ALTERNATE)
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if terminal:
            output.say(NORMAL)


def _draw(frame: str, terminal: bool) -> bool:
    """Draw a frame; return whether it could be drawn."""
    if not terminal:
        return output.say(f"{frame}\n")
    columns, rows = shutil.get_terminal_size()
    return output.say(CLEAR + fitted(frame, columns, rows - 1))


def with_rates(frame: str, busiest: str) -> str:
    """Insert the busiest endpoints below the head, where they are always visible."""
    head, blank, rest = frame.partition("\n\n")
    return f"{head}\n\n{busiest}{blank}{rest}" if busiest else frame


def fitted(frame: str, columns: int, rows: int) -> str:
    """Return the lines that fit into a screen, and a line that counts the others."""
    lines = frame.splitlines()
    heights = [max(1, -(-len(_MARKS.sub("", line)) // columns)) for line in lines]
    if sum(heights) <= rows:
        return frame
    kept, used = 0, 1  # one row for the line that counts the others
    while used + heights[kept] <= rows:
        used += heights[kept]
        kept += 1
    more = f"... {len(lines) - kept} more lines: `warpctl status` shows all"
    return "\n".join([*lines[:kept], more[:columns]])


def rates(data: Mapping[str, Any], before: dict[str, tuple[int, int]], seconds: float) -> str:
    """Return a table of the busiest endpoints in bits per second.

    Args:
        data: the JSON of `status`.
        before: the bytes of each endpoint at the previous look; it is brought up to date.
        seconds: the time since then; 0 at the first look.
    """
    rows = []
    for name, now in _bytes_of(data):
        previous = before.get(name)
        before[name] = now
        if previous is not None and seconds > 0 and now >= previous and now != previous:
            received, sent = (8 * (a - b) / seconds for a, b in zip(now, previous, strict=True))
            rows.append((name, received, sent))
    rows.sort(key=lambda row: (-row[1] - row[2], row[0]))
    shown = [(name, _bits(received), _bits(sent)) for name, received, sent in rows[:20]]
    return output.table(shown, ("BUSIEST", "RECEIVES", "SENDS")) if shown else ""


def _bytes_of(data: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield NETWORK/NAME and the bytes received and sent, of every endpoint."""
    for network in data["networks"]:
        for endpoint in network["endpoints"]:
            counts = endpoint["received_bytes"], endpoint["sent_bytes"]
            yield f"{network['name']}/{endpoint['name']}", counts


def _bits(rate: float) -> str:
    for unit in ("bit/s", "kbit/s", "Mbit/s"):
        if rate < 1000:
            return f"{rate:.0f} {unit}"
        rate /= 1000
    return f"{rate:.1f} Gbit/s"
