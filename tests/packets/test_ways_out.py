"""Nothing leaves but by the links that are meant; and what the host reaches by them, permitted
clients reach. Both modes.

c1 one (namespace)  c2 two (vrf)   gw eth0 203.0.113.1 === isp === world 198.51.100.7, 10.x
c3 corp (namespace) c4 vorp (vrf)  gw lan1 10.20.0.1   === world lan1 10.20.0.9, behind it 10.30.0.9
                                   gw eth1 203.0.114.1 === isp gw2, the second way to the world
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .gateway import Gateway, Tunnel
from .lan import INTERNET4, INTERNET6, Lab, until
from .packet import new_ident
from .tally import TALLY

WEB = {"one": "namespace", "two": "vrf"}
CORP = {"corp": "namespace", "vorp": "vrf"}
NEAR, BEHIND, SPREAD = "10.20.0.9", "10.30.0.9", "10.40.0.9"
REFUSED = """table ip vpn {
    chain c {
        type filter hook prerouting priority 0
        iifname gw2 udp sport 51820-51899 drop
    }
}
"""
Bench = tuple[Lab, Gateway, dict[str, Tunnel]]


def intent() -> dict[str, Any]:
    phone = {"endpoints": {"phone": {"type": "mobile"}}}
    out: dict[str, Any] = {
        name: {"type": "secure-internet", "isolation": mode, **phone} for name, mode in WEB.items()
    }
    for name, mode in CORP.items():
        resources = [{"subnet": "10.0.0.0/8"}, {"subnet": "198.51.100.0/24"}]
        out[name] = {
            "type": "remote-resource-gateway",
            "isolation": mode,
            "resources": resources,
            "expected_users": 2,
            **phone,
        }
    out["two"]["allow_private"] = out["one"]["allow_private"] = ["10.0.0.0/8"]
    return out


@pytest.fixture
def bench(wireguard: str, tmp_path: Path) -> Iterator[Bench]:
    """Two networks of each type, one of either mode; a second link to the world, and a LAN, both
    not there yet.
    """
    lab = Lab(len(WEB) + len(CORP))
    try:
        gateway = Gateway(lab.gw, tmp_path)
        yield lab, gateway, dict[str, Tunnel]()
    finally:
        lab.stop()


def connect(bench: Bench, **about: Any) -> None:
    lab, gateway, tunnels = bench
    gateway.networks = intent()
    gateway.write(**about)
    gateway.converge().checked()
    for name, host in zip((*WEB, *CORP), lab.clients, strict=True):
        tunnels[name] = Tunnel(host, gateway.config(f"{name}/phone"))
        tunnels[name].up()


def add_lan(lab: Lab) -> None:
    """A LAN on a second link, a route by a router in it, and a multipath route of which it is one
    way.
    """
    lab.gw.link("lan1", lab.world, "lan1")
    lab.world.ip(
        f"addr add {NEAR}/16 dev lan1",
        "link set lan1 up",
        f"addr add {BEHIND}/32 dev lo",
        f"addr add {SPREAD}/32 dev lo",
    )
    lab.gw.ip(
        "addr add 10.20.0.1/16 dev lan1",
        "link set lan1 up",
        f"route add 10.30.0.0/16 via {NEAR}",
        f"route add 10.40.0.0/16 nexthop via {NEAR} nexthop via 203.0.113.254",
    )
    lab.isp.ip(f"route add {SPREAD} via {INTERNET4}")
    assert until(lambda: all(lab.gw.ping(each) for each in (NEAR, BEHIND, SPREAD))), (
        "the lab is wrong"
    )


def second_way(lab: Lab) -> None:
    """Another link to the provider, which the host does not use yet."""
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
    )


def left_by(bench: Bench, name: str, target: str, port: int = 7777) -> set[str]:
    """The provider's links at which new packets of a client came in; nothing left where it is
    empty.
    """
    lab, _gateway, tunnels = bench
    ident = new_ident()
    for _ in range(3):
        tunnels[name].host.udp(target, port, ident)
    seen = lab.arrivals([lab.isp, lab.world]).get(ident, ())
    return {f"{record['host']} {record['link']}" for record in seen if record["host"] == "isp"}


def test_what_the_host_reaches_clients_reach(bench: Bench) -> None:
    """A range with parts on several links: connected, behind a router, by several ways at once; and
    `explain` says so.
    """
    lab, gateway, tunnels = bench
    add_lan(lab)
    connect(bench)
    results = []
    for name, tunnel in tunnels.items():
        for target in (NEAR, BEHIND, SPREAD):
            results.append((f"{name} {target}", tunnel.wake(target, 5)))
            said = gateway.warpctl("explain", f"{name}/phone", target).out.splitlines()[-1]
            results.append((f"{name} {target}: explain says {said}", said == "passes"))
    assert not TALLY.allowed("ways out: what the host reaches", results)


def test_a_link_that_is_not_meant(bench: Bench) -> None:
    """The default route moves to another link than the one named as uplink: nothing leaves by it,
    not even before a pass.
    """
    lab, gateway, tunnels = bench
    second_way(lab)
    lab.gw.ip(  # a default route over the uplink stays, behind a better one
        "route del default",
        "route add default via 203.0.113.254 metric 2000",
        "route del default via 2001:db8:113::fe",
        "route add default via 2001:db8:113::fe metric 2000",
    )
    connect(bench, uplink="eth0")
    for name in WEB:
        assert tunnels[name].wake(INTERNET4), f"{name} has no way to the internet"
    lab.gw.ip("route add default via 203.0.114.254", "route add default via 2001:db8:114::fe")
    forbidden = [
        (f"{name} {target}", "isp gw2" in left_by(bench, name, target))
        for name in tunnels
        for target in (INTERNET4, INTERNET6)
    ]
    assert not TALLY.forbidden("ways out: a link that is not meant", forbidden)
    gateway.warpctl("apply", "--yes").checked()
    said = gateway.warpctl("plan").out + gateway.warpctl("doctor").out
    assert said.count("does not lead over the uplink eth0") >= 2
    results = []
    for name in WEB:
        for target in (INTERNET4, INTERNET6):
            results.append((f"{name} {target}: by the uplink", tunnels[name].wake(target)))
            links = left_by(bench, name, target)
            results.append(
                (f"{name} {target}: by {links}", "isp gw" in links and "isp gw2" not in links)
            )
    results.append(("a second plan is empty", gateway.warpctl("plan").rc == 0))
    assert not TALLY.allowed("ways out: by the uplink that is named", results)


def test_ipv6_by_another_link(bench: Bench) -> None:
    """As where IPv4 comes from one provider, and IPv6 from another one."""
    lab, gateway, tunnels = bench
    second_way(lab)
    lab.gw.ip("route del default via 2001:db8:113::fe", "route add default via 2001:db8:114::fe")
    connect(bench)
    results = []
    for name in WEB:
        for target, link in ((INTERNET4, "isp gw"), (INTERNET6, "isp gw2")):
            results.append((f"{name} {target}", tunnels[name].wake(target)))
            links = left_by(bench, name, target)
            results.append((f"{name} {target}: by {links}", links - {"isp world"} == {link}))
    results.append(("a second plan is empty", gateway.warpctl("plan").rc == 0))
    assert not TALLY.allowed("ways out: IPv6 by another link", results)


def test_behind_another_vpn(bench: Bench) -> None:
    """The host sends everything through a VPN by routing rules, as wg-quick sets them up; the main
    table says otherwise.
    """
    lab, _gateway, tunnels = bench
    second_way(lab)
    lab.gw.ip(
        "route add default via 203.0.114.254 table 51820",
        "rule add not fwmark 0xca6c lookup 51820 pref 32765",
        "rule add lookup main suppress_prefixlength 0 pref 32764",
    )
    connect(bench)
    results = []
    for name in WEB:
        results.append((f"{name}: through the VPN", tunnels[name].wake(INTERNET4)))
        links = left_by(bench, name, INTERNET4)
        results.append((f"{name}: by {links}", "isp gw2" in links and "isp gw" not in links))
    assert not TALLY.allowed("ways out: through the VPN", results)
    lab.gw.ip("link del eth1")
    forbidden = [(name, bool(left_by(bench, name, INTERNET4))) for name in WEB]
    assert not TALLY.forbidden("ways out: in the clear while the VPN is down", forbidden)


SPLIT = ("0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1", "2000::/3")
LONGER = "198.0.0.0/7"


def vpn_of_the_host(lab: Lab) -> None:
    """A link of a VPN that takes in everything, as OpenVPN's `redirect-gateway def1` sets it up."""
    second_way(lab)
    lab.gw.ip(*(f"route add {prefix} via {beyond(prefix)}" for prefix in SPLIT))
    # WireGuard's answers do not come to clients by the VPN.
    lab.isp.run("nft", "-f", "-", text=REFUSED).checked()


def beyond(prefix: str) -> str:
    """The other end of the second link, in the family of a prefix."""
    return "2001:db8:114::fe" if ":" in prefix else "203.0.114.254"


def test_beside_a_vpn_that_splits_the_default_route(bench: Bench) -> None:
    """Two halves of a default route lead elsewhere: nothing leaves by them; after a pass packets
    leave by the uplink that is named. A longer route is named as what keeps them from it.
    """
    lab, gateway, tunnels = bench
    connect(bench, uplink="eth0")
    for name in WEB:
        assert tunnels[name].wake(INTERNET4), f"{name} has no way to the internet"
    vpn_of_the_host(lab)
    cases = [(name, target) for name in WEB for target in (INTERNET4, INTERNET6)]
    forbidden = [
        (f"{name} {target}", "isp gw2" in left_by(bench, name, target)) for name, target in cases
    ]
    assert not TALLY.forbidden("ways out: halves of a default route", forbidden)
    gateway.warpctl("apply", "--yes").checked()
    said = gateway.warpctl("doctor").out
    results = [("doctor says so", said.count("leaves by eth0 nevertheless") == 2)]
    for name, target in cases:
        results.append((f"{name} {target}: by the uplink", tunnels[name].wake(target)))
        links = left_by(bench, name, target)
        results.append(
            (f"{name} {target}: by {links}", "isp gw" in links and "isp gw2" not in links)
        )
        passed = gateway.warpctl("explain", f"{name}/phone", target).out.splitlines()[-1]
        results.append((f"{name} {target}: explain says {passed}", passed == "passes"))
    results.append(("a second plan is empty", gateway.warpctl("plan").rc == 0))
    assert not TALLY.allowed("ways out: beside halves of a default route", results)
    lab.gw.ip(f"route add {LONGER} via {beyond(LONGER)}")
    named = f"route {LONGER} leads over eth1"
    outputs = {what: gateway.warpctl(what).out for what in ("plan", "status", "doctor")}
    told = [(what, named in text) for what, text in outputs.items()]
    assert not TALLY.allowed("ways out: a longer route is named", told)
    forbidden = [(name, bool(left_by(bench, name, INTERNET4))) for name in WEB]
    assert not TALLY.forbidden("ways out: a longer route", forbidden)


def rule(lab: Lab, verb: str, words: str, *families: str) -> None:
    """A routing rule of another program comes or goes."""
    for family in families:
        lab.gw.run("ip", family, "rule", verb, *words.split(), "lookup", "55").checked()


def test_replies_reach_clients_beside_routing_rules_of_others(bench: Bench) -> None:
    """A host that sends everything by a table of another program, as VPN clients do.

    A rule that is asked before those of warpd takes the replies away; then plan names it.
    """
    lab, gateway, tunnels = bench
    connect(bench)
    lab.gw.ip(
        "route add default via 203.0.113.254 table 55",
        "route add default via 2001:db8:113::fe table 55",
    )
    for words in ("pref 32765", "iif eth0 pref 5270", "pref 1100"):
        rule(lab, "add", words, "-4", "-6")
        gateway.converge().checked()
        for name in WEB:
            assert tunnels[name].wake(INTERNET4) and tunnels[name].wake(INTERNET6), (name, words)
        assert "leads replies" not in gateway.warpctl("plan").out
        rule(lab, "del", words, "-4", "-6")
    for words in ("pref 100", "iif eth0 pref 100"):
        rule(lab, "add", words, "-4")
        told = gateway.warpctl("plan").out
        assert told.count("leads replies to clients") == len(WEB) and "IPv6" not in told, told
        assert all(not tunnels[name].host.ping(INTERNET4) for name in WEB)
        rule(lab, "del", words, "-4")
    assert all(tunnels[name].wake(INTERNET4) for name in WEB)
