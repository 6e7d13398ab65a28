"""What examples/monitoring has: every series, label and reason that dashboard and alerts name is in
a real answer, and a stock Prometheus, which scrapes the control socket over TCP through the proxy
of the shipped unit, can evaluate every rule and query.
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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests import world
from tests.unit.daemon.http.served import Line
from tests.unit.daemon.simulation import Simulation, two_networks
from warpd.daemon.http.credentials import Credentials
from warpd.daemon.http.server import Server
from warpd.daemon.stats import NetworkStats, SourceStatus
from warpd.kernel.kinds.nft_table import NftTable
from warpd.kernel.state import ROOT, PeerTraffic
from warpd.reconcile.incremental import planned_run
from warpd.testing.fake_kernel import FakeKernel

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


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """An expression of the dashboard or of an alert rule.

    - `shown`: the labels that its legend or its text names.
    """

    expression: str
    shown: frozenset[str]

    @property
    def series(self) -> list[tuple[str, str]]:
        """The names of its series, each with what its labels must be."""
        return re.findall(r"\b((?:warpd|process)_[a-z_]+|up\b)(?:\{([^}]*)\})?", self.expression)

    def labels(self, found: Series) -> set[str]:
        """Those of its result."""
        grouped = re.search(r"by \(([^)]*)\)", self.expression)
        if grouped is not None:
            return set(re.findall(r"\w+", grouped[1]))
        return set.intersection(*(found[name] for name, _matchers in self.series)) | OF_THE_JOB


Series = Mapping[str, set[str]]  # name -> labels
OF_THE_JOB = {"job", "instance"}  # labels that Prometheus adds
SHOWN = re.compile(r"\{\{\s*(?:\$labels\.)?(\w+)")  # by Grafana, by Prometheus


def panels() -> list[dict[str, Any]]:
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    found: list[dict[str, Any]] = dashboard["panels"]
    return found


def queries() -> list[Query]:
    """Of the dashboard and of the alert rules."""
    targets = [target for panel in panels() for target in panel["targets"]]
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    texts = [(target["expr"], target["legendFormat"]) for target in targets]
    texts += [
        (rule["expr"], rule["annotations"]["summary"])
        for group in rules["groups"]
        for rule in group["rules"]
    ]
    return [Query(expression, frozenset(SHOWN.findall(text))) for expression, text in texts]


@pytest.fixture
def answered(daemon: Simulation, tmp_path: Path) -> Series:
    """The series of a real answer, with the labels that all of its samples have."""
    with contextlib.closing(Line(tmp_path / "sock")) as line:
        line.request("GET", "/metrics")
        text = line.getresponse().read().decode()
    found: dict[str, set[str]] = {"up": set()}  # what Prometheus adds
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = set(sample.labels)
            found[sample.name] = found.get(sample.name, labels) & labels
    return found


def test_dashboard_and_alerts_name_what_there_is(answered: Series) -> None:
    for query in queries():
        assert query.series, query
        for name, matchers in query.series:
            assert name in answered, query
            # other jobs have the series of processes too
            assert name.startswith("warpd_") or 'job="warpd"' in matchers, query
            asked = set(re.findall(r"(\w+)[=!]", matchers))
            assert asked <= answered[name] | OF_THE_JOB, query
        assert query.shown - {"value"} <= query.labels(answered), query
    assert len(queries()) > 30


def test_alerts_wait_for_reasons_that_there_are() -> None:
    """Of networks, or of the gateway's own part, whose network is an empty name."""
    of_networks, of_gateway = reasons()
    asked = 0
    for query in queries():
        for _name, matchers in query.series:
            named = re.search(r'reason=~?"([^"]*)"', matchers)
            known = of_networks if 'network!=""' in matchers else of_gateway
            if named is not None:
                assert set(named[1].split("|")) <= known, query
                asked += 1
    assert asked >= 4


def reasons() -> tuple[set[str], set[str]]:
    """What packets are dropped for: in networks of every type, and in the gateway's own part."""
    intent = world.intent({"pools": {"ports": "51820-51899"}}, **world.every_type("namespace"))
    found = planned_run(FakeKernel(), world.target(intent)).compiled.state
    tables = [item for item in found if isinstance(item, NftTable)]
    of_networks = {name for item in tables if item.netns != ROOT for name in item.counters}
    return of_networks, {name for item in tables if item.netns == ROOT for name in item.counters}


def test_every_panel_says_what_it_shows() -> None:
    titles = [panel["title"] for panel in panels()]
    assert len(set(titles)) == len(titles) > 10
    for panel in panels():
        assert panel["title"] and panel["description"].endswith("."), panel["title"]
        units = [panel["fieldConfig"]["defaults"]["unit"]]
        references = {target["refId"] for target in panel["targets"]}
        for override in panel["fieldConfig"]["overrides"]:
            assert override["matcher"]["id"] == "byFrameRefID", panel["title"]
            assert override["matcher"]["options"] in references, panel["title"]
            units += [item["value"] for item in override["properties"] if item["id"] == "unit"]
        assert all(units), panel["title"]
        assert len(units) == len(panel["fieldConfig"]["overrides"]) + 1, panel["title"]


@needs_prometheus
def test_a_stock_prometheus(daemon: Simulation, tmp_path: Path) -> None:
    with proxy(tmp_path / "sock") as target, prometheus(tmp_path, target) as api:
        until(api, 'up{job="warpd"} == 1')
        names = set(ask(api, "label/__name__/values"))
        for query in queries():
            assert {name for name, _matchers in query.series} <= names, query
            ask(api, "query", query=query.expression)  # 400 for what cannot be evaluated
        until(api, 'ALERTS{alertname="WarpdUplinkDown"}')
        rules = [rule for group in ask(api, "rules")["groups"] for rule in group["rules"]]
        assert {rule["health"] for rule in rules} == {"ok"}
        rate = until(api, "sum(increase(warpd_socket_refused_total[1m])) + 1")
        assert float(rate[0]["value"][1]) == 1, "nothing was refused"
    assert not daemon.mailbox.has_requests, "the loop was asked nothing"
