"""Desired State and what was observed -> differences. Pure; it knows no object kind.

An object whose container goes (deleted or replaced) goes with it: it is not removed by itself, and
what is wanted in its place is made anew. What an object does when others go is its kind's answer
(`KernelObject`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from warpd.kernel.state import KernelObject, Key, Observed, State


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
    """What keeps us from making one of our objects as it should be.

    - `foreign`: the object of others that sits under its key.
    - `unread`: why its namespace could not be read, so that nothing is known of what is in it.

    One of them is given, the other is "".
    """

    key: Key
    group: str
    foreign: str
    unread: str = ""

    @property
    def text(self) -> str:
        """The whole sentence, for people."""
        if self.unread:
            return f"{self.key} could not be read: {self.unread}"
        return f"{self.key} is not ours: {self.foreign}"


@dataclass(frozen=True, slots=True)
class Differences:
    items: tuple[Difference, ...]
    blocked: tuple[Conflict, ...]
    gone: frozenset[Key] = frozenset()  # what loses its content: deleted, replaced or rebuilt


def diff(desired: State, observed: Observed) -> Differences:
    """Every difference, keys sorted. Blocked keys are reported and left alone."""
    blocked = tuple(sorted(_blocked(desired, observed), key=lambda conflict: conflict.key))
    have = observed.state.objects
    want = _avoiding(desired.objects, {item.key for item in blocked})
    gone = _gone(want, have)
    released = {key for key, item in have.items() if item.master_in(gone)}
    out: list[Difference] = []
    for key in have.keys() | want.keys():
        if observed.in_the_way(key) is not None:
            continue
        found = _compare(key, have.get(key), want.get(key), gone, released)
        if found is not None:
            out.append(found)
    in_order = sorted(out, key=lambda difference: difference.key)
    return Differences(tuple(in_order), blocked, frozenset(gone))


def _avoiding(
    want: Mapping[Key, KernelObject], blocked: Collection[Key]
) -> Mapping[Key, KernelObject]:
    """Return the wanted objects without the parts that the blocked keys prevent."""
    if not blocked:
        return want
    return {key: item.avoiding(blocked) for key, item in want.items()}


def _blocked(desired: State, observed: Observed) -> Iterator[Conflict]:
    for key, item in desired.objects.items():
        text = observed.in_the_way(key)
        if text is not None:
            yield Conflict(key, item.group, text)


def groups_lost_with(state: State, gone: Collection[Key]) -> set[str]:
    """Groups of which something goes with what loses its content."""
    return {item.group for item in state if item.vanishes_with(gone, ())} if gone else set()


def _compare(
    key: Key,
    before: KernelObject | None,
    after: KernelObject | None,
    gone: Collection[Key],
    released: Collection[Key],
) -> Difference | None:
    """Compare `after` with what the deletions of this plan leave of `before`."""
    if before is None or before.vanishes_with(gone, released):
        return Difference(key, None, after) if after is not None else None
    if key in released:
        before = before.without_master()
    if after is None:
        return Difference(key, before, None) if before.removable else None
    if before.orphaned_by(gone):
        return Difference(key, before, after, ("link",), replace=True)
    if before == after:
        return None
    fields = changed_fields(before, after)
    return Difference(key, before, after, fields, _must_replace(after, fields))


def changed_fields(before: KernelObject, after: KernelObject) -> tuple[str, ...]:
    """Names of the compared fields that differ; the type itself counts as `kind`."""
    if type(before) is not type(after):
        return ("kind",)
    return tuple(
        f.name
        for f in dataclasses.fields(before)  # type: ignore[arg-type]  # each kind is a dataclass
        if f.compare and getattr(before, f.name) != getattr(after, f.name)
    )


def _must_replace(after: KernelObject, fields: tuple[str, ...]) -> bool:
    return not set(fields) <= after.CHANGEABLE


def _gone(want: Mapping[Key, KernelObject], have: Mapping[Key, KernelObject]) -> set[Key]:
    """Keys whose content is lost: deleted, replaced, or rebuilt."""
    out: set[Key] = set()
    for key, before in have.items():
        after = want.get(key)
        if after is None or (before != after and _loses_content(before, after)):
            out.add(key)
    return out


def _loses_content(before: KernelObject, after: KernelObject) -> bool:
    return before.rebuilt_by(after) or _must_replace(after, changed_fields(before, after))
