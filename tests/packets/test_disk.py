"""P19: a state folder that is full, read-only or gone, at many moments.

Guards come back, who is removed is cut off, no edit is lost.

stay = c1, leave = c2 --- gw (network `net`; the state folder on a small disk of its own) --- isp
--- world
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .gateway import Gateway, Tunnel
from .lan import GATEWAY_PORTS, INTERNET4, UPLINK4, Host, Lab, until
from .packet import new_ident
from .tally import TALLY
from .test_restart import Service

VCID = 70000003
MOMENTS = 20
# One moment of each kind that `test_a_daemon_whose_disk_fails` tells apart; the long proof takes
# all.
STEPS = [5, pytest.param(1, marks=pytest.mark.long)]
DISK = "/run/small"
DISK_KIB = 512
# How a folder stops taking writes, and how it does so again.
FAULTS = {
    "full": (
        f"dd if=/dev/zero of={DISK}/fill bs=1k count=4096 2>/dev/null || true",
        f"rm -f {DISK}/fill",
    ),
    "read-only": (
        f"for i in $(seq 200); do mount -o remount,ro {DISK} && exit 0; sleep 0.05; done; exit 1",
        f"mount -o remount,rw {DISK}",
    ),
    "gone": (
        f"mv {DISK}/state {DISK}/away",
        f"test ! -d {DISK}/state && mv {DISK}/away {DISK}/state",
    ),
    "empty": (
        f"mv {DISK}/state {DISK}/away && mkdir -m 700 {DISK}/state",
        f"test ! -e {DISK}/state/allocations.json && rm -rf {DISK}/state && mv {DISK}/away {DISK}/state",
    ),
}
Bench = tuple[Lab, Gateway]


def network(*names: str) -> dict[str, object]:
    endpoints = {name: {"type": "mobile"} for name in names}
    return {
        "net": {
            "type": "secure-internet",
            "vcid": VCID,
            "expected_users": 200,
            "endpoints": endpoints,
        }
    }


class Disk:
    """The small file system that holds the state folder."""

    def __init__(self, gateway: Gateway) -> None:
        self.host = gateway.host
        self.run(f"mkdir -p {DISK} && mount -t tmpfs -o size={DISK_KIB}k,mode=700 tmpfs {DISK}")
        gateway.state = Path(DISK) / "state"

    @contextmanager
    def fault(self, kind: str) -> Iterator[None]:
        begin, end = FAULTS[kind]
        self.run(begin)
        yield
        self.run(end)

    def written(self) -> set[str]:
        """IPv4 addresses that are held by an endpoint, as the disk says."""
        where = f"cat {DISK}/state/allocations.json 2>/dev/null || cat {DISK}/away/allocations.json"
        networks = json.loads(self.host.run("sh", "-c", where).checked().out)["networks"]
        return {row[0] for network in networks.values() for row in network["endpoints"].values()}

    def run(self, command: str) -> None:
        self.host.run("sh", "-c", command).checked()


def addresses(gateway: Gateway) -> set[str]:
    """IPv4 addresses of the peers that the kernel has."""
    allowed = (text for peer in gateway.peers(VCID).values() for text in peer["allowed"])
    return {text.split("/")[0] for text in allowed if text.endswith("/32")}


def guarded(gateway: Gateway) -> bool:
    return gateway.host.run("nft", "list", "table", "inet", "warpd").rc == 0


def connect(host: Host, gateway: Gateway, name: str) -> Tunnel:
    tunnel = Tunnel(host, gateway.config(f"net/{name}"))
    tunnel.up()
    assert tunnel.wake(INTERNET4), f"{name} has no way to the internet"
    return tunnel


def again(tunnel: Tunnel) -> None:
    """A new session at once: a client that knows nothing of its removal would try for 15 s with the
    old one.
    """
    tunnel.down()
    tunnel.up()
    assert tunnel.wake(INTERNET4, 30)


def reached(lab: Lab, client: Host, target: str, port: int) -> list[tuple[str, bool]]:
    """Whether a few packets were heard where they must not be."""
    idents = [new_ident() for _ in range(3)]
    answered = [client.udp(target, port, ident, timeout_s=0.2) for ident in idents]
    heard = lab.arrivals()
    return [
        (f"{client.name} to {target}", hit or ident in heard)
        for ident, hit in zip(idents, answered, strict=True)
    ]


def cut_off(lab: Lab, gateway: Gateway, tunnel: Tunnel, kind: str) -> bool:
    """Whether the endpoint is gone within some seconds; what it sends then goes nowhere."""
    if not until(lambda: tunnel.config.address4 not in addresses(gateway), 20):
        return False
    lost = TALLY.forbidden(
        f"disk {kind}: who was removed", reached(lab, tunnel.host, INTERNET4, 7777)
    )
    assert not lost, lost
    return True


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", ["full", "read-only", "gone", "empty"])
def test_a_daemon_whose_disk_fails(bench: Bench, kind: str, step: int) -> None:
    """In turn: an edit before, at the time of, and after the fault; the root's guard flushed
    meanwhile.
    """
    lab, gateway = bench
    disk = Disk(gateway)
    gateway.networks = network("stay", "leave")
    gateway.write()
    service = Service(gateway)
    service.start()
    stay, leave = (
        connect(host, gateway, name)
        for host, name in zip(lab.clients, ("stay", "leave"), strict=False)
    )
    revoked = repaired = kept = early = 0
    moments = range(0, MOMENTS, step)
    for moment in moments:
        name = f"n{moment}"
        gateway.networks = network("stay", name)
        if moment % 4 == 3:
            gateway.write()  # the fault comes while it is applied
        with disk.fault(kind):
            gateway.write()
            if moment % 4 == 2 and kind not in (
                "gone",
                "empty",
            ):  # then nothing is known, neither in memory nor on a disk
                service.end("KILL")
                service.start()
            gateway.host.run("nft", "delete", "table", "inet", "warpd").checked()
            repaired += until(lambda: guarded(gateway), 20)
            revoked += cut_off(lab, gateway, leave, kind)
            lost = TALLY.forbidden(
                f"disk {kind}: the host's services",
                reached(lab, stay.host, UPLINK4, GATEWAY_PORTS[0]),
            )
            assert not lost, lost
            early += not addresses(gateway) <= disk.written()
        kept += until(lambda: len(addresses(gateway)) == 2, 60)
        gateway.networks = network("stay", "leave")
        gateway.write()
        assert until(lambda: leave.config.address4 in addresses(gateway), 60)
        again(leave)
    assert stay.host.ping(INTERNET4)
    service.end("TERM")
    print(
        f"\n  daemon, disk {kind}: guards restored {repaired}, revoked {revoked}, edits kept {kept}"
        f" of {len(moments)}; early {early}"
    )
    assert (repaired, revoked, kept, early) == (len(moments), len(moments), len(moments), 0)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_an_apply_whose_disk_fails(bench: Bench, kind: str, step: int) -> None:
    """The fault comes later each time: before it begins, while it reads, writes and changes, after
    its end.
    """
    lab, gateway = bench
    disk = Disk(gateway)
    gateway.apply(network("stay", "leave"))
    leave = connect(lab.clients[1], gateway, "leave")
    command = f"{gateway.shell('apply', '--yes')} >/run/out 2>&1; echo $? >/run/rc"
    revoked = kept = early = in_part = 0
    moments = range(0, MOMENTS, step)
    for moment in moments:
        gateway.networks = network("stay", f"n{moment}")
        gateway.write()
        gateway.host.run(
            "sh", "-c", f"rm -f /run/rc; ({command}) >/dev/null 2>&1 & sleep {moment * 0.2:.2f}"
        ).checked()
        if moment == moments[-1]:  # after its end, however slow this machine is
            assert until(lambda: gateway.host.run("test", "-s", "/run/rc").rc == 0, 60)
        with disk.fault(kind):
            assert until(lambda: gateway.host.run("test", "-s", "/run/rc").rc == 0, 60)
            code = int(gateway.host.run("cat", "/run/rc").out)
            assert code in (0, 3), gateway.host.run("cat", "/run/out").out
            in_part += code == 3
            revoked += cut_off(lab, gateway, leave, kind)
            early += not addresses(gateway) <= disk.written()
            assert (code == 0) == (len(addresses(gateway)) == 2)
        assert gateway.warpctl("apply", "--yes").rc == 0
        kept += len(addresses(gateway)) == 2
        gateway.apply(network("stay", "leave"))
        again(leave)
    print(
        f"\n  apply, disk {kind}: revoked {revoked}, applied later {kept} of {len(moments)}; in"
        f" part {in_part}; early {early}"
    )
    assert (revoked, kept, early) == (len(moments), len(moments), 0) and 0 < in_part < len(moments)


def test_an_apply_to_be_confirmed_on_a_full_disk(bench: Bench) -> None:
    """What takes away is done, for good; nothing is given, and the command says that nothing will
    be undone.
    """
    lab, gateway = bench
    disk = Disk(gateway)
    gateway.apply(network("stay", "leave"))
    leave = connect(lab.clients[1], gateway, "leave")
    gateway.networks = network("stay", "new")
    gateway.write()
    with disk.fault("full"):
        told = gateway.warpctl("apply", "--yes", "--confirm-within", "5s")
        assert told.rc == 3 and "nothing will be undone" in told.out, told.out + told.err
        assert cut_off(lab, gateway, leave, "full")
        assert gateway.warpctl("confirm").rc == 1, "nothing waits"
        assert len(addresses(gateway)) == 1
    gateway.apply()
    assert len(addresses(gateway)) == 2


# What is lost while no daemon is there: the whole folder, or the master secret alone.
LOSSES = {
    "folder": (
        f"mv {DISK}/state {DISK}/away",
        f"test ! -e {DISK}/state && mv {DISK}/away {DISK}/state",
    ),
    "secret": (
        f"mv {DISK}/state/master.key {DISK}/away",
        f"test ! -e {DISK}/state/master.key && mv {DISK}/away {DISK}/state/master.key",
    ),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_daemon_that_starts_without_its_memory(bench: Bench, loss: str) -> None:
    """It repairs the guard and cuts off who was removed, by what the kernel and the YAML tell;
    nobody else notices.
    """
    lab, gateway = bench
    disk = Disk(gateway)
    own = {"stay": "10.44.0.2", "leave": "10.44.0.3"}

    def intent(*names: str) -> dict[str, object]:
        endpoints = {name: {"type": "mobile", "address": own[name]} for name in names}
        return {
            "net": {
                "type": "secure-internet",
                "vcid": VCID,
                "subnet": "10.44.0.0/24",
                "endpoints": endpoints,
            }
        }

    gateway.networks = intent("stay", "leave")
    gateway.write()
    service = Service(gateway)
    service.start()
    stay, leave = (
        connect(host, gateway, name) for host, name in zip(lab.clients, own, strict=False)
    )
    session = stay.handshake
    service.end("KILL")
    begin, end = LOSSES[loss]
    disk.run(begin)
    gateway.networks = intent("stay")
    gateway.write()
    gateway.host.run("nft", "delete", "table", "inet", "warpd").checked()
    service.start()
    assert until(lambda: guarded(gateway), 20)
    assert cut_off(lab, gateway, leave, loss)
    lost = TALLY.forbidden(
        f"start without {loss}: the host's services",
        reached(lab, stay.host, UPLINK4, GATEWAY_PORTS[0]),
    )
    assert not lost, lost
    unmoved = [
        ("the session of who stays", stay.handshake >= session > 0),
        ("its internet", stay.host.ping(INTERNET4)),
    ]
    status = gateway.warpctl("status").out
    unmoved.append(("status says so first", "the master secret is gone" in status.splitlines()[0]))
    assert not TALLY.allowed(f"start without {loss}", unmoved), status
    disk.run(end)
    gateway.networks = intent("stay", "leave")
    gateway.write()
    assert until(lambda: leave.config.address4 in addresses(gateway), 60)
    again(leave)
    assert stay.host.ping(INTERNET4) and stay.handshake >= session
    service.end("TERM")
