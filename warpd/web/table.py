"""A list as CSV, of which no spreadsheet runs a cell. Pure.

Spreadsheets take a cell for a formula by its first character, and some split at a semicolon or a
tab, even inside quotes. What stands at such a place and could begin a formula gets an apostrophe in
front, and so does an apostrophe there: what was written is found again by taking off one.
A public key stays as it is, since programs read it: it ends with "=", which no formula does.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from warpd.web.summary import Row

# As the daemon calls them; the public key is the only key.
COLUMNS: Final = (
    "network",
    "name",
    "type",
    "description",
    "state",
    "expires",
    "address",
    "address6",
    "routes",
    "public_key",
    "last_handshake",
    "received_bytes",
    "sent_bytes",
)
PLACE: Final = r"(?:^|(?<=[;,|\t\r\n]))"  # where a cell begins, or may begin
# What spreadsheets skip, and what is no text then; the last four are full-width.
FORMULA: Final = r"""(?=[ "]*['=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])"""
RISKY: Final = re.compile(PLACE + FORMULA)
KEY: Final = re.compile(r"[A-Za-z0-9+/]{43}=")  # 32 bytes in base64


def header() -> bytes:
    """The first line: the names of the columns."""
    return _lines([COLUMNS])


def lines(endpoints: Iterable[Row]) -> bytes:
    """A line for each endpoint, as the daemon answers them."""
    return _lines([_cell(name, row[name]) for name in COLUMNS] for row in endpoints)


def guarded(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return text if KEY.fullmatch(text) else RISKY.sub("'", text)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name == "last_handshake":
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return guarded(", ".join(value) if isinstance(value, list) else str(value))


def _lines(rows: Iterable[Iterable[str]]) -> bytes:
    written = io.StringIO(newline="")
    csv.writer(written).writerows(rows)
    return written.getvalue().encode()
