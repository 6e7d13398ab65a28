"""Commands that look answer also beside a damaged file of the state folder, and say so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import world
from tests.unit.daemon.simulation import Simulation
from warpd.cli.conditions import read_now
from warpd.cli.inspect import applied_last, on_no_record
from warpd.daemon.metric import Counted
from warpd.daemon.metrics import metrics_text
from warpd.daemon.stats import NetworkStats, Stats
from warpd.errors import Finding, InvalidIntent, WarpError
from warpd.service.conditions import NO_PLAN, Condition, conditions
from warpd.service.health import facts_on_disk
from warpd.service.history import History
from warpd.service.queries import examined
from warpd.service.views.report import with_waiting
from warpd.service.workspace import NO_MASTER, Workspace
from warpd.store.state_folder import ALLOCATIONS, MasterUnusable


@pytest.fixture
def gateway(tmp_path: Path) -> Workspace:
    daemon = Simulation(tmp_path)
    daemon.write(web=world.network(1))
    daemon.turn(60)
    return Workspace(daemon.config, daemon.state)


def damage(gateway: Workspace, name: str) -> None:
    (gateway.store.folder / name).write_text("{")


def test_beside_damaged_allocations_what_was_applied_last_is_shown(gateway: Workspace) -> None:
    known = gateway.store.read_allocations()
    damage(gateway, ALLOCATIONS)
    assert read_now(gateway) == (None, ())
    read = applied_last(gateway)
    assert read is not None and read.allocations == known
    with pytest.raises(WarpError, match=ALLOCATIONS):
        gateway.read()


def test_beside_a_damaged_history_the_yaml_is_shown(gateway: Workspace) -> None:
    damage(gateway, "in-force.json")
    assert applied_last(gateway) is None
    assert read_now(gateway)[0] is not None


@pytest.mark.parametrize("name", [ALLOCATIONS, "in-force.json"])
def test_the_file_and_its_mending_are_said_first(gateway: Workspace, name: str) -> None:
    damage(gateway, name)
    first = conditions(facts_on_disk(gateway, None, (), None, running=True))[0]
    assert (first.code, first.severity) == ("state-damaged", "error")
    assert name in first.text and "remove it" in first.hint


@pytest.mark.parametrize("damaged", ["shared", "malformed"])
def test_a_master_secret_that_cannot_be_used_is_said_first_and_looks_go_on(
    gateway: Workspace, damaged: str
) -> None:
    key = gateway.store.folder / "master.key"
    if damaged == "shared":
        key.chmod(0o644)
    else:
        key.write_bytes(b"too short")
    read, _ = read_now(gateway)
    assert read is not None
    with pytest.raises(MasterUnusable):
        gateway.target(read, create=False)
    assert gateway.target_to_show(read).master == NO_MASTER
    first = conditions(facts_on_disk(gateway, read, (), None, running=True))[0]
    assert (first.code, first.severity) == ("master-unusable", "error")
    assert str(key) in first.text and "until then no plan can be made" in first.hint


def test_a_running_daemon_tells_it_and_goes_on_when_it_is_mended(tmp_path: Path) -> None:
    daemon = Simulation(tmp_path)
    daemon.write(web=world.network(1))
    daemon.turn(60)
    key = daemon.state / "master.key"
    key.chmod(0o644)
    daemon.write(web=world.network(1), more=world.network(1))
    daemon.turn(120)
    assert "master-unusable" in daemon.conditions and "edit-unwritten" not in daemon.conditions
    assert daemon.peers == {"e1"}
    key.chmod(0o600)
    daemon.turn(600)
    assert not daemon.conditions & {"master-unusable", "edit-unwritten"}
    assert len(daemon.shown["conditions"]) == 0, daemon.shown["conditions"]


def test_doctor_fails_for_it(gateway: Workspace) -> None:
    (gateway.store.folder / "master.key").chmod(0o644)
    checks = examined(gateway, gateway.store.read_allocations(), True, ())["checks"]
    assert [row["state"] for row in checks if row["name"] == "master-unusable"] == ["fail"]


def test_damaged_allocations_and_history_are_both_named(gateway: Workspace) -> None:
    damage(gateway, ALLOCATIONS)
    damage(gateway, "history/000001.json")
    first = conditions(facts_on_disk(gateway, None, (), None, running=True))[0]
    assert first.code == "state-damaged"
    assert ALLOCATIONS in first.text and "000001.json" in first.text
    assert first.hint.startswith("restore both from a backup") and "remove it" not in first.hint


def test_beside_both_the_yaml_is_shown_as_the_kernel_has_it(gateway: Workspace) -> None:
    known = gateway.read()
    damage(gateway, ALLOCATIONS)
    damage(gateway, "in-force.json")
    assert read_now(gateway) == (None, ()) and applied_last(gateway) is None
    shown = on_no_record(gateway, ())
    assert shown.intent == known.intent


def test_without_damage_an_invalid_yaml_is_refused(gateway: Workspace) -> None:
    with pytest.raises(InvalidIntent):
        on_no_record(gateway, (Finding("x", "", "wrong"),))


DAMAGED_PENDING = [
    "{",
    "\xff",
    '{"version": 1, "pending": {}}',
    '{"version": 1, "pending": {"number": 1, "back_to": 0, "until_s": 1e99, "boot": "b",'
    ' "until_boot_s": 1.0, "by": "x"}}',
    '{"version": 1, "pending": {"number": 1, "back_to": 0, "until_s": 1, "boot": "b",'
    ' "until_boot_s": NaN, "by": "x"}}',
]


@pytest.mark.parametrize("text", DAMAGED_PENDING)
def test_a_damaged_apply_to_be_confirmed_counts_as_none_and_is_kept(
    tmp_path: Path, text: str
) -> None:
    daemon = Simulation(tmp_path)
    daemon.write(web=world.network(1))
    daemon.turn(60)
    pending = daemon.state / "pending.json"
    pending.write_text(text, encoding="latin-1")
    history = History(daemon.workspace)
    assert history.pending() is None and history.damaged_pending() == "pending.json"
    history.refuse_pending()
    first = conditions(facts_on_disk(daemon.workspace, None, (), None, running=True))[0]
    assert first.code == "pending-damaged" and str(pending) in first.text
    daemon.write(web=world.network(1), more=world.network(2))
    daemon.turn(120)
    assert daemon.peers == {"e1", "e2"}, "passes go on"
    aside = daemon.state / "pending.damaged.json"
    assert aside.read_text(encoding="latin-1") == text and not pending.exists()
    assert "pending-damaged" in daemon.conditions and "state-damaged" not in daemon.conditions
    aside.unlink()
    daemon.turn(120)
    assert not daemon.conditions


def test_a_new_apply_to_be_confirmed_keeps_the_damaged_one(gateway: Workspace) -> None:
    history = History(gateway)
    damage(gateway, "pending.json")
    with pytest.raises(WarpError, match=r"as far as is known: .*is damaged"):
        history.confirm()
    with gateway.store.writer("test"):
        made = history.record_pending(1, 0, 60, "anna")
    assert history.pending() == made
    assert (gateway.store.folder / "pending.damaged.json").read_text() == "{"


@pytest.mark.parametrize("code", sorted(NO_PLAN))
def test_no_network_is_in_sync_while_no_plan_can_be_made(code: str) -> None:
    condition = Condition(code, "error", "x")
    row = NetworkStats("web", 1, True, {}, 1, {})
    cases: list[tuple[tuple[Condition, ...], int]] = [((), 1), ((condition,), 0)]
    for held, value in cases:
        text = metrics_text(Counted(Stats(networks=(row,), conditions=held)))
        assert re.search(rf'^warpd_in_sync{{.*network="web".*}} {value}$', text, re.M), text
        data = with_waiting({"networks": [{"name": "web", "in_sync": True}]}, codes(held), ())
        assert data["networks"][0]["in_sync"] is bool(value)


def codes(held: tuple[Condition, ...]) -> set[str]:
    return {item.code for item in held}
