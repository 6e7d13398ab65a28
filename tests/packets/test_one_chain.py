"""One chain of our tables is emptied, deleted or preceded by an `accept`, while forbidden packets
are sent: what one chain was to drop, another one drops.

The networks, hosts and packets are those of `test_under_fire`. Where no daemon runs, the table is
put back as it was listed before, in one transaction, so that each chain is tried by itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .gateway import LINK
from .lan import Done, until
from .tally import TALLY
from .test_restart import Service
from .test_under_fire import PAUSE_S, UnderFire


@dataclass(frozen=True, slots=True)
class Damage:
    """What somebody does to one chain of ours; `netns` is "" for the root."""

    netns: str
    what: str
    hooked: bool

    @property
    def where(self) -> str:
        return f"{'namespace' if self.netns else 'root'}: {self.what}"


class OneChain(UnderFire):
    """The same networks, and each chain of theirs by itself."""

    def damages(self) -> list[Damage]:
        return list(self._damages())

    def _damages(self) -> Iterator[Damage]:
        for netns in ("", f"warp-{self.shown['near']['vcid']}"):
            listed = self.nft(netns, "-j", "list", "chains").checked().out
            chains = [item["chain"] for item in json.loads(listed)["nftables"] if "chain" in item]
            for chain in (item for item in chains if item["table"] == "warpd"):
                hooked = "hook" in chain
                name = f"inet warpd {chain['name']}"
                yield Damage(netns, f"flush chain {name}", hooked)
                yield Damage(netns, f"insert rule {name} accept", hooked)
                if hooked:
                    yield Damage(netns, f"delete chain {name}", hooked)

    def nft(self, netns: str, *words: str, text: str = "") -> Done:
        inside = ("nsenter", f"--net=/run/netns/{netns}") if netns else ()
        return self.lab.gw.run(*inside, "nft", *words, text=text)

    def strike(self, damage: Damage) -> None:
        self.nft(damage.netns, "-f", "-", text=damage.what).checked()

    def volley(self) -> int:
        """Every packet once; return how many of them must not arrive anywhere."""
        for name, packets in self.forbidden.items():
            self.tunnels[name].host.send(LINK, [*packets, *self.outwards[name]])
        return sum(len(packets) for packets in self.forbidden.values())

    def table(self, netns: str) -> str:
        listed = self.nft(netns, "list", "table", "inet", "warpd").checked().out
        return f"delete table inet warpd\n{listed}"


def test_nothing_forbidden_passes_while_one_chain_is_not_whole(
    wireguard: str, tmp_path: Path
) -> None:
    under = OneChain(tmp_path)
    try:
        damages = under.damages()
        whole = {damage.netns: under.table(damage.netns) for damage in damages}
        faults: list[str] = []
        arrived = 0
        sent = 0
        for damage in damages:
            under.strike(damage)
            sent += under.volley()
            time.sleep(PAUSE_S)
            under.nft(damage.netns, "-f", "-", text=whole[damage.netns]).checked()
            found = under.faults(under.lab.latest())
            arrived += len(found)
            faults += [f"{damage.where}: {text}" for text in sorted(set(found))]
        print(f"\n  {len(damages)} times one chain: forbidden {arrived} of {sent}")
        faults += TALLY.allowed("one chain: back", [("all phones", until(under.is_open, 20))])
        TALLY.forbidden("one chain", [("", n < arrived) for n in range(sent)])
        assert not faults, "\n".join(faults)
        assert under.gateway.warpctl("plan").rc == 0
    finally:
        under.lab.stop()


@pytest.mark.long  # a plan of its own for each of 45 damages
def test_nothing_forbidden_passes_until_warpd_has_repaired_a_chain(
    wireguard: str, tmp_path: Path
) -> None:
    under = OneChain(tmp_path)
    try:
        service = Service(under.gateway)
        service.start()
        damages = [damage for damage in under.damages() if damage.hooked]
        back: list[tuple[str, bool]] = []
        sent = 0
        for damage in damages:
            under.strike(damage)
            sent += under.volley()
            back.append((damage.where, until(lambda: under.gateway.warpctl("plan").rc == 0, 20)))
        back.append(("all phones", until(under.is_open, 20)))
        arrived = under.arrived()
        print(f"\n  {len(damages)} times one chain, warpd running: {len(arrived)} of {sent}")
        TALLY.forbidden("one chain, running", [("", n < len(arrived)) for n in range(sent)])
        faults = TALLY.allowed("one chain, running: back", back)
        service.end("TERM")
        assert not faults + arrived, "\n".join(faults + sorted(set(arrived)))
    finally:
        under.lab.stop()
