"""P15: an apply that nobody confirms is undone, wherever it was killed, and the undoing too.

The kernel is the one in memory, the state folder a real one. Printed: restored of all.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from tests import world
from tests.sweep.test_crash import Faulty, Killed
from warpd.reconcile.engine import converge
from warpd.reconcile.incremental import planned_run
from warpd.service.history import History
from warpd.service.rollback import undo_pending
from warpd.service.workspace import Workspace
from warpd.testing.fake_kernel import FakeKernel

BEFORE = {
    "a": world.network(2),
    "b": world.network(3, peer_communication=True),
    "gone": world.network(1),
}
AFTER = {
    "a": world.network(3, mtu=1380),
    "b": world.network(2, nat=False),
    "fresh": world.network(2, ipv6=False),
}


class Machine:
    """A gateway's files beside a kernel in memory, which a kill leaves as it is."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "warp.yaml"
        self.workspace = Workspace(self.file, folder / "state")
        self.kernel = Faulty(0, "")
        self.say(BEFORE)

    def say(self, networks: dict[str, object]) -> None:
        self.file.write_text(json.dumps({"version": 1, "networks": networks}))

    def apply(self, within_s: float = 0) -> None:
        """As `warpctl apply --confirm-within` does, without its timer."""
        history = History(self.workspace)
        with self.workspace.store.writer("test"):
            history.refuse_pending()
            read = self.workspace.read()
            target = self.workspace.commit(read)
            before = history.in_force_number()
            entry = history.record(read, "test")
            if within_s:
                history.record_pending(entry.number, before, within_s, "test")
            converge(
                self.kernel,
                lambda: planned_run(self.kernel, target),
                planned_run(self.kernel, target),
            )

    def undo(self) -> None:
        with self.workspace.store.writer("test"):
            outcome = undo_pending(self.workspace, self.kernel)
        assert outcome is None or outcome.complete

    def kill_at(self, change: int) -> None:
        """The changing call number `change` from now on is the last."""
        self.kernel.at, self.kernel.way, self.kernel.fired, self.kernel._number = (
            change,
            "killed after",
            False,
            0,
        )

    def state(self) -> tuple[object, object]:
        return (
            planned_run(
                self.kernel, self.workspace.target(self.workspace.read(), create=False)
            ).observed.state,
            self.allocations(),
        )

    def allocations(self) -> object:
        return self.workspace.store.read_allocations()


def steps_of(tmp_path: Path, undoing: bool) -> int:
    """How many changing calls the apply, or the undoing of it, takes."""
    machine = Machine(tmp_path / f"count-{undoing}")
    machine.apply()
    machine.say(AFTER)
    machine.kernel._number = 0
    machine.apply(60)
    if undoing:
        machine.kernel._number = 0
        machine.undo()
    return machine.kernel._number


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    for name in ("count-False", "count-True"):
        (tmp_path / name).mkdir()


def test_killed_at_every_step_of_the_apply(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    total, restored = steps_of(tmp_path, False), 0
    for number in range(1, total + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        machine = Machine(folder)
        machine.apply()
        before = machine.state()
        machine.say(AFTER)
        machine.kill_at(number)
        with contextlib.suppress(Killed):
            machine.apply(60)
        assert machine.kernel.fired
        machine.undo()
        machine.say(BEFORE)
        restored += machine.state() == before and History(machine.workspace).pending() is None
    with capsys.disabled():
        print(f"\nunconfirmed apply killed at each of {total} steps: restored {restored}")
    assert restored == total > 20


def test_killed_at_every_step_of_the_undoing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    total, restored = steps_of(tmp_path, True), 0
    for number in range(1, total + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        machine = Machine(folder)
        machine.apply()
        before = machine.state()
        machine.say(AFTER)
        machine.apply(60)
        machine.kill_at(number)
        with contextlib.suppress(Killed):
            machine.undo()
        assert machine.kernel.fired and History(machine.workspace).pending() is not None
        machine.undo()
        refused = History(machine.workspace).refused
        machine.say(BEFORE)
        restored += (
            machine.state() == before
            and bool(refused)
            and History(machine.workspace).in_force_number() == 1
        )
    with capsys.disabled():
        print(f"\nundoing killed at each of {total} steps: restored {restored}")
    assert restored == total > 20


def test_undoing_the_first_apply_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    machine = Machine(tmp_path / "first")
    machine.apply(60)
    machine.undo()
    assert not len(
        planned_run(
            machine.kernel, machine.workspace.target(machine.workspace.read(), create=False)
        ).observed.state
    )
    assert isinstance(machine.kernel, FakeKernel)
