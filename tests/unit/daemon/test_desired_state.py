"""What the daemon never does unasked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import world
from warpd.allocation.model import Allocations
from warpd.service.candidates import consent_needed
from warpd.service.workspace import Workspace


def written(tmp_path: Path, count: int, **gateway: bool) -> Workspace:
    networks = {f"n{number}": world.network(1) for number in range(count)}
    (tmp_path / "warp.yaml").write_text(
        json.dumps({"version": 1, "gateway": gateway, "networks": networks})
    )
    return Workspace(tmp_path / "warp.yaml", tmp_path / "state")


@pytest.mark.parametrize(
    ("left", "waits"), [(5, False), (4, False), (3, False), (2, True), (0, True)]
)
def test_removing_more_than_half_of_the_networks_waits(
    tmp_path: Path, left: int, waits: bool
) -> None:
    before = written(tmp_path, 5).read().allocations
    assert bool(consent_needed(written(tmp_path, left).read(), before)) is waits


def test_a_setting_agrees_to_removals(tmp_path: Path) -> None:
    before = written(tmp_path, 5).read().allocations
    assert not consent_needed(written(tmp_path, 0, removal_guard=False).read(), before)
    assert consent_needed(written(tmp_path, 0, removal_guard=True).read(), before)


def test_a_first_pass_waits_for_nothing(tmp_path: Path) -> None:
    assert not consent_needed(written(tmp_path, 3).read(), Allocations({}))


def test_moving_a_subnet_waits(tmp_path: Path) -> None:
    """What `expected_users` moves is a risk for every client: the same that `apply` asks about."""
    workspace = written(tmp_path, 3)
    workspace.store.write_allocations(workspace.read().allocations)
    networks = {f"n{number}": world.network(1) for number in range(3)}
    networks["n0"]["expected_users"] = 200
    (tmp_path / "warp.yaml").write_text(json.dumps({"version": 1, "networks": networks}))
    read = workspace.read()
    assert (
        read.risks
        and consent_needed(read, workspace.store.read_allocations()) == read.risks[0].message
    )
