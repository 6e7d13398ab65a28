"""P15 on a real kernel: what nobody confirms is undone, though the command, its session and the
daemon are killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import preloading, world
from tests.live.daemon import Daemon
from warpd.kernel.api import DumpError
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.reconcile.incremental import planned_run
from warpd.service.history import History
from warpd.service.workspace import Workspace, live_kernel

OLD = {"a": world.network(2), "b": world.network(1)}
NEW = {"a": world.network(3, mtu=1380), "c": world.network(2)}


class Gateway:
    def __init__(self, folder: Path) -> None:
        self.file, self.state = folder / "warp.yaml", folder / "state"
        self.workspace = Workspace(self.file, self.state)

    def say(self, networks: dict[str, Any]) -> None:
        self.file.write_text(json.dumps({"version": 1, "networks": networks}))

    def words(self, *words: str) -> list[str]:
        """A process of its own, which can be killed."""
        return [sys.executable, "-m", "warpd.cli", *self._paths(), *words]

    def _paths(self) -> tuple[str, ...]:
        return ("-c", str(self.file), "--state-dir", str(self.state))

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [*preloading.warpctl(), *self._paths(), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def is_as(self, networks: dict[str, Any]) -> bool:
        """Whether the kernel is as these networks would have it, with the allocations as they are
        written down.
        """
        beside = Gateway(self.file.parent)
        beside.file = self.file.with_name("asked.yaml")
        beside.say(networks)
        workspace = Workspace(beside.file, self.state)
        with (
            live_kernel() as kernel,
            contextlib.suppress(DumpError),
        ):  # a namespace that goes while it is looked at
            return planned_run(kernel, workspace.target(workspace.read(), create=False)).plan.empty
        return False


def within(seconds: float, true: Callable[[], bool]) -> float:
    """Seconds until it was true."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, f"not within {seconds} s"
        time.sleep(0.05)
    return time.monotonic() - began


@pytest.fixture
def made(gateway: LiveKernel, tmp_path: Path) -> Gateway:
    gateway.close()  # no descriptors of namespaces that come and go
    machine = Gateway(tmp_path)
    machine.say(OLD)
    assert machine.run("apply", "--yes").returncode == 0
    machine.say(NEW)
    return machine


def test_undoing_a_rollback_is_said(made: Gateway) -> None:
    """An apply of the very files that were rolled back from is a risk like any other."""
    assert made.run("apply", "--yes").returncode == 0
    back = made.run("rollback", "--to", "1", "--yes")
    assert back.returncode == 0 and "Going back to number 1" in back.stderr
    for line in ("- network c", "+ network b", "~ network a", "- endpoint a/e3"):
        assert f"\n{line}" in back.stderr, back.stderr
    assert "nft-" not in back.stderr and "sysctl" not in back.stderr, (
        "kernel steps are for --verbose"
    )
    shown = made.run("history", "--show", "2").stdout
    assert "Going back to number 2" in shown and "\n+ network c" in shown
    asked = made.run("plan")
    assert asked.returncode == 2 and "a rollback is in force" in asked.stdout
    declined = made.run("apply")
    assert (
        declined.returncode != 0 and "a rollback is in force" in declined.stderr and made.is_as(OLD)
    )
    done = made.run("apply", "--yes")
    assert done.returncode == 0 and "a rollback is in force" in done.stderr and made.is_as(NEW)
    assert "a rollback is in force" not in made.run("plan").stdout


def test_destroy_beside_a_daemon_is_refused(made: Gateway, tmp_path: Path) -> None:
    """It would say done, and all would be back within seconds."""
    folder = tmp_path / "kept"
    folder.mkdir()
    with Daemon(folder, json.loads(made.file.read_text()), state=made.state) as daemon:
        refused = made.run("destroy", "--yes")
        assert refused.returncode == 5 and "systemctl stop warpd" in refused.stderr
        assert made.is_as(NEW)
        daemon.stop()
        assert made.run("destroy", "--yes").returncode == 0


def test_a_yes_keeps_it(made: Gateway) -> None:
    done = made.run("apply", "--yes", "--confirm-within", "15s")
    assert done.returncode == 0 and "warpctl confirm" in done.stdout
    pending = History(made.workspace).pending()
    assert pending is not None
    assert (
        json.loads(made.run("status", "-o", "json").stdout)["pending_confirm"]["rollback_to"] == 1
    )
    assert made.run("confirm").returncode == 0
    time.sleep(max(0.0, pending.left_s()) + 2)
    assert made.is_as(NEW) and made.run("confirm").returncode == 1


def test_without_a_yes_it_is_undone_in_time(
    made: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    done = made.run("apply", "--yes", "--confirm-within", "6s", "-o", "json")
    assert done.returncode == 0, done.stderr
    pending = History(made.workspace).pending()
    assert pending is not None and made.is_as(NEW)
    second = made.run("apply", "--yes")
    assert second.returncode == 5 and "waits to be confirmed" in second.stderr
    within(30, lambda: History(made.workspace).pending() is None)
    late = time.time() - pending.until_s
    assert made.is_as(OLD) and 0 <= late < 10
    assert json.loads(made.file.read_text())["networks"].keys() == NEW.keys(), (
        "the YAML on disk is not touched"
    )
    with capsys.disabled():
        print(f"\n  unconfirmed apply undone {late:.2f} s after its deadline", end="")


@pytest.mark.parametrize(
    "after_s",
    [0.05, 0.4, *(pytest.param(each, marks=pytest.mark.long) for each in (0, 0.1, 0.2, 0.8))],
)
def test_the_command_is_killed_in_the_middle(
    made: Gateway, after_s: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """With all its process group, as when a session ends; the timer is in a session of its own."""
    process = subprocess.Popen(
        made.words("apply", "--yes", "--confirm-within", "5s"), start_new_session=True
    )
    within(20, lambda: History(made.workspace).pending() is not None)
    time.sleep(after_s)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    half = not made.is_as(OLD) and not made.is_as(NEW)
    within(30, lambda: History(made.workspace).pending() is None)
    with capsys.disabled():
        print(f"\n  killed {after_s} s into the apply, half of it done: {half}", end="")
    assert made.is_as(OLD)


def test_rollback_by_hand_and_to_a_number(made: Gateway) -> None:
    assert made.run("apply", "--yes", "--confirm-within", "60s").returncode == 0
    done = made.run("rollback")
    assert done.returncode == 0 and made.is_as(OLD), done.stderr
    assert made.run("rollback").returncode == 1
    assert made.run("rollback", "--to", "2", "--yes").returncode == 0 and made.is_as(NEW)
    assert made.run("rollback", "--to", "77", "--yes").returncode == 1
    listed = json.loads(made.run("history", "-o", "json").stdout)
    assert [(row["number"], row["in_force"]) for row in listed["history"]] == [
        (1, False),
        (2, True),
    ]
    assert '"mtu": 1380' in made.run("history", "--show", "2").stdout


def test_the_daemon_undoes_it_though_command_and_timer_are_killed(
    gateway: LiveKernel, tmp_path: Path
) -> None:
    """And it holds what waits against its own YAML, and does not apply again what was rolled back
    from.
    """
    gateway.close()
    machine = Gateway(tmp_path)
    with Daemon(tmp_path, {"version": 1, "networks": OLD}) as daemon:
        candidate = Gateway(tmp_path)
        candidate.file = tmp_path / "candidate.yaml"
        candidate.say(NEW)
        assert candidate.run("apply", "--yes", "--confirm-within", "8s").returncode == 0
        pending = History(machine.workspace).pending()
        assert pending is not None
        subprocess.run(["pkill", "-KILL", "-f", "rollback --expired"], check=True)
        time.sleep(1)
        assert machine.is_as(NEW), "the daemon's own YAML does not undo what waits for a yes"
        within(30, lambda: History(machine.workspace).pending() is None)
        assert machine.is_as(OLD) and time.time() - pending.until_s < 10
        assert daemon.alive()


def test_a_daemon_that_starts_finds_what_was_not_confirmed(made: Gateway) -> None:
    assert made.run("apply", "--yes", "--confirm-within", "5s").returncode == 0
    subprocess.run(["pkill", "-KILL", "-f", "rollback --expired"], check=True)
    time.sleep(6)
    assert made.is_as(NEW)
    with Daemon(made.file.parent, made.file.read_text()) as daemon:
        within(20, lambda: History(made.workspace).pending() is None)
        daemon.wait(lambda: made.is_as(OLD), "the old intent")
        time.sleep(2)
        assert made.is_as(OLD), (
            "the YAML on disk was rolled back from: it is not applied again unasked"
        )
        daemon.write({"version": 1, "networks": {**NEW, "d": world.network(1)}})
        daemon.wait(
            lambda: made.is_as({**NEW, "d": world.network(1)}), "a YAML that has changed since"
        )


def test_the_last_good_intent_outlives_a_restart(gateway: LiveKernel, tmp_path: Path) -> None:
    gateway.close()
    machine = Gateway(tmp_path)
    daemon = Daemon(tmp_path, {"version": 1, "networks": OLD})
    with daemon:
        pass
    subprocess.run(
        ["ip", "link", "del", f"dn-{machine.workspace.read().allocations.networks['a'].vcid}"],
        check=True,
    )
    daemon.write("version: 1\nnetworks: {a: {typ: secure-internet}}\n")
    with daemon:
        daemon.wait(lambda: machine.is_as(OLD), "what was in force before")
        assert daemon.lines("the YAML is not valid; what was applied stays in force")


def test_the_daemon_keeps_what_somebody_went_back_to(gateway: LiveKernel, tmp_path: Path) -> None:
    """Also when drift makes it look again; and what somebody applied while its own YAML is
    broken.
    """
    gateway.close()
    machine = Gateway(tmp_path)
    with Daemon(tmp_path, {"version": 1, "networks": OLD}, 600) as daemon:
        daemon.write({"version": 1, "networks": NEW})
        daemon.wait(lambda: machine.is_as(NEW), "the new intent")
        done = machine.run("rollback", "--to", "1", "--yes")
        assert done.returncode == 0, done.stderr
        vcid = machine.workspace.store.read_allocations().networks["a"].vcid
        for _ in range(2):
            seen = daemon.log_file.stat().st_size
            subprocess.run(["ip", "link", "set", f"dn-{vcid}", "mtu", "1400"], check=True)
            daemon.repair(seen, "a repair")
            assert machine.is_as(OLD)
        daemon.write("version: 1\nnetworks: [broken")
        daemon.wait(
            lambda: bool(daemon.lines("the YAML is not valid; what was applied stays in force")),
            "a finding",
        )
        good = Gateway(tmp_path)
        good.file = tmp_path / "good.yaml"
        good.say({"a": world.network(2), "b": world.network(1), "e": world.network(1)})
        assert good.run("apply", "--yes").returncode == 0
        seen = daemon.log_file.stat().st_size
        subprocess.run(["ip", "link", "set", f"dn-{vcid}", "mtu", "1400"], check=True)
        daemon.repair(seen, "a repair")
        assert good.is_as({"a": world.network(2), "b": world.network(1), "e": world.network(1)})


def test_drift_is_repaired_while_somebody_writes_the_file(
    gateway: LiveKernel, tmp_path: Path
) -> None:
    gateway.close()
    machine = Gateway(tmp_path)
    with Daemon(tmp_path, {"version": 1, "networks": OLD}, 600) as daemon:
        vcid = machine.workspace.store.read_allocations().networks["a"].vcid
        with machine.file.open("a") as file:
            file.write("# half a line")
            file.flush()
            seen = daemon.log_file.stat().st_size
            subprocess.run(["ip", "link", "set", f"dn-{vcid}", "mtu", "1400"], check=True)
            daemon.repair(seen, "a repair")
        assert machine.is_as(OLD)
