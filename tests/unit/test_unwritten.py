"""P19: a state folder that takes no writes stops neither repair nor revocation, and no edit is lost. The kernel is in memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import structlog

from tests import world
from warpd.commitment import commit, last_applied
from warpd.daemon.decide import Result, Work
from warpd.daemon.desk import Desk
from warpd.daemon.keeper import Keeper
from warpd.errors import WarpError
from warpd.history import History
from warpd.kernel.live import LiveKernel
from warpd.kernel.memory import MemoryKernel
from warpd.objects.nft import NftTable
from warpd.objects.wireguard import WireguardPeer
from warpd.session import Session
from warpd.state import ROOT, Key
from warpd.store import GRANTS, MASTER

LOOK = Work(True, None, False)
TABLE = Key(NftTable.KIND, ROOT, "warpd")


class Machine:
    """A gateway: its files, its kernel, and the daemon's passes."""

    def __init__(self, folder: Path) -> None:
        self.config, self.state = folder / "warp.yaml", folder / "state"
        self.kernel = MemoryKernel()
        self.say("p", "q")
        self.start()

    def start(self) -> None:
        self.desk = Desk()
        session = Session(self.config, self.state)
        self.keeper = Keeper(session, cast(LiveKernel, self.kernel), self.desk, structlog.get_logger())

    def say(self, *endpoints: str, **more: Any) -> None:
        body = {"type": "secure-internet", "expected_users": 6, "endpoints": {name: {"type": "mobile"} for name in endpoints}}
        beside = self.config.with_name("new")
        beside.write_text(json.dumps({"version": 1, "networks": {"a": body, **more}}))
        beside.rename(self.config)

    def look(self, work: Work = LOOK) -> Result:
        return self.keeper.run(work)

    @property
    def peers(self) -> set[str]:
        return {item.label for item in self.kernel.objects.values() if isinstance(item, WireguardPeer)}

    def told(self, kind: str) -> int:
        return sum(event.kind == kind for event in self.desk.events())

    @contextmanager
    def unwritable(self) -> Iterator[None]:
        """Every file in the folder stays as it is: what would be written beside it cannot be made."""
        names = (f".{GRANTS}.new", ".in-force.json.new", ".pending.json.new")
        for name in names:
            (self.state / name).mkdir()
        yield
        for name in names:
            (self.state / name).rmdir()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    assert not made.look().unwritten and made.peers == {"p", "q"}
    return made


def test_what_takes_away_is_done_and_what_gives_waits(machine: Machine) -> None:
    with machine.unwritable():
        machine.say("p", "r", b=world.network(1))
        for _ in range(3):
            assert machine.look().unwritten
            assert machine.peers == {"p"}
        assert machine.keeper.last_pass["result"] == "unwritten" and machine.keeper.findings
        assert machine.told("unwritten") == 1, "told once"
    assert not machine.look().unwritten
    assert machine.peers == {"p", "r", "e1"} and not machine.keeper.findings and machine.told("written") == 1
    assert machine.look().changed == 0


def test_a_repair_between_two_tries_writes_nothing(machine: Machine) -> None:
    with machine.unwritable():
        machine.say("p", "r")
        machine.look()
        del machine.kernel.objects[TABLE]
        assert machine.look(Work(groups=frozenset([ROOT]))).unwritten
        assert TABLE in machine.kernel.objects and machine.peers == {"p"}
    assert machine.look(Work(files=True)).unwritten, "not due yet"
    assert not machine.look(Work(files=True, retry=True)).unwritten
    assert machine.peers == {"p", "r"}


def test_the_next_edit_counts_though_the_one_before_could_not_be_written(machine: Machine) -> None:
    with machine.unwritable():
        machine.say("p")
        machine.look(Work(files=True))
        assert machine.peers == {"p"}
        machine.say("q")
        machine.look(Work(files=True))
        assert machine.peers == {"q"}, "what is permitted by the intent on disk needs no write"
        machine.say()
        machine.look(Work(files=True))
        assert not machine.peers
    machine.look()
    assert not machine.peers and last_applied(Session(machine.config, machine.state)) is not None


def test_a_broken_yaml_gives_nothing_back(machine: Machine) -> None:
    with machine.unwritable():
        machine.say("p")
        machine.look()
        machine.config.write_text("version: 1\nnetworks: [")
        machine.look()
        assert machine.peers == {"p"}


def test_a_start_without_a_place_to_write(machine: Machine) -> None:
    with machine.unwritable():
        machine.say("p", "r")
        machine.kernel.objects.clear()
        machine.start()
        assert machine.look().unwritten
        assert machine.peers == {"p"} and TABLE in machine.kernel.objects


def test_a_start_without_a_place_to_write_and_nothing_new(machine: Machine) -> None:
    with machine.unwritable():
        machine.kernel.objects.clear()
        machine.start()
        assert not machine.look().unwritten, "what is written already needs no write"
        assert machine.peers == {"p", "q"}


def test_a_first_start_without_a_place_to_write_gives_nothing(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    made = Machine(tmp_path)
    assert made.look().all_failed and not made.kernel.objects


@pytest.mark.parametrize("lost", [(GRANTS, MASTER), (MASTER,), (GRANTS,)])
def test_a_state_folder_that_lost_its_files(machine: Machine, lost: tuple[str, ...]) -> None:
    """No new secret and no new allocations while the daemon knows the old ones."""
    for name in lost:
        (machine.state / name).rename(machine.state.parent / name)
    machine.say("p", "r")
    del machine.kernel.objects[TABLE]
    assert machine.look().unwritten and machine.look().unwritten
    assert machine.peers == {"p"} and TABLE in machine.kernel.objects
    assert not any((machine.state / name).exists() for name in lost), "nothing is made anew in silence"
    for name in lost:
        (machine.state.parent / name).rename(machine.state / name)
    assert not machine.look().unwritten and machine.peers == {"p", "r"}


def test_a_state_folder_that_is_gone_is_not_made_anew(machine: Machine) -> None:
    away = machine.state.with_name("away")
    machine.state.rename(away)
    machine.say("p", "r")
    del machine.kernel.objects[TABLE]
    assert machine.look().unwritten
    assert machine.peers == {"p"} and TABLE in machine.kernel.objects and not machine.state.exists()
    away.rename(machine.state)
    assert not machine.look().unwritten and machine.peers == {"p", "r"}
    assert not machine.look().changed


def test_a_state_folder_that_cannot_be_read(machine: Machine) -> None:
    whole = (machine.state / GRANTS).read_text()
    (machine.state / GRANTS).write_text(whole[: len(whole) // 2])
    machine.say("q")
    del machine.kernel.objects[TABLE]
    assert machine.look().unwritten and machine.peers == {"q"} and TABLE in machine.kernel.objects
    (machine.state / GRANTS).write_text(whole)
    assert not machine.look().unwritten and machine.peers == {"q"}


def test_an_edit_during_the_write_is_not_lost(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the reading of the files and the end of the write lies a disk's time."""
    real = History.record

    def slow(self: History, *arguments: Any) -> Any:
        if machine.peers == {"p", "q"}:
            machine.say("q")
        return real(self, *arguments)

    monkeypatch.setattr(History, "record", slow)
    machine.say("p")
    machine.look(Work(files=True))
    machine.look(Work(files=True))
    assert machine.peers == {"q"}


def test_a_command_takes_away_and_says_what_waits(machine: Machine) -> None:
    session = Session(machine.config, machine.state)
    machine.say("p", "r")
    with machine.unwritable(), session.store.writer_if_possible("test") as obstacle:
        assert obstacle is None, "the lock is there to be taken"
        done = commit(session, session.read(), "test", lambda: last_applied(session), obstacle)
    assert done.unwritten is not None and not done.number
    assert list(done.goal.intent.networks["a"].endpoints) == ["p"]
    with session.store.writer("test"):
        done = commit(session, session.read(), "test", lambda: last_applied(session))
    assert done.unwritten is None and list(done.goal.intent.networks["a"].endpoints) == ["p", "r"]


def test_a_command_without_any_record_does_nothing(tmp_path: Path) -> None:
    made = Machine(tmp_path)
    session = Session(made.config, made.state)
    with pytest.raises(WarpError), session.store.writer_if_possible("test"):
        shutil.rmtree(made.state)
        made.state.write_text("no folder")
        commit(session, session.read(), "test", lambda: None)
