"""An address that the host gets later is out of reach while its firewall is empty, from the next
apply on.

    a ---wg--- [namespace] ---veth--- gw: listeners on 0.0.0.0 and ::, and
                                          eth0 203.0.113.1, lan0 10.44.0.1, docker0 172.17.0.1

Nothing of warpd runs here, so that nothing repairs: what is flushed stays flushed until the next
apply. What else must stay closed then is in `test_under_fire`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from .gateway import LINK, Gateway, Tunnel
from .lan import Lab
from .packet import Packet, new_ident
from .tally import TALLY

VCID = 70000001


class Flushed:
    """One network that may reach the internet, and one endpoint in it that sends whatever it
    likes.
    """

    def __init__(self, folder: Path) -> None:
        self.lab = Lab(1)
        self.gateway = Gateway(self.lab.gw, folder)
        self.gateway.apply(
            {
                "a": {
                    "type": "secure-internet",
                    "vcid": VCID,
                    "endpoints": {"phone": {"type": "mobile"}},
                }
            }
        )
        self.tunnel = Tunnel(self.lab.clients[0], self.gateway.config("a/phone"))
        self.tunnel.up()
        shown = json.loads(self.gateway.warpctl("network", "show", "a", "-o", "json").checked().out)
        self.own: list[str] = [shown["gateway_address"], shown["gateway_address6"]]
        assert all(self.tunnel.wake(address) for address in self.own)

    def send(self, probes: dict[str, Packet]) -> None:
        """All of them, and a ping behind them that is answered: by then they have been judged."""
        self.tunnel.host.send(LINK, probes.values())
        assert all(self.tunnel.wake(address) for address in self.own)

    def heard(self, probes: dict[str, Packet]) -> list[tuple[str, bool]]:
        """Each probe, and whether the gateway's own protocols were given it."""
        arrived = {
            record["ident"] for record in self.lab.gw.records() if record["where"] == "input"
        }
        return [
            (f"{packet.kind} to {packet.target}", ident in arrived)
            for ident, packet in probes.items()
        ]


@pytest.fixture(scope="module")
def flushed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flushed]:
    out = Flushed(tmp_path_factory.mktemp("flush"))
    try:
        yield out
    finally:
        out.lab.stop()


def test_an_address_that_the_host_gets_later_is_closed_by_the_next_apply(flushed: Flushed) -> None:
    flushed.lab.gw.ip("addr add 203.0.113.77/32 dev eth0", "addr add 2001:db8:113::77/128 dev eth0")
    flushed.gateway.converge().checked()
    flushed.lab.gw.run("nft", "flush", "ruleset").checked()
    config = flushed.tunnel.config
    probes = {}
    for source, target in (
        (config.address4, "203.0.113.77"),
        (config.address6, "2001:db8:113::77"),
    ):
        ident = new_ident()
        probes[ident] = Packet("udp", source, target, 7777, ident)
    flushed.send(probes)
    faults = flushed.heard(probes)
    flushed.gateway.converge().checked()
    assert flushed.gateway.warpctl("plan").rc == 0
    assert not TALLY.forbidden("a later address of the host", faults)
