"""Shares of the connection table: the numbers, and that every guard holds every endpoint to
them.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Any

import pytest

from tests import world
from tests.unit.networks.firewall.test_firewalls import MODES, base, compiled, guards
from warpd.intent.model import Endpoint, Gateway, Limits, Network
from warpd.intent.reserved import free_ports
from warpd.kernel.kinds.nft_table import NetworkSubtable, NftElements, NftTable
from warpd.kernel.nftables.listing import decode_table
from warpd.networks.compiler import compile_state
from warpd.networks.firewall import port_blocks
from warpd.networks.firewall.connection_limits import Share, parts_of
from warpd.networks.limits import endpoint_share, network_share, shares_of, table_size
from warpd.testing.fake_kernel import PLAIN

LARGE, SMALL = 262144, 65536


def network(**fields: Any) -> Network:
    return Network.model_validate(world.network(2) | fields)


def test_defaults_follow_the_table() -> None:
    assert network_share(network(), Gateway(), LARGE) == Share(16384, 512)
    assert network_share(network(), Gateway(), SMALL) == Share(4096, 128)
    assert network_share(network(), Gateway(), 1) == Share(64, 2)
    assert network_share(network(), Gateway(), 2**30) == network_share(network(), Gateway(), LARGE)


def test_the_narrower_place_says() -> None:
    gateway = Gateway(limits=Limits(connections=800, connections_per_second=80))
    own = network_share(network(limits={"connections": 400}), gateway, LARGE)
    assert own == Share(400, 80)
    assert endpoint_share(Endpoint(type="mobile"), own) == Share(50, 20)
    assert endpoint_share(Endpoint(type="cpe"), own) == Share(200, 40)
    assert endpoint_share(
        Endpoint(type="mobile", limits=Limits(connections_per_second=7)), own
    ) == Share(50, 7)
    assert endpoint_share(Endpoint(type="mobile"), Share(1, 1)) == Share(1, 1)


def test_a_small_change_of_the_table_is_none() -> None:
    assert {table_size(value) for value in (65536, 65537, 100000, 131071)} == {65536}


def test_a_network_alone_leaves_most_of_the_table() -> None:
    """With all that it has closed in the last two minutes, at full rate."""
    for size in (SMALL, LARGE, 4 * LARGE):
        own = network_share(network(), Gateway(), size)
        assert own.connections + 120 * own.per_second < size // 3


def test_each_different_share_is_one_kind() -> None:
    body = network(
        endpoints={"a": {"type": "mobile"}, "b": {"type": "mobile"}, "c": {"type": "cpe"}}
    )
    shares = shares_of(body, Gateway(), SMALL)
    assert shares.kinds == (Share(512, 32), Share(2048, 64))


@pytest.mark.parametrize("mode", MODES)
def test_every_new_connection_of_an_endpoint_meets_the_shares(mode: str) -> None:
    """On its way through and to the gateway itself, before anything lets it pass; rates before
    counts.
    """
    for name, guard in guards(mode).items():
        named = {
            base(chain.name): [json.loads(text) for text in chain.rules] for chain in guard.chains
        }
        for chain in ("forward", "input"):
            comments = [rule["comment"] for rule in named[chain]]
            first = next(
                n
                for n, c in enumerate(comments)
                if c in ("out", "peers", "from an endpoint", "not-permitted")
            )
            assert comments.index("new connections") < first, f"{name} {chain}"
        judged = [
            rule["comment"]
            for rule in named["new"]
            if {"jump"} & {key for item in rule["expr"] for key in item}
        ]
        rates = [number for number, comment in enumerate(judged) if comment.startswith("rate")]
        counts = [
            number for number, comment in enumerate(judged) if comment.startswith("connections")
        ]
        assert len(rates) == len(counts) >= 2
        assert max(rates) < min(counts)


@pytest.mark.parametrize("mode", MODES)
def test_every_source_of_an_endpoint_is_known_as_its_own(mode: str) -> None:
    """The maps of shares hold what the permits hold, and one number for each endpoint."""
    state = compiled(mode).state
    found = {
        (item.netns, item.set): item.elements for item in state if isinstance(item, NftElements)
    }
    permits = {key: own for key, own in found.items() if base(key[1]).startswith("endpoints")}
    assert permits
    for (netns, name), own in permits.items():
        pairs = dict(
            text.split(" : ") for text in found[netns, name.replace("endpoints", "endpoint_ids")]
        )
        assert pairs.keys() == own


def test_routes_count_as_their_endpoint() -> None:
    maps = [
        item.elements
        for item in compiled("namespace").state
        if isinstance(item, NftElements) and item.set == "endpoint_ids4"
    ]
    own = next(found for found in maps if any("192.168.77.0" in text for text in found))
    numbers = [text.split(" : ")[1] for text in own]
    assert len(own) == 3
    assert len(set(numbers)) == 2


def test_nobody_chooses_the_part_that_his_connection_is_counted_in() -> None:
    """Else one could fill the part of others."""
    state = compiled(*MODES).state
    texts = [
        text
        for item in state
        if isinstance(item, NftTable | NetworkSubtable)
        for chain in item.chains
        for text in chain.rules
    ]
    counted = [
        text
        for text in texts
        if "connections of the network" in text or ("all networks" in text and "over-count" in text)
    ]
    assert len(counted) == len(MODES) * len(world.every_type(MODES[0])) + 1
    assert all('"mode":"random"' in text for text in counted)


@pytest.mark.parametrize("mode", MODES)
def test_parts_of_a_network_add_up_to_its_share(mode: str) -> None:
    intent = world.intent(n=world.network(1, isolation=mode, limits={"connections": 640}))
    target = world.target(intent)
    built = compile_state(target.intent, target.allocations, target.master, PLAIN, target.today)
    guard = next(
        item for item in built.state if isinstance(item, NftTable | NetworkSubtable) and item.group
    )
    texts = [
        text
        for chain in guard.chains
        for text in chain.rules
        if "connections of the network" in text
    ]
    assert len(texts) == 1
    assert parts_of(640) == 2
    assert '"val":320}' in texts[0]


def test_another_size_of_the_table_is_another_target_but_for_noise() -> None:
    target = world.target(world.intent(n=world.network(1)))

    def shared(size: int) -> object:
        host = dataclasses.replace(PLAIN, conntrack_max=size)
        return compile_state(
            target.intent, target.allocations, target.master, host, target.today
        ).state

    assert shared(LARGE) == shared(LARGE + 5)
    assert shared(LARGE) != shared(SMALL)


@pytest.mark.parametrize("mode", MODES)
def test_networks_have_blocks_of_ports_of_their_own(mode: str) -> None:
    built = compiled(mode)
    entries = [
        item
        for item in built.state
        if isinstance(item, NftElements) and item.set == port_blocks.MAP
    ]
    by_network: dict[str, set[str]] = {}
    for item in entries:
        by_network.setdefault(item.part.rpartition("-")[2], set()).update(
            text.split(" : jump ")[1] for text in item.elements
        )
    assert len(by_network) == 2  # two types have a way out
    chains = [chain for found in by_network.values() for chain in found]
    assert len(chains) == len(set(chains)) == 2
    root = next(item for item in built.shared if isinstance(item, NftTable))
    assert set(chains) <= {chain.name for chain in root.chains}


@pytest.mark.parametrize(
    ("first", "last"),
    [(10240, 51819), (10240, 65535), (60000, 60023), (60000, 60001), (10240, 10240 + 24 * 7)],
)
def test_blocks_are_within_the_free_ports_and_do_not_overlap(first: int, last: int) -> None:
    found = [port_blocks.ports(first, last, number) for number in range(port_blocks.BLOCKS)]
    assert min(low for low, _high in found) == first
    assert max(high for _low, high in found) == last
    if last - first + 1 >= port_blocks.BLOCKS:
        assert all(one[1] + 1 == other[0] for one, other in itertools.pairwise(found))
        assert min(high - low + 1 for low, high in found) == port_blocks.width(first, last)


@pytest.mark.parametrize("mode", MODES)
def test_what_goes_to_the_hosts_own_links_meets_a_limit_before_it_may_leave(mode: str) -> None:
    root = next(item for item in compiled(mode).shared if isinstance(item, NftTable))
    rules = {chain.name: [json.loads(text) for text in chain.rules] for chain in root.chains}
    out = rules["out"]
    accepted = next(number for number, rule in enumerate(out) if {"accept": None} in rule["expr"])
    judged = [json.dumps(rule["expr"]) for rule in out[:accepted] if rule["comment"] == "on-link"]
    assert [f"@onlink{version}" in text for version, text in zip((4, 6), judged, strict=True)] == [
        True,
        True,
    ]
    learns = [rule for rule in rules["forward"] if rule["comment"] == "has answered"]
    assert [any("established" in json.dumps(item) for item in rule["expr"]) for rule in learns] == [
        True,
        True,
    ]


def test_networks_have_log_lines_of_their_own_where_they_share_a_rule() -> None:
    root = next(item for item in compiled(*MODES).shared if isinstance(item, NftTable))
    logs = [
        json.loads(text)["expr"] for chain in root.chains for text in chain.rules if '"log"' in text
    ]
    assert logs
    names = [item["meter"]["name"] for expr in logs for item in expr if "meter" in item]
    assert len(names) == len(set(names)) == len(logs)
    assert all(
        item["meter"]["key"] == {"meta": {"key": "iifname"}}
        for expr in logs
        for item in expr
        if "meter" in item
    )


def test_a_meter_is_known_again_however_it_is_listed() -> None:
    """nftables 1.1.2 and later list it as a set with elements that come and go, and a statement
    that names it.
    """
    key, limit = (
        {"meta": {"key": "iifname"}},
        {"limit": {"rate": 4, "burst": 16, "per": "second", "inv": True}},
    )
    head: list[dict[str, Any]] = [{"table": {"family": "inet", "name": "warpd"}}]
    chain = {"chain": {"name": "c"}}
    older = {
        "rule": {
            "chain": "c",
            "expr": [{"meter": {"key": key, "name": "m", "size": 64, "stmt": limit}}],
        }
    }
    newer = {
        "rule": {
            "chain": "c",
            "expr": [{"set": {"op": "add", "elem": key, "set": "@m", "stmt": [limit]}}],
        }
    }
    elements = [{"elem": {"val": "dn-1", **limit}}]
    as_set = {
        "set": {"name": "m", "type": "ifname", "size": 64, "flags": ["dynamic"], "elem": elements}
    }
    assert decode_table("warp-1", [*head, as_set, chain, newer]) == decode_table(
        "warp-1", [*head, chain, older]
    )


def test_who_has_answered_is_no_drift() -> None:
    empty = {
        "name": "neighbours_known4",
        "type": "ipv4_addr",
        "flags": ["timeout"],
        "timeout": 600,
        "size": 4,
    }
    table = {"table": {"family": "inet", "name": "warpd"}}
    full = {**empty, "elem": [{"elem": {"val": "192.0.2.1", "expires": 300}}]}
    assert decode_table("", [table, {"set": full}]) == decode_table("", [table, {"set": empty}])
    assert decode_table("", [table, {"set": {**empty, "timeout": 60}}]) != decode_table(
        "", [table, {"set": empty}]
    )


@pytest.mark.parametrize("pool", [(51820, 51829), (20000, 65535)])
def test_nat_uses_no_port_of_a_protocol_with_one_port_at_both_ends(pool: tuple[int, int]) -> None:
    first, last = free_ports(pool, [])
    assert not set(range(first, last + 1)) & {500, 1701, 3478, 4500, 4789, 5060, 6081, 8472}


@pytest.mark.parametrize(
    ("pool", "others", "free"),
    [
        ((51820, 51829), [], (10240, 51819)),
        ((51820, 51829), [9, 10240, 51825, 40000], (10241, 39999)),
        ((10240, 20000), [], (20001, 65535)),
        ((500, 30000), [65535, 30001, 30001], (30002, 65534)),
        ((1, 65535), [10240], (10240, 10239)),
        ((40000, 40000), [10241, 10243], (10244, 39999)),
        ((37887, 37888), [], (10240, 37886)),  # of two that are as wide, the lower one
    ],
)
def test_free_ports_are_the_widest_run_that_the_gateway_does_not_listen_on(
    pool: tuple[int, int], others: list[int], free: tuple[int, int]
) -> None:
    assert free_ports(pool, others) == free
