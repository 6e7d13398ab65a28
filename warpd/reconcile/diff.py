"""desired State x observed -> differences. Pure; knows no object kind but for one hook.

An object whose container goes (deleted or replaced) goes with it: it is not removed by itself, and
what is wanted in its place is made anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from warpd.kernel.kinds.bridge_port import BridgePort
from warpd.kernel.kinds.link import Device, link_key
from warpd.kernel.kinds.nft_table import (
    IngressFilter,
    NetworkSubtable,
    NftTable,
    needs_rebuild,
    table_key,
)
from warpd.kernel.kinds.sysctl import Sysctl
from warpd.kernel.state import ROOT, KernelObject, Key, Observed, State


@dataclass(frozen=True, slots=True)
class Difference:
    """One key on which the two sides disagree.

    `before` is what the kernel has, `after` what we want.
    """

    key: Key
    before: KernelObject | None
    after: KernelObject | None
    fields: tuple[str, ...] = ()
    replace: bool = False  # cannot be changed in place


@dataclass(frozen=True, slots=True)
class Conflict:
    """A foreign object sits where ours should be."""

    key: Key
    group: str
    foreign: str


@dataclass(frozen=True, slots=True)
class Differences:
    items: tuple[Difference, ...]
    blocked: tuple[Conflict, ...]
    gone: frozenset[Key] = frozenset()  # what loses its content: deleted, replaced or rebuilt


def diff(desired: State, observed: Observed) -> Differences:
    """Every difference, keys sorted. Blocked keys are reported and left alone."""
    blocked = tuple(_blocked(desired, observed))
    have, want = (
        observed.state.objects,
        _without_doors(desired.objects, {item.key for item in blocked}),
    )
    gone = _gone(want, have)
    orphaned = {
        key for key, item in have.items() if isinstance(item, Device) and _master_key(item) in gone
    }
    out: list[Difference] = []
    for key in sorted(have.keys() | want.keys()):
        if observed.in_the_way(key) is not None:
            continue
        before = _released(have.get(key), gone)
        lost = isinstance(before, BridgePort) and before.container in orphaned
        found = _compare(key, before, want.get(key), vanishes=lost or _vanishes(before, gone))
        if (
            isinstance(before, IngressFilter)
            and before.container in gone
            and key in want
            and not _vanishes(before, gone)
        ):
            found = Difference(key, before, want[key], ("link",), replace=True)
        if found is not None:
            out.append(found)
    return Differences(tuple(out), blocked, frozenset(gone))


def _without_doors(
    want: Mapping[Key, KernelObject], blocked: Collection[Key]
) -> Mapping[Key, KernelObject]:
    """A guard does not stand around links of others that have the name of a door of ours."""
    table = want.get(table_key(ROOT))
    if not blocked or not isinstance(table, NftTable):
        return want
    doors = tuple(name for name in table.doors if link_key(ROOT, name) not in blocked)
    return {**want, table.key: dataclasses.replace(table, doors=doors)}


def _blocked(desired: State, observed: Observed) -> Iterator[Conflict]:
    for key, item in sorted(desired.objects.items()):
        text = observed.in_the_way(key)
        if text is not None:
            yield Conflict(key, item.group, text)


def groups_lost_with(state: State, gone: Collection[Key]) -> set[str]:
    """Groups of which something goes with what loses its content."""
    return {item.group for item in state if _vanishes(item, gone)} if gone else set()


def _compare(
    key: Key, before: KernelObject | None, after: KernelObject | None, vanishes: bool
) -> Difference | None:
    if vanishes:
        return Difference(key, None, after) if after is not None else None
    if before is None or after is None:
        if isinstance(before, Sysctl) and before.restore is None:
            return None  # a setting that was never ours to undo
        return Difference(key, before, after)
    if before == after:
        return None
    fields = changed_fields(before, after)
    return Difference(key, before, after, fields, _must_replace(before, after, fields))


def changed_fields(before: KernelObject, after: KernelObject) -> tuple[str, ...]:
    """Names of the compared fields that differ; the type itself counts as `kind`."""
    if type(before) is not type(after):
        return ("kind",)
    return tuple(
        f.name
        for f in dataclasses.fields(before)  # type: ignore[arg-type]  # every Object is a dataclass; a Protocol cannot say so
        if f.compare and getattr(before, f.name) != getattr(after, f.name)
    )


def _must_replace(before: KernelObject, after: KernelObject, fields: tuple[str, ...]) -> bool:
    return not set(fields) <= after.CHANGEABLE


def _gone(want: Mapping[Key, KernelObject], have: Mapping[Key, KernelObject]) -> set[Key]:
    """Keys whose content is lost: deleted, replaced, or a table that is rebuilt."""
    out: set[Key] = set()
    for key, before in have.items():
        after = want.get(key)
        if after is None or (before != after and _loses_content(before, after)):
            out.add(key)
    return out


def _master_key(item: Device) -> Key | None:
    return link_key(item.netns, item.master) if item.master else None


def _released(item: KernelObject | None, gone: set[Key]) -> KernelObject | None:
    """A port whose VRF or bridge goes stays, and is nobody's; what it let through is lost."""
    if isinstance(item, Device) and _master_key(item) in gone:
        return dataclasses.replace(item, master="")
    return item


def _loses_content(before: KernelObject, after: KernelObject) -> bool:
    if (
        isinstance(before, NftTable | NetworkSubtable)
        and isinstance(after, NftTable | NetworkSubtable)
        and needs_rebuild(before, after)
    ):
        return True
    return _must_replace(before, after, changed_fields(before, after))


def _vanishes(item: KernelObject | None, gone: Collection[Key]) -> bool:
    """With its container.

    A gate stands in the table; when its link goes, whether the chain goes too depends on the
    kernel.
    """
    if isinstance(item, IngressFilter):
        return table_key(item.netns) in gone
    return item is not None and item.container in gone
