"""What an isolation mode offers to a network type, and what a type asks of it. Values only.

Types speak of a `Placement` (where their devices live) and say what passes in a `FirewallPolicy`;
they never know of a mode. Modes build a policy into a guard and never know of a type. A new mode
is a file in `isolation/` and a line in `MODES`; a new type is a file in `types/` and a line in
`TYPES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from warpd.kernel.kinds.link import link_key
from warpd.kernel.kinds.nft_table import NftSet
from warpd.kernel.state import KernelObject, Key


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a network's objects live, and how they are told from those of others there."""

    netns: str
    tunnel: str  # the WireGuard device
    table: int  # the routing table of what is inside
    master: str = ""  # what the tunnel device is a port of
    underlay: str = ""  # the link that carries the tunnel's routes
    suffix: str = ""  # after the names of sets and counters, where networks share a table
    mark: int = (
        0  # on every packet that came in by this network's tunnel; 0 where nobody else's could
    )

    @property
    def link(self) -> Key:
        """The object that makes the tunnel device."""
        return link_key(self.netns, self.tunnel)

    def named(self, name: str) -> str:
        """A set or counter of this network, by the name that its table has it under."""
        return name + self.suffix


@dataclass(frozen=True, slots=True)
class EgressRequirements:
    """What a type asks of the mode: a way out, and whether the network's own addresses are kept on
    it.
    """

    egress: bool
    nat4: bool = True
    nat6: bool = True


@dataclass(frozen=True, slots=True)
class FirewallPolicy:
    """What passes in a network, in chains that a mode hooks in; names of chains, sets and counters
    are the network's own.

    `out`: from an endpoint to the uplink (what it accepts still has to pass the checks of the
    root); `back`: from the uplink to an endpoint; `peers`: from endpoint to endpoint; `local`: from
    an endpoint to the gateway itself. A chain that a type leaves out lets nothing through.

    `untracked` and `untracked_out`: rules, before conntrack, that keep packets of endpoints and of
    the gateway itself out of the connection table.
    """

    sets: tuple[NftSet, ...]
    counters: tuple[str, ...]
    chains: Mapping[str, tuple[str, ...]]
    untracked: tuple[str, ...] = ()
    untracked_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RootContribution:
    """What one network adds: its objects, and its part in the gateway's own guard."""

    group: str
    objects: tuple[KernelObject, ...]
    routed: tuple[
        IPv4Network | IPv6Network, ...
    ] = ()  # ranges that keep their source on the way out
    sources: tuple[
        IPv4Network | IPv6Network, ...
    ] = ()  # what may stand as source in what leaves it
    guarded_ifaces: tuple[str, ...] = field(
        default=()
    )  # the links in the root by which it comes in
    port_blocks: tuple[int, ...] = ()  # of the root's address translation
    transit: bool = False  # whether it leaves its namespace by a transit link
