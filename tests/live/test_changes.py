"""A change over the socket of a running warpd, on a real kernel: reviewed, applied, and undone by
its own timer when the browser is closed.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from tests import preloading
from tests.live.conftest import sh
from tests.live.daemon import Daemon
from warpd.kernel.linux.live_kernel import LiveKernel
from warpd.service import client
from warpd.service.workspace import Workspace

TEXT = """\
version: 1
networks:
  web:   # for phones
    type: secure-internet
    expected_users: 6
    endpoints:
      phone: {type: mobile} # hers
"""
ADD = {"op": "add_endpoint", "network": "web", "endpoint": "tablet", "fields": {"type": "mobile"}}
ADDED = TEXT + "      tablet: {type: mobile}\n"


def test_a_change_from_review_to_a_closed_browser(gateway: LiveKernel, tmp_path: Path) -> None:
    with Daemon(tmp_path, TEXT, interval_s=600) as daemon:

        def ask(path: str, body: dict[str, Any]) -> dict[str, Any]:
            return client.ask("POST", path, body, path=daemon.state / "sock")

        def peers() -> int:
            workspace = Workspace(daemon.config, daemon.state)
            vcid = workspace.store.read_allocations().networks["web"].vcid
            return sh(f"ip netns exec warp-{vcid} wg show wg-{vcid} peers").count("=")

        def warpctl(*words: str) -> int:
            paths = ("-c", str(daemon.config), "--state-dir", str(daemon.state))
            command = (*preloading.warpctl(), *paths, *words)
            return subprocess.run(command, timeout=60, check=False).returncode

        assert peers() == 1
        change = ask("/v1/changes", {"edits": [ADD]})
        assert daemon.config.read_text() == TEXT and peers() == 1
        digest = {"digest": change["digest"]}
        done = ask(f"/v1/changes/{change['id']}/apply", {**digest, "confirm_within_s": 5})
        assert done["complete"] and peers() == 2 and daemon.config.read_text() == ADDED
        daemon.wait(lambda: peers() == 1, "the end of the time to confirm")
        assert daemon.config.read_text() == ADDED
        daemon.idle(1.0)
        assert peers() == 1  # and it stays undone
        assert warpctl("rollback", "--files") == 0
        assert daemon.config.read_text() == TEXT
        change = ask("/v1/changes", {"edits": [ADD]})
        digest = {"digest": change["digest"]}
        ask(f"/v1/changes/{change['id']}/apply", {**digest, "confirm_within_s": 60})
        assert warpctl("confirm") == 0
        daemon.idle(1.0)
        assert peers() == 2 and daemon.config.read_text() == ADDED
