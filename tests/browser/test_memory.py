"""What is left of a key in the memory of `warpd-web` when it was handed out."""

from __future__ import annotations

import errno
import mmap
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import FileIO

from tests.browser.conftest import Gateway, Visit, poll
from tests.browser.test_handing_out import hand_out

REGIONS = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw", re.MULTILINE)
FORGOTTEN = "a key is still in the memory of the dashboard"


def writable(pid: int) -> Iterator[bytes]:
    """All that a process can have written into its memory, in pieces that follow each other."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for begin, end in REGIONS.findall(maps.read()):
            yield from mapped(memory, int(begin, 16), int(end, 16))


def mapped(memory: FileIO, begin: int, end: int) -> Iterator[bytes]:
    """What is there between two addresses; the process may give pages back while we read.

    A read ends before the first page that is gone, and fails with EIO where it begins with one
    (mem_rw of the kernel's fs/proc/base.c). What lies behind such a page still counts.
    """
    while begin < end:
        memory.seek(begin)
        try:
            piece = memory.read(end - begin)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            begin += mmap.PAGESIZE
            continue
        if not piece:
            return
        yield piece
        begin += len(piece)


def found_in(pid: int, text: str) -> int:
    return sum(region.count(text.encode()) for region in writable(pid))


def test_a_key_that_was_handed_out_is_forgotten(
    visit: Callable[..., Visit], gateway: Gateway
) -> None:
    window = visit()
    window.sign_in("helpdesk", "hanna")
    pid = gateway.web.pid
    assert found_in(pid, "hanna"), "the memory cannot be read"
    hand_out(window, "file")
    config = window.page.text_content("details pre") or ""
    secret = config.partition("PrivateKey = ")[2].partition("\n")[0]
    assert len(secret) == 44
    window.go("/")
    poll(lambda: found_in(pid, secret[:40]) == 0, FORGOTTEN)


GIVES_A_PAGE_BACK = """
import ctypes, mmap, os, sys
pages = mmap.mmap(-1, 3 * mmap.PAGESIZE)
for number, text in enumerate((b"before", b"gone", b"behind")):
    pages.seek(number * mmap.PAGESIZE)
    pages.write(text)
begin = ctypes.addressof(ctypes.c_char.from_buffer(pages))
if ctypes.CDLL(None).munmap(ctypes.c_void_p(begin + mmap.PAGESIZE), mmap.PAGESIZE):
    os._exit(1)
print(begin, flush=True)
sys.stdin.read()
os._exit(0)  # the interpreter would unmap the page a second time
"""


def test_a_page_given_back_hides_nothing_behind_it() -> None:
    command = [sys.executable, "-c", GIVES_A_PAGE_BACK]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        begin = int(process.stdout.readline())
        with open(f"/proc/{process.pid}/mem", "rb", buffering=0) as memory:
            pieces = list(mapped(memory, begin, begin + 3 * mmap.PAGESIZE))
    assert [piece.rstrip(b"\0") for piece in pieces] == [b"before", b"behind"]
