"""The facts of the host that decide what is wanted, and the fences that warpd keeps around it.

Pure: `Host` in, values out. A fence drops what the host would forward for others only because
warpd turned forwarding on.
"""

from __future__ import annotations

import dataclasses

from warpd.intent.model import Gateway
from warpd.kernel.state import EgressLink, ForeignRules, Host
from warpd.networks.limits import table_size


def with_fence(host: Host) -> Host:
    """The host with the fences that should stand: where forwarding is off, or was until we turned
    it on.
    """
    own4 = tuple(
        link.name for link in host.exits if link.name in host.fence4 or not link.forwarding4
    )
    return dataclasses.replace(
        host,
        fence4=() if host.forwarding4 else own4,
        fence6=host.fence6 or not host.forwarding6,
    )


def policy_facts(host: Host) -> Host:
    """The facts of the host that the desired state depends on.

    They are the same before and after warpd turned on forwarding.
    """
    return dataclasses.replace(
        with_fence(host),
        forwarding4=False,
        forwarding6=False,
        uplink_down=False,
        conntrack_max=table_size(host.conntrack_max),
        exits=tuple(EgressLink(link.name) for link in host.exits if not is_closed(host, link)),
        foreign_rules=ForeignRules(),
        diverted=(),
        astray=(),
        foreign_vxlans=(),
    )


def is_closed(host: Host, link: EgressLink) -> bool:
    """Whether somebody has turned IPv4 forwarding off for this link alone, on a host that
    forwards.
    """
    return host.forwarding4 and not link.forwarding4 and link.name not in host.fence4


def driver(gateway: Gateway, host: Host) -> str | None:
    """Which WireGuard makes the devices: the link kind, or None when the machine has none that is
    allowed.
    """
    wanted = gateway.wireguard
    if host.wireguard_kernel and wanted in ("auto", "kernel"):
        return "wireguard"
    return "tun" if host.wireguard_go and wanted in ("auto", "userspace") else None
