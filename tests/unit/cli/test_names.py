"""What completion offers is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import warpd.daemon
from warpd.store.event_log import EVENT_KINDS

EVENT = re.compile(r"""\.(?:event|_?tell)\((?:time, )?"([a-z_]+)\"""")


def test_every_kind_of_event_is_offered() -> None:
    sources = Path(warpd.daemon.__file__).parent.rglob("*.py")
    told = {kind for source in sources for kind in EVENT.findall(source.read_text())}
    assert told == set(EVENT_KINDS)
