"""Commands that look answer also beside a damaged file of the state folder, and say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import world
from tests.unit.daemon.simulation import Simulation
from warpd.cli.conditions import read_now
from warpd.cli.inspect import applied_last
from warpd.errors import WarpError
from warpd.service.conditions import conditions
from warpd.service.health import facts_on_disk
from warpd.service.queries import examined
from warpd.service.workspace import NO_MASTER, Session
from warpd.store.state_folder import ALLOCATIONS, MasterUnusable


@pytest.fixture
def gateway(tmp_path: Path) -> Session:
    daemon = Simulation(tmp_path)
    daemon.write(web=world.network(1))
    daemon.turn(60)
    return Session(daemon.config, daemon.state)


def damage(gateway: Session, name: str) -> None:
    (gateway.store.folder / name).write_text("{")


def test_beside_damaged_allocations_what_was_applied_last_is_shown(gateway: Session) -> None:
    known = gateway.store.read_allocations()
    damage(gateway, ALLOCATIONS)
    assert read_now(gateway) == (None, ())
    read = applied_last(gateway)
    assert read is not None and read.allocations == known
    with pytest.raises(WarpError, match=ALLOCATIONS):
        gateway.read()


def test_beside_a_damaged_history_the_yaml_is_shown(gateway: Session) -> None:
    damage(gateway, "in-force.json")
    assert applied_last(gateway) is None
    assert read_now(gateway)[0] is not None


@pytest.mark.parametrize("name", [ALLOCATIONS, "in-force.json", "pending.json"])
def test_the_file_and_its_mending_are_said_first(gateway: Session, name: str) -> None:
    damage(gateway, name)
    first = conditions(facts_on_disk(gateway, None, (), None, running=True))[0]
    assert (first.code, first.severity) == ("state-damaged", "error")
    assert name in first.text and "remove it" in first.hint


@pytest.mark.parametrize("damaged", ["shared", "malformed"])
def test_a_master_secret_that_cannot_be_used_is_said_first_and_looks_go_on(
    gateway: Session, damaged: str
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


def test_doctor_fails_for_it(gateway: Session) -> None:
    (gateway.store.folder / "master.key").chmod(0o644)
    checks = examined(gateway, gateway.store.read_allocations(), True, ())["checks"]
    assert [row["state"] for row in checks if row["name"] == "master-unusable"] == ["fail"]
