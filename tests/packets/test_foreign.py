"""Polite: what is not ours is the same, byte for byte, after apply and destroy; and destroy leaves
nothing.

gw: eth0, lan0, docker0 | a bridge with ports, addresses and routes, one of them over our own pool
    routes in tables, rules, nft tables | a WireGuard device with peers | names that look like ours
    a namespace of another tenant, with a veth and nft tables
"""

from __future__ import annotations

import json
from typing import Any

from .gateway import Gateway, new_key, public_key
from .lan import INTERNET4, INTERNET6, UPLINK4, UPLINK6, Host, Lab
from .packet import new_ident
from .tally import TALLY

VCID = 70000001
INTENT = {
    "net": {
        "type": "secure-internet",
        "vcid": VCID,
        "expected_users": 6,
        "endpoints": {"one": {"type": "mobile"}, "two": {"type": "mobile"}},
    },
    "mesh": {
        "type": "secure-internet",
        "peer_communication": True,
        "expected_users": 2,
        "nat": False,
        "endpoints": {"one": {"type": "mobile"}},
    },
}
PROTOCOL = "119"
ANYCAST = "4"
Bench = tuple[Lab, Gateway]

FOREIGN = (
    "link add br-foreign type bridge",
    "link add dum0 type veth peer name dum1",
    "link set dum0 master br-foreign alias warpd-is-not-the-owner",
    "link set dum0 up",
    "link set br-foreign up",
    "addr add 192.168.122.1/24 dev br-foreign",
    "addr add fd00:122::1/64 dev br-foreign",
    "route add 10.100.0.0/16 via 192.168.122.2 dev br-foreign",
    "route add unreachable 10.77.0.0/16 table 1000",
    "route add 198.18.0.0/16 via 192.168.122.2 dev br-foreign proto 118 table 119",
    "rule add from 192.168.122.0/24 lookup 119 pref 100",
    "route add fd00:123::/64 via fd00:122::2 dev br-foreign",
    "link add wg-99999999 type bridge",
    "link add dn-foreign type veth peer name up-foreign",
)
NFT = """
table inet filter {
    chain forward { type filter hook forward priority filter; ip daddr 192.168.122.9 counter drop; }
    chain input { type filter hook input priority filter; tcp dport 1 counter packets 7 bytes 7 drop; }
}
table ip nat {
    chain postrouting { type nat hook postrouting priority srcnat; ip saddr 192.168.122.0/24 masquerade; }
}
table inet warpd-other {
    set s { type ipv4_addr; elements = { 192.0.2.1 }; }
}
"""


def furnish(host: Host) -> None:
    """Things of others, some of which look like ours."""
    host.ip(*FOREIGN)
    host.run(
        "ip", "-6", "rule", "add", "from", "fd00:122::/64", "lookup", "119", "pref", "100"
    ).checked()
    host.run("nft", "-f", "-", text=NFT).checked()
    host.run("ip", "netns", "add", "tenant").checked()
    host.ip("link set up-foreign netns tenant", "link set dn-foreign up")
    host.run("nsenter", "--net=/run/netns/tenant", "nft", "-f", "-", text=NFT).checked()
    if host.run("ip", "link", "add", "wgother", "type", "wireguard").rc:
        host.run("wireguard-go", "wgother").checked()
    lines = [f"[Interface]\nPrivateKey = {new_key('genkey')}\nListenPort = 51999\n"]
    for number in range(1, 4):
        key = public_key(new_key("genkey"))
        lines.append(f"[Peer]\nPublicKey = {key}\nAllowedIPs = 10.8.0.{number}/32\n")
        lines.append(f"PresharedKey = {new_key('genpsk')}\n")
    host.run("wg", "setconf", "wgother", "/dev/stdin", text="\n".join(lines)).checked()
    host.ip("addr add 10.8.0.254/24 dev wgother", "link set wgother up")


def snapshot(host: Host) -> dict[str, Any]:
    """All that a host holds, without what is ours by the contract's marks and without counters."""
    # wireguard-go lists its peers in any order.
    peers = host.run("wg", "showconf", "wgother").checked().out
    out: dict[str, Any] = {"wg": sorted(part.strip() for part in peers.split("[Peer]"))}
    out["netns"] = sorted(
        n
        for n in host.run("ip", "netns", "list").out.split("\n")
        if n and not n.startswith("warp-")
    )
    for place, prefix in (("root", ()), ("tenant", ("nsenter", "--net=/run/netns/tenant"))):
        out[f"{place} links"] = links(host, prefix)
        names = {link["ifname"] for link in out[f"{place} links"]}
        out[f"{place} addresses"] = addresses(host, prefix, names)
        for family in ("-4", "-6"):
            out[f"{place} routes {family}"] = objects(
                host, prefix, family, "route", "show", "table", "all", of=names
            )
            out[f"{place} rules {family}"] = objects(host, prefix, family, "rule", "show", of=names)
        out[f"{place} nft"] = ruleset(host, prefix)
    return out


def links(host: Host, prefix: tuple[str, ...]) -> list[dict[str, Any]]:
    found = shown(host, *prefix, "ip", "-d", "-j", "link", "show")
    return [link for link in found if not str(link.get("ifalias", "")).startswith("warpd:")]


def addresses(host: Host, prefix: tuple[str, ...], names: set[str]) -> list[dict[str, Any]]:
    found = shown(host, *prefix, "ip", "-d", "-j", "addr", "show")
    return [link for link in found if link.get("ifname") in names]


def objects(
    host: Host, prefix: tuple[str, ...], *command: str, of: set[str]
) -> list[dict[str, Any]]:
    """Routes or rules: the kernel's own local routes of our links go with the links."""
    found = shown(host, *prefix, "ip", "-d", "-j", "-N", *command)
    return [
        item
        for item in found
        if item.get("protocol") != PROTOCOL and not made_by_the_kernel(item, of)
    ]


def made_by_the_kernel(route: dict[str, Any], links: set[str]) -> bool:
    """Routes of our links' addresses, and the anycast addresses that every link has while IPv6 is
    forwarded.
    """
    return route.get("type") == ANYCAST or route.get("dev", "lo") not in links | {"lo"}


def ruleset(host: Host, prefix: tuple[str, ...]) -> list[Any]:
    found = shown(host, *prefix, "nft", "-j", "list", "ruleset")["nftables"]
    out = []
    for item in found:
        ((kind, body),) = item.items()
        table = body.get("name") if kind == "table" else body.get("table")
        if kind != "metainfo" and (body.get("family"), table) != ("inet", "warpd"):
            out.append(item)
    return out


def shown(host: Host, *argv: str) -> Any:
    return still(json.loads(host.run(*argv).checked().out or "[]"))


def still(value: Any) -> Any:
    """Without what moves by itself: the timers of bridges."""
    if isinstance(value, dict):
        return {key: still(item) for key, item in value.items() if not key.endswith("_timer")}
    return [still(item) for item in value] if isinstance(value, list) else value


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, bool]]:
    """Per kind of thing: (what differs, True when it does)."""
    return [(f"{k}: {changed(before[k], after[k])}", before[k] != after[k]) for k in before]


def changed(before: Any, after: Any) -> str:
    if not isinstance(before, list):
        return f"was {before}, is {after}"
    gone = [item for item in before if item not in after]
    new = [item for item in after if item not in before]
    return f"gone {gone}, new {new}" if gone or new else "another order"


def settings(host: Host) -> dict[str, str]:
    """Forwarding, which is the host's own business when we are gone."""
    names = [
        f"net/{v}/conf/{link}/forwarding"
        for v in ("ipv4", "ipv6")
        for link in ("all", "default", "eth0", "lan0", "br-foreign")
    ]
    names += ["net/ipv6/conf/eth0/accept_ra", "net/ipv4/ip_forward", "net/ipv4/conf/all/rp_filter"]
    values = host.run("cat", *(f"/proc/sys/{name}" for name in names)).checked().out.split("\n")
    return dict(zip(names, values, strict=False))


def leftovers(host: Host) -> list[tuple[str, bool]]:
    """What bears a mark of ours."""
    found = {
        "namespaces": "warp-" in host.run("ip", "netns", "list").out,
        "links": "warpd:" in host.run("ip", "-d", "link", "show").out,
        "nft": "inet warpd\n" in host.run("nft", "list", "tables").out,
    }
    for family in ("-4", "-6"):
        found[f"routes {family}"] = bool(
            host.run("ip", family, "route", "show", "table", "all", "proto", PROTOCOL).out
        )
        found[f"rules {family}"] = (
            f"proto {PROTOCOL}" in host.run("ip", "-N", family, "-d", "rule", "show").out
        )
    return list(found.items())


def test_foreign_things_stay_as_they_were(bench: Bench) -> None:
    lab, gateway = bench
    furnish(lab.gw)
    before, forwarding = snapshot(lab.gw), settings(lab.gw)
    gateway.apply(INTENT)
    faults = TALLY.forbidden("foreign: differs after apply", differences(before, snapshot(lab.gw)))
    gateway.networks["net"] = {
        **INTENT["net"],
        "endpoints": {"two": {"type": "mobile", "rotation": 2}},
    }
    gateway.apply()
    faults += TALLY.forbidden(
        "foreign: differs after a change", differences(before, snapshot(lab.gw))
    )
    gateway.warpctl("destroy", "--yes").checked()
    faults += TALLY.forbidden(
        "foreign: differs after destroy", differences(before, snapshot(lab.gw))
    )
    faults += TALLY.forbidden(
        "foreign: differs after destroy", differences(forwarding, settings(lab.gw))
    )
    assert not faults + TALLY.forbidden("leftovers after destroy", leftovers(lab.gw)), "\n".join(
        faults
    )


def test_destroy_needs_no_memory(bench: Bench) -> None:
    """Neither the state folder nor the YAML's networks are there any more."""
    lab, gateway = bench
    furnish(lab.gw)
    before = snapshot(lab.gw)
    gateway.apply(INTENT)
    assert any(marked for _what, marked in leftovers(lab.gw)), (
        "nothing bears our marks: the test could not fail"
    )
    lab.gw.run("rm", "-rf", str(gateway.state)).checked()
    gateway.networks = {}
    gateway.write()
    gateway.warpctl("destroy", "--yes").checked()
    faults = TALLY.forbidden("leftovers, state lost", leftovers(lab.gw))
    faults += TALLY.forbidden("foreign: differs, state lost", differences(before, snapshot(lab.gw)))
    assert not faults, "\n".join(faults)


def test_the_hosts_own_way_out_keeps_working(bench: Bench) -> None:
    """The host does not become a router for others by our doing, and its own traffic is as
    before.
    """
    lab, gateway = bench
    gateway.apply(INTENT)
    own = [(a, lab.gw.udp(a, 7777, new_ident())) for a in (INTERNET4, INTERNET6)]
    own += [(a, lab.world.udp(a, 7777, new_ident())) for a in (UPLINK4, UPLINK6)]
    own += [(f"tcp {a}", lab.world.tcp(a, 7777, new_ident())) for a in (UPLINK4, UPLINK6)]
    lost = TALLY.allowed("the host's own traffic", own)
    # A neighbour of the provider tries to use it as a router into the LAN behind it.
    lab.isp.ip(
        "route replace 10.44.0.9/32 via 203.0.113.1",
        "route replace fd00:44::9/128 via 2001:db8:113::1",
    )
    idents = {new_ident(): a for a in ("10.44.0.9", "fd00:44::9")}
    for ident, address in idents.items():
        lab.clients[0].udp(address, 7777, ident, 0.3)
    arrivals = lab.arrivals([lab.world])
    faults = [(address, ident in arrivals) for ident, address in idents.items()]
    assert not lost + TALLY.forbidden("the host as a router for others", faults)
