"""A host that forwarded for nobody forwards for nobody when warpd has made it forward: with our
table in force, and without any ruleset.

isp (203.0.113.254) ---- eth0 gw lan0 ---- 10.44.0.9 world
                              docker0 --- 172.17.0.2 world
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .gateway import Gateway, Tunnel
from .lan import CONTAINER, INTERNET4, INTERNET6, LAN_HOST4, LAN_HOST6, Lab, until
from .packet import Packet, new_ident
from .tally import TALLY
from .test_neighbour import KINDS, SOURCES4, SOURCES6, send_to_gateway

BEHIND = (LAN_HOST4, LAN_HOST6, CONTAINER)
SWITCHES = ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")


def probes() -> dict[str, Packet]:
    """Of neighbours and of strangers behind them, to hosts behind the gateway."""
    packets = [
        Packet(kind, source, target, 7777, new_ident())
        for target in BEHIND
        for source in (SOURCES6 if ":" in target else SOURCES4)
        for kind in KINDS
    ]
    return {packet.ident: packet for packet in packets}


def forwarded(lab: Lab, phone: Tunnel | None) -> list[tuple[str, bool]]:
    """What the provider sent to hosts behind the gateway, and whether it arrived there."""
    sent = probes()
    send_to_gateway(lab, [packet.encode() for packet in sent.values()])
    if phone is None:
        until(lambda: sent.keys() <= lab.arrivals([lab.world]).keys())
    else:  # what comes behind them by the same link has come back: they have been judged
        assert all(phone.wake(target) for target in (INTERNET4, INTERNET6))
    heard = lab.arrivals([lab.world])
    return [
        (f"{packet.kind} {packet.source} to {packet.target}", ident in heard)
        for ident, packet in sent.items()
    ]


@pytest.mark.parametrize("mode", ["namespace", "vrf"])
def test_the_host_forwards_for_no_neighbour(wireguard: str, tmp_path: Path, mode: str) -> None:
    lab = Lab(1)
    try:
        gateway = Gateway(lab.gw, tmp_path)
        body = {"type": "secure-internet", "endpoints": {"phone": {"type": "mobile"}}}
        gateway.apply({"a": {**body, "isolation": mode}})
        phone = Tunnel(lab.clients[0], gateway.config("a/phone"))
        phone.up()
        assert all(phone.wake(target) for target in (INTERNET4, INTERNET6))
        faults = TALLY.forbidden(f"fence, {mode}", forwarded(lab, phone))
        lab.gw.run("nft", "flush", "ruleset").checked()
        late = forwarded(lab, None)
        faults += TALLY.forbidden(f"fence, {mode}, ruleset flushed", late)
        gateway.converge().checked()
        faults += TALLY.forbidden(f"fence, {mode}, repaired", forwarded(lab, phone))
        gateway.warpctl("destroy", "--yes").checked()
        for switch in SWITCHES:
            lab.gw.run("sysctl", "-qw", switch).checked()
        faults += TALLY.allowed(f"fence, {mode}: the lab's hosts hear", forwarded(lab, None))
        assert not faults, "\n".join(faults)
    finally:
        lab.stop()
