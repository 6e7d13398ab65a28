"""An address on a link of ours.

Every address on our links is ours, but for the kernel's own link-local ones.

Addresses are set without a connected route (IFA_F_NOPREFIXROUTE): each route is an object of its
own and carries our protocol. No duplicate address detection: a tentative address would not answer
for a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_interface
from socket import AF_INET, AF_INET6
from typing import ClassVar

from warpd.kernel.kinds.link import group_of, link_key, maker_of
from warpd.kernel.request import Index, Message
from warpd.kernel.rows import NamespaceRows, Reading
from warpd.kernel.state import Action, Change, KernelObject, Key, Phase

SCOPE_LINK = 253
IFA_F_NODAD = 0x02
IFA_F_NOPREFIXROUTE = 0x200


@dataclass(frozen=True, slots=True)
class Address(KernelObject):
    """An address of a link, with its prefix length.

    - `link`: the object that made the link.
    - `connected_route`: somebody set it without IFA_F_NOPREFIXROUTE; never wanted.

    Ours: the link is ours, and the address is not the kernel's own link-local one.
    """

    KIND: ClassVar[str] = "address"

    netns: str
    device: str
    address: str  # with its prefix length
    link: Key  # the object that made the device
    connected_route: bool = False  # someone set it without NOPREFIXROUTE

    @property
    def key(self) -> Key:
        return Key(self.KIND, self.netns, f"{self.device} {self.address}")

    @property
    def phase(self) -> Phase:
        return Phase.ADDRESS

    @property
    def needs(self) -> tuple[Key, ...]:
        return (self.link,)

    @property
    def container(self) -> Key | None:
        return self.link

    @property
    def group(self) -> str:
        return group_of(self.netns, self.device)


def read(rows: NamespaceRows) -> Iterator[Reading]:
    """The addresses of our links, but for the kernel's own link-local ones."""
    names = {row.index: row.name for row in rows.own}
    for row in rows.addresses:
        name = names.get(row.index)
        link_local = row.scope == SCOPE_LINK and row.address.startswith("fe80:")
        if name is None or link_local:
            continue
        maker = maker_of(rows.netns, name) or link_key(rows.netns, name)
        connected = not row.flags & IFA_F_NOPREFIXROUTE
        found = Address(rows.netns, name, f"{row.address}/{row.prefixlen}", maker, connected)
        yield Reading(found, "addr", row.body)


def encode(change: Change) -> list[Message]:
    """The request that adds or removes an address; nothing of one changes in place."""
    if change.action is Action.DELETE:
        return delete_address(change.before)
    return create_address(change.after)


def _message(item: Address, verb: str) -> Message:
    parsed = ip_interface(item.address)
    six = parsed.version == 6
    flags = IFA_F_NOPREFIXROUTE | (IFA_F_NODAD if six else 0)
    header = (
        ("family", AF_INET6 if six else AF_INET),
        ("prefixlen", parsed.network.prefixlen),
        ("index", Index(item.netns, item.device)),
    )
    text = str(parsed.ip)
    attrs = [("IFA_ADDRESS", text), ("IFA_LOCAL", text)]
    if verb == "new":
        return Message(
            item.netns, "addr", "new", header, (*attrs, ("IFA_FLAGS", flags)), create=True
        )
    return Message(item.netns, "addr", "del", header, tuple(attrs))


def create_address(item: Address) -> list[Message]:
    """The request that adds an address; IPv6 without duplicate address detection."""
    return [_message(item, "new")]


def delete_address(item: Address) -> list[Message]:
    """The request that removes an address."""
    return [_message(item, "del")]
