"""What is told of a gateway: each fact once, by one code, in the same words everywhere."""

from __future__ import annotations

from typing import Any

import pytest

from warpd.cli.conditions import first_lines
from warpd.cli.inspect import status_text
from warpd.daemon.metric import Counted
from warpd.daemon.metrics import metrics_text
from warpd.daemon.stats import Stats
from warpd.errors import WarpError
from warpd.service.conditions import Condition, Facts, Retry, Watched, conditions, from_json, merged
from warpd.service.views.render import Paint

DAMAGED = WarpError(
    "state/allocations.json is damaged: line 1",
    code="state-broken",
    who="operator",
    hint="restore it",
)
PENDING = {
    "number": 7,
    "by": "ana (warpctl apply)",
    "until": "2026-01-01T00:00:00+00:00",
    "left_s": 41.4,
}
CASES: dict[str, tuple[Facts, str]] = {
    "master-lost": (Facts(lost_master="allocations were given with it"), "master secret is gone"),
    "state-unwritable": (
        Facts(obstacle="read-only", state_dir="/var/lib/warpd"),
        "/var/lib/warpd is read-only",
    ),
    "edit-unwritten": (
        Facts(unwritten="allocations.json: No space left on device"),
        "No space left",
    ),
    "state-damaged": (
        Facts(damaged=DAMAGED),
        "allocations.json is damaged",
    ),
    "yaml-invalid": (
        Facts(findings=("warp.yaml:3:1: networks.a: bad", "another")),
        "warp.yaml:3:1: networks.a: bad (and 1 more)",
    ),
    "awaiting-consent": (
        Facts(findings=("x",), awaiting="the YAML lacks 3 of 4 networks"),
        "lacks 3 of 4 networks",
    ),
    "confirm-pending": (Facts(pending=PENDING), "41 s left, until 2026-01-01"),
    "rolled-back": (Facts(rolled_back_to=4), "to number 4"),
    "source-failing": (Facts(source_error="no such ref"), "no such ref"),
    "uplink-missing": (Facts(uplink_state="missing"), "no default route"),
    "uplink-down": (Facts(uplink="eth0", uplink_state="down"), "eth0 is down"),
    "uplink-unrouted": (Facts(uplink="eth0", uplink_state="no route"), "through the uplink eth0"),
    "failing": (
        Facts(failing={"corp": Retry(3, 4.2, "EPERM")}),
        "corp (EPERM; tried 3 times, again in 4 s)",
    ),
    "unsupported": (Facts(problems={"corp": "no VRF"}), "corp (no VRF)"),
    "contested": (Facts(contested={"root/rule/x": "corp"}), "root/rule/x of corp"),
    "forwarding-taken": (
        Facts(taken_forwarding=(4, 6)),
        "IPv4 and IPv6 forwarding for the whole host",
    ),
    "events-lost": (Facts(event_overruns=2), "lost 2 times"),
    "events-unwritten": (
        Facts(events_unwritten="No space left on device"),
        "in memory only: No space left",
    ),
    "daemon-down": (Facts(running=False), "warpd is not running"),
}


def test_all_is_well() -> None:
    assert conditions(Facts(uplink="eth0", state_dir="/var/lib/warpd")) == ()


@pytest.mark.parametrize("code", CASES)
def test_one_fact_is_one_condition(code: str) -> None:
    facts, words = CASES[code]
    [found] = conditions(facts)
    assert found.code == code and words in found.text and found.hint


@pytest.mark.parametrize("code", CASES)
def test_status_and_metrics_tell_it(code: str) -> None:
    [found] = conditions(CASES[code][0])
    data: dict[str, Any] = {
        "gateway": "gw",
        "in_sync": False,
        "uplink": "",
        "networks": [],
        "warnings": [],
        "blocked": [],
    }
    text = status_text({**data, "quarantine": [], "conditions": [found.as_json()]})
    assert text.startswith(found.severity) and " ".join(text.split()).startswith(
        f"{found.severity} {found.text}"
    )
    assert all(len(line) <= 80 for line in text.splitlines())
    told = status_text({**data, "quarantine": [], "daemon": {"conditions": [found.as_json()]}})
    assert told == text, "a member of the groups reads the same"
    assert f'warpd_condition{{code="{code}",severity="{found.severity}"}} 1' in metrics_text(
        Counted(Stats(conditions=(found,)))
    )


def test_where_nothing_was_applied_nothing_is_in_force() -> None:
    [found] = conditions(Facts(findings=("warp.yaml:1:1: x",), last_good=False))
    assert "none was applied before" in found.text and "in force" not in found.text


def test_the_worst_comes_first() -> None:
    found = conditions(Facts(running=False, pending=PENDING, uplink="eth0", uplink_state="down"))
    assert [item.severity for item in found] == ["error", "warning", "warning"]


def test_what_is_many_is_named_in_part() -> None:
    [found] = conditions(Facts(failing={f"n{number}": Retry(1, 1.0) for number in range(9)}))
    assert "and 4 more" in found.text and len(found.text) < 300


def test_json_keeps_all() -> None:
    found = conditions(Facts(running=False, obstacle="full"))
    assert from_json([item.as_json() for item in found]) == found


def test_what_was_watched_goes_before_what_was_found() -> None:
    own, watched = (
        Condition("a", "warning", "own"),
        Condition("a", "error", "watched", since="then"),
    )
    assert merged([own, Condition("b", "error", "x")], [watched]) == (
        watched,
        Condition("b", "error", "x"),
    )


def test_when_it_began_and_that_it_is_over() -> None:
    watched = Watched()
    first, other = Condition("a", "error", "1"), Condition("b", "error", "1")
    assert watched.update([first], "t1") == ([Condition("a", "error", "1", since="t1")], [])
    begun, over = watched.update([Condition("a", "error", "2"), other], "t2")
    assert [item.code for item in begun] == ["b"] and not over
    assert [item.since for item in watched.now] == [
        "t1",
        "t2",
    ], "other words are no other condition"
    begun, over = watched.update([other], "t3")
    assert not begun and [item.code for item in over] == ["a"]


def test_a_line_says_since_when_and_what_to_do() -> None:
    [line] = first_lines(
        [Condition("a", "error", "it is so", "do that", "then").as_json()], Paint(False)
    )
    assert line == "error   it is so (since then)\n        do that"
