"""Who took which client config, when and why: `exports.log` in the state folder.

A line of JSON each, in a file that only grows. Each line has the SHA-256 of the line before it, so
that a line that was altered, taken out or put in by somebody who did not make the rest anew is
found. There is no key in it: whoever may write the file can make a whole new one, and the last line
has none after it. Against that stands the chain of each export in the system's log.

Lives here: the file. Does not: who may read it, what a config is.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FILE: Final = "exports.log"
CHAIN: Final = "chain"
# Bytes at the end of the file in which its last line is looked for; no line is nearly as long.
_LAST_LINE_MAX: Final = 64 * 1024
_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class LoggedExport:
    """One export.

    Attributes:
        number: of its line, from 1.
        time: when, in ISO 8601 and UTC.
        user: who took it.
        network: its network, as it was named then.
        endpoint: the same of the endpoint.
        version: of the config.
        style: the format.
        reason: why; "" where nobody was asked.
        known_as: `NETWORK/NAME` under which its config versions are on record.
    """

    number: int
    time: str
    user: str
    network: str
    endpoint: str
    version: int
    style: str
    reason: str
    known_as: str


def append(path: Path, row: Mapping[str, Any]) -> str:
    """Write down one export, and have it outlive a power cut.

    Returns:
        The chain up to this line, to be kept elsewhere as well.

    Raises:
        OSError: it could not be written.
    """
    with os.fdopen(os.open(path, _FLAGS, 0o600), "r+b", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        end = os.pread(file.fileno(), _LAST_LINE_MAX, max(0, size - _LAST_LINE_MAX))
        line = json.dumps({**row, CHAIN: _digest(_last_line(end))}).encode()
        is_torn = bool(end) and not end.endswith(b"\n")  # by a crash
        file.write((b"\n" if is_torn else b"") + line + b"\n")
        os.fsync(file.fileno())
    return _digest(line)


def rows(text: str) -> Iterator[LoggedExport]:
    """All of them, the earliest first; a line that a crash has torn is passed over."""
    for number, line in enumerate(text.splitlines(), start=1):
        yield from _row(number, line)


def rows_before(text: str, number: int | None, count: int) -> list[LoggedExport]:
    """At most `count` with a number below this one, the latest first; None: the latest of all."""
    lines = text.splitlines()
    last = len(lines) if number is None else min(max(number - 1, 0), len(lines))
    found = (row for place in range(last, 0, -1) for row in _row(place, lines[place - 1]))
    return list(itertools.islice(found, count))


def first_altered(text: str) -> int | None:
    """The number of the first line before which the file is not what was written; None: none is.

    Lines of versions that knew no chain are taken as they are, up to the first line that has one.
    """
    before = ""
    is_chained = False
    for number, line in enumerate(text.splitlines(), start=1):
        chain = _chain(line)
        is_chained = is_chained or chain is not None
        if chain is not None and chain != _digest(before.encode()):
            return number
        if chain is None and is_chained and _is_whole(line):
            return number
        before = line
    return None


def unchained(text: str) -> int:
    """How many lines come before the first one that has a chain: nothing is known of them."""
    lines = text.splitlines()
    return next((place for place, line in enumerate(lines) if _chain(line)), len(lines))


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _last_line(end: bytes) -> bytes:
    return end.removesuffix(b"\n").rpartition(b"\n")[2]


def _parsed(line: str) -> Mapping[str, Any]:
    """The object in a line; an empty one for a line that a crash has torn."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_whole(line: str) -> bool:
    return bool(_parsed(line))


def _chain(line: str) -> str | None:
    found = _parsed(line).get(CHAIN)
    return found if isinstance(found, str) else None


def _row(number: int, line: str) -> Iterator[LoggedExport]:
    row = _parsed(line)
    try:
        network, endpoint = str(row["network"]), str(row["endpoint"])
        yield LoggedExport(
            number=number,
            time=str(row["time"]),
            user=str(row["user"]),
            network=network,
            endpoint=endpoint,
            version=int(row["version"]),
            style=str(row["format"]),
            reason=str(row.get("reason", "")),
            known_as=str(row.get("known_as") or f"{network}/{endpoint}"),
        )
    except (KeyError, ValueError, TypeError):
        return
