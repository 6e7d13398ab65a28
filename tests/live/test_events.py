"""Events of a real daemon: named, kept over restarts and a kill, asked for by filter, and read
without a daemon.
"""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests import preloading, world
from tests.live.conftest import sh
from tests.live.daemon import Daemon
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.service import client
from warpd.service.workspace import Workspace

DOCUMENT = {"version": 1, "networks": {"a": world.network(2), "b": world.network(1)}}


def events(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    paths = ("-c", str(daemon.config), "--state-dir", str(daemon.state))
    command = (*preloading.warpctl(), *paths, "events", *words)
    environment = {
        "WARPD_SOCKET": str(daemon.state / "sock"),
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=environment, check=False
    )


def rows(daemon: Daemon, *words: str) -> list[dict[str, Any]]:
    done = events(daemon, "-o", "json", *words)
    assert done.returncode == 0, done
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_events_outlive_the_daemon(gateway: LiveKernel, tmp_path: Path) -> None:
    gateway.close()
    with Daemon(tmp_path, DOCUMENT, 600) as daemon:
        vcid = Workspace(daemon.config, daemon.state).read().allocations.networks["a"].vcid
        seen = daemon.log_file.stat().st_size
        sh(f"ip -n warp-{vcid} link set wg-{vcid} mtu 1300")
        [line, *_] = [line for line in daemon.repair(seen, "a repair") if line["event"] == "update"]
        assert line["network"] == "a" and "mtu" in line["why"], "the log says why"
        made = [line for line in daemon.lines("create") if "/peer/" in line["step"]]
        assert {(line["network"], line["endpoint"]) for line in made} == {
            ("a", "e1"),
            ("a", "e2"),
            ("b", "e1"),
        }
        before = rows(daemon)
        assert [row["number"] for row in before] == list(range(1, len(before) + 1))
        peers = [row for row in before if row["kind"] == "change" and "/peer/" in row["object"]]
        assert {(row["network"], row["endpoint"]) for row in peers} == {
            ("a", "e1"),
            ("a", "e2"),
            ("b", "e1"),
        }
        repairs = rows(daemon, "--repairs", "--network", "a", "--since", "10m")
        assert repairs and all(row["repair"] and row["network"] == "a" for row in repairs)
        assert (
            rows(daemon, "--since", "2099-01-01") == []
            and events(daemon, "--since", "yesterday").returncode == 1
        )
        text = events(daemon).stdout.splitlines()
        assert len(text) < 20 < len(before), "what was done in one go is one line a network"
        assert len(events(daemon, "--verbose").stdout.splitlines()) == len(before)
        daemon.stop(signal.SIGKILL)
        stopped = events(daemon, "-o", "json")
        assert "warpd is not running" in stopped.stderr and stopped.returncode == 0
        assert [json.loads(line) for line in stopped.stdout.splitlines()] == before
        daemon.start()
        after = rows(daemon)
        assert after[: len(before)] == before and after[len(before)]["kind"] == "started"
        assert after[-1]["number"] > before[-1]["number"]


def test_a_full_disk_keeps_events_in_memory(gateway: LiveKernel, tmp_path: Path) -> None:
    gateway.close()
    state = tmp_path / "disk"
    state.mkdir()
    sh(f"mount -t tmpfs -o size=2m tmpfs {state}")
    try:
        with Daemon(tmp_path, DOCUMENT, 600, state=state) as daemon:
            sh(f"dd if=/dev/zero of={state}/filler bs=4k 2>/dev/null || true")
            daemon.write({"version": 1, "networks": {"a": world.network(1), "b": world.network(1)}})
            daemon.wait(
                lambda: bool(daemon.lines("state folder not writable: additions are delayed")),
                "it to be told",
            )
            daemon.idle()
            told = client.ask("GET", "/v1/daemon", path=state / "sock")["conditions"]
            assert {"state-unwritable", "events-unwritten"} & {row["code"] for row in told}
            kept = rows(daemon)
            assert any(row["kind"] == "state_unwritable" for row in kept)
            sh(f"rm {state}/filler; kill -HUP {daemon.pid}")
            daemon.wait(
                lambda: any(row["kind"] == "state_writable" for row in rows(daemon)),
                "the disk to take writes again",
            )
            daemon.stop(signal.SIGKILL)
            daemon.start()
            assert rows(daemon)[: len(kept)] == kept
    finally:
        sh(f"umount {state}")
