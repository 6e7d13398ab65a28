"""All that can be asked over the control socket, in one table, and its description."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from warpd import __version__
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
from warpd.daemon.http.auth import NEEDS_CHANGE
from warpd.daemon.http.messages import HttpError, HttpRequest, HttpResponse, json_response
from warpd.daemon.http.route import SHOWN_MAX, HttpRoute, NetworkScope
from warpd.daemon.http.services import Services
from warpd.service.rights import Right


async def show_openapi(_services: Services, _request: HttpRequest) -> HttpResponse:
    """This description."""
    return json_response(openapi())


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
    HttpRoute("GET", "/v1/openapi.json", Right.LOOK, NetworkScope.FILTERED, show_openapi),
)


def find(method: str, path: str) -> tuple[HttpRoute, Mapping[str, str]]:
    """The route, and the names in its path.

    Raises:
        HttpError: 404 where no route has this path, 405 where none of them has this method.
    """
    words = path.strip("/").split("/")
    status = 404
    for route in ROUTES:
        names = route.names(words)
        if names is None:
            continue
        if route.method == method:
            return route, names
        status = 405
    text = f"there is no {method} {path[:SHOWN_MAX]}"
    raise HttpError(status, text, hint="see /v1/openapi.json")


def openapi() -> dict[str, Any]:
    """The table of routes as OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {"openapi": "3.1.0", "info": {"title": "warpd", "version": __version__}, "paths": paths}


def _operation(route: HttpRoute) -> dict[str, Any]:
    kind = "text/plain" if route.handler is reads.show_metrics else "application/json"
    responses = {
        "200": {"description": "the answer", "content": {kind: {}}},
        "403": {"description": NEEDS_CHANGE},
    }
    operation: dict[str, Any] = {"summary": route.summary, "responses": responses}
    names = re.findall(r"\{(\w+)\}", route.path)
    if names:
        operation["parameters"] = [_path_parameter(name) for name in names]
    return operation


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
