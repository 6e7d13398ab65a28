"""What tells an open page that something has happened. The page then asks for itself again."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from warpd.web.visit import Visit, arrive

HELLO: Final = b"event: hello\ndata: \n\n"
CHANGED: Final = b"event: changed\ndata: \n\n"
STILL_HERE: Final = b": \n\n"
NUMBER_MAX: Final = 15  # digits


async def stream(request: Request) -> Response:
    """Server-sent events without content: that there is something new, and nothing else.

    `after` is the event that the page was made after, so that nothing falls between both.
    """
    visit = await arrive(request)
    after = request.query_params.get("after", "")
    is_number = after.isascii() and after.isdigit() and len(after) <= NUMBER_MAX
    number = int(after) if is_number else visit.frame.last_event
    return StreamingResponse(_signals(visit, number), media_type="text/event-stream")


async def _signals(visit: Visit, after: int) -> AsyncGenerator[bytes, None]:
    yield HELLO
    async for part in visit.daemon.stream(f"/v1/events?after={after}", ""):
        yield CHANGED if part.strip() else STILL_HERE


ROUTES: Final = (Route("/stream", stream),)
