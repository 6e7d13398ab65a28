"""P1, P11, P12: from any state to any intent in one pass; the same YAML, in any order and under any
hash seed, one plan.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests import world
from warpd.allocation.allocator import allocate
from warpd.allocation.model import Allocations
from warpd.intent.model import Intent
from warpd.reconcile.engine import apply, converge, removal
from warpd.reconcile.incremental import planned_run, replan
from warpd.reconcile.plan import digest
from warpd.testing.fake_kernel import FakeKernel

NAMES = st.sampled_from(["a", "b", "c", "d"])


@st.composite
def networks(draw: st.DrawFn) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": "secure-internet",
        "enabled": draw(st.booleans()),
        "expected_users": draw(st.sampled_from([6, 14])),
        "ipv6": draw(st.booleans()),
        "nat6": draw(st.booleans()),
        "peer_communication": draw(st.booleans()),
        "allow_private": draw(
            st.lists(st.sampled_from(["10.9.0.0/16", "192.168.0.0/24", "fd00:9::/64"]), unique=True)
        ),
        "endpoints": {
            name: {
                "type": "mobile",
                "rotation": draw(st.integers(0, 1)),
                "enabled": draw(st.booleans()),
                "preshared_key": draw(st.booleans()),
                "keepalive": draw(st.sampled_from([0, 25])),
            }
            for name in draw(st.lists(st.sampled_from(["x", "y", "z", "w"]), unique=True))
        },
    }
    if draw(st.booleans()):
        body["mtu"] = draw(st.sampled_from([1280, 1400]))
    return body


@st.composite
def intents(draw: st.DrawFn) -> Intent:
    return Intent.model_validate(
        {"version": 1, "networks": draw(st.dictionaries(NAMES, networks(), max_size=4))}
    )


@settings(max_examples=120, deadline=None)
@given(intents(), intents(), st.integers(0, 400))
def test_one_pass_from_anywhere(first: Intent, second: Intent, stop: int) -> None:
    """Also from a first apply that was cut short; then nothing is left to do, and nothing moved
    without need.
    """
    kernel = FakeKernel()
    target = world.target(first)
    apply(kernel, planned_run(kernel, target).plan.steps[:stop])
    after = world.target(second, target.allocations)
    found = planned_run(kernel, after)
    outcome = converge(kernel, lambda: replan(kernel, after, found), found)
    assert outcome.complete, (outcome.failed, outcome.unverified)
    assert planned_run(kernel, after).plan.empty
    for name in first.networks.keys() & second.networks.keys():
        assert target.allocations.networks[name].vcid == after.allocations.networks[name].vcid
        assert target.allocations.networks[name].port == after.allocations.networks[name].port
    apply(kernel, removal(kernel).plan.steps)
    assert not kernel.objects


@settings(max_examples=40, deadline=None)
@given(intents(), st.randoms())
def test_the_order_of_the_file_does_not_matter(wanted: Intent, chance: random.Random) -> None:
    mixed = shuffled(wanted.model_dump(mode="json", exclude_unset=True), chance)
    plans = [
        planned_run(FakeKernel(), world.target(each)).plan
        for each in (wanted, Intent.model_validate(mixed))
    ]
    assert plans[0] == plans[1]
    assert digest(plans[0].steps) == digest(plans[1].steps)


def shuffled(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict):
        items = [(key, shuffled(item, chance)) for key, item in value.items()]
        chance.shuffle(items)
        return dict(items)
    return value


PROGRAM = """
import json, random, sys
from tests import world
from tests.laws.test_plan_laws import shuffled
from warpd.intent.model import Intent
from warpd.testing.fake_kernel import FakeKernel
from warpd.reconcile.incremental import planned_run
from warpd.service.views.render import plan_json
body = shuffled(json.loads(sys.argv[1]), random.Random(int(sys.argv[2])))
plan = planned_run(FakeKernel(), world.target(Intent.model_validate(body))).plan
print(json.dumps(plan_json(plan)))
"""


def test_twenty_hash_seeds_one_plan() -> None:
    networks = {name: world.network(6, allow_private=["10.9.0.0/16"]) for name in "abcdef"}
    networks |= {
        name.replace("_", "-"): body
        for mode in ("namespace", "vrf")
        for name, body in world.every_type(mode).items()
    }
    body = {"version": 1, "gateway": {"pools": {"ports": "51820-51899"}}, "networks": networks}
    seen = set()
    for seed in range(20):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        command = [sys.executable, "-c", PROGRAM, json.dumps(body), str(seed)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=True, env=environment
        )
        assert len(done.stdout) > 10_000
        seen.add(done.stdout)
    assert len(seen) == 1


def test_allocations_do_not_move_when_others_come_and_go() -> None:
    few, _ = allocate(world.intent(b=world.network(3)), Allocations({}))
    more, _ = allocate(
        world.intent(a=world.network(2), b=world.network(4), c=world.network(1)), few
    )
    assert more.networks["b"].subnet == few.networks["b"].subnet
    for name, given_ in few.networks["b"].endpoints.items():
        assert more.networks["b"].endpoints[name] == given_
