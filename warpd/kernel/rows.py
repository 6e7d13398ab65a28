"""What the kernel answers, as plain values, before it is known whose it is.

Lives here: the rows that `netlink` decodes and that object kinds read. Does not: sockets, bytes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VethEnd:
    """One end of a veth pair as one namespace shows it: half of what a `Veth` is."""

    netns: str
    name: str
    index: int
    peer_index: int
    alias: str
    mtu: int
