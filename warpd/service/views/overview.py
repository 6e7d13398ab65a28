"""A plan as people read it: a line per network and per endpoint that changes, and what of it is a
risk. Pure.

Lives here: which network and which endpoint a kernel step belongs to, and why it changes. Does not:
the text of a terminal (`render`), the comparison of two intents (`changes`). The steps decide which
lines there are; the intents and the allocations of before and after only say what the lines are
called and why they are there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any, Final, Literal

from warpd import naming
from warpd.allocation.model import Allocations
from warpd.intent.model import Endpoint, Intent, Network
from warpd.intent.types import natural
from warpd.kernel.kinds.address import Address
from warpd.kernel.kinds.bridge_port import BridgePort
from warpd.kernel.kinds.link import WireguardLink
from warpd.kernel.kinds.nft_table import IngressFilter, NetworkSubtable, NftElements, NftTable
from warpd.kernel.kinds.route import Route
from warpd.kernel.kinds.sysctl import Sysctl
from warpd.kernel.kinds.wireguard import WireguardDevice, WireguardPeer
from warpd.kernel.state import ROOT, Action, KernelObject, Key, PeerTraffic
from warpd.networks.resolved import in_force
from warpd.reconcile.plan import Plan, Step
from warpd.service.views.changes import (
    allocation_changes,
    gateway_changes,
    list_changes,
    network_changes,
)

# a session ends this long after its handshake (REJECT_AFTER_TIME of the WireGuard protocol)
CONNECTED_S: Final = 180
NAMED_MAX: Final = 3  # objects of a repair, and endpoints of a risk, that are named one by one
RowAction = Literal["create", "update", "delete", "rename"]
Subject = Literal["gateway", "network", "endpoint"]
_ALIAS_FIELDS: Final = frozenset({"alias", "peer_alias"})


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a change: the intent (None where it is not known) and the allocations that go
    with it.
    """

    intent: Intent | None = None
    allocations: Allocations = field(default_factory=Allocations)

    def network(self, name: str) -> Network | None:
        return self.intent.networks.get(name) if self.intent is not None else None

    def endpoint(self, network: str, name: str) -> Endpoint | None:
        found = self.network(network)
        return found.endpoints.get(name) if found is not None else None


@dataclass(frozen=True, slots=True)
class Row:
    """One network or endpoint that changes.

    `endpoint` is "" for a network and for the gateway. `connected_s` is the age of the last
    handshake in seconds of an endpoint with a session, else None. `details` say what changes;
    `reason` says why, "" where the details do.
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
    endpoints: int = 0  # of a network that comes or goes
    connected: int = 0  # of these, how many have a session

    def as_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "details": list(self.details)}


@dataclass(frozen=True, slots=True)
class Risk:
    """What clients will notice."""

    code: str
    path: str
    message: str
    hint: str

    def as_json(self) -> dict[str, str]:
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class Overview:
    """The rows, networks in the order of their names with the gateway first; and the risks."""

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
    """The rows of a plan.

    Args:
        plan: the steps.
        before: what is in force; its allocations as they were before this change.
        after: what shall be in force; without an intent, everything is taken away.
        traffic: what the kernel counted, by peer.
        now_s: seconds since the epoch, for the age of handshakes.
        today: the day, for endpoints that expire.
    """
    reader = _PlanReader(before, after, traffic, now_s, today)
    groups: dict[str, list[Step]] = {}
    for step in plan.steps:
        groups.setdefault(step.group, []).append(step)
    rows = [row for group, steps in groups.items() for row in reader.rows(group, steps)]
    rows = sorted([*_renames(before, after), *rows], key=_row_order)
    return Overview(tuple(rows), tuple(_risks(rows)))


def _row_order(row: Row) -> tuple[Any, ...]:
    phase = {"rename": 0, "delete": 1, "create": 2, "update": 3}
    return (
        row.subject != "gateway",
        natural(row.network),
        row.subject != "network",
        phase[row.action],
        natural(row.endpoint),
    )


# ---- renames -------------------------------------------------------------------------------------------------


def _renames(before: Side, after: Side) -> Iterator[Row]:
    """Names that took over what another name held.

    They change nothing in the kernel but aliases.
    """
    if after.intent is None:
        return
    for name, network in after.intent.networks.items():
        old = _former_network(name, before, after)
        if old != name:
            yield Row(
                "rename", "network", name, vcid=_vcid(after, name), details=(f"renamed from {old}",)
            )
        held = before.allocations.networks.get(old)
        for new, endpoint in network.explicit_endpoints.items():
            former = endpoint.renamed_from
            if held is not None and former in held.endpoints and new not in held.endpoints:
                yield Row(
                    "rename",
                    "endpoint",
                    name,
                    new,
                    _vcid(after, name),
                    details=(f"renamed from {former}",),
                )


def _former_network(name: str, before: Side, after: Side) -> str:
    network = after.network(name)
    old = network.renamed_from if network is not None else None
    known = before.allocations.networks
    return old if old is not None and old in known and name not in known else name


def _former_endpoint(network: str, name: str, before: Side, after: Side) -> str:
    endpoint = after.endpoint(network, name)
    old = endpoint.renamed_from if endpoint is not None else None
    held = before.allocations.networks.get(_former_network(network, before, after))
    return (
        old
        if old is not None
        and held is not None
        and old in held.endpoints
        and name not in held.endpoints
        else name
    )


def _vcid(side: Side, name: str) -> int | None:
    found = side.allocations.networks.get(name)
    return found.vcid if found is not None else None


# ---- one group of steps --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _PlanReader:
    """Makes rows of the steps of one group; holds what all groups share."""

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
        made = [step for step in steps if isinstance(step.change.subject, NftTable)]
        action: RowAction = "update"
        if made and all(step.change.action is Action.CREATE for step in made):
            action = "create"
        if all(step.change.action is Action.DELETE for step in steps):
            action = "delete"
        details: tuple[str, ...] = ()
        if action == "update" and self.before.intent is not None and self.after.intent is not None:
            details = gateway_changes(self.before.intent.gateway, self.after.intent.gateway)
        if action == "update" and not details:
            details = (_objects_text(steps),)
        return Row(action, "gateway", "gateway", details=details)

    # -- the network itself

    def _network_row(self, name: str, vcid: int | None, steps: list[Step]) -> Row | None:
        """None where only endpoints change."""
        came = _link_steps(steps, Action.CREATE)
        went = _link_steps(steps, Action.DELETE)
        if came and went:
            fields = came[0].reason
            return Row(
                "update",
                "network",
                name,
                vcid=vcid,
                details=("made anew", *self._intent_changes(name)),
                reason=fields,
            )
        if came:
            return self._network_created(name, vcid)
        emptied = all(
            step.change.action is Action.DELETE for step in steps
        ) and not self._is_wanted(name)
        if went or emptied:
            return self._network_deleted(name, vcid)
        changes = self._intent_changes(name)
        return Row("update", "network", name, vcid=vcid, details=changes) if changes else None

    def _network_created(self, name: str, vcid: int | None) -> Row:
        network, allocated = self.after.network(name), self.after.allocations.networks.get(name)
        details = []
        if network is not None and allocated is not None:
            details = [network.type, str(allocated.subnet), f"port {allocated.port}"]
        reason = "missing in the kernel" if self._was_up(name) else ""
        count = (
            sum(in_force(one, self.today) for one in network.endpoints.values())
            if network is not None
            else 0
        )
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
        held = self.before.allocations.networks.get(name)
        connected = sum(
            self._age(traffic) is not None
            for key, traffic in self.traffic.items()
            if _is_of(key, vcid)
        )
        count = (
            len(held.endpoints)
            if held is not None
            else sum(_is_of(key, vcid) for key in self.traffic)
        )
        return Row(
            "delete",
            "network",
            name,
            vcid=vcid,
            reason=self._why_network_goes(name),
            endpoints=count,
            connected=connected,
        )

    def _why_network_goes(self, name: str) -> str:
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
        old = _former_network(name, self.before, self.after)
        was, now = self.before.network(old), self.after.network(name)
        out: tuple[str, ...] = ()
        if was is not None and now is not None:
            out = network_changes(was, now)
        had, has = (
            self.before.allocations.networks.get(old),
            self.after.allocations.networks.get(name),
        )
        if had is not None and has is not None:
            out += allocation_changes(had, has)
        return out

    def _repair_row(self, name: str, vcid: int | None, steps: list[Step]) -> Row | None:
        """Neither the intent nor an endpoint explains these steps: the kernel was changed by
        somebody else.
        """
        left = [step for step in steps if not _is_alias_only(step)]
        if not left:
            return None
        was = self.before.network(_former_network(name, self.before, self.after))
        reason = "repair" if was is not None and was == self.after.network(name) else ""
        return Row(
            "update", "network", name, vcid=vcid, details=(_objects_text(left),), reason=reason
        )

    # -- endpoints

    def _endpoint_rows(
        self, network: str, vcid: int | None, steps: list[Step], network_row: Row | None
    ) -> list[Row]:
        peers: dict[str, list[tuple[Step, WireguardPeer]]] = {}
        for step in steps:
            peer = step.change.subject
            if isinstance(peer, WireguardPeer):
                peers.setdefault(self._name_of(vcid, network, peer), []).append((step, peer))
        goes = network_row is not None and network_row.action == "delete"
        return (
            []
            if goes
            else [self._endpoint_row(network, name, vcid, own) for name, own in peers.items()]
        )

    def _endpoint_row(
        self, network: str, name: str, vcid: int | None, peers: list[tuple[Step, WireguardPeer]]
    ) -> Row:
        steps = [step for step, _ in peers]
        came = [step for step in steps if step.change.action is Action.CREATE]
        went = [step for step in steps if step.change.action is Action.DELETE]
        shown = Row(
            "update", "endpoint", network, name, vcid, self._address(network, name, peers[0][1])
        )
        if came and went:
            return dataclasses.replace(shown, details=("new key",), connected_s=self._session(went))
        if came:
            reason = "missing in the kernel" if self._was_in_force(network, name) else ""
            return dataclasses.replace(shown, action="create", reason=reason)
        if went:
            why = self._why_endpoint_goes(network, name)
            return dataclasses.replace(
                shown, action="delete", reason=why, connected_s=self._session(went)
            )
        own = self._own_addresses(network, name)
        details = tuple(text for step in steps for text in _peer_changes(step, own))
        return dataclasses.replace(shown, details=details, connected_s=self._session(steps))

    def _was_in_force(self, network: str, name: str) -> bool:
        old = _former_network(network, self.before, self.after)
        endpoint = self.before.endpoint(
            old, _former_endpoint(network, name, self.before, self.after)
        )
        return endpoint is not None and in_force(endpoint, self.today) and self._was_up(network)

    def _why_endpoint_goes(self, network: str, name: str) -> str:
        if self.after.intent is None:
            return ""
        endpoint = self.after.endpoint(network, name)
        if endpoint is None:
            return (
                "removed from the YAML" if name in self._known_names(network) else "not in the YAML"
            )
        if not endpoint.enabled:
            return "disabled"
        return (
            f"expired on {endpoint.expires}"
            if not in_force(endpoint, self.today)
            else "its key is another"
        )

    def _known_names(self, network: str) -> set[str]:
        held = self.before.allocations.networks.get(network)
        rows = {row.endpoint for row in self.before.allocations.freed if row.network == network}
        return rows | set(held.endpoints if held is not None else ())

    def _session(self, steps: Iterable[Step]) -> int | None:
        ages = (self._age(self.traffic.get(step.key)) for step in steps)
        return min((age for age in ages if age is not None), default=None)

    def _age(self, traffic: PeerTraffic | None) -> int | None:
        """Seconds since the last handshake of a peer with a session."""
        if traffic is None or not traffic.handshake:
            return None
        age = max(0, self.now_s - traffic.handshake)
        return age if age < CONNECTED_S else None

    # -- whose a peer is

    def _name_of(self, vcid: int | None, network: str, peer: WireguardPeer) -> str:
        """The endpoint's name: what the intent calls it, or who holds or held one of its addresses."""
        if peer.label:
            return peer.label
        for address in peer.allowed_ips:
            name = self._owners.get((vcid, address.partition("/")[0]))
            if name is not None:
                return name
        return f"with key {peer.public_key[:8]}…"

    @cached_property
    def _owners(self) -> Mapping[tuple[int | None, str], str]:
        """(VCID, address) -> endpoint; who holds it goes before who held it."""
        out: dict[tuple[int | None, str], str] = {}
        for held in self.before.allocations.networks.values():
            for name, one in held.endpoints.items():
                out[held.vcid, str(one.address)] = out[held.vcid, str(one.address6)] = name
        vcids = {name: held.vcid for name, held in self.before.allocations.networks.items()}
        for row in self.before.allocations.freed:
            for address in (row.get("address"), row.get("address6")) if row.endpoint else ():
                out.setdefault((vcids.get(row.network), address), row.endpoint)
        return out

    def _address(self, network: str, name: str, peer: WireguardPeer) -> str:
        held = self.after.allocations.networks.get(network)
        if held is not None and name in held.endpoints:
            return str(held.endpoints[name].address)
        single = [item.partition("/")[0] for item in peer.allowed_ips if item.endswith("/32")]
        return single[0] if single else ""

    def _own_addresses(self, network: str, name: str) -> frozenset[str]:
        """With prefix length, of before and after."""
        old = _former_network(network, self.before, self.after)
        former = _former_endpoint(network, name, self.before, self.after)
        out: set[str] = set()
        for side, where, who in ((self.before, old, former), (self.after, network, name)):
            held = side.allocations.networks.get(where)
            if held is not None and who in held.endpoints:
                one = held.endpoints[who]
                out |= {f"{one.address}/32", f"{one.address6}/128"}
        return frozenset(out)


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
    """What a change in place does to an endpoint."""
    was, now = step.change.before, step.change.after
    if was.allowed_ips != now.allowed_ips:
        routes = list_changes(
            [item for item in was.allowed_ips if item not in own],
            [item for item in now.allowed_ips if item not in own],
        )
        addresses = list_changes(
            [item for item in was.allowed_ips if item in own],
            [item for item in now.allowed_ips if item in own],
        )
        yield from (f"addresses {addresses}",) if addresses else ()
        yield from (f"routes {routes}",) if routes else ()
    if was.keepalive != now.keepalive:
        yield f"keepalive {was.keepalive} s -> {now.keepalive} s"
    if was.preshared_key != now.preshared_key:
        yield "another preshared key"


# ---- kernel objects in words ---------------------------------------------------------------------------------


def _objects_text(steps: Iterable[Step]) -> str:
    """The first few objects that change, in words, and how many more there are."""
    verb = {
        Action.CREATE: "missing",
        Action.DELETE: "not wanted",
        Action.UPDATE: "changed",
        Action.REVOKE: "changed",
    }
    texts = list(
        dict.fromkeys(f"{_object_text(step)} {verb[step.change.action]}" for step in steps)
    )
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
    """Which elements are lacking or too many."""
    was = step.change.before.elements if step.change.before is not None else frozenset()
    now = step.change.after.elements if step.change.after is not None else frozenset()
    changes = list_changes(sorted(was), sorted(now)).split(" ")
    more = f" and {len(changes) - NAMED_MAX} more" if len(changes) > NAMED_MAX else ""
    return f" ({' '.join(changes[:NAMED_MAX])}{more})"


# ---- risks ---------------------------------------------------------------------------------------------------


def _risks(rows: Iterable[Row]) -> Iterator[Risk]:
    cut_off: dict[str, list[Row]] = {}
    for row in rows:
        if row.subject == "network" and row.action == "delete":
            yield _network_goes(row)
        if row.subject == "endpoint" and row.action == "delete" and row.connected_s is not None:
            cut_off.setdefault(row.network, []).append(row)
    for network, gone in cut_off.items():
        yield _endpoints_go(network, gone)


def _network_goes(row: Row) -> Risk:
    text = (
        f"network {row.network} goes, with {row.endpoints}"
        f" endpoint{'' if row.endpoints == 1 else 's'}"
    )
    text += (
        f", {row.connected} of them connected now"
        if row.connected
        else ", none of them connected now"
    )
    hint = "its numbers are kept"
    if row.reason.startswith("removed"):
        hint = "`enabled: false` takes it out of the kernel and keeps its numbers"
    return Risk("network-goes", f"networks.{row.network}", text, hint)


def _endpoints_go(network: str, gone: list[Row]) -> Risk:
    named = [f"{row.endpoint} (handshake {row.connected_s} s ago)" for row in gone[:NAMED_MAX]]
    more = [f"and {len(gone) - NAMED_MAX} more"] if len(gone) > NAMED_MAX else []
    text = f"connected endpoints of {network} are cut off: {', '.join([*named, *more])}"
    path = f"networks.{network}.endpoints" + (f".{gone[0].endpoint}" if len(gone) == 1 else "")
    return Risk("endpoint-connected", path, text, "go on if that is meant")
