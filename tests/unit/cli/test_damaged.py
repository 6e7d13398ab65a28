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
from warpd.service.workspace import Session
from warpd.store.state_folder import ALLOCATIONS


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
