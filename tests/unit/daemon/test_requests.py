"""Who changed something over the control socket is told, by event and log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import world
from tests.unit.daemon.simulation import INTERVAL_S, SILENT_LOG, Simulation
from warpd.daemon.handlers import CHANGING
from warpd.daemon.mailbox import Request, SelfPipe
from warpd.daemon.serve import Daemon, assemble
from warpd.service.workspace import Workspace


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    before = Simulation(tmp_path)
    before.write(web=world.network(1))
    before.turn(60)
    before.write(web=world.network(2))
    workspace = Workspace(before.config, before.state)
    yield assemble(before.kernel, lambda: None, workspace, SILENT_LOG, INTERVAL_S)


def test_what_somebody_asks_for_names_them(daemon: Daemon) -> None:
    pipe = SelfPipe()
    loop = daemon.loop(pipe)
    number = daemon.mailbox.last_number
    by = {"by": "anna (web)"}
    asked = [Request(verb, by) for verb in ("history", "apply", "confirm")]
    for request in asked:
        loop._answer(request)
    assert asked[1].answer.exception() is None
    assert asked[2].answer.exception() is not None  # nothing waits: nothing was changed
    told = [item for item in daemon.mailbox.events(number) if item.kind == "request"]
    assert [item.fields for item in told] == [{"verb": "apply", **by}]
    assert {"apply", "confirm", "rollback"} <= CHANGING
    pipe.close()
