"""Every test of this repository: `--part K/N` runs one of N parts, so that several machines share
them.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

# About how many minutes the long files take; only the balance of the parts depends on it.
MINUTES: dict[str, float] = {
    "test_rights.py": 10,
    "test_hostile_hosts.py": 10,
    "test_drift.py": 7.5,
    "test_disk.py": 6,
    "test_one_chain.py": 5,
    "test_without_uplink.py": 5,
    "test_one_story.py": 4,
    "test_ways_out.py": 4,
    "test_confirm.py": 3,
    "test_every_type.py": 3,
    "test_suspended.py": 3,
    "test_secrets.py": 2.5,
    "test_under_fire.py": 2.5,
    "test_change.py": 2,
    "test_daemon.py": 2,
    "test_forged_answers.py": 2,
    "test_frames.py": 2,
    "test_icmp_errors.py": 2,
    "test_import.py": 2,
    "test_life.py": 2,
    "test_revoked.py": 2,
    "test_segment_of_others.py": 2,
    "test_shares.py": 2,
    "test_storm.py": 2,
    "test_causes.py": 1.5,
    "test_clients.py": 1.5,
    "test_kernel_facts.py": 1.5,
    "test_twins.py": 1.5,
    "test_unasked.py": 1.5,
    "test_uplink.py": 1.5,
}
OTHERS_MINUTES = 0.5


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--part", default="1/1", metavar="K/N", help="run the K-th of N parts")


def parts(files: Iterable[str], count: int) -> list[set[str]]:
    """Files in so many parts of about the same length: each file in exactly one."""
    found: list[set[str]] = [set() for _ in range(count)]
    minutes = [0.0] * count

    def length(file: str) -> float:
        return MINUTES.get(file.rpartition("/")[2], OTHERS_MINUTES)

    for file in sorted(set(files), key=lambda file: (-length(file), file)):
        shortest = minutes.index(min(minutes))
        found[shortest].add(file)
        minutes[shortest] += length(file)
    return found


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is of other parts, after the selection by mark."""
    number, _, count = config.getoption("--part").partition("/")
    mine = parts((item.location[0] for item in items), int(count))[int(number) - 1]
    others = [item for item in items if item.location[0] not in mine]
    items[:] = [item for item in items if item.location[0] in mine]
    if others:
        config.hook.pytest_deselected(items=others)
