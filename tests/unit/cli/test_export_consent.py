"""`endpoint config` writes allocations, but none that an operator has yet to agree to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import world
from tests.command import Run
from warpd.allocation.model import Allocations
from warpd.cli import export
from warpd.service.candidates import consent_needed
from warpd.service.history import NOTHING, History, files_digest
from warpd.service.workspace import Workspace

Networks = dict[str, dict[str, Any]]


def networks(count: int = 3) -> Networks:
    return {f"n{number}": world.network(1) for number in range(count)}


def write(yaml: Path, wanted: Networks) -> None:
    document = {"version": 1, "gateway": {"public_endpoint": "vpn.example.com"}}
    yaml.write_text(json.dumps({**document, "networks": wanted}))


def workspace_of(yaml: Path) -> Workspace:
    return Workspace(yaml, yaml.parent / "state")


def allocations(yaml: Path) -> Allocations:
    return workspace_of(yaml).store.read_allocations()


@pytest.fixture
def exported(run: Run, yaml: Path) -> None:
    """The allocations of three networks are on the disk."""
    write(yaml, networks())
    assert run("endpoint", "config", "n0/e1")[0] == 0


def without_most() -> Networks:
    return networks(1)


def with_a_moved_subnet() -> Networks:
    return {**networks(), "n1": world.network(1, expected_users=200)}


@pytest.mark.usefixtures("exported")
@pytest.mark.parametrize(
    ("wanted", "why"),
    [(without_most, "lacks 2 of 3 networks"), (with_a_moved_subnet, "cannot grow where it is")],
    ids=["most networks gone", "subnet moved"],
)
@pytest.mark.parametrize("words", [("n0/e1",), ("--all", "--out", "out")], ids=["one", "all"])
def test_an_export_gives_no_consent(
    run: Run,
    yaml: Path,
    monkeypatch: pytest.MonkeyPatch,
    wanted: Callable[[], Networks],
    why: str,
    words: tuple[str, ...],
) -> None:
    """What is on the disk counts as agreed to: the daemon would do it at its next pass."""
    monkeypatch.chdir(yaml.parent)
    before = allocations(yaml)
    write(yaml, wanted())
    code, out, err = run("endpoint", "config", *words)
    told = " ".join(err.split())
    assert code == 1 and why in told and "`warpctl apply`" in told and "PrivateKey" not in out
    assert allocations(yaml) == before and not (yaml.parent / "out").exists()
    assert consent_needed(workspace_of(yaml).read(), before)


@pytest.mark.usefixtures("exported")
def test_an_export_does_not_undo_a_rollback(run: Run, yaml: Path) -> None:
    workspace = workspace_of(yaml)
    write(yaml, {**networks(), "n1": world.network(2)})
    with workspace.store.writer("test"):
        refused = files_digest(workspace.read().loaded.contents)
        History(workspace).mark_restored(NOTHING, refused)
    before = allocations(yaml)
    code, _out, err = run("endpoint", "config", "n1/e2")
    assert code == 1 and "rollback" in err and allocations(yaml) == before


@pytest.mark.usefixtures("exported")
def test_a_new_endpoint_needs_no_consent(run: Run, yaml: Path) -> None:
    write(yaml, {**networks(), "n1": world.network(2)})
    assert run("endpoint", "config", "n1/e2")[0] == 0
    assert "e2" in allocations(yaml).networks["n1"].endpoints


@pytest.mark.usefixtures("exported")
def test_an_apply_that_held_the_lock_keeps_its_allocations(
    run: Run, yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export has read the YAML, and then waits for the lock."""
    write(yaml, {**networks(), "n1": world.network(1)})
    host = export._host

    def meanwhile(*arguments: Any) -> Any:
        write(yaml, {**networks(), "n1": world.network(2)})
        workspace = workspace_of(yaml)
        with workspace.store.writer("warpctl apply"):
            workspace.commit(workspace.read())
        return host(*arguments)

    monkeypatch.setattr(export, "_host", meanwhile)
    assert run("endpoint", "config", "n0/e1")[0] == 0
    assert "e2" in allocations(yaml).networks["n1"].endpoints
