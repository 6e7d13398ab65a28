"""The command line of `warpd`, and what the environment says in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from warpd.daemon.log import LogFormat
from warpd.daemon.options import parse
from warpd.service.workspace import DEFAULT_CONFIG, DEFAULT_SOCKET, DEFAULT_STATE

VARIABLES = (
    "WARPD_CONFIG",
    "WARPD_STATE_DIR",
    "WARPD_SOCKET",
    "WARPD_LOG_FORMAT",
    "WARPD_WIREGUARD_METRICS",
)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_without_a_word() -> None:
    options = parse([])
    assert (options.config, options.state_dir) == (DEFAULT_CONFIG, DEFAULT_STATE)
    assert (options.socket, options.log_format) == (DEFAULT_SOCKET, LogFormat.auto)
    assert options.interval_s == 30 and not options.once and not options.wireguard_metrics


def test_words_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES[:3]:
        monkeypatch.setenv(name, f"/{name}")
    monkeypatch.setenv("WARPD_LOG_FORMAT", "logfmt")
    options = parse(["-c", "/here", "--once", "--interval", "1.5", "--event-buffer", "4096"])
    assert options.config == Path("/here") and options.state_dir == Path("/WARPD_STATE_DIR")
    assert options.socket == Path("/WARPD_SOCKET") and options.log_format is LogFormat.logfmt
    assert options.once and (options.interval_s, options.event_bytes) == (1.5, 4096)


def test_a_switch_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse(["--wireguard-metrics"]).wireguard_metrics
    for value, wanted in {"1": True, "0": False, "": False}.items():
        monkeypatch.setenv("WARPD_WIREGUARD_METRICS", value)
        assert parse([]).wireguard_metrics is wanted


@pytest.mark.parametrize(
    "words",
    [
        "--interval nan",
        "--interval 0.5",
        "--event-buffer 1e9",
        "--log-format x",
        "more",
        "--conf x",
    ],
)
def test_a_wrong_command_line_is_a_failure(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(words.split())
    said = capsys.readouterr()
    assert ended.value.code == 1 and said.err and not said.out


def test_a_wrong_variable_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARPD_LOG_FORMAT", "xml")
    with pytest.raises(SystemExit) as ended:
        parse([])
    assert ended.value.code == 1
