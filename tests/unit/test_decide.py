"""When the daemon does what: triggers and clock readings in, work out. No clock, no sleeping."""

from __future__ import annotations

import itertools
import math

import pytest

from warpd.daemon.scheduler import (
    BUSY_PAUSE_S,
    FIGHT_COUNT,
    FIRST_PAUSE_S,
    FORGOTTEN_S,
    GATHER_S,
    GUARD_PAUSE_MAX_S,
    PAUSE_MAX_S,
    SETTLE_MAX_S,
    SETTLE_S,
    Pacer,
    Result,
    Work,
)

EVERYTHING = Work(True, None)


def quiet(interval_s: float = 30.0) -> Pacer:
    """After its first look, at time 0; no jitter."""
    pacer = Pacer(interval_s, lambda: 0.5, 0.0)
    first = pacer.due(0.0)
    assert first == Work(True, None, True)
    pacer.took(first, Result(), 0.0)
    return pacer


def test_nothing_is_due_until_the_periodic_look() -> None:
    pacer = quiet()
    assert pacer.due(29.9) is None and pacer.wait_s(10.0) == 20.0
    assert pacer.due(30.0) == EVERYTHING


def test_a_slow_look_comes_less_often() -> None:
    pacer = quiet()
    pacer.took(EVERYTHING, Result(seconds=6.0), 0.0)
    assert pacer.wait_s(0.0) == 60.0


def test_events_of_one_cause_are_one_piece_of_work() -> None:
    pacer = quiet()
    pacer.hear({"warp-1"}, 1.0)
    pacer.hear({"warp-2", ""}, 1.001)
    assert pacer.due(1.002) is None and pacer.wait_s(1.0) == pytest.approx(GATHER_S)
    assert pacer.due(1.0 + GATHER_S) == Work(groups=frozenset({"warp-1", "warp-2", ""}))
    assert pacer.due(2.0) is None


def test_lost_events_lead_to_a_look_at_everything() -> None:
    pacer = quiet()
    pacer.hear({"warp-1"}, 1.0)
    pacer.hear(None, 1.0)
    work = pacer.due(1.1)
    assert work is not None and work.groups is None


def test_a_storm_leaves_two_thirds_of_the_time_free() -> None:
    pacer, now, busy = quiet(1000.0), 1.0, 0.0
    while now < 100.0:
        pacer.hear({"warp-1"}, now)
        work = pacer.due(now)
        if work is not None:
            pacer.took(work, Result(seconds=0.1), now + 0.1)
            now, busy = now + 0.1, busy + 0.1
        now += 0.001
    assert 25 < busy < 34


def test_files_settle_first_and_are_looked_at_again_for_a_while() -> None:
    """A rename is told late: the looks after it are only a comparison of times."""
    pacer = quiet()
    pacer.files_touched(1.0)
    assert pacer.due(1.0 + SETTLE_S / 2) is None
    assert pacer.due(1.0 + SETTLE_S) == Work(files=True)
    seen, now = 1, 1.0 + SETTLE_S
    while (wait := pacer.wait_s(now)) < 2:
        now += wait
        seen += pacer.due(now) == Work(files=True)
    assert seen == 6 and now == pytest.approx(1.8)


def test_a_folder_that_is_never_quiet_keeps_nobody_from_the_files() -> None:
    pacer, looked = quiet(), list[float]()
    for tick in range(500):  # something is written beside them each hundredth of a second
        pacer.files_touched(1.0 + tick / 100)
        if pacer.due(1.0 + tick / 100) is not None:
            looked.append(1.0 + tick / 100)
    assert 8 <= len(looked) <= 10
    assert all(later - before <= SETTLE_MAX_S + 0.02 for before, later in itertools.pairwise([1.0, *looked]))


def test_a_busy_neighbour_is_tried_again_soon() -> None:
    pacer = quiet()
    pacer.files_touched(1.0)
    pacer.hear({"warp-1"}, 1.0)
    work = pacer.due(1.0 + SETTLE_S)
    assert work == Work(True, frozenset({"warp-1"}))
    pacer.took(work, Result(busy=True), 1.1)
    assert pacer.wait_s(1.1) == pytest.approx(BUSY_PAUSE_S)
    assert pacer.due(1.1 + BUSY_PAUSE_S) == work


def test_a_full_look_that_found_somebody_at_work_is_made_up_for() -> None:
    pacer = quiet()
    pacer.took(EVERYTHING, Result(writing=True), 30.0)
    assert pacer.due(30.0 + BUSY_PAUSE_S) == EVERYTHING


def test_pauses_after_failures_double_up_to_a_limit_and_others_go_on() -> None:
    pacer, now, pauses = quiet(math.inf), 1.0, []
    pacer.hear({"warp-1"}, now)
    for _ in range(12):
        now += max(pacer.wait_s(now), GATHER_S)
        work = pacer.due(now)
        assert work is not None and work.groups == {"warp-1"}
        pacer.took(work, Result(failed=frozenset({"warp-1"})), now)
        pauses.append(pacer.failing(now)["warp-1"][1])
        pacer.hear({"warp-1"}, now)  # more events do not make it sooner
        assert pacer.due(now + pauses[-1] / 2) is None
        pacer.hear({"warp-2"}, now + pauses[-1] / 2)
        other = pacer.due(now + pauses[-1] / 2 + GATHER_S)
        assert other is not None and other.groups == {"warp-2"}
    assert pauses[:4] == pytest.approx([FIRST_PAUSE_S, 2.0, 4.0, 8.0]) and pauses[-1] == pytest.approx(PAUSE_MAX_S)


def test_success_ends_the_pauses() -> None:
    pacer = quiet()
    pacer.took(Work(groups=frozenset({"warp-1"})), Result(failed=frozenset({"warp-1"})), 1.0)
    pacer.took(Work(groups=frozenset({"warp-1"})), Result(), 3.0)
    assert not pacer.failing(3.0)


def test_a_pass_that_failed_as_a_whole_is_tried_again() -> None:
    pacer = quiet()
    pacer.took(EVERYTHING, Result(all_failed=True), 1.0)
    work = pacer.due(1.0 + FIRST_PAUSE_S)
    assert work == EVERYTHING


def test_pauses_grow_when_whole_passes_fail() -> None:
    """The periodic look and events do not shorten the pause; after a good pass the pauses begin anew."""
    pacer, now, pauses = quiet(), 30.0, []
    for _ in range(12):
        now += pacer.wait_s(now)
        work = pacer.due(now)
        assert work is not None and work.groups is None
        pacer.took(work, Result(all_failed=True), now)
        pauses.append(pacer.wait_s(now))
        pacer.hear({"warp-1"}, now)
        pacer.hear({""}, now)
        assert pacer.due(now + pauses[-1] / 2) is None
        assert pacer.failing(now)[""] == (len(pauses), pauses[-1])
    assert pauses[:5] == pytest.approx([1.0, 2.0, 4.0, 8.0, 16.0]) and pauses[-1] == pytest.approx(PAUSE_MAX_S)
    pacer.took(EVERYTHING, Result(), now)
    assert not pacer.failing(now)
    pacer.took(EVERYTHING, Result(all_failed=True), now)
    assert pacer.wait_s(now) == pytest.approx(FIRST_PAUSE_S)


def test_a_changed_file_is_read_at_once_though_whole_passes_fail() -> None:
    pacer = quiet()
    for _ in range(8):
        pacer.took(EVERYTHING, Result(all_failed=True), 1.0)
    pacer.files_touched(2.0)
    assert pacer.due(2.0 + SETTLE_S) == Work(files=True)
    pacer.took(Work(files=True), Result(), 2.1)  # it was the same
    assert pacer.failing(2.1)


def test_writes_that_failed_are_tried_again_after_growing_pauses() -> None:
    pacer, now, pauses = quiet(math.inf), 1.0, []
    pacer.took(Work(files=True), Result(unwritten=True), now)
    for _ in range(10):
        pauses.append(pacer.wait_s(now))
        pacer.took(Work(groups=frozenset({"warp-1"})), Result(unwritten=True), now)  # a repair does not try to write
        assert pacer.wait_s(now) == pauses[-1] == pacer.next_write_s(now)
        now += pauses[-1]
        work = pacer.due(now)
        assert work == Work(files=True, retry=True)
        pacer.took(work, Result(unwritten=True), now)
    assert pauses[:4] == pytest.approx([1.0, 2.0, 4.0, 8.0]) and pauses[-1] == pytest.approx(PAUSE_MAX_S)
    pacer.took(Work(files=True, retry=True), Result(), now)
    assert pacer.wait_s(now) == math.inf and not pacer.next_write_s(now)


def fight(pacer: Pacer, group: str, now: float, times: int) -> tuple[float, list[float]]:
    """Somebody undoes the same at once each time; (now, pauses between repairs)."""
    at = []
    for _ in range(times):
        pacer.hear({group}, now)
        now += max(pacer.wait_s(now), GATHER_S)
        work = pacer.due(now)
        assert work is not None and work.groups is not None and group in work.groups
        pacer.took(work, Result(mended={"root/rule/x": group}, seconds=0.01), now)
        at.append(now)
    return now, [b - a for a, b in itertools.pairwise(at)]


def test_a_fight_is_named_and_slowed_down() -> None:
    pacer = quiet(math.inf)
    _, pauses = fight(pacer, "warp-1", 1.0, 12)
    assert pacer.fights == {"root/rule/x": "warp-1"}
    assert max(pauses[: FIGHT_COUNT - 1]) < 0.1 and pauses[-1] == pytest.approx(30.0, abs=0.1)


def test_the_guard_is_never_left_open_for_long() -> None:
    pacer = quiet(math.inf)
    _, pauses = fight(pacer, "", 1.0, 12)
    assert pacer.fights and max(pauses) <= GUARD_PAUSE_MAX_S + 0.1


def test_a_fight_that_ended_is_forgotten() -> None:
    pacer = quiet(math.inf)
    now, _ = fight(pacer, "warp-1", 1.0, FIGHT_COUNT + 1)
    pacer.took(Work(groups=frozenset({"warp-2"})), Result(mended={"other": "warp-2"}), now + FORGOTTEN_S + 1)
    assert not pacer.fights
    pacer.hear({"warp-1"}, now + FORGOTTEN_S + 2)
    assert pacer.due(now + FORGOTTEN_S + 2.1) is not None
