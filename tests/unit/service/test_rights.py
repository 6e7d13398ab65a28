"""Roles, and what an identity sees."""

from __future__ import annotations

import itertools

import pytest

from warpd.service.rights import ROLES, Identity, Right, roles_with


def test_each_role_has_the_rights_of_the_one_before() -> None:
    order = ["viewer", "helpdesk", "operator", "admin"]
    assert list(ROLES) == order
    for less, more in itertools.pairwise(order):
        assert ROLES[less] < ROLES[more]
    assert ROLES["admin"] == set(Right)


def test_roles_with_a_right() -> None:
    assert roles_with(Right.CHANGE) == ("operator", "admin")
    assert all("admin" in roles_with(right) for right in Right)


@pytest.mark.parametrize(
    ("patterns", "seen", "unseen"),
    [
        (("*",), ["corp", "cust-1"], []),
        (("corp", "cust-*"), ["corp", "cust-1", "cust-"], ["corp2", "Corp", "my-cust-1", "*"]),
        ((), [], ["corp", ""]),
    ],
)
def test_networks_are_seen_by_pattern(
    patterns: tuple[str, ...], seen: list[str], unseen: list[str]
) -> None:
    identity = Identity("anna (web)", ROLES["viewer"], patterns)
    assert all(identity.sees(name) for name in seen)
    assert not any(identity.sees(name) for name in unseen)
    assert identity.sees_all is (patterns == ("*",))
