"""The uplink's default route changes: after an `apply`, egress of both isolation modes follows.

c1 one (namespace)  c2 two (vrf) --- gw eth0 203.0.113.1 === isp 203.0.113.254, then .253 --- world
                                      gw eth1 203.0.114.1 === isp 203.0.114.254
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .gateway import LINK, Gateway, Tunnel
from .lan import INTERNET4, INTERNET6, UPLINK4, UPLINK6, Lab, until
from .packet import new_ident
from .tally import TALLY

MODES = {"one": "namespace", "two": "vrf"}
NEW4, NEW6 = "203.0.113.2", "2001:db8:113::2"
Bench = tuple[Lab, Gateway, dict[str, Tunnel]]


@pytest.fixture
def connected(wireguard: str, tmp_path: Path) -> Iterator[Bench]:
    """A network of either mode, each with a client that reaches the internet."""
    lab = Lab(len(MODES))
    try:
        gateway = Gateway(lab.gw, tmp_path)
        gateway.apply(intent())
        tunnels = {}
        for (name, _mode), host in zip(MODES.items(), lab.clients, strict=True):
            tunnels[name] = Tunnel(host, gateway.config(f"{name}/phone"))
            tunnels[name].up()
            assert tunnels[name].wake(INTERNET4) and tunnels[name].wake(INTERNET6), (
                f"{name} has no way to the internet"
            )
        yield lab, gateway, tunnels
    finally:
        lab.stop()


def intent() -> dict[str, object]:
    common = {"type": "secure-internet", "endpoints": {"phone": {"type": "mobile"}}}
    return {name: {**common, "isolation": mode} for name, mode in MODES.items()}


def follows(bench: Bench, what: str, source4: str, source6: str) -> None:
    """Both families of both modes reach the internet again, by the new source."""
    lab, gateway, tunnels = bench
    gateway.warpctl("apply", "--yes").checked()
    results = []
    for name, tunnel in tunnels.items():
        for target, source in ((INTERNET4, source4), (INTERNET6, source6)):
            results.append((f"{name} {target}: answered", tunnel.wake(target)))
            ident = new_ident()
            for kind in ("udp", "tcp"):
                results.append(
                    (f"{name} {kind} {target}", getattr(tunnel.host, kind)(target, 7777, ident))
                )
            seen = {record["src"] for record in lab.arrivals([lab.world]).get(ident, ())}
            results.append((f"{name} {target}: from {seen}, not {source}", seen == {source}))
    results.append(("a second plan is empty", gateway.warpctl("plan").rc == 0))
    assert not TALLY.allowed(f"uplink: {what}", results)


def dial(tunnels: dict[str, Tunnel], address: str) -> None:
    """The users learn the gateway's new address, as from its host name."""
    for tunnel in tunnels.values():
        shown = tunnel.shown("endpoints")
        peer = tunnel.host.run("wg", "show", LINK, "peers").checked().out.strip()
        tunnel.host.run(
            "wg", "set", LINK, "peer", peer, "endpoint", f"{address}:{shown.rpartition(':')[2]}"
        ).checked()


def test_new_gateway(connected: Bench) -> None:
    """The provider's router has another address; the old one is gone."""
    lab, _gateway, _tunnels = connected
    lab.isp.ip("addr del 203.0.113.254/24 dev gw", "addr del 2001:db8:113::fe/64 dev gw")
    lab.isp.ip("addr add 203.0.113.253/24 dev gw", "addr add 2001:db8:113::fd/64 dev gw")
    lab.gw.ip(
        "route replace default via 203.0.113.253", "route replace default via 2001:db8:113::fd"
    )
    assert until(lambda: lab.gw.ping(INTERNET4) and lab.gw.ping(INTERNET6)), "the lab is wrong"
    follows(connected, "new gateway", UPLINK4, UPLINK6)


def test_new_address(connected: Bench) -> None:
    """The gateway itself has another address; the old one is gone."""
    lab, _gateway, tunnels = connected
    lab.gw.ip(
        "addr del 203.0.113.1/24 dev eth0",
        "addr del 2001:db8:113::1/64 dev eth0",
        f"addr add {NEW4}/24 dev eth0",
        f"addr add {NEW6}/64 dev eth0",
        "route replace default via 203.0.113.254",
        "route replace default via 2001:db8:113::fe",
    )
    assert until(lambda: lab.gw.ping(INTERNET4) and lab.gw.ping(INTERNET6)), "the lab is wrong"
    dial(tunnels, NEW4)
    follows(connected, "new address", NEW4, NEW6)


def test_down_and_up(connected: Bench) -> None:
    """The kernel forgets routes and IPv6 addresses of a link that goes down; also with an apply
    while it is down.
    """
    lab, gateway, _tunnels = connected
    lab.gw.ip("link set eth0 down")
    gateway.warpctl("apply", "--yes")  # may complain, must not break
    lab.gw.ip(
        "link set eth0 up",
        f"addr replace {UPLINK6}/64 dev eth0",
        "route replace default via 203.0.113.254",
        "route replace default via 2001:db8:113::fe",
    )
    assert until(lambda: lab.gw.ping(INTERNET4) and lab.gw.ping(INTERNET6)), "the lab is wrong"
    follows(connected, "down and up", UPLINK4, UPLINK6)


def test_another_link(connected: Bench) -> None:
    """The default route moves to another interface, and back to where nothing was left behind."""
    lab, _gateway, _tunnels = connected
    lab.isp.link("gw2", lab.gw, "eth1")
    lab.isp.ip(
        "addr add 203.0.114.254/24 dev gw2",
        "addr add 2001:db8:114::fe/64 dev gw2",
        "link set gw2 up",
    )
    lab.gw.ip(
        "addr add 203.0.114.1/24 dev eth1",
        "addr add 2001:db8:114::1/64 dev eth1",
        "link set eth1 up",
        "route replace default via 203.0.114.254",
        "route replace default via 2001:db8:114::fe",
    )
    assert until(lambda: lab.gw.ping(INTERNET4) and lab.gw.ping(INTERNET6)), "the lab is wrong"
    follows(connected, "another link", "203.0.114.1", "2001:db8:114::1")
    lab.gw.ip(
        "route replace default via 203.0.113.254", "route replace default via 2001:db8:113::fe"
    )
    follows(connected, "and back", UPLINK4, UPLINK6)
