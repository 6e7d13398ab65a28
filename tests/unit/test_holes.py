"""The list of holes fits the product: each text stands once, where it is said to, and the test that must find it is there.

That each is found is another matter, and takes longer: `./run holes`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.holes.holes import HOLES, Hole

REPOSITORY = Path(__file__).resolve().parents[2]
LEAST = 20


@pytest.mark.parametrize("hole", HOLES, ids=lambda hole: hole.name)
def test_it_has_its_place(hole: Hole) -> None:
    for file, right, wrong in hole.edits:
        assert (REPOSITORY / file).read_text().count(right) == 1
        assert right != wrong
    assert (REPOSITORY / hole.found_by).exists()


def test_there_are_enough_of_them() -> None:
    assert len({hole.name for hole in HOLES}) == len(HOLES) >= LEAST
