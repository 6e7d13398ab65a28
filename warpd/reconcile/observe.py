"""Dumps of all namespaces -> Observed. Pure, but for the calls to `Kernel.dump`.

"Not there", "could not be read" and "empty" are three things: what could not be read raises, and
nothing is ever removed on the strength of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Final

from warpd.kernel.api import Dump, Kernel
from warpd.kernel.kinds.link import link_key, pair
from warpd.kernel.kinds.netns import Netns
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import ROOT, Host, KernelObject, Key, Observed, State

NOTHING: Final = State()


def observe(
    kernel: Kernel,
    uplink: str = "auto",
    targets: Sequence[str] = (),
    only: Iterable[str] | None = None,
    root: Dump | None = None,
    known: State = NOTHING,
) -> Observed:
    """Look at the root and at every namespace with a name of ours, or `only` at some of these.

    `root` is a look at the root of just now. A peer that is as in `known` is the very same object,
    with the same key.

    Raises:
        DumpError: some namespace could not be read.
    """
    root = kernel.dump(ROOT, uplink, targets) if root is None else root
    rooms = [item for item in root.objects if isinstance(item, Netns) and item.mounted]
    wanted = rooms if only is None else [room for room in rooms if room.name in set(only)]
    return assemble(
        [_as_known(root, known), *(_as_known(kernel.dump(room.name), known) for room in wanted)]
    )


def _as_known(dump: Dump, known: State) -> Dump:
    """A hundred thousand peers weigh a hundred MiB: what is there and what is wanted are hardly
    ever two.
    """
    if not known.objects:
        return dump
    objects = tuple(
        _known(item, known) if isinstance(item, WireguardPeer) else item for item in dump.objects
    )
    traffic = {item.key: dump.traffic[item.key] for item in objects if item.key in dump.traffic}
    return dataclasses.replace(dump, objects=objects, traffic=traffic)


def _known(item: KernelObject, known: State) -> KernelObject:
    wanted = known.get(item.key)
    return wanted if wanted is not None and wanted == item else item


def assemble(dumps: Sequence[Dump]) -> Observed:
    """One picture of several namespaces; ends of a pair seen apart become one object."""
    alien = {dump.netns: dump.alien for dump in dumps if dump.alien}
    foreign = {key: text for dump in dumps for key, text in dump.foreign.items()}
    foreign |= {Key(Netns.KIND, ROOT, netns): text for netns, text in alien.items()}
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
    blocking = {
        key: text for key, text in foreign.items() if own.get(key) is None or key.kind == Netns.KIND
    }
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
