"""How much of the gateway each network and endpoint may use: what the YAML says, and defaults from
the host's figures. Pure.

Lives here: the numbers. Does not: the rules that hold traffic to them
(`networks.firewall.connection_limits`).
"""

from __future__ import annotations

from typing import Final

from warpd.intent.model import Endpoint, Gateway, Limits, Network
from warpd.networks.firewall.connection_limits import Share, Shares

TABLE_MIN: Final = 1024  # the kernel's own smallest table
# A network holds a sixteenth of the table. What it opens and closes stays there for two minutes
# more (TIME_WAIT): at this rate that is at most a quarter of the table.
OF_TABLE: Final = 16
PER_SECOND_OF_TABLE: Final = 512
CONNECTIONS_MAX: Final = 16384
PER_SECOND_MAX: Final = 512
# Parts of its network's share: of a single device, and of a router with a site behind it.
DEVICE: Final = (8, 4)
SITE: Final = (2, 2)


def table_size(conntrack_max: int) -> int:
    """Return the table size rounded down to a power of two, so that small changes do not change the
    rules.
    """
    return 1 << (max(conntrack_max, TABLE_MIN).bit_length() - 1)


def network_share(network: Network, gateway: Gateway, conntrack_max: int) -> Share:
    """The share of one network."""
    table = table_size(conntrack_max)
    default = Share(
        min(table // OF_TABLE, CONNECTIONS_MAX),
        min(max(table // PER_SECOND_OF_TABLE, 1), PER_SECOND_MAX),
    )
    return _said(network.limits, _said(gateway.limits, default))


def endpoint_share(endpoint: Endpoint, network: Share) -> Share:
    """The share of one endpoint of a network that has this one."""
    connections, rate = DEVICE if endpoint.type == "mobile" else SITE
    default = Share(max(network.connections // connections, 1), max(network.per_second // rate, 1))
    return _said(endpoint.limits, default)


def shares_of(network: Network, gateway: Gateway, conntrack_max: int) -> Shares:
    """The share of the network, and the different ones of its endpoints."""
    own = network_share(network, gateway, conntrack_max)
    different = {
        (endpoint.type, endpoint.limits): endpoint for endpoint in network.endpoints.values()
    }
    kinds = {endpoint_share(endpoint, own) for endpoint in different.values()}
    return Shares(own, tuple(sorted(kinds)))


def _said(limits: Limits | None, default: Share) -> Share:
    if limits is None:
        return default
    return Share(
        limits.connections or default.connections,
        limits.connections_per_second or default.per_second,
    )
