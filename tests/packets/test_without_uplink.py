"""P20: the uplink goes and comes back under a running warpd. What needs no uplink loses nothing, in
both modes.

c1, c2: sites (l3vpn, namespace)   c3, c4: vrf-sites (l3vpn, VRF)   c5: web, c6: vrf-web
c7, c8: lan (l2-mesh, namespace)   c9, c10: vrf-lan (l2-mesh, VRF)
Clients reach the gateway by a link of its own, wan0; its uplink eth0 leads to the internet alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .gateway import Gateway, Tunnel
from .lan import INTERNET4, UPLINK6, Host, Lab, until
from .tally import TALLY
from .test_restart import Service

MODES = {"": "namespace", "vrf-": "vrf"}
INTERVAL_S = 0.02
Bench = tuple[Lab, Gateway]
DEFAULTS = ("203.0.113.254", "2001:db8:113::fe")
WAN, PROVIDER = "203.0.114.1", "203.0.114.254"
SEGMENT = "10.99.0"  # addresses inside the Ethernet segments


@pytest.fixture
def bench(wireguard: str, tmp_path: Path) -> Iterator[Bench]:
    lab = Lab(10)
    try:
        lab.gw.link("wan0", lab.isp, "wan0")
        lab.isp.ip(f"addr add {PROVIDER}/24 dev wan0", "link set wan0 up")
        lab.gw.ip(
            f"addr add {WAN}/24 dev wan0",
            "link set wan0 up",
            f"route add 192.0.2.0/24 via {PROVIDER}",
        )
        gateway = Gateway(lab.gw, tmp_path)
        gateway.networks = intent()
        gateway.write(public_endpoint=WAN)
        yield lab, gateway
    finally:
        lab.stop()


def intent() -> dict[str, Any]:
    mobile, cpe = {"type": "mobile"}, {"type": "cpe"}
    out: dict[str, Any] = {}
    for number, (prefix, mode) in enumerate(MODES.items(), 1):
        out[f"{prefix}sites"] = {
            "type": "l3vpn-gateway",
            "isolation": mode,
            "endpoints": {"a": mobile, "b": mobile, "c": mobile},
        }
        out[f"{prefix}web"] = {
            "type": "secure-internet",
            "isolation": mode,
            "endpoints": {"p": mobile},
        }
        out[f"{prefix}lan"] = {
            "type": "l2-mesh",
            "vlan_id": number,
            "isolation": mode,
            "endpoints": {"a": cpe, "b": cpe},
        }
    return out


def connect(lab: Lab, gateway: Gateway) -> dict[str, Tunnel]:
    names = (
        "sites/a",
        "sites/b",
        "vrf-sites/a",
        "vrf-sites/b",
        "web/p",
        "vrf-web/p",
        "lan/a",
        "lan/b",
        "vrf-lan/a",
        "vrf-lan/b",
    )
    tunnels = {
        name: Tunnel(host, gateway.config(name))
        for name, host in zip(names, lab.clients, strict=True)
    }
    for tunnel in tunnels.values():
        tunnel.up()
    for prefix in MODES:
        for number, end in enumerate("ab", 1):
            host = tunnels[f"{prefix}lan/{end}"].host
            host.ip(f"addr add {SEGMENT}.{number}/24 dev {segment_link(host)}")
    return tunnels


def segment_link(host: Host) -> str:
    """The bridge, or else the leg, by which a client is in its segment."""
    names = [
        row["ifname"] for row in json.loads(host.run("ip", "-j", "link", "show").checked().out)
    ]
    return next(name for prefix in ("br-", "vx-") for name in names if name.startswith(prefix))


def test_first_boot_without_a_route(bench: Bench) -> None:
    """Every network comes up; nothing of clients leaves before there is an uplink, and then it does
    without any command.
    """
    lab, gateway = bench
    lab.gw.ip(*(f"route del default via {hop}" for hop in DEFAULTS))
    service = Service(gateway)
    service.start()
    tunnels = connect(lab, gateway)
    results = [
        (
            f"{prefix}sites: a to b",
            tunnels[f"{prefix}sites/a"].wake(tunnels[f"{prefix}sites/b"].config.address4),
        )
        for prefix in MODES
    ]
    status = gateway.warpctl("status").out
    why = [
        line for line in status.splitlines() if "no uplink: this host has no default route" in line
    ]
    results.append(
        ("status tells why, once for both networks", len(why) == 1 and "vrf-web, web" in why[0])
    )
    results.append(("plan says so, and has nothing to do", gateway.warpctl("plan").rc == 0))
    lab.gw.ip(*(f"route add default via {hop}" for hop in DEFAULTS))
    results += [
        (f"{name}: the internet", tunnels[name].wake(INTERNET4, 30))
        for name in ("web/p", "vrf-web/p")
    ]
    service.end("TERM")
    assert not TALLY.allowed("without an uplink: first boot", results)


@dataclass(frozen=True, slots=True)
class Loss:
    """A way in which an uplink goes, and how it comes back; `code` is what the daemon tells of
    it.
    """

    code: str
    begin: Callable[[Lab], None]
    end: Callable[[Lab], None]


def no_routes(lab: Lab) -> None:
    lab.gw.ip(*(f"route del default via {hop}" for hop in DEFAULTS))


def routes(lab: Lab) -> None:
    lab.gw.ip(*(f"route add default via {hop}" for hop in DEFAULTS))


def unplug(lab: Lab) -> None:
    """Without a carrier, while every address and route stays as it is."""
    lab.isp.ip("link set gw down")


def plug(lab: Lab) -> None:
    lab.isp.ip("link set gw up", f"addr replace {DEFAULTS[1]}/64 dev gw")


def off(lab: Lab) -> None:
    """The kernel takes its routes and IPv6 addresses along."""
    lab.gw.ip("link set eth0 down")


def on(lab: Lab) -> None:
    lab.gw.ip(
        "link set eth0 up",
        f"addr replace {UPLINK6}/64 dev eth0",
        *(f"route replace default via {hop}" for hop in DEFAULTS),
    )


LOSSES = {
    "routes": Loss("uplink-missing", no_routes, routes),
    "cable": Loss("uplink-down", unplug, plug),
    "link": Loss("uplink-missing", off, on),
}


def flaps(bench: Bench, kind: str, count: int) -> None:
    lab, gateway = bench
    loss = LOSSES[kind]
    service = Service(gateway)
    service.start()
    tunnels = connect(lab, gateway)
    assert all(tunnels[name].wake(INTERNET4) for name in ("web/p", "vrf-web/p"))
    flows = [(tunnels[f"{p}sites/a"].host, tunnels[f"{p}sites/b"].config.address4) for p in MODES]
    flows += [(tunnels[f"{p}lan/a"].host, f"{SEGMENT}.2") for p in MODES]
    assert all(
        until(lambda host=host, target=target: host.ping(target), 15) for host, target in flows
    )
    before = {name: tunnel.handshake for name, tunnel in tunnels.items()}
    for host, target in flows:
        host.do("flow", dst=target, interval_s=INTERVAL_S)
    for number in range(1, count + 1):
        loss.begin(lab)
        assert until(lambda number=number: service.conditions(loss.code, "begins") >= number, 30)
        loss.end(lab)
        assert until(lambda number=number: service.conditions(loss.code, "over") >= number, 30)
    counts = [host.do("flow_end", dst=target, wait_s=10) for host, target in flows]
    sent, answered = sum(each["sent"] for each in counts), sum(each["answered"] for each in counts)
    lost = [each["sent"] - each["answered"] for each in counts]
    print(f"\n  uplink ({kind}) taken and given back {count} times; packets lost {lost} of {sent}")
    results = [(f"packet {n}", n < answered) for n in range(sent)]
    results += [
        (f"{name}: the internet again", tunnels[name].wake(INTERNET4))
        for name in ("web/p", "vrf-web/p")
    ]
    results += [
        (f"{name}: its session", tunnel.handshake >= before[name] > 0)
        for name, tunnel in tunnels.items()
    ]
    results.append(
        (
            "status: in sync",
            json.loads(gateway.warpctl("status", "-o", "json").checked().out)["in_sync"],
        )
    )
    service.end("TERM")
    assert sent > 50 * count
    assert not TALLY.allowed(f"without an uplink: {kind} under traffic", results)


@pytest.mark.parametrize("kind", LOSSES)
def test_flaps_under_traffic(bench: Bench, kind: str) -> None:
    flaps(bench, kind, 4)


@pytest.mark.long
@pytest.mark.parametrize("kind", LOSSES)
def test_a_hundred_flaps(bench: Bench, kind: str) -> None:
    flaps(bench, kind, 100)
