"""Somebody empties the ruleset again while warpd puts it back."""

from __future__ import annotations

import pytest

from tests import world
from tests.live.conftest import sh
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.kernel.state import ROOT
from warpd.reconcile.engine import converge
from warpd.reconcile.incremental import planned_run
from warpd.reconcile.plan import Step


@pytest.mark.parametrize(
    ("mode", "in_root"), [("namespace", True), ("namespace", False), ("vrf", True)]
)
@pytest.mark.parametrize("after", ["nft-table", "nft-elements"])
def test_a_flush_within_a_repair_is_repaired_by_the_same_pass(
    gateway: LiveKernel, mode: str, in_root: bool, after: str
) -> None:
    """Neither the guard of the root nor that of a namespace stays away until a pause is over."""
    target = world.target(world.intent(one=world.network(2, isolation=mode)))
    steps = planned_run(gateway, target).plan.steps
    (netns,) = {step.key.netns for step in steps if (step.key.netns == ROOT) is in_root}
    flush = "nft flush ruleset" if in_root else f"ip netns exec {netns} nft flush ruleset"

    def repair(progress: list[str]) -> None:
        def flush_once(step: Step) -> None:
            if (step.key.kind, step.key.netns) == (after, netns) and not progress:
                progress.append(str(step.key))
                sh(flush)

        first = planned_run(gateway, target)
        outcome = converge(gateway, lambda: planned_run(gateway, target), first, flush_once)
        assert outcome.complete, (outcome.failed, outcome.unverified)

    repair(["no flush while it is built"])
    sh(flush)
    flushed: list[str] = []
    repair(flushed)
    assert flushed
    assert planned_run(gateway, target).plan.empty
