"""Suspensions: `suspended.json` in the state folder, and what of it the disk did not take.

Lives here: the file, and until when each of its rows counts. Does not: who may suspend, and what
follows in the kernel. A suspension only takes access away, so that it counts although it cannot be
written; and a file that is lost, damaged or unreadable ends none that is known. The end of one
needs the disk, or its time.

A clock that is set back does not prolong one: a process counts its time by a clock that never goes
back, and after a restart no more is left of it than its whole length.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final

from warpd.allocation.suspensions import (
    BY_MAX,
    FOR_MAX_S,
    REASON_MAX,
    SUSPENSIONS_MAX,
    Name,
    Suspension,
)
from warpd.errors import WarpError
from warpd.store.state_folder import Stamp, Store

SUSPENDED: Final = "suspended.json"
FORMAT: Final = 1
FILE_MAX: Final = 8 * 1024 * 1024  # bytes; more than the rows below can take
NAME_MAX: Final = 200  # characters of a first name
TIME_MAX_S: Final = 2**40  # far beyond any clock

Rows = dict[Name, Suspension]


class SuspensionStore:
    """The suspensions of one state folder. For one thread; writes are made inside
    `Store.writer` or `Store.writer_if_possible`.

    Attributes:
        unreadable: why the file does not say what it should; "" where it does.
    """

    def __init__(
        self,
        store: Store,
        since_epoch: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._since_epoch, self._monotonic = since_epoch, monotonic
        self._rows: Rows = {}
        self._ends: dict[Suspension, float] = {}  # by the clock that never goes back
        self._on_disk: Rows = {}  # as the file was last read or written
        self._stamp: Stamp | None = None
        self._was_read = False  # whether the file was ever seen as it should be, or absent
        self.unreadable = ""

    def use_clocks(self, since_epoch: Callable[[], float], monotonic: Callable[[], float]) -> None:
        """Go by these clocks; before anything is read."""
        self._since_epoch, self._monotonic = since_epoch, monotonic

    @property
    def now_s(self) -> float:
        """Seconds since the epoch, by the clock that suspensions go by."""
        return self._since_epoch()

    # -- reading

    def current(self) -> tuple[Suspension, ...]:
        """Those that count now: of the file where it has changed, and of memory."""
        self.refresh()
        return self.active()

    def active(self) -> tuple[Suspension, ...]:
        """Those that count now, by what is known already."""
        return tuple(item for _name, item in sorted(self._rows.items()) if not self._is_over(item))

    def refresh(self) -> None:
        """Read the file where it has changed. What is known stays where it cannot be read."""
        try:
            stamp = self._store.stamp(SUSPENDED)
            if self._was_read and stamp == self._stamp and not self.unreadable:
                return
            found = None if stamp is None else self._read()
        except WarpError as failure:
            self.unreadable = failure.message
            return
        if found is None and self._on_disk:
            self.unreadable = f"{self._store.folder / SUSPENDED} is gone"
            return
        self._take(found or {}, stamp)

    def _read(self) -> Rows | None:
        """Raises: WarpError when the file cannot be read, or is not one of ours."""
        text = self._store.document(SUSPENDED)
        if text is None:
            return None
        try:
            return _from_json(text)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as failure:
            path = self._store.folder / SUSPENDED
            raise WarpError(
                f"{path} is damaged: {failure}", code="state-broken", who="operator"
            ) from None

    def _take(self, found: Rows, stamp: Stamp | None) -> None:
        """Take over what the file says; what it never held stays."""
        unwritten = {
            name: item for name, item in self._rows.items() if self._on_disk.get(name) != item
        }
        self._rows = {**found, **unwritten}
        self._on_disk, self._stamp = found, stamp
        self._was_read, self.unreadable = True, ""
        self._ends = {item: self._end_of(item) for item in self._rows.values()}

    def _end_of(self, item: Suspension) -> float:
        """When it is over, by the clock that never goes back."""
        if item in self._ends or item.until_s is None:
            return self._ends.get(item, float("inf"))
        left_s = min(item.until_s - self._since_epoch(), item.until_s - item.since_s)
        return self._monotonic() + max(0.0, left_s)

    def _is_over(self, item: Suspension) -> bool:
        if item.until_s is None:
            return False
        return self._since_epoch() >= item.until_s or self._monotonic() >= self._ends[item]

    @property
    def next_end(self) -> float:
        """When the first of them is over, by the clock that never goes back; inf for never."""
        now, today = self._monotonic(), self._since_epoch()
        ends = (
            min(self._ends[item], now + item.until_s - today)
            for item in self._rows.values()
            if item.until_s is not None
        )
        return min(ends, default=float("inf"))

    @property
    def is_unwritten(self) -> bool:
        """Whether something counts that the file does not say: a restart would lose it."""
        return any(self._on_disk.get(item.first_names) != item for item in self.active())

    # -- writing

    def add(self, item: Suspension, obstacle: WarpError | None = None) -> WarpError | None:
        """Suspend, from now on; why it could not be written down, None where it was.

        `obstacle` is why the folder takes no writes, as far as it is known.

        Raises:
            WarpError: there are too many; or it would end an earlier one sooner, and cannot be
                written down.
        """
        self.refresh()
        before = self._rows.get(item.first_names)
        if item.first_names not in self._rows and len(self._rows) >= SUSPENSIONS_MAX:
            text = f"{SUSPENSIONS_MAX} endpoints are suspended already"
            hint = "disable endpoints in the YAML, or resume some: see `warpctl endpoint list`"
            raise WarpError(text, code="too-many", who="operator", hint=hint)
        self._rows[item.first_names] = item
        self._ends[item] = self._end_of(item)
        why = obstacle or self.settle()
        if why is not None and before is not None and self._ends[before] > self._ends[item]:
            self._rows[item.first_names] = before
            raise why
        return why

    def remove(self, name: Name) -> Suspension | None:
        """End one, by its first names; None where there is none.

        Raises:
            WarpError: it could not be written down; it goes on then.
        """
        self.refresh()
        left = {other: item for other, item in self._rows.items() if other != name}
        if len(left) == len(self._rows):
            return None
        self._write(left)
        return self._rows.pop(name)

    def pop_expired(self) -> list[Suspension]:
        """Those whose time is over, handed out once: they are forgotten."""
        over = [item for item in self._rows.values() if self._is_over(item)]
        for item in over:
            del self._rows[item.first_names]
        return over

    def retain(self, keep: Callable[[Iterable[Suspension]], Iterable[Suspension]]) -> None:
        """Forget all others; the file follows when it can be written."""
        self.refresh()
        kept = {item.first_names: item for item in keep(tuple(self._rows.values()))}
        if len(kept) < len(self._rows):
            self._rows = kept
            self.settle()

    def settle(self) -> WarpError | None:
        """Bring the file to what is known; why not, None where it is."""
        if self._rows == self._on_disk and not self.unreadable:
            return None
        try:
            self._write(self._rows)
        except WarpError as failure:
            return failure
        return None

    def _write(self, rows: Rows) -> None:
        """Raises: WarpError when the folder takes no writes, or the file was never read."""
        if not self._was_read:
            hint = f"restore {SUSPENDED} from a backup, or remove it: then what it held is resumed"
            raise WarpError(self.unreadable, code="state-broken", who="operator", hint=hint)
        if self._on_disk or rows or self.unreadable:
            self._store.replace_file(SUSPENDED, _to_json(rows.values()))
        self._on_disk, self._stamp = dict(rows), self._store.stamp(SUSPENDED)
        self.unreadable = ""


def _to_json(rows: Iterable[Suspension]) -> str:
    ordered = sorted(rows, key=lambda item: item.first_names)
    return json.dumps({"version": FORMAT, "suspended": [asdict(item) for item in ordered]}) + "\n"


def _from_json(text: str) -> Rows:
    """Raises: ValueError, KeyError, TypeError, AttributeError, RecursionError for another shape."""
    if len(text) > FILE_MAX:
        raise ValueError(f"it is larger than {FILE_MAX} bytes")
    document = json.loads(text)
    if document["version"] != FORMAT:
        raise ValueError(f"version {document['version']}, this warpd reads {FORMAT}")
    rows = [_row(row) for row in document["suspended"]]
    if len(rows) > SUSPENSIONS_MAX:
        raise ValueError(f"it has more than {SUSPENSIONS_MAX} rows")
    found = {item.first_names: item for item in rows}
    if len(found) != len(rows):
        raise ValueError("an endpoint is in it twice")
    return found


def _row(row: Mapping[str, Any]) -> Suspension:
    """Raises: ValueError, KeyError, TypeError, AttributeError for another shape."""
    item = Suspension(**row)
    texts = ((item.network, NAME_MAX), (item.endpoint, NAME_MAX), (item.by, BY_MAX))
    for text, length in (*texts, (item.reason, REASON_MAX)):
        if type(text) is not str or len(text) > length or not text.isprintable():
            raise ValueError("a text is too long, or is none")
    if type(item.since_s) is not int or not 0 <= item.since_s <= TIME_MAX_S:
        raise ValueError("`since_s` is no time")
    if item.until_s is None:
        return item
    if type(item.until_s) is not int or not 0 < item.until_s - item.since_s <= FOR_MAX_S:
        raise ValueError("`until_s` is no time")
    return item
