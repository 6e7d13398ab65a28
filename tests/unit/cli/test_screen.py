"""`status --watch` on a terminal of a size, and output that nobody reads.

Real terminals, pipes and files.
"""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from warpd.cli.watch import ALTERNATE, NORMAL, fitted, with_rates

WATCH = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
from warpd.cli import watch
from warpd.errors import WarpError
watch.REDRAW_S = 0.05
looks = iter(range(10**6))
def look():
    number = next(looks)
    if number == 3:
        raise WarpError("the daemon is away")
    return {"networks": [], "number": number}
watch.watch(look, lambda data: "\\n".join(f"look {data['number']} line {n}" for n in range(200)))
print("after", flush=True)
"""


def test_what_fits_is_shown_whole() -> None:
    assert fitted("a\nb", 80, 2) == "a\nb"


def test_what_does_not_fit_is_cut_and_said() -> None:
    assert fitted("a\nb\nc\nd", 80, 3).splitlines() == [
        "a",
        "b",
        "... 2 more lines: `warpctl status` shows all",
    ]
    assert fitted(f"{'x' * 25}\nb\nc", 10, 4).splitlines()[:2] == [
        "x" * 25,
        "... 2 more",
    ], "a long line takes several rows"
    assert fitted("\x1b[31m" + "x" * 10 + "\x1b[0m\nb", 10, 2).splitlines()[1] == "b", (
        "colours take no room"
    )


def test_the_busiest_are_shown_where_they_are_seen() -> None:
    assert with_rates("head\n\nnetworks", "BUSIEST") == "head\n\nBUSIEST\n\nnetworks"
    assert with_rates("head", "") == "head"


def on_terminal(ending: signal.Signals) -> str:
    """What a terminal of 24 rows was sent by a watch that ends by this signal."""
    controller, terminal = pty.openpty()
    environment = {**os.environ, "LINES": "24", "COLUMNS": "80"}
    child = subprocess.Popen(
        [sys.executable, "-c", WATCH],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=environment,
        start_new_session=True,
    )
    os.close(terminal)
    seen = b""
    deadline = time.monotonic() + 60
    while b"look 5" not in seen and time.monotonic() < deadline:
        seen += os.read(controller, 65536)
    child.send_signal(ending)
    try:
        while more := os.read(controller, 65536):
            seen += more
    except OSError:
        pass  # EIO: nobody holds the terminal any more (pty(7))
    os.close(controller)
    assert child.wait(timeout=60) == 0
    return seen.decode()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_terminal_gets_its_screen_back(ending: signal.Signals) -> None:
    seen = on_terminal(ending)
    assert "Traceback" not in seen
    assert seen.startswith(ALTERNATE) and seen.count(NORMAL) == 1
    assert seen.index(NORMAL) < seen.index("after"), "what comes later is on the ordinary screen"
    frame = seen.split("\x1b[H\x1b[2J")[1]
    assert len(frame.strip().splitlines()) == 23 and "more lines" in frame
    assert "the daemon is away" in seen, "a look that fails is told, and made again"


def shell(line: str) -> subprocess.CompletedProcess[str]:
    program = f"{sys.executable} -m warpd.cli"
    script = line.replace("warpctl", program).replace(
        "warpd ", f"{sys.executable} -m warpd.daemon.main "
    )
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    "line",
    [
        "warpctl schema | head -1",
        "warpctl schema | true",
        "warpctl schema >&-",
        "warpctl schema >&- 2>&-",
        "warpctl schema <&- >&- 2>&-",
        "warpctl --help >&-",
        "warpctl --version >&-",
        "warpd --version >&-",
    ],
)
def test_a_reader_who_goes_away_is_no_failure(line: str) -> None:
    done = shell(line)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_is_a_failure() -> None:
    done = shell("warpctl schema >/dev/full")
    assert (
        done.returncode == 1
        and done.stderr == "error: the output could not be written: No space left on device\n"
    )


@pytest.mark.parametrize("form", ["text", "json"])
def test_changes_that_could_not_be_written_are_a_failure(tmp_path: Path, form: str) -> None:
    yaml = tmp_path / "warp.yaml"
    yaml.write_text("version: 1\nnetworks: {a: {type: secure-internet}}\n")
    plan = f"warpctl -c {yaml} plan --against empty -o {form}"
    assert shell(f"{plan} >/dev/null").returncode == 2
    done = shell(f"{plan} >/dev/full")
    assert done.returncode == 1 and "the output could not be written" in done.stderr


def test_a_failure_keeps_its_exit_code_without_readers() -> None:
    codes = {"validate -c /nowhere": 4, "status --no-such-option": 1, "network show": 1}
    done = {line: shell(f"warpctl {line} >&- 2>&-").returncode for line in codes}
    assert done == codes
