"""A network of warpd's shape made by hand, so that the floor can be checked without warpd.

What lives here: one namespace with a WireGuard device born in `gw`, a veth pair, sysctls and an nft
table with the constructs that do not survive being listed and loaded as a matter of course (maps,
concatenations, intervals, counters, comments). It is no example of what warpd builds.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import floor

VCID = 12345678
NS = f"warp-{VCID}"
PEERS = 100
TABLE = """
table inet warpd {
  comment "12345678"
  counter spoofed { comment "not its own address" }
  set granted4 { typeof ip saddr; elements = { %(v4)s } }
  set granted6 { type ipv6_addr; elements = { %(v6)s } }
  set private4 { type ipv4_addr; flags interval; auto-merge; elements = { 10.0.0.0/8, 172.16.0.0/12, 224.0.0.0/3 } }
  set dns { type ipv4_addr . inet_proto . inet_service; elements = { 10.9.9.9 . tcp . 53, 10.9.9.9 . udp . 53 } }
  map ways { type ifname . ipv4_addr : verdict; elements = { "wg-12345678" . 10.100.0.0 : accept } }
  chain input {
    type filter hook input priority filter; policy drop;
    iifname "lo" accept
    ct state vmap { established : accept, related : accept, invalid : drop }
    iifname . ip daddr vmap @ways
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    counter name spoofed drop comment "12345678 input"
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
    ct state established,related accept
    ip saddr != @granted4 counter drop comment "12345678 source"
    ip daddr . meta l4proto . th dport @dns accept
    ip daddr @private4 counter packets 0 bytes 0 drop
    iifname "wg-12345678" oifname "up-12345678" accept
  }
  chain postrouting {
    type nat hook postrouting priority srcnat;
    oifname "up-12345678" meta l4proto { tcp, udp } masquerade to :32768-60999 persistent
    oifname "up-12345678" masquerade
  }
}
"""


def key(name: str) -> str:
    return base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()


def peer(number: int) -> str:
    return (
        f"[Peer]\nPublicKey = {key(f'peer {number}')}\nPresharedKey = {key(f'shared {number}')}\n"
        f"AllowedIPs = 10.100.0.{number}/32, fd00:64::{number + 1:x}/128\n"
    )


def build(folder: Path) -> None:
    alias = f"warpd:{VCID}:hand"
    floor.run("ip", "netns", "add", NS, ns=floor.ROOT)
    (folder / "hand.nft").write_text(
        TABLE
        % {
            "v4": ", ".join(f"10.100.0.{n}" for n in range(1, PEERS + 1)),
            "v6": ", ".join(f"fd00:64::{n + 1:x}" for n in range(1, PEERS + 1)),
        }
    )
    floor.run("nft", "-f", str(folder / "hand.nft"), ns=NS)
    floor.run(
        "nft",
        "add table inet warpd; add chain inet warpd in { type filter hook input priority 5; }",
        ns=floor.ROOT,
    )
    floor.run(
        "sysctl",
        "-q",
        "-w",
        "net.ipv4.ip_forward=1",
        "net.ipv6.conf.all.forwarding=1",
        "net.ipv4.icmp_errors_use_inbound_ifaddr=1",
        ns=NS,
    )
    # born in gw and moved, which is another way than the floor's to the same state
    in_root(
        f"link add wg-{VCID} type wireguard",
        f"link set wg-{VCID} netns {NS}",
        f"link add dn-{VCID} type veth peer name up-{VCID}",
        f"link set up-{VCID} netns {NS}",
        f"link set dn-{VCID} alias {alias} addrgenmode none",
        f"link set dn-{VCID} up",
        f"addr add 198.19.0.0/31 dev dn-{VCID}",
        f"addr add fd77::/127 dev dn-{VCID} nodad",
    )
    conf = f"[Interface]\nPrivateKey = {key('gateway')}\nListenPort = 51820\n"
    (folder / "hand.conf").write_text(conf + "".join(map(peer, range(1, PEERS + 1))))
    floor.run("wg", "setconf", f"wg-{VCID}", str(folder / "hand.conf"), ns=NS)
    in_room(
        f"link set wg-{VCID} alias {alias} mtu 1400 up",
        f"link set up-{VCID} alias {alias} addrgenmode none up",
        "link set lo up",
        f"addr add 10.100.0.0/32 dev wg-{VCID}",
        f"addr add fd00:64::1/128 dev wg-{VCID} nodad",
        f"addr add 198.19.0.1/31 dev up-{VCID}",
        f"addr add fd77::1/127 dev up-{VCID} nodad",
        f"route add 10.100.0.0/25 dev wg-{VCID} proto 119",
        f"-6 route add fd00:64::/64 dev wg-{VCID} proto 119",
        "route add default via 198.19.0.0 proto 119",
        f"-6 route add default via fd77:: dev up-{VCID} proto 119",
        "route add unreachable 192.0.2.0/24 metric 7 proto 119",
        "rule add priority 77 iif lo lookup 77 protocol 119",
        f"route add 10.2.0.0/16 dev up-{VCID} table 77 onlink via 10.9.9.9 proto 119 mtu 1300",
    )
    floor.run("sysctl", "-q", "-w", f"net.ipv4.conf.wg-{VCID}.rp_filter=2", ns=NS)


def add_one(folder: Path) -> None:
    (folder / "one.conf").write_text(peer(PEERS + 1))
    floor.run("wg", "addconf", f"wg-{VCID}", str(folder / "one.conf"), ns=NS)
    floor.run("nft", f"add element inet warpd granted4 {{ 10.100.0.{PEERS + 1} }}", ns=NS)
    floor.run("nft", f"add element inet warpd granted6 {{ fd00:64::{PEERS + 2:x} }}", ns=NS)
    in_room(
        f"route add 10.77.0.0/16 dev wg-{VCID} proto 119",
        f"-6 route add fd01::/64 dev wg-{VCID} proto 119",
    )


def in_root(*commands: str) -> None:
    for command in commands:
        floor.run("ip", *command.split(), ns=floor.ROOT)


def in_room(*commands: str) -> None:
    for command in commands:
        floor.run("ip", *command.split(), ns=NS)
