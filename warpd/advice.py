"""What on this host may stand in the way of traffic, told to the operator by plan, doctor and status. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from warpd.grants import Grants
from warpd.state import Host

# Networks in namespaces come in by dn-<vcid>; those in VRFs by vrf-<vcid>, and go back by wg-<vcid>.
LETS_THROUGH = {
    "forward": (
        'nft insert rule {family} {table} {chain} iifname {{ "dn-*", "vrf-*" }} accept; '
        'nft insert rule {family} {table} {chain} oifname {{ "dn-*", "wg-*" }} ct state established,related accept'
    ),
    "input": "nft insert rule {family} {table} {chain} udp dport {{ {ports} }} accept",
}


def host_warnings(host: Host, grants: Grants) -> Iterator[dict[str, str]]:
    """A foreign chain that drops by default cannot be overruled from our table: name it, and the rule that helps."""
    ports = ", ".join(str(grant.port) for _, grant in sorted(grants.networks.items()))
    for drop in host.foreign_drops:
        hook, family, table, chain = drop
        rule = LETS_THROUGH[hook].format(family=family, table=table, chain=chain, ports=ports)
        what = "forwarded packets" if hook == "forward" else "packets to our listening ports"
        yield {
            "message": f"chain {family} {table} {chain} (not ours) drops {what} by default and lets none of ours through",
            "hint": f"let them through: {rule}",
        }
