"""While the state folder takes no writes, every command says what waits, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import world
from tests.unit.daemon.simulation import Simulation
from warpd.cli.change import result_text
from warpd.cli.inspect import kept
from warpd.errors import WarpError
from warpd.reconcile.incremental import planned_run
from warpd.service.views.endpoint_list import presence
from warpd.service.views.report import status_data, with_waiting
from warpd.service.workspace import LoadedIntent, Workspace
from warpd.store.state_folder import ALLOCATIONS, Store

OUTCOME = {
    "done": [],
    "failed": [],
    "skipped": [],
    "remaining": [],
    "unverified": [],
    "blocked": [],
    "problems": [],
    "warnings": [],
    "changes": False,
    "complete": False,
}


@pytest.fixture
def daemon(tmp_path: Path) -> Simulation:
    """A daemon that could not write down that `e1` is disabled, and a network more."""
    made = Simulation(tmp_path)
    made.write(web=world.network(2))
    made.turn(60)
    for name in (ALLOCATIONS, "in-force.json"):
        (made.state / f".{name}.new").mkdir()
    endpoints = {"e1": {"type": "mobile", "enabled": False}, "e2": {"type": "mobile"}}
    made.write(web={**world.network(2), "endpoints": endpoints}, more=world.network(1))
    made.turn(60)
    return made


def test_a_disabled_endpoint_is_shown_as_disabled(daemon: Simulation) -> None:
    assert daemon.peers == {"e2"}
    workspace = Workspace(daemon.config, daemon.state)
    read = kept(workspace, workspace.read(), daemon.shown)
    assert read is not None
    target = workspace.target(read, create=False)
    found = planned_run(daemon.kernel, target)
    data = with_waiting(status_data(workspace, read, target, found), (), {"web"})
    [web] = data["networks"]
    first = web["endpoints"][0]
    assert (first["name"], presence(first)) == ("e1", "disabled")
    assert not web["in_sync"]


def test_what_was_applied_last_is_shown_while_another_reason_holds_the_yaml_back(
    daemon: Simulation,
) -> None:
    workspace = Workspace(daemon.config, daemon.state)
    shown: LoadedIntent | None = kept(workspace, workspace.read(), {"conditions": []})
    assert shown is not None and shown.intent.networks["web"].endpoints["e1"].enabled


def test_the_condition_names_the_networks(daemon: Simulation) -> None:
    [row] = [row for row in daemon.shown["conditions"] if row["code"] == "edit-unwritten"]
    assert row["text"].startswith("an edit of more could not be recorded: ")


def test_an_apply_of_which_something_waits_does_not_say_that_all_is_in_sync() -> None:
    unwritten = {
        "error": "the state folder /state takes no writes: Read-only file system",
        "code": "state-unusable",
        "hint": "make it writable",
        "networks": ["more", "web"],
        "unconfirmable": False,
    }
    text = result_text({**OUTCOME, "unwritten": unwritten}, 0.1)
    assert "pending additions to more, web: the state folder /state takes no writes" in text
    assert "hint: make it writable" in text
    assert "In sync" not in text and "until what the apply writes can be written" in text


def test_a_command_that_must_write_names_the_folder_and_not_the_lock(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "lock").mkdir()
    writer = Store(tmp_path / "state").writer("warpctl endpoint config")
    with pytest.raises(WarpError) as refused, writer:
        pass
    failure = refused.value
    assert failure.message.startswith(
        "warpctl endpoint config did nothing, because it has to write"
    )
    assert f"the state folder {tmp_path / 'state'} takes no writes: Is a dir" in failure.message
    assert "/lock" not in failure.message and failure.hint
