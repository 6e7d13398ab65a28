"""Somebody empties the ruleset again while warpd puts it back."""

from __future__ import annotations

import pytest

from tests import world
from tests.live.conftest import sh
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.reconcile.engine import converge
from warpd.reconcile.incremental import planned_run
from warpd.reconcile.plan import Step


@pytest.mark.parametrize("mode", ["namespace", "vrf"])
@pytest.mark.parametrize("after", ["nft-table", "nft-elements"])
def test_a_flush_within_a_repair_is_repaired_by_the_same_pass(
    gateway: LiveKernel, mode: str, after: str
) -> None:
    """The guard of the root does not stay away until a pause is over."""
    target = world.target(world.intent(one=world.network(2, isolation=mode)))

    def repair(progress: list[str]) -> None:
        def flush_once(step: Step) -> None:
            if step.key.kind == after and not progress:
                progress.append(str(step.key))
                sh("nft flush ruleset")

        first = planned_run(gateway, target)
        outcome = converge(gateway, lambda: planned_run(gateway, target), first, flush_once)
        assert outcome.complete, (outcome.failed, outcome.unverified)

    repair(["no flush while it is built"])
    sh("nft flush ruleset")
    flushed: list[str] = []
    repair(flushed)
    assert flushed
    assert planned_run(gateway, target).plan.empty
