"""A request to a unit beside the daemon: a line of JSON each way, on a connection of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ANSWER_MAX: Final = 64 * 1024  # bytes


async def ask_unit(path: Path, request: Mapping[str, Any], within_s: float) -> dict[str, Any]:
    """What the unit behind the socket at `path` answers.

    Raises:
        OSError, TimeoutError: it does not answer.
        ValueError: its answer is no JSON object, or too long.
    """
    async with asyncio.timeout(within_s):
        reader, writer = await asyncio.open_unix_connection(str(path), limit=ANSWER_MAX)
        try:
            writer.write(json.dumps(request).encode() + b"\n")
            await writer.drain()
            answer = json.loads(await reader.readline())
        finally:
            writer.close()
    if not isinstance(answer, dict):
        raise ValueError("no object")
    return answer
