"""A kernel in memory: the same calls as the live one, and the same rules of existence.

It is for tests of order, of crashes and faults, and of the daemon. Each object kind says what the
kernel does by itself around it (`warpd.kernel.existence`); here is only what follows the rules. It
passes the live kernel's own conformance tests (`tests/conformance`). It keeps objects, not packets:
what passes is only ever tested on a real kernel.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import operator
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import cast

from warpd.kernel.api import Dump, DumpError, Event, FailureKind, OperationError
from warpd.kernel.existence import ExistenceRules
from warpd.kernel.kinds.netns import namespace_keys
from warpd.kernel.kinds.nft_table import NftTable, table_key
from warpd.kernel.kinds.rule import rules_among
from warpd.kernel.kinds.sysctl import (
    FORWARDING4,
    FORWARDING6,
    FORWARDING6_BY_OTHERS,
    TAG_FENCE4,
    active_fences,
    is_on,
)
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.registry import kind_of
from warpd.kernel.rows import VethEnd
from warpd.kernel.state import ROOT, Action, Change, EgressLink, Host, KernelObject, Key
from warpd.networks.firewall.root import fenced_by_rules, fences

FIRST_PAIR = 5  # its ends have the indexes 10 and 11
TEXTS = {
    errno.EEXIST: "File exists",
    errno.ENODEV: "No such device",
    errno.EINVAL: "Could not process rule",
    errno.ENOENT: "No such file or directory",
    errno.ENETDOWN: "Network is down",
    errno.ENETUNREACH: "Network is unreachable: Nexthop has invalid gateway",
    errno.EADDRINUSE: "Address already in use",
}

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
        self.unreadable: dict[str, str] = {}  # namespaces that `dump` fails for: name -> why
        self.settings: dict[str, str] = {}  # the host's own, as last written
        self.sent_changes = 0
        self.dialled: dict[Key, str] = {}  # peer -> ADDRESS:PORT, by `dial`
        self._events: list[Event] | None = None  # since the last call of `events`, while listening
        self._dumped: dict[str, KernelObject] = {}  # namespace -> what its name meant

    def close(self) -> None:
        self.stop_listening()

    def dump(self, netns: str, uplink: str = "auto", targets: Sequence[str] = ()) -> Dump:
        if netns in self.unreadable:
            raise DumpError(self.unreadable[netns])
        for key in namespace_keys(netns):
            if key in self.objects:
                self._dumped[netns] = self.objects[key]
        objects = tuple(item for item in self._in(netns) if not item.TWO_NAMESPACES)
        ends = tuple(end for end in self._ends() if end.netns == netns)
        foreign = {key: text for key, text in self.foreign.items() if key.netns == netns}
        others = {key.name: kind for key, kind in self.others.items() if key.netns == netns}
        host = self._host() if netns == ROOT else None
        return Dump(netns, objects, ends, foreign, host=host, others=others)

    def _in(self, netns: str) -> Iterator[KernelObject]:
        return (item for key, item in self.objects.items() if key.netns == netns)

    def _ends(self) -> Iterator[VethEnd]:
        """What each of two namespaces shows of an object that is in both."""
        pairs = (item for item in self.objects.values() if item.TWO_NAMESPACES)
        for number, pair in enumerate(pairs, FIRST_PAIR):
            yield from _rules(pair).ends(pair, number)

    def keeping_counters(self) -> AbstractContextManager[None]:
        return nullcontext()  # it counts no packets

    def _host(self) -> Host:
        """The host's facts after what we have done to it: forwarding, and our fences."""
        links4, has_ipv6 = fences(cast("NftTable | None", self.objects.get(table_key(ROOT))))
        links4 = links4 or fenced_by_rules(rules_among(self._in(ROOT)))
        tag = functools.reduce(operator.or_, (int(value) for value in self._tags()), 0)
        four, six = self._forwarding(FORWARDING4), self._forwarding(FORWARDING6)
        standing = active_fences(links4, has_ipv6, tag, four, six)
        return dataclasses.replace(
            self.host,
            fence4=standing.links4,
            fence6=standing.all6,
            taken4=standing.taken4,
            taken6=standing.taken6,
            forwarding4=is_on(four),
            forwarding6=is_on(six),
            exits=tuple(self._exit(link) for link in self._exits(standing.links4)),
            tagged4=bool(tag & TAG_FENCE4),
        )

    def _forwarding(self, path: str) -> str:
        """A setting of the whole host: as last written, or as the host had it."""
        before = self.host.forwarding4 if path == FORWARDING4 else self.host.forwarding6
        return self.settings.get(path, FORWARDING6_BY_OTHERS if before else "0")

    def _exits(self, fence4: Sequence[str]) -> Sequence[EgressLink]:
        """While there is no uplink, the links that we let forward before stay what they are."""
        kept = () if self.host.uplink else tuple(EgressLink(name) for name in fence4)
        return (
            *kept,
            *(link for link in self.host.exits if link.name not in fence4 or self.host.uplink),
        )

    def _tags(self) -> list[str]:
        """Values of the `tag` of our links in the root."""
        return [
            getattr(item, "value", "0")
            for key, item in self.objects.items()
            if key.netns == ROOT and key.name.endswith("/tag")
        ]

    def _exit(self, link: EgressLink) -> EgressLink:
        four = self.settings.get(f"net/ipv4/conf/{link.name}/forwarding")
        return EgressLink(link.name, link.forwarding4 if four is None else is_on(four))

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

    def listen(self) -> None:
        if self._events is None:
            self._events = []

    @property
    def event_descriptors(self) -> tuple[int, ...]:
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
        self._dumped.pop(change.subject.opens, None)  # what we did ourselves is not news
        fault = self._changed(change)
        if fault is None and _rules(change.subject).announced:
            self.report(Event(change.subject.key.netns))
        return fault

    def _changed(self, change: Change) -> OperationError | None:
        self.sent_changes += 1
        subject = change.subject
        removed = change.action is Action.DELETE
        code = self._refusal(change, subject)
        if code:
            kind = FailureKind.FOREIGN if code == errno.EEXIST else FailureKind.REFUSED
            return OperationError(kind, change.action.value, subject.key, code, TEXTS[code])
        self.settings.update(filter(None, [_rules(subject).host_setting(subject, removed)]))
        if removed and not _rules(subject).is_permanent(subject):
            self._remove(subject.key)
        if not removed:
            self._put(subject)
        return None

    def _refusal(self, change: Change, subject: KernelObject) -> int:
        """The errno with which the kernel refuses the change, 0 for none."""
        rules = _rules(subject)
        if change.action is Action.DELETE:
            return 0 if subject.key in self.objects else rules.absent
        if change.before is None and rules.taken and self._is_taken(subject.key):
            return rules.taken
        if any(need not in self.objects for need in rules.prerequisites(subject)):
            return rules.missing
        return rules.refusal(subject, self.objects)

    def _is_taken(self, key: Key) -> bool:
        return any(key in held for held in (self.objects, self.foreign, self.others))

    def _put(self, item: KernelObject) -> None:
        rules = _rules(item)
        before = self.objects.get(item.key)
        if before is not None and before.rebuilt_by(item):
            self._remove(item.key)
            before = None
        if rules.is_nothing(item):
            self.objects.pop(item.key, None)
            return
        self.objects[item.key] = item
        for other in list(rules.also_written(item, before is None, self.objects)):
            self.objects[other.key] = other

    def _remove(self, key: Key) -> None:
        """Remove an object, with everything that the kernel takes along."""
        removed = self.objects.pop(key, None)
        if removed is None:
            return
        released = {other for other, item in self.objects.items() if item.master_in((key,))}
        for port in released:
            self.objects[port] = self.objects[port].without_master()
        for other, item in list(self.objects.items()):
            if _rules(item).removed_with(item, removed, released):
                self._remove(other)


def _rules(item: KernelObject) -> ExistenceRules[KernelObject]:
    return kind_of(item).rules
