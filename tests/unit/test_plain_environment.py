"""What only reads and writes files runs in a plain virtual environment: no bindings of libnftables, no netlink, no root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

NOBODY = 65534
PROGRAM = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("nftables", "pyroute2"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Without())
from warpd.cli.app import main
main()
"""
YAML = """version: 1
gateway: {public_endpoint: vpn.example.com}
networks:
  a:
    type: secure-internet
    endpoints:
      p: {type: mobile}
"""
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of somebody who is not root, below one that everybody may pass."""
    made = Path("/tmp") / f"warpd-plain-{os.getpid()}"  # pytest's own folders are root's alone
    made.mkdir(mode=0o700)
    (made / "warp.yaml").write_text(YAML)
    if os.geteuid() == 0:
        for path in (made, made / "warp.yaml"):
            os.chown(path, NOBODY, NOBODY)
    try:
        yield made
    finally:
        shutil.rmtree(made)


def run(folder: Path, *words: str) -> tuple[int, str, str]:
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    environment = {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", PROGRAM, "-c", str(folder / "warp.yaml"), "--state-dir", str(folder / "state"), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=folder, **user)  # type: ignore[call-overload]
    return done.returncode, done.stdout, done.stderr


def test_files_need_no_kernel(folder: Path) -> None:
    assert run(folder, "validate")[0] == 0
    assert '"$schema"' in run(folder, "schema")[1]
    assert run(folder, "network", "add", "b", "--type", "l3vpn-gateway")[0] == 0
    assert run(folder, "endpoint", "add", "b", "x", "--type", "cpe")[0] == 0
    assert run(folder, "lock")[0] == 0 and run(folder, "lock", "--check")[0] == 0
    code, out, err = run(folder, "endpoint", "config", "a/p")
    assert code == 0 and "Endpoint = vpn.example.com:51820" in out and "MTU is taken to be 1500" in err
    (folder / "warp.yaml").write_text((folder / "warp.yaml").read_text().replace("vpn.example.com", "auto"))
    code, out, err = run(folder, "endpoint", "config", "a/p")
    assert code == 1 and out == "" and "python3-nftables" in err


def test_what_is_missing_is_said(folder: Path) -> None:
    code, out, _err = run(folder, "doctor")
    assert code == 1 and "fail  kernel: the Python bindings of libnftables are missing" in out
    code, _out, err = run(folder, "network", "list")
    assert code == 1 and "apt install python3-nftables" in err and "Traceback" not in err
