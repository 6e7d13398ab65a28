"""Events of the kernel, as far as it takes no kernel: the test plays its end of the sockets."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

import pytest

from warpd.kernel.api import Event
from warpd.kernel.kinds.nft_table import TABLE
from warpd.kernel.netlink import events
from warpd.kernel.netlink.events import NETLINK_NETFILTER, NFTA_TABLE, READ_MAX_S, Listener
from warpd.kernel.netlink.socket import ATTRIBUTE, HEADER
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
