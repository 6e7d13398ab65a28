"""Lists as files, made page by page while they are sent."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from warpd.web import table
from warpd.web.listing import CSV_PATH, Search
from warpd.web.visit import Visit, arrive

ROWS_AT_ONCE: Final = 1000
AS_FILE: Final = {"content-disposition": 'attachment; filename="endpoints.csv"'}


async def endpoints(request: Request) -> Response:
    """All pages of a search of endpoints as one CSV."""
    visit = await arrive(request)
    wanted = Search.of(request.query_params).whole()
    first = await visit.get("/v1/endpoints", **_asked(wanted))
    parts = _parts(visit, wanted, first)
    return StreamingResponse(parts, media_type="text/csv", headers=AS_FILE)


async def _parts(visit: Visit, wanted: Search, answer: dict[str, Any]) -> AsyncIterator[bytes]:
    """The file, of which a page at a time is in memory.

    Raises:
        DaemonError: a later page is not answered. The connection is closed then, before the file's
            end was said, so that no browser takes a part for the whole.
    """
    yield table.header()
    while True:
        yield table.lines(answer["endpoints"])
        if not answer["next"]:
            return
        following = dataclasses.replace(wanted, after=answer["next"])
        answer = await visit.get("/v1/endpoints", **_asked(following))


def _asked(wanted: Search) -> dict[str, object]:
    """The query for the daemon: each costs it a search, so there are few."""
    return {**wanted.asked(), "limit": ROWS_AT_ONCE}


ROUTES: Final = (Route(CSV_PATH, endpoints),)
