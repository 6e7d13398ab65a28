"""The description of the API, made from the table of routes: OpenAPI 3.1.

Run as a program it writes `schemas/openapi.json`, which the daemon serves; a test keeps that file
current. The daemon itself does not import this.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from warpd import __version__
from warpd.daemon.http import answers
from warpd.daemon.http.bodies import NUMBER_MAX
from warpd.daemon.http.messages import JSON
from warpd.daemon.http.route import HttpRoute, TextAnswer
from warpd.daemon.http.routes import DESCRIPTION, ROUTES

REF: Final = "#/components/schemas/{model}"
ABOUT: Final = (
    "The control socket of warpd, HTTP/1.1 over a unix socket. Who asks is known by the kernel's"
    " word about the peer, or by a token."
)
OF_EVERY_ROUTE: Final = (400, 401, 403, 408, 413, 500, 503)
REFUSED: Final[Mapping[int, str]] = {
    400: "path, query or body are not as described",
    401: "a token is needed, or the one that was sent is none, over or revoked",
    403: "a right is missing, or the sign-in is too old",
    404: "there is no such thing, or it is of a network that is not seen",
    408: "the body did not come in time",
    409: "warpd is at work, or what was reviewed is not so any more",
    410: "the link is unknown, used or over, or the PIN is wrong",
    413: "the body, or what is asked for, is too large",
    422: "it cannot be done; for an invalid YAML with `findings` and `problems`",
    429: "too many tries",
    500: "this machine refuses, or warpd is at fault",
    502: "the branch was not pushed",
    503: "it cannot be answered now",
}
PATH_SCHEMAS: Final[Mapping[str, Mapping[str, Any]]] = {
    "number": {"type": "integer", "minimum": 0, "maximum": NUMBER_MAX},
    "older": {"type": "integer", "minimum": 0, "maximum": NUMBER_MAX},
    "newer": {"type": "integer", "minimum": 0, "maximum": NUMBER_MAX},
}
LAST_EVENT_ID: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "the number of an event: begin after that",
    "schema": {"type": "string", "pattern": "^[0-9]{1,15}$"},
}


def openapi() -> dict[str, Any]:
    """The table of routes."""
    schemas = _schemas()
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    components = {
        "schemas": schemas,
        "responses": _refusals(),
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    }
    info = {"title": "warpd", "version": __version__, "description": ABOUT}
    # Either is enough: a token, or what the kernel says of the peer.
    security: list[dict[str, list[str]]] = [{"token": []}, {}]
    return {
        "openapi": "3.1.0",
        "info": info,
        "security": security,
        "paths": paths,
        "components": components,
    }


def openapi_text() -> str:
    return json.dumps(openapi(), indent=1, ensure_ascii=False) + "\n"


# -- schemas


def _models() -> Iterator[tuple[Any, JsonSchemaMode]]:
    """Every type that a route names, and the one of refusals."""
    yield answers.Error, "serialization"
    for route in ROUTES:
        answer = route.answer.line if isinstance(route.answer, TextAnswer) else route.answer
        if answer is not None:
            yield answer, "serialization"
        if route.body is not None:
            yield route.body, "validation"


def _key(model: Any) -> str:
    return str(model)


def _definitions() -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of each type that is named, and of each that these have in them."""
    models = {(_key(model), mode): model for model, mode in _models()}
    inputs = [(key, mode, TypeAdapter(model)) for (key, mode), model in models.items()]
    made, shared = TypeAdapter.json_schemas(inputs, ref_template=REF)
    return {key: schema for (key, _mode), schema in made.items()}, shared["$defs"]


def _schemas() -> dict[str, Any]:
    _named, shared = _definitions()
    return {name: _closed(schema) for name, schema in sorted(shared.items())}


def _closed(node: Any) -> Any:
    """The same without pydantic's titles; objects have no other fields than those named."""
    if isinstance(node, list):
        return [_closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {key: _closed(value) for key, value in node.items() if not _is_title(key, value)}
    if "description" in out and isinstance(out["description"], str):
        out["description"] = inspect.cleandoc(out["description"])
    if "properties" in out:
        out.setdefault("additionalProperties", False)
    return out


def _is_title(key: str, value: Any) -> bool:
    return key == "title" and isinstance(value, str)


# -- operations


class _References:
    """The schema of a type, as it stands in an operation; made once."""

    made: dict[str, Any] | None = None

    @classmethod
    def of(cls, model: Any) -> Any:
        if cls.made is None:
            cls.made = _definitions()[0]
        return _closed(cls.made[_key(model)])


def _operation(route: HttpRoute) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "responses": _responses(route),
    }
    parameters = [*_path_parameters(route), *_query_parameters(route)]
    if route.path == "/v1/events":
        parameters.append(LAST_EVENT_ID)
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        schema = _References.of(route.body)
        is_needed = not _takes_nothing(route.body)
        operation["requestBody"] = {"required": is_needed, "content": {JSON: {"schema": schema}}}
    return operation


def _takes_nothing(body: Any) -> bool:
    """Whether a request may come without a body."""
    fields = getattr(body, "model_fields", None)
    return fields is not None and not any(field.is_required() for field in fields.values())


def _responses(route: HttpRoute) -> dict[str, Any]:
    responses = {"200": {"description": "the answer", "content": _content(route)}}
    if route.is_tagged:
        responses["304"] = {"description": "as it was: the tag in If-None-Match is still right"}
    for status in sorted({*OF_EVERY_ROUTE, *route.refusals}):
        responses[str(status)] = {"$ref": f"#/components/responses/{status}"}
    return responses


def _refusals() -> dict[str, Any]:
    error = {JSON: {"schema": _References.of(answers.Error)}}
    return {
        str(status): {"description": text, "content": error} for status, text in REFUSED.items()
    }


def _content(route: HttpRoute) -> dict[str, Any]:
    if not isinstance(route.answer, TextAnswer):
        return {JSON: {"schema": _References.of(route.answer)}}
    schema: dict[str, Any] = {"type": "string"}
    if route.answer.line is not None:
        schema["x-line"] = _References.of(route.answer.line)
    return {kind: {"schema": schema} for kind in route.answer.kinds}


def _path_parameters(route: HttpRoute) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)\}", route.path):
        schema = PATH_SCHEMAS.get(name, {"type": "string", "minLength": 1})
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameters(route: HttpRoute) -> Iterator[dict[str, Any]]:
    for item in route.query:
        head = {"name": item.name, "in": "query", "required": False}
        yield {**head, "description": item.about, "schema": item.schema}


def main() -> int:
    """Write the description to the file of the first argument, or to the project's own file."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else DESCRIPTION.resolve()
    target.write_text(openapi_text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
