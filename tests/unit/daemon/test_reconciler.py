"""What the daemon does, told as stories: a whole daemon on the kernel in memory, by a clock that
the test turns. Nothing sleeps.
"""

from __future__ import annotations

import base64
import errno
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import world
from tests.unit.daemon.simulation import INTERVAL_S, START_S, Simulation, two_networks
from warpd.daemon.metric import Counted
from warpd.daemon.metrics import metrics_text
from warpd.daemon.scheduler import CONTESTED_COUNT, GUARD_PAUSE_MAX_S, PAUSE_MAX_S
from warpd.errors import WarpError
from warpd.kernel.api import Event, FailureKind, OperationError
from warpd.kernel.kinds.link import LinkUp
from warpd.kernel.kinds.nft_table import NftTable
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import ROOT, Change, Key
from warpd.reconcile.engine import converge
from warpd.reconcile.incremental import planned_run
from warpd.service.commitment import commit
from warpd.service.history import History
from warpd.service.workspace import Workspace
from warpd.store.state_folder import HISTORY, IN_FORCE, Store

ROOT_TABLE = Key(NftTable.KIND, ROOT, "warpd")


@pytest.fixture
def daemon(tmp_path: Path) -> Simulation:
    """Two networks, in the kernel as the YAML says, and nothing to do."""
    made = Simulation(tmp_path)
    made.write(**two_networks())
    made.turn(5)
    assert made.peers == {"e1", "e2"} and not made.conditions
    assert made.reconciler.last_pass["result"] == "done"
    return made


def link_of(daemon: Simulation, network: str) -> LinkUp:
    """The WireGuard device's being up, of one network."""
    vcid = daemon.workspace.store.read_allocations().networks[network].vcid
    items = (item for item in daemon.kernel.objects.values() if isinstance(item, LinkUp))
    return next(item for item in items if item.name == f"wg-{vcid}")


def peer_of(daemon: Simulation, endpoint: str) -> WireguardPeer:
    items = (item for item in daemon.kernel.objects.values() if isinstance(item, WireguardPeer))
    return next(item for item in items if item.label == endpoint)


# -- drift


def test_drift_is_repaired_as_soon_as_its_event_comes(daemon: Simulation) -> None:
    link = link_of(daemon, "web")
    seen = daemon.mailbox.last_number
    daemon.remove(link.key)
    daemon.turn(0.1)
    assert daemon.has(link.key) and str(link.key) in daemon.steps(seen)
    assert daemon.told("change")[-1]["repair"]
    assert dict(daemon.mailbox.stats.repairs) == {"web": 1}


def test_only_the_network_of_an_event_is_looked_at(daemon: Simulation) -> None:
    link = link_of(daemon, "web")
    daemon.remove(link.key)
    passes = len(daemon.passes)
    daemon.turn(0.1)
    looked = [request.groups for request, _result in daemon.passes[passes:]]
    assert looked[0] == frozenset([link.netns])


def test_drift_without_an_event_is_found_by_the_periodic_look(daemon: Simulation) -> None:
    """WireGuard has no events."""
    peer = peer_of(daemon, "e1")
    del daemon.kernel.objects[peer.key]
    daemon.turn(INTERVAL_S / 2)
    assert not daemon.has(peer.key)
    daemon.turn(INTERVAL_S)
    assert daemon.has(peer.key)


def test_lost_events_lead_to_a_look_at_everything(daemon: Simulation) -> None:
    peer = peer_of(daemon, "e1")
    del daemon.kernel.objects[peer.key]
    daemon.kernel.report(Event(ROOT, overrun=True))
    daemon.turn(0.1)
    assert daemon.has(peer.key) and daemon.mailbox.stats.overruns == 1
    assert "events-lost" in daemon.conditions


def test_drift_in_the_root_during_a_pass_for_another_network_is_repaired_by_it(
    daemon: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its event is covered by the look that verifies the pass."""
    part = next(
        item
        for key, item in sorted(daemon.kernel.objects.items())
        if key.netns == ROOT and key.kind == "nft-elements" and item.group
    )
    send = daemon.kernel.send

    def send_and_lose(changes: Sequence[Change]) -> list[OperationError | None]:
        if daemon.has(part.key):
            daemon.remove(part.key)
        return send(changes)

    monkeypatch.setattr(daemon.kernel, "send", send_and_lose)
    victim = next(
        item
        for item in daemon.kernel.objects.values()
        if isinstance(item, LinkUp) and item.group != part.group and item.key.netns != ROOT
    )
    daemon.remove(victim.key)
    daemon.turn(0.1)
    monkeypatch.undo()
    assert daemon.has(victim.key)
    assert daemon.has(part.key)


def test_a_second_pass_changes_nothing(daemon: Simulation) -> None:
    sent = daemon.kernel.sent_changes
    daemon.turn(10 * INTERVAL_S)
    assert daemon.kernel.sent_changes == sent


def test_own_changes_lead_to_no_further_pass(daemon: Simulation) -> None:
    """Their events come in before the look that verifies them, which covers them."""
    daemon.remove(link_of(daemon, "web").key)
    passes = len(daemon.passes)
    daemon.turn(5)
    assert len(daemon.passes) <= passes + 2
    assert [result.changed for _request, result in daemon.passes[passes:]].count(0) <= 1


# -- a contested object


def contest(daemon: Simulation, key: Key, seconds: float) -> int:
    """Another program removes this whenever it is there; how often it did."""
    count, until_s = 0, daemon.now_s + seconds
    while daemon.now_s < until_s:
        if daemon.has(key):
            daemon.remove(key)
            count += 1
        daemon.turn(0.1)
    return count


def test_an_object_that_is_removed_again_and_again_is_repaired_more_slowly(
    daemon: Simulation,
) -> None:
    key = link_of(daemon, "web").key
    assert contest(daemon, key, 2) >= CONTESTED_COUNT
    assert daemon.scheduler.contested.keys() == {str(key)}
    repairs = contest(daemon, key, 60)
    assert 0 < repairs < 10, "it is repaired again, after pauses that grow"
    assert daemon.shown["contested_objects"] == [{"object": str(key), "network": "web"}]
    assert "contested" in {code.split("-")[0] for code in daemon.conditions}


def test_another_network_is_repaired_at_once_meanwhile(daemon: Simulation) -> None:
    contest(daemon, link_of(daemon, "web").key, 30)
    other = link_of(daemon, "corp")
    daemon.remove(other.key)
    daemon.turn(0.1)
    assert daemon.has(other.key)


def test_a_flush_that_is_quicker_than_each_pass_keeps_the_guard_away_for_seconds_only(
    daemon: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    transact = daemon.kernel.transact

    def transact_and_lose(netns: str, changes: Sequence[Change]) -> OperationError | None:
        fault = transact(netns, changes)
        if daemon.has(ROOT_TABLE):
            daemon.remove(ROOT_TABLE)
        return fault

    monkeypatch.setattr(daemon.kernel, "transact", transact_and_lose)
    daemon.remove(ROOT_TABLE)
    daemon.turn(2 * INTERVAL_S)
    gateway = next(row for row in daemon.shown["failing"] if not row["network"])
    assert gateway["times"] > CONTESTED_COUNT
    assert gateway["next_try_s"] <= 1.25 * GUARD_PAUSE_MAX_S
    monkeypatch.undo()
    daemon.turn(1.25 * GUARD_PAUSE_MAX_S)
    assert daemon.has(ROOT_TABLE) and not daemon.shown["failing"]


# -- a network that fails


def refuse(daemon: Simulation, group: str) -> None:
    nothing = Key("link", group, "none")
    daemon.kernel.refused[group] = OperationError(
        FailureKind.REFUSED, "create", nothing, errno.ENOMEM, "Cannot allocate memory"
    )


def test_a_network_that_fails_is_tried_again_after_pauses_that_double(daemon: Simulation) -> None:
    link = link_of(daemon, "web")
    refuse(daemon, link.group)
    daemon.remove(link.key)
    daemon.turn(0.1)
    assert [row["network"] for row in daemon.shown["failing"]] == ["web"]
    assert daemon.reconciler.last_faults["web"].endswith("Cannot allocate memory")
    first = daemon.shown["failing"][0]
    assert first["times"] == 1 and first["next_try_s"] <= 1.25
    daemon.turn(10)
    assert daemon.shown["failing"][0]["times"] == 4, "after 1, 2 and 4 seconds"
    daemon.turn(600)
    assert daemon.shown["failing"][0]["next_try_s"] <= 1.25 * PAUSE_MAX_S
    assert not daemon.has(link.key)


def test_the_others_go_on_and_it_comes_back(daemon: Simulation) -> None:
    link, other = link_of(daemon, "web"), link_of(daemon, "corp")
    refuse(daemon, link.group)
    daemon.remove(link.key)
    daemon.turn(5)
    daemon.remove(other.key)
    daemon.turn(0.1)
    assert daemon.has(other.key) and not daemon.has(link.key)
    daemon.kernel.refused.clear()
    daemon.turn(INTERVAL_S)
    assert daemon.has(link.key) and not daemon.shown["failing"] and not daemon.conditions


def test_a_network_that_cannot_be_read_keeps_no_other_from_being_repaired(
    daemon: Simulation,
) -> None:
    """It is named, tried again after a pause, and repaired once it is readable."""
    web, corp = link_of(daemon, "web"), link_of(daemon, "corp")
    daemon.kernel.unreadable[web.netns] = "no answer"
    daemon.remove(web.key)
    daemon.remove(corp.key)
    daemon.turn(2.0)
    assert daemon.has(corp.key) and not daemon.has(web.key)
    assert daemon.told("conflict")[-1]["unread"] == "no answer"
    assert (
        daemon.reconciler.last_faults["web"]
        == f"root/netns/{web.netns} could not be read: no answer"
    )
    assert web.netns in daemon.scheduler.failing(daemon.now_s)
    del daemon.kernel.unreadable[web.netns]
    daemon.turn(2 * INTERVAL_S)
    assert daemon.has(web.key) and not daemon.scheduler.failing(daemon.now_s)


def test_figures_of_others_go_on_while_one_network_fails(daemon: Simulation) -> None:
    link, other = link_of(daemon, "web"), link_of(daemon, "corp")
    refuse(daemon, link.group)
    daemon.remove(link.key)
    daemon.turn(INTERVAL_S + 1)  # a full observation finds what cannot be repaired
    in_sync = {item.name: item.in_sync for item in daemon.mailbox.stats.networks}
    assert in_sync == {"corp": True, "web": False}
    daemon.remove(other.key)
    daemon.turn(0.1)
    assert daemon.mailbox.stats.pending["web"] == 1
    assert "corp" not in daemon.mailbox.stats.pending
    daemon.kernel.refused.clear()
    daemon.turn(20 * INTERVAL_S)
    assert not daemon.mailbox.stats.pending
    assert all(item.in_sync for item in daemon.mailbox.stats.networks)


# -- a full disk


def fill(daemon: Simulation, is_full: bool) -> None:
    """Whether nothing can be written beside the documents of the state folder."""
    for name in ("grants.json", "allocations.json", "in-force.json", "pending.json"):
        beside = daemon.state / f".{name}.new"
        if is_full:
            beside.mkdir()
        else:
            beside.rmdir()


def test_with_a_full_disk_revocations_are_done_and_additions_wait(daemon: Simulation) -> None:
    fill(daemon, True)
    daemon.write(web=world.network(1), more=world.network(3))
    daemon.turn(1)
    assert daemon.peers == {"e1"} and len(daemon.told("state_unwritable")) == 1
    assert in_sync(daemon)["web"], "of web nothing waits"
    daemon.write(web=world.network(3))
    daemon.turn(1)
    assert not in_sync(daemon)["web"], "at once, not at the next full observation"
    rows = {row["name"]: row["in_sync"] for row in daemon.ask("status")["networks"]}
    assert rows == {"web": False}, "status says the same"
    daemon.write(web=world.network(1), more=world.network(3))
    daemon.turn(1)
    daemon.remove(ROOT_TABLE)
    daemon.turn(1)
    assert daemon.has(ROOT_TABLE), "guards are repaired"
    fill(daemon, False)
    daemon.turn(PAUSE_MAX_S)
    assert daemon.peers == {"e1", "e2", "e3"} and len(daemon.told("state_writable")) == 1
    assert not daemon.conditions and in_sync(daemon) == {"web": True, "more": True}


def in_sync(daemon: Simulation) -> dict[str, bool]:
    """The metric of each network."""
    text = metrics_text(Counted(daemon.mailbox.stats))
    return {
        name: value == "1"
        for name, value in re.findall(r'warpd_in_sync\{network="([^"]*)".*\} (\d)', text)
    }


# -- a lost state folder


def test_a_lost_folder_is_not_made_by_a_request(daemon: Simulation) -> None:
    """It is unmounted, and nothing is in force: the YAML is invalid."""
    daemon.state.rename(daemon.state.with_name("elsewhere"))
    daemon.write_text("networks: {")
    daemon.start()
    daemon.turn(1)
    assert daemon.reconciler.desired.active is None
    with pytest.raises(WarpError):
        daemon.ask("apply")
    assert not daemon.state.exists()


# -- a broken YAML


def test_a_broken_yaml_leaves_the_last_good_intent_in_force(daemon: Simulation) -> None:
    link = link_of(daemon, "web")
    daemon.write_text("version: 1\nnetworks: [")
    daemon.turn(1)
    assert not daemon.shown["intent"]["in_force"] and daemon.told("intent_invalid")
    daemon.remove(link.key)
    daemon.turn(1)
    assert daemon.has(link.key), "drift is repaired all the same"
    daemon.turn(10 * INTERVAL_S)
    assert len(daemon.told("intent_invalid")) == 1, "told once"
    daemon.write(web=world.network(3))
    daemon.turn(1)
    assert daemon.peers == {"e1", "e2", "e3"} and daemon.shown["intent"]["in_force"]


def test_a_broken_yaml_at_the_start_changes_nothing(daemon: Simulation) -> None:
    sent = daemon.kernel.sent_changes
    daemon.write_text("networks: {")
    daemon.start()
    daemon.turn(INTERVAL_S)
    assert daemon.kernel.sent_changes == sent and daemon.peers == {"e1", "e2"}


# -- a lock file that is being written


def test_a_lock_file_is_read_when_nobody_writes_it(daemon: Simulation) -> None:
    """It arrives bit by bit, as from scp: half of it is no lock of anybody."""
    lock = daemon.workspace.lock_file
    number = daemon.mailbox.last_number
    with lock.open("w") as file:
        file.write("version: 1\nnetw")
        file.flush()
        now_s = START_S + daemon.now_s
        os.utime(lock, (now_s, now_s))
        daemon.scheduler.files_touched(daemon.now_s)
        daemon.turn(2)
        assert daemon.mailbox.last_number == number and daemon.shown["intent"]["in_force"]
    daemon.scheduler.files_touched(daemon.now_s)
    daemon.turn(1)
    assert len(daemon.told("intent_invalid")) == 1, "nobody writes it any more"


# -- the removal guard


def test_removing_most_networks_waits_for_consent(daemon: Simulation) -> None:
    daemon.write()
    daemon.turn(INTERVAL_S)
    assert daemon.peers == {"e1", "e2"}
    assert "lacks 2 of 2 networks" in daemon.shown["intent"]["awaiting_consent"]
    assert (
        len(daemon.told("awaiting_consent")) == 1
        and daemon.reconciler.last_pass["result"] == "awaiting_consent"
    )


def test_consent_to_an_empty_gateway_is_taken_up(daemon: Simulation) -> None:
    daemon.write()
    daemon.turn(5)
    assert "awaiting-consent" in daemon.conditions and daemon.peers
    workspace = Workspace(daemon.config, daemon.state)
    with workspace.store.writer("apply"):  # as `warpctl apply --yes` beside the daemon
        read = workspace.read()
        done = commit(History(workspace), read, "root (warpctl apply)", daemon.kernel, lambda: None)
        converge(
            daemon.kernel,
            lambda: planned_run(daemon.kernel, done.target),
            planned_run(daemon.kernel, done.target),
        )
    daemon.scheduler.files_touched(daemon.now_s)
    daemon.turn(5)
    assert not daemon.conditions & {"awaiting-consent", "allocations-lost", "edit-unwritten"}
    assert daemon.mailbox.stats.intent_valid and not daemon.peers


def test_an_apply_on_the_socket_asks_for_consent_too(daemon: Simulation) -> None:
    daemon.write()
    daemon.turn(1)
    with pytest.raises(WarpError, match="lacks 2 of 2 networks"):
        daemon.ask("apply")
    daemon.turn(INTERVAL_S)
    assert daemon.peers == {"e1", "e2"}
    daemon.ask("apply", yes=True)
    assert not daemon.peers


def test_consent_in_the_yaml_removes_them(daemon: Simulation) -> None:
    daemon.write({"removal_guard": False})
    daemon.turn(1)
    assert not daemon.peers and not daemon.kernel.objects


# -- an apply to be confirmed


def apply_to_be_confirmed(daemon: Simulation, within_s: float) -> None:
    """`warpctl apply --confirm-within` of one endpoint more, by another process."""
    daemon.write(**two_networks() | {"web": world.network(3)})
    workspace, kernel = Workspace(daemon.config, daemon.state), daemon.kernel
    with workspace.store.writer("test"):
        history = History(workspace)
        back_to = history.in_force_number()
        done = commit(History(workspace), workspace.read(), "test", kernel, lambda: None)
        history.record_pending(done.number, back_to, within_s, "test")
        found = planned_run(kernel, done.target)
        converge(kernel, lambda: planned_run(kernel, done.target), found)
    assert daemon.peers == {"e1", "e2", "e3"}


def test_a_pending_apply_stays_whatever_the_files_say(daemon: Simulation) -> None:
    apply_to_be_confirmed(daemon, 600)
    daemon.write(web=world.network(1), corp=two_networks()["corp"])
    daemon.turn(INTERVAL_S)
    assert daemon.peers == {"e1", "e2", "e3"} and "confirm-pending" in daemon.conditions
    History(daemon.workspace).confirm()
    daemon.turn(2 * INTERVAL_S)
    assert peer_of(daemon, "e1") and "confirm-pending" not in daemon.conditions
    assert daemon.reconciler.desired.pending is None and daemon.shown["intent"]["in_force"]


def test_a_pending_apply_is_in_force(daemon: Simulation) -> None:
    """It is no failure, and nothing but the confirmation is waited for."""
    applied = len(daemon.told("intent_applied"))
    apply_to_be_confirmed(daemon, 600)
    text = daemon.config.read_text()
    daemon.turn(INTERVAL_S)
    shown = daemon.shown
    assert shown["intent"]["in_force"] and shown["pending_confirm"]["left_s"] > 0
    assert shown["intent"]["awaiting_consent"] is None and shown["intent"]["findings"] == []
    assert daemon.conditions == {"confirm-pending"} and not daemon.told("awaiting_consent")
    assert daemon.mailbox.stats.intent_valid and daemon.reconciler.last_pass["result"] == "done"
    assert len(daemon.told("intent_applied")) == applied + 1
    assert daemon.told("intent_applied")[-1]["networks"] == 2
    daemon.write_text(text)  # the same once more
    daemon.turn(1)
    assert daemon.shown["intent"]["in_force"]
    History(daemon.workspace).confirm()
    daemon.turn(2 * INTERVAL_S)
    assert daemon.shown["intent"]["in_force"] and not daemon.conditions
    assert len(daemon.told("intent_applied")) == applied + 1, "it was told when it was applied"


def test_an_edit_beside_a_pending_apply_is_not_in_force(daemon: Simulation) -> None:
    apply_to_be_confirmed(daemon, 600)
    text = daemon.config.read_text()
    daemon.turn(INTERVAL_S)
    for edited in ("networks: {", text.replace("e3", "e4")):
        daemon.write_text(edited)
        daemon.turn(INTERVAL_S)
        assert "waits to be confirmed" in daemon.shown["intent"]["awaiting_consent"]
        assert not daemon.shown["intent"]["in_force"] and not daemon.mailbox.stats.intent_valid
    assert len(daemon.told("awaiting_consent")) == 1 and daemon.peers == {"e1", "e2", "e3"}
    daemon.write_text(text)
    daemon.turn(1)
    assert daemon.shown["intent"]["in_force"] and daemon.mailbox.stats.intent_valid
    daemon.start()
    daemon.turn(1)
    assert daemon.shown["intent"]["in_force"] and daemon.conditions == {"confirm-pending"}


def test_what_nobody_confirms_is_undone(daemon: Simulation) -> None:
    apply_to_be_confirmed(daemon, -1)
    daemon.turn(1)
    assert daemon.peers == {"e1", "e2"}
    assert [row["complete"] for row in daemon.told("rollback")] == [True]
    daemon.turn(10 * INTERVAL_S)
    assert daemon.peers == {"e1", "e2"}, "the files are those that were rolled back from"
    assert daemon.reconciler.desired.rolled_back_to is not None


def test_what_was_undone_waits_for_no_confirmation_any_more(daemon: Simulation) -> None:
    apply_to_be_confirmed(daemon, 600)
    daemon.turn(INTERVAL_S)
    pending = daemon.reconciler.desired.pending
    assert pending is not None and "confirm-pending" in daemon.conditions
    with daemon.workspace.store.writer("test"):  # the time is over
        History(daemon.workspace).record_pending(pending.number, pending.back_to, -1, "test")
    daemon.reconciler.desired.look_at_pending()
    daemon.turn(1)
    assert daemon.peers == {"e1", "e2"} and "rolled-back" in daemon.conditions
    codes = {row["code"] for row in daemon.told("condition") if row["state"] == "begins"}
    assert "awaiting-consent" not in codes | daemon.conditions


# -- what an edit costs


def test_an_edit_does_not_read_the_latest_entry_of_the_history_again(
    daemon: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds every allocation: reading it takes as long as all else of an edit."""
    daemon.write(**two_networks() | {"web": world.network(3)})
    daemon.turn(1)
    read: list[str] = []
    document = Store.document

    def noted(store: Store, name: str) -> str | None:
        read.append(name)
        return document(store, name)

    monkeypatch.setattr(Store, "document", noted)
    daemon.write(**two_networks() | {"web": world.network(4)})
    daemon.turn(1)
    assert "e4" in daemon.peers and IN_FORCE in read
    assert [name for name in read if name.startswith(HISTORY)] == []


# -- the clock


def test_an_endpoint_expires_at_midnight(daemon: Simulation) -> None:
    networks = two_networks()
    networks["web"]["endpoints"]["e2"]["expires"] = "2027-01-16"
    networks["corp"] = world.network(1, isolation="vrf")
    daemon.write(**networks)  # the simulation starts on 2027-01-15, at 08:00 UTC
    daemon.turn(1)
    assert "e2" in daemon.peers
    daemon.turn(16 * 3600 - 60)
    assert "e2" in daemon.peers
    daemon.turn(120)
    assert "e2" not in daemon.peers


def test_a_foreign_object_in_the_way_is_named(daemon: Simulation) -> None:
    vcid = daemon.workspace.store.read_allocations().networks["web"].vcid
    key = Key("link", ROOT, f"dn-{vcid}")
    daemon.write(corp=two_networks()["corp"])
    daemon.turn(1)
    daemon.kernel.foreign[key] = "a link of somebody else"
    daemon.write(**two_networks())
    daemon.turn(1)
    assert [row["network"] for row in daemon.shown["failing"]] == ["web"]
    assert {row["object"] for row in daemon.told("conflict")} == {str(key)}


# -- a key file that is missing


def test_a_key_file_that_is_written_later_is_found(daemon: Simulation, tmp_path: Path) -> None:
    """It may stand in any folder, and no change of the YAML follows: a full observation finds it.
    The fault is told once.
    """
    file = tmp_path / "elsewhere" / "psk"
    network = world.network(1)
    network["endpoints"]["e1"]["preshared_key_file"] = str(file)
    daemon.write(**two_networks(), keyed=network)
    daemon.turn(3 * INTERVAL_S)
    assert [finding.code for finding in daemon.reconciler.desired.findings] == ["key-file"]
    assert len(daemon.told("intent_invalid")) == 1
    file.parent.mkdir()
    file.write_text(base64.b64encode(bytes(range(32))).decode())
    file.chmod(0o600)
    daemon.turn(2 * INTERVAL_S)
    assert daemon.reconciler.desired.findings == ()
    assert daemon.reconciler.desired.active is not None
