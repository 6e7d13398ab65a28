"""A pool: one owner a value, nothing quarantined for others, blocks that do not overlap."""

from __future__ import annotations

from ipaddress import IPv4Network

from warpd.allocation.pools import BlockPool, Pool


def test_a_value_is_one_owners() -> None:
    pool: Pool[int, str] = Pool()
    assert pool.take("a", 1) and not pool.take("b", 1)
    assert pool.owners == {1: "a"} and pool.values == {"a": 1}


def test_quarantined_values_go_to_their_former_owner_alone() -> None:
    pool: Pool[int, str] = Pool({1: "a", 2: "b"})
    assert pool.take_first("b", (1, 2, 3)) and pool.values["b"] == 2
    assert pool.take_first("c", (1, 2, 3)) and pool.values["c"] == 3
    assert not pool.take_first("d", (1, 2, 3))


def test_filling_serves_owners_in_their_order_and_names_who_gets_none() -> None:
    pool: Pool[int, str] = Pool({1: "a"})
    pool.take("held", 2)
    assert pool.fill(("held", "x", "y", "z"), range(1, 5)) == ["z"]
    assert pool.values == {"held": 2, "x": 3, "y": 4}


def test_the_lowest_block_is_aligned_and_overlaps_nothing() -> None:
    block = IPv4Network("10.0.0.0/24")
    pool: BlockPool[IPv4Network] = BlockPool([("old", IPv4Network("10.0.0.16/28"))])
    pool.values["a"] = IPv4Network("10.0.0.0/30")
    assert pool.lowest(block, 28, "b") == IPv4Network("10.0.0.32/28")
    assert pool.lowest(block, 28, "old") == IPv4Network("10.0.0.16/28")
    assert pool.lowest(block, 28, "b", with_quarantine=False) == IPv4Network("10.0.0.16/28")
    assert pool.lowest(block, 23, "b") is None
    assert not pool.is_free(IPv4Network("10.0.0.0/29"), "b")
    assert pool.is_free(IPv4Network("10.0.0.0/29"), "a")
