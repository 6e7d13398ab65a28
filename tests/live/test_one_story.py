"""P21: status, doctor, metrics, events and log tell the same of every fault of a list, and that it
is over.

[ root of the test: eth0, the uplink ] one warpd, one fault at a time
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests import preloading, world
from tests.live.conftest import sh
from tests.live.daemon import Daemon
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.service import client

NETWORKS = {name: world.network(2) for name in ("a", "b", "c")}
DISK_KIB = 512


class Story:
    """A gateway with its daemon, and everything that tells of it."""

    def __init__(self, folder: Path) -> None:
        self.disk = folder / "disk"
        self.disk.mkdir()
        sh(f"mount -t tmpfs -o size={DISK_KIB}k,mode=700 tmpfs {self.disk}")
        self.socket = folder / "sock"
        self.daemon = Daemon(
            folder, self.document(), 1.0, state=self.disk / "state", WARPD_SOCKET=str(self.socket)
        )

    def document(self, **networks: Any) -> dict[str, Any]:
        return {"version": 1, "networks": {**NETWORKS, **networks}}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        paths = ["-c", str(self.daemon.config), "--state-dir", str(self.daemon.state)]
        environment = {"WARPD_SOCKET": str(self.socket), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        command = [*preloading.warpctl(), *paths, *words]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, env=environment
        )

    def done(self, *words: str) -> None:
        """Run a command that changes; a pass of the daemon may be at work."""
        self.daemon.wait(lambda: self.run(*words).returncode == 0, f"warpctl {words}")

    def tellers(self) -> dict[str, Callable[[str, str], bool]]:
        """Who tells, and whether it tells of a code, in these words."""
        return {
            "status": lambda _code, text: text in " ".join(self.run("status").stdout.split()),
            "status -o json": lambda code, _text: code in self.codes(self.status()),
            "the daemon in it": lambda code, _text: (
                code in self.codes(json.loads(self.run("status", "-o", "json").stdout)["daemon"])
            ),
            "doctor": lambda code, _text: f" {code}: " in self.run("doctor").stdout,
            "metrics": lambda code, _text: f'warpd_condition{{code="{code}"' in self.metrics(),
            "events": lambda code, _text: any(
                event.get("code") == code for event in client.events(0, False, self.socket)
            ),
            "log": lambda code, _text: any(
                line.get("code") == code for line in self.daemon.lines("condition")
            ),
        }

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("status", "-o", "json").stdout)
        return found

    @staticmethod
    def codes(data: dict[str, Any]) -> set[str]:
        return {row["code"] for row in data["conditions"]}

    def metrics(self) -> str:
        words = ["curl", "-s", "--unix-socket", str(self.socket), "http://warpd/metrics"]
        return subprocess.run(words, capture_output=True, text=True, timeout=30, check=True).stdout

    def holds(self, code: str) -> str:
        """The words of a condition of the daemon's; "" while it has none of this code."""
        rows = client.ask("GET", "/v1/daemon", path=self.socket)["conditions"]
        return next((row["text"] for row in rows if row["code"] == code), "")

    # -- faults

    @contextmanager
    def full(self) -> Iterator[None]:
        self.daemon.wait(self._filled, "the daemon to find its disk full")
        yield
        sh(f"rm {self.disk}/fill*")

    def _filled(self) -> bool:
        """Take what room is left; files that the daemon replaces meanwhile give some back."""
        sh(f"dd if=/dev/zero of={self.disk}/fill-{uuid4().hex} bs=1k 2>/dev/null || true")
        return bool(self.holds("state-unwritable"))

    @contextmanager
    def edit_while_full(self) -> Iterator[None]:
        with self.full():
            self.daemon.write(self.document(d=world.network(1)))
            yield
        self.daemon.write(self.document())

    @contextmanager
    def invalid(self) -> Iterator[None]:
        self.daemon.write("version: 1\nnetworks: [\n")
        yield
        self.daemon.write(self.document())

    @contextmanager
    def removes_much(self) -> Iterator[None]:
        self.daemon.write({"version": 1, "networks": {"a": NETWORKS["a"]}})
        yield
        self.daemon.write(self.document())

    @contextmanager
    def unconfirmed(self) -> Iterator[None]:
        self.done("apply", "--yes", "--confirm-within", "10m")
        yield
        self.done("confirm")

    @contextmanager
    def rolled_back(self) -> Iterator[None]:
        self.daemon.write(self.document(d=world.network(1)))
        self.daemon.wait(lambda: self.run("plan").returncode == 0, "the network d")
        before = json.loads(self.run("history", "-o", "json").stdout)["history"][-2]["number"]
        self.done("rollback", "--to", str(before), "--yes")
        yield
        self.daemon.write(self.document())

    @contextmanager
    def uplink_down(self) -> Iterator[None]:
        sh("ip link set isp down")
        yield
        sh("ip link set isp up; ip -6 addr replace 2001:db8:113::1/64 dev eth0 nodad")
        sh("ip -6 route replace default via 2001:db8:113::fe")

    @contextmanager
    def no_route(self) -> Iterator[None]:
        sh("ip route del default; ip -6 route del default")
        yield
        sh("ip route add default via 203.0.113.254; ip -6 route add default via 2001:db8:113::fe")

    @contextmanager
    def no_route6(self) -> Iterator[None]:
        sh("ip -6 route add unreachable default metric 1")
        yield
        sh("ip -6 route del unreachable default metric 1")

    @contextmanager
    def no_such_name(self) -> Iterator[None]:
        paris = {"type": "gateway", "endpoint": "nowhere.invalid:51820"}
        sites = {"type": "l3vpn-gateway", "expected_users": 2, "endpoints": {"paris": paris}}
        self.daemon.write(self.document(sites=sites))
        yield
        self.daemon.write(self.document())

    @contextmanager
    def shared_secret(self) -> Iterator[None]:
        key = self.daemon.state / "master.key"
        key.chmod(0o644)
        yield
        key.chmod(0o600)

    @contextmanager
    def damaged_pending(self) -> Iterator[None]:
        (self.daemon.state / "pending.json").write_text("{")
        yield
        for name in ("pending.json", "pending.damaged.json"):
            (self.daemon.state / name).unlink(missing_ok=True)

    @contextmanager
    def no_secret(self) -> Iterator[None]:
        key = self.daemon.state / "master.key"
        key.rename(key.with_name("kept"))
        yield
        key.with_name("kept").rename(key)

    @contextmanager
    def blocked(self) -> Iterator[None]:
        sh("ip link add br-foreign type bridge")
        lan = {"type": "l2-mesh", "bridge_name": "br-foreign", "endpoints": {}, "isolation": "vrf"}
        self.daemon.write(self.document(lan=lan))
        yield
        self.daemon.write(self.document())
        sh("ip link del br-foreign")

    @contextmanager
    def contested(self) -> Iterator[None]:
        link = next(
            row["ifname"] for row in json.loads(sh("ip -j link")) if row["ifname"].startswith("dn-")
        )
        loop = f"for i in $(seq 3000); do ip link set dev {link} mtu 1300; sleep 0.1; done"
        other = subprocess.Popen(["bash", "-c", loop], stderr=subprocess.DEVNULL)
        yield
        other.kill()
        other.wait()


@pytest.fixture
def story(gateway: LiveKernel, tmp_path: Path) -> Iterator[Story]:
    gateway.close()
    made = Story(tmp_path)
    try:
        with made.daemon:
            yield made
    finally:
        sh(f"umount {made.disk}")


def test_every_fault_is_told_alike_and_ends(story: Story) -> None:
    faults: dict[str, Callable[[], Any]] = {
        "state-unwritable": story.full,
        "edit-unwritten": story.edit_while_full,
        "yaml-invalid": story.invalid,
        "awaiting-consent": story.removes_much,
        "confirm-pending": story.unconfirmed,
        "rolled-back": story.rolled_back,
        "uplink-down": story.uplink_down,
        "uplink-missing": story.no_route,
        "uplink-unrouted": story.no_route6,
        "endpoint-unresolved": story.no_such_name,
        "master-unusable": story.shared_secret,
        "master-lost": story.no_secret,
        "pending-damaged": story.damaged_pending,
        "failing": story.blocked,
        "contested": story.contested,
    }
    told = planted = 0
    missing = []
    for code, fault in faults.items():
        with fault():
            story.daemon.wait(
                lambda code=code: bool(story.holds(code)), f"the daemon to tell of {code}"
            )
            words = story.holds(code).split(":")[0]
            for teller, tells in story.tellers().items():
                planted += 1
                if tells(code, words):
                    told += 1
                else:
                    missing.append(f"{teller}: {code}")
        if code != "contested":  # that one is forgotten after minutes
            story.daemon.wait(lambda code=code: not story.holds(code), f"the end of {code}")
    print(
        f"\n  faults {len(faults)}, tellers {len(story.tellers())}: told {told} of {planted};"
        f" {missing}"
    )
    assert not missing and planted == 7 * len(faults)


def test_while_no_daemon_runs(story: Story) -> None:
    story.daemon.stop()
    status = story.run("status")
    assert status.returncode == 0 and "warpd is not running" in status.stdout.splitlines()[0]
    story.daemon.write("version: 1\nnetworks: [\n")
    for words in (
        ("status",),
        ("network", "list"),
        ("network", "show", "a"),
        ("endpoint", "list"),
        ("endpoint", "show", "a/e1"),
    ):
        done = story.run(*words)
        assert done.returncode == 0 and "the YAML is invalid" in done.stdout.splitlines()[0], (
            words,
            done.stdout,
            done.stderr,
        )
    assert story.run("plan").returncode == 4


def test_a_lost_secret_is_said_first_and_nothing_is_offered(story: Story) -> None:
    story.daemon.stop()
    before = story.run("status").stdout
    (story.daemon.state / "master.key").unlink()
    status = story.run("status").stdout
    assert "master secret is gone" in status.splitlines()[0] and "warpctl plan" not in status
    assert before.count("present") == status.count("present") == 6, (
        "what is in the kernel is shown as it is"
    )
    plan = story.run("plan")
    assert plan.returncode == 1 and "master secret is gone" in plan.stderr and not plan.stdout
    apply = story.run("apply", "--yes")
    assert apply.returncode == 3 and "master secret is gone" in apply.stdout, (
        "it would take away, if the YAML did"
    )
    assert story.run("status").stdout.count("present") == 6
    assert "fail  master-lost" in story.run("doctor").stdout
