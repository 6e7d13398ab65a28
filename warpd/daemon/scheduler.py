"""What to do next, and when: triggers and clock readings in, pass requests out.

Pure: no clock, socket, file or random number.

A trigger only says where to look. Triggers that come together become one pass; one that comes while
a pass runs becomes the next. A network whose pass failed is tried again after a pause that doubles.
So is one with a contested object, which another program changes again and again. The periodic
resync is there for what the kernel has no events for, and for every event that was lost.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from warpd.kernel.state import ROOT

SETTLE_S: Final = 0.03  # after the last change of a file
SETTLE_MAX_S: Final = 0.5  # after the first, whatever else goes on in that folder
# A trigger may tell of half a change (a folder of versions first, then the symlink), or late: look
# again meanwhile.
AGAIN_S: Final = (0.05, 0.1, 0.2, 0.4, 0.8)
GATHER_S: Final = 0.005  # events of one cause come together
# After a pass the loop rests this many times as long as the last look of the pass took: a storm of
# events that leads to no change takes a third of a CPU.
COOLDOWN_RATIO: Final = 2.0
RESYNC_SHARE: Final = 10.0  # the periodic resync takes at most a tenth of the time
FIRST_PAUSE_S: Final = 1.0
PAUSE_MAX_S: Final = 300.0
BUSY_PAUSE_S: Final = 0.3
CONTESTED_COUNT: Final = 5
CONTESTED_WITHIN_S: Final = 60.0
# A network that another program disturbs carries no traffic during its pause, so the pause is
# short. COOLDOWN_RATIO limits what its passes cost.
CONTESTED_PAUSE_MAX_S: Final = 8.0
# For the gateway's own group: without its table no network has egress, and none in a VRF forwards.
# What networks have in that table is theirs, and waits for CONTESTED_PAUSE_MAX_S.
GUARD_PAUSE_MAX_S: Final = 2.0
FORGOTTEN_S: Final = 300.0  # after which an object that nobody changes is no longer contested


@dataclass(frozen=True, slots=True)
class PassRequest:
    """A pass to make.

    Attributes:
        files: whether files may have changed. Every pass reads those that have.
        groups: which networks to look at, by group; None is everything.
        asked: set at the start, by SIGHUP, and when an undo is due. Pauses are ignored, and the
            files are read even if their fingerprint is unchanged.
        retry: what could not be written into the state folder is due to be tried again.
        paused: networks whose pause is not over. Their objects in the root are not repaired.
    """

    files: bool = False
    groups: frozenset[str] | None = frozenset()
    asked: bool = False
    retry: bool = False
    paused: frozenset[str] = frozenset()

    @property
    def writes(self) -> bool:
        """Whether this pass tries again to write what the state folder did not take before."""
        return self.asked or self.retry or self.groups is None


@dataclass(frozen=True, slots=True)
class PassResult:
    """What came of a pass, as far as what comes next depends on it.

    Attributes:
        busy: another command held the lock of the state folder.
        writing: a file was being written.
        failed: groups that are not as they should be.
        disturbed: those of them that failed only by what another program may have done meanwhile.
        all_failed: the kernel could not be read, or the whole pass failed.
        unwritten: the state folder does not take what the files ask for; what gives access waits.
        reverted: object -> group, of what another program had changed and this pass has repaired.
        changed: how many steps were done.
        seconds: how long the last look of the pass took.
    """

    busy: bool = False
    writing: bool = False
    failed: frozenset[str] = frozenset()
    disturbed: frozenset[str] = frozenset()
    all_failed: bool = False
    unwritten: bool = False
    reverted: Mapping[str, str] = field(default_factory=dict)
    changed: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Backoff:
    """A pause before something is tried again.

    Attributes:
        times: how often it was tried so far.
        until: when it is tried again, by the scheduler's clock.
    """

    times: int
    until: float


class Scheduler:
    """One daemon's triggers, and the passes that they lead to.

    Times are seconds of one clock that never goes back.
    """

    def __init__(self, interval_s: float, jitter: Callable[[], float], now: float) -> None:
        """`interval_s` is the time between periodic resyncs; `jitter` gives a number between
        0 and 1, by which pauses differ.
        """
        self.interval_s = interval_s
        self._jitter = jitter
        self._groups: set[str] = set()
        self._later: set[str] = set()  # groups to look at when their pause is over
        self._everything = False
        self._busy_until = now
        self._asked = True
        self._files_due: deque[float] = deque()
        self._first_change_s: float | None = (
            None  # the first change of a file that was not looked at yet
        )
        self._batch_until = now  # when what was heard may be worked on
        self._idle_until = now
        self._next_resync = now
        self._failing: dict[str, Backoff] = {}
        self._reverted: dict[str, deque[float]] = {}
        self._contested: dict[str, str] = {}  # object -> group
        self._contested_backoff: dict[str, Backoff] = {}
        self._pass_backoff: Backoff | None = None  # passes that failed as a whole
        self._unwritten: Backoff | None = None  # writes into the state folder that failed

    # -- triggers

    def on_events(self, groups: Iterable[str] | None, now: float) -> None:
        """Something happened in these groups; None: nobody knows where."""
        if not self._groups and not self._everything:
            self._batch_until = now + GATHER_S
        if groups is None:
            self._everything = True
        else:
            self._groups |= set(groups)

    def files_touched(self, now: float) -> None:
        self._first_change_s = now if self._first_change_s is None else self._first_change_s
        first = min(now + SETTLE_S, self._first_change_s + SETTLE_MAX_S)
        self._files_due = deque([first, *(now + pause for pause in AGAIN_S)])

    def request_resync(self) -> None:
        """Make a full observation at once, whatever is paused."""
        self._asked = True

    # -- decisions

    def due(self, now: float) -> PassRequest | None:
        """The pass to make now, taken off the list; None when there is none."""
        if now < self._busy_until:
            return None
        if self._asked or now >= self._next_resync:
            return self._look_at_everything(now)
        files = bool(self._files_due) and self._files_due[0] <= now
        if files:
            self._clear_files(now)
        groups = self._take_groups(now)
        retry = self._unwritten is not None and self._unwritten.until <= now
        request = PassRequest(files or retry, groups, retry=retry)
        if request == PassRequest():
            return None
        paused = frozenset[str]() if groups is None else self._left_for_later(groups, now)
        return dataclasses.replace(request, paused=paused)

    def _look_at_everything(self, now: float) -> PassRequest:
        asked, self._asked = self._asked, False
        self._groups.clear()
        self._later.clear()
        self._everything = False
        self._clear_files(now)
        self._next_resync = now + self.interval_s
        return PassRequest(True, None, asked)

    def _take_groups(self, now: float) -> frozenset[str] | None:
        """Groups to look at now, failing ones whose pause is over among them; None: everything."""
        if now < self._may_work():
            return frozenset()
        if self._everything:
            self._groups, self._everything = set(), False
            return None
        due = frozenset(group for group in self._waiting() if not self._is_paused(group, now))
        self._later = (self._later | self._groups) - due
        self._groups = set()
        return due

    def _left_for_later(self, groups: frozenset[str], now: float) -> frozenset[str]:
        """Return the paused groups, whose drift in the root is left. Contested ones are queued for
        the end of their pause.
        """
        waiting = (self._contested_backoff.keys() | self._failing.keys()) - groups
        paused = frozenset(group for group in waiting if self._is_paused(group, now))
        if groups:
            self._later |= paused & self._contested_backoff.keys()
        return paused

    def _may_work(self) -> float:
        """When groups may be looked at: after a whole pass that failed, not before its pause is
        over.
        """
        ready = max(self._batch_until, self._idle_until)
        return ready if self._pass_backoff is None else max(ready, self._pass_backoff.until)

    def _waiting(self) -> set[str]:
        """Groups to look at as soon as they may be: of which something was heard, or that fail."""
        return self._groups | self._later | self._failing.keys()

    def wait_s(self, now: float) -> float:
        """Seconds until there can be something to do without a new trigger."""
        first = now if self._asked else min(self._times())
        return max(0.0, max(first, self._busy_until) - now)

    def _times(self) -> Iterator[float]:
        """Every moment at which something may be due."""
        yield self._next_resync
        if self._files_due:
            yield self._files_due[0]
        if self._unwritten is not None:
            yield self._unwritten.until
        if self._everything:
            yield self._may_work()
        for group in self._waiting():
            yield max(self._may_work(), self._pause_end(group))

    # -- results

    def on_result(self, request: PassRequest, result: PassResult, now: float) -> None:
        """A pass is over."""
        self._idle_until = now + COOLDOWN_RATIO * result.seconds
        if request.groups is None:
            self._next_resync = now + max(self.interval_s, RESYNC_SHARE * result.seconds)
        if result.busy or result.writing:
            self._requeue(request, now)
        elif result.all_failed:
            self._pass_backoff = self._longer(self._pass_backoff, PAUSE_MAX_S, now)
            self._next_resync = self._pass_backoff.until
        else:
            self._looked(request, result, now)

    def _looked(self, request: PassRequest, result: PassResult, now: float) -> None:
        if request.groups is None or request.groups or result.seconds:
            self._pass_backoff = None  # the kernel was looked at
        self._pause_writes(request, result, now)
        looked_at = self._failing.keys() if request.groups is None else request.groups
        for group in set(looked_at) - result.failed:
            self._failing.pop(group, None)
        for group in result.failed:
            max_s = _contested_pause_max_s(group) if group in result.disturbed else PAUSE_MAX_S
            self._failing[group] = self._longer(self._failing.get(group), max_s, now)
        self._watch_contested(result.reverted, now)

    def _pause_writes(self, request: PassRequest, result: PassResult, now: float) -> None:
        if not result.unwritten:
            self._unwritten = None
        elif self._unwritten is None or request.writes:
            self._unwritten = self._longer(self._unwritten, PAUSE_MAX_S, now)

    def _requeue(self, request: PassRequest, now: float) -> None:
        """Requeue a request that met a lock or a file being written; no pass starts before."""
        self._busy_until = now + BUSY_PAUSE_S
        self._asked = self._asked or request.asked
        if request.files:
            self._files_due = deque([self._busy_until])
        if request.groups is None:
            self._next_resync = self._busy_until
        self._groups |= request.groups or frozenset()

    # -- pauses

    def _is_paused(self, group: str, now: float) -> bool:
        return self._pause_end(group) > now

    def _pause_end(self, group: str) -> float:
        """When the last pause of a group is over; it may be past."""
        pauses = self._failing.get(group), self._contested_backoff.get(group)
        return max((pause.until for pause in pauses if pause is not None), default=-math.inf)

    def _longer(self, previous: Backoff | None, max_s: float, now: float) -> Backoff:
        """The next pause: twice as long as the one before, up to `max_s`, and a quarter more or
        less.
        """
        times = previous.times + 1 if previous is not None else 1
        pause_s = min(max_s, FIRST_PAUSE_S * 2 ** min(times - 1, 16))
        return Backoff(times, now + pause_s * (0.75 + 0.5 * self._jitter()))

    def _watch_contested(self, reverted: Mapping[str, str], now: float) -> None:
        """Slow down the groups of objects that others have changed CONTESTED_COUNT times within
        CONTESTED_WITHIN_S.
        """
        for item, group in reverted.items():
            times = self._reverted.setdefault(item, deque(maxlen=CONTESTED_COUNT))
            times.append(now)
            if len(times) == CONTESTED_COUNT and now - times[0] <= CONTESTED_WITHIN_S:
                self._contested[item] = group
        slowed = {self._contested[item] for item in reverted if item in self._contested}
        for group in slowed:
            self._contested_backoff[group] = self._longer(
                self._contested_backoff.get(group), _contested_pause_max_s(group), now
            )
        self._forget_quiet(now)

    def _forget_quiet(self, now: float) -> None:
        """Objects that nobody has changed for FORGOTTEN_S are no longer contested."""
        quiet = [item for item, times in self._reverted.items() if now - times[-1] > FORGOTTEN_S]
        for item in quiet:
            del self._reverted[item]
            group = self._contested.pop(item, None)
            if group is not None and group not in self._contested.values():
                self._contested_backoff.pop(group, None)

    def _clear_files(self, now: float) -> None:
        while self._files_due and self._files_due[0] <= now:
            self._files_due.popleft()
            self._first_change_s = None

    # -- for status

    @property
    def contested(self) -> dict[str, str]:
        """Object -> group, of what another program keeps changing."""
        return dict(self._contested)

    def failing(self, now: float) -> dict[str, tuple[int, float]]:
        """Group -> (times tried, seconds until the next try)."""
        pauses = dict(self._failing)
        if self._pass_backoff is not None:
            pauses[ROOT] = self._pass_backoff
        return {
            group: (pause.times, max(0.0, pause.until - now)) for group, pause in pauses.items()
        }

    def next_resync_s(self, now: float) -> float:
        return max(0.0, self._next_resync - now)


def _contested_pause_max_s(group: str) -> float:
    """The longest pause of a group that another program disturbs."""
    return GUARD_PAUSE_MAX_S if group == ROOT else CONTESTED_PAUSE_MAX_S
