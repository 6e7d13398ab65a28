"""Traffic control filters at the ingress of a link: a guard that no nftables command can take away.

A `TcIngress` is a clsact qdisc on a link of ours, with filters of its own. It is ours because it
hangs on a link of ours, by the link's alias.

The kernel runs the filters of a link on every frame that comes in by it, after it has taken the
outer VLAN tag off into the packet's metadata, before the nftables ingress hook, the bridge and the
protocols (net/core/dev.c, __netif_receive_skb_core). Filters are tried in the order of their
preference; the first that matches and whose action does not say to go on decides.

Every action is one of `act_police`, the only action that all kernels in use have. A policer without
a rate returns its result for every packet, and a policer with a packet rate (Linux 5.12) drops what
exceeds it (net/sched/act_police.c, tcf_police_act). The name of the reason is kept in the action's
cookie, so that a counter is known by the kernel alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal

from warpd.kernel.kinds.link import group_of, maker_of, owner_of
from warpd.kernel.rows import NamespaceRows, Reading
from warpd.kernel.state import ROOT, KernelObject, Key, Phase

ETH_P_ALL: Final = 3
REASON_BYTES: Final = 16  # of an action's cookie (TC_COOKIE_MAX_SIZE)
CLSACT: Final = "clsact"
Verdict = Literal["drop", "pass", "limit", "unknown"]


@dataclass(frozen=True, slots=True)
class TcFilter:
    """One filter: what a frame must be, and what becomes of it.

    A field with its default matches every frame.

    `preference` is unique within a link, 1 to 65535. `verdict` is "drop", "pass" (no later filter
    is asked) or "limit": what exceeds `packets_per_s` after a burst of `burst` packets is dropped,
    all else goes on to the later filters. "unknown" is only ever read: a filter that warpd does not
    write.
    """

    preference: int
    verdict: Verdict = "drop"
    reason: str = ""  # under which drops are counted; at most REASON_BYTES of ASCII
    ethertype: int = ETH_P_ALL  # of a tagged frame: that of the outer tag
    destination_mac: str = (
        ""  # ADDRESS, or ADDRESS/MASK with another mask than all ones; small letters
    )
    vlan_id: int | None = None  # needs the ethertype of a VLAN tag
    vlan_ethertype: int = 0  # what stands behind the outer tag; needs the ethertype of a VLAN tag
    ip_protocol: int | None = None  # needs the ethertype of IPv4 or IPv6
    icmp_type: int | None = None  # needs `ip_protocol` 1 or 58
    destination: str = ""  # a prefix, ADDRESS/LENGTH, of the family that the ethertype says
    packets_per_s: int = 0
    burst: int = 0  # packets


Filters = tuple[TcFilter, ...]  # ascending by preference


@dataclass(frozen=True, slots=True)
class TcIngress(KernelObject):
    """The clsact qdisc of one link, with its filters.

    - `filters`: ascending by preference.
    - `block`: only ever read: the number of a shared block that somebody has bound the qdisc to, so
      that it has no filters of its own.
    - `qdisc`: "ingress" is only ever read: somebody else's, which keeps ours out.

    Ours: the link is ours.
    """

    KIND: ClassVar[str] = "tc-ingress"
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset({"filters"})

    netns: str
    device: str
    filters: Filters = ()
    block: int = 0
    qdisc: str = CLSACT
    owner: str = field(
        default="", compare=False
    )  # the network, where the link's name does not tell

    @property
    def key(self) -> Key:
        return Key(self.KIND, self.netns, self.device)

    @property
    def phase(self) -> Phase:
        return Phase.SETTING

    @property
    def needs(self) -> tuple[Key, ...]:
        maker = maker_of(self.netns, self.device)
        return () if maker is None else (maker,)

    @property
    def container(self) -> Key | None:
        return maker_of(self.netns, self.device)

    @property
    def group(self) -> str:
        return self.netns or self.owner or group_of(self.netns, self.device)


def read(rows: NamespaceRows) -> Iterator[Reading]:
    """The qdiscs at the ingress of our links; a shared block has no filters of the link's own."""
    for row in rows.own:
        qdisc = rows.qdiscs.get(row.index)
        if qdisc is None:
            continue
        owner = owner_of(rows.netns, row) if rows.netns == ROOT else ""
        filters = rows.filters.get(row.index, ())
        yield Reading(TcIngress(rows.netns, row.name, filters, qdisc.block, qdisc.kind, owner))
