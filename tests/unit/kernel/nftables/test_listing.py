"""Listings of our table as releases of nft write them."""

from __future__ import annotations

from typing import Any

import pytest

from warpd.kernel.kinds.nft_table import NftSet, NftTable
from warpd.kernel.nftables.listing import decode_table
from warpd.kernel.nftables.rules import ACCEPT, plain_gre, rule

TABLE = {"table": {"family": "inet", "name": "warpd", "handle": 1}}


def sets_of(flags: list[str]) -> tuple[NftSet, ...]:
    """Those that are read where the set of answers is listed with these flags."""
    listed: dict[str, Any] = {
        "name": "neighbours_known4",
        "type": "ipv4_addr",
        "flags": flags,
        "timeout": 600,
        "size": 65536,
    }
    objects, _counts = decode_table("", [TABLE, {"set": listed}])
    return next(item.sets for item in objects if isinstance(item, NftTable))


@pytest.mark.parametrize("flags", [["timeout"], ["timeout", "dynamic"]])
def test_a_set_that_rules_add_to_is_ours_by_every_release(flags: list[str]) -> None:
    """nft 1.0.6, and 1.1.3."""
    assert sets_of(flags) == (NftSet("neighbours_known4", "ipv4_addr", timeout=600, size=65536),)


def test_a_set_with_a_flag_that_is_never_ours_differs() -> None:
    assert sets_of(["timeout", "constant"]) != sets_of(["timeout"])


GRE_LISTED = {
    "1.0.6": [
        {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": 47}},
        {
            "match": {
                "op": "==",
                "left": {"payload": {"base": "th", "offset": 0, "len": 32}},
                "right": 0x6558,
            }
        },
    ],
    "1.1.3": [
        {
            "match": {
                "op": "==",
                "left": {"payload": {"protocol": "gre", "field": "flags"}},
                "right": 0,
            }
        },
        {
            "match": {
                "op": "==",
                "left": {"payload": {"base": "th", "offset": 5, "len": 27}},
                "right": 0x6558,
            }
        },
    ],
}


@pytest.mark.parametrize("release", GRE_LISTED)
def test_a_match_of_gre_is_ours_by_every_release(release: str) -> None:
    assert rules_of(GRE_LISTED[release]) == (rule("leg", *plain_gre(0x6558), ACCEPT),)


@pytest.mark.parametrize("field", ["op", "right"])
def test_a_match_of_other_gre_is_not(field: str) -> None:
    flags, rest = GRE_LISTED["1.1.3"]
    other = {"match": {**flags["match"], field: {"op": "!=", "right": 4}[field]}}
    assert rules_of([other, rest]) != (rule("leg", *plain_gre(0x6558), ACCEPT),)


def rules_of(expressions: list[dict[str, Any]]) -> tuple[str, ...]:
    """Those of a chain that is listed with one rule that accepts what these match."""
    chain = {"family": "inet", "table": "warpd", "name": "local"}
    listed = {"chain": "local", "comment": "leg", "expr": [*expressions, {"accept": None}]}
    objects, _counts = decode_table("", [TABLE, {"chain": chain}, {"rule": listed}])
    return next(item.chains[0].rules for item in objects if isinstance(item, NftTable))
