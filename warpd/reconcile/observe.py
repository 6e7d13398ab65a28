"""Dumps of all namespaces -> Observed. Pure, but for the calls to `Kernel.dump`.

"Not there", "could not be read" and "not read" are three things: what could not be read raises,
what was not read is outside the Scope of the look, and nothing is ever removed on the strength of
either.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from warpd.kernel.api import Dump, Kernel
from warpd.kernel.kinds.link import link_key, pair
from warpd.kernel.kinds.netns import Netns
from warpd.kernel.state import ROOT, Host, KernelObject, Key, Observed, State


@dataclass(frozen=True, slots=True)
class Scope:
    """What a look reads of the kernel: the root always, and the networks of these groups.

    groups: None stands for every network. What is outside the scope is not read; that says nothing
        about whether it is there.
    """

    groups: frozenset[str] | None = None

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
        return self if self.groups is None else Scope(self.groups | frozenset(groups))


EVERYTHING: Final = Scope()
Keep = Callable[[Dump], Dump]


def observe(
    kernel: Kernel,
    scope: Scope = EVERYTHING,
    uplink: str = "auto",
    targets: Sequence[str] = (),
    root: Dump | None = None,
    keep: Keep = lambda dump: dump,
) -> Observed:
    """Look at the root, and at every namespace with a name of ours that is in the scope.

    `uplink` and `targets` are as for Kernel.dump; `root` is a look at the root of just now; `keep`
    is what to keep of each dump as soon as it is read.

    Raises:
        DumpError: some namespace could not be read.
    """
    root = kernel.dump(ROOT, uplink, targets) if root is None else root
    namespaces = [item.opens for item in root.objects if item.opens]
    dumps = [keep(root)]
    for namespace in namespaces:
        if scope.covers(namespace):
            dumps.append(keep(kernel.dump(namespace)))
    return assemble(dumps)


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
    foreign = {key: text for dump in dumps for key, text in dump.foreign.items()}
    namespaces = {Key(Netns.KIND, ROOT, netns): text for netns, text in alien.items()}
    objects: list[KernelObject] = [
        item for dump in dumps for item in dump.objects if item.group not in alien
    ]
    objects += [
        item
        for item in pair([end for dump in dumps for end in dump.ends])
        if item.group not in alien
    ]
    known = {item.key for item in objects}
    ends = [end for dump in dumps for end in dump.ends if end.netns == ROOT]
    # An end that is half of no pair of ours is somebody else's, and so is what is on it.
    lonely = {link_key(ROOT, end.name) for end in ends} - known
    foreign |= {key: f"link {key.name} (veth) without our alias" for key in lonely}
    own = State.of(item for item in objects if item.container not in lonely)
    host = next((dump.host for dump in dumps if dump.host is not None), Host())
    traffic = {key: value for dump in dumps for key, value in dump.traffic.items()}
    # A foreign route beside ours under one key (another program appended it) does not stand in our
    # way.
    blocking = {key: text for key, text in foreign.items() if own.get(key) is None}
    blocking |= namespaces
    drops = {group: counts for dump in dumps for group, counts in dump.drops.items()}
    others = {
        link_key(dump.netns, name): _other_link(name, kind)
        for dump in dumps
        for name, kind in dump.others.items()
    }
    return Observed(
        own,
        blocking,
        host,
        traffic,
        drops,
        {key: text for key, text in others.items() if own.get(key) is None},
    )


def _other_link(name: str, kind: str) -> str:
    return f"link {name} ({kind}) without our alias"
