"""200 changes under fire: forbidden probes never stop, and networks that no change is about lose no
packet.

still-n still-v (internet)  sites-n sites-v (two each)   untouched: pings must lose nothing
hub-* l3-* res-*            added, changed, other modes, disabled, removed, again;
                            their clients send into every other network all the while
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .gateway import LINK, Gateway, Tunnel
from .lan import INTERNET4, INTERNET6, LAN_HOST4, LAN_HOST6, UPLINK4, UPLINK6, Host, Lab, until
from .packet import Kind, Packet, new_ident
from .tally import TALLY

CHANGES = int(os.environ.get("WARPD_TEST_CHANGES", "200"))
PORTS = "51820-51899"
KINDS: tuple[Kind, ...] = ("udp", "tcp", "ping")
SITES = {"subnet": "10.78.0.0/28", "subnet6": "fd78:8::/64"}
USERS = {"subnet": "10.77.0.0/28", "subnet6": "fd77:7::/64"}
STILL = ("still-n", "still-v", "sites-n", "sites-v")
MOVING = ("hub-1", "hub-2", "l3-1", "l3-2", "res-1")


@dataclass(frozen=True, slots=True)
class Client:
    network: str
    name: str
    host: Host
    tunnel: Tunnel
    addresses: tuple[str, ...]


def still() -> dict[str, Any]:
    out: dict[str, Any] = {}
    for letter, mode, port in (("n", "namespace", 51820), ("v", "vrf", 51822)):
        phone = {"phone": {"type": "mobile"}}
        out[f"still-{letter}"] = {
            "type": "secure-internet",
            "isolation": mode,
            "port": port,
            "endpoints": phone,
        }
        pair = {"a": end("10.78.0.", "fd78:8::", 2), "b": end("10.78.0.", "fd78:8::", 3)}
        out[f"sites-{letter}"] = {
            "type": "l3vpn-gateway",
            "isolation": mode,
            "port": port + 1,
            **SITES,
            "endpoints": pair,
        }
    return out


def end(base4: str, base6: str, number: int) -> dict[str, Any]:
    return {"type": "mobile", "address": f"{base4}{number}", "address6": f"{base6}{number}"}


def moving() -> dict[str, Any]:
    """Allocations are pinned, so that a client's config outlives the removal of its network."""
    out: dict[str, Any] = {}
    for n, name in enumerate(MOVING):
        kind = name.partition("-")[0]
        about: dict[str, Any] = {
            "isolation": ("namespace", "vrf")[n % 2],
            "port": 51830 + n,
            "vcid": 70000000 + n,
        }
        if kind == "l3":
            about |= {
                "type": "l3vpn-gateway",
                **SITES,
                "endpoints": {"x": end("10.78.0.", "fd78:8::", 4)},
            }
        else:
            about |= {
                "type": "secure-internet",
                **USERS,
                "endpoints": {"x": end("10.77.0.", "fd77:7::", 2 + n)},
            }
        if kind == "res":
            listed = [{"subnet": f"{LAN_HOST4}/32", "protocol": "tcp", "ports": [22]}]
            about |= {"type": "remote-resource-gateway", "resources": listed}
        out[name] = about
    return out


@pytest.fixture
def ready(wireguard: str, tmp_path: Path) -> Iterator[tuple[Lab, Gateway, list[Client]]]:
    """All networks at once, all clients connected."""
    wanted = {**still(), **moving()}
    pairs = [(network, name) for network, about in wanted.items() for name in about["endpoints"]]
    lab = Lab(len(pairs))
    try:
        gateway = Gateway(lab.gw, tmp_path)
        put(gateway, wanted)
        clients = []
        for host, (network, name) in zip(lab.clients, pairs, strict=True):
            config = gateway.config(f"{network}/{name}")
            tunnel = Tunnel(host, config)
            tunnel.up()
            shown = gateway.warpctl("network", "show", network, "-o", "json").checked().out
            assert tunnel.wake(str(json.loads(shown)["gateway_address"])), (
                f"{network}/{name}: no session"
            )
            clients.append(Client(network, name, host, tunnel, config.addresses))
        yield lab, gateway, clients
    finally:
        lab.stop()


def put(gateway: Gateway, networks: dict[str, Any]) -> None:
    gateway.networks = dict(networks)
    gateway.write(pools={"ports": PORTS})
    gateway.warpctl("apply", "--yes").checked()


def forbidden(clients: list[Client]) -> dict[str, list[Packet]]:
    """Who must not reach what, in whatever state its network is: client's host -> packets."""
    out: dict[str, list[Packet]] = {}
    for client in clients:
        if client.network not in MOVING:
            continue
        targets = {
            a for other in clients if other.network != client.network for a in other.addresses
        }
        targets |= {UPLINK4, UPLINK6, LAN_HOST4, LAN_HOST6}
        if not client.network.startswith("hub"):
            targets |= {INTERNET4, INTERNET6}
        for target in sorted(targets - set(client.addresses)):
            own = next(a for a in client.addresses if (":" in a) == (":" in target))
            strange = next(
                a
                for o in clients
                for a in o.addresses
                if a not in client.addresses and (":" in a) == (":" in own)
            )
            packets = [Packet(kind, own, target, 7777, new_ident()) for kind in KINDS]
            packets.append(Packet("udp", strange, target, 7777, new_ident()))
            out.setdefault(client.host.name, []).extend(packets)
    return out


def changes(seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """A walk through the states of the moving networks: what was done, and all of them after it."""
    dice, full = random.Random(seed), moving()
    now = {name: dict(about) for name, about in full.items()}
    while True:
        name = dice.choice(MOVING)
        if name not in now:
            now[name], what = dict(full[name]), "added"
        else:
            what = dice.choice(
                ("changed", "switched", "switched", "disabled or enabled", "removed")
            )
            about = now[name]
            if what == "changed":
                about["mtu"] = dice.choice((1300, 1340, 1380, 1420))
                about["endpoints"] = (
                    {**about["endpoints"], "extra": {"type": "mobile"}}
                    if dice.random() < 0.5
                    else full[name]["endpoints"]
                )
            elif what == "switched":
                about["isolation"] = "vrf" if about["isolation"] == "namespace" else "namespace"
            elif what == "removed":
                del now[name]
            else:
                about["enabled"] = not about.get("enabled", True)
        yield f"{name} {what}", {key: dict(value) for key, value in now.items()}


@pytest.mark.long
def test_two_hundred_changes(ready: tuple[Lab, Gateway, list[Client]]) -> None:
    lab, gateway, clients = ready
    hosts = {client.host.name: client for client in clients}
    flows = [
        (c, target) for c in clients if c.network in STILL for target in targets_of(c, clients)
    ]
    shots = forbidden(clients)
    for client in (c for c in clients if c.network in MOVING):
        peer = client.host.run("wg", "show", LINK, "peers").checked().out.strip()
        client.host.run(
            "wg",
            "set",
            LINK,
            "peer",
            peer,
            "allowed-ips",
            "0.0.0.0/0,::/0",
            "persistent-keepalive",
            "1",
        ).checked()
    for client, target in flows:
        assert client.tunnel.wake(target), f"{client.network}/{client.name} does not reach {target}"
    for client, target in flows:
        client.host.do("flow", dst=target, interval_s=0.05)
    for name, packets in shots.items():
        hosts[name].host.do(
            "barrage", link=LINK, packets=[p.encode().hex() for p in packets], pause_s=0.5
        )
    walk, done = changes(7), []
    for _n in range(CHANGES):
        what, now = next(walk)
        done.append((time.monotonic(), what))
        put(gateway, {**still(), **now})
    fired = {name: hosts[name].host.do("barrage_end") for name in shots}
    ended = [
        (client, target, client.host.do("flow_end", dst=target, wait_s=10))
        for client, target in flows
    ]
    judge(lab, hosts, shots, fired, ended, done)


def targets_of(client: Client, clients: list[Client]) -> tuple[str, ...]:
    if client.network.startswith("still"):
        return INTERNET4, INTERNET6
    return next(
        other.addresses
        for other in clients
        if other.network == client.network and other is not client
    )


def during(done: list[tuple[float, str]], when: float) -> str:
    """Which change was under way, and for how long."""
    began, what = max(
        (item for item in done if item[0] <= when), default=(when, "before the first change")
    )
    return f"{when - began:.2f} s into: {what}"


def judge(
    lab: Lab,
    hosts: dict[str, Client],
    shots: Any,
    fired: Any,
    ended: Any,
    done: list[tuple[float, str]],
) -> None:
    """Count: every packet of a barrage is a probe, every echo request one that had to be
    answered.
    """
    arrivals = lab.arrivals()
    faults = []
    for name, packets in shots.items():
        sent = sum(one["sent"] for one in fired[name])
        assert sent > CHANGES * 20, f"{name} hardly sent"
        results = [
            (f"{p.kind} {p.source} -> {p.target}", arrivals.get(p.ident, [])) for p in packets
        ]
        leaked = [
            (f"{hosts[name].network} {text} at {where[:3]}", True)
            for text, where in results
            for _one in where
        ]
        faults += TALLY.forbidden(
            "200 changes: forbidden pairs", [*leaked, *[("", False)] * (sent - len(leaked))]
        )
    for client, target, count in ended:
        text = f"{client.network}/{client.name} {target}"
        lost = [(f"{text} {during(done, when)}", False) for when in count["lost_at"]]
        faults += TALLY.allowed(
            "200 changes: untouched networks", [*lost, *[("", True)] * count["answered"]]
        )
    assert len(done) == CHANGES
    assert until(lambda: lab.gw.ping(INTERNET4))
    assert not faults, f"{len(faults)} of them\n" + "\n".join(faults[:30])
