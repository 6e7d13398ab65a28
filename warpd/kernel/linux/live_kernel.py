"""Observe and change the kernel with netlink, libnftables and /proc/sys.

One set of sockets is kept open for each namespace. This module sends changes over each channel and
interprets errno values. `warpd.kernel.registry` encodes and reads the object kinds. The plan says
which changes are made, and in which order.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from warpd import naming
from warpd.kernel.api import Dump, DumpError, Event, FailureKind, OperationError
from warpd.kernel.channels import Direct, IndexedRequests, LinkRequests, Requests, Transaction
from warpd.kernel.kinds import link
from warpd.kernel.kinds.link import WireguardLink
from warpd.kernel.kinds.netns import Netns
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.linux import namespaces, resolver, wireguard_go
from warpd.kernel.linux.dump import NamespaceDumper
from warpd.kernel.linux.host import read_host
from warpd.kernel.linux.libnftables import Nft
from warpd.kernel.linux.nft_cache import TableCache
from warpd.kernel.netlink import rtnl
from warpd.kernel.netlink import wireguard as wireguard_netlink
from warpd.kernel.netlink.events import RECEIVE_BYTES, Listener
from warpd.kernel.netlink.rtnl_encoder import encode
from warpd.kernel.netlink.socket import NetlinkSocket, Refusal, attributes
from warpd.kernel.registry import kind_of
from warpd.kernel.request import Handle, Index, Message
from warpd.kernel.rows import DeviceRead
from warpd.kernel.state import ROOT, Action, Change, has_session
from warpd.store.last_addresses import LastAddresses

NETLINK_GENERIC = 16
GENL_ID_CTRL = 16
CTRL_GETFAMILY = b"\x03\x01\0\0"
CTRL_ATTR_FAMILY_NAME, CTRL_ATTR_FAMILY_ID = 2, 1
NLM_F_PLAIN = 0
PORT_PATIENCE_S = 3.0
PORT_PAUSE_S = 0.02
ROUTES_COSTLY_S = 0.05


@dataclass(slots=True)
class NamespaceHandles:
    """Everything kept open for one namespace."""

    fd: int
    inode: int
    route: NetlinkSocket
    generic: NetlinkSocket
    tables: TableCache
    userspace: set[str] = field(default_factory=set)  # devices here that wireguard-go serves

    @property
    def nft(self) -> Nft:
        return self.tables.nft

    def close(self) -> None:
        self.route.close()
        self.generic.close()
        self.tables.close()
        os.close(self.fd)


@dataclass(frozen=True, slots=True)
class RoutesRead:
    """The host's links with a route to a part of each range, and the time that reading took."""

    ranges: tuple[str, ...]
    links: Mapping[str, set[int]]
    took_s: float


class LiveKernel:
    """The kernel of this machine. The namespace in which this object is created is the root."""

    def __init__(self, event_bytes: int = RECEIVE_BYTES, runtime_dir: Path | None = None) -> None:
        """Create the object. Sockets are opened when they are first used.

        Args:
            event_bytes: the size of the receive buffer for kernel events, in bytes.
            runtime_dir: the folder of the control socket, in which the last addresses of removed
                peers are kept. None keeps none.
        """
        self._event_bytes = event_bytes
        self._last_addresses = LastAddresses(runtime_dir) if runtime_dir is not None else None
        self._handles: dict[str, NamespaceHandles] = {}
        self._family: int | None = None
        self._vrf: bool | None = None
        self._routes_read: RoutesRead | None = None
        self._events: Listener | None = None
        self._closed_changes = 0
        # HOST:PORT -> ADDRESS:PORT, of the names looked up so far
        self.addresses: dict[str, str] = {}
        self._fresh_counters = True  # whether dumps read drop counters anew

    @property
    def sent_changes(self) -> int:
        """The number of changing requests that all sockets have sent so far."""
        return self._closed_changes + sum(
            handles.route.sent_changes + handles.generic.sent_changes + handles.nft.sent_changes
            for handles in self._handles.values()
        )

    def close(self) -> None:
        for netns in list(self._handles):
            self._close_handles(netns)
        self.stop_listening()

    # -- handles

    def _handles_of(self, netns: str) -> NamespaceHandles:
        """Return the open handles of a namespace.

        If the name now belongs to another namespace, they are closed and opened again.

        Raises:
            OSError: the namespace does not exist.
        """
        path = namespaces.path_of(netns) if netns != ROOT else "/proc/thread-self/ns/net"
        handles = self._handles.get(netns)
        if handles is not None and (netns == ROOT or os.stat(path).st_ino == handles.inode):
            return handles
        if handles is not None:
            self._delete_tunnel(netns)
            self._close_handles(netns)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with namespaces.entered(fd):
                made = NamespaceHandles(
                    fd,
                    os.fstat(fd).st_ino,
                    NetlinkSocket(socket.NETLINK_ROUTE),
                    NetlinkSocket(NETLINK_GENERIC),
                    TableCache(netns, fd),
                )
        except OSError:
            os.close(fd)
            raise
        self._handles[netns] = made
        return made

    def _close_handles(self, netns: str) -> None:
        handles = self._handles.pop(netns, None)
        if handles is not None:
            self._closed_changes += (
                handles.route.sent_changes + handles.generic.sent_changes + handles.nft.sent_changes
            )
            handles.close()

    def _wireguard_family(self) -> int:
        """Return the generic netlink family id of WireGuard, or 0 if the kernel has none.

        The request makes the kernel load the module (ctrl_getfamily() in net/netlink/genetlink.c).
        """
        if self._must_ask(self._family):
            raw = wireguard_netlink.FAMILY_NAME.encode() + b"\0"
            body = (
                CTRL_GETFAMILY
                + bytes([4 + len(raw), 0, CTRL_ATTR_FAMILY_NAME, 0])
                + raw
                + b"\0" * (-len(raw) % 4)
            )
            answer = self._handles_of(ROOT).generic.ask(GENL_ID_CTRL, body)
            self._family = 0
            if not isinstance(answer, Refusal):
                rows = attributes(answer, 4, len(answer))
                ids = [
                    int.from_bytes(answer[a:b], "little")
                    for kind, a, b in rows
                    if kind == CTRL_ATTR_FAMILY_ID
                ]
                self._family = ids[0] if ids else 0
        return self._family or 0

    def _has_vrf(self) -> bool:
        """Whether the kernel can make VRFs. The request makes the kernel load the module."""
        if self._must_ask(self._vrf):
            self._vrf = rtnl.supports_vrf(self._handles_of(ROOT).route)
        return bool(self._vrf)

    def _must_ask(self, answer: int | None) -> bool:
        """Whether to ask the kernel for a feature again.

        A missing feature may have been installed since. It is asked for again only by periodic
        observations and by those for people, which also read fresh counters.
        """
        return answer is None or (not answer and self._fresh_counters)

    # -- dump

    def dump(self, netns: str, uplink: str = "auto", targets: Sequence[str] = ()) -> Dump:
        try:
            handles = self._handles_of(netns)
        except OSError as failure:
            raise DumpError(f"namespace {netns or 'root'}: {failure.strerror}") from failure
        look = NamespaceDumper(
            netns, handles.route, handles.tables, self._fresh_counters, self._read_device
        )
        with namespaces.entered(handles.fd) if netns != ROOT else contextlib.nullcontext():
            dump = look.dump()
        handles.userspace = look.userspace
        if netns == ROOT:
            kinds = (bool(self._wireguard_family()), self._has_vrf())
            host, settings = read_host(
                handles.route, look.root_look(), uplink, targets, *kinds, self._links_within
            )
            return dataclasses.replace(
                dump, objects=(*dump.objects, *settings, *self._namespaces()), host=host
            )
        return dump

    @contextlib.contextmanager
    def keeping_counters(self) -> Iterator[None]:
        self._fresh_counters = False
        try:
            yield
        finally:
            self._fresh_counters = True

    def _links_within(self, ranges: Sequence[str]) -> Mapping[str, set[int]]:
        """Return the host's links with a route to a part of each range.

        If reading the routes takes longer than ROUTES_COSTLY_S, they are read again only together
        with fresh counters.
        """
        before = self._routes_read
        if (
            before is not None
            and not self._fresh_counters
            and before.ranges == tuple(ranges)
            and before.took_s > ROUTES_COSTLY_S
        ):
            return before.links
        began = time.monotonic()
        links = rtnl.links_within(self._handles_of(ROOT).route, ranges)
        self._routes_read = RoutesRead(tuple(ranges), links, time.monotonic() - began)
        return links

    def _namespaces(self) -> list[Netns]:
        """Return the namespaces with a name of ours, and files with such a name that are not
        mounted (`Netns.mounted`).
        """
        self._close_stale()
        out = []
        for name in namespaces.listed():
            if naming.vcid_of_namespace(name) is not None:
                with contextlib.suppress(FileNotFoundError):
                    out.append(Netns(name, self._mounted(name)))
        return out

    def _close_stale(self) -> None:
        """Close the handles of removed namespaces, since our descriptors keep these alive."""
        for netns in [netns for netns in self._handles if netns != ROOT]:
            try:
                same = os.stat(namespaces.path_of(netns)).st_ino == self._handles[netns].inode
            except FileNotFoundError:
                same = False
            if not same:
                self._delete_tunnel(netns)
                self._close_handles(netns)

    def _delete_tunnel(self, netns: str) -> None:
        """Delete our WireGuard device in a namespace whose name was removed.

        Otherwise the device would hold its UDP port for as long as a process is in the namespace.
        Without such a process the kernel still needs up to a second to destroy the namespace
        (cleanup_net() in net/core/net_namespace.c).
        """
        vcid = naming.vcid_of_namespace(netns)
        if vcid is None:
            return
        route = self._handles[netns].route
        row = rtnl.link_named(route, naming.tunnel(vcid))
        if row is not None and link.group_of_alias(row.alias) == netns:
            route.request([(rtnl.RTM_DELLINK, 0, rtnl.IFINFO.pack(0, 0, row.index, 0, 0))])

    def _mounted(self, name: str) -> bool:
        return (
            os.stat(namespaces.path_of(name)).st_dev == os.stat("/proc/thread-self/ns/net").st_dev
        )

    def _read_device(self, netns: str, name: str, driver: str) -> DeviceRead:
        device = DeviceRead()
        if driver == "tun":
            try:
                return wireguard_go.read_device(name)
            except OSError as failure:
                if failure.errno in (errno.ENOENT, errno.ECONNREFUSED):
                    return device  # its process has ended: the link will be replaced
                raise DumpError(f"{wireguard_go.PROGRAM} {name}: {failure}") from failure

        def restart() -> None:
            device.peers.clear()

        def each(data: memoryview) -> None:
            wireguard_netlink.decode_device(device, data)

        self._handles[netns].generic.dump(
            self._wireguard_family(), wireguard_netlink.encode_get(name), each, restart
        )
        return device

    # -- send

    def prepare(self, changes: Sequence[Change]) -> None:
        names = {
            name
            for change in changes
            if (name := _name_to_dial(change)) and name not in self.addresses
        }
        self.addresses |= resolver.look_up(names) if names else {}

    def dial(self, peer: WireguardPeer, address: str) -> OperationError | None:
        """Set only the address (`ADDRESS:PORT`) at which an existing peer is dialled."""
        write = wireguard_netlink.PeerWrite(
            peer.public_key, peer.preshared_key, peer.keepalive, None, address, update_only=True
        )
        change = Change(Action.UPDATE, peer, peer)
        self.addresses[peer.endpoint or ""] = address
        try:
            return self._write_peers(peer.netns, peer.device, [write], [change])[0]
        except OSError as failure:
            return _error_of_oserror(change, failure)

    def send(self, changes: Sequence[Change]) -> list[OperationError | None]:
        match kind_of(changes[0].subject).channel:
            case Requests():
                return self._send_requests(changes)
            case Direct.WIREGUARD_PEERS:
                return self._send_peers(changes)
        return [self._send_alone(change) for change in changes]

    def _send_alone(self, change: Change) -> OperationError | None:
        match kind_of(change.subject).channel:
            case LinkRequests() as channel:
                return self._send_link(change, channel)
            case IndexedRequests() as channel:
                return self._send_indexed(change, channel)
            case Direct.NAMESPACE:
                return self._send_netns(change)
            case Direct.SETTING:
                return self._send_setting(change)
            case Direct.WIREGUARD_DEVICE:
                return self._send_device(change)
        raise TypeError(f"{change.subject.key} does not go by itself")

    def _send_requests(self, changes: Sequence[Change]) -> list[OperationError | None]:
        """Send the requests of all changes in one batch."""
        netns = changes[0].subject.key.netns
        try:
            handles = self._handles_of(netns)
        except OSError as failure:
            return [_error_of_oserror(change, failure) for change in changes]
        messages: list[tuple[int, int, bytes]] = []
        places: list[int] = []
        out: list[OperationError | None] = [None] * len(changes)
        for place, change in enumerate(changes):
            try:
                messages += [encode(message, self._resolve) for message in _messages(change)]
                places.append(place)
            except OSError as failure:
                out[place] = _error_of_oserror(change, failure)
        answers = self._until_port_free(lambda: handles.route.request(messages))
        for place, refusal in zip(places, answers, strict=True):
            out[place] = _error_of(changes[place], refusal)
        return out

    @staticmethod
    def _until_port_free(request: Callable[[], list[Refusal | None]]) -> list[Refusal | None]:
        """Repeat a request while its port is in use, for at most PORT_PATIENCE_S seconds.

        The kernel releases the ports of a removed namespace a moment later.
        """
        deadline = time.monotonic() + PORT_PATIENCE_S
        while True:
            answers = request()
            busy = any(
                answer is not None and answer.errno == errno.EADDRINUSE for answer in answers
            )
            if not busy or time.monotonic() > deadline:
                return answers
            time.sleep(PORT_PAUSE_S)

    def _resolve(self, value: Index | Handle) -> int:
        if isinstance(value, Handle):
            return self._handles_of(value.netns).fd
        row = rtnl.link_named(self._handles_of(value.netns).route, value.name)
        if row is None:
            raise OSError(errno.ENODEV, f"there is no link {value.name}")
        return row.index

    def _send_netns(self, change: Change) -> OperationError | None:
        name = change.subject.key.name
        try:
            if change.action is Action.CREATE:
                namespaces.create(name)
            else:
                self._close_handles(name)
                namespaces.remove(name)
        except OSError as failure:
            return _error(change, Refusal(failure.errno or errno.EIO, str(failure.strerror)))
        return None

    def _send_link(self, change: Change, channel: LinkRequests) -> OperationError | None:
        subject: Any = change.subject
        served = getattr(subject, "driver", "") == "tun"
        if change.action is Action.CREATE and served:
            return self._start_userspace(change, subject)
        write = self._make_link if change.before is None else self._change_link
        try:
            refusal = write(change, channel)
        except OSError as failure:
            return _error_of_oserror(change, failure)
        fault = _error_of(change, refusal)
        if change.action is Action.DELETE and served:
            with contextlib.suppress(OSError):
                os.unlink(wireguard_go.socket_path(subject.name))
        return fault

    def _make_link(self, change: Change, channel: LinkRequests) -> Refusal | None:
        """Create a link, and mark it if the creation succeeded. A foreign link is never changed."""
        creation, *mark = channel.encode(change)
        refusal = self._in_turn([creation])
        if refusal is not None:
            return refusal
        return self._link_options(change, channel) or self._in_turn(mark)

    def _change_link(self, change: Change, channel: LinkRequests) -> Refusal | None:
        return self._in_turn(channel.encode(change)) or self._link_options(change, channel)

    def _link_options(self, change: Change, channel: LinkRequests) -> Refusal | None:
        """Send the requests that contain the index of the link. Return the first refusal."""
        if channel.options is None or change.action is Action.DELETE:
            return None
        subject: Any = change.after
        index = self._resolve(Index(subject.netns, subject.name))
        requests = channel.options(index, change)
        return _first_refusal(self._handles_of(subject.netns).route.request(requests))

    def _in_turn(self, messages: Sequence[Message]) -> Refusal | None:
        """Send messages in order, namespace by namespace, until one is refused.

        Return the first refusal.
        """
        for netns, part in _by_socket(messages):
            refusal = self._request(netns, part)
            if refusal is not None:
                return refusal
        return None

    def _request(self, netns: str, messages: Sequence[Message]) -> Refusal | None:
        """Send messages in one buffer, with one system call. Return the first refusal."""
        encoded = [encode(message, self._resolve) for message in messages]
        return _first_refusal(self._handles_of(netns).route.request(encoded))

    def _start_userspace(self, change: Change, subject: WireguardLink) -> OperationError | None:
        why = wireguard_go.start(subject.name)
        if why is not None:
            return OperationError(
                FailureKind.REFUSED, change.action.value, subject.key, errno.ENODEV, why
            )
        try:
            refusal = self._request(ROOT, link.adopt_tun(subject))
            refusal = refusal or self._request(subject.netns, link.finish_tun(subject))
        except OSError as failure:
            return _error_of_oserror(change, failure)
        self._handles_of(subject.netns).userspace.add(subject.name)
        return _error_of(change, refusal)

    def _send_setting(self, change: Change) -> OperationError | None:
        subject: Any = change.subject
        value = subject.value if change.action is not Action.DELETE else subject.restore
        if value is None:
            return None
        try:
            handles = self._handles_of(subject.netns)
            handles.route.sent_changes += 1
            inside = (
                namespaces.entered(handles.fd)
                if subject.netns != ROOT
                else contextlib.nullcontext()
            )
            with inside, open(f"/proc/sys/{subject.path}", "w", encoding="ascii") as file:
                file.write(value)
        except OSError as failure:
            return _error_of_oserror(change, failure)
        return None

    def _send_indexed(self, change: Change, channel: IndexedRequests) -> OperationError | None:
        """Send the batches of one change. Stop at the first batch that is refused."""
        subject: Any = change.subject
        try:
            sock = self._handles_of(subject.netns).route
            index = self._resolve(Index(subject.netns, subject.device))
            for batch in channel.encode(index, change):
                refusal = _first_refusal(sock.request(batch))
                if refusal is not None:
                    return _error_of(change, channel.explain(refusal))
        except OSError as failure:
            return _error_of_oserror(change, failure)
        return None

    def _send_device(self, change: Change) -> OperationError | None:
        if change.action is Action.DELETE:
            return None  # the settings are deleted together with the link
        before, after = change.before, change.after
        key = (
            after.private_key if before is None or before.private_key != after.private_key else None
        )
        port = after.port if before is None or before.port != after.port else None
        mark = after.mark if before is None or before.mark != after.mark else None
        try:
            if after.device in self._handles_of(after.netns).userspace:
                wireguard_go.write_device(after.device, key, port, mark)
                return None
            body = wireguard_netlink.encode_device(after.device, key, port, mark)
            return _error_of(
                change, self._until_port_free(lambda: self._generic(after.netns, [body]))[0]
            )
        except OSError as failure:
            return _error_of_oserror(change, failure)

    def _generic(self, netns: str, bodies: Sequence[bytes]) -> list[Refusal | None]:
        family = self._wireguard_family()
        return self._handles_of(netns).generic.request(
            [(family, NLM_F_PLAIN, body) for body in bodies]
        )

    def _send_peers(self, changes: Sequence[Change]) -> list[OperationError | None]:
        """Send all peers of a run in as few messages as possible. A refusal is that of all."""
        subject: Any = changes[0].subject
        writes = [_peer_write(change, self.addresses) for change in changes]
        try:
            if self._last_addresses is not None:
                self._remember_removed(self._last_addresses, changes)
                writes = list(_calling(writes, self._last_addresses))
            return self._write_peers(subject.netns, subject.device, writes, changes)
        except OSError as failure:
            return [_error_of_oserror(change, failure) for change in changes]

    def _remember_removed(self, into: LastAddresses, changes: Sequence[Change]) -> None:
        """Keep the addresses of the peers that are about to be removed and have a session.

        A device that cannot be read is no obstacle to the removal.
        """
        removed = [change.before for change in changes if change.action is Action.DELETE]
        if not removed:
            return
        netns, device = removed[0].netns, removed[0].device
        driver = "tun" if device in self._handles_of(netns).userspace else ""
        try:
            peers = self._read_device(netns, device, driver).peers
        except (DumpError, OSError):
            return
        heard: dict[str, str] = {}
        for item in removed:
            peer = peers.get(item.public_key)
            if peer and peer.endpoint and has_session(peer.handshake, time.time()):
                heard[peer.public_key] = peer.endpoint
        into.remember(heard)

    def _write_peers(
        self,
        netns: str,
        device: str,
        writes: Sequence[wireguard_netlink.PeerWrite],
        changes: Sequence[Change],
    ) -> list[OperationError | None]:
        if device in self._handles_of(netns).userspace:
            wireguard_go.write_peers(device, writes)
            return [None] * len(changes)
        answers = self._generic(netns, wireguard_netlink.encode_peers(device, writes))
        refusal = _first_refusal(answers)
        return [_error_of(change, refusal) for change in changes]

    # -- transact

    def transact(self, netns: str, changes: Sequence[Change]) -> OperationError | None:
        commands = [command for change in changes for command in _commands(change)]
        if not commands:
            return None
        try:
            refusal = self._handles_of(netns).nft.run(commands)
        except OSError as failure:
            return _error_of_oserror(changes[0], failure)
        return None if refusal is None else _error(changes[0], refusal)

    # -- events

    def listen(self) -> None:
        """Subscribe to the events of the root and of all observed namespaces.

        Raises:
            OSError: the kernel refused the subscription, or gave a namespace no id. All others are
                heard.
        """
        if self._events is None:
            self._events = Listener(self._event_bytes)
        self._close_stale()
        opened = {netns: handles.fd for netns, handles in self._handles.items() if netns != ROOT}
        self._events.subscribe(self._handles_of(ROOT).route, opened)

    @property
    def event_descriptors(self) -> tuple[int, ...]:
        return () if self._events is None else self._events.filenos()

    def stale_namespaces(self) -> set[str]:
        """Return observed namespaces whose name was removed or now belongs to another namespace."""
        before = set(self._handles)
        self._close_stale()
        return before - set(self._handles)

    def stop_listening(self) -> None:
        """Close the event sockets, so that `listen` opens new ones."""
        if self._events is not None:
            self._events.close()
            self._events = None

    def events(self, timeout_s: float) -> Iterator[Event]:
        if self._events is not None:
            yield from self._events.wait(timeout_s)


def _by_socket(messages: Sequence[Message]) -> Iterator[tuple[str, list[Message]]]:
    """Group messages by namespace. The order within a namespace is kept."""
    for netns in dict.fromkeys(message.netns for message in messages):
        yield netns, [message for message in messages if message.netns == netns]


def _messages(change: Change) -> list[Message]:
    channel = kind_of(change.subject).channel
    if not isinstance(channel, Requests):
        raise TypeError(f"{change.subject.key} is not made by requests in a batch")
    return channel.encode(change)


def _commands(change: Change) -> list[dict[str, Any]]:
    channel = kind_of(change.subject).channel
    if not isinstance(channel, Transaction):
        raise TypeError(f"{change.subject.key} is not part of nftables")
    return channel.encode(change)


def _first_refusal(answers: Sequence[Refusal | None]) -> Refusal | None:
    return next((answer for answer in answers if answer is not None), None)


def _name_to_dial(change: Change) -> str:
    """Return the `endpoint` of a new peer if it contains a host name, otherwise ""."""
    if change.before is not None or kind_of(change.subject).channel is not Direct.WIREGUARD_PEERS:
        return ""
    endpoint: str | None = change.after.endpoint
    return endpoint if endpoint and resolver.is_name(endpoint) else ""


def _peer_write(change: Change, addresses: Mapping[str, str]) -> wireguard_netlink.PeerWrite:
    """Return what to write for a peer. It gets no address if its host name is not resolved."""
    peer: WireguardPeer = change.after if change.after is not None else change.before
    if change.action is Action.DELETE:
        return wireguard_netlink.PeerWrite(peer.public_key, remove=True)
    same_ips = change.before is not None and change.before.allowed_ips == peer.allowed_ips
    return wireguard_netlink.PeerWrite(
        peer.public_key,
        peer.preshared_key,
        peer.keepalive,
        None if same_ips else peer.allowed_ips,
        _address_to_dial(peer, addresses) if change.before is None else None,
        update_only=change.before is not None,
    )


def _calling(
    writes: Sequence[wireguard_netlink.PeerWrite], last: LastAddresses
) -> Iterator[wireguard_netlink.PeerWrite]:
    """The same writes; a peer that was removed a moment ago gets the address where it was heard.

    Such a client still believes in the session that ended with the removal, and tries a new
    handshake only 15 s after its next packet (KEEPALIVE_TIMEOUT + REKEY_TIMEOUT in
    drivers/net/wireguard/messages.h). So the gateway begins one: turning the keepalive on makes
    WireGuard send a packet at once (set_peer() in drivers/net/wireguard/netlink.c).
    """
    addresses = last.recent()
    for write in writes:
        known = write.update_only or write.remove or write.endpoint
        address = None if known else addresses.get(write.public_key)
        if address is None:
            yield write
            continue
        yield dataclasses.replace(write, endpoint=address, keepalive=write.keepalive or 1)
        if not write.keepalive:
            yield dataclasses.replace(write, allowed_ips=None, update_only=True)


def _address_to_dial(peer: WireguardPeer, addresses: Mapping[str, str]) -> str | None:
    named = peer.endpoint is not None and resolver.is_name(peer.endpoint)
    return addresses.get(peer.endpoint or "") if named else peer.endpoint


ABSENT = (errno.ENODEV, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENOENT, errno.ENXIO)


def _error_of(change: Change, refusal: Refusal | None) -> OperationError | None:
    """Return the error of a change, or None. Deleting an object that does not exist is no error."""
    if refusal is None:
        return None
    if change.action is Action.DELETE and refusal.errno in ABSENT:
        return None
    return _error(change, refusal)


def _error(change: Change, refusal: Refusal) -> OperationError:
    kind = FailureKind.UNSETTLED if refusal.unsettled else FailureKind.REFUSED
    if change.action is Action.CREATE and refusal.errno == errno.EEXIST:
        kind = FailureKind.FOREIGN
    return OperationError(
        kind, change.action.value, change.subject.key, refusal.errno, refusal.text
    )


def _error_of_oserror(change: Change, failure: OSError) -> OperationError | None:
    return _error_of(change, Refusal(failure.errno or errno.EIO, failure.strerror or str(failure)))
