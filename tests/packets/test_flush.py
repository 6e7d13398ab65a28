"""The host's own addresses are out of reach while its firewall is empty: a second guard that `nft` cannot take away.

    a ---wg--- [namespace] ---veth--- gw: listeners on 0.0.0.0 and ::, and
                                          eth0 203.0.113.1, lan0 10.44.0.1, docker0 172.17.0.1

Nothing of warpd runs here, so that nothing repairs: what is flushed stays flushed until the next apply.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from .gateway import ISOLATION, LINK, Gateway, Tunnel
from .lan import DOCKER_GATEWAY, LAN_GATEWAY4, LAN_GATEWAY6, UPLINK4, UPLINK6, Lab
from .packet import Kind, Packet, new_ident
from .tally import TALLY

HOST = (UPLINK4, UPLINK6, LAN_GATEWAY4, LAN_GATEWAY6, DOCKER_GATEWAY, "203.0.113.255", "224.0.0.1", "ff02::1")
KINDS: tuple[Kind, ...] = ("udp", "tcp", "ping")
FLUSHES = 20
VCID = 70000001


class Flushed:
    """One network that may reach the internet, and one endpoint in it that sends whatever it likes."""

    def __init__(self, folder: Path) -> None:
        self.lab = Lab(1)
        self.gateway = Gateway(self.lab.gw, folder)
        self.gateway.apply({"a": {"type": "secure-internet", "vcid": VCID, "endpoints": {"phone": {"type": "mobile"}}}})
        self.tunnel = Tunnel(self.lab.clients[0], self.gateway.config("a/phone"))
        self.tunnel.up()
        shown = json.loads(self.gateway.warpctl("network", "show", "a", "-o", "json").checked().out)
        self.own: list[str] = [shown["gateway_address"], shown["gateway_address6"]]
        assert all(self.tunnel.wake(address) for address in self.own)

    def probes(self) -> dict[str, Packet]:
        """By their mark: every kind of packet to every address of the host."""
        config = self.tunnel.config
        out: dict[str, Packet] = {}
        for target in HOST:
            source = config.address6 if ip_address(target).version == 6 else config.address4
            for kind in KINDS:
                ident = new_ident()
                out[ident] = Packet(kind, source, target, 7777, ident)
        return out

    def send(self, probes: dict[str, Packet]) -> None:
        """All of them, and a ping behind them that is answered: by then they have been judged."""
        self.tunnel.host.send(LINK, probes.values())
        assert all(self.tunnel.wake(address) for address in self.own)

    def heard(self, probes: dict[str, Packet]) -> list[tuple[str, bool]]:
        """Each probe, and whether the gateway's own protocols were given it."""
        arrived = {record["ident"] for record in self.lab.gw.records() if record["where"] == "input"}
        return [(f"{packet.kind} to {packet.target}", ident in arrived) for ident, packet in probes.items()]


@pytest.fixture(scope="module")
def flushed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flushed]:
    out = Flushed(tmp_path_factory.mktemp("flush"))
    try:
        yield out
    finally:
        out.lab.stop()


def test_the_host_is_out_of_reach_while_its_ruleset_is_flushed(flushed: Flushed) -> None:
    """Of the root, of the network's namespace, and of both; what was permitted works again after one apply."""
    places = [[("nft", "flush", "ruleset")]]
    if ISOLATION == "namespace":
        inside = ("nsenter", f"--net=/run/netns/warp-{VCID}", "nft", "flush", "ruleset")
        places += [[inside], [inside, places[0][0]]]
    sent: dict[str, Packet] = {}
    for number in range(FLUSHES):
        for command in places[number % len(places)]:
            flushed.lab.gw.run(*command).checked()
        probes = flushed.probes()
        flushed.send(probes)
        sent |= probes
        flushed.gateway.converge().checked()
    assert not TALLY.forbidden("host while its ruleset is flushed", flushed.heard(sent))
    lost = [(address, flushed.tunnel.host.ping(address)) for address in flushed.own]
    assert not TALLY.allowed("ping after the repair", lost)


def test_an_address_that_the_host_gets_later_is_closed_by_the_next_apply(flushed: Flushed) -> None:
    flushed.lab.gw.ip("addr add 203.0.113.77/32 dev eth0", "addr add 2001:db8:113::77/128 dev eth0")
    flushed.gateway.converge().checked()
    flushed.lab.gw.run("nft", "flush", "ruleset").checked()
    config = flushed.tunnel.config
    probes = {}
    for source, target in ((config.address4, "203.0.113.77"), (config.address6, "2001:db8:113::77")):
        ident = new_ident()
        probes[ident] = Packet("udp", source, target, 7777, ident)
    flushed.send(probes)
    faults = flushed.heard(probes)
    flushed.gateway.converge().checked()
    assert flushed.gateway.warpctl("plan").rc == 0
    assert not TALLY.forbidden("a later address of the host", faults)
