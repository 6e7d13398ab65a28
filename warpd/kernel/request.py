"""A netlink request as plain values, before anyone knows an index.

Lives here: the shape that object kinds encode to. Does not: sockets, indexes, bytes
(`kernel/netlink`). `Index` and `Handle` stand where the kernel wants a number that only exists at
the moment of sending.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Index:
    """The ifindex of a link, looked up just before sending."""

    netns: str
    name: str


@dataclass(frozen=True, slots=True)
class Handle:
    """An open file descriptor of a network namespace."""

    netns: str


@dataclass(frozen=True, slots=True)
class Message:
    """One rtnetlink request.

    `family` is one of the table in `kernel/netlink/rtnl_encoder`.

    `attrs` holds (kernel attribute name, value) pairs, nested as {"attrs": [...]}; `create` asks
    for NLM_F_CREATE|NLM_F_EXCL, so that a request never takes over what somebody else made.
    """

    netns: str
    family: str
    verb: Literal["new", "del", "set"]
    header: tuple[tuple[str, Any], ...]
    attrs: tuple[tuple[str, Any], ...]
    create: bool = False
    body: bytes = b""  # instead of header and attributes: as the kernel gave it
