"""Where removed peers were last heard: for how long it counts, and files that cannot be used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from warpd.store.last_addresses import FILE, KEPT_S, PEERS_MAX, LastAddresses

NOW_S = 1_800_000_000


class Clock:
    """The seconds since the epoch, as the test sets them."""

    def __init__(self) -> None:
        self.now_s = float(NOW_S)

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_an_address_counts_for_as_long_as_a_session_may_live(tmp_path: Path, clock: Clock) -> None:
    LastAddresses(tmp_path, clock).remember({"anna": "203.0.113.7:5000", "bo": "[2001:db8::1]:9"})
    another = LastAddresses(tmp_path, clock)
    clock.now_s += KEPT_S
    assert another.recent() == {"anna": "203.0.113.7:5000", "bo": "[2001:db8::1]:9"}
    clock.now_s += 1
    assert another.recent() == {}
    clock.now_s = NOW_S - 1  # the clock was set back: nobody knows how old the address is
    assert another.recent() == {}


def test_only_its_owner_reads_the_file_and_old_addresses_are_forgotten(
    tmp_path: Path, clock: Clock
) -> None:
    kept = LastAddresses(tmp_path, clock)
    kept.remember({"anna": "203.0.113.7:5000"})
    clock.now_s += KEPT_S + 1
    kept.remember({"bo": "203.0.113.8:5000"})
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert "203.0.113.7" not in (tmp_path / FILE).read_text()


def test_the_newest_addresses_stay_where_there_are_too_many(tmp_path: Path, clock: Clock) -> None:
    kept = LastAddresses(tmp_path, clock)
    kept.remember({f"old{number}": "203.0.113.7:1" for number in range(PEERS_MAX)})
    clock.now_s += 1
    kept.remember({"new": "203.0.113.8:1"})
    found = kept.recent()
    assert len(found) == PEERS_MAX and "new" in found


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b'{"version": 2, "peers": {"anna": ["203.0.113.7:1", 1800000000]}}',
        b'{"version": 1}',
        b'{"version": 1, "peers": []}',
        b'{"version": 1, "peers": {"anna": []}}',
        b'{"version": 1, "peers": {"anna": ["203.0.113.7:1"]}}',
        b'{"version": 1, "peers": {"anna": ["203.0.113.7:1", "now"]}}',
        b'{"version": 1, "peers": {"anna": ["203.0.113.7:1", 1e999]}}',
        b'{"version": 1, "peers": {"anna": ["203.0.113.7", 1800000000]}}',
        b'{"version": 1, "peers": {"anna": ["203.0.113.7:x", 1800000000]}}',
        b'{"version": 1, "peers": {"anna": ["203.0.113.7:70000", 1800000000]}}',
        b'{"version": 1, "peers": {"anna": ["gw.example.com:1", 1800000000]}}',
        b'{"version": 1, "peers": {"anna": [7, 1800000000]}}',
        b"[" * 200_000,
    ],
)
def test_a_file_that_cannot_be_used_holds_nothing_and_is_replaced(
    tmp_path: Path, clock: Clock, content: bytes
) -> None:
    (tmp_path / FILE).write_bytes(content)
    kept = LastAddresses(tmp_path, clock)
    assert kept.recent() == {}
    kept.remember({"anna": "203.0.113.7:1"})
    assert kept.recent() == {"anna": "203.0.113.7:1"}


def test_nothing_fails_without_the_folder(tmp_path: Path, clock: Clock) -> None:
    kept = LastAddresses(tmp_path / "away", clock)
    kept.remember({"anna": "203.0.113.7:1"})
    assert kept.recent() == {}
    assert not (tmp_path / "away").exists()


def test_a_pipe_of_that_name_is_not_waited_for(tmp_path: Path, clock: Clock) -> None:
    os.mkfifo(tmp_path / FILE)
    # Without this descriptor a reader that waits would wait until the test is killed.
    with open(os.open(tmp_path / FILE, os.O_RDWR | os.O_NONBLOCK), "wb", buffering=0) as pipe:
        pipe.write(b'{"version": 1, "peers": {"anna": ["203.0.113.7:1", 1800000000]}}')
        assert LastAddresses(tmp_path, clock).recent() == {}
