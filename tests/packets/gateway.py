"""The product and its clients as an operator and a user meet them: `warpctl` and `wg-quick`,
nothing else.

Lives here: how the tests write intents, run commands, read printed configs and bring tunnels up. No
test imports the package `warpd`; what it promises is reached by its commands and by the kernel
names that its contract fixes.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from ..preloading import warpctl
from .lan import UNIT, UPLINK4, Done, Host, Stuck, environment, until

# auto is what an operator gets: the kernel's WireGuard where it has one, wireguard-go where not.
WIREGUARD = os.environ.get("WARPD_TEST_WIREGUARD", "auto")
# The whole suite runs in either mode; they behave the same from outside.
ISOLATION = os.environ.get("WARPD_TEST_ISOLATION", "namespace")
# An installed warpctl can be tested instead of this tree's.
INSTALLED = shlex.split(os.environ.get("WARPD_TEST_WARPCTL", ""))
LINK = "wg0"


class Gateway:
    """`warpctl` on one host with one YAML file and one state folder."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host = host
        self.file = Path("/etc/warpd/warp.yaml") if UNIT else folder / "warp.yaml"
        self.state = Path("/var/lib/warpd") if UNIT else folder / "state"
        self.networks: dict[str, Any] = {}

    def warpctl(self, *arguments: str, timeout_s: float = 120) -> Done:
        return self.host.run(
            *self._words(INSTALLED or warpctl(), arguments), timeout_s=timeout_s, env=environment()
        )

    def shell(self, *arguments: str) -> str:
        """The same as a line for a shell, in a process that can be signalled."""
        command = INSTALLED or (sys.executable, "-m", "warpd.cli")
        return shlex.join(
            [
                *(f"{name}={value}" for name, value in environment().items()),
                *self._words(command, arguments),
            ]
        )

    def _words(self, command: Sequence[str], arguments: tuple[str, ...]) -> tuple[str, ...]:
        return (*command, "-c", str(self.file), "--state-dir", str(self.state), *arguments)

    def write(self, **gateway: Any) -> None:
        """The YAML file; JSON is YAML."""
        about = {
            "name": "gw",
            "public_endpoint": UPLINK4,
            "wireguard": WIREGUARD,
            "isolation": ISOLATION,
            **gateway,
        }
        document = {"version": 1, "gateway": about, "networks": self.networks}
        self.file.write_text(json.dumps(document, indent=2))

    def apply(self, networks: Mapping[str, Any] | None = None) -> Done:
        """Write `networks`, or what was changed in place, and apply it; raises Stuck unless it
        ended well.
        """
        if networks is not None:
            self.networks = dict(networks)
        self.write()
        return self.converge().checked()

    def converge(self, timeout_s: float = 120) -> Done:
        """What was written takes effect: by a command, or by the daemon under its unit."""
        if not UNIT:
            return self.warpctl("apply", "--yes", timeout_s=timeout_s)
        self.host.run("systemctl", "start", "warpd", timeout_s=timeout_s).checked()
        until(lambda: self.warpctl("plan", timeout_s=timeout_s).rc == 0, timeout_s)
        return self.warpctl("plan", timeout_s=timeout_s)

    def config(self, endpoint: str) -> Config:
        return parse(self.warpctl("endpoint", "config", endpoint).checked().out)

    def inside(self, vcid: int, *argv: str) -> Done:
        """A command where a network's device is, by the names that the contract fixes."""
        if ISOLATION == "vrf":
            return self.host.run(*argv)
        return self.host.run("nsenter", f"--net=/run/netns/warp-{vcid}", *argv)

    def peers(self, vcid: int) -> dict[str, dict[str, Any]]:
        """The WireGuard peers of a network as the kernel shows them, by public key."""
        dump = self.inside(vcid, "wg", "show", f"wg-{vcid}", "dump").checked().out
        out = {}
        for line in dump.splitlines()[1:]:
            key, _psk, endpoint, allowed, handshake, received, sent, _keepalive = line.split("\t")
            out[key] = {
                "endpoint": endpoint,
                "allowed": allowed.split(","),
                "handshake": int(handshake),
                "received": int(received),
                "sent": int(sent),
            }
        return out

    def transit(self, vcid: int) -> list[str]:
        """Both families' addresses on the gateway's and on the network's end of the link between
        them, if there is one.
        """
        if ISOLATION == "vrf":
            return []
        near = self.host.run("ip", "-j", "addr", "show", "dev", f"dn-{vcid}").checked()
        far = self.inside(vcid, "ip", "-j", "addr", "show", "dev", f"up-{vcid}").checked()
        links = [*json.loads(near.out), *json.loads(far.out)]
        found = [a for link in links for a in link.get("addr_info", ()) if a["scope"] == "global"]
        return [str(address["local"]) for address in found]


@dataclass(frozen=True, slots=True)
class Config:
    """A wg-quick config as printed, and what the tests need to know from it."""

    text: str = field(repr=False)
    address4: str
    address6: str
    public_key: str
    mtu: int

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(a for a in (self.address4, self.address6) if a)


def parse(text: str) -> Config:
    """Read a printed config the way wg-quick does; any file that lacks what a client needs is
    refused.
    """
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.split("#")[0].partition("=")
        if equals:
            values[name.strip()] = ",".join(filter(None, (values.get(name.strip()), value.strip())))
    missing = {"Address", "PrivateKey", "PublicKey", "Endpoint", "AllowedIPs"} - values.keys()
    if missing:
        raise Stuck(f"the printed config lacks {sorted(missing)}")
    addresses = [ip_interface(item.strip()).ip for item in values["Address"].split(",")]
    own = {ip.version: str(ip) for ip in addresses}
    return Config(
        text,
        own.get(4, ""),
        own.get(6, ""),
        public_key(values["PrivateKey"]),
        int(values.get("MTU", 0)),
    )


def public_key(private: str) -> str:
    job = subprocess.run(
        ("wg", "pubkey"), input=private, capture_output=True, text=True, timeout=10, check=True
    )
    return job.stdout.strip()


def new_key(kind: str) -> str:
    """`genkey` or `genpsk`."""
    return subprocess.run(
        ("wg", kind), capture_output=True, text=True, timeout=10, check=True
    ).stdout.strip()


REPEATED_S = 7  # REKEY_TIMEOUT of 5 s, its jitter of 1/3 s, and full seconds


class Tunnel:
    """A client's tunnel, made by wg-quick from the config exactly as printed."""

    def __init__(self, host: Host, config: Config) -> None:
        self.host, self.config = host, config
        self.path = f"/run/{LINK}.conf"

    def up(self) -> None:
        self.host.run("sh", "-c", f"umask 077; cat >{self.path}", text=self.config.text).checked()
        self.host.run("wg-quick", "up", self.path, env=environment(), timeout_s=30).checked()

    def down(self) -> None:
        self.host.run("wg-quick", "down", self.path, env=environment(), timeout_s=30).checked()

    def shown(self, what: str) -> str:
        """`wg show wg0 WHAT` for the one peer there is, without the peer's key."""
        line = self.host.run("wg", "show", LINK, what).checked().out
        return line.partition("\t")[2].strip()

    @property
    def handshake(self) -> int:
        """When the last handshake was, in seconds of the epoch; 0: never."""
        return int(self.shown("latest-handshakes") or 0)

    def wake(self, target: str, timeout_s: float = 15) -> bool:
        """Until `target` answers a ping. A handshake that was lost is tried again after 5 s."""
        return until(lambda: self.host.ping(target), timeout_s)

    def settle(self) -> None:
        """Wait until WireGuard does not repeat the handshake any more.

        The timer that repeats it after 5 s starts once the initiation is sent: an answer that is
        processed before does not stop it (wg_packet_send_handshake_initiation in
        drivers/net/wireguard/send.c).
        """
        assert until(lambda: time.time() - self.handshake > REPEATED_S, 20), "no handshake lasts"


def wireguard_in_use(host: Host) -> str:
    """Which WireGuard the tests will run on: the kernel's, or wireguard-go."""
    made = host.run("ip", "link", "add", "probe", "type", "wireguard")
    if made.rc == 0:
        host.run("ip", "link", "del", "probe").checked()
        return "kernel"
    if shutil.which("wireguard-go"):
        return "wireguard-go"
    raise Stuck("neither the kernel nor wireguard-go can make a WireGuard device here")
