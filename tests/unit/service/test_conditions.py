"""What is told of a gateway: each fact once, by one code, in the same words everywhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests import world
from warpd.cli.conditions import first_lines
from warpd.cli.inspect import status_text
from warpd.daemon.metric import Counted
from warpd.daemon.metrics import metrics_text
from warpd.daemon.stats import Stats
from warpd.errors import WarpError
from warpd.kernel.state import DefaultRoute, Host
from warpd.service.conditions import Condition, Facts, Retry, Watched, conditions, from_json, merged
from warpd.service.health import unrouted
from warpd.service.views.render import Paint
from warpd.store.state_folder import MasterUnusable
from warpd.testing.fake_kernel import PLAIN

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
    "master-unusable": (
        Facts(unusable_master=MasterUnusable("/key: others can read it", hint="chmod 600 /key")),
        "cannot be used: /key: others can read it",
    ),
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
    "endpoint-unresolved": (
        Facts(unresolved={"sites/paris": "vpn.example.net"}),
        "does not resolve: sites/paris (vpn.example.net)",
    ),
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


BOTH = (DefaultRoute(4, "eth0", "203.0.113.254"), DefaultRoute(6, "eth0", "fe80::1"))
DUAL = replace(PLAIN, uplink_addresses=("203.0.113.1", "2001:db8::1"), hops=BOTH)
NAMED = {"uplink": "eth0"}


@pytest.mark.parametrize(("lost", "command"), [(4, "ip -4"), (6, "ip -6")])
@pytest.mark.parametrize("uplink", ["auto", "eth0"])
def test_a_default_route_of_one_version_that_is_gone_is_told(
    lost: int, command: str, uplink: str
) -> None:
    hops = tuple(hop for hop in BOTH if hop.version != lost)
    host = replace(DUAL, hops=hops, **{f"uplinks{lost}": ()})
    intent = world.intent({"uplink": uplink}, web=world.network(1), corp=world.network(1))
    [found] = conditions(Facts(uplink="eth0", unrouted=unrouted(intent, host)))
    assert (found.code, found.severity) == ("uplink-unrouted", "error")
    assert f"no usable IPv{lost} default route: what corp, web send" in found.text
    assert command in found.hint and "ipv6: false" not in found.hint


def test_a_host_without_ipv6_is_told_how_to_say_so() -> None:
    host = replace(PLAIN, hops=BOTH[:1], uplinks6=())
    [found] = conditions(Facts(unrouted=unrouted(world.intent(web=world.network(1)), host)))
    assert found.severity == "warning" and "`ipv6: false`" in found.hint


@pytest.mark.parametrize(
    ("host", "body"),
    [
        (DUAL, {}),
        (replace(DUAL, hops=(), uplinks4=(), uplinks6=()), {}),  # uplink-missing tells it
        (replace(DUAL, hops=BOTH[:1], elsewhere=(6,)), {}),  # a warning about the uplink tells it
        (replace(DUAL, hops=BOTH[:1]), {"ipv6": False}),
        (replace(DUAL, hops=BOTH[:1]), {"enabled": False}),
    ],
)
def test_no_version_is_told_that_nobody_lacks_or_that_is_told_already(
    host: Host, body: dict[str, Any]
) -> None:
    assert unrouted(world.intent(NAMED, web=world.network(1, **body)), host) is None
