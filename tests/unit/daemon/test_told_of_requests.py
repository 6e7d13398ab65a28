"""What is changed on request is told step by step, as what a pass changes: by events, log and
counts.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests import world
from tests.unit.daemon.simulation import INTERVAL_S, Simulation
from warpd.kernel.api import FailureKind, OperationError
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import Key
from warpd.service import queries


class Told:
    """What a daemon tells from now on: fields of the events of one kind, and lines of the log."""

    def __init__(self, daemon: Simulation) -> None:
        self._daemon, self._number = daemon, daemon.mailbox.last_number
        self.lines: list[Mapping[str, Any]] = []
        log = structlog.wrap_logger(structlog.ReturnLogger(), [self._note])
        daemon.reconciler.report.log = log

    def _note(self, _log: Any, _method: str, fields: MutableMapping[str, Any]) -> str:
        self.lines.append(dict(fields))
        return ""

    def events(self, kind: str) -> list[Mapping[str, Any]]:
        new = self._daemon.mailbox.events(self._number)
        return [event.fields for event in new if event.kind == kind]

    @property
    def objects(self) -> list[object]:
        """Of the events of changes, in order."""
        return [row["object"] for row in self.events("change")]

    @property
    def steps(self) -> list[object]:
        """Of the lines of the log, in order."""
        return [line["step"] for line in self.lines if line["event"] in ("create", "delete")]


@pytest.fixture
def daemon(tmp_path: Path) -> Simulation:
    made = Simulation(tmp_path)
    made.write(web=world.network(1))
    made.turn(5)
    assert made.peers == {"e1"}
    return made


def web_steps(answer: Mapping[str, Any]) -> int:
    return sum(step["network"] == "web" for step in answer["done"])


def is_told(told: Told, answer: Mapping[str, Any], action: str) -> None:
    """Each step of an answer is an event, no repair, and the peer of `e2` is among them."""
    assert answer["done"] and len(told.objects) == len(answer["done"])
    rows = told.events("change")
    assert not any(row["repair"] for row in rows)
    [peer] = [row for row in rows if row.get("endpoint") == "e2"]
    assert (peer["network"], peer["action"]) == ("web", action)
    assert peer["object"] in told.steps


def test_an_apply(daemon: Simulation) -> None:
    daemon.write(web=world.network(2))
    told, before = Told(daemon), daemon.mailbox.stats
    answer = daemon.ask("apply")
    is_told(told, answer, "create")
    after = daemon.mailbox.stats
    assert after.changes["web"] == before.changes["web"] + web_steps(answer)
    assert after.repairs == before.repairs and not after.errors
    count = len(told.objects)
    daemon.turn(INTERVAL_S)
    assert len(told.objects) == count and len(told.events("intent_applied")) == 1


@pytest.mark.parametrize("more", [{}, {"files": True}], ids=["kernel", "files too"])
def test_a_rollback(daemon: Simulation, more: dict[str, bool]) -> None:
    daemon.write(web=world.network(2))
    daemon.turn(1)
    assert daemon.peers == {"e1", "e2"}
    told, before = Told(daemon), daemon.mailbox.stats
    answer = daemon.ask("rollback", to=1, **more)
    assert daemon.peers == {"e1"}
    is_told(told, answer, "delete")
    assert daemon.mailbox.stats.changes["web"] == before.changes["web"] + web_steps(answer)


def test_what_nobody_confirms_and_the_daemon_undoes(
    daemon: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timer is a process on the real kernel."""
    monkeypatch.setattr(queries, "start_timer", lambda _workspace, _pending: None)
    daemon.write(web=world.network(2))
    daemon.ask("apply", confirm_within_s=60)
    daemon.turn(1)
    told, before = Told(daemon), daemon.mailbox.stats
    pending = daemon.reconciler.desired.history.pending()
    assert pending is not None
    with daemon.workspace.store.writer("test"):  # the time is over
        daemon.reconciler.desired.history.record_pending(
            pending.number, pending.back_to, -1, "test"
        )
    daemon.reconciler.desired.look_at_pending()
    daemon.turn(1)
    assert daemon.peers == {"e1"} and len(told.events("rollback")) == 1
    [peer] = [row for row in told.events("change") if row.get("endpoint") == "e2"]
    assert (peer["action"], peer["repair"]) == ("delete", False) and peer["object"] in told.steps
    after = daemon.mailbox.stats
    assert after.changes["web"] > before.changes["web"] and after.repairs == before.repairs


def test_a_step_that_fails(daemon: Simulation) -> None:
    group = next(
        item.group for item in daemon.kernel.objects.values() if isinstance(item, WireguardPeer)
    )
    fault = OperationError(
        FailureKind.REFUSED, "create", Key("", "", ""), errno.ENOMEM, "no memory"
    )
    daemon.kernel.refused[group] = fault
    daemon.write(web=world.network(2))
    told = Told(daemon)
    answer = daemon.ask("apply")
    [failed] = told.events("failed")
    assert (
        len(answer["failed"]) == 1 and failed["network"] == "web" and "no memory" in failed["error"]
    )
    assert daemon.mailbox.stats.errors == {"web": 1} and daemon.mailbox.stats.pending["web"]
    assert any(line["event"] == "step failed" for line in told.lines)
