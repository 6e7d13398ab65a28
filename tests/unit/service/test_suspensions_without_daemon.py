"""Suspend and resume where no daemon runs: the file is written and the kernel follows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.daemon.simulation import Simulation, two_networks
from warpd.errors import WarpError
from warpd.kernel.state import Key
from warpd.service.queries import ExplainRequest
from warpd.service.suspending import SuspendRequest, for_seconds, resume_alone, suspend_alone
from warpd.service.workspace import Workspace
from warpd.store.suspensions import SUSPENDED
from warpd.testing.fake_kernel import FakeKernel


@pytest.fixture
def stopped(tmp_path: Path) -> Simulation:
    """A gateway whose daemon has applied two networks and runs no more."""
    daemon = Simulation(tmp_path)
    daemon.write(**two_networks())
    daemon.turn()
    return daemon


def workspace(daemon: Simulation) -> Workspace:
    return Workspace(daemon.config, daemon.state)


def request(name: str = "web/e1", for_s: int | None = None) -> SuspendRequest:
    return SuspendRequest(name, for_s, "root (warpctl)", "lost phone")


def keys(daemon: Simulation) -> set[Key]:
    return set(daemon.kernel.objects)


def test_it_is_taken_out_and_given_back_and_nothing_else_changes(stopped: Simulation) -> None:
    before, stopped_objects = keys(stopped), dict(stopped.kernel.objects)
    answer = suspend_alone(workspace(stopped), stopped.kernel, request())
    assert answer["done"] and answer["unwritten"] is None
    assert keys(stopped) < before
    gone = {stopped_objects[key].group for key in before - keys(stopped)}
    assert len(gone) == 1
    assert (stopped.state / SUSPENDED).exists()
    resume_alone(workspace(stopped), stopped.kernel, "web/e1")
    assert keys(stopped) == before
    with pytest.raises(WarpError, match="not suspended"):
        resume_alone(workspace(stopped), stopped.kernel, "web/e1")


def test_a_kernel_without_networks_gets_none(stopped: Simulation) -> None:
    """After a boot without a daemon it is only written down."""
    empty = FakeKernel()
    assert suspend_alone(workspace(stopped), empty, request())["done"]
    assert empty.objects == {} and (stopped.state / SUSPENDED).exists()


def test_a_folder_that_takes_no_writes_keeps_nobody_in(
    stopped: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, _data: bytes) -> None:
        raise OSError(30, "Read-only file system", str(path))

    before = keys(stopped)
    monkeypatch.setattr("warpd.store.state_folder.put", refuse)
    answer = suspend_alone(workspace(stopped), stopped.kernel, request())
    assert answer["done"] and "Read-only" in answer["unwritten"]
    assert keys(stopped) < before


def test_before_anything_was_applied_there_is_nobody(tmp_path: Path) -> None:
    daemon = Simulation(tmp_path)
    daemon.state.mkdir(mode=0o700)
    with pytest.raises(WarpError, match="nothing was applied yet"):
        suspend_alone(workspace(daemon), daemon.kernel, request())


def test_explanation_and_plan_say_so(stopped: Simulation) -> None:
    stopped.ask("suspend", endpoint="web/e1", reason="lost phone")
    stopped.turn(31)
    found = stopped.ask("explain", request=ExplainRequest("web/e1", "198.51.100.7", "icmp", 0))
    assert not found["passes"]
    assert found["decided_by"]["what"].startswith("suspended by anna (web) until it is resumed")
    plan = stopped.ask("plan")
    assert not plan["changes"]
    (row,) = (row for row in plan["conditions"] if row["code"] == "suspended")
    assert row["text"] == "web/e1 (suspended by anna (web) until it is resumed (lost phone))"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("7d", 604_800)]
)
def test_times(text: str, seconds: int) -> None:
    assert for_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "h", "-1h", "1.5h", "1w", "367d", "\uff12h"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(WarpError, match="invalid duration"):
        for_seconds(text)
