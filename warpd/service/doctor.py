"""Is this machine fit, and does anything stand in the way? A list of checks, each with what to do.

Changes nothing. Reads the kernel through the same look as a plan does.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from warpd import naming
from warpd.allocation.model import Allocations
from warpd.intent.model import Intent
from warpd.kernel.api import Dump, DumpError
from warpd.kernel.kinds.wireguard import WireguardDevice
from warpd.kernel.linux import bindings, udp_ports
from warpd.kernel.state import ROOT, Host, Key, PeerTraffic, State
from warpd.networks.host_facts import driver
from warpd.networks.resolved import isolation_of
from warpd.reconcile.observe import observe
from warpd.service.conditions import Condition
from warpd.service.views.advice import (
    foreign_warnings,
    listening_ports,
    port_warning,
    uncertain_chains,
    uplink_warnings,
)
from warpd.service.views.overview import CONNECTED_S

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    state: Verdict
    text: str
    hint: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def examine(
    intent: Intent | None,
    allocations: Allocations,
    told: Callable[[Host | None, bool], Sequence[Condition]],
) -> list[Check]:
    """Every check, in the order in which an operator would mend them.

    `told` gives what status tells as well, of what a look at the host showed, and of whether
    devices of ours are there.
    """
    if not bindings.are_here():
        fault = Check("kernel", "fail", bindings.MISSING, bindings.HINT)
        return [*_conditions(told(None, False)), *_yaml(intent), _rights(), fault]
    from warpd.kernel.linux.live_kernel import LiveKernel

    kernel = LiveKernel()
    try:
        observed = observe(kernel)
        dump = kernel.dump(ROOT, intent.gateway.uplink if intent else "auto")
    except (DumpError, OSError) as failure:
        fault = Check(
            "kernel", "fail", str(failure), "run as root; the kernel needs netlink and nf_tables"
        )
        return [*_conditions(told(None, False)), *_yaml(intent), _rights(), fault]
    finally:
        kernel.close()
    host = dump.host or Host()
    devices = any(isinstance(item, WireguardDevice) for item in observed.state)
    out = [
        *_conditions(told(host, devices)),
        *_yaml(intent),
        _rights(),
        _kernel(),
        _wireguard(intent, host),
        _vrf(intent, host),
    ]
    out += _uplink(host)
    return [
        *out,
        *_forwarding(host),
        *networkd(Path("/")),
        *_foreign(dump, host, allocations, intent, observed.traffic),
        *_ports(observed.state, allocations, intent),
    ]


def _conditions(found: Iterable[Condition]) -> Iterator[Check]:
    for item in found:
        yield Check(item.code, "fail" if item.severity == "error" else "warn", item.text, item.hint)


def _yaml(intent: Intent | None) -> Iterator[Check]:
    """What is wrong with it is a condition."""
    if intent is not None:
        yield Check("yaml", "ok", f"{len(intent.networks)} networks")


def _rights() -> Check:
    if os.geteuid() == 0:
        return Check("rights", "ok", "running as root")
    return Check("rights", "warn", "not root: some things cannot be seen", "run it with sudo")


def _kernel() -> Check:
    return Check("kernel", "ok", f"Linux {platform.release()}, netlink and nf_tables answer")


def _wireguard(intent: Intent | None, host: Host) -> Check:
    have = [
        name
        for name, there in (("kernel", host.wireguard_kernel), ("wireguard-go", host.wireguard_go))
        if there
    ]
    found = driver(intent.gateway, host) if intent else next(iter(have), None)
    if found is None:
        wanted = f" (gateway.wireguard is {intent.gateway.wireguard})" if intent else ""
        hint = "modprobe wireguard, or apt install wireguard-go for gateways without the kernel's"
        return Check("wireguard", "fail", f"no WireGuard that may be used{wanted}", hint)
    return Check(
        "wireguard",
        "ok",
        f"available: {', '.join(have)}; used: {'kernel' if found == 'wireguard' else 'userspace'}",
    )


def _vrf(intent: Intent | None, host: Host) -> Check:
    wanted = (
        [
            name
            for name, one in intent.networks.items()
            if isolation_of(one, intent.gateway) == "vrf"
        ]
        if intent
        else []
    )
    if host.vrf:
        return Check("vrf", "ok", f"available; networks that live in one: {len(wanted)}")
    text = f"this kernel has none; networks that ask for it: {len(wanted)}"
    if not wanted:
        return Check("vrf", "ok", text)
    return Check(
        "vrf",
        "fail",
        text,
        "apt install linux-image-amd64 (its module vrf), or write isolation: namespace",
    )


def _uplink(host: Host) -> Iterator[Check]:
    """What is wrong with it is a condition."""
    if not host.uplink or host.uplink_down or not host.hops:
        return
    about = (
        f"{host.uplink}, MTU {host.uplink_mtu}, {', '.join(host.uplink_addresses) or 'no address'}"
    )
    warnings = list(uplink_warnings(host))
    yield from (
        Check("uplink", "warn", warning["message"], warning["hint"]) for warning in warnings
    )
    if not warnings:
        yield Check("uplink", "ok", about)


def _forwarding(host: Host) -> Iterator[Check]:
    if host.fence4 or host.fence6:
        text = (
            "was off on this host; warpd turned it on and fences off everything that is not its own"
        )
        yield Check("forwarding", "ok", text)
    elif host.forwarding4:
        yield Check("forwarding", "ok", "on for the whole host (not by warpd)")
    log = _log_all_netns()
    if log == "0":
        hint = (
            "sysctl net.netfilter.nf_log_all_netns=1 shows dropped packets of all networks in the"
            " kernel log"
        )
        yield Check("drop log", "warn", "drops inside networks are counted, not logged", hint)


def networkd(root: Path) -> Iterator[Check]:
    """Whether systemd-networkd, where it runs, leaves routes and rules alone that it did not make
    (networkd.conf(5)).
    """
    import configparser  # a daemon that nobody asks for a check does without it

    if not (root / "run/systemd/netif").is_dir():
        return
    found = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    for file in _drop_ins(root, "networkd.conf"):
        with contextlib.suppress(OSError, UnicodeDecodeError, configparser.Error):
            found.read(file, encoding="utf-8")
    names = ("ManageForeignRoutes", "ManageForeignRoutingPolicyRules")
    on = [
        name
        for name in names
        if found.get("Network", name, fallback="yes").lower() not in ("no", "false", "off", "0")
    ]
    if on:
        hint = (
            "install systemd/networkd.conf.d/50-warpd.conf into /etc/systemd/networkd.conf.d and"
            " restart systemd-networkd"
        )
        yield Check(
            "networkd",
            "warn",
            f"a restart of systemd-networkd removes what is ours: {', '.join(on)} is on",
            hint,
        )
    else:
        yield Check("networkd", "ok", "leaves routes and rules of others alone")


def _drop_ins(root: Path, name: str) -> list[Path]:
    """The file and its drop-ins, in the order in which systemd reads them; of two with one name
    that in /etc counts.
    """
    places = [root / "usr/lib/systemd", root / "run/systemd", root / "etc/systemd"]
    by_name = {
        file.name: file for place in places for file in sorted((place / f"{name}.d").glob("*.conf"))
    }
    main = [file for file in (place / name for place in places) if file.is_file()][-1:]
    return [*main, *(by_name[each] for each in sorted(by_name))]


def _log_all_netns() -> str:
    try:
        with open("/proc/sys/net/netfilter/nf_log_all_netns", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _foreign(
    dump: Dump,
    host: Host,
    allocations: Allocations,
    intent: Intent | None,
    traffic: Mapping[Key, PeerTraffic],
) -> Iterator[Check]:
    for key, text in sorted(dump.foreign.items()):
        yield Check(
            "conflict",
            "fail",
            f"{key} is not ours: {text}",
            "rename or remove it, or choose another VCID",
        )
    warnings = list(foreign_warnings(host, allocations, intent))
    for warning in warnings:
        yield Check("firewall", "warn", warning["message"], warning["hint"])
    connected = connected_ports(traffic, allocations, int(time.time()))
    unclear = [] if warnings else uncertain_chains(host, allocations, intent, connected)
    for chain in unclear:
        text = (
            f"chain {chain} (not ours) may drop what clients send: a rule of it is not understood"
            " here"
        )
        yield Check("firewall", "warn", text, "see whether handshakes arrive: `warpctl status`")
    if not warnings and not unclear:
        yield Check("firewall", "ok", "no chain of others drops our packets")


def _ports(state: State, allocations: Allocations, intent: Intent | None) -> Iterator[Check]:
    """Ports of networks that are to be up, and that somebody else holds."""
    held = {item.port for item in state if isinstance(item, WireguardDevice)}
    for port, who in udp_ports.taken(set(listening_ports(allocations, intent)) - held).items():
        warning = port_warning(port, who)
        yield Check("port", "fail", warning["message"], warning["hint"])


def connected_ports(
    traffic: Mapping[Key, PeerTraffic], allocations: Allocations, now_s: int
) -> set[int]:
    """Listening ports at which a client has a session; `now_s` is seconds since the epoch."""
    devices = {
        key.name.partition(" ")[0]
        for key, one in traffic.items()
        if one.handshake and now_s - one.handshake < CONNECTED_S
    }
    return {
        allocation.port
        for allocation in allocations.networks.values()
        if naming.tunnel(allocation.vcid) in devices
    }
