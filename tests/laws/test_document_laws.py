"""P1 and P9 over whole documents: what `validate` accepts converges, or is blocked by name; nothing
of others is touched.

Names are drawn from the host's links, from those of other networks and from our own grammar.
Printed: documents tried and accepted, uncaught errors, foreign objects changed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import world
from warpd.allocation.allocator import allocate
from warpd.allocation.model import Allocations
from warpd.intent.loader import load
from warpd.intent.validation import check
from warpd.kernel.kinds.link import link_key
from warpd.kernel.state import ROOT, Key
from warpd.reconcile.engine import Target, converge, removal
from warpd.reconcile.incremental import planned_run
from warpd.reconcile.plan import Step
from warpd.testing.fake_kernel import FakeKernel

VCIDS = (11111111, 22222222, 33333333)
HOST_LINKS = (
    "lo",
    "eth0",
    "br-lan",
    "docker0",
    "virbr0",
    "br-22222222",
    "wg-33333333",
    "dn-11111111",
    "vx-11111111-1",
)
OURS = [f"{kind}-{vcid}" for kind in ("wg", "vrf", "br", "up", "dn") for vcid in VCIDS]
ODD = [
    "gretap0",
    "all",
    "..",
    "e*",
    "@guarded_ifaces",
    "brücke",
    "a b",
    "sixteen-letters-",
    "wg-lan",
    "br-0",
    "fifteen-letters",
    "-x",
    "x.y",
]
NAMES = st.sampled_from([*HOST_LINKS, *OURS, *ODD, "gt-11111111-1", "lan9", "same0"])
TYPES = [
    "secure-internet",
    "remote-resource-gateway",
    "l3vpn-gateway",
    "l2-point-to-point",
    "l2-mesh",
]
SEGMENTS = ("l2-point-to-point", "l2-mesh")


@st.composite
def networks(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(TYPES))
    body: dict[str, Any] = {
        "type": kind,
        "isolation": draw(st.sampled_from(["namespace", "vrf"])),
        "endpoints": {
            name: {"type": "cpe"} for name in draw(st.lists(st.sampled_from("ab"), unique=True))
        },
    }
    if draw(st.booleans()):
        body["vcid"] = draw(st.sampled_from(VCIDS))
    if draw(st.integers(0, 4)) == 0:
        body["routing_table"] = draw(st.sampled_from([77, 1000, 254, 65535, 70000, 1996554240]))
    if kind in SEGMENTS and draw(st.integers(0, 4)):
        body["bridge_name"] = draw(NAMES)
    if kind == "remote-resource-gateway":
        body["resources"] = [
            {"subnet": draw(st.sampled_from(["10.0.0.0/8", "0.0.0.0/0", "172.20.1.1/32"]))}
        ]
    return body | ({"expected_users": 2} if kind != "l2-point-to-point" else {})


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    gateway: dict[str, Any] = {"public_endpoint": "203.0.113.1"}
    if draw(st.booleans()):
        gateway["uplink"] = draw(
            st.sampled_from(["auto", "eth0", "br-lan", "lo", "wg-33333333", "e*"])
        )
    named = draw(st.dictionaries(st.sampled_from(["n1", "n2", "n3", "n4"]), networks(), max_size=4))
    return {"version": 1, "gateway": gateway, "networks": named}


def accepted(document: dict[str, Any], path: Path) -> Target | None:
    """The target of a document, if `validate` lets it pass."""
    path.write_text(json.dumps(document))
    loaded = load(path)
    if loaded.intent is None or any(
        item.is_error for item in (*loaded.findings, *check(loaded.intent))
    ):
        return None
    allocations, findings = allocate(loaded.intent, Allocations({}))
    if any(item.is_error for item in findings):
        return None
    return Target(loaded.intent, allocations, world.MASTER, world.TODAY)


def furnished() -> FakeKernel:
    kernel = FakeKernel()
    kernel.others = {link_key(ROOT, name): "bridge" for name in HOST_LINKS}
    return kernel


def touched(steps: tuple[Step, ...], others: set[Key]) -> Iterator[Key]:
    """Links of others that a step makes, changes or hangs something on."""
    for step in steps:
        subject: Any = step.change.subject
        guarded = {link_key(ROOT, name) for name in getattr(subject, "guarded_ifaces", ())}
        yield from {subject.key, subject.container, *subject.needs, *guarded} & others


TOLD: Counter[str] = Counter()


def obey(document: dict[str, Any], path: Path) -> None:
    """Bring a host to the document, look again, and take everything away."""
    TOLD["documents"] += 1
    target = accepted(document, path)
    if target is None:
        return
    TOLD["accepted"] += 1
    kernel = furnished()
    before = dict(kernel.others)
    outcome = converge(kernel, lambda: planned_run(kernel, target), planned_run(kernel, target))
    again = planned_run(kernel, target)
    assert not outcome.failed and not again.plan.steps
    blocked = {item.group for item in again.plan.blocked}
    TOLD["networks blocked by name"] += len(blocked)
    for group in again.compiled.names.keys() - blocked - again.compiled.stopped:
        wanted = {key for key, item in again.compiled.state.objects.items() if item.group == group}
        assert wanted <= kernel.objects.keys()
    done = outcome.done + converge(kernel, lambda: removal(kernel), removal(kernel)).done
    assert not list(touched(done, set(before))) and kernel.others == before


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_what_validate_accepts_converges_or_is_blocked_by_name(
    count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    TOLD.clear()

    @settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))
    @given(documents())
    def law(document: dict[str, Any]) -> None:
        obey(document, tmp_path / "warp.yaml")

    law()
    with capsys.disabled():
        print(
            "\n  "
            + ", ".join(f"{what} {number}" for what, number in TOLD.items())
            + ", uncaught 0, foreign objects changed 0"
        )
    assert TOLD["accepted"] > count / 10 and TOLD["networks blocked by name"] > 0
