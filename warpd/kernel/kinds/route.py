"""A route of ours: protocol 119.

The kernel's key is (family, table, prefix, metric, tos); `device` and `via` are changed by
NLM_F_REPLACE only after a look has shown that the route under that key is ours, because the kernel
does not compare the protocol when it replaces (fib_table_insert). IPv6 metric 0 reads back as 1024:
written so from the start.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from socket import AF_INET, AF_INET6
from typing import Any, ClassVar, Literal

from warpd.kernel.existence import ExistenceRules, Existing
from warpd.kernel.kinds.link import LinkUp, group_of, maker_of
from warpd.kernel.request import Index, Message
from warpd.kernel.rows import ForeignReading, NamespaceRows, Reading
from warpd.kernel.state import ROUTE_PROTOCOL, Action, Change, KernelObject, Key, Phase

PROTOCOL_KERNEL = 2
TABLE_MAIN = 254
RT_SCOPE_UNIVERSE = 0
RT_SCOPE_LINK = 253
RTNH_F_ONLINK = 4
RTN_UNICAST = 1
RTN_UNREACHABLE = 7
LAST_RESORT = 4278198272  # a metric above all that others use: where a lookup in a VRF's table ends
IPV6_DEFAULT_METRIC = 1024
# By IP version: prefixes up to this length are parts of a default route in another spelling.
# OpenVPN's `redirect-gateway def1` writes 0.0.0.0/1 and 128.0.0.0/1, its `redirect-gateway ipv6`
# ::/3, 2000::/4 and 3000::/4; others write ::/1 and 8000::/1, or 2000::/3.
DEFAULT_BITS: Mapping[int, int] = {4: 1, 6: 4}


def default_metric(prefix: str) -> int:
    """The metric that the kernel gives a route without one: 1024 for IPv6, 0 for IPv4."""
    return IPV6_DEFAULT_METRIC if ":" in prefix else 0


def is_default(prefix: str) -> bool:
    """Whether a prefix is that of a default route, or a part of a split one."""
    return int(prefix.rpartition("/")[2]) <= DEFAULT_BITS[6 if ":" in prefix else 4]


def route_key(netns: str, table: int, prefix: str, metric: int) -> Key:
    """The key of a route, by the kernel's own identity of one."""
    return Key("route", netns, f"{prefix} table {table} metric {metric}")


@dataclass(frozen=True, slots=True)
class Route(KernelObject):
    """A route.

    - `device`: "" for a route that leads nowhere (`kind` RTN_UNREACHABLE).
    - `reach`: the route by which the gateway `via` is reached.
    - `owner`: the network, where no device of its own tells.
    - `onlink`: `via` is not looked up in this table.

    Ours: its protocol, 119.
    """

    KIND: ClassVar[str] = "route"
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset({"device", "via", "link", "kind"})

    netns: str
    prefix: str
    device: str  # "" for a route that leads nowhere
    link: Key | None
    via: str | None = None
    table: int = TABLE_MAIN
    metric: int = 0
    kind: int = RTN_UNICAST
    reach: Key | None = field(default=None, compare=False)  # the route by which `via` is reached
    owner: str = field(default="", compare=False)  # the network, where no device of its own tells
    onlink: bool = field(default=False, compare=False)  # `via` is not looked up in this table

    @property
    def key(self) -> Key:
        return route_key(self.netns, self.table, self.prefix, self.metric)

    @property
    def phase(self) -> Phase:
        return Phase.ROUTE if self.device else Phase.NAMESPACE

    @property
    def needs(self) -> tuple[Key, ...]:
        return tuple(key for key in (self.link, self.reach) if key is not None)

    @property
    def container(self) -> Key | None:
        return self.link

    @property
    def group(self) -> str:
        return self.owner or group_of(self.netns, self.device)


class RouteRules(ExistenceRules[Route]):
    """A route needs its link up and its gateway reachable, and goes when the link goes down."""

    def prerequisites(self, item: Route) -> Collection[Key]:
        return () if item.link is None else (item.link,)

    def refusal(self, item: Route, existing: Existing) -> int:
        if item.link is not None and _up_key(item) not in existing:
            return errno.ENETDOWN
        if item.via and item.reach is not None and item.reach not in existing:
            return errno.ENETUNREACH
        return 0

    def removed_with(self, item: Route, removed: KernelObject, released: Collection[Key]) -> bool:
        return removed.key == _up_key(item) or super().removed_with(item, removed, released)


def _up_key(item: Route) -> Key:
    return Key(LinkUp.KIND, item.netns, item.device)


def read(rows: NamespaceRows) -> Iterator[Reading | ForeignReading]:
    """The routes of our protocol; one of another protocol is foreign under its key.

    Routes of the kernel's own come and go with an address, which is what is compared.
    """
    own = {row.name for row in rows.own}
    for row in rows.routes:
        device = rows.names.get(row.index, "") if row.kind == RTN_UNICAST else ""
        if row.protocol == PROTOCOL_KERNEL:
            continue
        if row.protocol != ROUTE_PROTOCOL:
            key = route_key(rows.netns, row.table, row.prefix, row.metric)
            yield ForeignReading(key, f"route {row.prefix} of protocol {row.protocol} on {device}")
            continue
        found = Route(
            rows.netns,
            row.prefix,
            device,
            maker_of(rows.netns, device) if device in own else None,
            row.via or None,
            row.table,
            row.metric,
            row.kind,
            owner=rows.vrf_owners.get(row.table, ""),
        )
        yield Reading(found, "route", row.body)


def encode(change: Change) -> list[Message]:
    """The request that adds, replaces or removes a route."""
    if change.action is Action.DELETE:
        return delete_route(change.before)
    return [_message(change.after, "new", create=change.before is None)]


def _message(item: Route, verb: Literal["new", "del"], create: bool) -> Message:
    network = ip_network(item.prefix)
    attrs: list[tuple[str, Any]] = [("RTA_TABLE", item.table)]
    if network.prefixlen:
        attrs.append(("RTA_DST", str(network.network_address)))
    if item.metric:
        attrs.append(("RTA_PRIORITY", item.metric))
    if verb == "new":
        attrs += _next_hop(item)
    header = (
        ("family", AF_INET6 if network.version == 6 else AF_INET),
        ("dst_len", network.prefixlen),
        ("table", item.table if item.table < 256 else 0),
        ("proto", ROUTE_PROTOCOL),
        ("scope", _scope(item, network.version)),
        ("type", item.kind),
        ("flags", RTNH_F_ONLINK if item.onlink and verb == "new" else 0),
    )
    return Message(item.netns, "route", verb, header, tuple(attrs), create)


def _next_hop(item: Route) -> Iterator[tuple[str, Any]]:
    if not item.device:
        return
    yield "RTA_OIF", Index(item.netns, item.device)
    if item.via:
        yield "RTA_GATEWAY", item.via


def _scope(item: Route, version: int) -> int:
    """IPv4 alone tells a destination on the link from one behind a gateway."""
    on_link = version == 4 and item.device and not item.via
    return RT_SCOPE_LINK if on_link else RT_SCOPE_UNIVERSE


def delete_route(item: Route) -> list[Message]:
    """By the kernel's key only: with an attribute too many the kernel finds no such route."""
    return [_message(item, "del", create=False)]
