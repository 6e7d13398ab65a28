"""All that can be asked over the control socket, in one table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from warpd.daemon.http import (
    apply,
    changes,
    endpoints,
    exports,
    links,
    reads,
    samples,
    sessions,
    suspensions,
)
from warpd.daemon.http.messages import HttpError, HttpRequest, HttpResponse
from warpd.daemon.http.parameters import SHOWN_MAX
from warpd.daemon.http.route import HttpRoute, NetworkScope
from warpd.daemon.http.services import Services
from warpd.service.rights import Right

# Written by `openapi`; a link to it is among the schemas of the project.
DESCRIPTION: Final = Path(__file__).with_name("openapi.json")


async def show_openapi(_services: Services, _request: HttpRequest) -> HttpResponse:
    """This description."""
    return HttpResponse(parts=(DESCRIPTION.read_bytes(),))


ROUTES: Final[tuple[HttpRoute, ...]] = (
    *reads.ROUTES,
    *apply.ROUTES,
    *exports.ROUTES,
    *links.ROUTES,
    *changes.ROUTES,
    *endpoints.ROUTES,
    *samples.ROUTES,
    *sessions.ROUTES,
    *suspensions.ROUTES,
    HttpRoute(
        "GET", "/v1/openapi.json", Right.VIEW, NetworkScope.FILTERED, show_openapi, dict[str, Any]
    ),
)


def find(method: str, path: str) -> tuple[HttpRoute, Mapping[str, str]]:
    """The route, and the names in its path.

    Raises:
        HttpError: 404 where no route has this path, 405 where none of them has this method.
    """
    words = path.strip("/").split("/")
    found = [(route, names) for route in ROUTES if (names := route.names(words)) is not None]
    # A path that is written out is no `{id}` of another one.
    found = [(route, names) for route, names in found if not names] or found
    allowed = [route.method for route, _names in found]
    for route, names in found:
        if route.method == method:
            return route, names
    text, hint = f"there is no {method} {path[:SHOWN_MAX]}", "see /v1/openapi.json"
    if not allowed:
        raise HttpError(404, text, hint=hint)
    failure = HttpError(405, text, hint=hint)
    failure.headers = ((b"allow", ", ".join(sorted(set(allowed))).encode()),)
    raise failure
