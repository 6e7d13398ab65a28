"""Every attribute of every object of ours, changed by hand one at a time: `plan` names it, `apply` repairs it.

Deleted, added and changed: links, addresses, routes, peers, keys, rules, sets, elements, settings, marks.
Printed: attributes tried / found / repaired.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests import world
from tests.live.conftest import sh
from warpd.kernel.live import LiveKernel
from warpd.objects.sysctl import Sysctl
from warpd.reconcile import Goal, converge, prospect

KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE="


def test_every_attribute(gateway: LiveKernel, capsys: pytest.CaptureFixture[str]) -> None:
    goal = world.goal(
        world.intent(
            a=world.network(3, allow_private=["10.9.0.0/16"], dns=["10.8.8.8", "fd00:8::8"]),
            b=world.network(2, nat=False, nat6=False, subnet="10.44.0.0/29", peer_communication=True),
        )
    )
    bring_up(gateway, goal)
    tried, missed, unrepaired = 0, [], []
    for name, command in modifications(gateway, goal):
        sh(command)
        tried += 1
        found = prospect(gateway, goal)
        if found.plan.empty:
            missed.append(name)
            continue
        outcome = converge(gateway, lambda: prospect(gateway, goal), found)
        left = prospect(gateway, goal).plan
        if not outcome.complete or not left.empty:
            unrepaired.append((name, [str(f) for _, f in outcome.failed], [str(s.key) for s in left.steps]))
            bring_up(gateway, goal)
    with capsys.disabled():
        good = tried - len(missed)
        print(f"\n  attributes tried {tried}, found {good}, repaired {good - len(unrepaired)}")
    assert not missed
    assert not unrepaired
    assert tried > 150


def bring_up(kernel: LiveKernel, goal: Goal) -> None:
    outcome = converge(kernel, lambda: prospect(kernel, goal), prospect(kernel, goal))
    assert outcome.complete, (outcome.failed, outcome.unverified)


def modifications(kernel: LiveKernel, goal: Goal) -> Iterator[tuple[str, str]]:
    vcids = {name: grant.vcid for name, grant in goal.grants.networks.items()}
    yield from settings(kernel, goal)
    for vcid in vcids.values():
        yield from links(vcid)
        yield from addresses(vcid)
        yield from routes(vcid)
        yield from peers(vcid)
        yield from tables(f"warp-{vcid}")
        yield from wholes(vcid)
    yield from tables("")


def settings(kernel: LiveKernel, goal: Goal) -> Iterator[tuple[str, str]]:
    for item in prospect(kernel, goal).compiled.state:
        if isinstance(item, Sysctl):
            # an uplink told to believe no router at all is the operator's choice, and ours to leave
            wrong = "0" if item.value == "1" else "1"
            where = f"nsenter --net=/run/netns/{item.netns} " if item.netns else ""
            yield f"setting {item.path}", f"{where}sh -c 'echo {wrong} >/proc/sys/{item.path}'"


def links(vcid: int) -> Iterator[tuple[str, str]]:
    ends = [("", f"dn-{vcid}"), (f"-n warp-{vcid}", f"up-{vcid}"), (f"-n warp-{vcid}", f"wg-{vcid}")]
    for where, name in ends:
        yield f"mtu {name}", f"ip {where} link set {name} mtu 1290"
        yield f"alias {name}", f"ip {where} link set {name} alias warpd:{vcid}:somebody"
        yield f"down {name}", f"ip {where} link set {name} down"
        yield f"delete {name}", f"ip {where} link del {name}"
    yield "no alias up", f"ip -n warp-{vcid} link set up-{vcid} alias ''"
    yield "lo down", f"ip -n warp-{vcid} link set lo down"
    yield "another kind", f"ip -n warp-{vcid} link del wg-{vcid}; ip -n warp-{vcid} link add wg-{vcid} type dummy"
    yield "renamed", f"ip -n warp-{vcid} link set wg-{vcid} down; ip -n warp-{vcid} link set wg-{vcid} name wgx"


def addresses(vcid: int) -> Iterator[tuple[str, str]]:
    for where, name in (("", f"dn-{vcid}"), (f"-n warp-{vcid}", f"up-{vcid}"), (f"-n warp-{vcid}", f"wg-{vcid}")):
        for row in json.loads(sh(f"ip {where} -j addr show dev {name}"))[0]["addr_info"]:
            if row["scope"] == "link":
                continue
            text = f"{row['local']}/{row['prefixlen']}"
            flags = "nodad" if row["family"] == "inet6" else ""
            yield f"delete address {text}", f"ip {where} addr del {text} dev {name}"
            again = f"ip {where} addr del {text} dev {name}; ip {where} addr add {text} dev {name} {flags}"
            yield f"address {text} with a connected route", again
        yield f"add address {name}", f"ip {where} addr add 192.0.2.77/32 dev {name}"
        yield f"add address6 {name}", f"ip {where} addr add 2001:db8:77::1/128 dev {name} nodad"


def routes(vcid: int) -> Iterator[tuple[str, str]]:
    for where in ("", f"-n warp-{vcid}"):
        for family in ("-4", "-6"):
            for row in json.loads(sh(f"ip {where} {family} -j route show proto 119")):
                dst, dev = row["dst"], row["dev"]
                metric = f"metric {row['metric']}" if "metric" in row else ""
                yield f"delete route {dst} {where}", f"ip {where} {family} route del {dst} {metric} proto 119"
                yield (
                    f"route {dst} elsewhere {where}",
                    f"ip {where} {family} route replace {dst} {metric} dev lo proto 119",
                )
                extra = f"ip {where} {family} route add {dst} dev {dev} proto 119 metric 77"
                yield f"add route {dst} {where}", extra
    yield "add route", f"ip -n warp-{vcid} route add 192.0.2.0/24 dev up-{vcid} proto 119"


def peers(vcid: int) -> Iterator[tuple[str, str]]:
    run, device = f"ip netns exec warp-{vcid} wg set", f"wg-{vcid}"
    rows = [row.split("\t") for row in sh(f"ip netns exec warp-{vcid} wg show {device} dump").splitlines()]
    yield "device key", f"{run} {device} private-key <(wg genkey)"
    yield "device port", f"{run} {device} listen-port 40000"
    yield "device mark", f"{run} {device} fwmark 0x77"
    yield "add peer", f"{run} {device} peer {KEY} allowed-ips 192.0.2.9/32"
    for row in rows[1:]:
        public, ips = row[0], row[3]
        peer = f"{run} {device} peer {public}"
        yield f"remove {public}", f"{peer} remove"
        yield f"preshared key {public}", f"{peer} preshared-key <(wg genpsk)"
        yield f"no preshared key {public}", f"{peer} preshared-key /dev/null"
        yield f"keepalive {public}", f"{peer} persistent-keepalive 7"
        yield f"more AllowedIPs {public}", f"{peer} allowed-ips {ips},192.0.2.0/24"
        yield f"fewer AllowedIPs {public}", f"{peer} allowed-ips {ips.split(',')[0]}"
        yield f"no AllowedIPs {public}", f"{peer} allowed-ips ''"
        yield f"stolen AllowedIPs {public}", f"{run} {device} peer {KEY} allowed-ips {ips}"


def tables(netns: str) -> Iterator[tuple[str, str]]:
    run = f"ip netns exec {netns} nft" if netns else "nft"
    listed = json.loads(sh(f"{run} -j -a list table inet warpd"))["nftables"]
    chains = [entry["chain"] for entry in listed if "chain" in entry]
    sets = [entry["set"] for entry in listed if "set" in entry]
    for chain in [c["name"] for c in chains]:
        handles = [e["rule"]["handle"] for e in listed if "rule" in e and e["rule"]["chain"] == chain]
        for position in range(len(handles)):  # a repaired chain has new handles: look it up by position
            numbers = f'{run} -j -a list chain inet warpd {chain} | grep -o \'"rule": {{[^}}]*"handle": [0-9]*\''
            script = f"h=$({numbers} | grep -o '[0-9]*$' | sed -n {position + 1}p); "
            yield f"delete rule {position} of {chain}", script + f"{run} delete rule inet warpd {chain} handle $h"
        yield f"first rule of {chain}", f"{run} insert rule inet warpd {chain} accept"
        yield f"last rule of {chain}", f"{run} add rule inet warpd {chain} counter"
        if handles:
            yield f"flush {chain}", f"{run} flush chain inet warpd {chain}"
    for chain in chains:
        if chain.get("policy") == "drop":
            yield f"policy of {chain['name']}", f"{run} 'chain inet warpd {chain['name']} {{ policy accept; }}'"
    for each in sets:
        yield from _set(run, each)
    yield "add chain", f"{run} add chain inet warpd hole '{{ type filter hook forward priority -9; }}'"
    yield "add set", f"{run} add set inet warpd extra '{{ type ipv4_addr; }}'"
    yield "add map", f"{run} add map inet warpd extramap '{{ type ipv4_addr : verdict; }}'"
    yield "add counter", f"{run} add counter inet warpd extracounter"
    yield "delete table", f"{run} delete table inet warpd"
    yield "a sleeping table", f"{run} add table inet warpd '{{ flags dormant; }}'"
    yield "flush ruleset", f"{run} flush ruleset"


def _set(run: str, each: dict[str, object]) -> Iterator[tuple[str, str]]:
    samples = {"ipv4_addr": "192.0.2.200", "ipv6_addr": "2001:db8:200::1", "ifname": "eth0"}
    name, kind = str(each["name"]), str(each["type"])
    yield f"add to {name}", f"{run} add element inet warpd {name} '{{ {samples[kind]} }}'"
    elements = each.get("elem", [])
    assert isinstance(elements, list)
    for element in elements:
        text = f"{element['prefix']['addr']}/{element['prefix']['len']}" if isinstance(element, dict) else str(element)
        yield f"delete {text} from {name}", f"{run} delete element inet warpd {name} '{{ {text} }}'"
    yield (
        f"flush {name}",
        f"{run} flush set inet warpd {name}"
        if elements
        else "true; " + (f"{run} add element inet warpd {name} '{{ {samples[kind]} }}'"),
    )


def wholes(vcid: int) -> Iterator[tuple[str, str]]:
    yield "delete namespace", f"ip netns del warp-{vcid}"
    yield "bare namespace file", f"ip netns del warp-{vcid}; touch /run/netns/warp-{vcid}"
    yield "an empty namespace in its place", f"ip netns del warp-{vcid}; ip netns add warp-{vcid}"
