"""Listings of our table as releases of nft write them."""

from __future__ import annotations

from typing import Any

import pytest

from warpd.kernel.kinds.nft_table import NftSet, NftTable
from warpd.kernel.nftables.listing import decode_table

TABLE = {"table": {"family": "inet", "name": "warpd", "handle": 1}}


def sets_of(flags: list[str]) -> tuple[NftSet, ...]:
    """Those that are read where the set of answers is listed with these flags."""
    listed: dict[str, Any] = {
        "name": "answered4",
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
    assert sets_of(flags) == (NftSet("answered4", "ipv4_addr", timeout=600, size=65536),)


def test_a_set_with_a_flag_that_is_never_ours_differs() -> None:
    assert sets_of(["timeout", "constant"]) != sets_of(["timeout"])
