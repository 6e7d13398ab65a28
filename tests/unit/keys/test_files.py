"""Keys from files: only root's private files are used, all problems are reported together, and the
keys replace the derived ones everywhere.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests import world
from tests.clients import config_of
from warpd.errors import InvalidIntent, WarpError
from warpd.intent.model import Intent
from warpd.intent.validation import check
from warpd.kernel.state import Host
from warpd.keys import derivation
from warpd.keys.derivation import Keyring, Secret
from warpd.keys.files import read_key_files
from warpd.networks.compiler import compile_state
from warpd.reconcile.engine import Target
from warpd.service.workspace import Workspace

PRIVATE, SHARED = bytes(range(1, 33)), bytes(range(101, 133))
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="key files belong to root")


def key_file(path: Path, raw: bytes, mode: int = 0o600) -> str:
    path.write_text(derivation.encode(raw) + "\n")
    path.chmod(mode)
    return str(path)


def intent_with_key_files(tmp_path: Path, **fields: Any) -> Intent:
    endpoints = {
        "a": {"type": "mobile", "preshared_key_file": key_file(tmp_path / "a.psk", SHARED)},
        "b": {"type": "mobile"},
    }
    private = key_file(tmp_path / "n.key", PRIVATE)
    body = {
        "type": "secure-internet",
        "expected_users": 6,
        "private_key_file": private,
        "endpoints": endpoints,
    }
    return world.intent(n=body | fields)


def test_keys_from_files_replace_derived_keys(tmp_path: Path) -> None:
    intent = intent_with_key_files(tmp_path)
    file_keys, findings = read_key_files(intent)
    assert findings == () and len(file_keys) == 2
    plain = world.target(intent)
    target = Target(intent, plain.allocations, Keyring(world.MASTER, file_keys), world.TODAY)
    configs = {
        name: config_of(
            intent,
            target.allocations,
            target.master,
            "n",
            name,
            public_host="gw",
            mtu=1420,
            today=world.TODAY,
        )
        for name in "ab"
    }
    public = derivation.public_key(Secret(PRIVATE))
    assert {config.gateway_public_key for config in configs.values()} == {public}
    assert configs["a"].preshared_key == Secret(SHARED)
    assert configs["b"].preshared_key == derivation.preshared_key(
        world.MASTER, target.allocations.networks["n"].vcid, "b"
    )
    host = Host(uplink="eth0", uplink_mtu=1500, wireguard_kernel=True)
    state = compile_state(intent, target.allocations, target.master, host, world.TODAY).state
    sent = [item for item in state if item.key.kind == "wireguard"]
    assert len(sent) == 1 and derivation.public_key(sent[0].private_key) == public  # type: ignore[attr-defined]
    peers = [item.preshared_key for item in state if item.key.kind == "peer"]  # type: ignore[attr-defined]
    assert Secret(SHARED) in peers and len(peers) == 2


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.chmod(0o640), "is accessible to users other than root"),
        (lambda path: path.chmod(0o604), "is accessible to users other than root"),
        (lambda path: os.chown(path, 1234, 0), "is not owned by root"),
        (lambda path: path.unlink(), "No such file or directory"),
        (lambda path: path.write_text("nonsense"), "holds no key"),
        (lambda path: path.write_bytes(bytes(32)), "holds no key"),
        (lambda path: (path.unlink(), os.mkfifo(path, 0o600)), "is not a regular file"),
    ],
)
def test_an_unusable_key_file_is_a_finding(tmp_path: Path, spoil: Any, message: str) -> None:
    intent = intent_with_key_files(tmp_path)
    for name in ("n.key", "a.psk"):
        spoil(tmp_path / name)
    file_keys, findings = read_key_files(intent)
    assert file_keys == {} and [item.path for item in findings] == [
        "networks.n.private_key_file",
        "networks.n.endpoints.a.preshared_key_file",
    ]
    assert all(message in item.message and item.hint for item in findings)


def test_a_disabled_network_needs_no_key_file(tmp_path: Path) -> None:
    intent = intent_with_key_files(tmp_path, enabled=False)
    (tmp_path / "n.key").unlink()
    assert read_key_files(intent)[1] == ()
    with pytest.raises(WarpError, match=r"n\.key was not read"):
        derivation.network_key(world.MASTER, 1, file=str(tmp_path / "n.key"))


def test_a_finding_points_to_the_field_in_the_yaml(tmp_path: Path) -> None:
    yaml = tmp_path / "warp.yaml"
    file = tmp_path / "absent.key"
    yaml.write_text(
        f"version: 1\nnetworks:\n  n: {{type: secure-internet, private_key_file: {file}}}\n"
    )
    workspace = Workspace(yaml, tmp_path / "state")
    read = workspace.read()  # validate needs neither root nor keys
    with pytest.raises(InvalidIntent) as caught:
        workspace.target(read, create=False)
    (finding,) = caught.value.findings
    assert finding.where is not None and (finding.where.line, finding.where.column) == (3, 48)


def test_contradictory_key_fields_are_findings(tmp_path: Path) -> None:
    intent = intent_with_key_files(
        tmp_path,
        endpoints={"a": {"type": "mobile", "preshared_key": False, "preshared_key_file": "/k"}},
    )
    twice = Intent.model_validate(
        {
            "version": 1,
            "networks": {
                name: {"type": "l2-mesh", "private_key_file": "/k"} for name in ("a", "b")
            },
        }
    )
    assert [item.code for item in check(intent)] == ["preshared-key"]
    assert [item.code for item in check(twice)] == ["private-key-file-twice"]
