"""A broadcast storm of endpoint a is cut down at its own leg: nobody else loses a packet, and the
drops say why.

a c1 == leg 1 == [bridge, VLAN 100] == leg 2 == c2 b 10.99.0.2
                                    == leg 3 == c3 c 10.99.0.3

phone c4 ---- [another network] ---- gw ---- isp ---- world 198.51.100.7
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .gateway import Gateway, Tunnel
from .lan import INTERNET4, INTERNET6, Host, Lab, until
from .matrix.wire import BROADCAST, frame
from .packet import new_ident
from .tally import TALLY

MODES = ("namespace", "vrf")
VCID = 70000001
LAN = ("10.99.0.2", "10.99.0.3")
GROUPS = (BROADCAST, "01:00:5e:00:00:fb", "33:33:00:00:00:01", "03:00:00:00:00:09")
BATCH, BATCHES = 800, 25
INTERVAL_S, WAIT_S = 0.02, 10


class Segment:
    def __init__(self, folder: Path, mode: str) -> None:
        self.mode, self.lab = mode, Lab(4)
        self.gateway = Gateway(self.lab.gw, folder)
        endpoints = {name: {"type": "cpe"} for name in ("a", "b", "c")}
        mesh = {"type": "l2-mesh", "vcid": VCID, "vlan_id": 100, "endpoints": endpoints}
        phone = {"type": "secure-internet", "endpoints": {"phone": {"type": "mobile"}}}
        self.gateway.apply(
            {"mesh": {**mesh, "isolation": mode}, "web": {**phone, "isolation": mode}}
        )
        *self.ends, self.phone = self.lab.clients
        for host, name in zip(
            self.lab.clients, ("mesh/a", "mesh/b", "mesh/c", "web/phone"), strict=True
        ):
            tunnel = Tunnel(host, self.gateway.config(name))
            tunnel.up()
            assert tunnel.wake(self.facts(name.partition("/")[0])["gateway_address"]), (
                f"no session: {name}"
            )
        cables = [cable_of(host) for host in self.ends]
        self.cable = cables[0]["ifname"]
        for host, cable, address in zip(self.ends[1:], cables[1:], LAN, strict=True):
            host.ip(f"addr add {address}/24 dev {cable.get('master', cable['ifname'])}")

    def facts(self, name: str) -> dict[str, Any]:
        return dict(
            json.loads(self.gateway.warpctl("network", "show", name, "-o", "json").checked().out)
        )

    def leg(self, number: int, direction: str) -> int:
        """Frames that came in by the gateway's end of a leg, or went out."""
        link = f"vx-{VCID}-{number}"
        command = ("ip", "-s", "-j", "link", "show", "dev", link)
        place = () if self.mode == "vrf" else ("nsenter", f"--net=/run/netns/warp-{VCID}")
        (shown,) = json.loads(self.lab.gw.run(*place, *command).checked().out)
        return int(shown["stats64"][direction]["packets"])

    def drops(self) -> dict[str, int]:
        shown = json.loads(self.gateway.warpctl("status", "-o", "json").out)
        (about,) = [network for network in shown["networks"] if network["name"] == "mesh"]
        return {reason: int(count["packets"]) for reason, count in about["drops"].items()}

    def flood(self) -> None:
        """Send broadcasts and multicasts as fast as the gateway takes them in.

        Each batch waits for the one before. The decryption queue of a device holds 1,024 packets
        of all its peers (MAX_QUEUED_PACKETS in drivers/net/wireguard/messages.h): where the CPU is
        slower than the sender, it drops packets of others before warpd's filters see any.
        """
        frames = [
            frame(f"02:00:00:00:00:{n % 250:02x}", GROUPS[n % len(GROUPS)], new_ident()).hex()
            for n in range(BATCH)
        ]
        before = self.leg(1, "rx")
        for count in range(1, BATCHES + 1):
            self.ends[0].do("frames", link=self.cable, frames=frames)
            assert self.has_come_in(before + count * BATCH), "frames were lost on the way"

    def has_come_in(self, frames: int) -> bool:
        """Wait until the leg of the flood has counted so many frames."""
        return until(lambda: self.leg(1, "rx") >= frames, 30)


def cable_of(host: Host) -> dict[str, str]:
    """A client's end of its leg, and the bridge of its own that it is a port of."""
    links = json.loads(host.run("ip", "-j", "link", "show").checked().out)
    return next(dict(link) for link in links if link["ifname"].startswith("vx-"))


@contextmanager
def conversations(flows: list[tuple[str, Host, str]]) -> Iterator[dict[str, dict[str, Any]]]:
    """Running pings; what became of them is there at the end."""
    out: dict[str, dict[str, Any]] = {}
    for _name, host, target in flows:
        host.do("flow", dst=target, interval_s=INTERVAL_S)
    yield out
    for name, host, target in flows:
        out[name] = host.do("flow_end", WAIT_S + 10, dst=target, wait_s=WAIT_S)


@pytest.mark.parametrize("mode", MODES)
def test_a_storm_harms_nobody(wireguard: str, tmp_path: Path, mode: str) -> None:
    segment = Segment(tmp_path, mode)
    try:
        _a, b, _c = segment.ends
        flows = [
            ("b to c on the segment", b, LAN[1]),
            ("another network, v4", segment.phone, INTERNET4),
            ("another network, v6", segment.phone, INTERNET6),
            ("the host", segment.lab.gw, INTERNET4),
        ]
        assert all(until(lambda h=host, t=target: h.ping(t), 15) for _name, host, target in flows)  # type: ignore[misc]
        came, went = segment.leg(1, "rx"), segment.leg(2, "tx")
        before = segment.drops().get("storm", 0)
        with conversations(flows) as ended:
            segment.flood()
        came, went = segment.leg(1, "rx") - came, segment.leg(2, "tx") - went
        dropped = segment.drops()["storm"] - before
        print(
            f"\n  {mode}: sent {BATCH * BATCHES}, came in {came}, dropped {dropped}, to each other"
            f" leg {went}"
        )
        for name, result in ended.items():
            print(f"  {name}: {result['answered']} of {result['sent']} answered")
        assert dropped > 0
        assert went <= came - dropped + sum(result["sent"] for result in ended.values())
        unheard = [(name, not result["lost_at"]) for name, result in ended.items()]
        assert not TALLY.allowed(f"conversations beside a storm, {mode}", unheard)
    finally:
        segment.lab.stop()
