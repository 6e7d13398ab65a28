"""P2 and the plan's promise: a second apply sends nothing that changes, and a plan changes and
creates nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import world
from tests.live.conftest import sh
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.reconcile.engine import converge
from warpd.reconcile.incremental import planned_run

WANTED = world.intent(
    a=world.network(5, allow_private=["10.9.0.0/16"], dns=["10.8.8.8"]),
    b=world.network(3, ipv6=False, mtu=1300),
    c=world.network(2, peer_communication=True, nat=False, nat6=False, subnet="10.44.0.0/29"),
    gateway={"pools": {"ports": "51820-51899"}},
    **world.every_type("namespace"),
    **world.every_type("vrf"),
)


def test_a_second_pass_sends_nothing(
    gateway: LiveKernel, capsys: pytest.CaptureFixture[str]
) -> None:
    target = world.target(WANTED)
    assert converge(
        gateway, lambda: planned_run(gateway, target), planned_run(gateway, target)
    ).complete
    first = gateway.sent_changes
    assert first > 50
    again = LiveKernel()  # a fresh process: it remembers nothing
    outcome = converge(again, lambda: planned_run(again, target), planned_run(again, target))
    assert outcome.complete
    assert not outcome.done
    with capsys.disabled():
        print(f"\n  changing messages: first apply {first}, second {again.sent_changes}")
    assert again.sent_changes == 0
    again.close()


def test_a_plan_changes_and_creates_nothing(gateway: LiveKernel, tmp_path: Path) -> None:
    config, state = tmp_path / "warp.yaml", tmp_path / "state"
    config.write_text(json.dumps(WANTED.model_dump(mode="json", exclude_unset=True)))
    before = everything()
    command = [
        sys.executable,
        "-m",
        "warpd.cli",
        "-c",
        str(config),
        "--state-dir",
        str(state),
        "plan",
        "-o",
        "json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert json.loads(done.stdout)["summary"]["create"] > 50
    assert everything() == before
    assert not state.exists()


def test_it_needs_no_names_of_protocols_and_services(gateway: LiveKernel, tmp_path: Path) -> None:
    """A small image has no /etc/protocols: libnftables then lists numbers, and what was written by
    name looked like drift.
    """
    gateway.close()
    config, state = tmp_path / "warp.yaml", tmp_path / "state"
    networks = {name.replace("_", "-"): body for name, body in world.every_type("vrf").items()}
    config.write_text(json.dumps({"version": 1, "networks": networks}))
    hidden = "; ".join(
        f"mount --bind /dev/null /etc/{name}"
        for name in ("protocols", "services")
        if Path(f"/etc/{name}").exists()
    )
    warpctl = f"{sys.executable} -m warpd.cli -c {config} --state-dir {state}"
    work = f"! getent protocols tcp && {warpctl} apply --yes && {warpctl} plan"
    script = f"{hidden or ':'}; {work}; rc=$?; {warpctl} destroy --yes; exit $rc"
    command = ["unshare", "--mount", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def everything() -> dict[str, str]:
    """What `ip`, `nft` and the file system show of this namespace, without counters and ages."""
    out = {name: sh(command) for name, command in LOOKS.items()}
    out["namespaces"] = " ".join(sorted(os.listdir("/run/netns")))
    return out


LOOKS = {
    "links": "ip -d -j link",
    "addresses": "ip -d -j addr | sed 's/\"\\(valid\\|preferred\\)_life_time\":[0-9]*//g'",
    "routes": "ip -d -j route show table all",
    "routes6": "ip -6 -d -j route show table all | sed 's/\"expires\":[0-9]*//g'",
    "rules": "ip -d -j rule; ip -6 -d -j rule",
    "tables": "nft -j list ruleset",
    "forwarding": "cat /proc/sys/net/ipv4/conf/*/forwarding /proc/sys/net/ipv6/conf/*/forwarding",
}
