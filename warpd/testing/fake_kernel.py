"""A kernel in memory: the same Protocol, the same rules of existence.

For tests of order, crashes, faults and of the daemon.

It passes the live kernel's own conformance tests (`tests/conformance`). It keeps objects, not
packets: what passes is only ever tested on a real kernel.
"""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from warpd.kernel.api import Dump, Event, FailureKind, OperationError
from warpd.kernel.kinds.bridge_port import BridgePort
from warpd.kernel.kinds.link import Device, LinkUp, Veth, VethEnd, WireguardLink
from warpd.kernel.kinds.netns import Netns
from warpd.kernel.kinds.nft_table import (
    IngressFilter,
    NetworkSubtable,
    NftElements,
    NftTable,
    needs_rebuild,
)
from warpd.kernel.kinds.route import Route
from warpd.kernel.kinds.sysctl import TAG_FENCE4, Sysctl
from warpd.kernel.kinds.wireguard import WireguardDevice, WireguardPeer
from warpd.kernel.state import ROOT, Action, Change, EgressLink, Host, KernelObject, Key
from warpd.networks.firewall.root import fences

TEXTS = {
    errno.EEXIST: "File exists",
    errno.ENODEV: "No such device",
    errno.EINVAL: "Invalid argument: Block of given index was not found",
    errno.ENOENT: "No such file or directory",
    errno.ENETDOWN: "Network is down",
    errno.ENETUNREACH: "Network is unreachable: Nexthop has invalid gateway",
    errno.EADDRINUSE: "Address already in use",
}

# WireGuard has no events at all (wireguard(7) of genetlink has no multicast group); of settings,
# only some have.
SILENT = (WireguardDevice, WireguardPeer, Sysctl)

PLAIN = Host(
    "memory",
    "eth0",
    1500,
    ("203.0.113.1",),
    wireguard_kernel=True,
    exits=(EgressLink("eth0"),),
    uplinks4=("eth0",),
    uplinks6=("eth0",),
    ra_links=("eth0",),
)


class FakeKernel:
    """Objects in a dictionary, with the kernel's own rules for what needs what and what takes what
    along.
    """

    def __init__(self, host: Host | None = None) -> None:
        self.host = host or PLAIN
        self.objects: dict[Key, KernelObject] = {}
        self.foreign: dict[Key, str] = {}
        self.others: dict[Key, str] = {}  # links of others: key -> kind
        self.settings: dict[str, str] = {}  # the host's own, as last written
        self.sent_changes = 0
        self.dialled: dict[Key, str] = {}  # peer -> ADDRESS:PORT, by `dial`
        self._events: list[Event] | None = None  # since the last call of `events`, while listening
        self._dumped: dict[str, KernelObject] = {}  # namespace -> what its name meant

    def close(self) -> None:
        self.stop_listening()

    def dump(self, netns: str, uplink: str = "auto", targets: Sequence[str] = ()) -> Dump:
        namespace = self.objects.get(Key(Netns.KIND, ROOT, netns))
        if namespace is not None:
            self._dumped[netns] = namespace
        there = [
            item
            for item in self.objects.values()
            if item.key.netns == netns and not isinstance(item, Veth)
        ]
        own = there
        ends = [
            end
            for number, veth in enumerate(self._veths())
            for end in _ends(veth, number)
            if end.netns == netns
        ]
        foreign = {key: text for key, text in self.foreign.items() if key.netns == netns}
        others = {key.name: kind for key, kind in self.others.items() if key.netns == netns}
        host = self._host() if netns == ROOT else None
        return Dump(netns, tuple(own), tuple(ends), foreign, host=host, others=others)

    def keeping_counters(self) -> AbstractContextManager[None]:
        return nullcontext()  # it counts no packets

    def _veths(self) -> list[Veth]:
        return [item for item in self.objects.values() if isinstance(item, Veth)]

    def _host(self) -> Host:
        """The host's facts after what we have done to it: forwarding, and our fences."""
        table = self.objects.get(Key(NftTable.KIND, ROOT, "warpd"))
        fence4, fence6 = fences(table if isinstance(table, NftTable) else None)
        six = self.settings.get("net/ipv6/conf/all/forwarding")
        return dataclasses.replace(
            self.host,
            fence4=fence4,
            fence6=fence6,
            forwarding6=self.host.forwarding6 if six is None else six == "1",
            exits=tuple(self._exit(link) for link in self._exits(fence4)),
            tagged4=any(int(value) & TAG_FENCE4 for value in self._tags()),
        )

    def _exits(self, fence4: Sequence[str]) -> Sequence[EgressLink]:
        """While there is no uplink, the links that we let forward before stay what they are."""
        kept = () if self.host.uplink else tuple(EgressLink(name) for name in fence4)
        return (
            *kept,
            *(link for link in self.host.exits if link.name not in fence4 or self.host.uplink),
        )

    def _tags(self) -> list[str]:
        own = (item for item in self.objects.values() if isinstance(item, Sysctl))
        return [item.value for item in own if item.netns == ROOT and item.path.endswith("/tag")]

    def _exit(self, link: EgressLink) -> EgressLink:
        four = self.settings.get(f"net/ipv4/conf/{link.name}/forwarding")
        return EgressLink(link.name, link.forwarding4 if four is None else four == "1")

    def prepare(self, changes: Sequence[Change]) -> None:
        """It dials nobody."""

    def send(self, changes: Sequence[Change]) -> list[OperationError | None]:
        return [self._one(change) for change in changes]

    def transact(self, netns: str, changes: Sequence[Change]) -> OperationError | None:
        before = dict(self.objects)
        for change in changes:
            fault = self._one(change)
            if fault is not None:
                self.objects = before
                return fault
        return None

    def dial(self, peer: WireguardPeer, address: str) -> OperationError | None:
        if peer.key not in self.objects:
            code = errno.ENODEV
            return OperationError(FailureKind.REFUSED, "update", peer.key, code, TEXTS[code])
        self.sent_changes += 1
        self.dialled[peer.key] = address
        return None

    # -- events

    def listen(self) -> tuple[int, ...]:
        if self._events is None:
            self._events = []
        return ()  # no descriptor: `events` answers at once

    def stop_listening(self) -> None:
        self._events = None

    def events(self, timeout_s: float) -> Iterator[Event]:
        found = self._events or []
        found, self._events = found, None if self._events is None else []
        return iter(found)

    def report(self, *events: Event) -> None:
        """Something has happened: what a test plays that another program did."""
        if self._events is not None:
            self._events += events

    def stale_namespaces(self) -> set[str]:
        stale = {
            netns
            for netns, meant in self._dumped.items()
            if self.objects.get(meant.key) is not meant
        }
        for netns in stale:
            del self._dumped[netns]
        return stale

    # -- one change

    def _one(self, change: Change) -> OperationError | None:
        if isinstance(change.subject, Netns):
            self._dumped.pop(change.subject.name, None)  # what we did ourselves is not news
        fault = self._changed(change)
        if fault is None and not isinstance(change.subject, SILENT):
            self.report(Event(change.subject.key.netns))
        return fault

    def _changed(self, change: Change) -> OperationError | None:
        self.sent_changes += 1
        subject, key = change.subject, change.subject.key
        if isinstance(subject, Sysctl):
            return self._setting(change, subject)
        if change.action is Action.DELETE:
            self._remove(key)
            return None
        code = self._refusal(change, subject)
        if code:
            fate = FailureKind.FOREIGN if code == errno.EEXIST else FailureKind.REFUSED
            return OperationError(fate, change.action.value, key, code, TEXTS[code])
        self._put(change, subject)
        return None

    def _refusal(self, change: Change, subject: KernelObject) -> int:
        if change.before is None and self._taken(subject):
            return errno.EEXIST
        if any(need not in self.objects for need in subject.needs if need.kind != Route.KIND):
            return errno.ENOENT if subject.key.kind == Netns.KIND else errno.ENODEV
        if isinstance(subject, Route):
            return self._route_refusal(subject)
        if isinstance(subject, WireguardDevice) and self._port_in_use(subject):
            return errno.EADDRINUSE
        return 0

    def _taken(self, subject: KernelObject) -> bool:
        if isinstance(
            subject,
            WireguardDevice
            | WireguardPeer
            | LinkUp
            | NftElements
            | NetworkSubtable
            | IngressFilter
            | BridgePort,
        ):
            return False  # set, not created: the kernel takes them again
        return any(subject.key in held for held in (self.objects, self.foreign, self.others))

    def _route_refusal(self, route: Route) -> int:
        if (
            route.link is not None
            and Key(LinkUp.KIND, route.netns, route.device) not in self.objects
        ):
            return errno.ENETDOWN
        if route.via and route.reach is not None and route.reach not in self.objects:
            return errno.ENETUNREACH
        return 0

    def _port_in_use(self, device: WireguardDevice) -> bool:
        others = (item for key, item in self.objects.items() if key != device.key)
        return bool(device.port) and any(
            isinstance(o, WireguardDevice) and o.port == device.port for o in others
        )

    def _put(self, change: Change, subject: KernelObject) -> None:
        before = self.objects.get(subject.key)
        both = isinstance(subject, NftTable | NetworkSubtable) and isinstance(
            before, NftTable | NetworkSubtable
        )
        rebuilt = both and needs_rebuild(before, subject)  # type: ignore[arg-type]  # `both` has just said so
        if rebuilt:
            self._remove(subject.key)
        if isinstance(subject, WireguardPeer):
            self._steal(subject)
        if isinstance(subject, NftElements) and not subject.elements:
            self.objects.pop(subject.key, None)
            return
        self.objects[subject.key] = subject
        if isinstance(subject, NftTable) and (before is None or rebuilt):
            for door in subject.doors:
                element = NftElements(ROOT, "doors", frozenset({door}), door)
                self.objects[element.key] = element
        if isinstance(subject, WireguardLink) and change.before is None:
            device = WireguardDevice(subject.netns, subject.name, None, 0)
            self.objects[device.key] = device

    def _steal(self, peer: WireguardPeer) -> None:
        """A prefix belongs to one peer of a device: giving it to one takes it from the other,
        silently.
        """
        for key, item in list(self.objects.items()):
            if not isinstance(item, WireguardPeer) or (item.netns, item.device) != (
                peer.netns,
                peer.device,
            ):
                continue
            left = tuple(ip for ip in item.allowed_ips if ip not in peer.allowed_ips)
            if key != peer.key and left != item.allowed_ips:
                self.objects[key] = dataclasses.replace(item, allowed_ips=left)

    def _setting(self, change: Change, subject: Sysctl) -> OperationError | None:
        if subject.holder is not None and subject.holder not in self.objects:
            return OperationError(
                FailureKind.REFUSED,
                change.action.value,
                subject.key,
                errno.ENOENT,
                TEXTS[errno.ENOENT],
            )
        value = subject.restore if change.action is Action.DELETE else subject.value
        if subject.holder is None and value is not None:
            self.settings[subject.path] = value
        if change.action is Action.DELETE:
            self.objects.pop(subject.key, None)
        else:
            self.objects[subject.key] = subject
        return None

    def _remove(self, key: Key) -> None:
        """An object and all that goes with it."""
        item: Any = self.objects.pop(key, None)
        if item is None:
            return
        self._release(item)
        for other_key, other in list(self.objects.items()):
            inside = isinstance(item, Netns) and (
                other_key.netns == item.name or getattr(other, "peer_netns", "") == item.name
            )
            if other.container == key or inside:
                self._remove(other_key)
        if isinstance(item, LinkUp):
            self._routes_of(item.netns, item.name)

    def _release(self, item: Any) -> None:
        """The ports of a VRF or bridge that goes stay, and are nobody's; a table's gates go with
        it.
        """
        for key, other in list(self.objects.items()):
            if (
                isinstance(item, Device)
                and isinstance(other, Device)
                and (other.netns, other.master) == (item.netns, item.name)
            ):
                self.objects[key] = dataclasses.replace(other, master="")
                self.objects.pop(Key(BridgePort.KIND, other.netns, other.name), None)
            if (
                isinstance(item, NftTable)
                and isinstance(other, IngressFilter)
                and other.netns == item.netns
            ):
                del self.objects[key]

    def _routes_of(self, netns: str, device: str) -> None:
        """A link that goes down loses its routes."""
        for key, item in list(self.objects.items()):
            if isinstance(item, Route) and (item.netns, item.device) == (netns, device):
                del self.objects[key]


def _ends(veth: Veth, number: int) -> list[VethEnd]:
    near, far = 2 * number + 10, 2 * number + 11
    return [
        VethEnd(veth.netns, veth.name, near, far, veth.alias, veth.mtu),
        VethEnd(veth.peer_netns, veth.peer_name, far, near, veth.peer_alias, veth.peer_mtu),
    ]
