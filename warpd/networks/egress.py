"""What types with a way to the uplink share: what goes out is tracked and unspoofed, what comes back was asked for."""

from __future__ import annotations

from collections.abc import Sequence

from warpd.intent import Network
from warpd.isolation.room import Site, Wants
from warpd.isolation.rules import UNTRACKED, drops
from warpd.networks import tunnel
from warpd.objects.nft_rules import ACCEPT, ANSWERS, match, payload, rule

REASONS = ("spoofed", "unsolicited", "untracked")


def wants(network: Network) -> Wants:
    return Wants(egress=True, nat4=network.nat, nat6=network.nat6)


def out(site: Site, granted: Sequence[str]) -> list[str]:
    return [*drops(str(site.vcid), "untracked", UNTRACKED), *tunnel.spoofed(site), *granted]


def back(site: Site) -> list[str]:
    return [
        rule("answers", match(payload("ip", "daddr"), "@endpoints4"), ANSWERS, ACCEPT),
        rule("answers", match(payload("ip6", "daddr"), "@endpoints6"), ANSWERS, ACCEPT),
        *drops(str(site.vcid), "unsolicited"),
    ]
