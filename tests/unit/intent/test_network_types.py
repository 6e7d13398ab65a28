"""Rows of the types of network: one a type, with a module that says what passes, and fields that
there are.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import world
from warpd.intent.model import Network
from warpd.intent.network_types import NETWORK_TYPES, ROWS, TypeTraits, traits, types_with_field
from warpd.networks.resolved import resolve_named
from warpd.networks.types import TYPES, type_named
from warpd.testing.fake_kernel import PLAIN

PACKAGE = Path(__file__).resolve().parents[3] / "warpd"
OF_TYPES = ("networks/types/", "intent/network_types.py")
# An older gateway's file has names of its own, one of which is like ours.
OTHERS = {"imports/kahluna.py"}


def test_each_type_has_one_row_and_one_module() -> None:
    assert [row.name for row in ROWS] == list(NETWORK_TYPES) == [module.TYPE for module in TYPES]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_its_fields_are_fields_of_a_network(row: TypeTraits) -> None:
    assert row.fields | row.options <= Network.model_fields.keys()
    assert traits(row.name) is row


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_module_says_the_same_of_the_way_out(row: TypeTraits) -> None:
    body = {"type": row.name, "expected_users": 2, "endpoints": {"a": {"type": "mobile"}}}
    wanted = world.target(world.intent(n=body))
    network = resolve_named("n", wanted.intent, wanted.allocations, PLAIN, wanted.today)
    assert type_named(row.name).egress_requirements(network).egress == row.egress


def test_a_field_of_all_types_belongs_to_none() -> None:
    assert types_with_field("mtu") == ()
    assert types_with_field("resources") == ("remote-resource-gateway",)


def test_no_other_module_decides_by_the_name_of_a_type() -> None:
    names = "|".join(NETWORK_TYPES)
    found = set()
    for path in PACKAGE.rglob("*.py"):
        inside = str(path.relative_to(PACKAGE))
        if not inside.startswith(OF_TYPES) and re.search(rf'"(?:{names})"', path.read_text()):
            found.add(inside)
    assert found == OTHERS
