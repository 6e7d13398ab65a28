"""Samples of the last day: what is counted, what a restart shows, and how much memory they take."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.daemon.simulation import Simulation, two_networks
from warpd.daemon.clock import Clock
from warpd.daemon.samples import BYTES_MAX, EVERY_S, SAMPLES_MAX, NetworkSample, Sampler, Samples
from warpd.daemon.stats import NEVER, NetworkStats
from warpd.kernel.state import PeerTraffic

LOOK_S = 30.0
EPOCH_S = 1_800_000_000.0


class Looks:
    """A sampler, and looks at the given traffic by a clock that the test turns."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.sampler = Sampler(Clock(lambda: self.now_s, lambda: EPOCH_S + self.now_s))

    def look(self, wait_s: float = LOOK_S, **networks: dict[str, PeerTraffic]) -> Samples:
        self.now_s += wait_s
        rows = tuple(
            NetworkStats(name, 0, True, {}, len(endpoints), endpoints)
            for name, endpoints in networks.items()
        )
        found = self.sampler.take(rows)
        assert found is not None
        return found

    def carried(self, received: int, sent: int = 0, ago_s: float = 1e6) -> PeerTraffic:
        handshake = int(EPOCH_S + self.now_s - ago_s)
        return PeerTraffic(received, sent, handshake, "")


def figures(samples: Samples, name: str) -> list[NetworkSample]:
    return [row.sum_of([row.names.index(name)]) for row in samples.rows if name in row.names]


def test_the_first_look_makes_no_sample() -> None:
    """What the kernel counted before is of another time: no false zero, and no false peak."""
    looks = Looks()
    found = looks.look(web={"a": looks.carried(5_000_000)})
    assert found.rows == () and found.since_s == EPOCH_S + LOOK_S and found.is_kept


def test_what_was_carried_between_two_looks() -> None:
    looks = Looks()
    looks.look(web={"a": looks.carried(100, 10), "b": looks.carried(7)}, corp={})
    found = looks.look(web={"a": looks.carried(150, 30, ago_s=5), "b": looks.carried(9)}, corp={})
    assert figures(found, "web") == [NetworkSample(52, 20, 1)]
    assert figures(found, "corp") == [NetworkSample(0, 0, 0)]
    assert found.rows[0].seconds == LOOK_S and found.rows[0].began_s == EPOCH_S + LOOK_S


def test_a_handshake_in_the_future_is_no_session() -> None:
    """The clock was set back by a day since."""
    looks = Looks()
    looks.look(web={"a": looks.carried(100)})
    found = looks.look(web={"a": looks.carried(100, ago_s=-86_400)})
    assert figures(found, "web") == [NetworkSample(0, 0, 0)]


def test_a_peer_that_was_made_anew_counts_from_zero() -> None:
    looks = Looks()
    looks.look(web={"a": looks.carried(1000), "b": looks.carried(5)})
    found = looks.look(web={"a": looks.carried(40), "b": looks.carried(7)})
    assert figures(found, "web") == [NetworkSample(42, 0, 0)]


def test_what_the_look_before_did_not_show_makes_no_peak() -> None:
    """A namespace could not be read, or nothing was in the kernel yet."""
    looks = Looks()
    looks.look(web={"a": NEVER})
    looks.look(web={"a": looks.carried(9_000), "b": looks.carried(8_000, ago_s=1)})
    found = looks.look(web={"a": looks.carried(9_003), "b": looks.carried(8_001, ago_s=1)})
    assert figures(found, "web") == [NetworkSample(4, 0, 1)]


def test_a_sample_is_full_after_five_minutes() -> None:
    looks = Looks()
    for number in range(1 + 25):
        found = looks.look(web={"a": looks.carried(number * 100)})
    assert [row.seconds for row in found.rows] == [EVERY_S, EVERY_S, 5 * LOOK_S]
    assert [row.received for row in figures(found, "web")] == [1000, 1000, 500]
    assert found.rows[0].names is found.rows[2].names, "kept once"


def test_a_network_that_comes_and_goes() -> None:
    looks = Looks()
    looks.look(web={"a": looks.carried(0)})
    looks.look(web={"a": looks.carried(8, ago_s=1)})
    looks.look(corp={"c": looks.carried(3)})
    found = looks.look(corp={"c": looks.carried(7)})
    assert figures(found, "web") == [NetworkSample(8, 0, 0)], "carried, and connected no more"
    assert figures(found, "corp") == [NetworkSample(4, 0, 0)]
    found = looks.look(EVERY_S, corp={"c": looks.carried(4)})
    found = looks.look(corp={"c": looks.carried(5)})
    assert "web" not in found.rows[-1].names


def test_the_same_look_is_taken_once() -> None:
    looks = Looks()
    rows = (NetworkStats("web", 0, True, {}, 1, {"a": looks.carried(1)}),)
    assert looks.sampler.take(rows) is not None and looks.sampler.take(rows) is None


def test_where_endpoints_are_only_counted_nothing_is_kept() -> None:
    looks = Looks()
    looks.look(web={"a": looks.carried(0)})
    looks.look(web={"a": looks.carried(9)})
    looks.now_s += LOOK_S
    many = (NetworkStats("web", 0, True, {}, 20_000, {}),)
    found = looks.sampler.take(many)
    assert found == Samples(is_kept=False)
    found = looks.look(web={"a": looks.carried(50)})
    assert found.rows == () and found.since_s == EPOCH_S + looks.now_s, "begun anew"


@pytest.mark.parametrize(
    ("networks", "rows_kept"), [(10, SAMPLES_MAX), (100, SAMPLES_MAX), (1000, 87)]
)
def test_memory_is_bounded(networks: int, rows_kept: int) -> None:
    """However long the daemon runs. Counted here are the figures; all else is less by far."""
    looks = Looks()
    traffic = {"a": looks.carried(1)}
    for _ in range(rows_kept + 5):
        found = looks.look(EVERY_S, **{f"n{number}": traffic for number in range(networks)})
    assert len(found.rows) == rows_kept
    size = sum(row.counters.itemsize * len(row.counters) for row in found.rows)
    assert size == rows_kept * networks * 24 <= BYTES_MAX


def test_the_periodic_look_fills_them_and_a_restart_begins_anew(tmp_path: Path) -> None:
    daemon = Simulation(tmp_path)
    daemon.write(**two_networks())
    daemon.turn(700)
    before = daemon.mailbox.samples
    assert [len(row.names) for row in before.rows] == [2, 2, 2]
    assert sum(row.seconds for row in before.rows) <= 700
    daemon.start()
    assert daemon.mailbox.samples == Samples()
    daemon.turn(1)
    assert daemon.mailbox.samples.rows == ()
    assert daemon.mailbox.samples.since_s > before.since_s + 600
