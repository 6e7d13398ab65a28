"""Numbers of the host that warpd uses itself: packet marks, a routing table, ports for NAT.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

# Below are ports of protocols that use one port at both ends (IKE, SIP, STUN, L2TP, VXLAN). A
# mapping on such a port would receive what a peer sends to the host.
FIRST_NAT_PORT = 10240
LAST_PORT = 65535
# Connection marks of networks that live in the root: this, and the routing table in the low 16
# bits.
MARKS = 0x77000000
TABLES_LAST = 0xFFFF
UPLINK_TABLE = MARKS + TABLES_LAST + 1  # a routing table of our own, in the root


def free_ports(pool: tuple[int, int], others: Iterable[int]) -> tuple[int, int]:
    """Return the widest run of ports from 10240 on which the gateway does not listen.

    Args:
        pool: the first and the last port of `gateway.pools.ports`.
        others: further ports on which it listens.

    Returns:
        The first and the last port, both included. NAT maps connections onto them.
    """
    first_free = FIRST_NAT_PORT
    widest = (FIRST_NAT_PORT, FIRST_NAT_PORT - 1)
    after_all = (LAST_PORT + 1, LAST_PORT + 1)
    for first, last in sorted([pool, *((port, port) for port in others), after_all]):
        if first - first_free > widest[1] - widest[0] + 1:
            widest = (first_free, first - 1)
        first_free = max(first_free, last + 1)
    return widest
