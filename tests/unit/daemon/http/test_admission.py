"""Who gets a place on the control socket, what is a flood, and how much of a CPU readers get."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from warpd.daemon.http.admission import Admission, Budget, FloodGate, Places
from warpd.daemon.http.auth import AccessLevel, PeerCredentials
from warpd.daemon.http.listener import access_list

PLACES = {"root": Places(2, 2), "change": Places(3, 2), "read": Places(4, 3)}
PEERS = [
    PeerCredentials(0, AccessLevel.CHANGE),
    *(PeerCredentials(uid, right) for uid in (1, 2, 3) for right in AccessLevel),
]


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(PEERS))))
def test_places_hold_and_come_back(moves: list[tuple[bool, PeerCredentials]]) -> None:
    admission = Admission(PLACES)
    inside: Counter[PeerCredentials] = Counter()
    for entering, peer in moves:
        if entering:
            inside[peer] += admission.enter(peer)
        elif inside[peer]:
            admission.leave(peer)
            inside[peer] -= 1
    for place, places in PLACES.items():
        by_user: Counter[int] = Counter()
        for peer, count in inside.items():
            by_user[peer.uid] += count if peer.place == place else 0
        assert sum(by_user.values()) == admission.connections[place] <= places.total
        assert all(count <= places.per_user for count in by_user.values())
    assert not any(count for peer, count in inside.items() if peer.right is AccessLevel.NOTHING)


def test_one_user_leaves_places_to_others() -> None:
    """Places(4, 3): the fourth one is for somebody else."""
    admission = Admission(PLACES)
    one, other = PeerCredentials(1, AccessLevel.READ), PeerCredentials(2, AccessLevel.READ)
    assert [admission.enter(one) for _ in range(4)] == [True, True, True, False]
    assert [admission.enter(other) for _ in range(2)] == [True, False]


def test_a_place_that_is_given_back_is_free_for_others() -> None:
    admission = Admission(PLACES)
    users = [PeerCredentials(uid, AccessLevel.READ) for uid in (1, 2, 3, 4)]
    assert all(admission.enter(user) for user in users)
    fifth = PeerCredentials(5, AccessLevel.READ)
    assert not admission.enter(fifth)
    admission.leave(users[0])
    assert admission.connections["read"] == 3
    assert admission.enter(fifth) and not admission.enter(users[0])


@given(st.lists(st.sampled_from([peer for peer in PEERS if peer.uid])))
def test_root_always_has_its_places(others: list[PeerCredentials]) -> None:
    admission = Admission(PLACES)
    for peer in others:
        admission.enter(peer)
    assert admission.enter(PEERS[0]) and admission.enter(PEERS[0]) and not admission.enter(PEERS[0])


def test_a_flood_is_many_in_a_short_time() -> None:
    gate = FloodGate(refused_max=3, window_s=5)
    assert not any(gate.refused(now) for now in range(0, 100, 2))
    assert [gate.refused(200) for _ in range(5)] == [False, False, False, True, True]


def test_a_budget_is_earned_with_time() -> None:
    budget = Budget(rate=0.25, burst_s=0.5)
    assert budget.wait_s(10.0, 0.0) == 0  # what was used before it began does not count
    assert budget.wait_s(10.5, 0.0) == 0
    assert budget.wait_s(11.5, 0.0) == 4.0  # a second too much
    assert budget.wait_s(11.5, 4.0) == 0
    assert budget.wait_s(11.5, 1000.0) == 0
    assert budget.wait_s(12.5, 1000.0) == 2.0  # no more than the burst is saved up


def test_the_list_of_who_may_connect() -> None:
    """As `setfacl -m g:7:rw,g:9:rw,u:5:-` writes it into the file system."""
    entry = "{:04x}{:04x}".format
    rows = [bytes.fromhex("02000000")]
    for tag, right, number in (
        (1, 6, -1),
        (2, 0, 5),
        (4, 0, -1),
        (8, 6, 7),
        (8, 6, 9),
        (16, 6, -1),
        (32, 0, -1),
    ):
        word = bytes.fromhex(entry(tag, right))
        rows.append(word[1::-1] + word[:1:-1] + number.to_bytes(4, "little", signed=True))
    assert access_list([9, 7, 9], [5]) == b"".join(rows)
