"""A long life in fast motion: nothing grows, nothing wakes for nothing, no event is lost for good;
and the real socket.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import world
from tests.live.conftest import sh
from tests.live.daemon import Daemon
from tests.live.test_daemon import in_sync
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.service import client
from warpd.service.workspace import Workspace

NETWORKS = {f"n{number}": world.network(3) for number in range(10)}


@pytest.mark.parametrize("count", [40, pytest.param(10_000, marks=pytest.mark.long)])
def test_nothing_grows(
    gateway: LiveKernel, tmp_path: Path, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.close()
    with Daemon(
        tmp_path, {"version": 1, "networks": {"a": world.network(3), "b": world.network(2)}}, 600
    ) as daemon:
        for _ in range(30):
            one_pass(daemon)
        daemon.idle()  # the connections that asked are closed
        fds, rss = daemon.descriptors(), daemon.rss_kib()
        for _ in range(count):
            one_pass(daemon)
        daemon.idle()
        grown = daemon.rss_kib() - rss
        with capsys.disabled():
            print(
                f"\n  {count} passes: descriptors {fds} -> {daemon.descriptors()}, RSS {rss} ->"
                f" {rss + grown} KiB",
                end="",
            )
        assert daemon.descriptors() <= fds and grown < 2048 and daemon.alive()


def one_pass(daemon: Daemon) -> None:
    """A full observation, waited for: as the clock would cause it."""
    before = total(daemon, "warpd_reconciles_total")
    os.kill(daemon.pid, signal.SIGHUP)
    daemon.wait(lambda: total(daemon, "warpd_reconciles_total") > before, "a pass")


def metrics(daemon: Daemon) -> list[str]:
    with contextlib.closing(client._Connection(daemon.state / "sock", 20)) as line:
        line.request("GET", "/metrics")
        return line.getresponse().read().decode().splitlines()


def total(daemon: Daemon, name: str) -> int:
    return sum(int(row.rsplit(" ", 1)[1]) for row in metrics(daemon) if row.startswith(name))


def test_idle_with_ten_networks(
    gateway: LiveKernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.close()
    with Daemon(tmp_path, {"version": 1, "networks": NETWORKS}, 600) as daemon:
        time.sleep(3)
        rss, before = daemon.rss_kib(), daemon.wakes()
        time.sleep(10)
        woken = daemon.wakes() - before
        with capsys.disabled():
            print(
                f"\n  idle with ten networks: RSS {rss / 1024:.1f} MiB, wake-ups in 10 s: {woken}",
                end="",
            )
        assert rss < 60 * 1024
        assert woken <= 2


@pytest.mark.parametrize("flaps", [1000, pytest.param(10_000, marks=pytest.mark.long)])
def test_no_drift_is_missed_with_a_deaf_ear(
    gateway: LiveKernel, tmp_path: Path, flaps: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """P14: a receive buffer of one KiB loses most events; what was drifting meanwhile is found all
    the same.
    """
    gateway.close()
    networks = {"a": world.network(2), "v": {**world.network(2), "isolation": "vrf"}}
    with Daemon(
        tmp_path, {"version": 1, "networks": networks}, 600, more=("--event-buffer", "1024")
    ) as daemon:
        workspace = Workspace(daemon.config, daemon.state)
        target = workspace.target(workspace.read(), create=False)
        vcid = {name: allocation.vcid for name, allocation in target.allocations.networks.items()}
        sh("ip link add flap type dummy")
        missed, rounds = 0, 5
        for number in range(rounds):
            batch = tmp_path / "batch"
            batch.write_text("link set flap up\nlink set flap down\n" * (flaps // 2 // rounds))
            storm = subprocess.Popen(["ip", "-batch", str(batch)])
            sh(
                f"ip -n warp-{vcid['a']} route flush dev wg-{vcid['a']}; ip link set wg-{vcid['v']}"
                f" mtu {1300 + number}"
            )
            storm.wait(120)
            until = time.monotonic() + 20
            while not in_sync(target) and time.monotonic() < until:
                time.sleep(0.1)
            missed += not in_sync(target)
        overruns = total(daemon, "warpd_event_overruns_total")
        with capsys.disabled():
            print(
                f"\n  {flaps} link flaps, events lost {overruns} times: drift missed {missed} of"
                f" {rounds}",
                end="",
            )
        assert missed == 0 and overruns > 0 and daemon.alive()


def test_the_socket_of_a_real_daemon(gateway: LiveKernel, tmp_path: Path) -> None:
    gateway.close()
    with Daemon(tmp_path, {"version": 1, "networks": {"a": world.network(1)}}, 600) as daemon:
        path = daemon.state / "sock"
        status = client.ask("GET", "/v1/status", path=path)
        assert (
            status["in_sync"]
            and status["daemon"]["intent"]["in_force"]
            and status["daemon"]["pid"] == daemon.pid
        )
        alone = subprocess.run(
            [
                sys.executable,
                "-m",
                "warpd.cli",
                "-c",
                daemon.config,
                "--state-dir",
                daemon.state,
                "status",
                "-o",
                "json",
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        looked = json.loads(alone.stdout)
        assert {**status, "daemon": None} == {**looked, "daemon": None}
        assert not client.ask("GET", "/v1/plan", path=path)["changes"]
        daemon.write({"version": 1, "networks": {"a": world.network(1), "b": {"typ": 1}}})
        daemon.wait(
            lambda: bool(
                client.ask("GET", "/v1/status", path=path)["daemon"]["intent"]["findings"]
            ),
            "a finding",
        )
        with pytest.raises(client.Answered) as caught:
            client.ask("POST", "/v1/apply", {"yes": True}, path=path)
        assert caught.value.exit_code == 4
        daemon.write({"version": 1, "networks": {"a": world.network(1), "b": world.network(1)}})
        daemon.wait(
            lambda: len(client.ask("GET", "/v1/history", path=path)["history"]) == 2,
            "an entry in the history",
        )
        kinds = {event["kind"] for event in client.events(follow=False, path=path)}
        assert {"intent_applied", "change", "intent_invalid"} <= kinds
        assert daemon.stop() < 3 and not path.exists()


def test_a_contested_object_is_named(gateway: LiveKernel, tmp_path: Path) -> None:
    gateway.close()
    with Daemon(tmp_path, {"version": 1, "networks": {"a": world.network(1)}}, 600) as daemon:
        workspace = Workspace(daemon.config, daemon.state)
        vcid = workspace.read().allocations.networks["a"].vcid
        for number in range(6):
            seen = daemon.log_file.stat().st_size
            sh(f"ip -n warp-{vcid} link set wg-{vcid} mtu {1300 + number}")
            daemon.repair(seen, "a repair")
        contested = client.ask("GET", "/v1/status", path=daemon.state / "sock")["daemon"][
            "contested_objects"
        ]
        assert [row["network"] for row in contested] == ["a"] and f"wg-{vcid}" in contested[0][
            "object"
        ]


def capabilities() -> list[str]:
    """Those of the unit."""
    unit = (Path(__file__).parents[2] / "systemd" / "warpd.service").read_text()
    line = next(line for line in unit.splitlines() if line.startswith("CapabilityBoundingSet="))
    return [word.removeprefix("CAP_").lower() for word in line.partition("=")[2].split()]


@pytest.mark.parametrize("missing", ["", "net_admin", "sys_admin", "net_broadcast"])
def test_with_no_more_rights_than_its_unit_gives(
    gateway: LiveKernel, tmp_path: Path, missing: str
) -> None:
    """Every type in both modes, with the capabilities of the unit and no others; without one of
    them it does not work.
    """
    gateway.close()
    held = ",".join(f"+{name}" for name in capabilities() if name != missing)
    under = ("setpriv", "--bounding-set", f"-all,{held}", "--inh-caps=-all", "--no-new-privs")
    types = {**world.every_type("namespace"), **world.every_type("vrf")}
    networks = {name.replace("_", "-"): body for name, body in types.items()}
    document = {"version": 1, "gateway": {"pools": {"ports": "51820-51899"}}, "networks": networks}
    with Daemon(tmp_path, document, 600, under=under) as daemon:
        workspace = Workspace(daemon.config, daemon.state)
        target = workspace.target(workspace.read(), create=False)
        assert in_sync(target) is (missing in ("", "net_broadcast"))
        assert bool(
            daemon.lines("kernel event subscription failed; falling back to periodic resync")
        ) is bool(missing)
        if not missing:
            vcid = target.allocations.networks["n-web"].vcid
            sh(f"ip netns del warp-{vcid}; nft flush ruleset")
            daemon.wait(lambda: in_sync(target), "everything again")
            effective = int(daemon.read("status").split("CapEff:")[1].split()[0], 16)
            assert effective.bit_count() == len(capabilities())
