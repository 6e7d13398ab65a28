"""Numbers of the host that warpd uses itself: packet marks, a routing table, ports for NAT.

Pure.
"""

from __future__ import annotations

import itertools
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


def free_ports(listening: Iterable[int]) -> tuple[int, int]:
    """Return the widest run of ports from 10240 on which the gateway does not listen.

    Args:
        listening: ports on which it listens.

    Returns:
        The first and the last port, both included. NAT maps connections onto them.
    """
    taken = sorted({port for port in listening if port >= FIRST_NAT_PORT})
    edges = [FIRST_NAT_PORT - 1, *taken, LAST_PORT + 1]
    runs = [(low + 1, high - 1) for low, high in itertools.pairwise(edges)]
    return max(runs, key=lambda run: (run[1] - run[0], -run[0]))
