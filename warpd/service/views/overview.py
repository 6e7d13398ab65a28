"""Summarise a plan: one row for each network and endpoint that changes, and the risks. Pure.

The steps of the plan decide which rows there are. The intents and allocations before and after it
only give the names and the reasons. `changes` compares two intents, and `render` makes text of the
rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any, Final, Literal

from warpd import naming
from warpd.allocation.model import Allocations
from warpd.allocation.suspensions import Suspension
from warpd.intent.model import Endpoint, Intent, Network
from warpd.intent.types import natural
from warpd.kernel.kinds.address import Address
from warpd.kernel.kinds.bridge_port import BridgePort
from warpd.kernel.kinds.link import WireguardLink
from warpd.kernel.kinds.nft_table import IngressFilter, NetworkSubtable, NftElements, NftTable
from warpd.kernel.kinds.route import Route
from warpd.kernel.kinds.sysctl import Sysctl
from warpd.kernel.kinds.wireguard import WireguardDevice, WireguardPeer
from warpd.kernel.state import (
    ROOT,
    Action,
    KernelObject,
    Key,
    PeerTraffic,
    has_session,
    session_age_s,
)
from warpd.networks.resolved import permitted_on
from warpd.reconcile.plan import Plan, Step
from warpd.service.views.changes import (
    allocation_changes,
    gateway_changes,
    list_changes,
    network_changes,
)
from warpd.service.views.suspension import suspension_text
from warpd.service.views.words import first_of, plural

NAMED_MAX: Final = 3  # objects of a repair, and endpoints of a risk, that are named
RowAction = Literal["create", "update", "delete", "rename"]
Subject = Literal["gateway", "network", "endpoint"]
_ALIAS_FIELDS: Final = frozenset({"alias", "peer_alias"})


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a change: its intent, None where it is not known, its allocations, and which
    endpoints are suspended.
    """

    intent: Intent | None = None
    allocations: Allocations = field(default_factory=Allocations)
    suspended: Mapping[tuple[str, str], Suspension] = field(default_factory=dict)

    def network(self, name: str) -> Network | None:
        """Return a network of the intent; None where there is no such network."""
        return self.intent.networks.get(name) if self.intent is not None else None

    def endpoint(self, network: str, name: str) -> Endpoint | None:
        """Return an endpoint of the intent; None where there is no such endpoint."""
        found = self.network(network)
        return found.endpoints.get(name) if found is not None else None


@dataclass(frozen=True, slots=True)
class Row:
    """One network or endpoint that changes, or the gateway itself.

    - `action`, `subject`: what happens to what.
    - `network`: its name; "" for the gateway.
    - `endpoint`: its name; "" for a network and for the gateway.
    - `vcid`: the network's; None where it is not known.
    - `address`: an endpoint's IPv4 address; "" for the others.
    - `details`: what changes, one text each.
    - `reason`: why it changes; "" where the details say it.
    - `connected_s`: seconds since the last handshake of an endpoint with a session; else None.
    - `endpoints`, `connected`: of a network that is created or deleted, how many endpoints it has,
      and how many of these have a session.
    """

    action: RowAction
    subject: Subject
    network: str
    endpoint: str = ""
    vcid: int | None = None
    address: str = ""
    details: tuple[str, ...] = ()
    reason: str = ""
    connected_s: int | None = None
    endpoints: int = 0
    connected: int = 0

    def as_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "details": list(self.details)}


@dataclass(frozen=True, slots=True)
class Risk:
    """Something that clients will notice.

    - `code`: a stable name for scripts.
    - `path`: the part of the YAML that it concerns.
    - `message`, `hint`: what will happen, and what else could be done.
    """

    code: str
    path: str
    message: str
    hint: str

    def as_json(self) -> dict[str, str]:
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class Overview:
    """The rows and the risks of a plan.

    The gateway comes first. Networks follow in the order of their names, each before its endpoints.
    """

    rows: tuple[Row, ...] = ()
    risks: tuple[Risk, ...] = ()

    @property
    def renames(self) -> int:
        return sum(row.action == "rename" for row in self.rows)


def overview(
    plan: Plan,
    before: Side,
    after: Side,
    traffic: Mapping[Key, PeerTraffic],
    now_s: int,
    today: date,
) -> Overview:
    """Return the rows and risks of a plan.

    Args:
        plan: the steps.
        before: what is in force; its allocations are those before this change.
        after: what is to be in force; without an intent, everything is removed.
        traffic: what the kernel has counted, by peer.
        now_s: seconds since the epoch, for the age of handshakes.
        today: the date in UTC, for endpoints that expire.
    """
    reader = _PlanReader(before, after, traffic, now_s, today)
    groups: dict[str, list[Step]] = {}
    for step in plan.steps:
        groups.setdefault(step.group, []).append(step)
    rows = [row for group, steps in groups.items() for row in reader.rows(group, steps)]
    rows = sorted([*_renames(before, after), *rows], key=_row_order)
    return Overview(tuple(rows), tuple(_risks(rows)))


def _row_order(row: Row) -> tuple[Any, ...]:
    action = {"rename": 0, "delete": 1, "create": 2, "update": 3}
    return (
        row.subject != "gateway",
        natural(row.network),
        row.subject != "network",
        action[row.action],
        natural(row.endpoint),
    )


# -- renames


def _renames(before: Side, after: Side) -> Iterator[Row]:
    """Yield the networks and endpoints that take over the allocations of a former name.

    In the kernel only their aliases change.
    """
    if after.intent is None:
        return
    for name, network in after.intent.networks.items():
        vcid = _vcid(after, name)
        former = _former_network(name, before, after)
        if former != name:
            details = (f"renamed from {former}",)
            yield Row("rename", "network", name, vcid=vcid, details=details)
        for endpoint in network.explicit_endpoints:
            former = _former_endpoint(name, endpoint, before, after)
            if former != endpoint:
                details = (f"renamed from {former}",)
                yield Row("rename", "endpoint", name, endpoint, vcid, details=details)


def _former_network(name: str, before: Side, after: Side) -> str:
    """Return the name that a network had before; the same name where it is not renamed."""
    network = after.network(name)
    former = network.renamed_from if network is not None else None
    return _former_name(name, former, before.allocations.networks)


def _former_endpoint(network: str, name: str, before: Side, after: Side) -> str:
    """Return the name that an endpoint had before; the same name where it is not renamed."""
    previous = before.allocations.networks.get(_former_network(network, before, after))
    endpoint = after.endpoint(network, name)
    if previous is None or endpoint is None:
        return name
    return _former_name(name, endpoint.renamed_from, previous.endpoints)


def _former_name(name: str, former: str | None, allocated: Container[str]) -> str:
    """A former name counts while it has the allocations and the new name has none."""
    if former is not None and former in allocated and name not in allocated:
        return former
    return name


def _vcid(side: Side, name: str) -> int | None:
    found = side.allocations.networks.get(name)
    return found.vcid if found is not None else None


# -- one group of steps


@dataclass(frozen=True)
class _PlanReader:
    """Make rows of the steps of one group; the fields are the same for all groups."""

    before: Side
    after: Side
    traffic: Mapping[Key, PeerTraffic]
    now_s: int
    today: date

    def rows(self, group: str, steps: list[Step]) -> list[Row]:
        if group == ROOT:
            return [self._gateway(steps)]
        name, vcid = steps[0].network, naming.vcid_of_namespace(group)
        network = self._network_row(name, vcid, steps)
        endpoints = self._endpoint_rows(name, vcid, steps, network)
        if network is None and not endpoints:
            network = self._repair_row(name, vcid, steps)
        return [*([network] if network is not None else []), *endpoints]

    def _gateway(self, steps: list[Step]) -> Row:
        tables = [step for step in steps if isinstance(step.change.subject, NftTable)]
        if _all_are(steps, Action.DELETE):
            return Row("delete", "gateway", "")
        if tables and _all_are(tables, Action.CREATE):
            return Row("create", "gateway", "")
        details: tuple[str, ...] = ()
        if self.before.intent is not None and self.after.intent is not None:
            details = gateway_changes(self.before.intent.gateway, self.after.intent.gateway)
        return Row("update", "gateway", "", details=details or (_objects_text(steps),))

    # -- the network itself

    def _network_row(self, name: str, vcid: int | None, steps: list[Step]) -> Row | None:
        """Return the row of the network itself; None where only endpoints change."""
        created = _link_steps(steps, Action.CREATE)
        deleted = _link_steps(steps, Action.DELETE)
        if created and deleted:
            details = ("made anew", *self._intent_changes(name))
            reason = created[0].reason
            return Row("update", "network", name, vcid=vcid, details=details, reason=reason)
        if created:
            return self._network_created(name, vcid)
        emptied = _all_are(steps, Action.DELETE) and not self._is_wanted(name)
        if deleted or emptied:
            return self._network_deleted(name, vcid)
        changes = self._intent_changes(name)
        return Row("update", "network", name, vcid=vcid, details=changes) if changes else None

    def _network_created(self, name: str, vcid: int | None) -> Row:
        network, allocated = self.after.network(name), self.after.allocations.networks.get(name)
        details = []
        if network is not None and allocated is not None:
            details = [network.type, str(allocated.subnet), f"port {allocated.port}"]
        reason = "missing in the kernel" if self._was_up(name) else ""
        count = 0
        if network is not None:
            permitted = [
                each for each, one in network.endpoints.items() if permitted_on(one, self.today)
            ]
            count = sum((name, each) not in self.after.suspended for each in permitted)
        return Row(
            "create",
            "network",
            name,
            vcid=vcid,
            details=tuple(details),
            reason=reason,
            endpoints=count,
        )

    def _network_deleted(self, name: str, vcid: int | None) -> Row:
        peers = [traffic for key, traffic in self.traffic.items() if _is_of(key, vcid)]
        connected = sum(self._age(traffic) is not None for traffic in peers)
        previous = self.before.allocations.networks.get(name)
        count = len(peers) if previous is None else len(previous.endpoints)
        return Row(
            "delete",
            "network",
            name,
            vcid=vcid,
            reason=self._why_network_is_removed(name),
            endpoints=count,
            connected=connected,
        )

    def _why_network_is_removed(self, name: str) -> str:
        if self.after.intent is None:
            return ""
        return "removed from the YAML" if self.after.network(name) is None else "disabled"

    def _is_wanted(self, name: str) -> bool:
        network = self.after.network(name)
        return network is not None and network.enabled

    def _was_up(self, name: str) -> bool:
        network = self.before.network(_former_network(name, self.before, self.after))
        return network is not None and network.enabled

    def _intent_changes(self, name: str) -> tuple[str, ...]:
        """Return what an edit of the YAML, or a new allocation, changes in a network."""
        former = _former_network(name, self.before, self.after)
        previous, network = self.before.network(former), self.after.network(name)
        changes: tuple[str, ...] = ()
        if previous is not None and network is not None:
            changes = network_changes(previous, network)
        previous_allocation = self.before.allocations.networks.get(former)
        allocation = self.after.allocations.networks.get(name)
        if previous_allocation is not None and allocation is not None:
            changes += allocation_changes(previous_allocation, allocation)
        return changes

    def _repair_row(self, name: str, vcid: int | None, steps: list[Step]) -> Row | None:
        """Return the row of steps that neither the intent nor an endpoint explains.

        If the intent has not changed, they repair what another program has changed in the kernel.
        """
        left = [step for step in steps if not _is_alias_only(step)]
        if not left:
            return None
        previous = self.before.network(_former_network(name, self.before, self.after))
        unchanged = previous is not None and previous == self.after.network(name)
        reason = "repair" if unchanged else ""
        details = (_objects_text(left),)
        return Row("update", "network", name, vcid=vcid, details=details, reason=reason)

    # -- endpoints

    def _endpoint_rows(
        self, network: str, vcid: int | None, steps: list[Step], network_row: Row | None
    ) -> list[Row]:
        """Return the rows of endpoints; none where the whole network is deleted."""
        if network_row is not None and network_row.action == "delete":
            return []
        peers: dict[str, list[tuple[Step, WireguardPeer]]] = {}
        for step in steps:
            peer = step.change.subject
            if isinstance(peer, WireguardPeer):
                peers.setdefault(self._name_of(vcid, network, peer), []).append((step, peer))
        return [self._endpoint_row(network, name, vcid, own) for name, own in peers.items()]

    def _endpoint_row(
        self, network: str, name: str, vcid: int | None, peers: list[tuple[Step, WireguardPeer]]
    ) -> Row:
        """Return the row of one endpoint; `peers` are the steps that concern it."""
        steps = [step for step, _peer in peers]
        created = [step for step in steps if step.change.action is Action.CREATE]
        deleted = [step for step in steps if step.change.action is Action.DELETE]
        address = self._address(network, name, peers[0][1])
        row = Row("update", "endpoint", network, name, vcid, address)
        if created and not deleted:
            reason = "missing in the kernel" if self._was_in_force(network, name) else ""
            return dataclasses.replace(row, action="create", reason=reason)
        row = dataclasses.replace(row, connected_s=self._session(deleted or steps))
        if created:
            return dataclasses.replace(row, details=("new key",))
        if deleted:
            reason = self._why_endpoint_is_removed(network, name)
            return dataclasses.replace(row, action="delete", reason=reason)
        return dataclasses.replace(row, details=self._peer_details(network, name, steps))

    def _peer_details(self, network: str, name: str, steps: Iterable[Step]) -> tuple[str, ...]:
        """Return what changes in place do to an endpoint."""
        own = self._own_addresses(network, name)
        details: list[str] = []
        for step in steps:
            details += _peer_changes(step, own)
        return tuple(details)

    def _was_in_force(self, network: str, name: str) -> bool:
        former_network = _former_network(network, self.before, self.after)
        former = _former_endpoint(network, name, self.before, self.after)
        endpoint = self.before.endpoint(former_network, former)
        return endpoint is not None and permitted_on(endpoint, self.today) and self._was_up(network)

    def _why_endpoint_is_removed(self, network: str, name: str) -> str:
        if self.after.intent is None:
            return ""
        endpoint = self.after.endpoint(network, name)
        if endpoint is None:
            known = name in self._known_names(network)
            return "removed from the YAML" if known else "not in the YAML"
        if not endpoint.enabled:
            return "disabled"
        if not permitted_on(endpoint, self.today):
            return f"expired on {endpoint.expires}"
        suspension = self.after.suspended.get((network, name))
        if suspension is not None:
            return suspension_text(suspension)
        return "its key is another"

    def _known_names(self, network: str) -> set[str]:
        """Return the endpoints that have, or have had, an allocation in a network."""
        previous = self.before.allocations.networks.get(network)
        released = self.before.allocations.tombstones
        names = {tombstone.endpoint for tombstone in released if tombstone.network == network}
        return names if previous is None else names | set(previous.endpoints)

    def _session(self, steps: Iterable[Step]) -> int | None:
        """Return the seconds since the last handshake of these peers; None without a session."""
        ages = (self._age(self.traffic.get(step.key)) for step in steps)
        return min((age for age in ages if age is not None), default=None)

    def _age(self, traffic: PeerTraffic | None) -> int | None:
        """Return the seconds since the last handshake of a peer; None without a session."""
        if traffic is None or not has_session(traffic.handshake, self.now_s):
            return None
        return session_age_s(traffic.handshake, self.now_s)

    # -- which endpoint a peer belongs to

    def _name_of(self, vcid: int | None, network: str, peer: WireguardPeer) -> str:
        """Return the name of a peer's endpoint.

        It is that of the intent, or of the endpoint that has or had one of its addresses.
        """
        if peer.label:
            return peer.label
        for address in peer.allowed_ips:
            name = self._owners.get((vcid, address.partition("/")[0]))
            if name is not None:
                return name
        return f"with key {peer.public_key[:8]}…"

    @cached_property
    def _owners(self) -> Mapping[tuple[int | None, str], str]:
        """(VCID, address) -> the endpoint that has the address, or else had it last."""
        owners: dict[tuple[int | None, str], str] = {}
        networks = self.before.allocations.networks
        for network in networks.values():
            for name, endpoint in network.endpoints.items():
                owners[network.vcid, str(endpoint.address)] = name
                owners[network.vcid, str(endpoint.address6)] = name
        for tombstone in self.before.allocations.tombstones:
            if not tombstone.endpoint:
                continue
            released = networks.get(tombstone.network)
            vcid = None if released is None else released.vcid
            for address in (tombstone.get("address"), tombstone.get("address6")):
                owners.setdefault((vcid, address), tombstone.endpoint)
        return owners

    def _address(self, network: str, name: str, peer: WireguardPeer) -> str:
        """Return the endpoint's IPv4 address; "" where none is known."""
        allocation = self.after.allocations.networks.get(network)
        if allocation is not None and name in allocation.endpoints:
            return str(allocation.endpoints[name].address)
        single = [item.partition("/")[0] for item in peer.allowed_ips if item.endswith("/32")]
        return single[0] if single else ""

    def _own_addresses(self, network: str, name: str) -> frozenset[str]:
        """Return the endpoint's own addresses before and after, with prefix length."""
        former_network = _former_network(network, self.before, self.after)
        former = _former_endpoint(network, name, self.before, self.after)
        before = _addresses(self.before, former_network, former)
        return before | _addresses(self.after, network, name)


def _addresses(side: Side, network: str, name: str) -> frozenset[str]:
    """Return the addresses of an endpoint on one side, with prefix length."""
    allocation = side.allocations.networks.get(network)
    if allocation is None or name not in allocation.endpoints:
        return frozenset()
    endpoint = allocation.endpoints[name]
    return frozenset({f"{endpoint.address}/32", f"{endpoint.address6}/128"})


def _all_are(steps: Iterable[Step], action: Action) -> bool:
    return all(step.change.action is action for step in steps)


def _link_steps(steps: Iterable[Step], action: Action) -> list[Step]:
    return [
        step
        for step in steps
        if step.change.action is action and isinstance(step.change.subject, WireguardLink)
    ]


def _is_of(key: Key, vcid: int | None) -> bool:
    return vcid is not None and key.name.partition(" ")[0] == naming.tunnel(vcid)


def _is_alias_only(step: Step) -> bool:
    return bool(step.fields) and set(step.fields) <= _ALIAS_FIELDS


def _peer_changes(step: Step, own: frozenset[str]) -> Iterator[str]:
    """Yield what a change in place does to an endpoint; `own` are its own addresses."""
    previous, peer = step.change.before, step.change.after
    if previous.allowed_ips != peer.allowed_ips:
        addresses = list_changes(
            [item for item in previous.allowed_ips if item in own],
            [item for item in peer.allowed_ips if item in own],
        )
        routes = list_changes(
            [item for item in previous.allowed_ips if item not in own],
            [item for item in peer.allowed_ips if item not in own],
        )
        if addresses:
            yield f"addresses {addresses}"
        if routes:
            yield f"routes {routes}"
    if previous.keepalive != peer.keepalive:
        yield f"keepalive {previous.keepalive} s -> {peer.keepalive} s"
    if previous.preshared_key != peer.preshared_key:
        yield "another preshared key"


# -- kernel objects in words


def _objects_text(steps: Iterable[Step]) -> str:
    """Return the first objects that change as text, and how many more there are."""
    verb = {
        Action.CREATE: "missing",
        Action.DELETE: "not wanted",
        Action.UPDATE: "changed",
        Action.REVOKE: "changed",
    }
    every = (f"{_object_text(step)} {verb[step.change.action]}" for step in steps)
    texts = list(dict.fromkeys(every))
    more = [f"and {len(texts) - NAMED_MAX} more"] if len(texts) > NAMED_MAX else []
    return "; ".join([*texts[:NAMED_MAX], *more])


def _object_text(step: Step) -> str:
    subject: KernelObject = step.change.subject
    if isinstance(subject, NftTable | NetworkSubtable):
        return "firewall rules"
    if isinstance(subject, IngressFilter):
        return f"ingress filter of {subject.device}"
    if isinstance(subject, NftElements):
        return f"firewall set {subject.set}{_elements_text(step)}"
    if isinstance(subject, Route):
        return f"route {subject.prefix}"
    if isinstance(subject, Address):
        return f"address {subject.address} on {subject.device}"
    if isinstance(subject, BridgePort):
        return f"VLANs of {step.key.name}"
    if isinstance(subject, Sysctl):
        return f"setting {subject.path}"
    if isinstance(subject, WireguardDevice):
        return "WireGuard settings"
    words = {"up": "link state of", "rule": "routing rule", "netns": "namespace"}
    return f"{words.get(step.key.kind, step.key.kind)} {step.key.name}"


def _elements_text(step: Step) -> str:
    """Return which elements are added and removed, the first of them."""
    before: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()
    if step.change.before is not None:
        before = step.change.before.elements
    if step.change.after is not None:
        after = step.change.after.elements
    changes = list_changes(sorted(before), sorted(after)).split(" ")
    return f" ({first_of(changes, NAMED_MAX, ' ')})"


# -- risks


def _risks(rows: Iterable[Row]) -> Iterator[Risk]:
    cut_off: dict[str, list[Row]] = {}
    for row in rows:
        if row.subject == "network" and row.action == "delete":
            yield _network_removed(row)
        if row.subject == "endpoint" and row.action == "delete" and row.connected_s is not None:
            cut_off.setdefault(row.network, []).append(row)
    for network, gone in cut_off.items():
        yield _endpoints_cut_off(network, gone)


def _network_removed(row: Row) -> Risk:
    connected = f"{row.connected or 'none'} of them connected now"
    text = f"network {row.network} goes, with {plural(row.endpoints, 'endpoint')}, {connected}"
    hint = "its numbers are kept"
    if row.reason.startswith("removed"):
        hint = "`enabled: false` takes it out of the kernel and keeps its numbers"
    return Risk("network-goes", f"networks.{row.network}", text, hint)


def _endpoints_cut_off(network: str, gone: list[Row]) -> Risk:
    named = [f"{row.endpoint} (handshake {row.connected_s} s ago)" for row in gone]
    text = f"connected endpoints of {network} are cut off: {first_of(named, NAMED_MAX)}"
    path = f"networks.{network}.endpoints"
    if len(gone) == 1:
        path += f".{gone[0].endpoint}"
    return Risk("endpoint-connected", path, text, "go on if that is meant")
