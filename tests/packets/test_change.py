"""Changes under traffic: who is not meant loses nothing, who is meant is cut off at once.

c1 one   c2 two   c3 three --- gw (network `net`) --- isp --- world
while one's ping runs at 50 packets a second
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .gateway import Gateway, Tunnel
from .lan import INTERNET4, INTERNET6, Host, Lab, until
from .packet import new_ident
from .tally import TALLY

VCID = 70000001
# Each an endpoint of the same name; None: its lines are taken out.
CHANGES: dict[str, dict[str, object] | None] = {
    "removed": None,
    "disabled": {"enabled": False},
    "expired": {"expires": "2020-01-01"},
    "rotated": {"rotation": 1},
}
Bench = tuple[Lab, Gateway]


def network(*names: str, **changes: dict[str, object]) -> dict[str, object]:
    endpoints = {name: {"type": "mobile", **changes.get(name, {})} for name in names}
    return {
        "net": {
            "type": "secure-internet",
            "vcid": VCID,
            "expected_users": 6,
            "endpoints": endpoints,
        }
    }


def connect(host: Host, gateway: Gateway, name: str) -> Tunnel:
    tunnel = Tunnel(host, gateway.config(f"net/{name}"))
    tunnel.up()
    assert tunnel.wake(INTERNET4) and tunnel.wake(INTERNET6), f"{name} has no way to the internet"
    return tunnel


@contextmanager
def traffic(host: Host, category: str) -> Iterator[None]:
    """A running ping of both families, 50 a second; none of its packets may be lost."""
    targets = (INTERNET4, INTERNET6)
    for address in targets:
        host.do("flow", dst=address, interval_s=0.02)
    try:
        run_on(host)
        yield
        run_on(host)
    finally:
        ended = {address: host.do("flow_end", dst=address, wait_s=3) for address in targets}
    lost = []
    for address, count in ended.items():
        numbers = range(count["sent"])
        lost += TALLY.allowed(
            category, [(f"{address} packet {n}", n < count["answered"]) for n in numbers]
        )
    assert not lost, f"{len(lost)} packets lost"


def run_on(host: Host) -> None:
    """Until the running pings have sent some more."""
    first = host.do("flow_sent", dst=INTERNET6)
    assert until(lambda: host.do("flow_sent", dst=INTERNET6) >= first + 20), "the ping does not run"


def test_adding_an_endpoint_disturbs_nobody(bench: Bench) -> None:
    lab, gateway = bench
    gateway.apply(network("one", "two"))
    one = connect(lab.clients[0], gateway, "one")
    connect(lab.clients[1], gateway, "two")
    one.settle()
    before, handshake = gateway.peers(VCID), one.handshake
    with traffic(one.host, "gentle: another's ping, added"):
        gateway.apply(network("one", "three", "two"))
    after = gateway.peers(VCID)
    assert len(before) == 2 and len(after) == 3
    kept = [
        (f"{what} of {key}", after[key][what] >= old[what])
        for key, old in before.items()
        for what in ("handshake", "received", "sent")
    ]
    kept += [
        (f"endpoint and AllowedIPs of {key}", same(after[key], old)) for key, old in before.items()
    ]
    now = one.handshake
    at_gateway = [peer["handshake"] for peer in (*before.values(), *after.values())]
    kept.append((f"handshake {handshake} -> {now}, at the gateway {at_gateway}", now == handshake))
    assert not TALLY.allowed("gentle: sessions kept", kept)
    connect(lab.clients[2], gateway, "three")


def same(new: dict[str, object], old: dict[str, object]) -> bool:
    return all(new[what] == old[what] for what in ("endpoint", "allowed"))


def test_revoked_at_once(wireguard: str, tmp_path: Path) -> None:
    """From the moment apply returns the old keys carry nothing; the neighbour's ping loses
    nothing.
    """
    lab = Lab(1 + len(CHANGES))
    try:
        revoke(lab, Gateway(lab.gw, tmp_path))
    finally:
        lab.stop()


def revoke(lab: Lab, gateway: Gateway) -> None:
    names = ("one", *CHANGES)
    gateway.apply(network(*names))
    one, *others = (
        connect(host, gateway, name) for host, name in zip(lab.clients, names, strict=True)
    )
    revoked = dict(zip(CHANGES, others, strict=True))
    changes = {name: change for name, change in CHANGES.items() if change is not None}
    with traffic(one.host, "gentle: another's ping, revoked"):
        gateway.apply(network("one", *changes, **changes))
        idents = {how: [new_ident() for _n in range(10)] for how in revoked}
        for how, tunnel in revoked.items():
            for ident in idents[how]:
                tunnel.host.udp(INTERNET4, 7777, ident, 0)
                tunnel.host.udp(INTERNET6, 7777, ident, 0)
        answered = {
            how: tunnel.host.udp(INTERNET4, 7777, new_ident(), 1) for how, tunnel in revoked.items()
        }
    arrivals, peers, faults = lab.arrivals([lab.world, lab.isp]), gateway.peers(VCID), []
    for how, tunnel in revoked.items():
        seen = [(f"{how} {ident}", ident in arrivals) for ident in idents[how]]
        known = [
            (f"{how}: answered", answered[how]),
            (f"{how}: key known", tunnel.config.public_key in peers),
        ]
        faults += TALLY.forbidden(f"revoked: {how}", [*seen, *known])
    assert not faults
    come_back(gateway, revoked, names)


def come_back(gateway: Gateway, revoked: dict[str, Tunnel], names: tuple[str, ...]) -> None:
    """A rotated endpoint has a new config that works; a disabled one kept its grant: the old config
    works again.
    """
    rotated, disabled = revoked["rotated"], revoked["disabled"]
    rotated.down()
    fresh = connect(rotated.host, gateway, "rotated")
    assert fresh.config.public_key != rotated.config.public_key
    gateway.apply(network(*names, rotated={"rotation": 1}))
    disabled.down()
    disabled.up()
    assert disabled.wake(INTERNET4)


def test_an_invalid_file_changes_nothing(bench: Bench) -> None:
    lab, gateway = bench
    gateway.apply(network("one", "two"))
    one = connect(lab.clients[0], gateway, "one")
    with traffic(one.host, "gentle: invalid file"):
        for text in ("", "networks: [", "version: 1\nnetworks: {}\nnonsense: 1\n"):
            gateway.file.write_text(text)
            assert gateway.warpctl("apply", "--yes").rc == 4
    assert len(gateway.peers(VCID)) == 2


def test_plan_changes_nothing_and_a_second_apply_is_empty(bench: Bench) -> None:
    lab, gateway = bench
    gateway.networks = network("one")
    gateway.write()
    assert gateway.warpctl("plan").rc == 2
    assert "warp-" not in lab.gw.run("ip", "netns", "list").out and not gateway.state.exists()
    gateway.apply()
    assert gateway.warpctl("plan").rc == 0
    before = gateway.inside(VCID, "nft", "list", "ruleset").checked().out
    gateway.apply()
    assert gateway.inside(VCID, "nft", "list", "ruleset").checked().out == before


def test_destroy_cuts_everybody_off(bench: Bench) -> None:
    lab, gateway = bench
    gateway.apply(network("one"))
    one = connect(lab.clients[0], gateway, "one")
    gateway.warpctl("destroy", "--yes").checked()
    idents = [new_ident() for _n in range(4)]
    for ident in idents:
        one.host.udp(INTERNET4, 7777, ident, 0)
    assert not one.host.udp(INTERNET4, 7777, new_ident(), 1)
    arrivals = lab.arrivals()
    assert not TALLY.forbidden("after destroy", [(ident, ident in arrivals) for ident in idents])


def test_rebuilt_from_nothing_the_same_clients_come_back(bench: Bench, tmp_path: Path) -> None:
    """destroy, then apply with the same state folder: the printed config still works, unchanged."""
    lab, gateway = bench
    gateway.apply(network("one"))
    one = connect(lab.clients[0], gateway, "one")
    gateway.warpctl("destroy", "--yes").checked()
    gateway.apply()
    assert gateway.config("net/one").text == one.config.text
    one.down()  # WireGuard itself would try again after 15 s
    one.up()
    assert not TALLY.allowed(
        "rebuilt: same config works", [(a, one.wake(a)) for a in (INTERNET4, INTERNET6)]
    )
