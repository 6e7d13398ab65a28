"""Figures as Prometheus reads them, judged by its own client's parser; names that dashboards and alerts use exist."""

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

from warpd.daemon.desk import Figures, Sourced
from warpd.daemon.metrics import ENDPOINTS_MAX, METRICS, metrics_text

MONITORING = Path(__file__).parents[2] / "examples" / "monitoring"


def endpoint(name: str, **more: Any) -> dict[str, Any]:
    return {"network": "corp", "name": name, "received_bytes": 5, "sent_bytes": 7, "last_handshake": None, **more}


def figures(endpoints: list[dict[str, Any]]) -> Figures:
    network = {"name": "corp", "vcid": 12345678, "in_sync": True, "drops": {"spoofed": {"packets": 3}}, "endpoints": endpoints}
    status = {"networks": [network], "drops": {"host-service": {"packets": 2}}, "pending_confirm": None}
    counts = {"corp": 4, "": 1}
    return Figures(passes={"done": 9, "busy": 1}, pass_seconds=1.25, repairs=counts, changes=counts, status=status)


def parsed(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    rows = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    out = {(row.name, tuple(sorted(row.labels.items()))): row.value for row in rows}
    assert len(out) == len(rows), "one series twice"
    return out


def test_every_figure_is_there() -> None:
    found = parsed(metrics_text(figures([endpoint("lap", last_handshake=1700000000)])))
    where = (("endpoint", "lap"), ("network", "corp"), ("vcid", "12345678"))
    assert found["warpd_endpoint_received_bytes_total", where] == 5
    assert found["warpd_endpoint_last_handshake_seconds", where] == 1700000000
    assert found["warpd_passes_total", (("result", "done"),)] == 9
    assert found["warpd_repairs_total", (("network", "corp"), ("vcid", "12345678"))] == 4
    assert found["warpd_dropped_packets_total", (("network", "corp"), ("reason", "spoofed"), ("vcid", "12345678"))] == 3
    assert found["warpd_pass_seconds_total", ()] == 1.25


def test_an_endpoint_never_seen_has_no_handshake() -> None:
    assert not [key for key in parsed(metrics_text(figures([endpoint("lap")]))) if "handshake" in key[0]]


def test_names_that_need_quoting() -> None:
    strange = 'a"b\\c\nd'
    found = parsed(metrics_text(figures([endpoint(strange)])))
    assert any(dict(labels).get("endpoint") == strange for _, labels in found)


def test_too_many_endpoints_are_counted_only() -> None:
    found = parsed(metrics_text(figures([endpoint(f"e{n}") for n in range(ENDPOINTS_MAX + 1)])))
    assert found["warpd_endpoints", ()] == ENDPOINTS_MAX + 1
    assert not [name for name, _ in found if name.startswith("warpd_endpoint_")]


def test_before_the_first_pass() -> None:
    assert parsed(metrics_text(Figures()))["warpd_intent_applied_timestamp_seconds", ()] == 0


PROMTOOL = os.environ.get("WARPD_PROMTOOL") or shutil.which("promtool")


@pytest.mark.skipif(not PROMTOOL, reason="promtool is not here: `./run test` unpacks it")
def test_promtool_agrees() -> None:
    """Its linter for the metrics, its checker for the rules: of nothing either of them complains."""
    sourced = Sourced("https://git.example.com/x.git", "0" * 40, 1700000000.0, "")
    counted = dataclasses.replace(figures([endpoint("lap", last_handshake=1700000000)]), source=sourced, errors={"corp": 1})
    told = subprocess.run((str(PROMTOOL), "check", "metrics"), input=metrics_text(counted), capture_output=True, text=True)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    told = subprocess.run((str(PROMTOOL), "check", "rules", MONITORING / "alerts.yaml"), capture_output=True, text=True)
    assert told.returncode == 0 and "SUCCESS" in told.stdout, told.stdout + told.stderr


def named(text: str) -> set[str]:
    return set(re.findall(r"\bwarpd_[a-z_]+", text))


def test_dashboard_and_alerts_name_what_there_is() -> None:
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    queries += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    assert len(queries) > 12
    assert {name for query in queries for name in named(query)} <= METRICS
    assert all(named(query) or "up{" in query for query in queries)
