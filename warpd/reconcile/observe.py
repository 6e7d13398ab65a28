"""Dumps of all namespaces -> Observed. Pure, but for the calls to `Kernel.dump`.

"Not there", "could not be read" and "not read" are three things. What could not be read raises (or
is named in `Observed.unread`), and what was not read is outside the Scope of the look. Nothing is
removed because it was not read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from warpd.kernel.api import Dump, DumpError, Kernel
from warpd.kernel.kinds.link import link_key, pair
from warpd.kernel.kinds.netns import Netns
from warpd.kernel.state import ROOT, Host, KernelObject, Key, Observed, PeerTraffic, State


@dataclass(frozen=True, slots=True)
class Scope:
    """What a look reads of the kernel: the root always, and the networks of these groups.

    groups: None stands for every network. Namespaces outside the scope are not read; that says
        nothing about what is there.
    follow_root: whether a planner adds the networks of which the root shows something else than
        what is wanted.
    paused: groups that it does not add for that: they are tried again later.
    """

    groups: frozenset[str] | None = None
    follow_root: bool = False
    paused: frozenset[str] = frozenset()

    @classmethod
    def of(cls, groups: Iterable[str]) -> Scope:
        """The root and these networks only."""
        return cls(frozenset(groups))

    @property
    def is_everything(self) -> bool:
        return self.groups is None

    def covers(self, group: str) -> bool:
        """Whether what belongs to this group is read."""
        return self.groups is None or group == ROOT or group in self.groups

    def with_groups(self, groups: Iterable[str]) -> Scope:
        """The same, and these networks."""
        if self.groups is None:
            return self
        return dataclasses.replace(self, groups=self.groups | frozenset(groups))


EVERYTHING: Final = Scope()
Keep = Callable[[Dump], Dump]


def observe(
    kernel: Kernel,
    scope: Scope = EVERYTHING,
    uplink: str = "auto",
    targets: Sequence[str] = (),
    root: Dump | None = None,
    keep: Keep = lambda dump: dump,
    partial: bool = False,
) -> Observed:
    """Look at the root, and at every namespace with a name of ours that is in the scope.

    `uplink` and `targets` are as for Kernel.dump; `root` is a look at the root of just now; `keep`
    is what to keep of each dump as soon as it is read. With `partial`, a namespace that could not
    be read is named in `Observed.unread`, and the others are shown all the same.

    Raises:
        DumpError: the root could not be read, or, without `partial`, one of the namespaces.
    """
    root = kernel.dump(ROOT, uplink, targets) if root is None else root
    namespaces = [item.opens for item in root.objects if item.opens]
    dumps = [keep(root)]
    unread: dict[str, str] = {}
    for namespace in namespaces:
        if not scope.covers(namespace):
            continue
        try:
            dumps.append(keep(kernel.dump(namespace)))
        except DumpError as failure:
            if not partial:
                raise
            unread[namespace] = str(failure)
    return dataclasses.replace(assemble(dumps), unread=unread)


def shared_with(wanted: State) -> Keep:
    """Make a peer that is as wanted the very same object as in `wanted`.

    A hundred thousand peers weigh a hundred MiB: what is there and what is wanted are hardly ever
    two.
    """

    def share(item: KernelObject) -> KernelObject:
        same = wanted.get(item.key) if item.NUMEROUS else None
        return same if same is not None and same == item else item

    def keep(dump: Dump) -> Dump:
        objects = tuple(share(item) for item in dump.objects)
        traffic = {item.key: dump.traffic[item.key] for item in objects if item.key in dump.traffic}
        return dataclasses.replace(dump, objects=objects, traffic=traffic)

    return keep


def assemble(dumps: Sequence[Dump]) -> Observed:
    """One picture of several namespaces; ends of a pair seen apart become one object."""
    alien = {dump.netns: dump.alien for dump in dumps if dump.alien}
    objects = list(_own_objects(dumps, alien))
    # An end that is half of no pair of ours is somebody else's, and so is what is on it.
    half_pairs = _root_ends(dumps) - {item.key for item in objects}
    own = State.of(item for item in objects if item.container not in half_pairs)
    foreign = _foreign(dumps, half_pairs, own)
    foreign.update({Key(Netns.KIND, ROOT, netns): text for netns, text in alien.items()})
    host = next((dump.host for dump in dumps if dump.host is not None), Host())
    traffic: dict[Key, PeerTraffic] = {}
    drops: dict[str, Mapping[str, tuple[int, int]]] = {}
    for dump in dumps:
        traffic.update(dump.traffic)
        drops.update(dump.drops)
    return Observed(own, foreign, host, traffic, drops, _other_links(dumps, own))


def _own_objects(dumps: Sequence[Dump], alien: Collection[str]) -> Iterator[KernelObject]:
    """Objects and whole pairs of ours, but those of a namespace that is not."""
    ends = [end for dump in dumps for end in dump.ends]
    for objects in (*(dump.objects for dump in dumps), pair(ends)):
        for item in objects:
            if item.group not in alien:
                yield item


def _root_ends(dumps: Sequence[Dump]) -> set[Key]:
    ends = [end for dump in dumps for end in dump.ends]
    return {link_key(ROOT, end.name) for end in ends if end.netns == ROOT}


def _foreign(dumps: Sequence[Dump], half_pairs: Collection[Key], own: State) -> dict[Key, str]:
    """What of others sits under a key of ours.

    A foreign route beside ours under one key, which another program has appended, is not in our
    way.
    """
    foreign = {key: text for dump in dumps for key, text in dump.foreign.items()}
    foreign.update({key: _not_ours(key.name, "veth") for key in half_pairs})
    return {key: text for key, text in foreign.items() if own.get(key) is None}


def _other_links(dumps: Sequence[Dump], own: State) -> dict[Key, str]:
    others: dict[Key, str] = {}
    for dump in dumps:
        for name, kind in dump.others.items():
            key = link_key(dump.netns, name)
            if own.get(key) is None:
                others[key] = _not_ours(name, kind)
    return others


def _not_ours(name: str, kind: str) -> str:
    return f"link {name} ({kind}) without our alias"
