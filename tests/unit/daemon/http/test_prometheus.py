"""A stock Prometheus scrapes the control socket over TCP, as examples/monitoring has it, through
the proxy of the shipped unit; every series that dashboard and alerts name is found in it, and every
rule and query can be evaluated.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shlex
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.daemon.simulation import Simulation, two_networks
from warpd.daemon.http.credentials import Credentials
from warpd.daemon.http.server import Server
from warpd.daemon.stats import NetworkStats, SourceStatus
from warpd.kernel.state import PeerTraffic

REPOSITORY = Path(__file__).parents[4]
MONITORING = REPOSITORY / "examples" / "monitoring"
UNIT = REPOSITORY / "systemd" / "warpd-metrics.service"
PROMETHEUS = Path(os.environ.get("WARPD_PROMTOOL", "/usr/bin/promtool")).with_name("prometheus")
LIMIT_S = 60.0

needs_prometheus = pytest.mark.skipif(
    not PROMETHEUS.exists(), reason="prometheus is not here: `./run test` unpacks it"
)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Simulation]:
    """A daemon with something to tell of every kind, behind its control socket."""
    networks = two_networks()
    networks["web"]["endpoints"]["e1"]["expires"] = "2099-01-01"
    daemon = Simulation(tmp_path)
    daemon.write(**networks)
    daemon.turn(60)
    daemon.remove(next(key for key in daemon.kernel.objects if key.kind == "peer"))
    daemon.kernel.host = dataclasses.replace(daemon.kernel.host, uplink_down=True)
    daemon.turn(60)
    mailbox = daemon.mailbox
    mailbox.stats = dataclasses.replace(
        mailbox.stats,
        networks=[used(network) for network in mailbox.stats.networks],
        drops={"host-service": 2},
        errors={"web": 1},
        pending={"web": 1},
        source=SourceStatus("git", "https://git.example.com/x.git", "0" * 40, 1.0, ""),
    )
    server = Server(mailbox, tmp_path / "sock", Credentials(tmp_path, tmp_path / "users"))
    server.start()
    try:
        yield daemon
    finally:
        server.stop()


def used(network: NetworkStats) -> NetworkStats:
    """A network with traffic, which a kernel in memory has not."""
    traffic = PeerTraffic(5, 7, 1_700_000_000, "")
    endpoints = dict.fromkeys(network.endpoints, traffic)
    return dataclasses.replace(network, endpoints=endpoints, drops={"spoofed": 3})


@contextlib.contextmanager
def program(*words: str | Path) -> Iterator[None]:
    running = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        running.terminate()
        running.wait(LIMIT_S)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def proxy(path: Path) -> Iterator[str]:
    """The command of the shipped unit, started as systemd does: with a socket that listens."""
    found = re.search(r"^ExecStart=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert found is not None
    *command, target = shlex.split(found[1])
    assert target == "/run/warpd/warpd.sock"
    address = f"127.0.0.1:{free_port()}"
    with program("systemd-socket-activate", "--listen", address, *command, path):
        yield address


@contextlib.contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """Started with the shipped configuration, on other addresses and in more of a hurry."""
    config = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())
    (job,) = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["127.0.0.1:9586"]}]
    job |= {"scrape_interval": "1s", "static_configs": [{"targets": [target]}]}
    config["rule_files"] = [str(MONITORING / Path(name).name) for name in config["rule_files"]]
    config["global"] = {"evaluation_interval": "1s"}
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    words = [
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with program(PROMETHEUS, *words):
        yield f"http://{address}/api/v1"


def ask(api: str, what: str, **query: str) -> Any:
    url = f"{api}/{what}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url, timeout=LIMIT_S) as answer:
        return json.load(answer)["data"]


def until(api: str, expression: str) -> list[dict[str, Any]]:
    """The samples of an expression, once it has any."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            rows: list[dict[str, Any]] = ask(api, "query", query=expression)["result"]
            if rows:
                return rows
        time.sleep(0.1)
    raise AssertionError(f"{expression} found nothing in {LIMIT_S} s")


def queries() -> list[str]:
    """Of the dashboard and of the alert rules."""
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    return found + [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


@needs_prometheus
def test_a_stock_prometheus(daemon: Simulation, tmp_path: Path) -> None:
    with proxy(tmp_path / "sock") as target, prometheus(tmp_path, target) as api:
        until(api, 'up{job="warpd"} == 1')
        names = set(ask(api, "label/__name__/values"))
        for query in queries():
            named = set(re.findall(r"\b(?:warpd|process)_[a-z_]+|\bup\b", query))
            assert named and named <= names, query
            ask(api, "query", query=query)  # 400 for what cannot be evaluated
        until(api, 'ALERTS{alertname="WarpdUplinkDown"}')
        rules = [rule for group in ask(api, "rules")["groups"] for rule in group["rules"]]
        assert {rule["health"] for rule in rules} == {"ok"}
        rate = until(api, "sum(increase(warpd_socket_refused_total[1m])) + 1")
        assert float(rate[0]["value"][1]) == 1, "nothing was refused"
    assert not daemon.mailbox.has_requests, "the loop was asked nothing"
