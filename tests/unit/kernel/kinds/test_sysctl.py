"""Whose forwarding it is: by what the kernel remembers of ours, and by the number that is set."""

from __future__ import annotations

import pytest

from warpd.kernel.kinds.sysctl import (
    FORWARDING6_BY_OTHERS,
    FORWARDING6_BY_US,
    TAG_FENCE4,
    TAG_FENCE6,
    TAG_SET,
    Fences,
    active_fences,
    is_on,
)

OFF, ON = "0", FORWARDING6_BY_OTHERS
REMEMBERED = {
    "by rule": (("eth0",), True, TAG_SET),
    "by tag": ((), False, TAG_SET | TAG_FENCE4 | TAG_FENCE6),
    "by both": (("eth0",), True, TAG_SET | TAG_FENCE4 | TAG_FENCE6),
}


@pytest.mark.parametrize("memory", REMEMBERED)
def test_what_others_turn_on_later_is_theirs(memory: str) -> None:
    assert active_fences(*REMEMBERED[memory], ON, ON) == Fences(taken4=True, taken6=True)


@pytest.mark.parametrize("memory", REMEMBERED)
@pytest.mark.parametrize("six", [OFF, FORWARDING6_BY_US])
def test_what_others_turn_off_again_or_leave_is_fenced(memory: str, six: str) -> None:
    found = active_fences(*REMEMBERED[memory], OFF, six)
    assert found == Fences(REMEMBERED[memory][0], all6=True)


def test_without_any_rule_or_tag_the_number_says_that_it_was_us() -> None:
    assert active_fences((), False, 0, ON, FORWARDING6_BY_US) == Fences(all6=True)


@pytest.mark.parametrize("six", [None, OFF, ON, "7"])
def test_a_host_that_we_have_not_changed_is_not_ours(six: str | None) -> None:
    assert active_fences((), False, TAG_SET, ON, six) == Fences()


@pytest.mark.parametrize(("value", "on"), [(None, False), (OFF, False), (ON, True), ("2", True)])
def test_every_number_but_zero_forwards(value: str | None, on: bool) -> None:
    assert is_on(value) is on
