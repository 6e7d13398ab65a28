"""Every attribute of every object of ours, changed by hand one at a time: `plan` names it, `apply`
repairs it.

Deleted, added and changed: links, addresses, routes, rules, VLANs, peers, keys, nft rules, sets,
elements, settings, marks. What is modified follows from what is wanted, kind by kind, so that a new
kind without modifications fails here.
Printed: attributes tried / found / repaired.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests import world
from tests.live.conftest import sh
from tests.live.daemon import Daemon
from warpd.kernel.kinds.address import Address
from warpd.kernel.kinds.bridge_port import BridgePort
from warpd.kernel.kinds.ethernet import Bridge, Gretap, Vxlan
from warpd.kernel.kinds.link import LinkUp, Veth, WireguardLink
from warpd.kernel.kinds.netns import Netns
from warpd.kernel.kinds.nft_table import (
    IngressFilter,
    NetworkSubtable,
    NftElements,
    NftTable,
    role_of,
)
from warpd.kernel.kinds.route import Route
from warpd.kernel.kinds.rule import Rule
from warpd.kernel.kinds.sysctl import Sysctl
from warpd.kernel.kinds.tc_filter import Filters, TcIngress
from warpd.kernel.kinds.vrf import Vrf
from warpd.kernel.kinds.wireguard import WireguardDevice, WireguardPeer
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.kernel.state import ROOT
from warpd.reconcile.engine import Target, converge
from warpd.reconcile.incremental import planned_run
from warpd.service.workspace import Workspace, live_kernel

KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE="
TWO = {
    "a": world.network(3, allow_private=["10.9.0.0/16"], dns=["10.8.8.8", "fd00:8::8"]),
    "b": world.network(2, nat=False, nat6=False, subnet="10.44.0.0/29", peer_communication=True),
}
GATEWAY = {"pools": {"ports": "51820-51899"}}
WORLDS = {
    "secure-internet": TWO,
    "types": {
        name: body for name, body in world.every_type("namespace").items() if name != "n_web"
    },
    "types in VRFs": world.every_type("vrf"),
}
Modification = tuple[str, str]
VCID = re.compile(r"\d{8}")


# What the kernel has no event for.
SILENT = re.compile(
    r"AllowedIPs|preshared key|keepalive|remove |add peer|device (key|port|mark)|setting "
)
KEYS = re.compile(r"\d{8}|[\w+/]{43}=")

# All of them take minutes; every change is tried against one in so many, another one each time that
# something is added.
SAMPLED = 14


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("secure-internet", 6),
        ("types", SAMPLED),
        ("types in VRFs", SAMPLED),
        pytest.param("secure-internet", 1, marks=pytest.mark.long),
        pytest.param("types", 1, marks=pytest.mark.long),
        pytest.param("types in VRFs", 1, marks=pytest.mark.long),
    ],
)
def test_every_attribute(
    gateway: LiveKernel, name: str, step: int, capsys: pytest.CaptureFixture[str]
) -> None:
    target = world.target(world.intent(GATEWAY, **WORLDS[name]))
    bring_up(gateway, target)
    tried, missed, unrepaired = 0, [], []
    for what, command in itertools.islice(modifications(gateway, target), 0, None, step):
        sh(command)
        tried += 1
        found = planned_run(gateway, target)
        if found.plan.empty:
            missed.append(what)
            continue
        outcome = converge(gateway, lambda: planned_run(gateway, target), found)
        left = planned_run(gateway, target).plan
        if not outcome.complete or not left.empty:
            unrepaired.append(
                (what, [str(f) for _, f in outcome.failed], [str(s.key) for s in left.steps])
            )
            bring_up(gateway, target)
    with capsys.disabled():
        good = tried - len(missed)
        print(
            f"\n  {name}: attributes tried {tried}, found {good}, repaired {good - len(unrepaired)}"
        )
    assert not missed
    assert not unrepaired
    assert tried > 300 / step


def bring_up(kernel: LiveKernel, target: Target) -> None:
    outcome = converge(kernel, lambda: planned_run(kernel, target), planned_run(kernel, target))
    assert outcome.complete, (outcome.failed, outcome.unverified)


def modifications(kernel: LiveKernel, target: Target) -> Iterator[Modification]:
    return itertools.chain.from_iterable(
        by_object(list(planned_run(kernel, target).compiled.state))
    )


def by_object(state: Iterable[Any]) -> Iterator[list[Modification]]:
    seen: set[str] = set()
    for item in state:
        made = list(BY_KIND[type(item)](item))
        alike = [
            VCID.sub("N", what) for what, _ in made
        ]  # the same rule of another network is not another attribute
        yield [one for one, name in zip(made, alike, strict=True) if name not in seen]
        seen.update(alike)
    yield [("add route", "ip route add 192.0.2.0/24 dev eth0 proto 119")]
    yield [("add rule", "ip rule add fwmark 0x7 lookup 77 pref 970 protocol 119")]
    yield [("add rule 6", "ip -6 rule add fwmark 0x7 lookup 77 pref 970 protocol 119")]


@pytest.mark.parametrize(
    ("name", "step"),
    [("types", 60), *(pytest.param(name, 1, marks=pytest.mark.long) for name in WORLDS)],
)
def test_every_attribute_with_the_daemon(
    gateway: LiveKernel, tmp_path: Path, name: str, step: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next periodic resync is far away: it is the kernel that tells, or, where it does not,
    a SIGHUP plays the clock.
    """
    gateway.close()
    networks = {each.replace("_", "-"): body for each, body in WORLDS[name].items()}
    daemon = Daemon(tmp_path, {"version": 1, "gateway": GATEWAY, "networks": networks}, 600)
    with daemon:
        workspace = Workspace(daemon.config, daemon.state)
        target = workspace.target(workspace.read(), create=False)
        with (
            live_kernel() as kernel
        ):  # for the moment: a descriptor of a namespace keeps it, and its ports, from going
            objects = list(by_object(planned_run(kernel, target).compiled.state))
    told, untold, missed = list[tuple[float, str]](), list[str](), list[str]()
    for life in lives(objects, step):
        with daemon:
            for what, command in life:
                daemon.idle()
                seen = daemon.log_file.stat().st_size
                took_s = repaired_s(daemon, command)
                if took_s is None:
                    untold.append(what)
                    os.kill(daemon.pid, signal.SIGHUP)
                else:
                    told.append((took_s, what))
                if not until_in_sync(target):
                    missed.append(f"{what}\n{daemon.log_file.read_text()[seen:]}")
                    break  # the next one may need what is broken now
    # What the kernel says nothing of may be found by chance, by a look for something else: that
    # says nothing of the daemon.
    timed = sorted(item for item in told if not SILENT.search(item[1]))
    tried = len(told) + len(untold)
    with capsys.disabled():
        print(
            f"\n  {name}, daemon running: tried {tried}, repaired {tried - len(missed)}; told by"
            f" the kernel {len(told)}:",
            end="",
        )
        p50, p95, p99 = (timed[len(timed) * share // 100][0] * 1000 for share in (50, 95, 99))
        slowest = ", ".join(
            f"{took_s * 1000:.0f} {KEYS.sub('', what)[:40]}" for took_s, what in timed[:-6:-1]
        )
        print(
            f" milliseconds without the look p50 {p50:.0f}, p95 {p95:.0f}, p99 {p99:.0f}; slowest"
            f" {slowest};",
            end="",
        )
        print(
            f" at the next look {len(untold)}:"
            f" {sorted({KEYS.sub('', what)[:40] for what in untold})}"
        )
    assert not missed, "\n".join(missed)
    assert not [what for what in untold if not SILENT.search(what)]


SURPLUS = {
    "a route beside ours": "ip -n {room} route append default dev lo proto 119",
    "a route beside ours 6": (
        "ip -n {room} -6 route append 2001:db8:99::/64 dev lo proto 119 metric 7"
    ),
    "the same 6 by another way": (
        "ip -n {room} -6 route append 2001:db8:99::/64 dev {wg} proto 119 metric 7"
    ),
    "a rule beside ours, another table": "ip -n {room} rule add pref 32765 lookup 77 protocol 119",
    "another source": "ip -n {room} rule add from 10.1.2.0/24 pref 32765 lookup main protocol 119",
    "the other way round": "ip -n {room} rule add not fwmark 7 pref 32765 lookup main protocol 119",
    "that forbids": "ip -n {room} rule add pref 32765 prohibit protocol 119",
    "an address with a peer": "ip -n {room} addr add {gateway} peer 10.9.8.7/32 dev {wg}",
}


def test_what_stands_beside_ours_goes_and_ours_stays(gateway: LiveKernel) -> None:
    """Two things under one key of ours; which of them a short request would take away is the
    kernel's choice.
    """
    target = world.target(world.intent(GATEWAY, **TWO))
    bring_up(gateway, target)
    allocation = target.allocations.networks["a"]
    names = {
        "room": f"warp-{allocation.vcid}",
        "wg": f"wg-{allocation.vcid}",
        "gateway": allocation.gateway_address,
    }
    before = sh(
        f"ip -n {names['room']} -o route; ip -n {names['room']} rule; ip -n {names['room']} -o -4"
        " addr"
    )
    for what, command in SURPLUS.items():
        sh(command.format(**names))
        found = planned_run(gateway, target)
        assert not found.plan.empty, what
        outcome = converge(gateway, lambda: planned_run(gateway, target), found)
        assert outcome.complete and planned_run(gateway, target).plan.empty, what
        assert before == sh(
            f"ip -n {names['room']} -o route; ip -n {names['room']} rule; ip -n {names['room']} -o"
            " -4 addr"
        ), what
    for command in SURPLUS.values():
        sh(command.format(**names))
    bring_up(gateway, target)


def lives(objects: Iterable[list[Modification]], step: int) -> Iterator[list[Modification]]:
    """One in `step` of all modifications, one of each object in a life of the daemon: five repairs
    within a minute, those in passing among them, are contested, and repaired more slowly.
    """
    rounds = itertools.zip_longest(*objects)
    while batch := list(itertools.islice(rounds, step)):
        every = [one for each in batch for one in each if one is not None]
        if every[::step]:
            yield every[::step]


def repaired_s(daemon: Daemon, command: str) -> float | None:
    """From the end of the command to the last step, without the look; None when nothing has
    happened for a while.
    """
    seen = daemon.log_file.stat().st_size
    # Of two commands in a row the second may come too late: what the first took away is back
    # already.
    ended = float(sh(f"{{ {command}; }} || true; date +%s.%N").split()[-1])
    try:
        done = daemon.repair(seen, command, 3)
    except AssertionError:
        return None
    last_step = max(
        datetime.fromisoformat(line["timestamp"]).timestamp() for line in done if "step" in line
    )
    return max(0.0, last_step - ended - float(done[-1]["look_seconds"]))


def until_in_sync(target: Target) -> bool:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        with live_kernel() as kernel:
            if planned_run(kernel, target).plan.empty:
                return True
    return False


def inside(netns: str) -> str:
    return f"-n {netns}" if netns else ""


def entering(netns: str) -> str:
    return f"ip netns exec {netns} " if netns else ""


def nothing(_item: Any) -> Iterator[Modification]:
    """Covered where the object that it is a part of is: elements with their set, a device that is
    up with the device.
    """
    return iter(())


def setting(item: Sysctl) -> Iterator[Modification]:
    # an uplink told to believe no router at all is the operator's choice, and ours to leave
    wrong = "0" if item.value == "1" else "1"
    yield (
        f"setting {item.path}",
        f"{entering(item.netns)}sh -c 'echo {wrong} >/proc/sys/{item.path}'",
    )


def device(netns: str, name: str, vcid: str) -> Iterator[Modification]:
    where = inside(netns)
    yield f"mtu {name}", f"ip {where} link set {name} mtu 1290"
    yield f"alias {name}", f"ip {where} link set {name} alias warpd:{vcid}:somebody"
    yield f"down {name}", f"ip {where} link set {name} down"
    yield f"delete {name}", f"ip {where} link del {name}"


def vcid_of(alias: str) -> str:
    return alias.split(":")[1]


def veth(item: Veth) -> Iterator[Modification]:
    yield from device(ROOT, item.name, vcid_of(item.alias))
    yield from device(item.peer_netns, item.peer_name, vcid_of(item.alias))
    yield "no alias up", f"ip -n {item.peer_netns} link set {item.peer_name} alias ''"


def wireguard_link(item: WireguardLink) -> Iterator[Modification]:
    where, name = inside(item.netns), item.name
    yield from device(item.netns, name, vcid_of(item.alias))
    if item.netns:
        yield (
            f"another kind {name}",
            f"ip {where} link del {name}; ip {where} link add {name} type dummy",
        )
        yield (
            f"renamed {name}",
            f"ip {where} link set {name} down; ip {where} link set {name} name wgx",
        )
    if item.master:
        yield f"released {name}", f"ip link set {name} nomaster"


def vrf(item: Vrf) -> Iterator[Modification]:
    yield from device(item.netns, item.name, vcid_of(item.alias))
    again = (
        f"ip link del {item.name}; ip link add {item.name} type vrf table 4242; ip link set"
        f" {item.name} alias {item.alias}"
    )
    yield f"another table {item.name}", again


def bridge(item: Bridge) -> Iterator[Modification]:
    where, name = inside(item.netns), item.name
    yield from device(item.netns, name, vcid_of(item.alias))
    other = "802.1Q" if item.protocol == 0x88A8 else "802.1ad"
    changes = (
        "vlan_filtering 0",
        "mcast_snooping 1",
        "stp_state 1",
        "vlan_default_pvid 7",
        f"vlan_protocol {other}",
    )
    for change in changes:
        yield f"{change} {name}", f"ip {where} link set {name} type bridge {change}"


def gretap(item: Gretap) -> Iterator[Modification]:
    yield from leg(item)
    where, name = inside(item.netns), item.name
    base = (
        f"ip {where} link del {name}; ip {where} link add {name} mtu 1500 type gretap local"
        f" {item.local} dev {item.underlay}"
    )
    mark = f"ip {where} link set {name} alias {item.alias}"
    yield f"another remote {name}", f"{base} remote 192.0.2.9 nopmtudisc ignore-df; {mark}"
    yield f"pmtudisc {name}", f"{base} remote {item.remote} pmtudisc; {mark}"


def vxlan(item: Vxlan) -> Iterator[Modification]:
    yield from leg(item)
    where, name = inside(item.netns), item.name
    base = (
        f"ip {where} link del {name}; ip {where} link add {name} mtu 1500 type vxlan local"
        f" {item.local} dev {item.underlay}"
    )
    mark = f"ip {where} link set {name} alias {item.alias}"
    yield (
        f"another VNI {name}",
        f"{base} remote {item.remote} id 77 dstport 4789 nolearning; {mark}",
    )
    yield (
        f"another remote {name}",
        f"{base} remote 192.0.2.9 id {item.vni} dstport 4789 nolearning; {mark}",
    )
    yield (
        f"another port {name}",
        f"{base} remote {item.remote} id {item.vni} dstport 4790 nolearning; {mark}",
    )
    yield (
        f"learning {name}",
        f"{base} remote {item.remote} id {item.vni} dstport 4789 learning; {mark}",
    )


def leg(item: Gretap | Vxlan) -> Iterator[Modification]:
    yield from device(item.netns, item.name, vcid_of(item.alias))
    yield f"released {item.name}", f"ip {inside(item.netns)} link set {item.name} nomaster"


def port(item: BridgePort) -> Iterator[Modification]:
    run, dev = f"{entering(item.netns)}bridge", item.device
    yield (
        f"add VLAN {dev}",
        (
            f"{run} vlan add vid 777 dev {dev}"
            if item.tagged != ((2, 4094),)
            else "true; " + f"{run} vlan del vid 777 dev {dev}"
        ),
    )
    yield f"another PVID {dev}", f"{run} vlan add vid 778 dev {dev} pvid untagged"
    if item.tagged:
        yield f"delete VLAN {dev}", f"{run} vlan del vid {item.tagged[0][1]} dev {dev}"
    if item.untagged:
        yield f"delete PVID {dev}", f"{run} vlan del vid {item.untagged} dev {dev}"
    yield f"learning {dev}", f"{run} link set dev {dev} learning {'off' if item.learning else 'on'}"


def gate(item: IngressFilter) -> Iterator[Modification]:
    run, name = f"{entering(item.netns)}nft", f"gate-{item.device}"
    yield f"flush {name}", f"{run} flush chain inet warpd {name}"
    yield f"first rule of {name}", f"{run} insert rule inet warpd {name} accept"
    yield (
        f"delete {name}",
        f"{run} flush chain inet warpd {name}; {run} delete chain inet warpd {name}",
    )


def ingress(item: TcIngress) -> Iterator[Modification]:
    run, dev = f"tc {inside(item.netns)}", item.device
    yield f"delete qdisc {dev}", f"{run} qdisc del dev {dev} clsact"
    yield (
        f"another qdisc {dev}",
        f"{run} qdisc del dev {dev} clsact; {run} qdisc add dev {dev} ingress",
    )
    yield (
        f"another block {dev}",
        f"{run} qdisc del dev {dev} clsact; {run} qdisc add dev {dev} ingress_block 9 clsact",
    )
    yield from filters(f"{run} filter", f"dev {dev} ingress", item.filters)


def filters(run: str, where: str, wanted: Filters) -> Iterator[Modification]:
    passes = "action police mtu 9000 conform-exceed drop/pass"
    for each in wanted:
        name = f"filter {each.preference} of {where}"
        gone = f"{run} del {where} pref {each.preference}"
        yield f"delete {name}", gone
        yield (
            f"{name} that passes",
            f"{gone}; {run} add {where} pref {each.preference} protocol all flower {passes}",
        )
    if wanted:
        yield f"first filter of {where}", f"{run} add {where} pref 1 protocol all flower {passes}"
        yield (
            f"first filter of {where}, another kind",
            f"{run} add {where} pref 1 protocol all matchall {passes}",
        )
        yield f"flush filters of {where}", f"{run} del {where}"


def address(item: Address) -> Iterator[Modification]:
    where, text, name = inside(item.netns), item.address, item.device
    flags = "nodad" if ":" in text else ""
    yield f"delete address {text}", f"ip {where} addr del {text} dev {name}"
    again = f"ip {where} addr del {text} dev {name}; ip {where} addr add {text} dev {name} {flags}"
    yield f"address {text} with a connected route", again
    extra = "2001:db8:77::1/128" if ":" in text else "192.0.2.77/32"
    yield f"add address {name}", f"ip {where} addr add {extra} dev {name} {flags}"


def route(item: Route) -> Iterator[Modification]:
    where = f"{inside(item.netns)} {'-6' if ':' in item.prefix else '-4'}"
    which = f"{item.prefix} table {item.table}" + (f" metric {item.metric}" if item.metric else "")
    kind = "" if item.device else "unreachable "
    yield f"delete route {which} {where}", f"ip {where} route del {kind}{which} proto 119"
    yield f"route {which} elsewhere {where}", f"ip {where} route replace {which} dev lo proto 119"
    extra = (
        f"ip {where} route add {item.prefix} table {item.table} dev {item.device or 'lo'} proto 119"
        " metric 77"
    )
    yield f"add route {which} {where}", extra


def routing_rule(item: Rule) -> Iterator[Modification]:
    run = f"{entering(item.netns)}ip -{item.version} rule"
    place = f"pref {item.priority} protocol 119"
    what = f"{selector(item)} {decision(item)}".strip()
    yield f"delete rule {what} {place}", f"{run} del {what} {place}"
    yield f"rule {what} {place} twice", f"{run} add {what} {place} tos 0x10"
    if item.table:
        elsewhere = what.replace(f"lookup {item.table}", "lookup 77")
        yield (
            f"rule {what} {place} to another table",
            f"{run} del {what} {place}; {run} add {elsewhere} {place}",
        )
    if item.goto:
        yield (
            f"rule {what} {place} to main",
            f"{run} del {what} {place}; {run} add {selector(item)} lookup main {place}",
        )
        yield (
            f"rule {what} {place} to nowhere",
            f"{run} del {what} {place}; {run} add {selector(item)} goto 1002 {place}",
        )
    if item.blackhole:
        passing = selector(
            dataclasses.replace(item, of_vrf=False)
        )  # one that names a table cannot select by VRF
        yield (
            f"rule {what} {place} that passes",
            f"{run} del {what} {place}; {run} add {passing} lookup 254 {place}",
        )
    if item.netns:
        yield f"rules flushed in {item.netns}", f"{run} flush"


def selector(item: Rule) -> str:
    words = [f"to {item.to}"] if item.to else []
    words += [f"iif {item.link}"] if item.link else []
    if item.mark or item.mask:
        words.append(f"fwmark {item.mark:#x}" + (f"/{item.mask:#x}" if item.mask else ""))
    words += ["l3mdev"] if item.of_vrf else []
    return " ".join(words)


def decision(item: Rule) -> str:
    if item.blackhole:
        return "blackhole"
    if item.goto:
        return f"goto {item.goto}"
    if item.nop:
        return "nop"
    longer = f" suppress_prefixlength {item.suppress}" if item.suppress >= 0 else ""
    return f"lookup {item.table}{longer}" if item.table else "l3mdev"


def wireguard(item: WireguardDevice) -> Iterator[Modification]:
    run = f"{entering(item.netns)}wg set {item.device}"
    yield "device key", f"{run} private-key <(wg genkey)"
    yield "device port", f"{run} listen-port 40000"
    yield "device mark", f"{run} fwmark 0x77"
    yield "add peer", f"{run} peer {KEY} allowed-ips 192.0.2.9/32"


def peer(item: WireguardPeer) -> Iterator[Modification]:
    run, public = f"{entering(item.netns)}wg set {item.device}", item.public_key
    one, ips = f"{run} peer {public}", ",".join(item.allowed_ips)
    yield f"remove {public}", f"{one} remove"
    yield f"preshared key {public}", f"{one} preshared-key <(wg genpsk)"
    yield f"no preshared key {public}", f"{one} preshared-key /dev/null"
    yield f"keepalive {public}", f"{one} persistent-keepalive 7"
    yield f"more AllowedIPs {public}", f"{one} allowed-ips {ips},192.0.2.0/24"
    yield f"fewer AllowedIPs {public}", f"{one} allowed-ips {item.allowed_ips[0]}"
    yield f"no AllowedIPs {public}", f"{one} allowed-ips ''"
    yield f"stolen AllowedIPs {public}", f"{run} peer {KEY} allowed-ips {ips}"


def namespace(item: Netns) -> Iterator[Modification]:
    yield "delete namespace", f"ip netns del {item.name}"
    yield "bare namespace file", f"ip netns del {item.name}; touch /run/netns/{item.name}"


def table(item: NftTable) -> Iterator[Modification]:
    run = f"{entering(item.netns)}nft"
    yield from part(item)
    yield (
        "add chain",
        f"{run} add chain inet warpd hole '{{ type filter hook forward priority -9; }}'",
    )
    yield "add set", f"{run} add set inet warpd extra '{{ type ipv4_addr; }}'"
    yield "add map", f"{run} add map inet warpd extramap '{{ type ipv4_addr : verdict; }}'"
    yield "add counter", f"{run} add counter inet warpd extracounter"
    yield "delete table", f"{run} delete table inet warpd"
    yield "a sleeping table", f"{run} add table inet warpd '{{ flags dormant; }}'"
    yield "flush ruleset", f"{run} flush ruleset"


def part(item: NftTable | NetworkSubtable) -> Iterator[Modification]:
    """Sets, chains and rules of a table, or of one network's part of it."""
    run = f"{entering(item.netns)}nft"
    listed = json.loads(sh(f"{run} -j -a list table inet warpd"))["nftables"]
    for chain in item.chains:
        comments = [
            e["rule"]["comment"] for e in listed if "rule" in e and e["rule"]["chain"] == chain.name
        ]
        yield from rules(run, chain.name, comments)
        if chain.policy == "drop":
            yield (
                f"policy of {chain.name}",
                f"{run} 'chain inet warpd {chain.name} {{ policy accept; }}'",
            )
    names = {one.name for one in item.sets if not one.map}
    for each in (
        entry["set"] for entry in listed if "set" in entry and entry["set"]["name"] in names
    ):
        yield from _set(run, each)
    for name, link, chain_name in getattr(item, "entries", ()):
        yield f"delete {link} from {name}", f"{run} delete element inet warpd {name} '{{ {link} }}'"
        gone = f"{run} delete element inet warpd {name} '{{ {link} }}'"
        other = f"{gone}; {run} add element inet warpd {name} '{{ {link} : accept }}'"
        yield f"{link} of {name} elsewhere than {chain_name}", other


def rules(run: str, chain: str, comments: list[str]) -> Iterator[Modification]:
    for position, comment in enumerate(
        comments
    ):  # a repaired chain has new handles: look it up by position
        numbers = (
            f'{run} -j -a list chain inet warpd {chain} | grep -o \'"rule": {{[^}}]*"handle":'
            " [0-9]*'"
        )
        script = f"h=$({numbers} | grep -o '[0-9]*$' | sed -n {position + 1}p); "
        yield (
            f"delete rule {position} ({comment}) of {chain}",
            script + f"{run} delete rule inet warpd {chain} handle $h",
        )
    yield f"first rule of {chain}", f"{run} insert rule inet warpd {chain} accept"
    yield f"last rule of {chain}", f"{run} add rule inet warpd {chain} counter"
    if comments:
        yield f"flush {chain}", f"{run} flush chain inet warpd {chain}"


def _set(run: str, each: Mapping[str, Any]) -> Iterator[Modification]:
    samples = {
        "ipv4_addr": "198.18.99.200",
        "ipv6_addr": "2001:db8:200::1",
        "ifname": "eth0",
        "classid": "7:7",
    }
    name, elements = str(each["name"]), each.get("elem", [])
    if role_of(name) == "learned":
        return  # rules fill it: its elements are nobody's intent
    kinds = [each["type"]] if isinstance(each["type"], str) else each["type"]
    sample = " . ".join(samples[kind] for kind in kinds)
    if "0.0.0.0/0" not in map(text_of, elements):
        yield (
            f"add to {name}",
            (
                f"{run} add element inet warpd {name} '{{ {sample} }}'"
                if not holds(elements)
                else "true; "
                + f"{run} delete element inet warpd {name} '{{ {text_of(elements[0])} }}'"
            ),
        )
    for element in elements:
        yield (
            f"delete {text_of(element)} from {name}",
            f"{run} delete element inet warpd {name} '{{ {text_of(element)} }}'",
        )
    if elements:
        yield f"flush {name}", f"{run} flush set inet warpd {name}"


def holds(elements: list[Any]) -> bool:
    """Whether the sample would overlap what is there: an interval set refuses it."""
    return any(text_of(element).startswith("198.18.") for element in elements)


def text_of(element: Any) -> str:
    if isinstance(element, dict) and "concat" in element:
        return " . ".join(number_of(part) or text_of(part) for part in element["concat"])
    return (
        f"{element['prefix']['addr']}/{element['prefix']['len']}"
        if isinstance(element, dict)
        else str(element)
    )


def number_of(part: Any) -> str:
    """A traffic class as a range of one: by itself nftables 1.0.6 does not find it to be
    deleted.
    """
    return (
        f"{part}-{part}"
        if isinstance(part, str) and re.fullmatch(r"[0-9a-f]+:[0-9a-f]+", part)
        else ""
    )


BY_KIND: Mapping[type, Callable[[Any], Iterator[Modification]]] = {
    Sysctl: setting,
    Veth: veth,
    WireguardLink: wireguard_link,
    Vrf: vrf,
    Bridge: bridge,
    Gretap: gretap,
    Vxlan: vxlan,
    BridgePort: port,
    IngressFilter: gate,
    TcIngress: ingress,
    Address: address,
    Route: route,
    Rule: routing_rule,
    WireguardDevice: wireguard,
    WireguardPeer: peer,
    Netns: namespace,
    NftTable: table,
    NetworkSubtable: part,
    NftElements: nothing,
    LinkUp: nothing,
}
