"""Why an endpoint cannot reach what it should: each cause is planted, felt by a real packet, and
told. Topology: lan.py.

What the gateway can see, `status`, `explain` or `doctor` says; what it cannot see, `explain` names
as not seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from .gateway import Gateway, Tunnel, new_key, parse
from .lan import CONTAINER, DNS4, INTERNET4, LAN_HOST4, NARROW4, Lab
from .packet import new_ident
from .tally import TALLY

PORT = 7777
PHONE = {"type": "mobile"}
NETWORKS: dict[str, Any] = {
    "net": {
        "type": "secure-internet",
        "expected_users": 6,
        "dns": [DNS4],
        "mtu": 1420,
        "endpoints": {
            "phone": PHONE,
            "off": {**PHONE, "enabled": False},
            "old": {**PHONE, "expires": "2026-01-01"},
        },
    },
    "corp": {
        "type": "remote-resource-gateway",
        "resources": [{"subnet": "10.44.0.0/24", "protocol": "tcp", "ports": [PORT]}],
        "endpoints": {"laptop": PHONE},
    },
}


@dataclass(frozen=True, slots=True)
class Field:
    """A gateway with a phone of one network and a laptop of another, both connected."""

    lab: Lab
    gateway: Gateway
    phone: Tunnel
    laptop: Tunnel

    def told(self, *words: str) -> str:
        """What a command says, in one line; its exit code is of no interest here."""
        done = self.gateway.warpctl(*words)
        return " ".join(f"{done.out} {done.err}".split())

    def explained(self, endpoint: str, target: str, *more: str) -> str:
        return self.told("explain", endpoint, target, *more)

    def tcp(self, tunnel: Tunnel, target: str, port: int = PORT) -> bool:
        return tunnel.host.tcp(target, port, new_ident(), 2) or tunnel.host.tcp(
            target, port, new_ident(), 2
        )


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    lab = Lab(3)
    gateway = Gateway(lab.gw, tmp_path_factory.mktemp("causes"))
    lab.gw.run("sysctl", "-qw", "net.ipv4.ip_forward=1").checked()  # by the host, not by us
    gateway.apply(NETWORKS)
    made = {}
    for client, endpoint in zip(lab.clients, ("net/phone", "corp/laptop"), strict=False):
        made[endpoint] = Tunnel(client, gateway.config(endpoint))
        made[endpoint].up()
    found = Field(lab, gateway, made["net/phone"], made["corp/laptop"])
    assert found.phone.wake(INTERNET4) and found.tcp(found.laptop, LAN_HOST4)
    yield found
    lab.stop()


def wrong_key(field: Field) -> tuple[bool, str, str]:
    text = re.sub(
        r"PrivateKey = .*",
        f"PrivateKey = {new_key('genkey')}",
        field.gateway.config("net/phone").text,
    )
    spare = Tunnel(field.lab.clients[2], parse(text))
    spare.up()
    field.phone.down()
    field.gateway.warpctl(
        "endpoint", "rotate", "net/phone"
    ).checked()  # a peer without a handshake yet
    field.gateway.warpctl("apply", "--yes").checked()
    reached = spare.host.ping(INTERNET4)
    said = field.explained("net/phone", INTERNET4)
    spare.down()
    field.phone.config = field.gateway.config("net/phone")
    field.phone.up()
    return (
        reached,
        said,
        "session: no handshake since the tunnel was made.*another key gets no answer",
    )


def disabled(field: Field) -> tuple[bool, str, str]:
    return (
        False,
        field.explained("net/off", INTERNET4),
        "the endpoint is disabled: `warpctl endpoint enable net/off`.*does not pass",
    )


def expired(field: Field) -> tuple[bool, str, str]:
    return (
        False,
        field.explained("net/old", INTERNET4),
        "the endpoint has expired on 2026-01-01.*does not pass",
    )


def closed_port(field: Field) -> tuple[bool, str, str]:
    field.phone.down()
    chain = "add chain inet fw input { type filter hook input priority 0; }"
    field.lab.gw.run("nft", f"add table inet fw; {chain}").checked()
    field.lab.gw.run("nft", "add rule inet fw input udp dport 51820-51829 drop").checked()
    try:
        field.phone.up()
        reached = field.phone.host.ping(INTERNET4)
        said = field.told("status") + field.told("doctor")
        return reached, said, "inet fw input .not ours. drops.*UDP port 51820.*let them through"
    finally:
        field.lab.gw.run("nft", "delete table inet fw").checked()


def uplink_down(field: Field) -> tuple[bool, str, str]:
    field.lab.gw.ip("link set eth0 down")
    try:
        reached = field.phone.host.ping(INTERNET4)
        return (
            reached,
            field.explained("net/phone", INTERNET4),
            "(no default route|uplink eth0 is down)",
        )
    finally:
        lines = ["link set eth0 up", "route replace default via 203.0.113.254"]
        field.lab.gw.ip(
            *lines,
            "addr replace 2001:db8:113::1/64 dev eth0",
            "route replace default via 2001:db8:113::fe",
        )


def resource_not_permitted(field: Field) -> tuple[bool, str, str]:
    reached = field.tcp(field.laptop, LAN_HOST4, 54)
    said = field.explained("corp/laptop", LAN_HOST4, "--proto", "tcp", "--port", "54")
    return reached, said, r"\* rule: .*drop.*does not pass"


def outside_the_resources(field: Field) -> tuple[bool, str, str]:
    """A host behind the gateway that no provider knows."""
    field.lab.isp.ip(f"route del {CONTAINER} via {INTERNET4}")
    try:
        reached = field.tcp(field.laptop, CONTAINER)
        said = field.explained("corp/laptop", CONTAINER, "--proto", "tcp", "--port", str(PORT))
        return (
            reached,
            said,
            f"does not send {CONTAINER} into the tunnel: AllowedIPs lack it.*does not pass",
        )
    finally:
        field.lab.isp.ip(f"route add {CONTAINER} via {INTERNET4}")


def silent_name_server(field: Field) -> tuple[bool, str, str]:
    world = field.lab.world
    world.run(
        "nft", "add table inet q; add chain inet q input { type filter hook input priority 0; }"
    ).checked()
    world.run("nft", "add rule inet q input udp dport 53 drop").checked()
    try:
        reached = field.phone.host.udp(DNS4, 53, new_ident())
        said = field.explained("net/phone", DNS4, "--proto", "udp", "--port", "53")
        return (
            reached,
            said,
            "not seen from here: the other side: whether the name server answers queries.*passes",
        )
    finally:
        world.run("nft", "delete table inet q").checked()


def overlapping_network(field: Field) -> tuple[bool, str, str]:
    """The laptop sits in a network that uses the addresses of the resource."""
    field.laptop.host.ip(
        "link add home type dummy", "addr add 10.44.0.77/25 dev home", "link set home up"
    )
    try:
        reached = field.tcp(field.laptop, LAN_HOST4)
        said = field.explained("corp/laptop", LAN_HOST4, "--proto", "tcp", "--port", str(PORT))
        return (
            reached,
            said,
            (
                "not seen from here: the device itself.*networks around it that use the same"
                " addresses.*passes"
            ),
        )
    finally:
        field.laptop.host.ip("link del home")


def large_packets_vanish(field: Field) -> tuple[bool, str, str]:
    """A narrow link of the provider, whose router may not say so."""
    isp = field.lab.isp
    isp.run(
        "nft", "add table inet q; add chain inet q output { type filter hook output priority 0; }"
    ).checked()
    isp.run("nft", "add rule inet q output icmp type destination-unreachable drop").checked()
    try:
        small = field.phone.host.ping(NARROW4)
        large = (
            field.phone.host.run("ping", "-n", "-c2", "-W1", "-M", "do", "-s", "1372", NARROW4).rc
            == 0
        )
        said = field.explained("net/phone", NARROW4)
        return (
            large or not small,
            said,
            "not seen from here: routers on the way that drop large packets.*-s 1392 .*passes",
        )
    finally:
        isp.run("nft", "delete table inet q").checked()


def mtu_beyond_the_uplink(field: Field) -> tuple[bool, str, str]:
    field.lab.gw.ip("link set eth0 mtu 1300")
    try:
        return (
            False,
            field.told("status"),
            "networks.net.mtu is 1420, and the uplink eth0 has room for 1240",
        )
    finally:
        field.lab.gw.ip("link set eth0 mtu 1500")


def forwarding_off(field: Field) -> tuple[bool, str, str]:
    field.lab.gw.run("sysctl", "-qw", "net.ipv4.conf.eth0.forwarding=0").checked()
    try:
        reached = field.phone.host.ping(INTERNET4)
        said = field.explained("net/phone", INTERNET4)
        return reached, said, "somebody has turned that off for eth0 alone"
    finally:
        field.lab.gw.run("sysctl", "-qw", "net.ipv4.conf.eth0.forwarding=1").checked()


def foreign_forward_chain(field: Field) -> tuple[bool, str, str]:
    chain = "add chain inet fw forward { type filter hook forward priority 0; policy drop; }"
    field.lab.gw.run("nft", f"add table inet fw; {chain}").checked()
    try:
        reached = field.phone.host.ping(INTERNET4)
        return (
            reached,
            field.explained("net/phone", INTERNET4),
            "chain inet fw forward .not ours. drops it.*does not pass",
        )
    finally:
        field.lab.gw.run("nft", "delete table inet fw").checked()


CAUSES: tuple[Callable[[Field], tuple[bool, str, str]], ...] = (
    disabled,
    expired,
    resource_not_permitted,
    outside_the_resources,
    silent_name_server,
    overlapping_network,
    large_packets_vanish,
    mtu_beyond_the_uplink,
    forwarding_off,
    foreign_forward_chain,
    closed_port,
    uplink_down,
    wrong_key,
)


@pytest.mark.parametrize("cause", CAUSES, ids=lambda each: each.__name__)
def test_a_cause_is_told_or_named_as_not_seen(
    field: Field, cause: Callable[[Field], tuple[bool, str, str]]
) -> None:
    reached, said, wanted = cause(field)
    assert not reached, "the cause was not planted"
    assert re.search(wanted, said), f"{wanted}\n{said}"
    results = [(cause.__name__, True)]
    assert not TALLY.allowed("causes: told, or named as not seen", results)
    assert field.phone.wake(INTERNET4, 20) and field.tcp(field.laptop, LAN_HOST4), (
        "what was planted is gone again"
    )
