"""Figures as Prometheus reads them, judged by its own client's parser."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import world
from tests.unit.daemon.simulation import START_S, Simulation, two_networks
from warpd.clients import FORMATS
from warpd.clients.current import current_config
from warpd.daemon.mailbox import Mailbox
from warpd.daemon.metric import Counted
from warpd.daemon.metrics import metrics_text as text_of
from warpd.daemon.process import process_stats
from warpd.daemon.stale_configs import StaleConfigs
from warpd.daemon.stats import RESULTS, Durations, NetworkStats, SourceStatus, Stats, seen
from warpd.kernel.api import FailureKind, OperationError
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import PeerTraffic
from warpd.reconcile.engine import PlannedRun, Target, converge
from warpd.reconcile.incremental import planned_run
from warpd.service.views.status import status_json
from warpd.store.state_folder import Store
from warpd.testing.fake_kernel import PLAIN, FakeKernel

LES = ("0.1", "0.25", "0.5", "+Inf")  # bounds of the histogram, some of them
REPOSITORY = Path(__file__).parents[3]
MONITORING = REPOSITORY / "examples" / "monitoring"


def metrics_text(stats: Stats) -> str:
    return text_of(Counted(stats))


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


def values(daemon: Simulation, name: str, label: str = "network") -> dict[str, float]:
    """The samples of one metric, by the value of a label."""
    found = parsed(metrics_text(daemon.mailbox.stats))
    return {
        dict(labels).get(label, ""): value
        for (metric, labels), value in found.items()
        if metric == name
    }


def test_what_fails_is_counted_until_it_is_over(tmp_path: Path) -> None:
    daemon = Simulation(tmp_path)
    daemon.write(**two_networks())
    daemon.turn(10)
    assert values(daemon, "warpd_failed_passes") == {"": 0, "web": 0, "corp": 0}
    before_s = values(daemon, "warpd_last_reconcile_timestamp_seconds")[""]
    assert START_S <= before_s <= START_S + 10
    peer = next(key for key in daemon.kernel.objects if key.kind == "peer" and key.netns)
    fault = OperationError(FailureKind.REFUSED, "create", peer, errno.EINVAL, "x")
    daemon.kernel.refused[peer.netns] = fault
    daemon.remove(peer)
    daemon.turn(60)
    failed = values(daemon, "warpd_failed_passes")
    assert failed.pop("web") > 1 and failed == {"": 0, "corp": 0}
    assert values(daemon, "warpd_reconciles_total", "result")["failed"] > 1
    daemon.kernel.refused.clear()
    daemon.turn(600)
    assert set(values(daemon, "warpd_failed_passes").values()) == {0}
    assert values(daemon, "warpd_last_reconcile_timestamp_seconds")[""] > before_s + 600


def test_every_result_is_there_from_the_start() -> None:
    found = parsed(metrics_text(Stats()))
    results = {dict(labels)["result"] for name, labels in found if name == "warpd_reconciles_total"}
    assert results == set(RESULTS), "an increase is seen only of a series that was there"


def test_the_uplink(tmp_path: Path) -> None:
    daemon = Simulation(tmp_path)
    assert values(daemon, "warpd_uplink_up", "uplink") == {}, "nothing is known yet"
    daemon.write(**two_networks())
    daemon.turn(10)
    assert values(daemon, "warpd_uplink_up", "uplink") == {"eth0": 1}
    host = daemon.kernel.host
    for state in ({"uplink_down": True}, {"hops": ()}):
        daemon.kernel.host = dataclasses.replace(host, **state)
        daemon.turn(60)
        assert values(daemon, "warpd_uplink_up", "uplink") == {"eth0": 0}
    daemon.kernel.host = dataclasses.replace(host, uplink="", hops=(), exits=(), uplinks4=())
    daemon.turn(60)
    assert values(daemon, "warpd_uplink_up", "uplink") == {"": 0}


def test_when_endpoints_expire(tmp_path: Path) -> None:
    networks = two_networks()
    networks["web"]["endpoints"]["e1"]["expires"] = "2030-01-01"
    daemon = Simulation(tmp_path)
    daemon.write(**networks)
    daemon.turn(60)
    found = values(daemon, "warpd_endpoint_expires_timestamp_seconds", "endpoint")
    assert found == {"e1": 1893456000}  # date -u -d 2030-01-01 +%s


def export(daemon: Simulation, name: str) -> None:
    """As `warpctl endpoint config` does, on the same files."""
    read = daemon.workspace.read()
    config = current_config(daemon.workspace.target(read, False), PLAIN, *name.split("/"))
    store = daemon.workspace.store
    with store.writer("test"):
        numbered, _text = store.versioned(config, FORMATS["wg-quick"].text)
        store.log_export(config, numbered.version, "wg-quick", "root")


def stale(daemon: Simulation) -> dict[str, float]:
    counted = Counted(daemon.mailbox.stats, stale_configs=daemon.mailbox.stale_configs)
    found = parsed(text_of(counted)).items()
    return {
        dict(labels)["network"]: value
        for (name, labels), value in found
        if name == "warpd_stale_configs"
    }


def test_devices_that_need_their_config_again(tmp_path: Path) -> None:
    daemon, networks = Simulation(tmp_path), two_networks()
    dialled = {"public_endpoint": "vpn.example.com"}
    daemon.write(dialled, **networks)
    daemon.turn(10)
    assert stale(daemon) == {"web": 0, "corp": 0}
    for name in ("web/e1", "web/e2", "corp/e1"):
        export(daemon, name)
    daemon.turn(60)
    assert stale(daemon) == {"web": 0, "corp": 0}
    networks["web"]["mtu"] = 1300
    daemon.write(dialled, **networks)
    daemon.turn(10)
    assert stale(daemon) == {"web": 2, "corp": 0}, "e2 of corp was never given one"
    export(daemon, "web/e2")
    daemon.turn(60)
    assert stale(daemon) == {"web": 1, "corp": 0}
    daemon.write({"public_endpoint": "new.example.com"}, **networks)
    daemon.turn(10)
    assert stale(daemon) == {"web": 2, "corp": 1}


def test_a_count_of_stale_configs_holds_nobody_up(tmp_path: Path) -> None:
    """While one is under way, passes go on; the next one counts what has changed meanwhile."""
    work: list[Callable[[], None]] = []
    mailbox, wanted = Mailbox(), world.target(world.intent(web=world.network(2)))
    counts = StaleConfigs(mailbox, Store(tmp_path), work.append)
    counts.refresh(wanted, PLAIN)
    counts.refresh(dataclasses.replace(wanted, today=date(2027, 1, 1)), PLAIN)
    assert len(work) == 1 and mailbox.stale_configs == {}
    work.pop()()
    assert mailbox.stale_configs == {"web": 0}
    counts.refresh(wanted, PLAIN)
    assert work == [], "nothing has changed"
    counts.refresh(wanted, dataclasses.replace(PLAIN, uplink_mtu=1400))
    assert len(work) == 1


def test_the_other_exporter_s_names_are_behind_a_switch() -> None:
    wanted, found = looked(web=world.network(2))
    assert "wireguard_" not in metrics_text(Stats(networks=seen(wanted, found, ())))
    peers = {item.label: item for item in found.compiled.state if isinstance(item, WireguardPeer)}
    samples = parsed(metrics_text(Stats(networks=seen(wanted, found, (), keeps_peers=True))))
    received = {
        labels: value for (name, labels), value in samples.items() if "wireguard_received" in name
    }
    assert received == {
        (
            ("allowed_ips", ",".join(peer.allowed_ips)),
            ("friendly_name", f"web/{name}"),
            ("interface", peer.device),
            ("public_key", peer.public_key),
        ): peer.public_key.count("A")
        for name, peer in peers.items()
    }
    kinds = {name for name, _labels in samples if name.startswith("wireguard_")}
    assert kinds == {
        "wireguard_sent_bytes_total",
        "wireguard_received_bytes_total",
        "wireguard_latest_handshake_seconds",
    }


# What a child says of itself, and the same as the shell's tools would.
CHILD = """
import os, time
from warpd.daemon.process import process_stats
first = process_stats()
held = [open("/dev/null") for _ in range(5)], bytearray(64 << 20)
sum(range(5_000_000))
second = process_stats()
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
assert second.open_fds == first.open_fds + 5
assert second.resident_bytes - first.resident_bytes > 60 << 20
assert abs(second.resident_bytes - int(status["VmRSS"].split()[0]) * 1024) < 8 << 20
assert second.virtual_bytes >= second.resident_bytes
assert second.cpu_s > first.cpu_s
assert second.max_fds == 1000
print(second.start_s, time.time())
"""


def test_the_process_is_described_as_the_kernel_does() -> None:
    before_s = time.time()
    command = ["bash", "-c", 'ulimit -n 1000; exec "$@"', "bash", sys.executable, "-c", CHILD]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    started_s, ended_s = map(float, told.stdout.split())
    assert before_s - 1 < started_s < ended_s  # a tick is 10 ms; the clock may be set meanwhile


PROMTOOL = os.environ.get("WARPD_PROMTOOL") or shutil.which("promtool")


@pytest.mark.skipif(not PROMTOOL, reason="promtool is not here: `./run test` unpacks it")
def test_promtool_agrees() -> None:
    """Its linter for the metrics, its checker for the rules: of nothing either of them
    complains.
    """
    sourced = SourceStatus("git", "https://git.example.com/x.git", "0" * 40, 1700000000.0, "")
    wanted, look = looked(corp=world.network(2))
    counted = dataclasses.replace(
        stats(handshake=1700000000),
        source=sourced,
        errors={"corp": 1},
        uplink="eth0",
        networks=seen(wanted, look, (), keeps_peers=True),
    )
    told = subprocess.run(
        (str(PROMTOOL), "check", "metrics"),
        input=text_of(Counted(counted, process=process_stats())),
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
