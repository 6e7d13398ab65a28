"""The history: every applied intent with its files and allocations, which one is in force, and the
apply that is not confirmed yet.

    history/000007.json   an applied intent: its files and allocations, when, and by whom
    in-force.json         the number of the entry in force, and the digest of the files that were
                          rolled back, which the daemon does not apply by itself
    pending.json          the apply that is undone unless it is confirmed in time
    pending.damaged.json  a damaged one of these, kept aside
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from warpd.allocation.model import Allocations
from warpd.errors import Busy, WarpError
from warpd.service.workspace import LoadedIntent, Workspace
from warpd.store.state_folder import HISTORY, IN_FORCE, allocations_of_record
from warpd.store.state_folder import record_name as _name

PENDING: Final = "pending.json"
PENDING_ASIDE: Final = "pending.damaged.json"
BROKEN: Final = frozenset({"state-broken", "history-broken"})  # codes of errors: a damaged file
FORMAT: Final = 1
ENTRY_FORMAT: Final = 2  # 1 called the allocations `grants`
ENTRY_FORMATS_READ: Final = (1, 2)
ENTRIES_MAX: Final = 50  # entries
NOTHING: Final = 0  # the number that stands for the time before the first apply
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One applied intent.

    - `number`: it counts from 1.
    - `time`: ISO 8601 in UTC.
    - `by`: who applied it.
    - `networks`: how many there are.
    - `files`: the texts by path, the main one first.
    - `allocations`: as they were written with it.
    """

    number: int
    time: str
    by: str
    networks: int
    files: Mapping[str, str]
    allocations: Allocations

    @property
    def digest(self) -> str:
        return files_digest({path_of(name): text.encode() for name, text in self.files.items()})


@dataclass(frozen=True, slots=True)
class Pending:
    """An apply that is undone unless it is confirmed.

    - `number`: its entry in the history.
    - `back_to`: the entry that is restored otherwise; NOTHING removes everything.
    - `until_s`: the deadline in seconds since the epoch, for people.
    - `boot`: the boot in which `until_boot_s` counts.
    - `until_boot_s`: the deadline in seconds since boot, which no change of the clock moves.
    - `by`: who applied it.
    """

    number: int
    back_to: int
    until_s: float
    boot: str
    until_boot_s: float
    by: str

    def left_s(self) -> float:
        """Return the seconds to the deadline; 0 after a reboot, which has undone the apply."""
        if self.boot != boot_id():
            return 0.0
        return self.until_boot_s - time.clock_gettime(time.CLOCK_BOOTTIME)

    @property
    def until(self) -> str:
        return datetime.fromtimestamp(self.until_s, UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class HistoryMark:
    """Where the history stands.

    - `number`, `refused`: of what is in force.
    - `latest`: the highest number that is kept.
    """

    number: int
    refused: str
    latest: int


def _with_period(pointer: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return the pointer with the time of the entry in force until now added to its `active_s`."""
    number, since_s = pointer.get("number", NOTHING), pointer.get("since_s")
    if number == NOTHING or since_s is None:
        return dict(pointer)
    periods = dict(pointer.get("active_s", {}))
    periods[str(number)] = periods.get(str(number), 0.0) + max(0.0, now - since_s)
    latest = sorted(periods, key=int)[-ENTRIES_MAX:]
    return {**pointer, "active_s": {key: periods[key] for key in latest}}


def boot_id() -> str:
    return BOOT_ID.read_text(encoding="ascii").strip()


def files_digest(files: Mapping[Path, bytes]) -> str:
    """Return the digest of contents and file names; their folder does not count."""
    hasher = hashlib.sha256()
    for path, raw in sorted(files.items()):
        hasher.update(os.fsencode(path.name) + f" {len(raw)}\n".encode() + raw)
    return hasher.hexdigest()


def path_of(name: str) -> Path:
    """Return the path of a file that an entry names, in the character set of this process."""
    return Path(os.fsdecode(name.encode("utf-8", "surrogateescape")))


def _name_of(path: Path) -> str:
    """Return a path as an entry names it, in every character set the same.

    Bytes that are not UTF-8 become lone surrogates (PEP 383), which JSON writes as `\\udcf6`.
    """
    return os.fsencode(path).decode("utf-8", "surrogateescape")


class History:
    """The history of one state folder.

    Methods that write are called by whoever holds the store's lock.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace, self._store = workspace, workspace.store
        # The entry that was read or written last, with the stamp of its file.
        self._latest: tuple[object, HistoryEntry] | None = None

    def record(self, read: LoadedIntent, by: str) -> HistoryEntry:
        """Write what is about to be applied, before the first change of the kernel.

        Files with the same text as those in force, and the same allocations, get no second entry.

        Args:
            read: the intent and its allocations.
            by: who applies it.

        Raises:
            WarpError: the state folder cannot be written.
        """
        files = _texts(read)
        previous = self.in_force()
        if previous is not None and _is_same(previous, files, read.allocations):
            self._point_at(previous.number)
            # Allocations may be large: one object is kept of two that are equal.
            previous = dataclasses.replace(previous, allocations=read.allocations)
            self._latest = self._store.stamp(_name(previous.number)), previous
            return previous
        number = self._highest() + 1
        now = datetime.now(UTC).isoformat(timespec="seconds")
        entry = HistoryEntry(number, now, by, len(read.intent.networks), files, read.allocations)
        self._store.write_file(_name(number), self._to_json(entry))
        try:
            self._point_at(number)
        except WarpError:
            self._discard(number)
            raise
        self._forget_oldest()
        self._latest = self._store.stamp(_name(number)), entry
        return entry

    def holds(self, read: LoadedIntent) -> bool:
        """Whether `record` would write nothing."""
        entry = self.in_force()
        if entry is None or self.refused:
            return False
        return _is_same(entry, _texts(read), read.allocations)

    def _to_json(self, entry: HistoryEntry) -> str:
        fields = {name: getattr(entry, name) for name in ("number", "time", "by", "networks")}
        allocations = self._store.allocations_text(entry.allocations)
        document = {
            "version": ENTRY_FORMAT,
            **fields,
            "files": entry.files,
            "allocations": allocations,
        }
        return json.dumps(document) + "\n"

    def entries(self) -> list[HistoryEntry]:
        """Return all entries, the oldest first.

        Raises:
            WarpError: an entry cannot be read.
        """
        return [self.entry(_number(name)) for name in self._names()]

    def entry(self, number: int) -> HistoryEntry:
        """Return the entry with this number.

        Raises:
            WarpError: it is not kept, or it is damaged.
        """
        # The stamp is taken before the file is read, so that it shows every later change.
        stamp = self._store.stamp(_name(number))
        if self._latest is not None and stamp is not None:
            latest_stamp, latest = self._latest
            if (latest_stamp, latest.number) == (stamp, number):
                return latest
        text = self._store.document(_name(number))
        if text is None:
            known = ", ".join(str(_number(name)) for name in self._names()[-10:]) or "none"
            raise WarpError(
                f"number {number} is not kept",
                code="history-unknown",
                who="operator",
                hint=f"kept: {known}",
            )
        entry = self._parsed(_name(number), text, _from_json)
        self._latest = stamp, entry
        return entry

    def in_force(self) -> HistoryEntry | None:
        """Return what was applied or restored last.

        Returns:
            None if nothing ever was, or its entry is not kept.

        Raises:
            WarpError: it cannot be read.
        """
        number = self.in_force_number()
        if number == NOTHING or _name(number) not in self._names():
            return None
        return self.entry(number)

    def in_force_number(self) -> int:
        """Return the number of the entry in force; NOTHING if nothing ever was.

        Raises:
            WarpError: it cannot be read.
        """
        return int(self._pointer().get("number", NOTHING))

    @property
    def refused(self) -> str:
        """The digest of the files that were rolled back; "" for none."""
        return str(self._pointer().get("refused", ""))

    def read(self, entry: HistoryEntry) -> LoadedIntent:
        """Return the intent of an entry.

        Raises:
            InvalidIntent: this version of warpd refuses what an earlier one accepted.
        """
        files = {path_of(name): text.encode() for name, text in entry.files.items()}
        return self.workspace.read_again(files, entry.allocations)

    def mark_restored(self, number: int, refused: str) -> None:
        """Record that an entry is in force again, instead of files with the digest `refused`."""
        self._point_at(number, refused)

    def mark(self) -> HistoryMark:
        """Return where the history stands, for `withdraw`.

        Raises:
            WarpError: it cannot be read.
        """
        return HistoryMark(self.in_force_number(), self.refused, self._highest())

    def withdraw(self, mark: HistoryMark) -> None:
        """Take back what was recorded since a mark, and was not applied.

        Raises:
            WarpError: the state folder cannot be written.
        """
        self._store.remove_file(PENDING)
        self._point_at(mark.number, mark.refused)
        for name in self._names():
            if _number(name) > mark.latest:
                self._store.remove_file(name)
        self._latest = None

    # -- the apply that is not confirmed yet

    def pending(self) -> Pending | None:
        """Return the apply that is not confirmed yet; None if there is none.

        A damaged file counts as none: nothing tells what is to be undone, and when.

        Raises:
            WarpError: it cannot be read.
        """
        try:
            return self._read_pending()
        except WarpError as failure:
            if failure.code not in BROKEN:
                raise
            return None

    def _read_pending(self) -> Pending | None:
        """Raises: WarpError: it cannot be read, or is damaged."""
        text = self._store.document(PENDING)
        return None if text is None else self._parsed(PENDING, text, _pending_from_json)

    def damaged_pending(self) -> str:
        """Return the name of a damaged file of an apply to be confirmed; "" where there is none.

        Raises:
            WarpError: the folder cannot be read.
        """
        if self._store.stamp(PENDING_ASIDE) is not None:
            return PENDING_ASIDE
        try:
            self._read_pending()
        except WarpError as failure:
            if failure.code not in BROKEN:
                raise
            return PENDING
        return ""

    def set_damaged_pending_aside(self) -> None:
        """Keep a damaged file under another name, so that it is in nobody's way.

        Raises:
            WarpError: the folder cannot be read or written.
        """
        if self.damaged_pending() == PENDING:
            self._store.rename_file(PENDING, PENDING_ASIDE)

    def refuse_pending(self) -> None:
        """Refuse another change while an apply is not confirmed.

        Raises:
            Busy: there is such an apply.
            WarpError: it cannot be read.
        """
        pending = self.pending()
        if pending is not None:
            text = f"the apply of {pending.by} waits to be confirmed until {pending.until}"
            raise Busy(
                text,
                code="confirm-pending",
                hint="`warpctl confirm` keeps it, `warpctl rollback` undoes it",
            )

    def record_pending(self, number: int, back_to: int, within_s: float, by: str) -> Pending:
        """Write that an apply has to be confirmed.

        Args:
            number: its entry.
            back_to: the entry that is restored otherwise.
            within_s: the time to confirm, in seconds.
            by: who applies.

        Raises:
            WarpError: the state folder cannot be written.
        """
        self.set_damaged_pending_aside()
        until_boot_s = time.clock_gettime(time.CLOCK_BOOTTIME) + within_s
        made = Pending(number, back_to, time.time() + within_s, boot_id(), until_boot_s, by)
        fields = {name: getattr(made, name) for name in Pending.__slots__}
        self._store.write_file(PENDING, json.dumps({"version": FORMAT, "pending": fields}) + "\n")
        return made

    def confirm(self) -> int:
        """Keep the apply that is not confirmed yet; return its number.

        Raises:
            WarpError: there is none, or its deadline is past.
        """
        pending = self.pending()
        if pending is None:
            damaged = self.damaged_pending()
            about = f", as far as is known: {damaged} is damaged" if damaged else ""
            raise WarpError(
                f"nothing waits to be confirmed{about}",
                code="nothing-pending",
                who="operator",
                hint="see `warpctl history`",
            )
        if pending.left_s() <= 0:
            text = f"too late: the time to confirm ended at {pending.until}"
            raise WarpError(
                text, code="confirm-late", who="operator", hint="it is being undone; apply again"
            )
        self.clear_pending()
        return pending.number

    def clear_pending(self) -> None:
        """Record that no apply has to be confirmed: it was confirmed, or is undone completely."""
        self._store.remove_file(PENDING)

    # -- documents

    def _names(self) -> list[str]:
        return self._store.documents(HISTORY)

    def _highest(self) -> int:
        return max((_number(name) for name in self._names()), default=NOTHING)

    def _pointer(self) -> dict[str, Any]:
        text = self._store.document(IN_FORCE)
        if text is None:
            return {}
        return self._parsed(IN_FORCE, text, lambda raw: dict(json.loads(raw)))

    def _point_at(self, number: int, refused: str = "") -> None:
        """Say which entry is in force from now on."""
        try:
            before = self._pointer()
        except WarpError:  # damaged: it is replaced
            before = {}
        now = time.time()
        since_s = before.get("since_s", now) if before.get("number") == number else now
        ended = _with_period(before, now) if before.get("number") != number else before
        document = {
            "version": FORMAT,
            "number": number,
            "refused": refused,
            "since_s": since_s,
            "active_s": ended.get("active_s", {}),
        }
        self._store.write_file(IN_FORCE, json.dumps(document) + "\n")

    def active_s(self) -> dict[int, int]:
        """Return for how many seconds each entry was in force, over rollbacks too, up to the last
        change of what is in force.

        An entry of which that was not recorded is left out.

        Raises:
            WarpError: it cannot be read.
        """
        periods = self._pointer().get("active_s", {})
        kept = {_number(name) for name in self._names()}
        return {int(key): int(value) for key, value in periods.items() if int(key) in kept}

    def active_since(self) -> str | None:
        """Return since when the entry in force is, ISO 8601 in UTC; None where that was not
        recorded.

        Raises:
            WarpError: it cannot be read.
        """
        since_s = self._pointer().get("since_s")
        if since_s is None:
            return None
        return datetime.fromtimestamp(since_s, UTC).isoformat(timespec="seconds")

    def _discard(self, number: int) -> None:
        """Remove an entry that did not come into force: each further try to write would leave one
        more of them, on a disk that has little room.
        """
        with contextlib.suppress(WarpError):
            if self._pointer().get("number") != number:
                self._store.remove_file(_name(number))

    def _forget_oldest(self) -> None:
        pending = self.pending()
        needed = {pending.back_to, pending.number} if pending is not None else set()
        for name in self._names()[:-ENTRIES_MAX]:
            if _number(name) not in needed:
                with contextlib.suppress(WarpError):  # an entry too many does no harm
                    self._store.remove_file(name)

    def _parsed(self, name: str, text: str, parse: Callable[[str], T]) -> T:
        try:
            return parse(text)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as failure:
            where = self._store.folder / name
            hint = "remove it: what is in force stays, but there is no rollback to it any more"
            raise WarpError(
                f"{where} is damaged: {failure!r}", code="history-broken", who="operator", hint=hint
            ) from None


def _pending_from_json(text: str) -> Pending:
    """Raises: ValueError, KeyError, TypeError: it is damaged."""
    fields = json.loads(text)["pending"]
    deadlines_s = float(fields["until_s"]), float(fields["until_boot_s"])
    try:
        datetime.fromtimestamp(deadlines_s[0], UTC)
        round(deadlines_s[1])
    except (OverflowError, OSError):
        raise ValueError("a deadline is no time") from None
    number, back_to = int(fields["number"]), int(fields["back_to"])
    boot, by = str(fields["boot"]), str(fields["by"])
    return Pending(number, back_to, deadlines_s[0], boot, deadlines_s[1], by)


def _is_same(entry: HistoryEntry, files: Mapping[str, str], allocations: Allocations) -> bool:
    return entry.files == files and entry.allocations == allocations


def _texts(read: LoadedIntent) -> dict[str, str]:
    return {_name_of(path): raw.decode() for path, raw in read.loaded.contents.items()}


def _number(name: str) -> int:
    stem = Path(name).stem
    return int(stem) if stem.isdigit() else NOTHING


def _from_json(text: str) -> HistoryEntry:
    data = json.loads(text)
    if data["version"] not in ENTRY_FORMATS_READ:
        raise ValueError(f"version {data['version']}, this warpd reads {ENTRY_FORMATS_READ}")
    allocations = allocations_of_record(data)
    return HistoryEntry(
        data["number"], data["time"], data["by"], data["networks"], dict(data["files"]), allocations
    )
