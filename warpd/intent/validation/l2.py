"""Ethernet networks: VLANs, VNIs and the name of the bridge. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from warpd import naming
from warpd.errors import Finding
from warpd.intent.capacity import LEG_MAX, LEGS_BY_VLAN
from warpd.intent.model import Intent, Network
from warpd.intent.validation.finding import error, warning
from warpd.kernel.kinds.link import KERNEL_NAMES

BRIDGE_PORTS: Final = LEG_MAX  # the kernel would take 1023 ports


def check_l2(path: str, network: Network, intent: Intent) -> Iterator[Finding]:
    """Check a network that carries Ethernet."""
    if not network.traits.ethernet:
        return
    enabled = sum(endpoint.enabled for endpoint in network.endpoints.values())
    if network.traits.endpoints_max is not None and enabled == 1:
        text = "only one endpoint is enabled, so that no frame passes"
        yield warning("wire-open", f"{path}.endpoints", text, "it joins exactly two endpoints")
    count = len(network.endpoints)
    if count > BRIDGE_PORTS:
        text = f"has {count} endpoints, a bridge holds {BRIDGE_PORTS}"
        yield error("bridge-full", f"{path}.endpoints", text)
    if network.traits.leg == "vxlan":
        yield from _vni_pool_size(path, network)
    if network.bridge_name is not None:
        yield from _bridge_name(f"{path}.bridge_name", network.bridge_name, network, intent)
    yield from _vlans(path, network)


def _vni_pool_size(path: str, network: Network) -> Iterator[Finding]:
    """Check that legs beyond those that a VLAN id numbers have a VNI."""
    legs = len(network.endpoints) - LEGS_BY_VLAN
    pool = network.vni_pool
    if legs <= 0 or (pool is not None and len(pool) >= legs):
        return
    text = f"{legs} legs beyond the {LEGS_BY_VLAN}th need VNIs of their own"
    hint = f"give vni_pool {legs} numbers, as 1000000-{1000000 + legs - 1}"
    field = "endpoints" if pool is None else "vni_pool"
    yield error("vni-pool", f"{path}.{field}", text, hint)


def _vlans(path: str, network: Network) -> Iterator[Finding]:
    """Check that the access VLAN is not passed with a tag too."""
    if network.vlan_id is None or network.vlan_range is None:
        return
    if network.vlan_id in network.vlan_range:
        text = f"VLAN {network.vlan_id} is both untagged (vlan_id) and tagged (vlan_range)"
        yield error("vlan-conflict", f"{path}.vlan_id", text, "leave it out of one of them")


def _bridge_name(path: str, name: str, network: Network, intent: Intent) -> Iterator[Finding]:
    """Check that a bridge name is not the uplink's, one of the kernel's own links, or one by which
    warpd recognises another link.
    """
    if name == intent.gateway.uplink:
        yield error("bridge-is-uplink", path, f"{name} is the uplink", "take another name")
    elif name in KERNEL_NAMES:
        yield error(
            "bridge-name",
            path,
            f"{name} is a link of the kernel's own",
            "take another name, as br-lan",
        )
    elif name.startswith(naming.OWN_PREFIXES):
        text = (
            f"{name} is read as the name of a link that warpd makes for other things"
            f" ({', '.join(naming.OWN_PREFIXES)})"
        )
        yield error("bridge-name", path, text, "take another name, as br-lan")
    elif naming.is_link(name) and naming.vcid_of_link(name) != network.vcid:
        text = (
            f"{name} is the name of the bridge of the network with VCID {name.removeprefix('br-')}"
        )
        yield error(
            "bridge-name",
            path,
            text,
            "leave bridge_name out, or take a name that does not end in a VCID, as br-lan",
        )
