"""Samples over the socket: of one network, of all that are seen, and of none that is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.daemon.http.served import SEEN, Served, served
from warpd.kernel.api import Dump
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import PeerTraffic

STEP = 1000  # bytes that each peer carries from one look to the next


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("samples")) as made:
        carry(made)
        made.daemon.turn(95)
        yield made


def carry(gateway: Served) -> None:
    """Let every peer carry something from one look to the next."""
    kernel, plain = gateway.daemon.kernel, gateway.daemon.kernel.dump
    began_s = gateway.daemon.now_s

    def dump(netns: str, *words: Any) -> Dump:
        found = plain(netns, *words)
        looks = int((gateway.daemon.now_s - began_s) / 30 + 0.5)
        peers = [item for item in found.objects if isinstance(item, WireguardPeer)]
        now_s = int(1_800_000_000 + gateway.daemon.now_s)
        row = PeerTraffic(looks * STEP, looks, now_s, "")
        return replace(found, traffic={peer.key: row for peer in peers})

    kernel.dump = dump  # type: ignore[method-assign]


def samples(gateway: Served, query: str = "", token: str = "") -> dict[str, Any]:
    answer = gateway.ask("GET", f"/v1/samples{query}", token)
    assert answer.status == 200, answer.body
    return dict(answer.json)


def test_of_a_network_and_of_all(gateway: Served) -> None:
    one, every = samples(gateway, f"?network={SEEN}"), samples(gateway)
    assert (one["network"], every["network"], one["recorded"]) == (SEEN, None, True)
    assert one["since"] == every["since"] is not None
    row, total = one["samples"][-1], every["samples"][-1]
    assert row["seconds"] >= 60 and row["received_bytes"] >= 2 * 2 * STEP
    assert total["received_bytes"] == 2 * row["received_bytes"], "two of four peers are of it"
    assert (row["connected"], total["connected"]) == (2, 4)


def test_who_sees_some_networks_gets_the_sum_of_those(gateway: Served) -> None:
    token = gateway.token("viewer", SEEN)
    ours = samples(gateway, "", token)["samples"]
    assert ours == samples(gateway, f"?network={SEEN}")["samples"]
    assert gateway.ask("GET", "/v1/samples?network=zebra", token).status == 404


@pytest.mark.parametrize(("query", "status"), [("?network=none", 404), ("?netwrok=x", 400)])
def test_what_makes_no_sense_is_refused(gateway: Served, query: str, status: int) -> None:
    assert gateway.ask("GET", f"/v1/samples{query}").status == status
