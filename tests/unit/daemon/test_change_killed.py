"""A daemon that is killed while it applies a change: nothing is in force that nobody confirmed, and
no half of a change outlives it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.daemon.simulation import START_S, Simulation
from warpd.daemon import handlers
from warpd.service import candidates, edits, queries
from warpd.service.edits import Draft, Edit, editable, edited

MAIN = """\
version: 1
networks:
  web: {type: secure-internet, expected_users: 6, endpoints: {phone: {type: mobile}}}
"""
MORE = """\
networks:
  lab: {type: secure-internet, expected_users: 6, endpoints: {bench: {type: mobile}}}
"""


class Killed(BaseException):
    """As by SIGKILL: nothing is tidied up."""


def killed(*_words: Any) -> Any:
    raise Killed


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Simulation:
    (tmp_path / "networks.d").mkdir()
    (tmp_path / "warp.yaml").write_text(MAIN)
    (tmp_path / "networks.d" / "lab.yaml").write_text(MORE)
    made = Simulation(tmp_path)
    clock = lambda _which: START_S + made.now_s  # noqa: E731
    monkeypatch.setattr(time, "clock_gettime", clock)
    monkeypatch.setattr(queries, "start_timer", lambda *_words: None)
    made.turn(60)
    assert made.peers == {"phone", "bench"}
    return made


def apply(daemon: Simulation, within_s: int | None) -> None:
    """Apply a change of both files: an endpoint more in each network."""
    reconciler = daemon.reconciler
    snapshot = handlers.yaml(reconciler, {})
    files = editable(snapshot.loaded)
    for network, name in (("web", "tablet"), ("lab", "probe")):
        files = edited(files, Edit("add_endpoint", network, name, {"type": "mobile"}))
    base = candidates.identity(snapshot.loaded)
    asked = {"base": base, "drafts": tuple(files.drafts.values())}
    change = handlers.candidate(reconciler, asked)
    arguments = {"candidate": change, "digest": change.digest, "agree": (), "by": "test"}
    if within_s is not None:
        arguments["confirm_within_s"] = within_s
    handlers.apply_change(reconciler, arguments)


def place(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Have the next apply killed there."""
    if where == "timer":
        monkeypatch.setattr(queries, "start_timer", killed)
    elif where == "kernel":
        monkeypatch.setattr(handlers, "converge", killed)
    else:
        writes = [killed] if where == "first file" else [edits.write, killed]

        def write(draft: Draft) -> None:
            writes.pop(0)(draft)

        monkeypatch.setattr(candidates, "write", write)


def texts(daemon: Simulation) -> tuple[bool, bool]:
    """Whether each of the files has the new text."""
    lab = daemon.config.parent / "networks.d" / "lab.yaml"
    return "tablet" in daemon.config.read_text(), "probe" in lab.read_text()


@pytest.mark.parametrize("where", ["timer", "first file", "second file", "kernel"])
def test_nothing_is_in_force_that_nobody_confirmed(
    daemon: Simulation, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    with monkeypatch.context() as patch:
        place(patch, where)
        with pytest.raises(Killed):
            apply(daemon, 60)
    daemon.start()
    daemon.turn(150)
    assert daemon.peers == {"phone", "bench"}
    written = where == "kernel"
    assert texts(daemon) == (written, written)
    assert ("rolled-back" in daemon.conditions) is written
    # What somebody does next is done.
    daemon.write_text(MAIN.replace("phone:", "watch: {type: mobile}, phone:"))
    daemon.turn(150)
    assert "watch" in daemon.peers


@pytest.mark.parametrize("where", ["first file", "second file", "kernel"])
def test_without_a_time_to_confirm_it_is_all_or_nothing(
    daemon: Simulation, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    with monkeypatch.context() as patch:
        place(patch, where)
        with pytest.raises(Killed):
            apply(daemon, None)
    daemon.start()
    daemon.turn(150)
    written = where == "kernel"
    assert texts(daemon) == (written, written)
    assert daemon.peers == ({"phone", "bench"} | ({"tablet", "probe"} if written else set()))


def test_an_editor_after_the_kill_is_not_overwritten(
    daemon: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        place(patch, "second file")
        with pytest.raises(Killed):
            apply(daemon, None)
    text = daemon.config.read_text() + "# an editor was here\n"
    daemon.config.write_text(text)
    daemon.start()
    daemon.turn(150)
    assert daemon.config.read_text() == text
