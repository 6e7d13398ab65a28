"""What eight endpoints and the host notice of one endpoint that does its worst, side by side with
what they notice of nobody.

loud   c1 blasts; c2 c3 calm     calm  c4 c5     more  c6 c7      --- gw --- isp --- world
campus c8 blasts frames; c9 c10 calm, with each other
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from .gateway import LINK, Gateway, Tunnel
from .lan import CONTAINER, DNS4, DNS6, INTERNET4, INTERNET6, LAN_HOST4, LAN_HOST6, Host, Lab
from .matrix.wire import BROADCAST
from .packet import Packet, new_ident
from .tally import TALLY
from .test_frames import ethernet

WEB = {"loud": ("a", "b", "c"), "calm": ("a", "b"), "more": ("a", "b")}
CAMPUS = {"a": "", "b": "192.168.9.2", "c": "192.168.9.3"}  # the addresses of calm endpoints there
UNHEARD = 9  # a port on which nobody answers
ETHERTYPE = 0x88B5  # for experiments (IEEE 802)
MEASURED_S = 4.0
EACH, PAUSE_S = 100, 0.05  # two thousand a second
INTERVAL_S = 0.1
MANY = 4000


def networks(mode: str) -> dict[str, Any]:
    out: dict[str, Any] = {
        name: {
            "type": "secure-internet",
            "isolation": mode,
            "expected_users": 6,
            "endpoints": {e: {"type": "mobile"} for e in ends},
        }
        for name, ends in WEB.items()
    }
    out["campus"] = {
        "type": "l2-mesh",
        "isolation": mode,
        "vlan_id": 100,
        "endpoints": {e: {"type": "cpe"} for e in CAMPUS},
    }
    return out


@dataclass(frozen=True, slots=True)
class Noticed:
    """Echo requests of some hosts, and new connections."""

    sent: int
    took_ms: tuple[float, ...]
    opened: tuple[tuple[str, bool], ...]

    def text(self) -> str:
        good = sum(passed for _what, passed in self.opened)
        lost = self.sent - len(self.took_ms)
        times = (
            f"{median(self.took_ms):6.1f} {max(self.took_ms):7.1f}"
            if self.took_ms
            else "     -       -"
        )
        return f"{lost:4} of {self.sent:<5}{times} ms   {good} of {len(self.opened)}"


class Street:
    """All hosts, connected."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.lab = Lab(sum(len(ends) for ends in WEB.values()) + len(CAMPUS))
        self.gateway = Gateway(self.lab.gw, folder)
        self.gateway.apply(networks(mode))
        hosts = iter(self.lab.clients)
        names = [f"{name}/{end}" for name, ends in WEB.items() for end in ends]
        self.tunnels = {name: self._connect(name, next(hosts), INTERNET4) for name in names}
        campus = json.loads(
            self.gateway.warpctl("network", "show", "campus", "-o", "json").checked().out
        )
        self.legs = {
            end: self._connect(f"campus/{end}", next(hosts), campus["gateway_address"])
            for end in CAMPUS
        }
        self.cables = {end: self._cable(tunnel.host) for end, tunnel in self.legs.items()}
        for end, address in CAMPUS.items():
            if address:
                self.legs[end].host.ip(
                    f"addr add {address}/24 dev {self._segment(self.legs[end].host)}"
                )
        assert self.legs["b"].wake(CAMPUS["c"])

    def _connect(self, name: str, host: Host, target: str) -> Tunnel:
        tunnel = Tunnel(host, self.gateway.config(name))
        tunnel.up()
        assert tunnel.wake(target), name
        return tunnel

    @staticmethod
    def _cable(host: Host) -> str:
        links = json.loads(host.run("ip", "-j", "link", "show").checked().out)
        return str(next(link["ifname"] for link in links if link["ifname"].startswith("vx-")))

    def _segment(self, host: Host) -> str:
        """The bridge that the leg is a port of."""
        (link,) = json.loads(
            host.run("ip", "-j", "link", "show", "dev", self._cable(host)).checked().out
        )
        return str(link["master"])

    def calm(self) -> Iterator[tuple[str, Host, tuple[str, ...]]]:
        """The endpoints that do no harm, and what each pings."""
        for name, tunnel in self.tunnels.items():
            if name != "loud/a":
                yield name, tunnel.host, (INTERNET4, INTERNET6)
        yield "campus/b", self.legs["b"].host, (CAMPUS["c"],)
        yield "campus/c", self.legs["c"].host, (CAMPUS["b"],)

    def notice(self) -> tuple[Noticed, Noticed]:
        """What the calm endpoints see for some seconds, and what the host sees."""
        others = list(self.calm())
        host = [("host", self.lab.gw, (INTERNET4, INTERNET6))]
        for _name, each, targets in (*others, *host):
            for target in targets:
                each.do("flow", dst=target, interval_s=INTERVAL_S)
        until_s = time.monotonic() + MEASURED_S
        opened = [self._opened(name, each, targets) for name, each, targets in (*others, *host)]
        time.sleep(max(0.0, until_s - time.monotonic()))
        return self._ended(others, opened[:-1]), self._ended(host, opened[-1:])

    @staticmethod
    def _opened(name: str, host: Host, targets: tuple[str, ...]) -> list[tuple[str, bool]]:
        far = [target for target in targets if not target.startswith("192.168.")]
        out = [(f"{name} udp {target}", host.udp(target, 7777, new_ident())) for target in far]
        return out + [
            (f"{name} tcp {target}", host.tcp(target, 7777, new_ident())) for target in far
        ]

    @staticmethod
    def _ended(
        hosts: list[tuple[str, Host, tuple[str, ...]]], opened: list[list[tuple[str, bool]]]
    ) -> Noticed:
        counts = [
            each.do("flow_end", dst=target, wait_s=5)
            for _name, each, targets in hosts
            for target in targets
        ]
        took = [ms for count in counts for ms in count["took_ms"]]
        return Noticed(
            sum(count["sent"] for count in counts),
            tuple(took),
            tuple(item for found in opened for item in found),
        )

    # -- what the loud ones do

    def blasts(self) -> Iterator[tuple[str, Host, str, list[str], bool]]:
        """A name, who sends by which link, and what: packets, or frames."""
        loud, leg = self.tunnels["loud/a"], self.legs["a"].host
        packets = {
            "connections": self._connections(),
            "scan, IPv4": self._to([f"203.0.113.{number}" for number in range(10, 250)]),
            "scan, IPv6": self._to(
                [f"2001:db8:113::{number:x}" for number in range(0x1000, 0x1000 + MANY)]
            ),
            "log lines": self._to([LAN_HOST4, LAN_HOST6, DNS4, DNS6, CONTAINER] * 40),
        }
        for name, own in packets.items():
            yield name, loud.host, LINK, [packet.encode().hex() for packet in own], False
        payload = new_ident().encode()
        made_up = [f"02:77:00:00:{number >> 8:02x}:{number & 255:02x}" for number in range(MANY)]
        yield (
            "MACs",
            leg,
            self.cables["a"],
            [ethernet("02:00:00:00:00:bb", ETHERTYPE, payload, source=m).hex() for m in made_up],
            True,
        )
        yield (
            "broadcasts",
            leg,
            self.cables["a"],
            [ethernet(BROADCAST, ETHERTYPE, payload).hex()] * EACH,
            True,
        )

    def _to(self, targets: list[str], sport: int = 40000) -> list[Packet]:
        config = self.tunnels["loud/a"].config
        own = {True: config.address6, False: config.address4}
        return [
            Packet("udp", own[":" in target], target, UNHEARD, new_ident(), sport=sport)
            for target in targets
        ]

    def _connections(self) -> list[Packet]:
        return [
            packet
            for number in range(MANY // 2)
            for packet in self._to([INTERNET4, INTERNET6], 1024 + number)
        ]


@pytest.mark.long
@pytest.mark.parametrize("mode", ["namespace", "vrf"])
def test_one_endpoint_at_full_blast(wireguard: str, tmp_path: Path, mode: str) -> None:
    street = Street(tmp_path, mode)
    try:
        rows, faults = [], []
        for name, host, link, packets, frames in street.blasts():
            without = street.notice()
            host.do(
                "barrage", link=link, packets=packets, pause_s=PAUSE_S, each=EACH, frames=frames
            )
            during = street.notice()
            (fired,) = host.do("barrage_end")
            assert fired["sent"] >= EACH, "the lab is wrong: nothing was sent"
            for who, before, now in zip(("8 endpoints", "the host"), without, during, strict=True):
                rows.append(
                    f"  {name:<12}{who:<12}{before.text():<44}| {now.text()}   ({fired['sent']}"
                    " sent)"
                )
                faults += TALLY.allowed(f"beside {name} ({mode}): new", now.opened)
                pings = [
                    (f"{name}: ping {number}", number < len(now.took_ms))
                    for number in range(now.sent)
                ]
                faults += TALLY.allowed(f"beside {name} ({mode}): ping", pings)
        head = f"  {mode}: lost, median, worst, new connections, without and with"
        print("\n" + "\n".join([head, *rows]))
        assert not faults, "\n".join(faults)
    finally:
        street.lab.stop()
