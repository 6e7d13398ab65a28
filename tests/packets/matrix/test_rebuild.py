"""A gateway that died and is built anew from git: its YAML, its lock and the one secret.

Every old config connects.

42 clients of 18 networks (5 types, 2 modes) --- gw: destroyed, its state folder gone, applied again
--- isp --- world
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..tally import TALLY
from .field import Field, Member

pytestmark = pytest.mark.long


@pytest.fixture
def field(tmp_path: Path, wireguard: str) -> Iterator[Field]:
    made = Field(tmp_path)
    yield made
    made.lab.stop()


def allocated(field: Field) -> dict[str, Any]:
    """Everything that clients depend on, by network: what `network show` says of addresses, ports
    and ids.
    """
    kept = (
        "vcid",
        "port",
        "subnet",
        "subnet6",
        "gateway_address",
        "gateway_address6",
        "routing_table",
    )
    out = {}
    for net in field.nets:
        shown = json.loads(
            field.gateway.warpctl("network", "show", net.name, "-o", "json").checked().out
        )
        ends = [
            [end["name"], end["address"], end["address6"], end["public_key"]]
            for end in shown["endpoints"]
        ]
        out[net.name] = {**{key: shown[key] for key in kept}, "endpoints": ends}
    return out


def rebuild(field: Field, keep_lock: bool) -> None:
    gateway = field.gateway
    lock = gateway.file.with_name("warp.lock.yaml")
    gateway.warpctl("destroy", "--yes").checked()
    secret = (gateway.state / "master.key").read_bytes()
    shutil.rmtree(gateway.state)
    gateway.state.mkdir(mode=0o700)
    (gateway.state / "master.key").write_bytes(secret)
    (gateway.state / "master.key").chmod(0o600)
    if not keep_lock:
        lock.unlink()
    gateway.warpctl("apply", "--yes", timeout_s=300).checked()


def is_back(member: Member) -> bool:
    """By the config that it has had all the while; the first handshake with the new gateway may be
    lost once.
    """
    return all(member.tunnel.wake(address, 30) for address in member.gateways if address)


def test_rebuilt_from_git(field: Field, capsys: pytest.CaptureFixture[str]) -> None:
    assert not field.silent
    before = allocated(field)
    field.gateway.warpctl("lock").checked()
    rebuild(field, keep_lock=True)
    after = allocated(field)
    back = [(name, is_back(member)) for name, member in field.members.items()]
    lost = TALLY.allowed("rebuilt with the lock: old configs connect", back)
    moved = [name for name in before if before[name] != after[name]]
    rebuild(field, keep_lock=False)
    anew = allocated(field)
    equal = sum(anew[name][key] == before[name][key] for name in before for key in before[name])
    of = sum(len(item) for item in before.values())
    with capsys.disabled():
        print(
            f"\n  {len(field.members)} endpoints; with the lock: moved {len(moved)}, back"
            f" {len(back) - len(lost)}",
            end="",
        )
        print(f" of {len(back)}; without: allocations equal {equal} of {of}")
    assert not moved
    assert not lost
