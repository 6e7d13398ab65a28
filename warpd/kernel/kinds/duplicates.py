"""Second objects under one key of ours, and rules that select as none of ours does: a route that
was appended beside ours, a rule with our priority and another source.

They are removed by exactly the bytes that the kernel gave, as `ip ... flush` does. A shorter
request could remove the wanted one instead, since fib_nl_delrule and fib_table_delete take the
first that matches what the request names.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from warpd.kernel.request import Message
from warpd.kernel.state import Change, KernelObject, Key, Phase


@dataclass(frozen=True, slots=True)
class DuplicateObject(KernelObject):
    """A second object under a key of ours, or one that selects as none of ours does.

    - `beside`: the key that it shares.
    - `body`: the kernel's message.
    - `number`: sets equal ones apart.
    - `holder`: the object with which it goes.

    Ours: its protocol, or the link that it is on. It is never wanted.
    """

    KIND: ClassVar[str] = "duplicate"

    netns: str
    family: Literal["addr", "route", "rule"]
    beside: Key
    body: bytes
    number: int
    owner: str = field(default="", compare=False)
    holder: Key | None = field(default=None, compare=False)

    @property
    def key(self) -> Key:
        return Key(
            self.KIND,
            self.netns,
            f"{self.beside.kind} {self.beside.name} #{zlib.crc32(self.body):08x}.{self.number}",
        )

    @property
    def phase(self) -> Phase:
        return Phase.ADDRESS if self.family == "addr" else Phase.ROUTE

    @property
    def needs(self) -> tuple[Key, ...]:
        return () if self.holder is None else (self.holder,)

    @property
    def container(self) -> Key | None:
        return self.holder

    @property
    def group(self) -> str:
        return self.owner or self.netns


def encode(change: Change) -> list[Message]:
    """The request that removes it, with the body that the kernel gave."""
    item: DuplicateObject = change.before
    return [Message(item.netns, item.family, "del", (), (), body=item.body)]
