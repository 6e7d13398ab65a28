"""What is kept and logged of each network: bounded, in order, and no network pushes out what is
told of another.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import structlog
from hypothesis import given
from hypothesis import strategies as st

from warpd.daemon.event_buffer import LINES_BURST, LINES_PER_S, EventRow, LineRate, LoggedEvent
from warpd.daemon.log import FairLines
from warpd.daemon.mailbox import EVENTS_MAX, Mailbox

ROW = 12


def row_of(networks: list[str]) -> EventRow:
    row = EventRow(ROW)
    for number, network in enumerate(networks, 1):
        row.add(LoggedEvent(number, "", "change", {"network": network} if network else {}))
    return row


@given(st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=60))
def test_each_keeps_its_latest_up_to_its_share(networks: list[str]) -> None:
    found = row_of(networks).after(0)
    assert len(found) == min(len(networks), ROW)
    assert [event.number for event in found] == sorted(event.number for event in found)
    told, kept = Counter(networks), Counter(event.network for event in found)
    for network, count in told.items():
        assert kept[network] >= min(count, ROW // 4)
        latest = [number for number, name in enumerate(networks, 1) if name == network][
            -kept[network] :
        ]
        assert [event.number for event in found if event.network == network] == latest


def test_a_network_that_is_told_of_all_the_time_pushes_out_its_own_events() -> None:
    mailbox = Mailbox()
    mailbox.tell("t", "rollback", number=3)
    mailbox.tell("t", "problem", network="calm", code="x")
    for number in range(3 * EVENTS_MAX):
        mailbox.tell("t", "object_contested", network="loud", object=str(number))
    kinds = Counter(event.kind for event in mailbox.events())
    assert kinds == {"rollback": 1, "problem": 1, "object_contested": EVENTS_MAX - 2}


def test_those_after_a_number() -> None:
    assert [event.number for event in row_of(["a", "b", "a", ""]).after(2)] == [3, 4]


def test_lines_of_one_network_do_not_hide_those_of_another() -> None:
    now = [0.0]
    processor = FairLines(lambda: now[0])

    def passes(network: str | None) -> dict[str, Any] | None:
        try:
            return dict(
                processor(None, "info", {"event": "x", **({"network": network} if network else {})})
            )
        except structlog.DropEvent:
            return None

    logged = [passes("loud") for _ in range(int(LINES_BURST) + 50)]
    assert sum(line is not None for line in logged) == int(LINES_BURST)
    assert passes("calm") == {"event": "x", "network": "calm"} and passes(None) == {"event": "x"}
    now[0] = 1 / LINES_PER_S
    assert passes("loud") == {"event": "x", "network": "loud", "left_out": 50}
    assert passes("loud") is None


def test_lines_that_were_saved_up_are_bounded() -> None:
    rate = LineRate()
    assert rate.admit("a", 0.0) == 0
    assert sum(rate.admit("a", 1e6) is not None for _ in range(int(LINES_BURST) * 2)) == int(
        LINES_BURST
    )
