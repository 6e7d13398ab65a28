"""Bad YAML: each file of `tests/bad` states what is wrong with it, and that and nothing else is
found, in time.

A file opens with one `# expect: LINE:COL: PATH: MESSAGE` a finding, in order. Hostile files that
are too big or too odd to keep are made here.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.counts import calls
from warpd.errors import Finding, render_finding
from warpd.intent.loader import load
from warpd.intent.network_types import NETWORK_TYPES
from warpd.intent.validation import check

BAD = sorted((Path(__file__).parent.parent.parent / "bad").glob("*.yaml"))
PREFIX = "# expect: "
ALL_TYPES = f"must be one of {', '.join(NETWORK_TYPES)}"
# of functions, for the worst of these files; an explosion needs thousands of times as many
CALLS_MAX = 5_000_000


def problems(path: Path) -> list[Finding]:
    loaded = load(path)
    more = check(loaded.intent) if loaded.intent else ()
    return [loaded.locate(finding) for finding in (*loaded.findings, *more)]


def stated(finding: Finding) -> str:
    where = finding.where
    assert where is not None
    kind = "warning: " if finding.severity == "warning" else ""
    return f"{where.line}:{where.column}: {finding.path}: {kind}{finding.message}"


def expected(path: Path) -> list[str]:
    lines = path.read_bytes().decode("utf-8", "replace").splitlines()
    stated = [line.removeprefix(PREFIX) for line in lines if line.startswith(PREFIX)]
    return [text.replace("must be one of TYPES", ALL_TYPES) for text in stated]


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_each_bad_file_is_found_out_exactly(path: Path) -> None:
    found = problems(path)
    wanted = expected(path)
    assert wanted, "the file states no expectation"
    assert [stated(finding) for finding in found] == wanted
    for finding in found:
        assert finding.where is not None
        first, source, caret = render_finding(finding).split("\n")[:3]
        assert first.startswith(f"{path}:{finding.where.line}:{finding.where.column}: ")
        assert caret == " " * (finding.where.column - 1) + "^" or len(source) < len(
            finding.where.source
        )


def test_the_corpus_has_its_size(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nbad YAML: {len(BAD)} files, {sum(len(expected(path)) for path in BAD)} findings")
    assert len(BAD) >= 70
    assert len({path.read_bytes() for path in BAD}) == len(BAD)


def laughs(levels: int, width: int) -> str:
    lines = ["version: 1", "a0: &a0 [lol, lol, lol]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [" + ", ".join([f"*a{level - 1}"] * width) + "]")
    return "\n".join([*lines, "networks: {}"])


GENERATED = {
    "billion-laughs": (laughs(12, 10).encode(), "yaml-explodes", "aliases expand to more than"),
    "deep-flow": (b"networks: " + b"[" * 1_000_000, "yaml-depth", "nests deeper than 32 levels"),
    "deep-maps": (b"{a: " * 500_000, "yaml-depth", "nests deeper than 32 levels"),
    "deep-block": (b"".join(b" " * n + b"a:\n" for n in range(400)), "yaml-depth", "nests deeper"),
    "nul-everywhere": (b"\0" * 5_000_000, "control-character", "contains the control character"),
    "not-text": (bytes(range(256)) * 4000, "encoding", "is not UTF-8"),
    "utf-16": ("\ufeffversion: 1\n".encode("utf-16-le"), "encoding", "is UTF-16, not UTF-8"),
    "one-long-line": (
        b"version: 1\nnetworks: {a: {description: " + b"x" * 3_000_000 + b"}}",
        "value",
        "longer than 1000",
    ),
    "endless-number": (
        b"version: " + b"9" * 100_000 + b"\nnetworks: {}",
        "version",
        "is not known",
    ),
    "endless-float": (
        b"version: 1e" + b"9" * 100_000 + b"\nnetworks: {}",
        "version",
        "is not known",
    ),
    "duplicate-keys": (
        b"version: 1\nnetworks: {}\n" + b"a: 1\n" * 50_000,
        "duplicate-key",
        "a is defined twice",
    ),
    "unknown-keys": (
        b"version: 1\nnetworks: {}\n" + b"".join(b"a%d: 1\n" % n for n in range(5000)),
        "unknown-key",
        "unknown",
    ),
    "merge-bomb": (
        b"a0: &a0 {x: 1, y: 2}\n"
        + b"".join(
            b"a%d: &a%d {<<: [%s]}\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 40))
            for n in range(1, 60)
        ),
        "yaml-explodes",
        "aliases expand",
    ),
    "quote-never-closed": (
        b'version: 1\nnetworks: {a: {type: l2-mesh, description: "' + b"x \n " * 200_000,
        "yaml-syntax",
        "",
    ),
}


@pytest.mark.parametrize("name", GENERATED)
def test_hostile_bytes_are_findings(name: str, tmp_path: Path) -> None:
    body, code, part = GENERATED[name]
    path = tmp_path / "warp.yaml"
    path.write_bytes(body)
    found: list[Finding] = []
    count = calls(lambda: found.extend(problems(path)))
    print(f"{name}: {count} calls")
    assert count < CALLS_MAX
    assert any(finding.code == code and part in finding.message for finding in found), found[:3]
    assert all(len(render_finding(finding)) < 2000 for finding in found[:100])


def test_a_file_over_64_mib_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "warp.yaml"
    path.touch()
    os.truncate(path, 64 * 2**20 + 1)
    (found,) = problems(path)
    assert (found.code, found.message) == ("file-size", "is over 64 MiB")


def test_what_is_no_file_does_not_hold_us(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.yaml"
    os.mkfifo(fifo)
    for path, code in (
        (fifo, "file-unreadable"),
        (tmp_path / "absent.yaml", "file-missing"),
        (tmp_path, "file-missing"),
        (Path("/dev/zero"), "file-unreadable"),
        (tmp_path / "nul\0.yaml", "file-unreadable"),
    ):
        (found,) = problems(path)
        assert found.code == code, path


def test_a_secret_in_a_wrong_place_is_not_shown(tmp_path: Path) -> None:
    key = "cHJpdmF0ZSBwcml2YXRlIHByaXZhdGUgcHJpdmF0ZSE="
    path = tmp_path / "warp.yaml"
    path.write_text(
        "version: 1\nnetworks:\n  a:\n    type: secure-internet\n    mtu: "
        + key
        + "\n    endpoints:\n      b: {type: mobile, private_key: "
        + key
        + ", preshared_key: "
        + key
        + ", address: "
        + key
        + "}\n"
    )
    shown = "\n".join(render_finding(finding) for finding in problems(path))
    assert shown.count("\n") > 8
    assert key[:20] not in shown
