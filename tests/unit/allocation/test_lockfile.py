"""The lock beside the YAML: obeyed, merged, behind, contradicting, badly written; and the command
that writes it.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.command import Run
from warpd.allocation.lockfile import lock_text, read_lock
from warpd.errors import InvalidIntent, render_finding
from warpd.reconcile.incremental import IncrementalReader
from warpd.service.workspace import Workspace

TEXT = """\
version: 1
networks:
  corp: {type: l2-mesh, expected_users: 6, endpoints: {a: {type: cpe}, b: {type: cpe}}}
  privacy:
    type: secure-internet
    expected_users: 6
    endpoints:
      phone: {type: mobile}
      tablet: {type: mobile}
"""
ENDPOINTS = "networks.privacy.endpoints"


def workspace(yaml: Path, state: str = "state") -> Workspace:
    return Workspace(yaml, yaml.parent / state)


def problems(yaml: Path) -> list[tuple[str, str, int]]:
    """(code, path, line in the lock) of every error."""
    with pytest.raises(InvalidIntent) as caught:
        workspace(yaml, "none").read()
    assert all(
        item.where is not None and item.where.file.endswith("warp.lock.yaml")
        for item in caught.value.findings
    )
    return [
        (item.code, item.path, item.where.line)
        for item in caught.value.findings
        if item.where and item.is_error
    ]


def locked(yaml: Path) -> Path:
    path = yaml.parent / "warp.lock.yaml"
    path.write_text(lock_text(workspace(yaml).read().allocations))
    return path


def line_of(path: Path, text: str, nth: int = 0) -> int:
    return [number for number, line in enumerate(path.read_text().splitlines(), 1) if text in line][
        nth
    ]


def change(path: Path, old: str, new: str, count: int = 1) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, count))


def test_the_lockfile_is_sorted_has_one_allocation_a_line_and_reads_back(yaml: Path) -> None:
    path = locked(yaml)
    read = workspace(yaml, "none").read()
    assert (
        read.lockfile is not None
        and read.lockfile.allocations == read.allocations
        and read.warnings == ()
    )
    lines = path.read_text().splitlines()
    assert sum("{address: 10." in line for line in lines) == 4
    names = [
        line.split(":")[0].strip()
        for line in lines
        if line.startswith("  ") and not line.startswith("   ")
    ]
    assert names == sorted(names) == ["corp", "privacy"]


def test_a_lock_is_obeyed_over_the_state_folder_and_over_what_is_new(yaml: Path) -> None:
    path = locked(yaml)
    one = workspace(yaml)
    one.commit(one.read())
    change(path, "port: 51821", "port: 51827")
    change(path, "phone: {address: 10.100.0.1,", "phone: {address: 10.100.0.5,")
    for state in ("state", "none"):
        allocations = workspace(yaml, state).read().allocations.networks["privacy"]
        assert (
            allocations.port == 51827
            and str(allocations.endpoints["phone"].address) == "10.100.0.5"
        )
    risks = workspace(yaml).read().risks
    assert {(item.code, item.path) for item in risks} == {
        ("allocation-moves", "networks.privacy"),
        ("allocation-moves", "networks.privacy.endpoints.phone"),
    }
    assert workspace(yaml, "none").read().risks == ()


def test_a_lock_gives_its_numbers_to_nobody_else(yaml: Path) -> None:
    path = locked(yaml)
    change(path, "port: 51821", "port: 51820")
    change(path, "  corp:", "  gone:", 1)
    allocations = workspace(yaml, "none").read().allocations.networks
    assert allocations["privacy"].port == 51820 and allocations["corp"].port != 51820


@pytest.mark.parametrize(
    ("field", "value", "entry", "said"),
    [
        ("vcid", "77", "vcid", "77"),
        ("port", "51829", "port", "51829"),
        ("routing_table", "1234", "routing_table", "1234"),
        ("subnet", "10.9.0.0/29", "subnet", "10.9.0.0/29"),
        ("subnet6", "fd00:9::/64", "subnet6", "fd00:9::/64"),
        ("gateway_address", "10.100.0.6", "gateway_address", "10.100.0.6"),
    ],
)
def test_a_lock_that_contradicts_the_yaml_is_an_error_at_its_line(
    yaml: Path, run: Run, field: str, value: str, entry: str, said: str
) -> None:
    path = locked(yaml)
    change(yaml, "    expected_users: 6\n", f"    expected_users: 6\n    {field}: {value}\n")
    assert (
        "lock-contradicts",
        f"networks.privacy.{entry}",
        line_of(path, f"    {entry}:", 1),
    ) in problems(yaml)
    code, _, err = run("validate")
    assert code == 4 and f"{path}:{line_of(path, f'    {entry}:', 1)}:" in err and said in err
    assert run("lock", "--check")[0] == 1
    assert run("lock")[0] == 0 and run("validate")[0] == 0 and run("lock", "--check")[0] == 0


def test_two_networks_may_say_the_same_subnets(yaml: Path, run: Run) -> None:
    both = (
        "type: remote-resource-gateway, subnet: 10.9.0.0/24, subnet6: 'fd00:9::/64', resources:"
        " [{subnet: 172.20.0.0/16}]"
    )
    yaml.write_text("version: 1\nnetworks:\n  one: {" + both + "}\n  two: {" + both + "}\n")
    assert run("lock")[0] == 0
    assert run("validate")[0] == 0


def test_an_explicit_address_contradicts_too(yaml: Path) -> None:
    path = locked(yaml)
    change(yaml, "phone: {type: mobile}", "phone: {type: mobile, address: 10.100.0.4}")
    assert problems(yaml) == [
        ("lock-contradicts", "networks.privacy.endpoints.phone.address", line_of(path, "phone:")),
    ]


@pytest.mark.parametrize(
    ("old", "new", "code", "path"),
    [
        ("port: 51821", "port: 51820", "lock-twice", "networks.privacy.port"),
        (
            "routing_table: 1001",
            "routing_table: 1000",
            "lock-twice",
            "networks.privacy.routing_table",
        ),
        (
            "transit: 198.19.0.2/31",
            "transit: 198.19.0.0/31",
            "lock-twice",
            "networks.privacy.transit",
        ),
        (
            "tablet: {address: 10.100.0.2,",
            "tablet: {address: 10.100.0.1,",
            "lock-twice",
            f"{ENDPOINTS}.tablet.address",
        ),
        (
            "tablet: {address: 10.100.0.2,",
            "tablet: {address: 10.100.9.2,",
            "lock-outside",
            f"{ENDPOINTS}.tablet.address",
        ),
        (
            "gateway_address: 10.100.0.0",
            "gateway_address: 10.100.8.0",
            "lock-outside",
            "networks.privacy.gateway_address",
        ),
        (
            "leg: 2, vni: 110002",
            "leg: 1, vni: 110002",
            "lock-twice",
            "networks.corp.endpoints.b.leg",
        ),
        (
            "leg: 2, vni: 110002",
            "leg: 2, vni: 110001",
            "lock-twice",
            "networks.corp.endpoints.b.vni",
        ),
    ],
)
def test_two_holders_and_what_lies_outside(
    yaml: Path, old: str, new: str, code: str, path: str
) -> None:
    lock = locked(yaml)
    line = line_of(lock, old)
    change(lock, old, new)
    assert problems(yaml) == [(code, path, line)]


@pytest.mark.parametrize(
    ("old", "new", "code", "path"),
    [
        ("port: 51821", 'port: "51821"', "type", "networks.privacy.port"),
        ("port: 51821", "port: 0", "value", "networks.privacy.port"),
        ("port: 51821", "prot: 51821", "unknown-key", "networks.privacy.prot"),
        ("version: 1", "version: 2", "version", "version"),
        ("port: 51821", "port: 51821\n    port: 51822", "duplicate-key", "networks.privacy.port"),
        ("subnet: 10.100.0.0/29", "subnet: 10.100.0.1/29", "host-bits", "networks.privacy.subnet"),
        (
            "{address: 10.100.0.1,",
            "{address: x,",
            "address",
            "networks.privacy.endpoints.phone.address",
        ),
        ("leg: 1", "leg: 1, key_name: ../x", "value", "networks.corp.endpoints.a.key_name"),
        ("networks:", "\tnetworks:", "yaml-tab", ""),
    ],
)
def test_a_lock_written_badly_by_hand_gives_findings(
    yaml: Path, old: str, new: str, code: str, path: str
) -> None:
    change(locked(yaml), old, new)
    found = problems(yaml)
    assert (code, path) in [(each, where) for each, where, _ in found]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"version: 1\nnetworks: []\n",
        b"freed: 3\nversion: 1\nnetworks: {}\n",
    ],
)
def test_a_lock_of_anything_else_is_a_finding(yaml: Path, raw: bytes) -> None:
    (yaml.parent / "warp.lock.yaml").write_bytes(raw)
    assert problems(yaml)


def test_a_lock_that_is_no_file_is_a_finding_and_nobody_waits_for_it(yaml: Path) -> None:
    path = yaml.parent / "warp.lock.yaml"
    for make in (os.mkfifo, os.mkdir, lambda each: os.symlink("nowhere", each)):
        make(path)
        assert problems(yaml)[0][0] in ("file-unreadable", "file-missing")
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    "since", ["9999-12-31T23:59:59Z", "2026-13-01T00:00:00Z", "yesterday", "3"]
)
def test_a_time_that_is_none(yaml: Path, since: str) -> None:
    path = locked(yaml)
    path.write_text(path.read_text() + f"freed:\n  - {{network: a, since: {since}, port: 51820}}\n")
    assert problems(yaml) == [("time", "freed[0].since", line_of(path, "since"))]


def test_a_lock_shows_no_secret_that_stands_in_it(yaml: Path) -> None:
    secret = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
    change(locked(yaml), "port: 51821", f"port: {secret}")
    with pytest.raises(InvalidIntent) as caught:
        workspace(yaml, "none").read()
    assert not any(secret in render_finding(finding) for finding in caught.value.findings)


def test_what_the_yaml_no_longer_has_is_behind_and_never_an_error(yaml: Path, run: Run) -> None:
    path = locked(yaml)
    change(yaml, "      tablet: {type: mobile}\n", "      laptop: {type: mobile}\n")
    change(yaml, "  corp: {", "  next: {")
    read = workspace(yaml, "none").read()
    assert {(item.code, item.path, item.severity) for item in read.warnings} == {
        ("lock-behind", "networks.next", "warning"),
        ("lock-behind", "networks.corp", "warning"),
        ("lock-behind", "networks.privacy.endpoints", "warning"),
        ("lock-behind", "networks.privacy.endpoints.tablet", "warning"),
    }
    assert (
        str(read.allocations.networks["privacy"].endpoints["laptop"].address) == "10.100.0.3"
    )  # not the tablet's
    code, _, err = run("validate")
    assert (
        code == 0
        and "not in warp.lock.yaml: laptop" in err
        and f"{path}:{line_of(path, 'tablet:')}:" in err
    )


def test_lock_writes_only_what_changed(yaml: Path, run: Run) -> None:
    path = yaml.parent / "warp.lock.yaml"
    assert run("lock", "--check")[0] == 1 and not path.exists()
    code, out, _ = run("lock", "-o", "json")
    assert code == 0 and json.loads(out)["written"] is True
    before = path.stat()
    assert run("lock", "-o", "json")[1].count('"written": false') == 1
    after = path.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert run("lock", "--check")[0] == 0
    change(
        yaml,
        "      tablet: {type: mobile}\n",
        "      tablet: {type: mobile}\n      watch: {type: mobile}\n",
    )
    code, out, err = run("lock", "--check")
    assert code == 1 and "behind" in out and "watch" in err and path.stat().st_ino == before.st_ino
    assert (
        run("lock")[0] == 0
        and "watch:" in path.read_text()
        and path.stat().st_mode & 0o777 == 0o644
    )
    assert sorted(each.name for each in yaml.parent.iterdir()) == ["warp.lock.yaml", "warp.yaml"]


def test_locks_of_two_branches_merge_by_lines(yaml: Path) -> None:
    """Different networks merge soundly; one number taken on both branches is an error at the second
    line.
    """
    base = locked(yaml)
    original, text = base.read_text(), yaml.read_text()
    plain, same = "      tablet: {type: mobile}\n", "{a: {type: cpe}, b: {type: cpe}}"
    edits = {
        "phones": (plain, plain + "      watch: {type: mobile}\n"),
        "sites": (same, "{a: {type: cpe}, b: {type: cpe}, c: {type: cpe}}"),
        "alarms": ("      phone: ", "      alarm: {type: mobile}\n      phone: "),
    }
    branches = {}
    for name, (old, new) in edits.items():
        yaml.write_text(text.replace(old, new))
        branches[name] = yaml.parent / name
        branches[name].write_text(lock_text(workspace(yaml, "none").read().allocations))
    (yaml.parent / "original").write_text(original)
    for other, sound in (("sites", True), ("alarms", False)):
        yaml.write_text(text.replace(*edits["phones"]).replace(*edits[other]))
        merge = [
            "git",
            "merge-file",
            "-p",
            str(branches["phones"]),
            str(yaml.parent / "original"),
            str(branches[other]),
        ]
        base.write_bytes(subprocess.run(merge, capture_output=True, check=True, timeout=30).stdout)
        if sound:
            assert workspace(yaml, "none").read().warnings == ()
        else:
            line = line_of(base, "watch: ")
            assert ("lock-twice", "networks.privacy.endpoints.watch.address", line) in problems(
                yaml
            )


def test_what_is_quarantined_is_in_the_lockfile(yaml: Path) -> None:
    one = workspace(yaml)
    one.commit(one.read())
    change(yaml, "      tablet: {type: mobile}\n", "")
    allocations = one.read().allocations
    path = yaml.parent / "warp.lock.yaml"
    path.write_text(lock_text(allocations))
    read = read_lock(path)
    assert read is not None and read.allocations is not None
    assert read.allocations.tombstones == allocations.tombstones and [
        row.endpoint for row in allocations.tombstones
    ] == ["tablet"]
    change(yaml, "phone: {type: mobile}\n", "phone: {type: mobile}\n      watch: {type: mobile}\n")
    assert (
        str(
            workspace(yaml, "none")
            .read()
            .allocations.networks["privacy"]
            .endpoints["watch"]
            .address
        )
        == "10.100.0.3"
    )


def test_the_lock_is_read_again_only_when_its_bytes_change(yaml: Path) -> None:
    path = locked(yaml)
    reader = IncrementalReader()
    first = reader.lock(path)
    assert reader.lock(path) is first and first == read_lock(path)
    change(path, "port: 51821", "port: 51826")
    second = reader.lock(path)
    assert second is not first and second is not None and second.allocations is not None
    assert second.allocations.networks["privacy"].port == 51826
