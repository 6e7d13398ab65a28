"""The inside of a WireGuard device: its key and port, and its peers.

Ours: everything on a device of ours. Peers are changed one by one, so that untouched ones keep
their session. A peer's endpoint is where the kernel last heard it: roaming, never drift.
"""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Self

from warpd.kernel.existence import ExistenceRules, Existing
from warpd.kernel.kinds.link import OnDevice, WireguardLink
from warpd.kernel.rows import LinkRow, NamespaceRows, Reading
from warpd.kernel.state import KernelObject, Key, PeerTraffic, Phase
from warpd.keys.derivation import Secret


@dataclass(frozen=True, slots=True)
class WireguardDevice(OnDevice):
    """The key, UDP port and firewall mark of a WireGuard device.

    `port` is 0 for one that the kernel chooses, `mark` is 0 for none.

    Ours: the device is ours.
    """

    KIND: ClassVar[str] = "wireguard"
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset({"private_key", "port", "mark"})

    netns: str
    device: str
    private_key: Secret | None
    port: int
    mark: int = 0

    @property
    def key(self) -> Key:
        return Key(self.KIND, self.netns, self.device)

    @property
    def phase(self) -> Phase:
        return Phase.PEER

    def revoked_to(self, after: Self) -> Self | None:
        """Its UDP port is given back first, so that two devices can swap theirs."""
        if self.port in (0, after.port):
            return None
        return dataclasses.replace(self, port=0)


class _KeyKept:
    """Slot for the cached key. A gateway may have 100,000 peers, each in several maps."""

    __slots__ = ("_key",)
    _key: Key


@dataclass(frozen=True, slots=True)
class WireguardPeer(_KeyKept, OnDevice):
    """One peer of a WireGuard device.

    - `keepalive`: seconds, 0 for off.
    - `allowed_ips`: prefixes with their length, sorted.
    - `endpoint`: `HOST:PORT` to dial when the peer is created. It is not compared: the kernel knows
      best where the peer was last heard.
    - `label`: the endpoint's name, for people.

    Ours: the device is ours.
    """

    KIND: ClassVar[str] = "peer"
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset({"preshared_key", "keepalive", "allowed_ips"})
    NUMEROUS: ClassVar[bool] = True

    netns: str
    device: str
    public_key: str
    preshared_key: Secret | None
    keepalive: int  # seconds, 0 = off
    allowed_ips: tuple[str, ...]  # sorted, with prefix length
    endpoint: str | None = field(default=None, compare=False)
    label: str = field(default="", compare=False)  # the endpoint's name, for people

    @property
    def key(self) -> Key:
        try:
            return self._key
        except AttributeError:
            key = peer_key(self.netns, self.device, self.public_key)
            object.__setattr__(self, "_key", key)
            return key

    @property
    def phase(self) -> Phase:
        return Phase.PEER

    @property
    def needs(self) -> tuple[Key, ...]:
        return (Key(WireguardDevice.KIND, self.netns, self.device),)


def read_link(row: LinkRow, rows: NamespaceRows) -> WireguardLink | None:
    """A WireGuard device; None for one that is not, or no longer, served as one."""
    if row.name not in rows.devices:
        return None
    master = rows.names.get(row.master, "")
    return WireguardLink(rows.netns, row.name, row.alias, row.mtu, row.kind, master=master)


def read_devices(rows: NamespaceRows) -> Iterator[Reading]:
    """The keys and ports of WireGuard devices."""
    for name, device in rows.devices.items():
        yield Reading(
            WireguardDevice(rows.netns, name, device.private_key, device.port, device.mark)
        )


def read_peers(rows: NamespaceRows) -> Iterator[Reading]:
    """The peers of WireGuard devices, with what each has carried."""
    for name, device in rows.devices.items():
        for public_key, peer in device.peers.items():
            prefixes = tuple(sorted(peer.allowed_ips))
            found = WireguardPeer(
                rows.netns, name, public_key, peer.preshared_key, peer.keepalive, prefixes
            )
            traffic = PeerTraffic(peer.received, peer.sent, peer.handshake, peer.endpoint)
            yield Reading(found, traffic=traffic)


class WireguardLinkRules(ExistenceRules[WireguardLink]):
    """A WireGuard device is born without a key and a port."""

    def also_written(
        self, item: WireguardLink, created: bool, existing: Existing
    ) -> Iterable[KernelObject]:
        if created:
            yield WireguardDevice(item.netns, item.name, None, 0)


class WireguardDeviceRules(ExistenceRules[WireguardDevice]):
    """A UDP port belongs to one device of the host.

    WireGuard sends no events: its generic netlink family has no multicast group
    (drivers/net/wireguard/netlink.c).
    """

    taken = 0
    announced = False

    def is_permanent(self, item: WireguardDevice) -> bool:
        return True

    def refusal(self, item: WireguardDevice, existing: Existing) -> int:
        in_use = (
            other.port
            for other in existing.values()
            if isinstance(other, WireguardDevice) and other.key != item.key
        )
        return errno.EADDRINUSE if item.port and item.port in in_use else 0


class WireguardPeerRules(ExistenceRules[WireguardPeer]):
    """A prefix belongs to one peer of a device: who is given it takes it from another, silently."""

    taken = 0
    announced = False

    def also_written(
        self, item: WireguardPeer, created: bool, existing: Existing
    ) -> Iterable[KernelObject]:
        for other in existing.values():
            if not isinstance(other, WireguardPeer) or other.key == item.key:
                continue
            if (other.netns, other.device) != (item.netns, item.device):
                continue
            left = tuple(prefix for prefix in other.allowed_ips if prefix not in item.allowed_ips)
            if left != other.allowed_ips:
                yield dataclasses.replace(other, allowed_ips=left)


def peer_key(netns: str, device: str, public_key: str) -> Key:
    """The key of a peer, by its device and public key (base64)."""
    return Key(WireguardPeer.KIND, netns, f"{device} {public_key}")
