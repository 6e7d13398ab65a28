"""`warpctl apply --confirm-within` where no timer can be started: nothing was agreed to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import world
from warpd.cli import change
from warpd.cli.change import ApplyRequest
from warpd.cli.output import Format
from warpd.errors import WarpError
from warpd.service import queries
from warpd.service.candidates import consent_needed
from warpd.service.history import History
from warpd.service.workspace import Workspace
from warpd.testing.fake_kernel import FakeKernel


def written(yaml: Path, **fields: int) -> Workspace:
    networks = {"n0": world.network(1, **fields), "n1": world.network(1)}
    yaml.write_text(json.dumps({"version": 1, "networks": networks}))
    return Workspace(yaml, yaml.parent / "state")


def test_nothing_is_recorded(yaml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = written(yaml)
    with workspace.store.writer("test"):
        read = workspace.read()
        workspace.commit(read)
        History(workspace).record(read, "test")
    before = workspace.store.read_allocations()

    def no_timer(*_words: object) -> None:
        raise WarpError("no timer", code="timer", who="operator")

    monkeypatch.setattr(queries, "start_timer", no_timer)
    workspace = written(yaml, expected_users=200)
    request = ApplyRequest(None, True, 60, False, Format.json)
    with workspace.store.writer("test"), pytest.raises(WarpError, match="no timer"):
        change._commit_and_run(workspace, FakeKernel(), workspace.read(), None, request)
    assert workspace.store.read_allocations() == before
    assert consent_needed(workspace.read(), before)
    assert [entry.number for entry in History(workspace).entries()] == [1]
