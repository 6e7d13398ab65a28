"""Hold the list of mutants to the product: each place is there once, and so is the test that must
find the mistake.

That each is found is another matter, and takes longer: `./run mutants`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.mutants import MUTANTS, Mutant
from tests.mutants.planting import Edit, NoPlaceError, file_of, plant

REPOSITORY = Path(__file__).parents[2]
SAMPLE = """
def first(a, b):
    return a + b * a


class Second:
    def first_of(self, items):
        total = sum(items)
        return [total, 'x']
"""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_fits(mutant: Mutant) -> None:
    for edit in mutant.edits:
        text = (REPOSITORY / file_of(edit)).read_text()
        assert plant(text, edit) != plant(text, Edit(edit.where, edit.right, edit.right))
    assert (REPOSITORY / mutant.found_by.partition("::")[0]).exists()


def test_names_are_unique() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_code_is_compared_by_its_syntax_tree() -> None:
    assert "return a + (a - b)" in plant(SAMPLE, Edit("m:first", "(b\n* a)", "a - b"))


def test_none_takes_an_item_and_a_statement_away() -> None:
    assert "[total]" in plant(SAMPLE, Edit("m:Second.first_of", "'x'", None))
    assert "sum" not in plant(SAMPLE, Edit("m:Second.first_of", "total = sum(items)", None))


@pytest.mark.parametrize(
    "edit",
    [
        Edit("m:gone", "a", "b"),
        Edit("m:first", "c", "b"),
        Edit("m:first", "a", "b"),
        Edit("m:first", "items", "b"),
    ],
    ids=["no function", "no code", "twice", "in another function"],
)
def test_a_place_that_is_not_there_once_is_refused(edit: Edit) -> None:
    with pytest.raises(NoPlaceError):
        plant(SAMPLE, edit)
