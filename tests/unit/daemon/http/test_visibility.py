"""What identities see of a plan: everything, without outer addresses, or their own networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import world
from tests.unit.daemon.http.served import SEEN, UNSEEN, other
from tests.unit.daemon.simulation import Simulation
from warpd.daemon.handlers import plan
from warpd.daemon.http import visibility
from warpd.daemon.stats import SourceStatus
from warpd.service.rights import ROLES, Identity

ALL = Identity("anna (web)", ROLES["viewer"])
OWN = Identity("anna (web)", ROLES["viewer"], (SEEN,))


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    """The plan from networks with drift to a YAML that changes each of them."""
    daemon = Simulation(tmp_path)
    networks = {
        SEEN: world.network(2),
        "zebra": other("lima-phone", "10.66.0.0/24", "fd66::/64"),
        "quagga": other("mike-laptop", "10.66.0.0/24", "fd66::/64"),
    }
    daemon.write(**networks)
    daemon.turn(60)
    daemon.write(**{name: {**body, "mtu": 1300} for name, body in networks.items()})
    found = plan(daemon.reconciler, {})
    assert found["steps"] and found["overview"]
    assert all(word in json.dumps(found) for word in ("zebra", "quagga", SEEN))
    return json.loads(json.dumps(found))


def test_a_viewer_of_everything_sees_a_plan_as_it_is(data: dict[str, Any]) -> None:
    """Names of endpoints among it, which stand under the same word as outer addresses."""
    data["overview"].append({**data["overview"][0], "endpoint": "e1"})
    data["steps"][0]["after"] = {"endpoint": "198.51.100.7:9", "mtu": 1300}
    shown = visibility.plan(data, ALL, frozenset())
    assert shown["overview"] == data["overview"]
    assert shown["steps"][0]["after"] == {"endpoint": "(hidden)", "mtu": 1300}
    assert shown["steps"][1:] == data["steps"][1:]


def test_a_scoped_identity_sees_the_steps_of_its_networks(data: dict[str, Any]) -> None:
    shown = visibility.plan(data, OWN, frozenset({"zebra", "quagga"}))
    own = [step for step in data["steps"] if step["network"] == SEEN]
    assert [step["step"] for step in shown["steps"]] == [step["step"] for step in own]
    assert sum(shown["summary"].values()) == len(own) > 0
    assert [row["network"] for row in shown["overview"]] == [SEEN]
    assert shown.keys() == data.keys()
    assert not [word for word in UNSEEN if word in json.dumps(shown)]


@pytest.mark.parametrize(
    ("pattern", "own"), [("g*", {"getaway"}), ("?*way", {"getaway"}), ("gateway", set())]
)
def test_no_pattern_of_names_shows_what_belongs_to_no_network(
    tmp_path: Path, pattern: str, own: set[str]
) -> None:
    """The gateway's own part has no name: a network may be called `gateway`."""
    daemon = Simulation(tmp_path)
    daemon.write(zebra=world.network(1))
    daemon.turn(60)
    daemon.write(zebra=world.network(1), getaway=world.network(1))
    whole = json.loads(json.dumps(plan(daemon.reconciler, {})))
    assert {step["network"] for step in whole["steps"]} == {"", "getaway"}
    who = Identity("anna (web)", ROLES["viewer"], (pattern,))
    shown = visibility.plan(whole, who, frozenset({"zebra"}))
    assert {row["network"] for row in (*shown["steps"], *shown["overview"])} == own
    daemon.turn(60)
    rows = [event.as_json() for event in daemon.mailbox.events(0)]
    assert {"", "getaway"} <= {row.get("network") for row in rows}
    seen = [visibility.event_seen(row, who, frozenset({"zebra"})) for row in rows]
    assert {row["network"] for row in seen if row is not None} == own


def test_the_daemon_has_its_shape_and_nothing_of_others(tmp_path: Path) -> None:
    daemon = Simulation(tmp_path)
    daemon.write(zebra=other("lima-phone", "10.66.0.0/24", "fd66::/64"), yankee=world.network(1))
    daemon.turn(60)
    failing = [{"network": name, "times": 2, "next_try_s": 4.0} for name in ("zebra", SEEN)]
    told = {
        **daemon.shown,
        "failing": failing,
        "source": SourceStatus("git", "https://zebra", error="zebra").as_json(),
    }
    told["intent"] = {**told["intent"], "findings": ["zebra"], "awaiting_consent": "zebra"}
    shown = visibility.daemon(told, OWN)
    assert shown.keys() == told.keys()
    assert shown["intent"].keys() == told["intent"].keys()
    assert [row["network"] for row in shown["failing"]] == [SEEN]
    assert "zebra" not in json.dumps(shown)
    assert str(tmp_path) not in json.dumps(shown)


def test_names_in_texts_are_replaced_as_whole_words() -> None:
    names = frozenset({"zebra", "a"})
    row = {"network": SEEN, "why": "zebra/e1 has it; a zebra-2 and yankee do not", "n": 1}
    assert visibility.event_seen(row, OWN, names) == {
        "network": SEEN,
        "why": "(another network)/e1 has it; (another network) zebra-2 and yankee do not",
        "n": 1,
    }
    assert visibility.event_seen({"network": "zebra"}, OWN, names) is None
    assert visibility.event_seen({"error": "zebra"}, OWN, names) is None
    assert visibility.event_seen({"network": 7}, OWN, names) is None
