"""What the daemon says of itself to readers, and of the objects of a network."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from time import CLOCK_BOOTTIME, clock_gettime

import pytest

from tests.unit.daemon.simulation import START_S, Simulation, two_networks
from warpd.daemon.handlers import ANSWERS, plan, status
from warpd.daemon.http.services import aged
from warpd.daemon.loop import answer_of
from warpd.daemon.mailbox import Request
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import DefaultRoute
from warpd.service.history import Pending, boot_id


def test_an_apply_that_waits_is_counted_down(tmp_path: Path) -> None:
    daemon = Simulation(tmp_path)
    daemon.write(gateway={"name": "gw-fra1"}, **two_networks())
    daemon.turn(5)
    assert daemon.shown["gateway"] == "gw-fra1" and daemon.shown["pending_confirm"] is None
    pending = Pending(2, 1, START_S + 600, boot_id(), 600 + clock_gettime(CLOCK_BOOTTIME), "anna")
    daemon.reconciler.desired.pending = pending
    shown = daemon.shown["pending_confirm"]
    assert (shown["number"], shown["rollback_to"], shown["by"]) == (2, 1, "anna")
    assert 0 < shown["left_s"] <= 600
    left_s = [aged(daemon.shown, seconds)["pending_confirm"]["left_s"] for seconds in (0, 100, 700)]
    assert left_s[0] > left_s[1] > left_s[2] == 0


def test_objects_are_counted_by_phase_and_steps_name_theirs(tmp_path: Path) -> None:
    daemon = Simulation(tmp_path)
    daemon.write(**two_networks())
    daemon.turn(5)
    networks = status(daemon.reconciler, {})["networks"]
    assert [network["objects"]["peer"] for network in networks] == [3, 3], "and the device's keys"
    assert list(networks[1]["objects"]) == [
        "guard",
        "namespace",
        "device",
        "setting",
        "peer",
        "address",
        "up",
        "route",
        "permit",
    ]
    peer = next(item for item in daemon.kernel.objects.values() if isinstance(item, WireguardPeer))
    daemon.kernel.objects.pop(peer.key)
    steps = plan(daemon.reconciler, {})["steps"]
    assert [(step["phase"], step["action"]) for step in steps] == [("peer", "create")]


def asked(daemon: Simulation, verb: str) -> None:
    """A reader is shown what the loop answers."""
    parts = daemon.reconciler, daemon.scheduler, daemon.publisher
    answer_of(Request(verb, {}), ANSWERS, *parts, daemon.now_s)


@pytest.fixture
def settled(tmp_path: Path) -> Simulation:
    """A gateway in sync, of which nobody has read anything."""
    daemon = Simulation(tmp_path)
    daemon.write(**two_networks())
    daemon.turn(5)
    return daemon


def a_peer(daemon: Simulation) -> WireguardPeer:
    objects = daemon.kernel.objects.values()
    return next(item for item in objects if isinstance(item, WireguardPeer))


def test_a_repair_that_no_reader_has_seen_the_need_of_outdates_nothing(settled: Simulation) -> None:
    asked(settled, "status")
    before = settled.mailbox.moment
    for _ in range(3):
        peer = a_peer(settled)
        settled.remove(peer.key)
        settled.turn(1)
        assert settled.has(peer.key)
    assert settled.mailbox.moment == before


@pytest.mark.parametrize("verb", ["status", "plan"])
def test_a_repair_outdates_what_was_shown_before_it(settled: Simulation, verb: str) -> None:
    asked(settled, verb)
    peer = settled.remove(a_peer(settled).key)
    asked(settled, verb)
    before = settled.mailbox.moment
    settled.turn(1)
    assert settled.has(peer.key) and settled.mailbox.moment == before + 1


def test_another_address_of_the_uplink_outdates_what_was_shown(settled: Simulation) -> None:
    asked(settled, "status")
    before = settled.mailbox.moment
    settled.kernel.host = dataclasses.replace(
        settled.kernel.host, hops=(DefaultRoute(4, "eth1", "198.51.100.254"),)
    )
    settled.turn(60)
    assert settled.mailbox.moment > before


def test_a_look_that_shows_something_else_outdates_what_others_showed(
    settled: Simulation,
) -> None:
    """A plan without steps is not shown beside a network that is not in sync."""
    asked(settled, "plan")
    before = settled.mailbox.moment
    asked(settled, "status")
    assert settled.mailbox.moment == before
    settled.kernel.objects.pop(a_peer(settled).key)  # and no event tells of it
    asked(settled, "status")
    assert settled.mailbox.moment == before + 1
