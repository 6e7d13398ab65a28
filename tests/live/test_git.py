"""A repository drives the gateway: pushed, verified, applied; what is broken or not signed leaves
everything as it was.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

from tests.git import git
from tests.live.daemon import Daemon
from warpd.kernel.linux.live_kernel import LiveKernel


class Repository:
    def __init__(self, folder: Path) -> None:
        self.folder, self.key = folder / "repository", folder / "key"
        subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key), check=True)
        self.signers = folder / "signers"
        self.signers.write_text(f"ops@example.com {self.key.with_suffix('.pub').read_text()}")
        self.folder.mkdir()
        git(self.folder, "init", "--quiet", "--initial-branch=main")

    def push(self, text: str, signed: bool = True) -> str:
        (self.folder / "warp.yaml").write_text(text)
        git(self.folder, "add", "-A")
        sign = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={self.key}") if signed else ()
        git(self.folder, *sign, "commit", "--quiet", "-m", "change", *(("-S",) if signed else ()))
        return git(self.folder, "rev-parse", "HEAD").strip()


def document(*names: str) -> str:
    network = {"type": "secure-internet", "endpoints": {"phone": {"type": "mobile"}}}
    gateway = {"public_endpoint": "203.0.113.1"}
    return json.dumps({"version": 1, "gateway": gateway, "networks": dict.fromkeys(names, network)})


def rooms() -> int:
    return (
        sum(name.startswith("warp-") for name in os.listdir("/run/netns"))
        if Path("/run/netns").exists()
        else 0
    )


def pulled(daemon: Daemon) -> str:
    return "".join(line["revision"] for line in daemon.lines("pulled")[-1:])


def test_what_is_pushed_is_applied_when_it_verifies(gateway: LiveKernel, tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    first = repository.push(document("a"))
    source = {"git": str(repository.folder), "interval": "5s", "verify": str(repository.signers)}
    with Daemon(tmp_path, {"version": 1, "source": source}) as daemon:
        daemon.wait(lambda: rooms() == 1, "the first revision")
        daemon.wait(lambda: pulled(daemon) == first, "its revision in the log")

        second = repository.push(document("a", "b"))
        began = time.monotonic()
        daemon.wait(lambda: rooms() == 2, "the second revision")
        print(f"\n  pushed, pulled (every 5 s) and applied after {time.monotonic() - began:.1f} s")
        daemon.wait(lambda: pulled(daemon) == second, "its revision in the log")

        repository.push(document("evil", "a", "b"), signed=False)
        daemon.wait(
            lambda: bool(daemon.lines("pull failed; the applied configuration stays in force")),
            "a refusal",
        )
        assert (
            "is not signed by"
            in daemon.lines("pull failed; the applied configuration stays in force")[-1]["error"]
        )
        assert rooms() == 2

        broken = repository.push("version: 1\nnetworks: {a: {type: nonsense}}\n")
        daemon.wait(lambda: pulled(daemon) == broken, "the broken revision")
        daemon.wait(
            lambda: bool(daemon.lines("the YAML is not valid; what was applied stays in force")),
            "its finding",
        )
        assert rooms() == 2

        repository.push(document("a"))
        daemon.wait(lambda: rooms() == 1, "the last revision")
        before = daemon.state
    with Daemon(
        tmp_path, {"version": 1, "source": {**source, "git": str(tmp_path / "gone")}}, state=before
    ) as daemon:
        daemon.wait(
            lambda: bool(daemon.lines("pull failed; the applied configuration stays in force")),
            "another repository that is not there",
        )
        assert rooms() == 1
