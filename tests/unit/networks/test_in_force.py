"""Endpoints that the YAML has and that are not in force: nothing of them is in the kernel."""

from __future__ import annotations

import copy
import dataclasses
from datetime import date, timedelta

import pytest

from tests import world
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import Host
from warpd.reconcile.engine import Target, compile_target
from warpd.testing.fake_kernel import PLAIN

LAST_DAY = date(2031, 1, 1)
EVERY = world.every_type("namespace") | world.every_type("vrf")


def peers(target: Target, host: Host = PLAIN) -> set[str]:
    compiled = compile_target(target, host)
    assert not compiled.stopped
    return {item.label for item in compiled.state if isinstance(item, WireguardPeer)}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    ("field", "value"), [("expires", LAST_DAY.isoformat()), ("enabled", False)]
)
def test_an_endpoint_out_of_force_has_no_peer(name: str, field: str, value: object) -> None:
    body = copy.deepcopy(EVERY[name])
    ended = sorted(body["endpoints"])[-1]
    whole = world.target(world.intent(**{name: body}))
    body["endpoints"][ended][field] = value
    target = world.target(world.intent(**{name: body}))
    after = dataclasses.replace(target, today=LAST_DAY + timedelta(days=1))
    assert peers(after) <= peers(whole) - {ended}  # fewer: a segment of one end is not built
    if field == "expires":
        before = dataclasses.replace(target, today=LAST_DAY - timedelta(days=1))
        assert peers(before) == peers(whole)
