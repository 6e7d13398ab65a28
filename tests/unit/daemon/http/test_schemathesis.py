"""Schemathesis asks everything that the description of the API permits, and much that it does not,
as an administrator, as a viewer and as nobody: each answer is one that is described, and none is a
fault of the daemon's.

    WARPD_API_SECONDS=600 pytest tests/unit/daemon/http/test_schemathesis.py

goes on for so many seconds for each of the three.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.daemon.http.contract import DOCUMENT
from tests.unit.daemon.http.gateway import Gateway, served
from tests.unit.daemon.http.relay import relayed
from warpd.daemon.http.routes import ROUTES

YAML = """
version: 1
networks:
  corp:
    type: secure-internet
    expected_users: 6
    endpoints:
      laptop-1: {type: mobile}
      laptop-2: {type: mobile}
  web:
    type: secure-internet
    expected_users: 6
    endpoints:
      phone: {type: mobile}
"""
SETTINGS = Path(__file__).with_name("schemathesis.toml")
SECONDS = int(os.environ.get("WARPD_API_SECONDS", "0"))


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    with served(tmp_path, monkeypatch, YAML) as made:
        yield made


def asked_by_schemathesis(gateway: Gateway, token: str) -> tuple[bool, str]:
    """Whether it has found nothing, and what it prints."""
    run = ["--continue-on-failure", "--max-examples", "2", "--seed", "1", "--phases", "fuzzing"]
    if SECONDS:
        run = ["--continue-on-failure", "--max-time", str(SECONDS)]
    with relayed(gateway.sock) as url:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(SETTINGS)),
                *("run", str(DOCUMENT), "--url", url, "--no-color"),
                *("--header", f"Authorization: Bearer {token}", *run),
            ],
            capture_output=True,
            text=True,
            cwd=gateway.folder,
            env={
                **os.environ,
                "PYTHONPATH": str(DOCUMENT.parents[1]),
                "WARPD_API_TOKEN_ID": token.split("_")[1],
            },
            check=False,
        )
    return done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("role", ["admin", "viewer", "nobody"])
def test_every_answer_is_one_that_is_described(
    gateway: Gateway, role: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if role != "nobody":
        gateway.become(role)
    is_sound, text = asked_by_schemathesis(gateway, gateway.token or "warp_00000000_none")
    assert is_sound, text[-8000:]
    asked = re.search(r"(\d+) generated", text)
    assert asked is not None and int(asked[1]) >= len(ROUTES), text
    with capsys.disabled():
        print(f"\n  schemathesis as {role}: {asked[1]} cases, 0 findings", end="")
