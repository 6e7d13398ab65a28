"""The list of mutants fits the product: each text stands once, where it is said to, and the test that must find it is there.

That each is found is another matter, and takes longer: `./run mutants`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.mutants import MUTANTS, Mutant

REPOSITORY = Path(__file__).resolve().parents[2]
LEAST = 20


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_has_its_place(mutant: Mutant) -> None:
    for file, right, wrong in mutant.edits:
        assert (REPOSITORY / file).read_text().count(right) == 1
        assert right != wrong
    assert (REPOSITORY / mutant.found_by).exists()


def test_there_are_enough_of_them() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= LEAST
