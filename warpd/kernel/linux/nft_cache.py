"""Cache the listing of our nftables table in one namespace while the ruleset is unchanged.

Every nftables transaction in a namespace raises its generation (nf_tables_commit() in
net/netfilter/nf_tables_api.c). Reading the generation takes one message (NFT_MSG_GETGEN), but
listing and decoding a large table takes a second. Counters change without a new generation, so
reading counters always lists the table.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from warpd.kernel.linux.libnftables import Nft
from warpd.kernel.netlink.socket import NetlinkSocket, Refusal, attributes
from warpd.kernel.nftables.listing import NftObject, decode_table
from warpd.kernel.state import ForeignRules

NETLINK_NETFILTER = 12
NFT_MSG_GETGEN = (10 << 8) | 16  # subsystem nftables
NFTA_GEN_ID = 1
NFGENMSG = bytes(4)

Counts = dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class CachedListing:
    """The content of a listing, and its generation; 0 if the ruleset changed during the listing."""

    generation: int
    objects: tuple[NftObject, ...]
    counts: Counts


class TableCache:
    """The cache of one namespace, which the descriptor `fd` keeps open.

    It must be created inside this namespace. Only one thread may use it at a time.
    """

    def __init__(self, netns: str, fd: int) -> None:
        self.nft = Nft(fd)
        self._netns = netns
        self._socket = NetlinkSocket(NETLINK_NETFILTER)
        self._last: CachedListing | None = None
        self._foreign: tuple[int, ForeignRules] = (0, ForeignRules())

    def close(self) -> None:
        self._socket.close()

    def read(self, counted: bool) -> CachedListing:
        """Return the table. If `counted` is False, the drop counters may be old.

        Raises:
            DumpError: the table could not be listed.
        """
        now = self._generation()
        last = self._last
        if not counted and last is not None and now == last.generation != 0:
            return last
        objects, counts = decode_table(self._netns, self.nft.list_table())
        after = self._generation()
        self._last = CachedListing(after if after == now else 0, tuple(objects), counts)
        return self._last

    def foreign_rules(self) -> ForeignRules:
        """Return the foreign chains that our packets pass: see `Nft.foreign_rules`."""
        now = self._generation()
        if now != self._foreign[0] or now == 0:
            self._foreign = (now, self.nft.foreign_rules())
        return self._foreign[1]

    def _generation(self) -> int:
        """Return the generation of the ruleset, or 0 if the kernel does not report it."""
        answer = self._socket.ask(NFT_MSG_GETGEN, NFGENMSG)
        if isinstance(answer, Refusal):
            return 0
        ids = [
            answer[a:b] for kind, a, b in attributes(answer, 4, len(answer)) if kind == NFTA_GEN_ID
        ]
        return int(struct.unpack("!I", ids[0])[0]) if ids and len(ids[0]) == 4 else 0
