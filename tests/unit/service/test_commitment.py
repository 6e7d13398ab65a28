"""P19: a state folder that takes no writes stops neither repair nor revocation, and no edit is
lost.

The kernel is in memory.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests import world
from warpd.daemon import handlers
from warpd.daemon.health import facts_of
from warpd.daemon.mailbox import Mailbox
from warpd.daemon.reconciler import Reconciler
from warpd.daemon.scheduler import PassRequest, PassResult, Scheduler
from warpd.errors import EXIT_PARTIAL, InvalidIntent, WarpError
from warpd.kernel.kinds.nft_table import NftTable
from warpd.kernel.kinds.sysctl import Sysctl
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import ROOT, Key
from warpd.reconcile.engine import converge
from warpd.reconcile.incremental import planned_run
from warpd.service.commitment import commit, last_applied
from warpd.service.conditions import conditions
from warpd.service.history import History
from warpd.service.queries import planned
from warpd.service.rollback import undo
from warpd.service.views.render import summary_text
from warpd.service.views.report import exit_code_of
from warpd.service.workspace import Workspace
from warpd.store.state_folder import ALLOCATIONS, MASTER
from warpd.testing.fake_kernel import FakeKernel

LOOK = PassRequest(True, None, False)
SETTING = Sysctl(ROOT, "net/ipv4/conf/eth0/forwarding", "0")
TABLE = Key(NftTable.KIND, ROOT, "warpd")


class Machine:
    """A gateway: its files, its kernel, and the daemon's passes."""

    def __init__(self, folder: Path) -> None:
        self.config, self.state = folder / "warp.yaml", folder / "state"
        self.kernel = FakeKernel()
        self.say("p", "q")
        self.start()

    def start(self) -> None:
        self.mailbox = Mailbox()
        workspace = Workspace(self.config, self.state)
        self.reconciler = Reconciler(workspace, self.kernel, self.mailbox, structlog.get_logger())

    def say(self, *endpoints: str, gateway: dict[str, Any] | None = None, **more: Any) -> None:
        body = {
            "type": "secure-internet",
            "expected_users": 6,
            "endpoints": {name: {"type": "mobile"} for name in endpoints},
        }
        beside = self.config.with_name("new")
        beside.write_text(
            json.dumps({"version": 1, "gateway": gateway or {}, "networks": {"a": body, **more}})
        )
        beside.rename(self.config)

    def look(self, work: PassRequest = LOOK) -> PassResult:
        return self.reconciler.run(work)

    @property
    def peers(self) -> set[str]:
        return {
            item.label for item in self.kernel.objects.values() if isinstance(item, WireguardPeer)
        }

    @property
    def conditions(self) -> set[str]:
        """Codes of what status, doctor, metrics, events and log tell."""
        facts = facts_of(self.reconciler, Scheduler(60.0, lambda: 0.5, 0.0), self.mailbox, 0.0, 0)
        return {item.code for item in conditions(facts)}

    def told(self, kind: str) -> int:
        return sum(event.kind == kind for event in self.mailbox.events())

    @contextmanager
    def unwritable(self) -> Iterator[None]:
        """Every file in the folder stays as it is: what would be written beside it cannot be
        made.
        """
        names = (f".{ALLOCATIONS}.new", ".in-force.json.new", ".pending.json.new")
        for name in names:
            (self.state / name).mkdir()
        yield
        for name in names:
            (self.state / name).rmdir()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    assert not made.look().unwritten and made.peers == {"p", "q"}
    return made


def test_what_takes_away_is_done_and_what_gives_waits(machine: Machine) -> None:
    with machine.unwritable():
        machine.say("p", "r", b=world.network(1))
        for _ in range(3):
            assert machine.look().unwritten
            assert machine.peers == {"p"}
        assert (
            machine.reconciler.last_pass["result"] == "unwritten"
            and machine.reconciler.desired.findings
        )
        assert machine.told("state_unwritable") == 1, "told once"
    assert not machine.look().unwritten
    assert (
        machine.peers == {"p", "r", "e1"}
        and not machine.reconciler.desired.findings
        and machine.told("state_writable") == 1
    )
    assert machine.look().changed == 0


def test_a_repair_between_two_tries_writes_nothing(machine: Machine) -> None:
    with machine.unwritable():
        machine.say("p", "r")
        machine.look()
        del machine.kernel.objects[TABLE]
        assert machine.look(PassRequest(groups=frozenset([ROOT]))).unwritten
        assert TABLE in machine.kernel.objects and machine.peers == {"p"}
    assert machine.look(PassRequest(files=True)).unwritten, "not due yet"
    assert not machine.look(PassRequest(files=True, retry=True)).unwritten
    assert machine.peers == {"p", "r"}


def test_the_next_edit_counts_though_the_one_before_could_not_be_written(machine: Machine) -> None:
    with machine.unwritable():
        machine.say("p")
        machine.look(PassRequest(files=True))
        assert machine.peers == {"p"}
        machine.say("q")
        machine.look(PassRequest(files=True))
        assert machine.peers == {"q"}, "what is permitted by the intent on disk needs no write"
        machine.say()
        machine.look(PassRequest(files=True))
        assert not machine.peers
    machine.look()
    assert not machine.peers and last_applied(Workspace(machine.config, machine.state)) is not None


def test_a_broken_yaml_gives_nothing_back(machine: Machine) -> None:
    with machine.unwritable():
        machine.say("p")
        machine.look()
        machine.config.write_text("version: 1\nnetworks: [")
        machine.look()
        assert machine.peers == {"p"}


def test_a_start_without_a_place_to_write(machine: Machine) -> None:
    with machine.unwritable():
        machine.say("p", "r")
        machine.kernel.objects.clear()
        machine.start()
        assert machine.look().unwritten
        assert machine.peers == {"p"} and TABLE in machine.kernel.objects


def test_a_start_without_a_place_to_write_and_nothing_new(machine: Machine) -> None:
    with machine.unwritable():
        machine.kernel.objects.clear()
        machine.start()
        assert not machine.look().unwritten, "what is written already needs no write"
        assert machine.peers == {"p", "q"}


def test_a_first_start_without_a_place_to_write_gives_nothing(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    made = Machine(tmp_path)
    assert made.look().all_failed and not made.kernel.objects


@pytest.mark.parametrize("lost", [(ALLOCATIONS, MASTER), (MASTER,), (ALLOCATIONS, "in-force.json")])
def test_a_state_folder_that_lost_its_files(machine: Machine, lost: tuple[str, ...]) -> None:
    """No new secret and no new allocations while the daemon knows the old ones."""
    for name in lost:
        (machine.state / name).rename(machine.state.parent / name)
    machine.say("p", "r")
    del machine.kernel.objects[TABLE]
    assert machine.look().unwritten and machine.look().unwritten
    assert machine.peers == {"p"} and TABLE in machine.kernel.objects
    assert not any((machine.state / name).exists() for name in lost), (
        "nothing is made anew in silence"
    )
    for name in lost:
        (machine.state.parent / name).rename(machine.state / name)
    assert not machine.look().unwritten and machine.peers == {"p", "r"}


def test_a_state_folder_that_is_gone_is_not_made_anew(machine: Machine) -> None:
    away = machine.state.with_name("away")
    machine.state.rename(away)
    machine.say("p", "r")
    del machine.kernel.objects[TABLE]
    assert machine.look().unwritten
    assert machine.peers == {"p"} and TABLE in machine.kernel.objects and not machine.state.exists()
    away.rename(machine.state)
    assert not machine.look().unwritten and machine.peers == {"p", "r"}
    assert not machine.look().changed


def test_a_state_folder_that_cannot_be_read(machine: Machine) -> None:
    whole = (machine.state / ALLOCATIONS).read_text()
    (machine.state / ALLOCATIONS).write_text(whole[: len(whole) // 2])
    machine.say("q")
    del machine.kernel.objects[TABLE]
    assert machine.look().unwritten and machine.peers == {"q"} and TABLE in machine.kernel.objects
    (machine.state / ALLOCATIONS).write_text(whole)
    assert not machine.look().unwritten and machine.peers == {"q"}


def test_an_edit_during_the_write_is_not_lost(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the reading of the files and the end of the write lies a disk's time."""
    real = History.record

    def slow(self: History, *arguments: Any) -> Any:
        if machine.peers == {"p", "q"}:
            machine.say("q")
        return real(self, *arguments)

    monkeypatch.setattr(History, "record", slow)
    machine.say("p")
    machine.look(PassRequest(files=True))
    machine.look(PassRequest(files=True))
    assert machine.peers == {"q"}


def test_a_command_takes_away_and_says_what_waits(machine: Machine) -> None:
    workspace = Workspace(machine.config, machine.state)
    machine.say("p", "r")
    with machine.unwritable(), workspace.store.writer_if_possible("test") as obstacle:
        assert obstacle is None, "the lock is there to be taken"
        done = commit(
            History(workspace),
            workspace.read(),
            "test",
            machine.kernel,
            lambda: last_applied(workspace),
            obstacle,
        )
    assert done.unwritten is not None and not done.number
    assert list(done.target.intent.networks["a"].endpoints) == ["p"]
    with workspace.store.writer("test"):
        done = commit(
            History(workspace),
            workspace.read(),
            "test",
            machine.kernel,
            lambda: last_applied(workspace),
        )
    assert done.unwritten is None and list(done.target.intent.networks["a"].endpoints) == ["p", "r"]


def test_an_apply_to_be_confirmed_takes_away_and_says_that_nothing_is_undone(
    machine: Machine,
) -> None:
    with machine.unwritable():
        machine.say("p", "r")
        told = handlers.apply(machine.reconciler, {"yes": True, "confirm_within_s": 60})
    assert (
        told["unwritten"]["unconfirmable"]
        and told["confirm_until"] is None
        and exit_code_of(told) == EXIT_PARTIAL
    )
    assert (
        machine.peers == {"p"}
        and History(Workspace(machine.config, machine.state)).pending() is None
    )


def test_a_command_without_any_record_does_nothing(tmp_path: Path) -> None:
    made = Machine(tmp_path)
    workspace = Workspace(made.config, made.state)
    with pytest.raises(WarpError), workspace.store.writer_if_possible("test"):
        shutil.rmtree(made.state)
        made.state.write_text("no folder")
        commit(History(workspace), workspace.read(), "test", made.kernel, lambda: None)


def awaiting(machine: Machine, *endpoints: str, within_s: float = -1) -> None:
    """An apply of another process, with a time to confirm; below 0 it is over."""
    workspace = Workspace(machine.config, machine.state)
    machine.say(*endpoints)
    with workspace.store.writer("test"):
        read, history = workspace.read(), History(workspace)
        back_to = history.in_force_number()
        done = commit(History(workspace), read, "test", machine.kernel, lambda: None)
        history.record_pending(done.number, back_to, within_s, "test")
        converge(
            machine.kernel,
            lambda: planned_run(machine.kernel, done.target),
            planned_run(machine.kernel, done.target),
        )


def test_an_unconfirmed_apply_is_undone_without_a_place_to_write(machine: Machine) -> None:
    awaiting(machine, "p", "q", "r")
    assert machine.peers == {"p", "q", "r"}
    with machine.unwritable():
        for _ in range(3):
            assert machine.look().unwritten
            assert machine.peers == {"p", "q"} and not machine.reconciler.desired.undo_due, (
                "undone once"
            )
        assert History(machine.reconciler.workspace).pending() is not None
    machine.look()
    assert machine.peers == {"p", "q"} and History(machine.reconciler.workspace).pending() is None
    machine.look()
    assert machine.peers == {"p", "q"} and machine.reconciler.desired.awaiting_consent, (
        "the files are those that were rolled back from"
    )


def test_a_confirmed_apply_waits_no_more(machine: Machine) -> None:
    """Neither the files nor what is in force are others than before."""
    awaiting(machine, "p", "q", within_s=600)
    machine.look()
    assert machine.reconciler.desired.pending is not None
    machine.say("p", "q", "r")
    machine.look()
    assert machine.reconciler.desired.awaiting_consent, "the edit has to wait"
    machine.say("p", "q")
    History(Workspace(machine.config, machine.state)).confirm()
    machine.look(PassRequest(files=True))
    machine.look()
    assert (
        machine.reconciler.desired.pending is None
        and not machine.reconciler.desired.awaiting_consent
        and not machine.reconciler.desired.findings
    )


def test_a_rollback_by_hand_without_a_place_to_write(machine: Machine) -> None:
    workspace = Workspace(machine.config, machine.state)
    machine.say("p", "q", "r")
    machine.look()
    with machine.unwritable(), workspace.store.writer_if_possible("test"):
        undone, number = undo(workspace, machine.kernel, 1)
        assert (
            number == 1
            and machine.peers == {"p", "q"}
            and undone.outcome.complete
            and not undone.complete
        )
    with workspace.store.writer("test"):
        undone, _ = undo(workspace, machine.kernel, 1)
    assert undone.complete and History(workspace).in_force_number() == 1


def test_no_new_secret_while_the_kernel_has_devices_of_ours(machine: Machine) -> None:
    """The state folder is gone, and nobody remembers: a new secret would cut off everybody in
    silence.
    """
    shutil.rmtree(machine.state)
    before = dict(machine.kernel.objects)
    machine.start()
    assert (
        machine.look().unwritten and machine.kernel.objects == before and not machine.state.exists()
    )
    workspace = Workspace(machine.config, machine.state)
    with workspace.store.writer_if_possible("test"):
        done = commit(History(workspace), workspace.read(), "test", machine.kernel, lambda: None)
    assert (
        done.unwritten is not None
        and done.unwritten.code == "master-lost"
        and not (machine.state / MASTER).exists()
    )


@pytest.mark.parametrize("emptied", [False, True])
def test_no_new_allocations_while_the_kernel_has_devices_of_ours(
    machine: Machine, emptied: bool
) -> None:
    """The master secret is somewhere else: with it every endpoint is told by its key, and nobody is
    moved.
    """
    machine.say("p", "q", "r")
    machine.look()
    key = machine.state.with_name("key")
    (machine.state / MASTER).rename(key)
    shutil.rmtree(machine.state)
    if emptied:
        machine.state.mkdir(mode=0o700)
    addresses = {
        item.label: item.allowed_ips
        for item in machine.kernel.objects.values()
        if isinstance(item, WireguardPeer)
    }
    machine.start()
    machine.say("o", "q", gateway={"master_key_file": str(key)})
    del machine.kernel.objects[TABLE]
    assert machine.look().unwritten and machine.look().unwritten
    assert (
        machine.peers == {"q"}
        and TABLE in machine.kernel.objects
        and machine.state.exists() == emptied
    )
    assert not (machine.state / ALLOCATIONS).exists()
    left = {
        item.label: item.allowed_ips
        for item in machine.kernel.objects.values()
        if isinstance(item, WireguardPeer)
    }
    assert left == {"q": addresses["q"]}
    assert "allocations-lost" in machine.conditions


def test_lost_allocations_are_read_from_the_history(machine: Machine) -> None:
    machine.say("q", "p", "o")
    machine.look()
    before = machine.reconciler.workspace.store.read_allocations()
    (machine.state / ALLOCATIONS).unlink()
    machine.start()
    assert not machine.look().unwritten
    assert (
        Workspace(machine.config, machine.state).store.read_allocations() == before
        and (machine.state / ALLOCATIONS).exists()
    )


@pytest.mark.parametrize(
    "names",
    [
        (ALLOCATIONS,),
        ("in-force.json",),
        ("history/000001.json",),
        (ALLOCATIONS, "history/000001.json"),
    ],
    ids=" and ".join,
)
def test_a_start_beside_damaged_files_repairs_and_takes_away(
    machine: Machine, names: tuple[str, ...]
) -> None:
    good = {name: (machine.state / name).read_text() for name in names}
    for name in names:
        (machine.state / name).write_text("{")
    machine.start()
    del machine.kernel.objects[TABLE]
    machine.say("p", "q")
    assert machine.look().unwritten and TABLE in machine.kernel.objects
    assert machine.peers == {"p", "q"} and "state-damaged" in machine.conditions
    if names == (ALLOCATIONS,):  # the history tells that nothing else waits
        assert "edit-unwritten" not in machine.conditions
    machine.say("p", "r", b=world.network(1))
    for _ in range(2):
        assert machine.look().unwritten and machine.peers == {"p"}
    assert {"state-damaged", "edit-unwritten"} <= machine.conditions
    assert all((machine.state / name).read_text() == "{" for name in names), "left for the operator"
    for name, text in good.items():
        (machine.state / name).write_text(text)
    assert not machine.look().unwritten and machine.peers == {"p", "r", "e1"}
    assert "state-damaged" not in machine.conditions


def test_a_first_start_beside_damaged_allocations_gives_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.state.mkdir(mode=0o700)
    (machine.state / ALLOCATIONS).write_text("{")
    assert machine.look().all_failed and not machine.peers
    assert "state-damaged" in machine.conditions


def test_a_start_without_the_secret_repairs_and_takes_away(machine: Machine) -> None:
    (machine.state / MASTER).rename(machine.state.with_name("key"))
    machine.start()
    machine.say("p", "r", b=world.network(1))
    del machine.kernel.objects[TABLE]
    for _ in range(2):
        assert machine.look().unwritten
        assert (
            machine.peers == {"p"}
            and TABLE in machine.kernel.objects
            and not (machine.state / MASTER).exists()
        )
    assert "master-lost" in machine.conditions and "endpoints-unnamed" not in machine.conditions
    machine.say()
    machine.look()
    assert not machine.peers
    machine.say("p", "r")
    machine.state.with_name("key").rename(machine.state / MASTER)
    assert not machine.look().unwritten and machine.peers == {"p", "r"}


def test_a_start_without_the_secret_and_with_a_broken_yaml_repairs(machine: Machine) -> None:
    (machine.state / MASTER).unlink()
    machine.start()
    machine.config.write_text("version: 1\nnetworks: [")
    del machine.kernel.objects[TABLE]
    assert machine.look().unwritten
    assert machine.peers == {"p", "q"} and TABLE in machine.kernel.objects
    assert {"master-lost", "yaml-invalid"} <= machine.conditions


def test_a_start_without_any_state_repairs_and_takes_away_what_it_can_tell(
    machine: Machine,
) -> None:
    """Networks are known by their aliases, endpoints by what the YAML says of them; who cannot be
    told stays, which is said.
    """
    machine.say("p", "q", b=world.network(2), c=world.network(1))
    machine.look()
    away = machine.state.rename(machine.state.with_name("away"))
    machine.start()
    machine.say("p", c=world.network(1, enabled=False), d=world.network(1))
    before = {
        item.public_key
        for item in machine.kernel.objects.values()
        if isinstance(item, WireguardPeer)
    }
    del machine.kernel.objects[TABLE]
    for _ in range(2):
        assert machine.look().unwritten
        left = [item for item in machine.kernel.objects.values() if isinstance(item, WireguardPeer)]
        assert {item.public_key for item in left} < before and len(left) == 2, (
            "p and q cannot be told apart"
        )
        assert TABLE in machine.kernel.objects and not machine.state.exists()
    assert {"master-lost", "endpoints-unnamed"} <= machine.conditions
    machine.say()
    machine.look()
    assert not machine.peers, "the YAML lists nobody"
    machine.say("p", b=world.network(2), d=world.network(1))
    away.rename(machine.state)
    assert (
        not machine.look().unwritten
        and machine.peers == {"p", "e1", "e2"}
        and not machine.look().changed
    )


def test_a_start_without_any_state_removes_no_majority(machine: Machine) -> None:
    """An empty YAML and an empty state folder are a disk that is not mounted more often than they
    are somebody's wish.
    """
    machine.say("p", b=world.network(1), c=world.network(1))
    machine.look()
    shutil.rmtree(machine.state)
    before = dict(machine.kernel.objects)
    machine.start()
    machine.say("p")
    assert machine.look().all_failed and machine.kernel.objects == before


def test_a_pass_that_fails_whole_is_not_repeated_by_whatever_happens_beside_the_file(
    machine: Machine,
) -> None:
    """A log in the same folder would call for a pass at each of its lines."""
    machine.say("p", b=world.network(1), c=world.network(1))
    machine.look()
    shutil.rmtree(machine.state)
    machine.start()
    machine.say("p")
    assert machine.look().all_failed
    assert machine.look(PassRequest(files=True)) == PassResult()
    machine.say("q")
    assert machine.look(PassRequest(files=True)).all_failed, "another YAML is tried at once"


def test_a_first_start_with_settings_of_the_host_alone(tmp_path: Path) -> None:
    """Settings that are nobody's stand in every look."""
    made = Machine(tmp_path)
    made.kernel.objects[SETTING.key] = SETTING
    assert not made.look().all_failed and made.peers == {"p", "q"}


def test_a_daemon_at_work_is_known(machine: Machine) -> None:
    store = machine.reconciler.workspace.store
    assert not store.has_daemon()
    store.announce_daemon()
    store.announce_daemon()
    assert Workspace(machine.config, machine.state).store.has_daemon()


def test_a_lost_secret_is_never_replaced(machine: Machine) -> None:
    """Not by a command, a start or a rollback, which takes away all the same; and no step is made
    with other keys.
    """
    machine.say("p", "q", "r")
    machine.look()
    (machine.state / MASTER).unlink()
    before = dict(machine.kernel.objects)
    machine.say("p")
    workspace = Workspace(machine.config, machine.state)
    with workspace.store.writer("test"):
        done = commit(
            History(workspace),
            workspace.read(),
            "test",
            machine.kernel,
            lambda: last_applied(workspace),
        )
        assert done.unwritten is not None and done.unwritten.code == "master-lost"
        undone, number = undo(workspace, machine.kernel, 1)
        assert undone.unwritten is not None and undone.unwritten.code == "master-lost"
        assert not undone.complete and number == 2
    assert machine.peers == {"p", "q"}
    machine.start()
    assert machine.look().unwritten
    assert machine.peers == {"p"} and not (machine.state / MASTER).exists()
    assert all(
        before[item.key] == item
        for item in machine.kernel.objects.values()
        if isinstance(item, WireguardPeer)
    )


def test_a_plan_beside_a_broken_yaml_is_that_to_the_last_good_intent(machine: Machine) -> None:
    """With its findings, and the condition that says so; nothing is invented of the broken file."""
    workspace = Workspace(machine.config, machine.state)
    machine.config.write_text('{"version": 1, "networks": {"a": {"typ": 1}}}')
    data = planned(workspace, machine.kernel, True, ())
    assert not data["steps"] and data["findings"]
    assert "what the last good intent says" in summary_text(data)
    assert "yaml-invalid" in {row["code"] for row in data["conditions"]}
    peer = next(key for key, item in machine.kernel.objects.items() if item.KIND == "peer")
    del machine.kernel.objects[peer]
    data = planned(workspace, machine.kernel, True, ())
    assert [step["kind"] for step in data["steps"]] == ["peer"]


def test_no_plan_beside_a_broken_yaml_before_a_first_apply(tmp_path: Path) -> None:
    config = tmp_path / "warp.yaml"
    config.write_text("version: 1\nnetworks: {a: {typ: 1}}\n")
    with pytest.raises(InvalidIntent):
        planned(Workspace(config, tmp_path / "state"), FakeKernel(), False, ())
