"""An edit gives a value another than the lock file has: both files change, and stay valid."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import Run

TEXT = """\
version: 1
networks:
  web: {type: secure-internet, expected_users: 6, endpoints: {a: {type: mobile}}}
"""


@pytest.fixture
def lock(run: Run, yaml: Path) -> Path:
    assert run("lock")[0] == 0
    return yaml.with_name("warp.lock.yaml")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("endpoint", "set", "web/a", "--address", "10.100.0.5"), "address: 10.100.0.5"),
        (("network", "set", "web", "--port", "51825"), "port: 51825"),
    ],
)
def test_the_lock_file_follows(
    run: Run, yaml: Path, lock: Path, words: tuple[str, ...], said: str
) -> None:
    before = yaml.read_text(), lock.read_text()
    code, out, _err = run(*words, "--dry-run", "-o", "json")
    planned = json.loads(out)
    assert code == 0 and planned["lock"] == str(lock) and planned["diff"].count(f"+++ {lock}") == 1
    assert (yaml.read_text(), lock.read_text()) == before
    code, out, err = run(*words)
    assert code == 0, err
    assert f"{lock}: has the new values; commit it too" in out
    assert said in yaml.read_text() and said in lock.read_text()
    assert run("validate")[0] == 0
    assert run("lock", "--check")[0] == 0


def test_an_edit_that_the_lock_file_permits_leaves_it_alone(run: Run, lock: Path) -> None:
    before = lock.read_bytes()
    code, out, _err = run("network", "set", "web", "--mtu", "1300", "-o", "json")
    assert code == 0 and json.loads(out)["lock"] is None
    assert lock.read_bytes() == before


def test_an_edit_does_not_settle_what_contradicted_before(run: Run, yaml: Path, lock: Path) -> None:
    before = lock.read_bytes()
    yaml.write_text(TEXT.replace("expected_users: 6", "expected_users: 6, port: 51826"))
    for words in (("--mtu", "1300"), ("--port", "51827")):
        code, _out, err = run("network", "set", "web", *words)
        assert code == 4 and "`warpctl lock` takes over what the YAML says" in err
    assert lock.read_bytes() == before


def test_an_edit_that_is_wrong_by_itself_is_refused(run: Run, yaml: Path, lock: Path) -> None:
    before = yaml.read_bytes(), lock.read_bytes()
    assert run("endpoint", "set", "web/a", "--address", "10.9.0.5")[0] == 1
    assert (yaml.read_bytes(), lock.read_bytes()) == before
