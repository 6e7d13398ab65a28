"""Figures as Prometheus reads them, judged by its own client's parser; names that dashboards and
alerts use exist.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests import world
from warpd.daemon.metrics import SERIES, metrics_text
from warpd.daemon.stats import Durations, NetworkStats, SourceStatus, Stats, seen
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import PeerTraffic
from warpd.reconcile.engine import PlannedRun, Target, converge, planned_run
from warpd.service.views.status import status_json
from warpd.testing.fake_kernel import FakeKernel

LES = ("0.1", "0.25", "0.5", "+Inf")  # bounds of the histogram, some of them
MONITORING = Path(__file__).parent.parents[2] / "examples" / "monitoring"


def open_groups(found: PlannedRun) -> set[str]:
    """Groups that nothing was done for yet."""
    return {step.group for step in found.plan.steps}


def stats(name: str = "lap", handshake: int = 0) -> Stats:
    corp = NetworkStats(
        "corp", 12345678, True, {"spoofed": 3}, 1, {name: PeerTraffic(5, 7, handshake, "")}
    )
    counts, drops = {"corp": 4, "": 1}, {"host-service": 2}
    return Stats(
        {"done": 9, "busy": 1},
        Durations().with_one(0.25).with_one(1.0),
        repairs=counts,
        changes=counts,
        networks=(corp,),
        drops=drops,
    )


def parsed(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    rows = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    out = {(row.name, tuple(sorted(row.labels.items()))): row.value for row in rows}
    assert len(out) == len(rows), "one series twice"
    return out


def test_every_figure_is_there() -> None:
    found = parsed(metrics_text(stats(handshake=1700000000)))
    where = (("endpoint", "lap"), ("network", "corp"), ("vcid", "12345678"))
    assert found["warpd_endpoint_received_bytes_total", where] == 5
    assert found["warpd_endpoint_last_handshake_timestamp_seconds", where] == 1700000000
    assert found["warpd_reconciles_total", (("result", "done"),)] == 9
    assert found["warpd_repairs_total", (("network", "corp"), ("vcid", "12345678"))] == 4
    assert (
        found[
            "warpd_dropped_packets_total",
            (("network", "corp"), ("reason", "spoofed"), ("vcid", "12345678")),
        ]
        == 3
    )
    assert found["warpd_reconcile_duration_seconds_sum", ()] == 1.25
    assert found["warpd_reconcile_duration_seconds_count", ()] == 2
    within = [found["warpd_reconcile_duration_seconds_bucket", (("le", le),)] for le in LES]
    assert within == [0, 1, 1, 2]


def test_an_endpoint_never_seen_has_no_handshake() -> None:
    assert not [key for key in parsed(metrics_text(stats())) if "handshake" in key[0]]


def test_names_that_need_quoting() -> None:
    strange = 'a"b\\c\nd'
    found = parsed(metrics_text(stats(strange)))
    assert any(dict(labels).get("endpoint") == strange for _, labels in found)


def looked(**networks: dict[str, Any]) -> tuple[Target, PlannedRun]:
    """A look at a gateway in sync, where every peer has received as many bytes as its key has of
    "A".
    """
    kernel, wanted = (
        FakeKernel(),
        world.target(world.intent({"pools": {"ports": "51820-51899"}}, **networks)),
    )
    converge(kernel, lambda: planned_run(kernel, wanted), planned_run(kernel, wanted))
    found = planned_run(kernel, wanted)
    peers = [item for item in found.compiled.state if isinstance(item, WireguardPeer)]
    traffic = {peer.key: PeerTraffic(peer.public_key.count("A"), 0, 0, "") for peer in peers}
    return wanted, dataclasses.replace(
        found, observed=dataclasses.replace(found.observed, traffic=traffic)
    )


def test_what_is_kept_of_a_look() -> None:
    """The same as `warpctl status` says of it, in both modes, also of who is not in the kernel."""
    off = world.network(3) | {"isolation": "vrf"}
    off["endpoints"]["e1"] = off["endpoints"]["e1"] | {"enabled": False}
    wanted, found = looked(a=world.network(3), b=off, c=world.network(1) | {"enabled": False})
    told = [
        (item.name, item.vcid, item.in_sync, item.size)
        for item in seen(wanted, found, open_groups(found))
    ]
    status = status_json(wanted, found, 0)["networks"]
    assert told == [
        (item["name"], item["vcid"], item["in_sync"], len(item["endpoints"])) for item in status
    ]
    assert [item["up"] for item in status] == [True, True, False]
    kept = {
        (item.name, name): peer.received
        for item in seen(wanted, found, open_groups(found))
        for name, peer in item.endpoints.items()
    }
    assert kept == {
        (each["network"], each["name"]): each["received_bytes"]
        for item in status
        for each in item["endpoints"]
    }
    assert any(kept.values())


def test_too_many_endpoints_are_counted_only(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, look = looked(a=world.network(2), b=world.network(1))
    for limit, single in ((3, 3), (2, 0)):
        monkeypatch.setattr("warpd.daemon.stats.ENDPOINTS_MAX", limit)
        found = parsed(metrics_text(Stats(networks=seen(wanted, look, ()))))
        assert found["warpd_endpoints", ()] == 3
        assert (
            len([name for name, _ in found if name == "warpd_endpoint_received_bytes_total"])
            == single
        )


def test_before_the_first_pass() -> None:
    assert parsed(metrics_text(Stats()))["warpd_intent_applied_timestamp_seconds", ()] == 0


PROMTOOL = os.environ.get("WARPD_PROMTOOL") or shutil.which("promtool")


@pytest.mark.skipif(not PROMTOOL, reason="promtool is not here: `./run test` unpacks it")
def test_promtool_agrees() -> None:
    """Its linter for the metrics, its checker for the rules: of nothing either of them
    complains.
    """
    sourced = SourceStatus("git", "https://git.example.com/x.git", "0" * 40, 1700000000.0, "")
    counted = dataclasses.replace(stats(handshake=1700000000), source=sourced, errors={"corp": 1})
    told = subprocess.run(
        (str(PROMTOOL), "check", "metrics"),
        input=metrics_text(counted),
        capture_output=True,
        text=True,
    )
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    told = subprocess.run(
        (str(PROMTOOL), "check", "rules", MONITORING / "alerts.yaml"),
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0 and "SUCCESS" in told.stdout, told.stdout + told.stderr


def named(text: str) -> set[str]:
    return set(re.findall(r"\bwarpd_[a-z_]+", text))


def test_dashboard_and_alerts_name_what_there_is() -> None:
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    queries += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    assert len(queries) > 12
    assert {name for query in queries for name in named(query)} <= SERIES
    assert all(named(query) or "up{" in query for query in queries)
