"""What was in force, and what is: every applied intent with its files and grants, and the one that
waits for a yes.

    history/000007.json an intent as it was applied: files, grants, when, by whom in-force.json its
    number; and the digest of files that were rolled back from, which nobody applies unasked
    pending.json an apply that is undone unless it is confirmed in time

Lives here: these documents, and an intent read again from one. Does not: the kernel, timers,
output.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from warpd.allocation import model as allocation_model
from warpd.allocation.model import Allocations
from warpd.errors import Busy, WarpError
from warpd.service.workspace import LoadedIntent, Session
from warpd.store.state_folder import HISTORY, IN_FORCE
from warpd.store.state_folder import record_name as _name

PENDING: Final = "pending.json"
FORMAT: Final = 1
KEPT: Final = 50
NOTHING: Final = 0  # the number of what was in force before the first apply
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One applied intent. `files` are by path, the main one first."""

    number: int
    time: str
    by: str
    networks: int
    files: Mapping[str, str]
    allocations: Allocations

    @property
    def digest(self) -> str:
        return files_digest({Path(name): text.encode() for name, text in self.files.items()})


@dataclass(frozen=True, slots=True)
class Pending:
    """An apply to be confirmed.

    Times: seconds since the epoch for people, since boot for the deadline itself.
    """

    number: int
    back_to: int
    until_s: float
    boot: str
    until_boot_s: float
    by: str

    def left_s(self) -> float:
        """Seconds to the deadline; none after a reboot, which took what was applied with it."""
        return (
            self.until_boot_s - time.clock_gettime(time.CLOCK_BOOTTIME)
            if self.boot == boot_id()
            else 0.0
        )

    @property
    def until(self) -> str:
        return datetime.fromtimestamp(self.until_s, UTC).isoformat(timespec="seconds")


def boot_id() -> str:
    return BOOT_ID.read_text(encoding="ascii").strip()


def files_digest(files: Mapping[Path, bytes]) -> str:
    """Of the content and the file names, wherever their folder is."""
    hasher = hashlib.sha256()
    for path, raw in sorted(files.items()):
        hasher.update(f"{path.name} {len(raw)}\n".encode() + raw)
    return hasher.hexdigest()


def files_of(read: LoadedIntent) -> dict[Path, bytes]:
    return {Path(source.file): source.raw for source in read.loaded.sources}


class History:
    """Of one state folder. Methods that write are called inside `store.writer`."""

    def __init__(self, session: Session) -> None:
        self._session, self._store = session, session.store
        self._last: tuple[object, HistoryEntry] | None = (
            None  # what was read or written last, with its stamp
        )

    def record(self, read: LoadedIntent, by: str) -> HistoryEntry:
        """Keep what is about to be applied, before the first change; the same as what is in force
        is not kept twice.

        Raises:
            WarpError: the state folder cannot be written.
        """
        files = _texts(read)
        last = self.in_force()
        if last is not None and (last.files, last.allocations) == (files, read.allocations):
            self._point_at(last.number)
            last = dataclasses.replace(
                last, allocations=read.allocations
            )  # equal, and many: they are held once
            self._last = self._store.stamp(_name(last.number)), last
            return last
        number = max((_number(name) for name in self._names()), default=NOTHING) + 1
        now = datetime.now(UTC).isoformat(timespec="seconds")
        entry = HistoryEntry(number, now, by, len(read.intent.networks), files, read.allocations)
        self._store.keep(_name(number), self._to_json(entry))
        self._point_at(number)
        self._forget_oldest()
        self._last = self._store.stamp(_name(number)), entry
        return entry

    def holds(self, read: LoadedIntent) -> bool:
        """Whether `record` would write nothing."""
        last = self.in_force()
        return (
            last is not None
            and not self.refused
            and (last.files, last.allocations) == (_texts(read), read.allocations)
        )

    def _to_json(self, entry: HistoryEntry) -> str:
        fields = {name: getattr(entry, name) for name in ("number", "time", "by", "networks")}
        allocations = self._store.allocations_text(entry.allocations)
        return (
            json.dumps({"version": FORMAT, **fields, "files": entry.files, "grants": allocations})
            + "\n"
        )

    def entries(self) -> list[HistoryEntry]:
        """Oldest first. Raises: WarpError when one cannot be read."""
        return [self.entry(_number(name)) for name in self._names()]

    def entry(self, number: int) -> HistoryEntry:
        """Raises: WarpError when there is none of this number, or it is damaged."""
        stamp = self._store.stamp(_name(number))
        if (
            self._last is not None
            and stamp is not None
            and (self._last[0], self._last[1].number) == (stamp, number)
        ):
            return self._last[1]
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
        self._last = (
            stamp,
            entry,
        )  # the stamp of before it was read: what is written meanwhile is another
        return entry

    def in_force(self) -> HistoryEntry | None:
        """What was applied or gone back to last; None when nothing ever was, or its entry is not
        kept.
        """
        number = self.in_force_number()
        return self.entry(number) if number != NOTHING and _name(number) in self._names() else None

    def in_force_number(self) -> int:
        return int(self._pointer().get("number", NOTHING))

    @property
    def refused(self) -> str:
        """Digest of the files that were rolled back from; "" for none."""
        return str(self._pointer().get("refused", ""))

    def read(self, entry: HistoryEntry) -> LoadedIntent:
        """Raises: InvalidIntent when this warpd refuses what was accepted then."""
        files = {Path(name): text.encode() for name, text in entry.files.items()}
        return self._session.read_again(files, entry.allocations)

    def went_back(self, number: int, refused: str) -> None:
        self._point_at(number, refused)

    # an apply that waits for a yes

    def pending(self) -> Pending | None:
        """Raises: WarpError when it cannot be read."""
        text = self._store.document(PENDING)
        return (
            None
            if text is None
            else self._parsed(PENDING, text, lambda raw: Pending(**json.loads(raw)["pending"]))
        )

    def refuse_pending(self) -> None:
        """Raises: Busy when an apply waits for a yes already."""
        waits = self.pending()
        if waits is not None:
            text = f"the apply of {waits.by} waits to be confirmed until {waits.until}"
            raise Busy(
                text,
                code="confirm-pending",
                hint="`warpctl confirm` keeps it, `warpctl rollback` undoes it",
            )

    def await_yes(self, number: int, back_to: int, within_s: float, by: str) -> Pending:
        until_boot_s = time.clock_gettime(time.CLOCK_BOOTTIME) + within_s
        made = Pending(number, back_to, time.time() + within_s, boot_id(), until_boot_s, by)
        fields = {name: getattr(made, name) for name in Pending.__slots__}
        self._store.keep(PENDING, json.dumps({"version": FORMAT, "pending": fields}) + "\n")
        return made

    def confirm(self) -> int:
        """Keep what waits for a yes; its number.

        Raises:
            WarpError: nothing waits, or it is too late.
        """
        waits = self.pending()
        if waits is None:
            raise WarpError(
                "nothing waits to be confirmed",
                code="nothing-pending",
                who="operator",
                hint="see `warpctl history`",
            )
        if waits.left_s() <= 0:
            text = f"too late: the time to confirm ended at {waits.until}"
            raise WarpError(
                text, code="confirm-late", who="operator", hint="it is being undone; apply again"
            )
        self.settled()
        return waits.number

    def settled(self) -> None:
        """Confirmed, or undone completely."""
        self._store.drop(PENDING)

    # documents

    def _names(self) -> list[str]:
        return self._store.documents(HISTORY)

    def _pointer(self) -> dict[str, Any]:
        text = self._store.document(IN_FORCE)
        return (
            {} if text is None else self._parsed(IN_FORCE, text, lambda raw: dict(json.loads(raw)))
        )

    def _point_at(self, number: int, refused: str = "") -> None:
        self._store.keep(
            IN_FORCE, json.dumps({"version": FORMAT, "number": number, "refused": refused}) + "\n"
        )

    def _forget_oldest(self) -> None:
        waits = self.pending()
        spared = {waits.back_to, waits.number} if waits is not None else set()
        for name in self._names()[:-KEPT]:
            if _number(name) not in spared:
                with contextlib.suppress(WarpError):  # it is only older than need be
                    self._store.drop(name)

    def _parsed(self, name: str, text: str, parse: Callable[[str], T]) -> T:
        try:
            return parse(text)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as failure:
            where = self._store.folder / name
            hint = "remove it: what is in force stays, but it cannot be gone back to"
            raise WarpError(
                f"{where} is damaged: {failure!r}", code="history-broken", who="operator", hint=hint
            ) from None


def _texts(read: LoadedIntent) -> dict[str, str]:
    return {str(path): raw.decode() for path, raw in files_of(read).items()}


def _number(name: str) -> int:
    stem = Path(name).stem
    return int(stem) if stem.isdigit() else NOTHING


def _from_json(text: str) -> HistoryEntry:
    data = json.loads(text)
    if data["version"] != FORMAT:
        raise ValueError(f"version {data['version']}, this warpd reads {FORMAT}")
    allocations = allocation_model.from_json(data["grants"])
    return HistoryEntry(
        data["number"], data["time"], data["by"], data["networks"], dict(data["files"]), allocations
    )
