"""The log of the service: one line for each thing that happens, in the form that its reader reads
well.
"""

from __future__ import annotations

import enum
import io
import os
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any, TextIO, cast

import structlog

from warpd.daemon.event_buffer import LineRate
from warpd.daemon.log_stream import LogStream
from warpd.service.views.words import owner_text


class LogFormat(enum.StrEnum):
    auto = "auto"  # console on a terminal, logfmt for the journal, else json
    console = "console"
    logfmt = "logfmt"
    json = "json"


# The journal's priorities (sd-daemon(3)), which it takes off the front of a line.
PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def chosen_format(wanted: LogFormat, terminal: bool, journal: bool) -> LogFormat:
    """What `auto` stands for here."""
    if wanted is not LogFormat.auto:
        return wanted
    if terminal:
        return LogFormat.console
    return LogFormat.logfmt if journal else LogFormat.json


def is_journal(stream: TextIO) -> bool:
    """Whether systemd's journal reads this stream.

    The variable alone is inherited by whoever is started from a unit.

    systemd.exec(5), JOURNAL_STREAM: the device and inode of the stream that leads there.
    """
    try:
        seen = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{seen.st_dev}:{seen.st_ino}"


def shows_colours(stream: TextIO) -> bool:
    """Whether a stream is a terminal whose user wants colours (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def logger(wanted: LogFormat = LogFormat.auto) -> structlog.stdlib.BoundLogger:
    """A logger to stderr, which never waits and never fails; the field `lost` of a line says how
    many lines before it could not be written.

    For the journal a line carries its priority, and as logfmt no time: the journal has its own.
    """
    stderr: TextIO = sys.stderr or io.StringIO()  # None where it was closed before the start
    stream = LogStream(_descriptor(stderr))
    journal = is_journal(stderr)
    style = chosen_format(wanted, stderr.isatty(), journal)
    processors: list[Any] = [
        FairLines(),
        stream.count_lost,
        structlog.processors.add_log_level,
    ]
    if not (journal and style is LogFormat.logfmt):
        processors.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
    if style is LogFormat.console:
        processors.append(structlog.dev.ConsoleRenderer(colors=shows_colours(stderr)))
    elif style is LogFormat.json:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        written = structlog.processors.LogfmtRenderer(
            key_order=["level", "event"], bool_as_flag=False
        )
        processors += [structlog.processors.format_exc_info, written]
    if journal:
        processors.append(with_priority)
    structlog.configure(
        processors=processors, logger_factory=structlog.WriteLoggerFactory(cast("TextIO", stream))
    )
    made: structlog.stdlib.BoundLogger = structlog.get_logger()
    return made


def _descriptor(stream: TextIO) -> int:
    """Return the file descriptor of a stream; -1 for none."""
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return -1


class FairLines:
    """A processor of structlog that leaves out lines of a network that has too many; `left_out` of
    its next line says how many.

    The gateway's own lines have the network "", which is printed as people read it; a network may
    have that name too, and is counted apart.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = LineRate(), clock

    def __call__(
        self, _logger: Any, _method: str, line: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Raises: structlog.DropEvent for a line that is left out."""
        if "network" not in line:
            return line
        network = str(line["network"])
        left_out = self._rate.admit(network, self._clock())
        if left_out is None:
            raise structlog.DropEvent
        line["network"] = owner_text(network)
        if left_out:
            line["left_out"] = left_out
        return line


def with_priority(_logger: Any, method: str, line: str) -> str:
    """The journal takes the priority off the front of each line."""
    return f"<{PRIORITIES.get(method, 6)}>{line}"
