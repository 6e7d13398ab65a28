"""A log that nobody reads, or that cannot be written, stops nothing."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys

import pytest

from warpd.daemon.log_stream import LogStream

F_SETPIPE_SZ = 1031
LINE = "x" * 99 + "\n"
LOGS = """
from warpd.daemon.log import logger
log = logger()
for number in range(3):
    log.error("step failed", number=number)
print("done")
"""


def pipe() -> tuple[int, int]:
    """A pipe of one page."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, F_SETPIPE_SZ, 4096)
    return reader, writer


def test_a_reader_that_has_stopped_costs_lines_and_no_time() -> None:
    reader, writer = pipe()
    stream = LogStream(writer)
    for _ in range(1000):
        assert stream.write(LINE) == len(LINE)
    assert stream.lost > 900
    kept = os.read(reader, 1 << 16)
    assert stream.count_lost(None, "", {})["lost"] == stream.lost
    stream.write("again\n")
    assert stream.lost == 0 and "lost" not in stream.count_lost(None, "", {})
    text = (kept + os.read(reader, 1 << 16)).decode()
    assert text.endswith("\nagain\n") and set(text.split("\n")[:-2]) == {LINE[:-1]}


def test_a_line_that_broke_off_is_ended_before_the_next() -> None:
    reader, writer = pipe()
    stream = LogStream(writer)
    stream.write("y" * 9000 + "\n")
    assert stream.lost == 1
    stream.write("left out\n")
    assert stream.lost == 2
    broken = os.read(reader, 1 << 16)
    assert set(broken) == {ord("y")}
    stream.write("next\n")
    assert os.read(reader, 1 << 16) == b"\nnext\n" and stream.lost == 0


def test_a_reader_that_is_gone_and_a_full_disk_raise_nothing() -> None:
    reader, writer = pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    for descriptor in (writer, full, -1):
        stream = LogStream(descriptor)
        stream.write(LINE)
        stream.write(LINE)
        assert stream.lost == 2


@pytest.mark.parametrize("stderr", ["2>/dev/full", "2>&-", "2> >(true)"])
def test_a_process_goes_on_without_its_log(stderr: str) -> None:
    command = f'"$0" -c "$1" {stderr}'
    words = ["bash", "-c", command, sys.executable, LOGS]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "done\n"


def test_the_next_line_says_how_many_were_lost() -> None:
    reader, writer = pipe()
    code = LOGS.replace("range(3)", "range(100)") + "input(); log.error('again')"
    with subprocess.Popen(
        [sys.executable, "-c", code], stderr=writer, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        os.close(writer)
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == b"done\n"
        kept = os.read(reader, 1 << 16).splitlines()
        process.stdin.write(b"\n")
        process.stdin.close()
        again = json.loads(os.read(reader, 1 << 16))
    assert again["event"] == "again" and again["lost"] == 100 - len(kept) > 0
