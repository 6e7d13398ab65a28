"""Endpoints that are dialled by a host name: looked up apart, in bounded time, and again while they
are silent.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable

from tests import world
from warpd.daemon.clock import Clock
from warpd.daemon.resolver import EndpointResolver
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.linux.resolver import AT_ONCE, host_of, is_name, look_up
from warpd.kernel.state import SESSION_S, Key, PeerTraffic
from warpd.service.health import unresolved_names

NAME, OTHER, LITERAL = "paris.example.net:51820", "rome.example.net:51820", "[2001:db8::1]:51820"
NOW_S = 1_000_000.0
NOW = Clock(lambda: 5_000.0, lambda: NOW_S)


def test_what_is_a_name() -> None:
    assert [is_name(text) for text in (NAME, "198.51.100.7:1", LITERAL)] == [True, False, False]


def test_a_name_that_nobody_answers_is_left_out() -> None:
    def by(host: str, _port: int) -> str:
        if host.startswith("rome"):
            raise OSError("no such host")
        return "2001:db8::9"

    assert look_up([NAME, OTHER], by=by) == {NAME: "[2001:db8::9]:51820"}


def test_a_name_server_that_hangs_holds_nobody_up() -> None:
    release = threading.Event()

    def by(host: str, _port: int) -> str:
        if host.startswith("rome"):
            release.wait(60)
        return "198.51.100.7"

    found = look_up([NAME, OTHER], patience_s=0.2, by=by)
    assert not release.is_set() and found == {NAME: "198.51.100.7:51820"}
    release.set()


def peer(endpoint: str) -> WireguardPeer:
    return WireguardPeer(
        "warp-1", "wg-1", "k" * 43 + "=", None, 25, ("10.0.0.2/32",), endpoint, "paris"
    )


def dialled(handshake_s: float, endpoint: str, name: str = NAME) -> list[str]:
    """The addresses that a peer is dialled at, which the kernel has at `endpoint` and heard of
    `handshake_s` seconds ago.
    """
    dialer, one = (
        EndpointResolver(lambda names: dict.fromkeys(names, "198.51.100.7:51820")),
        peer(name),
    )
    traffic = {one.key: PeerTraffic(0, 0, int(NOW_S - handshake_s), endpoint)}
    assert not list(dialer.due([one], traffic, NOW)), "nothing is known before the first answer"
    dialer.wait(5)
    return [address for _peer, address in dialer.due([one], traffic, NOW)]


def test_a_silent_peer_is_dialled_where_its_name_is_now() -> None:
    assert dialled(SESSION_S + 1, "") == ["198.51.100.7:51820"]
    assert dialled(NOW_S, "203.0.113.9:51820") == ["198.51.100.7:51820"]


def test_a_peer_that_roams_or_is_there_already_is_left_alone() -> None:
    assert dialled(10, "203.0.113.9:51820") == []
    assert dialled(SESSION_S + 1, "198.51.100.7:51820") == []


def test_a_silent_peer_is_dialled_at_the_address_that_the_yaml_has_now() -> None:
    dialer, one = EndpointResolver(lambda _names: {}), peer("[2001:DB8:0::1]:51820")

    def due(handshake_s: float, endpoint: str) -> list[str]:
        traffic = {one.key: PeerTraffic(0, 0, int(NOW_S - handshake_s), endpoint)}
        return [address for _peer, address in dialer.due([one], traffic, NOW)]

    assert due(SESSION_S + 1, "203.0.113.9:51820") == [LITERAL]
    assert due(10, "203.0.113.9:51820") == [], "it has roamed there, and answers"
    assert due(SESSION_S + 1, LITERAL) == []


class Looks:
    """Looks at one peer that the YAML has an address of; the test turns both clocks."""

    def __init__(self) -> None:
        self.monotonic_s, self.epoch_s, self.dialer = 0.0, NOW_S, EndpointResolver(lambda _: {})

    def is_dialled(self, handshake_s: float, wait_s: float = 30.0) -> bool:
        """Whether it is dialled where the YAML says, after this time."""
        self.monotonic_s, self.epoch_s = self.monotonic_s + wait_s, self.epoch_s + wait_s
        one = peer("198.51.100.7:51820")
        traffic = {one.key: PeerTraffic(0, 0, int(handshake_s), "203.0.113.9:51820")}
        clock = Clock(lambda: self.monotonic_s, lambda: self.epoch_s)
        return bool(list(self.dialer.due([one], traffic, clock)))


def test_a_clock_that_is_set_forward_makes_no_peer_silent() -> None:
    looks = Looks()
    handshake_s = looks.epoch_s
    assert not looks.is_dialled(handshake_s)
    looks.epoch_s += 86_400
    assert not looks.is_dialled(handshake_s), "it has a session still"
    assert looks.is_dialled(handshake_s, SESSION_S)
    handshake_s = looks.epoch_s
    looks.epoch_s += 86_400
    assert not looks.is_dialled(handshake_s), "there was another handshake since the last look"


def test_a_clock_that_is_set_back_makes_no_peer_heard() -> None:
    looks = Looks()
    handshake_s = looks.epoch_s
    assert not looks.is_dialled(handshake_s)
    looks.epoch_s -= 86_400
    assert not looks.is_dialled(handshake_s), "it has a session still"
    assert looks.is_dialled(handshake_s, SESSION_S)
    looks.dialer = EndpointResolver(lambda _: {})
    assert looks.is_dialled(handshake_s), "also after a restart of the daemon"


def test_a_peer_that_was_made_anew_is_silent() -> None:
    looks = Looks()
    assert not looks.is_dialled(looks.epoch_s)
    assert looks.is_dialled(0)


def test_no_second_look_up_while_the_first_hangs() -> None:
    release, asked = threading.Event(), []

    def by(names: object) -> dict[str, str]:
        asked.append(names)
        release.wait(60)
        return {}

    dialer, one = EndpointResolver(by), peer(NAME)
    traffic = {one.key: PeerTraffic(0, 0, 0, "")}
    for _ in range(3):
        list(dialer.due([one], traffic, NOW))
    release.set()
    dialer.wait(5)
    assert len(asked) == 1


def test_a_name_is_no_part_of_what_is_compared() -> None:
    """The plan is the same whatever a name stands for, and an address in the kernel is never
    drift.
    """
    sites = {"type": "l3vpn-gateway", "endpoints": {"paris": {"type": "gateway", "endpoint": NAME}}}
    target = world.target(world.intent(sites=sites))
    assert target.intent.networks["sites"].endpoints["paris"].endpoint == NAME
    assert peer(NAME) == peer("198.51.100.7:51820")


def test_a_name_that_does_not_resolve_is_told_until_it_does() -> None:
    answers: dict[str, str] = {}
    dialer, one = EndpointResolver(lambda _names: dict(answers)), peer(NAME)
    silent = {one.key: PeerTraffic(0, 0, 0, "")}

    def unresolved(traffic: dict[Key, PeerTraffic]) -> list[str]:
        list(dialer.due([one], traffic, NOW))
        dialer.wait(5)
        return [found.label for found in dialer.unresolved]

    assert unresolved(silent) == ["paris"]
    assert unresolved({one.key: PeerTraffic(0, 0, int(NOW_S), "x")}) == [], "it has a session"
    assert unresolved(silent) == ["paris"]
    answers[NAME] = "198.51.100.7:51820"
    assert unresolved(silent) == []


def test_of_many_names_each_has_its_turn() -> None:
    asked: set[str] = set()

    def by(names: Iterable[str]) -> dict[str, str]:
        assert len(set(names)) <= AT_ONCE
        asked.update(names)
        return {}

    dialer = EndpointResolver(by)
    peers = [
        dataclasses.replace(peer(f"host-{number}.example:1"), public_key=f"{number:043}=")
        for number in range(AT_ONCE * 2 + 3)
    ]
    traffic = {one.key: PeerTraffic(0, 0, 0, "") for one in peers}
    for told in (AT_ONCE, AT_ONCE * 2, len(peers)):
        list(dialer.due(peers, traffic, NOW))
        dialer.wait(5)
        assert len(dialer.unresolved) == len(asked) == told


def test_without_a_daemon_the_names_of_the_yaml_are_looked_up() -> None:
    endpoints = {
        "paris": {"type": "gateway", "endpoint": NAME},
        "oslo": {"type": "gateway", "endpoint": OTHER},
        "rome": {"type": "gateway", "endpoint": "198.51.100.9:1"},
        "off": {"type": "gateway", "endpoint": "off.example:1", "enabled": False},
    }
    sites = {"type": "l3vpn-gateway", "endpoints": endpoints}
    intent = world.intent(sites=sites)
    asked: list[str] = []

    def by(names: Iterable[str]) -> dict[str, str]:
        asked.extend(names)
        return {OTHER: "198.51.100.7:51820"}

    assert unresolved_names(intent, world.TODAY, by) == {"sites/paris": host_of(NAME)}
    assert asked == sorted([NAME, OTHER])
