"""What is left of a key in the memory of `warpd-web` when it was handed out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from tests.browser.conftest import Gateway, Visit, poll
from tests.browser.test_handing_out import hand_out

REGIONS = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw", re.MULTILINE)
FORGOTTEN = "a key is still in the memory of the dashboard"


def writable(pid: int) -> Iterator[bytes]:
    """All that a process can have written into its memory."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for begin, end in REGIONS.findall(maps.read()):
            memory.seek(int(begin, 16))
            yield memory.read(int(end, 16) - int(begin, 16))


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
