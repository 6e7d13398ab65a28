"""Build and parse the name of everything that warpd makes in the kernel. Pure.

`<vcid>` is the decimal number of a network without leading zeros. `<leg>` is the number of a leg
in its segment; the first one is 1.

    warp-<vcid>            network namespace
    wg-<vcid>              WireGuard device
    up-<vcid>, dn-<vcid>   transit link: the end in the namespace, the end in the root
    vrf-<vcid>             VRF
    br-<vcid>              bridge, where `bridge_name` says nothing else
    gt-<vcid>-<leg>        GRETAP leg of an l2-point-to-point
    vx-<vcid>-<leg>        VXLAN leg of an l2-mesh
    warpd:<vcid>:<network> alias of each of these links
"""

from __future__ import annotations

import re
from typing import Final

ALIAS_PREFIX: Final = "warpd:"
# A `bridge_name` must not begin with one of these. `br-` is not among them: a bridge may have such
# a name.
OWN_PREFIXES: Final = ("wg-", "up-", "dn-", "vrf-", "gt-", "vx-")
TUNNEL_PREFIX: Final = "wg-"
VRF_PREFIX: Final = "vrf-"
TRANSIT_INNER_PREFIX: Final = "up-"
TRANSIT_OUTER_PREFIX: Final = "dn-"

_NUMBER: Final = "([1-9][0-9]*)"
_NAMESPACE: Final = re.compile(rf"warp-{_NUMBER}")
_LINK: Final = re.compile(rf"(?:wg|up|dn|vrf|br)-{_NUMBER}|(?:gt|vx)-{_NUMBER}-[1-9][0-9]*")
_AT_END: Final = re.compile(rf".+-{_NUMBER}")


def namespace(vcid: int) -> str:
    """Return the name of a network's namespace.

    It also names the network's group of objects in a VRF.
    """
    return f"warp-{vcid}"


def tunnel(vcid: int) -> str:
    """Return the name of a network's WireGuard device."""
    return f"wg-{vcid}"


def transit_inner(vcid: int) -> str:
    """Return the name of the transit link's end inside the network's namespace."""
    return f"up-{vcid}"


def transit_outer(vcid: int) -> str:
    """Return the name of the transit link's end in the root namespace."""
    return f"dn-{vcid}"


def vrf(vcid: int) -> str:
    """Return the name of a network's VRF device."""
    return f"vrf-{vcid}"


def bridge(vcid: int) -> str:
    """Return the name of a network's bridge where the YAML gives no `bridge_name`."""
    return f"br-{vcid}"


def gretap(vcid: int, leg: int) -> str:
    """Return the name of the GRETAP tunnel to one endpoint."""
    return f"gt-{vcid}-{leg}"


def vxlan(vcid: int, leg: int) -> str:
    """Return the name of the VXLAN tunnel to one endpoint."""
    return f"vx-{vcid}-{leg}"


def alias(vcid: int, network: str) -> str:
    """Return the alias that marks a link as one of a network."""
    return f"{ALIAS_PREFIX}{vcid}:{network}"


def is_link(name: str) -> bool:
    """Whether a link has a name that warpd gives to links."""
    return _LINK.fullmatch(name) is not None


def vcid_of_namespace(name: str) -> int | None:
    """Return the VCID in the name of a namespace, None where it is not a name of ours."""
    match = _NAMESPACE.fullmatch(name)
    return int(match[1]) if match else None


def vcid_of_link(name: str) -> int | None:
    """Return the VCID in the name of a link, None where it is not a name of ours."""
    match = _LINK.fullmatch(name)
    return int(match[1] or match[2]) if match else None


def vcid_at_end(name: str) -> int | None:
    """Return the VCID at the end of the name of a set, map or chain in the root namespace's table.

    Returns:
        None where the name does not end in a VCID.
    """
    match = _AT_END.fullmatch(name)
    return int(match[1]) if match else None


def vcid_of_alias(text: str) -> int | None:
    """Return the VCID in an alias of ours, None for any other alias."""
    if not text.startswith(ALIAS_PREFIX):
        return None
    vcid = text.removeprefix(ALIAS_PREFIX).partition(":")[0]
    return int(vcid) if vcid.isdigit() else None


def network_of_alias(text: str) -> str:
    """Return the name of the network in an alias of ours, "" for any other alias."""
    if vcid_of_alias(text) is None:
        return ""
    return text.removeprefix(ALIAS_PREFIX).partition(":")[2]
