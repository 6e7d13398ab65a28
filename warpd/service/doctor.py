"""Check whether this machine can run the gateway, and whether anything is in its way.

The result is a list of checks, each with what to do. Nothing is changed; the kernel is observed as
for a plan.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from warpd import naming
from warpd.allocation.model import Allocations
from warpd.errors import WarpError
from warpd.intent.model import Intent
from warpd.kernel.api import Dump, DumpError
from warpd.kernel.kinds.wireguard import WireguardDevice
from warpd.kernel.linux import bindings, udp_ports
from warpd.kernel.state import ROOT, Host, Key, PeerTraffic, State, has_session
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
from warpd.service.views.report import taken_vxlan_port
from warpd.store import export_log
from warpd.store.state_folder import Store

LOOKED_AT_BY: Final = (
    "root may look; for members of the groups warpd-read and warpd a running warpd does it"
)

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name, its verdict, what was found, and what to do about it."""

    name: str
    state: Verdict
    text: str
    hint: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def examine(
    intent: Intent | None,
    allocations: Allocations,
    current: Callable[[Host | None, bool], Sequence[Condition]],
) -> list[Check]:
    """Return every check, in the order in which an operator would fix problems.

    Args:
        intent: the intent; None where the YAML is invalid and nothing is in force.
        allocations: its allocations.
        current: returns the conditions that status shows too. Its arguments are the observed host,
            and whether the kernel has WireGuard devices that warpd has made.
    """
    if not bindings.are_here():
        fault = Check("kernel", "fail", bindings.MISSING, bindings.HINT)
        return [*_conditions(current(None, False)), *_yaml(intent), _rights(), fault]
    from warpd.kernel.linux.live_kernel import LiveKernel

    kernel = LiveKernel()
    try:
        observed = observe(kernel)
        dump = kernel.dump(ROOT, intent.gateway.uplink if intent else "auto")
    except (DumpError, OSError) as failure:
        fault = _unseen(str(failure))
        return [*_conditions(current(None, False)), *_yaml(intent), _rights(), fault]
    finally:
        kernel.close()
    host = dump.host or Host()
    devices = any(isinstance(item, WireguardDevice) for item in observed.state)
    out = [
        *_conditions(current(host, devices)),
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
        *_vxlan_port(host, intent),
    ]


def _conditions(found: Iterable[Condition]) -> Iterator[Check]:
    for item in found:
        yield Check(item.code, "fail" if item.severity == "error" else "warn", item.text, item.hint)


def exports_log(store: Store) -> Iterator[Check]:
    """Whether the log of exports is what was written; nothing where it cannot be read."""
    try:
        log = store.export_log_text()
    except WarpError:
        return
    altered, unknown = export_log.first_altered(log), export_log.unchained(log)
    if altered is None:
        known = f"; nothing is known of its first {unknown} lines" if unknown else ""
        text = f"no line of the log of exports was altered{known}"
        hint = "they are of an earlier version, or their chain was taken out" if unknown else ""
        yield Check("exports", "warn" if unknown else "ok", text, hint)
        return
    path = store.folder / export_log.FILE
    text = f"{path} was altered before line {altered}"
    hint = "compare it with a backup, and with `client config exported` in the system's log"
    yield Check("exports", "fail", text, hint)


def _yaml(intent: Intent | None) -> Iterator[Check]:
    """Whether the YAML is valid; if it is not, there is a condition."""
    if intent is not None:
        yield Check("yaml", "ok", f"{len(intent.networks)} networks")


def _rights() -> Check:
    if os.geteuid() == 0:
        return Check("rights", "ok", "this machine is looked at with the rights of root")
    return Check("rights", "warn", "not root, and warpd does not answer", LOOKED_AT_BY)


def _unseen(why: str) -> Check:
    """The kernel cannot be looked at; without the rights of root nothing is wrong with it."""
    if os.geteuid() == 0:
        return Check("kernel", "fail", why, "the kernel needs netlink and nf_tables")
    return Check("kernel", "fail", f"not looked at: {why}", LOOKED_AT_BY)


def _kernel() -> Check:
    return Check("kernel", "ok", f"Linux {platform.release()}, netlink and nf_tables answer")


def _wireguard(intent: Intent | None, host: Host) -> Check:
    have = []
    if host.wireguard_kernel:
        have.append("kernel")
    if host.wireguard_go:
        have.append("wireguard-go")
    found = driver(intent.gateway, host) if intent else next(iter(have), None)
    if found is None:
        wanted = f" (gateway.wireguard is {intent.gateway.wireguard})" if intent else ""
        hint = "modprobe wireguard, or apt install wireguard-go for gateways without the kernel's"
        return Check("wireguard", "fail", f"no WireGuard that may be used{wanted}", hint)
    used = "kernel" if found == "wireguard" else "userspace"
    return Check("wireguard", "ok", f"available: {', '.join(have)}; used: {used}")


def _vrf(intent: Intent | None, host: Host) -> Check:
    wanted = _networks_in_vrfs(intent) if intent is not None else 0
    if host.vrf:
        return Check("vrf", "ok", f"available; networks that live in one: {wanted}")
    text = f"this kernel has none; networks that ask for it: {wanted}"
    if not wanted:
        return Check("vrf", "ok", text)
    hint = "apt install linux-image-amd64 (its module vrf), or write isolation: namespace"
    return Check("vrf", "fail", text, hint)


def _networks_in_vrfs(intent: Intent) -> int:
    networks = intent.networks.values()
    return sum(isolation_of(network, intent.gateway) == "vrf" for network in networks)


def _uplink(host: Host) -> Iterator[Check]:
    """Describe the uplink; where it does not work, there is a condition."""
    if not host.uplink or host.uplink_down or not host.hops:
        return
    warnings = list(uplink_warnings(host))
    for warning in warnings:
        yield Check("uplink", "warn", warning["message"], warning["hint"])
    if not warnings:
        addresses = ", ".join(host.uplink_addresses) or "no address"
        yield Check("uplink", "ok", f"{host.uplink}, MTU {host.uplink_mtu}, {addresses}")


def _forwarding(host: Host) -> Iterator[Check]:
    if host.fence4 or host.fence6:
        text = (
            "was off on this host; warpd turned it on and drops forwarded packets of everything"
            " else"
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
    """Check that systemd-networkd, where it runs, keeps routes and rules that it has not made.

    Args:
        root: the root of the file system.

    Source: networkd.conf(5).
    """
    import configparser  # imported late: the daemon hardly ever needs it, and it costs memory

    if not (root / "run/systemd/netif").is_dir():
        return
    found = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    for file in _drop_ins(root, "networkd.conf"):
        with contextlib.suppress(OSError, UnicodeDecodeError, configparser.Error):
            found.read(file, encoding="utf-8")
    names = ("ManageForeignRoutes", "ManageForeignRoutingPolicyRules")
    on = [name for name in names if _is_on(found.get("Network", name, fallback="yes"))]
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


def _is_on(value: str) -> bool:
    """Whether a boolean of systemd is true."""
    return value.lower() not in ("no", "false", "off", "0")


def _drop_ins(root: Path, name: str) -> list[Path]:
    """Return a file and its drop-ins, in the order in which systemd reads them.

    Of two files with one name, the one in /etc counts.
    """
    places = [root / "usr/lib/systemd", root / "run/systemd", root / "etc/systemd"]
    by_name: dict[str, Path] = {}
    for place in places:
        by_name |= {file.name: file for file in (place / f"{name}.d").glob("*.conf")}
    mains = [place / name for place in places if (place / name).is_file()]
    return [*mains[-1:], *(by_name[file] for file in sorted(by_name))]


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
    unclear = uncertain_chains(host, allocations, intent, connected)
    for chain in unclear:
        text = (
            f"chain {chain} (not ours) may drop what clients send, or the answers to them: warpd"
            " cannot evaluate one of its rules"
        )
        yield Check("firewall", "warn", text, "see whether handshakes arrive: `warpctl status`")
    if not warnings and not unclear:
        yield Check("firewall", "ok", "no chain of others drops our packets")


def _ports(state: State, allocations: Allocations, intent: Intent | None) -> Iterator[Check]:
    """Check that no other program has a port of a network that is to be up."""
    bound = {item.port for item in state if isinstance(item, WireguardDevice)}
    networks = {item.port: name for name, item in allocations.networks.items()}
    for port, who in udp_ports.taken(set(listening_ports(allocations, intent)) - bound).items():
        warning = port_warning(port, who, networks[port])
        yield Check("port", "fail", warning["message"], warning["hint"])


def _vxlan_port(host: Host, intent: Intent | None) -> Iterator[Check]:
    """Check that nothing else has the UDP port of VXLAN legs."""
    found = taken_vxlan_port(host, intent) if intent is not None else []
    for warning in found:
        yield Check("port", "fail", warning["message"], warning["hint"])


def connected_ports(
    traffic: Mapping[Key, PeerTraffic], allocations: Allocations, now_s: int
) -> set[int]:
    """Return the listening ports at which a client has a session.

    Args:
        traffic: what the kernel has counted, by peer.
        allocations: the allocations of the networks.
        now_s: seconds since the epoch.
    """
    devices = set()
    for key, peer in traffic.items():
        if has_session(peer.handshake, now_s):
            devices.add(key.name.partition(" ")[0])
    networks = allocations.networks.values()
    return {item.port for item in networks if naming.tunnel(item.vcid) in devices}
