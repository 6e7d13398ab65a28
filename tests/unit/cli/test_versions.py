"""`endpoint config --history` and `--diff`: what the state folder alone tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import Run

TEXT = """\
version: 1
gateway: {public_endpoint: vpn.example.com}
networks:
  web: {type: secure-internet, endpoints: {a: {type: mobile}}}
"""


@pytest.fixture
def exported(run: Run) -> None:
    """A config that was exported once; its version 2 after an edit."""
    assert run("endpoint", "config", "web/a")[0] == 0


@pytest.mark.usefixtures("exported")
@pytest.mark.parametrize(
    "broken",
    [
        "version: 1\nnetworks: [\n",
        "version: 2\nnetworks: {}\n",
        TEXT.replace("mobile", "phone"),
        "",
    ],
)
def test_the_history_needs_no_valid_yaml(run: Run, yaml: Path, broken: str) -> None:
    known = json.loads(run("endpoint", "config", "web/a", "--history", "-o", "json")[1])
    yaml.write_text(broken)
    code, out, err = run("endpoint", "config", "web/a", "--history", "-o", "json")
    assert (code, json.loads(out)) == (0, known), err
    assert [row["version"] for row in known["configs"]] == [1]
    assert run("endpoint", "config", "web/a", "--diff", "1", "1")[:2] == (0, "no difference\n")


@pytest.mark.usefixtures("exported")
def test_the_history_needs_no_master_secret(run: Run, yaml: Path) -> None:
    (yaml.parent / "state" / "master.key").chmod(0o644)
    assert run("endpoint", "config", "web/a", "--history")[0] == 0
    code, _out, err = run("endpoint", "config", "web/a")
    assert code == 1 and "others can read it" in err


@pytest.mark.usefixtures("exported")
def test_an_endpoint_that_nobody_knows_is_refused(run: Run, yaml: Path) -> None:
    yaml.write_text("")
    code, _out, err = run("endpoint", "config", "web/b", "--history")
    assert code == 1 and "network web has no endpoint b" in err and "endpoints: a" in err
