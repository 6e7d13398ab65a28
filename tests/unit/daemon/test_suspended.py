"""An endpoint that is suspended is out at once, and nothing but `resume` or its time brings it
back.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.daemon.simulation import START_S, Simulation, two_networks
from warpd.errors import WarpError
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.store.suspensions import SUSPENDED


@pytest.fixture
def daemon(tmp_path: Path) -> Simulation:
    made = Simulation(tmp_path)
    made.write(**two_networks())
    made.turn()
    return made


def peers(daemon: Simulation) -> set[str]:
    """The endpoints in the kernel, as NETWORK/NAME."""
    names = {"web": "web", "corp": "corp"}
    allocations = daemon.workspace.store.read_allocations().networks
    groups = {f"warp-{allocations[name].vcid}": name for name in names if name in allocations}
    objects = daemon.kernel.objects.values()
    found = (item for item in objects if isinstance(item, WireguardPeer))
    return {f"{groups[item.group]}/{item.label}" for item in found}


ALL = {"web/e1", "web/e2", "corp/e1", "corp/e2"}


def on_disk(daemon: Simulation) -> list[dict[str, Any]]:
    rows = json.loads((daemon.state / SUSPENDED).read_text())["suspended"]
    return list(rows)


def no_room(monkeypatch: pytest.MonkeyPatch, daemon: Simulation) -> None:
    """From now on the state folder takes no writes."""

    def refuse(path: Path, _data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("warpd.store.state_folder.put", refuse)


def test_it_is_out_when_the_answer_comes_and_nobody_else_notices(daemon: Simulation) -> None:
    assert peers(daemon) == ALL
    before = dict(daemon.kernel.objects)
    answer = daemon.ask("suspend", endpoint="web/e1", reason="lost phone")
    assert answer["done"] and answer["unwritten"] is None
    assert answer["suspended"]["by"] == "anna (web)" and answer["suspended"]["until"] is None
    assert peers(daemon) == ALL - {"web/e1"}
    after = daemon.kernel.objects
    assert after.keys() < before.keys()
    changed = [item for key, item in before.items() if after.get(key) != item]
    allocations = daemon.workspace.store.read_allocations().networks
    assert {item.group for item in changed} == {f"warp-{allocations['web'].vcid}"}
    assert [item.label for item in changed if isinstance(item, WireguardPeer)] == ["e1"]
    (row,) = on_disk(daemon)
    assert (row["network"], row["endpoint"], row["reason"]) == ("web", "e1", "lost phone")
    assert (daemon.state / SUSPENDED).stat().st_mode & 0o777 == 0o600


def test_repairs_edits_and_restarts_leave_it_out_until_it_is_resumed(daemon: Simulation) -> None:
    daemon.ask("suspend", endpoint="web/e1")
    daemon.turn(120)
    daemon.ask("apply", yes=True)
    networks = two_networks()
    networks["web"]["description"] = "edited"
    daemon.write(**networks)
    daemon.turn()
    daemon.start()
    daemon.turn(120)
    assert peers(daemon) == ALL - {"web/e1"}
    assert daemon.ask("resume", endpoint="web/e1")["done"]
    assert peers(daemon) == ALL
    assert on_disk(daemon) == []
    with pytest.raises(WarpError, match="web/e1 is not suspended"):
        daemon.ask("resume", endpoint="web/e1")


def test_its_time_ends_it_at_that_moment(daemon: Simulation) -> None:
    daemon.turn(100.25)
    daemon.ask("suspend", endpoint="web/e1", for_s=7)
    daemon.turn(6)
    assert peers(daemon) == ALL - {"web/e1"}
    daemon.turn(1.1)  # between two periodic resyncs
    assert peers(daemon) == ALL
    (event,) = daemon.told("resumed")
    assert event["endpoint"] == "e1" and "anna (web)" in event["by"]
    assert on_disk(daemon) == []


def test_a_restart_does_not_begin_its_time_anew(daemon: Simulation) -> None:
    daemon.ask("suspend", endpoint="web/e1", for_s=100)
    daemon.turn(90)
    daemon.start()
    daemon.turn(9)
    assert peers(daemon) == ALL - {"web/e1"}
    daemon.turn(2)
    assert peers(daemon) == ALL


def test_a_clock_that_is_set_back_does_not_prolong_it(daemon: Simulation) -> None:
    daemon.ask("suspend", endpoint="web/e1", for_s=100)
    daemon.turn(50)
    daemon.set_clock(START_S - 30 * 86_400)
    daemon.turn(49)
    assert peers(daemon) == ALL - {"web/e1"}
    daemon.turn(2)
    assert peers(daemon) == ALL


def test_after_a_restart_with_a_wrong_clock_it_lasts_no_longer_than_it_was_given(
    daemon: Simulation,
) -> None:
    daemon.ask("suspend", endpoint="web/e1", for_s=100)
    daemon.set_clock(START_S - 30 * 86_400)
    daemon.start()
    daemon.turn(98)
    assert peers(daemon) == ALL - {"web/e1"}
    daemon.turn(4)
    assert peers(daemon) == ALL


def test_it_follows_its_endpoint_through_renames(daemon: Simulation) -> None:
    daemon.ask("suspend", endpoint="web/e1")
    networks = two_networks()
    body = networks["web"]["endpoints"].pop("e1")
    networks["web"]["endpoints"]["tablet"] = {**body, "renamed_from": "e1"}
    daemon.write(**networks)
    daemon.turn()
    assert peers(daemon) == ALL - {"web/e1"}
    networks["shop"] = {**networks.pop("web"), "renamed_from": "web"}
    daemon.write(**networks)
    daemon.turn()
    (row,) = daemon.ask("suspensions")["suspensions"]
    assert (row["network"], row["endpoint"]) == ("shop", "tablet")
    assert daemon.peers == {"e1", "e2"} and len(peers_named(daemon, "tablet")) == 0
    daemon.ask("resume", endpoint="shop/tablet")
    assert len(peers_named(daemon, "tablet")) == 1


def peers_named(daemon: Simulation, name: str) -> list[WireguardPeer]:
    objects = daemon.kernel.objects.values()
    return [item for item in objects if isinstance(item, WireguardPeer) and item.label == name]


def without_e1() -> dict[str, dict[str, Any]]:
    networks = two_networks()
    del networks["web"]["endpoints"]["e1"]
    return networks


def test_removed_and_back_with_its_quarantined_allocation_it_is_the_same_endpoint(
    daemon: Simulation,
) -> None:
    daemon.ask("suspend", endpoint="web/e1")
    daemon.write(**without_e1())
    daemon.turn()
    assert daemon.ask("suspensions")["suspensions"] == []
    daemon.write(**two_networks())
    daemon.turn()
    assert peers(daemon) == ALL - {"web/e1"}


def test_a_new_endpoint_of_a_removed_ones_name_is_not_suspended(daemon: Simulation) -> None:
    at_once = {"quarantine": "0s"}
    daemon.write(gateway=at_once, **two_networks())
    daemon.turn()
    daemon.ask("suspend", endpoint="web/e1")
    daemon.write(gateway=at_once, **without_e1())
    daemon.turn()
    daemon.write(gateway=at_once, **two_networks())
    daemon.turn()
    assert peers(daemon) == ALL and on_disk(daemon) == []


def test_an_earlier_entry_of_the_history_does_not_bring_it_back(daemon: Simulation) -> None:
    networks = two_networks()
    networks["web"]["description"] = "edited"
    daemon.write(**networks)
    daemon.turn()
    daemon.ask("suspend", endpoint="web/e1")
    daemon.ask("rollback", to=1)
    assert peers(daemon) == ALL - {"web/e1"}
    daemon.turn(60)
    assert peers(daemon) == ALL - {"web/e1"}


def test_while_an_apply_waits_to_be_confirmed_it_is_followed_all_the_same(
    daemon: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warpd.service.rollback.start_timer", lambda *_words: None)
    monkeypatch.setattr("warpd.service.queries.start_timer", lambda *_words: None)
    daemon.ask("apply", confirm_within_s=3600)
    assert daemon.ask("suspend", endpoint="corp/e2", for_s=5)["done"]
    assert peers(daemon) == ALL - {"corp/e2"}
    daemon.turn(6)
    assert peers(daemon) == ALL


def test_a_full_disk_does_not_keep_it_from_being_carried_out(
    daemon: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_room(monkeypatch, daemon)
    answer = daemon.ask("suspend", endpoint="web/e1")
    assert answer["done"] and "No space left" in answer["unwritten"]
    assert peers(daemon) == ALL - {"web/e1"}
    daemon.turn(60)
    assert "suspension-unwritten" in daemon.conditions
    assert peers(daemon) == ALL - {"web/e1"}
    daemon.ask("apply", yes=True)
    assert peers(daemon) == ALL - {"web/e1"}
    monkeypatch.undo()
    daemon.turn(60)
    assert "suspension-unwritten" not in daemon.conditions and len(on_disk(daemon)) == 1
    daemon.start()
    daemon.turn()
    assert peers(daemon) == ALL - {"web/e1"}


def test_with_a_full_disk_it_is_not_resumed(
    daemon: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.ask("suspend", endpoint="web/e1")
    no_room(monkeypatch, daemon)
    with pytest.raises(WarpError, match="No space left"):
        daemon.ask("resume", endpoint="web/e1")
    daemon.turn(60)
    assert peers(daemon) == ALL - {"web/e1"}


def test_with_a_full_disk_it_is_not_shortened(
    daemon: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.ask("suspend", endpoint="web/e1")
    no_room(monkeypatch, daemon)
    with pytest.raises(WarpError, match="No space left"):
        daemon.ask("suspend", endpoint="web/e1", for_s=1)
    daemon.turn(10)
    assert peers(daemon) == ALL - {"web/e1"}


@pytest.mark.parametrize(
    "text", ["", "{", '{"version": 1}', '{"version": 2, "suspended": []}', None]
)
def test_a_file_that_is_lost_or_damaged_gives_nothing_back(
    daemon: Simulation, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    daemon.ask("suspend", endpoint="web/e1")
    no_room(monkeypatch, daemon)
    path = daemon.state / SUSPENDED
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    daemon.turn(60)
    assert "suspensions-unreadable" in daemon.conditions
    assert peers(daemon) == ALL - {"web/e1"}
    monkeypatch.undo()
    daemon.turn(60)  # it is written again from memory
    assert "suspensions-unreadable" not in daemon.conditions and len(on_disk(daemon)) == 1


def test_a_start_without_a_readable_file_says_so_and_leaves_the_file(daemon: Simulation) -> None:
    daemon.ask("suspend", endpoint="web/e1")
    (daemon.state / SUSPENDED).write_text("{")
    daemon.start()
    daemon.turn()
    assert "suspensions-unreadable" in daemon.conditions
    answer = daemon.ask("suspend", endpoint="corp/e1")
    assert answer["done"] and "damaged" in answer["unwritten"]
    assert peers(daemon) == ALL - {"corp/e1"}
    assert (daemon.state / SUSPENDED).read_text() == "{"


def test_everybody_is_told(daemon: Simulation) -> None:
    daemon.ask("suspend", endpoint="web/e1", reason="lost \x1b[31mphone\n", for_s=3600)
    daemon.turn(31)
    (event,) = daemon.told("suspended")
    assert (event["network"], event["endpoint"], event["by"]) == ("web", "e1", "anna (web)")
    assert event["reason"] == "lost  [31mphone"
    assert "suspended" in daemon.conditions
    row = next(row for row in endpoints(daemon) if (row["network"], row["name"]) == ("web", "e1"))
    assert row["suspended"]["by"] == "anna (web)" and not row["in_force"]
    others = [row for row in endpoints(daemon) if row is not row["suspended"]]
    assert sum(other["suspended"] is not None for other in others) == 1
    counts = {network.name: network.suspended for network in daemon.mailbox.stats.networks}
    assert counts == {"web": 1, "corp": 0}


def endpoints(daemon: Simulation) -> list[dict[str, Any]]:
    networks = daemon.ask("status")["networks"]
    return [row for network in networks for row in network["endpoints"]]


def test_what_there_is_not_cannot_be_suspended(daemon: Simulation) -> None:
    with pytest.raises(WarpError, match="network web has no endpoint e9"):
        daemon.ask("suspend", endpoint="web/e9")
    assert not (daemon.state / SUSPENDED).exists()
