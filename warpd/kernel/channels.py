"""The ways by which changes reach the kernel.

Every object kind names one in its line of the registry (`warpd.kernel.registry`), with the function
that encodes a change of that kind for it. `warpd.kernel.linux` knows how to send by each.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from warpd.kernel.netlink.socket import Refusal
from warpd.kernel.request import Message
from warpd.kernel.state import Change

RawRequest = tuple[int, int, bytes]  # type, flags and body, as `NetlinkSocket.request` takes them


def _as_it_is(refusal: Refusal) -> Refusal:
    return refusal


@dataclass(frozen=True, slots=True)
class Requests:
    """rtnetlink requests; those of many objects are sent in one batch.

    - `encode`: the requests of one change.
    """

    encode: Callable[[Change], list[Message]]


@dataclass(frozen=True, slots=True)
class LinkRequests:
    """rtnetlink requests of one link, in turn; the first that is refused ends them.

    - `encode`: the requests of one change. Of a creation the first creates the link and the others
      mark it as ours, so that a link that somebody else made is never marked.
    - `options`: further requests by the link's index, for attributes that are no part of `Message`,
      or None; they are sent before the mark.
    """

    encode: Callable[[Change], list[Message]]
    options: Callable[[int, Change], Sequence[RawRequest]] | None = None


@dataclass(frozen=True, slots=True)
class IndexedRequests:
    """Requests as bytes, made with the index of the link that the object is on.

    - `encode`: the requests of one change in batches. A batch is sent when every request of the one
      before it was accepted.
    - `explain`: what a refusal means, for people.
    """

    encode: Callable[[int, Change], Sequence[Sequence[RawRequest]]]
    explain: Callable[[Refusal], Refusal] = _as_it_is


@dataclass(frozen=True, slots=True)
class Transaction:
    """Commands of libnftables; those of one call of `transact` are run all together or not at all.

    - `encode`: the commands of one change (libnftables-json(5)).
    """

    encode: Callable[[Change], list[dict[str, Any]]]


class Direct(enum.Enum):
    """What is neither rtnetlink nor nftables: the live machine has a method for each."""

    NAMESPACE = "a mount below /run/netns"
    SETTING = "a file below /proc/sys"
    WIREGUARD_DEVICE = "generic netlink, or the socket of wireguard-go: one device"
    WIREGUARD_PEERS = "generic netlink, or the socket of wireguard-go: many peers of one device"


Channel = Requests | LinkRequests | IndexedRequests | Transaction | Direct
