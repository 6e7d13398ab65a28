"""When the daemon does what: triggers and clock readings in, work out. No clock, no sleeping."""

from __future__ import annotations

import itertools
import math

import pytest

from warpd.daemon.scheduler import (
    BUSY_PAUSE_S,
    CONTESTED_COUNT,
    CONTESTED_PAUSE_MAX_S,
    COOLDOWN_RATIO,
    FIRST_PAUSE_S,
    FORGOTTEN_S,
    GATHER_S,
    GUARD_PAUSE_MAX_S,
    PAUSE_MAX_S,
    SETTLE_MAX_S,
    SETTLE_S,
    PassRequest,
    PassResult,
    Scheduler,
)

EVERYTHING = PassRequest(True, None)


def quiet(interval_s: float = 30.0) -> Scheduler:
    """After its first look, at time 0; no jitter."""
    scheduler = Scheduler(interval_s, lambda: 0.5, 0.0)
    first = scheduler.due(0.0)
    assert first == PassRequest(True, None, True)
    scheduler.on_result(first, PassResult(), 0.0)
    return scheduler


def test_nothing_is_due_until_the_periodic_look() -> None:
    scheduler = quiet()
    assert scheduler.due(29.9) is None and scheduler.wait_s(10.0) == 20.0
    assert scheduler.due(30.0) == EVERYTHING


def test_a_slow_look_comes_less_often() -> None:
    scheduler = quiet()
    scheduler.on_result(EVERYTHING, PassResult(seconds=6.0), 0.0)
    assert scheduler.wait_s(0.0) == 60.0


def test_events_of_one_cause_are_one_piece_of_work() -> None:
    scheduler = quiet()
    scheduler.on_events({"warp-1"}, 1.0)
    scheduler.on_events({"warp-2", ""}, 1.001)
    assert scheduler.due(1.002) is None and scheduler.wait_s(1.0) == pytest.approx(GATHER_S)
    assert scheduler.due(1.0 + GATHER_S) == PassRequest(groups=frozenset({"warp-1", "warp-2", ""}))
    assert scheduler.due(2.0) is None


def test_lost_events_lead_to_a_look_at_everything() -> None:
    scheduler = quiet()
    scheduler.on_events({"warp-1"}, 1.0)
    scheduler.on_events(None, 1.0)
    work = scheduler.due(1.1)
    assert work is not None and work.groups is None


def test_a_storm_leaves_two_thirds_of_the_time_free() -> None:
    scheduler, now, busy = quiet(1000.0), 1.0, 0.0
    while now < 100.0:
        scheduler.on_events({"warp-1"}, now)
        work = scheduler.due(now)
        if work is not None:
            scheduler.on_result(work, PassResult(seconds=0.1), now + 0.1)
            now, busy = now + 0.1, busy + 0.1
        now += 0.001
    assert 25 < busy < 34


def test_files_settle_first_and_are_looked_at_again_for_a_while() -> None:
    """A rename is told late: the looks after it are only a comparison of times."""
    scheduler = quiet()
    scheduler.files_touched(1.0)
    assert scheduler.due(1.0 + SETTLE_S / 2) is None
    assert scheduler.due(1.0 + SETTLE_S) == PassRequest(files=True)
    seen, now = 1, 1.0 + SETTLE_S
    while (wait := scheduler.wait_s(now)) < 2:
        now += wait
        seen += scheduler.due(now) == PassRequest(files=True)
    assert seen == 6 and now == pytest.approx(1.8)


def test_a_folder_that_is_never_quiet_keeps_nobody_from_the_files() -> None:
    scheduler, looked = quiet(), list[float]()
    for tick in range(500):  # something is written beside them each hundredth of a second
        scheduler.files_touched(1.0 + tick / 100)
        if scheduler.due(1.0 + tick / 100) is not None:
            looked.append(1.0 + tick / 100)
    assert 8 <= len(looked) <= 10
    assert all(
        later - before <= SETTLE_MAX_S + 0.02
        for before, later in itertools.pairwise([1.0, *looked])
    )


def test_a_busy_neighbour_is_tried_again_soon() -> None:
    scheduler = quiet()
    scheduler.files_touched(1.0)
    scheduler.on_events({"warp-1"}, 1.0)
    work = scheduler.due(1.0 + SETTLE_S)
    assert work == PassRequest(True, frozenset({"warp-1"}))
    scheduler.on_result(work, PassResult(busy=True), 1.1)
    assert scheduler.wait_s(1.1) == pytest.approx(BUSY_PAUSE_S)
    assert scheduler.due(1.1 + BUSY_PAUSE_S) == work


def test_a_full_look_that_found_somebody_at_work_is_made_up_for() -> None:
    scheduler = quiet()
    scheduler.on_result(EVERYTHING, PassResult(writing=True), 30.0)
    assert scheduler.due(30.0 + BUSY_PAUSE_S) == EVERYTHING


def test_pauses_after_failures_double_up_to_a_limit_and_others_go_on() -> None:
    scheduler, now, pauses = quiet(math.inf), 1.0, []
    scheduler.on_events({"warp-1"}, now)
    for _ in range(12):
        now += max(scheduler.wait_s(now), GATHER_S)
        work = scheduler.due(now)
        assert work is not None and work.groups == {"warp-1"}
        scheduler.on_result(work, PassResult(failed=frozenset({"warp-1"})), now)
        pauses.append(scheduler.failing(now)["warp-1"][1])
        scheduler.on_events({"warp-1"}, now)  # more events do not make it sooner
        assert scheduler.due(now + pauses[-1] / 2) is None
        scheduler.on_events({"warp-2"}, now + pauses[-1] / 2)
        other = scheduler.due(now + pauses[-1] / 2 + GATHER_S)
        assert other is not None and other.groups == {"warp-2"}
    assert pauses[:4] == pytest.approx([FIRST_PAUSE_S, 2.0, 4.0, 8.0]) and pauses[
        -1
    ] == pytest.approx(PAUSE_MAX_S)


@pytest.mark.parametrize(
    ("group", "max_s"), [("", GUARD_PAUSE_MAX_S), ("warp-1", CONTESTED_PAUSE_MAX_S)]
)
def test_what_another_program_undoes_in_the_same_pass_is_tried_again_within_seconds(
    group: str, max_s: float
) -> None:
    scheduler, now, pauses = quiet(math.inf), 1.0, []
    request, failed = PassRequest(groups=frozenset({group})), frozenset({group})
    for _ in range(12):
        scheduler.on_result(request, PassResult(failed=failed, disturbed=failed), now)
        pauses.append(scheduler.failing(now)[group][1])
        now += pauses[-1]
    assert pauses[0] == pytest.approx(FIRST_PAUSE_S) and max(pauses) == pytest.approx(max_s)
    scheduler.on_result(request, PassResult(failed=failed), now)
    assert scheduler.failing(now)[group][1] == pytest.approx(PAUSE_MAX_S), "refused"


def test_success_ends_the_pauses() -> None:
    scheduler = quiet()
    scheduler.on_result(
        PassRequest(groups=frozenset({"warp-1"})), PassResult(failed=frozenset({"warp-1"})), 1.0
    )
    scheduler.on_result(PassRequest(groups=frozenset({"warp-1"})), PassResult(), 3.0)
    assert not scheduler.failing(3.0)


def test_a_pass_that_failed_as_a_whole_is_tried_again() -> None:
    scheduler = quiet()
    scheduler.on_result(EVERYTHING, PassResult(all_failed=True), 1.0)
    work = scheduler.due(1.0 + FIRST_PAUSE_S)
    assert work == EVERYTHING


def test_pauses_grow_when_whole_passes_fail() -> None:
    """The periodic resync and events do not shorten the pause; after a good pass the pauses begin
    anew.
    """
    scheduler, now, pauses = quiet(), 30.0, []
    for _ in range(12):
        now += scheduler.wait_s(now)
        work = scheduler.due(now)
        assert work is not None and work.groups is None
        scheduler.on_result(work, PassResult(all_failed=True), now)
        pauses.append(scheduler.wait_s(now))
        scheduler.on_events({"warp-1"}, now)
        scheduler.on_events({""}, now)
        assert scheduler.due(now + pauses[-1] / 2) is None
        assert scheduler.failing(now)[""] == (len(pauses), pauses[-1])
    assert pauses[:5] == pytest.approx([1.0, 2.0, 4.0, 8.0, 16.0]) and pauses[-1] == pytest.approx(
        PAUSE_MAX_S
    )
    scheduler.on_result(EVERYTHING, PassResult(), now)
    assert not scheduler.failing(now)
    scheduler.on_result(EVERYTHING, PassResult(all_failed=True), now)
    assert scheduler.wait_s(now) == pytest.approx(FIRST_PAUSE_S)


def test_a_changed_file_is_read_at_once_though_whole_passes_fail() -> None:
    scheduler = quiet()
    for _ in range(8):
        scheduler.on_result(EVERYTHING, PassResult(all_failed=True), 1.0)
    scheduler.files_touched(2.0)
    assert scheduler.due(2.0 + SETTLE_S) == PassRequest(files=True)
    scheduler.on_result(PassRequest(files=True), PassResult(), 2.1)  # it was the same
    assert scheduler.failing(2.1)


def test_writes_that_failed_are_tried_again_after_growing_pauses() -> None:
    scheduler, now, pauses = quiet(math.inf), 1.0, []
    scheduler.on_result(PassRequest(files=True), PassResult(unwritten=True), now)
    for _ in range(10):
        pauses.append(scheduler.wait_s(now))
        scheduler.on_result(
            PassRequest(groups=frozenset({"warp-1"})), PassResult(unwritten=True), now
        )  # a repair does not try to write
        assert scheduler.wait_s(now) == pauses[-1]
        now += pauses[-1]
        work = scheduler.due(now)
        assert work == PassRequest(files=True, retry=True)
        scheduler.on_result(work, PassResult(unwritten=True), now)
    assert pauses[:4] == pytest.approx([1.0, 2.0, 4.0, 8.0]) and pauses[-1] == pytest.approx(
        PAUSE_MAX_S
    )
    scheduler.on_result(PassRequest(files=True, retry=True), PassResult(), now)
    assert scheduler.wait_s(now) == math.inf


def contest(scheduler: Scheduler, group: str, now: float, times: int) -> tuple[float, list[float]]:
    """Somebody undoes the same at once each time; (now, pauses between repairs)."""
    at = []
    for _ in range(times):
        scheduler.on_events({group}, now)
        now += max(scheduler.wait_s(now), GATHER_S)
        work = scheduler.due(now)
        assert work is not None and work.groups is not None and group in work.groups
        scheduler.on_result(work, PassResult(reverted={"root/rule/x": group}, seconds=0.01), now)
        at.append(now)
    return now, [b - a for a, b in itertools.pairwise(at)]


def test_a_contested_object_is_named_and_slowed_down() -> None:
    scheduler = quiet(math.inf)
    _, pauses = contest(scheduler, "warp-1", 1.0, 12)
    assert scheduler.contested == {"root/rule/x": "warp-1"}
    assert max(pauses[: CONTESTED_COUNT - 1]) < 0.1 and pauses[-1] == pytest.approx(
        CONTESTED_PAUSE_MAX_S, abs=0.1
    )


def test_a_contested_object_in_the_root_is_slowed_down_though_events_name_the_root() -> None:
    scheduler, now, at = quiet(math.inf), 1.0, []
    while now < 30:  # another program undoes it at once, and the event tells of the root only
        scheduler.on_events({""}, now)
        now += max(scheduler.wait_s(now), GATHER_S) + 1e-6
        work = scheduler.due(now)
        assert work is not None and work.groups is not None
        repaired = "warp-1" not in work.paused
        reverted = {"root/rule/x": "warp-1"} if repaired else {}
        scheduler.on_result(work, PassResult(reverted=reverted, seconds=0.01), now)
        if repaired:
            at.append(now)
    assert scheduler.contested == {"root/rule/x": "warp-1"}
    pauses = [b - a for a, b in itertools.pairwise(at)]
    assert max(pauses[: CONTESTED_COUNT - 1]) < 0.1 and pauses[CONTESTED_COUNT] >= 1.0


def test_what_the_root_shows_of_a_network_that_waits_is_looked_at_later() -> None:
    scheduler = quiet(math.inf)
    now, _ = contest(scheduler, "warp-1", 1.0, CONTESTED_COUNT)
    scheduler.on_events({""}, now)
    now += scheduler.wait_s(now)
    request = scheduler.due(now)
    assert request == PassRequest(groups=frozenset({""}), paused=frozenset({"warp-1"}))
    scheduler.on_result(request, PassResult(), now)
    now += scheduler.wait_s(now)
    assert scheduler.due(now) == PassRequest(groups=frozenset({"warp-1"}))


def test_nothing_is_due_while_the_lock_is_held() -> None:
    scheduler = quiet(math.inf)
    failing = PassRequest(groups=frozenset({"warp-1"}))
    scheduler.on_result(failing, PassResult(failed=frozenset({"warp-1"}), seconds=0.01), 1.0)
    now = 1.0 + scheduler.wait_s(1.0)
    request = scheduler.due(now)
    assert request == failing
    scheduler.on_result(request, PassResult(busy=True), now)
    assert scheduler.due(now) is None
    assert scheduler.wait_s(now) == pytest.approx(BUSY_PAUSE_S)
    assert scheduler.due(now + BUSY_PAUSE_S) == failing


def test_what_was_asked_for_while_the_lock_was_held_is_not_forgotten() -> None:
    scheduler = quiet(math.inf)
    scheduler.request_resync()
    request = scheduler.due(1.0)
    assert request is not None and request.asked
    scheduler.on_result(request, PassResult(busy=True), 1.0)
    again = scheduler.due(1.0 + BUSY_PAUSE_S)
    assert again is not None and again.asked


def test_a_group_that_is_slowed_and_fails_waits_for_the_later_of_both() -> None:
    scheduler = quiet(math.inf)
    now, _ = contest(scheduler, "warp-1", 1.0, CONTESTED_COUNT)
    request = PassRequest(groups=frozenset({"warp-1"}))
    for _ in range(6):
        scheduler.on_result(request, PassResult(failed=frozenset({"warp-1"}), seconds=0.01), now)
    scheduler.on_events({"warp-1"}, now)
    wait_s = scheduler.wait_s(now)
    assert wait_s > 5
    assert scheduler.due(now + wait_s / 2) is None
    assert scheduler.wait_s(now + wait_s / 2) == pytest.approx(wait_s / 2)
    assert scheduler.due(now + wait_s + 0.1) == request


def test_a_failing_group_is_not_tried_again_before_its_contested_pause_is_over() -> None:
    scheduler = quiet(math.inf)
    now, _ = contest(scheduler, "warp-1", 1.0, CONTESTED_COUNT + 4)
    request = PassRequest(groups=frozenset({"warp-1"}))
    scheduler.on_result(request, PassResult(failed=frozenset({"warp-1"})), now)
    assert scheduler.failing(now)["warp-1"][1] == pytest.approx(FIRST_PAUSE_S)
    assert scheduler.due(now + FIRST_PAUSE_S + 0.1) is None
    assert scheduler.wait_s(now) == pytest.approx(CONTESTED_PAUSE_MAX_S)
    assert scheduler.due(now + CONTESTED_PAUSE_MAX_S) == request


def test_a_failing_group_is_not_tried_again_before_the_cool_down_is_over() -> None:
    scheduler = quiet(math.inf)
    request = PassRequest(groups=frozenset({"warp-1"}))
    look_s = 4 * FIRST_PAUSE_S
    scheduler.on_result(request, PassResult(failed=frozenset({"warp-1"}), seconds=look_s), now=1.0)
    ready = 1.0 + COOLDOWN_RATIO * look_s
    assert scheduler.due(1.0 + look_s) is None
    assert scheduler.wait_s(1.0) == pytest.approx(ready - 1.0)
    assert scheduler.due(ready) == request


def test_the_guard_is_never_left_open_for_long() -> None:
    scheduler = quiet(math.inf)
    _, pauses = contest(scheduler, "", 1.0, 12)
    assert scheduler.contested and max(pauses) <= GUARD_PAUSE_MAX_S + 0.1


def test_a_contest_that_ended_is_forgotten() -> None:
    scheduler = quiet(math.inf)
    now, _ = contest(scheduler, "warp-1", 1.0, CONTESTED_COUNT + 1)
    scheduler.on_result(
        PassRequest(groups=frozenset({"warp-2"})),
        PassResult(reverted={"other": "warp-2"}),
        now + FORGOTTEN_S + 1,
    )
    assert not scheduler.contested
    scheduler.on_events({"warp-1"}, now + FORGOTTEN_S + 2)
    assert scheduler.due(now + FORGOTTEN_S + 2.1) is not None
