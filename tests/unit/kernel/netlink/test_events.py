"""Events of the kernel, as far as it takes no kernel: the test plays its end of the sockets."""

from __future__ import annotations

import errno
import itertools
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import cast

import pytest

from warpd.kernel.api import Event
from warpd.kernel.kinds.nft_table import TABLE
from warpd.kernel.netlink import events
from warpd.kernel.netlink.events import (
    NETLINK_LISTEN_ALL_NSID,
    NETLINK_NETFILTER,
    NETNSA_NSID,
    NFTA_TABLE,
    READ_MAX_S,
    Listener,
)
from warpd.kernel.netlink.socket import (
    ATTRIBUTE,
    HEADER,
    SOL_NETLINK,
    NetlinkSocket,
    Refusal,
)
from warpd.kernel.state import ROOT

NEW_TABLE = 10 << 8  # NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWTABLE


def table_changed() -> bytes:
    """What the kernel sends when our table is made."""
    name = TABLE.encode() + b"\0"
    body = bytes(4) + ATTRIBUTE.pack(ATTRIBUTE.size + len(name), NFTA_TABLE) + name
    body += bytes(-len(body) % 4)
    return HEADER.pack(HEADER.size + len(body), NEW_TABLE, 0, 0, 0) + body


@pytest.fixture
def nft_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The kernel's end of a listener's nftables socket."""
    kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
    pairs = {
        family: socket.socketpair(socket.AF_UNIX, kind)
        for family in (socket.NETLINK_ROUTE, NETLINK_NETFILTER)
    }
    monkeypatch.setattr(events, "_subscribed", lambda family, *_more: pairs[family][0])
    yield pairs[NETLINK_NETFILTER][1]
    for end in itertools.chain(*pairs.values()):
        end.close()


def test_what_takes_long_to_read_is_read_on_later_and_is_not_lost(nft_end: socket.socket) -> None:
    ticks = itertools.count(0.0, READ_MAX_S / 3)
    listener = Listener(clock=lambda: next(ticks))
    for _ in range(6):
        nft_end.send(table_changed())
    heard = [list(listener.wait(0.0)) for _ in range(6)]
    assert 0 < len(heard[0]) < 6
    assert list(itertools.chain(*heard)) == [Event(ROOT)] * 6


class Ids:
    """The kernel's answers about ids: a namespace's is its descriptor, and one has none."""

    def __init__(self, without: int) -> None:
        self.without = without

    def ask(self, _kind: int, body: bytes) -> bytes | Refusal:
        (fd,) = struct.unpack_from("=I", body, 4 + ATTRIBUTE.size)
        if fd == self.without:
            return Refusal(errno.ENOSPC, "no id left")
        return bytes(4) + ATTRIBUTE.pack(8, NETNSA_NSID) + struct.pack("=i", fd)

    def request(self, messages: Sequence[tuple[int, int, bytes]]) -> list[Refusal | None]:
        return [Refusal(errno.ENOSPC, "no id left")] * len(messages)


@pytest.mark.usefixtures("nft_end")
def test_a_namespace_without_an_id_is_named_and_the_others_are_heard() -> None:
    listener = Listener()
    route = cast("NetlinkSocket", Ids(without=11))
    with pytest.raises(OSError, match="warp-1: "):
        listener.subscribe(route, {"warp-1": 11, "warp-2": 12})
    came_from = [(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, struct.pack("=i", 12))]
    assert listener._where(came_from) == "warp-2"
