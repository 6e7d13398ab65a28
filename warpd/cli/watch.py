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
    """Draw again and again, with rates since the time before, until interrupted or nobody reads.

    On a terminal it is drawn on the alternate screen, which goes again at the end, and cut to the
    terminal's height. A look that fails later on is told in its place; the first one ends the
    command.

    Raises:
        WarpError: as the first look.
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
    """The alternate screen of a terminal, however this ends; signals that end a command are heard
    as Ctrl-C.
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
    """Whether it could be drawn."""
    if not terminal:
        return output.say(f"{frame}\n")
    columns, rows = shutil.get_terminal_size()
    return output.say(CLEAR + fitted(frame, columns, rows - 1))


def with_rates(frame: str, busiest: str) -> str:
    """The status with the busiest endpoints below its head, where they are seen of many networks
    too.
    """
    head, blank, rest = frame.partition("\n\n")
    return f"{head}\n\n{busiest}{blank}{rest}" if busiest else frame


def fitted(frame: str, columns: int, rows: int) -> str:
    """As many of its lines as so many rows take, and how many more there are."""
    lines = frame.splitlines()
    heights = [max(1, -(-len(_MARKS.sub("", line)) // columns)) for line in lines]
    if sum(heights) <= rows:
        return frame
    kept, used = 0, 1  # a row for what is said of the others
    while used + heights[kept] <= rows:
        used += heights[kept]
        kept += 1
    more = f"... {len(lines) - kept} more lines: `warpctl status` shows all"
    return "\n".join([*lines[:kept], more[:columns]])


def rates(data: Mapping[str, Any], before: dict[str, tuple[int, int]], seconds: float) -> str:
    """Bits per second of endpoints that are busy, the busiest first; `before` is brought up to
    date.
    """
    rows = []
    for network in data["networks"]:
        for endpoint in network["endpoints"]:
            name, now = (
                f"{network['name']}/{endpoint['name']}",
                (
                    endpoint["received_bytes"],
                    endpoint["sent_bytes"],
                ),
            )
            last = before.get(name)
            before[name] = now
            if last is not None and seconds > 0 and now >= last and now != last:
                rows.append(
                    (name, *(8 * (a - b) / seconds for a, b in zip(now, last, strict=True)))
                )
    rows.sort(key=lambda row: (-row[1] - row[2], row[0]))
    shown = [(name, _bits(received), _bits(sent)) for name, received, sent in rows[:20]]
    return output.table(shown, ("BUSIEST", "RECEIVES", "SENDS")) if shown else ""


def _bits(rate: float) -> str:
    for unit in ("bit/s", "kbit/s", "Mbit/s"):
        if rate < 1000:
            return f"{rate:.0f} {unit}"
        rate /= 1000
    return f"{rate:.1f} Gbit/s"
