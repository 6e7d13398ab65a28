"""What to do next, and when: triggers and clock readings in, work out.

Pure: no clock, socket, file or random number.

A trigger only says where to look. Those that come together become one piece of work; one that comes
while a pass runs becomes the next. A network whose pass failed is tried again after a pause that
doubles; so is one in which another program undoes the same object again and again, and that is
called a fight. The periodic look is there for what the kernel has no events for, and for every
event that was lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from warpd.kernel.state import ROOT

SETTLE_S: Final = 0.03  # after the last change of a file
SETTLE_MAX_S: Final = 0.5  # after the first, whatever else goes on in that folder
# What was told may be the half of it (a versions' folder first, then the symlink), or late: look
# again meanwhile.
AGAIN_S: Final = (0.05, 0.1, 0.2, 0.4, 0.8)
GATHER_S: Final = 0.005  # events of one cause come together
REST_RATIO: Final = (
    2.0  # a storm of events may take a third of one processor: this times the last pass is rest
)
SHARE: Final = 10.0  # the periodic look takes at most a tenth of the time
FIRST_PAUSE_S: Final = 1.0
PAUSE_MAX_S: Final = 300.0
BUSY_PAUSE_S: Final = 0.3
FIGHT_COUNT: Final = 5
FIGHT_WITHIN_S: Final = 60.0
FIGHT_PAUSE_MAX_S: Final = 30.0
GUARD_PAUSE_MAX_S: Final = (
    2.0  # the root holds every network's guard: it is never left open for long
)
FORGOTTEN_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class PassRequest:
    """A pass to make: whether to read the files, and which networks to look at (by group; None is
    everything).
    """

    files: bool = False
    groups: frozenset[str] | None = frozenset()
    # by a person or a signal: pauses do not count, and files are read though they look the same
    asked: bool = False
    retry: bool = False  # what could not be written into the state folder is due to be tried again

    @property
    def writes(self) -> bool:
        """Whether this pass tries again to write what the state folder did not take before."""
        return self.asked or self.retry or self.groups is None


@dataclass(frozen=True, slots=True)
class PassResult:
    """What a pass came to, as far as what comes next depends on it."""

    busy: bool = False  # somebody else was at work
    writing: bool = False  # a file was being written
    failed: frozenset[str] = frozenset()  # groups
    all_failed: bool = False  # the kernel could not be read, or the whole pass failed
    unwritten: bool = (
        False  # the state folder does not take what the files ask for: what gives access waits
    )
    mended: Mapping[str, str] = field(
        default_factory=dict
    )  # object that drift made us repair -> its group
    changed: int = 0  # steps done
    seconds: float = 0.0  # the last look of the pass


@dataclass(slots=True)
class Backoff:
    """A group that has to wait."""

    times: int
    until: float
    since: float


class Scheduler:
    """One daemon's triggers. Times are seconds of one clock that never goes back."""

    def __init__(self, interval_s: float, jitter: Callable[[], float], now: float) -> None:
        self.interval_s = interval_s
        self._jitter = jitter  # between 0 and 1
        self._groups: set[str] = set()
        self._everything = False
        self._asked = True
        self._files_due: deque[float] = deque()
        self._touched: float | None = None  # the first change of a file that was not looked at yet
        self._gathered = now  # when what was heard may be worked on
        self._rested = now
        self._next_look = now
        self._failing: dict[str, Backoff] = {}
        self._mended: dict[str, deque[float]] = {}
        self._fights: dict[str, str] = {}  # object -> group
        self._slowed: dict[str, Backoff] = {}
        self._whole: Backoff | None = None  # passes that failed as a whole
        self._unwritten: Backoff | None = None  # writes into the state folder that failed

    # -- triggers

    def hear(self, groups: Iterable[str] | None, now: float) -> None:
        """Something happened in these groups; None: nobody knows where."""
        if not self._groups and not self._everything:
            self._gathered = now + GATHER_S
        if groups is None:
            self._everything = True
        else:
            self._groups |= set(groups)

    def files_touched(self, now: float) -> None:
        self._touched = now if self._touched is None else self._touched
        first = min(now + SETTLE_S, self._touched + SETTLE_MAX_S)
        self._files_due = deque([first, *(now + pause for pause in AGAIN_S)])

    def ask(self) -> None:
        """Look at everything at once."""
        self._asked = True

    # -- decisions

    def due(self, now: float) -> PassRequest | None:
        """The work to do now, taken off the list; None when there is none."""
        files = bool(self._files_due) and self._files_due[0] <= now
        if self._asked or now >= self._next_look:
            asked, self._asked = self._asked, False
            self._clear(now)
            self._next_look = now + self.interval_s
            return PassRequest(True, None, asked)
        if files:
            self._clear_files(now)
        groups: frozenset[str] | None = frozenset()
        if now >= self._may_work():
            free = frozenset(group for group in self._groups if not self._held(group, now))
            groups = None if self._everything else free
            self._groups = set() if self._everything else self._groups - free
            self._everything = False
        if groups is not None:
            groups |= self._retried(now)
        retry = self._unwritten is not None and self._unwritten.until <= now
        return (
            PassRequest(files or retry, groups, retry=retry)
            if files or retry or groups is None or groups
            else None
        )

    def _may_work(self) -> float:
        """When what was heard may be worked on: after a whole pass that failed, not before its
        pause is over.
        """
        return max(
            self._gathered,
            self._rested,
            self._whole.until if self._whole is not None else self._rested,
        )

    def _retried(self, now: float) -> frozenset[str]:
        """Groups whose pause is over."""
        if self._whole is not None:
            return frozenset()  # the next look is at everything
        return frozenset(group for group, hold in self._failing.items() if hold.until <= now)

    def wait_s(self, now: float) -> float:
        """Seconds until there can be something to do without a new trigger."""
        times = [self._next_look, *list(self._files_due)[:1]]
        times += [hold.until for hold in self._failing.values()] if self._whole is None else []
        times += [self._unwritten.until] if self._unwritten is not None else []
        if self._everything or any(
            group not in self._slowed and group not in self._failing for group in self._groups
        ):
            times.append(self._may_work())
        times += [self._slowed[group].until for group in self._groups if group in self._slowed]
        return 0.0 if self._asked else max(0.0, min(times) - now)

    # -- results

    def took(self, work: PassRequest, result: PassResult, now: float) -> None:
        """A pass is over."""
        self._rested = now + REST_RATIO * result.seconds
        if work.groups is None:
            self._next_look = now + max(self.interval_s, SHARE * result.seconds)
        if result.busy or result.writing:
            self._again(work, now)
            return
        if result.all_failed:
            self._whole = self._longer(self._whole, FIRST_PAUSE_S, PAUSE_MAX_S, now)
            self._next_look = self._whole.until
            return
        if work.groups is None or work.groups or result.seconds:
            self._whole = None  # the kernel was looked at
        self._pause_writes(work, result, now)
        looked = self._failing.keys() if work.groups is None else work.groups
        for group in set(looked) - result.failed:
            self._failing.pop(group, None)
        for group in result.failed:
            self._failing[group] = self._longer(
                self._failing.get(group), FIRST_PAUSE_S, PAUSE_MAX_S, now
            )
        self._watch_fights(result.mended, now)

    def _pause_writes(self, work: PassRequest, result: PassResult, now: float) -> None:
        if not result.unwritten:
            self._unwritten = None
        elif self._unwritten is None or work.writes:
            self._unwritten = self._longer(self._unwritten, FIRST_PAUSE_S, PAUSE_MAX_S, now)

    def _again(self, work: PassRequest, now: float) -> None:
        """What could not be done for now is done after a short while."""
        if work.files:
            self._files_due = deque([now + BUSY_PAUSE_S])
        if work.groups is None:
            self._next_look = now + BUSY_PAUSE_S
        self._groups |= work.groups or frozenset()
        self._gathered = now + BUSY_PAUSE_S

    # -- pauses

    def _held(self, group: str, now: float) -> bool:
        return any(
            group in held and held[group].until > now for held in (self._failing, self._slowed)
        )

    def _longer(self, before: Backoff | None, first_s: float, max_s: float, now: float) -> Backoff:
        times = before.times + 1 if before else 1
        pause = min(max_s, first_s * 2 ** min(times - 1, 16))
        return Backoff(
            times, now + pause * (0.75 + 0.5 * self._jitter()), before.since if before else now
        )

    def _watch_fights(self, mended: Mapping[str, str], now: float) -> None:
        for item, group in mended.items():
            times = self._mended.setdefault(item, deque(maxlen=FIGHT_COUNT))
            times.append(now)
            if len(times) == FIGHT_COUNT and now - times[0] <= FIGHT_WITHIN_S:
                self._fights[item] = group
        for group in {self._fights[item] for item in mended if item in self._fights}:
            limit = FIGHT_PAUSE_MAX_S if group != ROOT else GUARD_PAUSE_MAX_S
            self._slowed[group] = self._longer(self._slowed.get(group), FIRST_PAUSE_S, limit, now)
        for item in [item for item, times in self._mended.items() if now - times[-1] > FORGOTTEN_S]:
            del self._mended[item]
            group = self._fights.pop(item, ROOT)
            if group not in self._fights.values():
                self._slowed.pop(group, None)

    def _clear(self, now: float) -> None:
        self._groups.clear()
        self._everything = False
        self._clear_files(now)

    def _clear_files(self, now: float) -> None:
        while self._files_due and self._files_due[0] <= now:
            self._files_due.popleft()
            self._touched = None

    # -- for status

    @property
    def fights(self) -> dict[str, str]:
        """Object -> group, of what another program keeps undoing."""
        return dict(self._fights)

    def failing(self, now: float) -> dict[str, tuple[int, float]]:
        """Group -> (times tried, seconds until the next try)."""
        held = self._failing if self._whole is None else {**self._failing, ROOT: self._whole}
        return {group: (hold.times, max(0.0, hold.until - now)) for group, hold in held.items()}

    def next_look_s(self, now: float) -> float:
        return max(0.0, self._next_look - now)
