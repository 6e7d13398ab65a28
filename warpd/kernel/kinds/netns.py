"""A network namespace of ours: `warp-<vcid>` under /run/netns.

Ours by name and mark: the name has our form, and the namespace has our number on `lo`, our table or
a link of ours. The number is set before the namespace gets its name, so that a crash leaves none
without it. `mounted` is False for the bare file that a crash between open(2) and mount(2) leaves
behind; that is replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from warpd.kernel.state import ROOT, KernelObject, Key, Phase


@dataclass(frozen=True, slots=True)
class Netns(KernelObject):
    """A network namespace.

    `mounted` is False for the bare file that a crash between open(2) and mount(2) leaves behind.

    Ours: a name of our form, and inside it our table, a link with our mark, or the tag of `lo`.
    """

    KIND: ClassVar[str] = "netns"

    name: str
    mounted: bool = True

    @property
    def key(self) -> Key:
        return Key(self.KIND, ROOT, self.name)

    @property
    def phase(self) -> Phase:
        return Phase.NAMESPACE

    @property
    def group(self) -> str:
        return self.name

    @property
    def opens(self) -> str:
        return self.name if self.mounted else ""


def namespace_keys(netns: str) -> tuple[Key, ...]:
    """What an object inside `netns` needs before anything else."""
    return (Key(Netns.KIND, ROOT, netns),) if netns != ROOT else ()
