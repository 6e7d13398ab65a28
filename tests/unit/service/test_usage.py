"""A wrong command line ends with 1, whatever is wrong with it: 2 is what `plan` says of changes,
and nothing else.
"""

from __future__ import annotations

import sys

import pytest

from warpd.cli import app as cli
from warpd.daemon import main as daemon

WRONG = [
    "",
    "nonsense",
    "network",
    "plan --nonsense",
    "plan -o yaml",
    "plan --out",
    "plan superfluous",
    "lock --chekc",
    "explain",
    "history --show x",
    "rollback --to 0",
    "--nonsense plan",
    "endpoint show",
]


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_command_line(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["warpctl", *words.split()])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err


@pytest.mark.parametrize("words", ["--help", "--version", "plan --help", "network --help"])
def test_what_is_no_mistake(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["warpctl", *words.split()])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0


@pytest.mark.parametrize(
    ("words", "code"), [("--nonsense", 1), ("--interval x", 1), ("--interval 0", 1), ("--help", 0)]
)
def test_the_daemon_too(words: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["warpd", *words.split()])
    with pytest.raises(SystemExit) as ended:
        daemon.main()
    assert ended.value.code == code
