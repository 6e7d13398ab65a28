"""Suspended: what the endpoint sends and is sent goes nowhere at once, and its handshakes get no
answer; neighbours lose nothing. Resumed: it is back.

out = c1, stay = c2 (network `net`), other = c3 (network `far`) --- gw --- isp --- world
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .gateway import LINK, Gateway, Tunnel
from .lan import INTERNET4, Done, Host, Lab, until
from .packet import new_ident
from .tally import TALLY
from .test_restart import Service

VCID = 70000004
PORT = 7777
SOCKET = "WARPD_SOCKET=/run/warpd.sock"
Bench = tuple[Lab, Gateway]


def network(vcid: int, *names: str) -> dict[str, object]:
    endpoints = {name: {"type": "mobile"} for name in names}
    return {
        "type": "secure-internet",
        "vcid": vcid,
        "expected_users": 20,
        "endpoints": endpoints,
    }


def command(gateway: Gateway, *words: str) -> Done:
    """A command that finds the daemon, where one runs."""
    line = f"{SOCKET} {gateway.shell('endpoint', *words)}"
    return gateway.host.run("sh", "-c", line, timeout_s=60).checked()


def connect(host: Host, gateway: Gateway, name: str) -> Tunnel:
    tunnel = Tunnel(host, gateway.config(name))
    tunnel.up()
    assert tunnel.wake(INTERNET4), f"{name} has no way to the internet"
    return tunnel


def reached(lab: Lab, client: Host) -> list[tuple[str, bool]]:
    """Whether packets of an open session were answered, or heard by whom they are for."""
    idents = [new_ident() for _ in range(3)]
    answered = [client.udp(INTERNET4, PORT, ident, timeout_s=0.2) for ident in idents]
    heard = lab.arrivals()
    return [
        (f"{client.name}: {ident}", hit or ident in heard)
        for ident, hit in zip(idents, answered, strict=True)
    ]


@contextmanager
def undisturbed(lab: Lab, *neighbours: Tunnel) -> Iterator[None]:
    """Every packet of the neighbours is answered meanwhile, in the sessions that they have."""
    began = [tunnel.handshake for tunnel in neighbours]
    log = f"/run/{new_ident()}.log"
    for tunnel in neighbours:
        ping = f"ping -i 0.1 -W 2 {shlex.quote(INTERNET4)} >{log} 2>&1 & echo $! >{log}.pid"
        tunnel.host.run("sh", "-c", ping).checked()
    yield
    for tunnel, handshake in zip(neighbours, began, strict=True):
        stop = f"kill -INT $(cat {log}.pid); sleep 0.5; tail -n 3 {log}"
        told = tunnel.host.run("sh", "-c", stop).checked().out
        sent, answered = map(int, re.findall(r"(\d+) (?:packets transmitted|received)", told))
        assert sent > 20 and sent - answered <= 1, told  # the last one may be under way
        assert tunnel.handshake - handshake < 180 and tunnel.host.ping(INTERNET4)


def suspended(lab: Lab, gateway: Gateway, out: Tunnel, neighbours: tuple[Tunnel, ...]) -> None:
    with undisturbed(lab, *neighbours):
        command(gateway, "suspend", "net/out", "--reason", "lost phone")
        lost = TALLY.forbidden("suspended: an open session", reached(lab, out.host))
        assert not lost, lost
        out.down()
        out.up()
        answered = until(lambda: out.host.ping(INTERNET4), 8)
        lost = TALLY.forbidden(
            "suspended: a new handshake", [("handshake", answered or out.handshake > 0)]
        )
        assert not lost, lost
        assert until(lambda: gateway.warpctl("apply", "--yes").rc == 0, 60)  # warpd may be at work
        lost = TALLY.forbidden("suspended: after an apply", reached(lab, out.host))
        assert not lost, lost
        refused = gateway.warpctl("endpoint", "config", "net/out")
        assert refused.rc == 1 and "suspended" in refused.err
        command(gateway, "resume", "net/out")
        assert out.wake(INTERNET4, 30)


def test_a_suspended_endpoint_is_out_at_once(bench: Bench) -> None:
    """By the command alone, and then by the daemon; the latter ends it in time."""
    lab, gateway = bench
    gateway.apply({"net": network(VCID, "out", "stay"), "far": network(VCID + 1, "other")})
    hosts = zip(lab.clients, ("net/out", "net/stay", "far/other"), strict=True)
    out, *others = (connect(host, gateway, name) for host, name in hosts)
    neighbours = tuple(others)
    suspended(lab, gateway, out, neighbours)
    service = Service(gateway)
    service.start()
    suspended(lab, gateway, out, neighbours)
    assert (service.told("suspended"), service.told("resumed")) == (1, 1)  # it was asked
    command(gateway, "suspend", "net/out", "--for", "60s")
    service.end("KILL")
    service.start()
    lost = TALLY.forbidden("suspended: after a restart", reached(lab, out.host))
    assert not lost, lost
    assert until(lambda: out.host.ping(INTERNET4), 120)
    service.end("TERM")


def test_the_gateway_calls_an_endpoint_that_comes_back(bench: Bench) -> None:
    """A client whose session ended without its knowledge tries anew only 15 s after it sends.

    This one sends nothing: a handshake is the gateway's doing.
    """
    lab, gateway = bench
    gateway.apply({"net": network(VCID, "out", "stay")})
    out = connect(lab.clients[0], gateway, "net/out")
    out.host.run("wg", "set", LINK, "peer", out.config.public_key, "persistent-keepalive", "off")
    first = out.handshake
    command(gateway, "suspend", "net/out")
    assert until(lambda: time.time() > first + 1, 5)  # handshakes are told in whole seconds
    command(gateway, "resume", "net/out")
    assert until(lambda: out.handshake > first, 10)
    assert out.host.ping(INTERNET4)
    shown = gateway.inside(VCID, "wg", "show", f"wg-{VCID}", "persistent-keepalive").checked().out
    assert {line.split("\t")[1] for line in shown.splitlines()} == {"off"}
    assert gateway.warpctl("plan").rc == 0
