"""How much work something is, as a number that is the same on a busy machine and on an idle one:
calls of functions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def calls(work: Callable[[], object]) -> int:
    """Calls of Python and C functions that this thread makes while `work` runs."""
    seen = 0

    def count(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal seen
        seen += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return seen


def growth(work: Callable[[int], Callable[[], object]], size: int) -> float:
    """How many times the calls of `work(size)` twice the size takes: 2 where cost follows size, 4
    where its square.
    """
    return calls(work(2 * size)) / calls(work(size))
