"""P20: the default route goes and comes back under a running warpd. What needs no uplink loses nothing, in both modes.

c1, c2: sites (l3vpn, namespace)   c3, c4: vrf-sites (l3vpn, VRF)   c5: web, c6: vrf-web
gw keeps a route to the clients themselves (192.0.2.0/24); only its default routes come and go.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .gateway import Gateway, Tunnel
from .lan import INTERNET4, Lab, until
from .tally import TALLY
from .test_restart import Service

MODES = {"": "namespace", "vrf-": "vrf"}
INTERVAL_S = 0.02
Bench = tuple[Lab, Gateway]
DEFAULTS = ("203.0.113.254", "2001:db8:113::fe")


@pytest.fixture
def bench(wireguard: str, tmp_path: Path) -> Iterator[Bench]:
    lab = Lab(6)
    try:
        lab.gw.ip("route add 192.0.2.0/24 via 203.0.113.254")
        gateway = Gateway(lab.gw, tmp_path)
        gateway.networks = intent()
        gateway.write()
        yield lab, gateway
    finally:
        lab.stop()


def intent() -> dict[str, Any]:
    mobile = {"type": "mobile"}
    out: dict[str, Any] = {}
    for prefix, mode in MODES.items():
        out[f"{prefix}sites"] = {"type": "l3vpn-gateway", "isolation": mode, "endpoints": {"a": mobile, "b": mobile, "c": mobile}}
        out[f"{prefix}web"] = {"type": "secure-internet", "isolation": mode, "endpoints": {"p": mobile}}
    return out


def connect(lab: Lab, gateway: Gateway) -> dict[str, Tunnel]:
    names = ("sites/a", "sites/b", "vrf-sites/a", "vrf-sites/b", "web/p", "vrf-web/p")
    tunnels = {name: Tunnel(host, gateway.config(name)) for name, host in zip(names, lab.clients, strict=True)}
    for tunnel in tunnels.values():
        tunnel.up()
    return tunnels


def test_first_boot_without_a_route(bench: Bench) -> None:
    """Every network comes up; nothing of clients leaves before there is an uplink, and then it does without any command."""
    lab, gateway = bench
    lab.gw.ip(*(f"route del default via {hop}" for hop in DEFAULTS))
    service = Service(gateway)
    service.start()
    tunnels = connect(lab, gateway)
    results = [
        (f"{prefix}sites: a to b", tunnels[f"{prefix}sites/a"].wake(tunnels[f"{prefix}sites/b"].config.address4))
        for prefix in MODES
    ]
    status = gateway.warpctl("status").out
    why = [line for line in status.splitlines() if "no uplink: this host has no default route" in line]
    results.append(("status tells why, once for both networks", len(why) == 1 and "vrf-web, web" in why[0]))
    results.append(("plan says so, and has nothing to do", gateway.warpctl("plan").rc == 0))
    lab.gw.ip(*(f"route add default via {hop}" for hop in DEFAULTS))
    results += [(f"{name}: the internet", tunnels[name].wake(INTERNET4, 30)) for name in ("web/p", "vrf-web/p")]
    service.end("TERM")
    assert not TALLY.allowed("without an uplink: first boot", results)


def flaps(bench: Bench, count: int) -> None:
    lab, gateway = bench
    service = Service(gateway)
    service.start()
    tunnels = connect(lab, gateway)
    assert all(tunnels[name].wake(INTERNET4) for name in ("web/p", "vrf-web/p"))
    flows = [(tunnels[f"{p}sites/a"].host, tunnels[f"{p}sites/b"].config.address4) for p in MODES]
    assert all(tunnels[f"{p}sites/a"].wake(target) for p, (_host, target) in zip(MODES, flows, strict=True))
    before = {name: tunnel.handshake for name, tunnel in tunnels.items()}
    for host, target in flows:
        host.do("flow", dst=target, interval_s=INTERVAL_S)
    for number in range(1, count + 1):
        lab.gw.ip(*(f"route del default via {hop}" for hop in DEFAULTS))
        assert until(lambda number=number: service.told("problem of this machine") >= 2 * number, 30)
        lab.gw.ip(*(f"route add default via {hop}" for hop in DEFAULTS))
        assert until(lambda number=number: service.told("problem over") >= 2 * number, 30)
    counts = [host.do("flow_end", dst=target, wait_s=10) for host, target in flows]
    sent, answered = sum(each["sent"] for each in counts), sum(each["answered"] for each in counts)
    print(f"\n  default routes taken and given back {count} times; packets lost {sent - answered} of {sent}")
    results = [(f"packet {n}", n < answered) for n in range(sent)]
    results += [(f"{name}: the internet again", tunnels[name].wake(INTERNET4)) for name in ("web/p", "vrf-web/p")]
    results += [(f"{name}: its session", tunnel.handshake >= before[name] > 0) for name, tunnel in tunnels.items()]
    service.end("TERM")
    assert sent > 50 * count
    assert not TALLY.allowed("without an uplink: flaps under traffic", results)


def test_flaps_under_traffic(bench: Bench) -> None:
    flaps(bench, 4)


@pytest.mark.long
def test_a_hundred_flaps(bench: Bench) -> None:
    flaps(bench, 100)
