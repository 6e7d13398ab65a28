"""Check what is sound by itself and wrong beside something else.

Pure: the rules return findings and raise nothing.

Only rules that the intent alone decides are here. `allocation.allocator` checks what depends on
previous allocations, `networks.compiler` what depends on the host. Networks may overlap each other,
because no packet passes between them; inside one network nothing may overlap.
"""

from __future__ import annotations

from warpd.errors import Finding
from warpd.intent.model import Intent
from warpd.intent.validation.gateway import check_gateway, check_pools, check_return_paths
from warpd.intent.validation.network import check_network
from warpd.intent.validation.uniqueness import check_uniqueness


def check(intent: Intent) -> tuple[Finding, ...]:
    """Return every problem between objects, errors and warnings, in a fixed order."""
    findings = [
        *check_gateway(intent),
        *check_uniqueness(intent),
        *check_pools(intent),
        *check_return_paths(intent),
    ]
    for name, network in sorted(intent.networks.items()):
        findings += check_network(f"networks.{name}", network, intent)
    return tuple(findings)
