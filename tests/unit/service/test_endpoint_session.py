"""The age of a session: of one whose handshake lies in the future, nobody knows it."""

from __future__ import annotations

import dataclasses

import pytest

from tests import world
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import AHEAD_S, SESSION_S, PeerTraffic, has_session, session_age_s
from warpd.reconcile.engine import converge
from warpd.reconcile.incremental import planned_run
from warpd.service.endpoint_session import session_of, session_text
from warpd.service.views.endpoint_list import counted
from warpd.service.views.status import status_json
from warpd.testing.fake_kernel import FakeKernel

NOW_S = 2_000_000_000


@pytest.mark.parametrize(
    ("ago_s", "age_s", "is_online"),
    [
        (0, 0, True),
        (SESSION_S - 1, SESSION_S - 1, True),
        (SESSION_S, SESSION_S, False),
        (-AHEAD_S, 0, True),  # the clock was read before the kernel
        (-AHEAD_S - 1, None, False),
        (-86_400, None, False),
        (NOW_S, None, False),  # never
    ],
)
def test_how_old_a_session_is(ago_s: int, age_s: int | None, is_online: bool) -> None:
    assert session_age_s(NOW_S - ago_s, NOW_S) == age_s
    assert has_session(NOW_S - ago_s, NOW_S) is is_online


def test_explain_says_that_the_clock_was_set_back() -> None:
    session = session_of(PeerTraffic(1, 1, NOW_S + 86_400, "192.0.2.1:7"), NOW_S)
    assert (session.presence, session.handshake_age_s) == ("stale", None)
    text = session_text(session, "n/phone", "203.0.113.10:51820")
    assert "lies in the future" in text and "None" not in text


def test_the_json_of_an_endpoint_has_the_time_and_no_age() -> None:
    kernel, target = FakeKernel(), world.target(world.intent(n=world.network(1)))
    converge(kernel, lambda: planned_run(kernel, target), planned_run(kernel, target))
    run = planned_run(kernel, target)
    peers = [each for each in run.observed.state if isinstance(each, WireguardPeer)]
    traffic = {peer.key: PeerTraffic(1, 1, NOW_S + 86_400, "192.0.2.1:7") for peer in peers}
    seen = dataclasses.replace(run, observed=dataclasses.replace(run.observed, traffic=traffic))
    network = status_json(target, seen, NOW_S)["networks"][0]
    (row,) = network["endpoints"]
    assert (row["last_handshake"], row["handshake_age_s"]) == (NOW_S + 86_400, None)
    assert counted(network["endpoints"])["states"] == {"stale": 1}
