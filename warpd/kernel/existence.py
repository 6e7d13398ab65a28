"""What the kernel does by itself around one object kind, as plain functions.

The kernel in memory (`warpd.testing.fake_kernel`) follows these rules. `tests/conformance` holds
the live kernel to the same facts (`missing`: for what is on a tunnel's link or in our table).
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Mapping
from typing import Generic, TypeVar

from warpd.kernel.rows import VethEnd
from warpd.kernel.state import KernelObject, Key

Item = TypeVar("Item", bound=KernelObject)
Existing = Mapping[Key, KernelObject]


class ExistenceRules(Generic[Item]):
    """The rules of a kind that is created, may be there once, and goes with its container.

    A kind with other rules derives a class of its own in its own file.
    """

    taken = errno.EEXIST  # the errno for creating what is there; 0 where it is set once more
    absent = 0  # the errno for removing what is not there; 0 where that counts as done
    announced = True  # the kernel sends an event when it changes
    missing = errno.ENODEV  # the errno for an object that needs one that is not there

    def prerequisites(self, item: Item) -> Collection[Key]:
        """Keys without which the kernel refuses it with `missing`."""
        return item.needs

    def refusal(self, item: Item, existing: Existing) -> int:
        """A further errno with which the kernel refuses to make `item`; 0 for none."""
        return 0

    def is_permanent(self, item: Item) -> bool:
        """Whether its removal changes nothing, since it is there as long as its container."""
        return False

    def is_nothing(self, item: Item) -> bool:
        """Whether writing it leaves no object behind."""
        return False

    def also_written(self, item: Item, created: bool, existing: Existing) -> Iterable[KernelObject]:
        """Other objects that appear or change when `item` is written.

        `created` says that it was not there before, or was rebuilt.
        """
        return ()

    def removed_with(self, item: Item, removed: KernelObject, released: Collection[Key]) -> bool:
        """Whether the kernel takes `item` away when `removed` goes.

        `released` holds the ports that stay while `removed`, their VRF or bridge, goes.
        """
        gone = (removed.key,)
        if removed.opens and (item.key.netns == removed.opens or removed.key in item.needs):
            return True
        return item.vanishes_with(gone, released) or item.orphaned_by(gone)

    def host_setting(self, item: Item, removed: bool) -> tuple[str, str] | None:
        """The path and value of the host's own setting that a change writes; None for none."""
        return None

    def ends(self, item: Item, number: int) -> Iterable[VethEnd]:
        """What each of two namespaces shows of it; `number` sets the pair apart from others."""
        return ()
