"""Port shadowing: sending from the gateway's own port numbers must not capture another's
handshakes.

The attack: NAT shared by tenants would keep source port 51820 when the attacker sends through the
tunnel from port 51820 to the victim's public address and port. The mapping (gateway:51820 <->
victim) then takes the victim's handshakes away from WireGuard and sends them to the attacker.

    victim   h1 (hub)   192.0.2.6:P  ==wg==> gw 203.0.113.1:51820
    attacker m1 (mesh), h2 (hub)     ==wg==> gw --NAT--> 192.0.2.6:P
"""

from __future__ import annotations

import pytest

from .gateway import LINK
from .lan import INTERNET4, public4, public6
from .packet import new_ident
from .standing import Standing
from .tally import TALLY

LISTENING = range(51820, 51830)


@pytest.mark.parametrize("attacker", ["m1", "h2", "h1"])
def test_mapping_never_takes_a_listening_port(standing: Standing, attacker: str) -> None:
    """Seen at the victim: what came from the attacker's ports 51820-51829 left the gateway from
    others.
    """
    one = standing[attacker]
    victim = standing["h2" if attacker == "h1" else "h1"]
    port = int(victim.host.run("wg", "show", LINK, "listen-port").checked().out)
    forget_mappings(standing)
    shots = [
        (one, one.packet("udp", target, port, sport=sport))
        for target in (public4(victim.number), public6(victim.number))
        for sport in LISTENING
    ]
    lost = standing.passed("to a public address of a client", shots, victim.host.name)
    arrivals = standing.lab.arrivals([victim.host])
    taken = [
        (f"{packet.target} from port {record['sport']}", record["sport"] in LISTENING)
        for _who, packet in shots
        for record in arrivals.get(packet.ident, ())
    ]
    assert len(taken) >= len(shots)
    assert not lost + TALLY.forbidden("port shadowing: mapping on our port", taken)


@pytest.mark.parametrize("attacker", ["m1", "h2"])
def test_the_victims_session_lives_on(standing: Standing, attacker: str) -> None:
    """Even when the gateway has just forgotten the victim's own mapping and the attacker is
    first.
    """
    one, victim = standing[attacker], standing["h1"]
    port = int(victim.host.run("wg", "show", LINK, "listen-port").checked().out)
    results = []
    for _round in range(5):
        forget_mappings(standing)
        standing.passed(
            "to a public address of a client",
            [
                (one, one.packet("udp", public4(victim.number), port, sport=sport))
                for sport in LISTENING
            ],
            victim.host.name,
        )
        results.append((f"round {_round}", victim.host.udp(INTERNET4, 7777, new_ident())))
        results.append((f"round {_round} ping", victim.host.ping(INTERNET4)))
    captured = [r for r in one.host.records() if r["link"] == LINK and r.get("sport") == port]
    lost = TALLY.allowed("port shadowing: session lives on", results)
    assert not lost + TALLY.forbidden(
        "port shadowing: captured", [("victim's packets", bool(captured))]
    )


def forget_mappings(standing: Standing) -> None:
    """The worst moment for the victim: no connection is tracked at the gateway."""
    standing.lab.gw.run("conntrack", "-F").checked()
