"""Hold what the control socket answers to the description of its API, `schemas/openapi.json`.

A connection of tests that is a `Contracted` checks every answer that is read to its end: the path,
the status and the type are described, and the body has the shape that is described for them, no
field more or less. Of requests that are answered, the body is held to its description too.
"""

from __future__ import annotations

import functools
import http.client
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema

DOCUMENT = Path(__file__).parents[4] / "schemas" / "openapi.json"
REFUSAL = {"$ref": "#/components/schemas/Error"}


@functools.cache
def document() -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    return found


@functools.cache
def _validator(schema: str) -> jsonschema.Draft202012Validator:
    whole = {**json.loads(schema), "components": document()["components"]}
    return jsonschema.Draft202012Validator(whole)


def _hold(schema: Mapping[str, Any], value: Any, what: str) -> None:
    for failure in _validator(json.dumps(schema)).iter_errors(value):
        best = jsonschema.exceptions.best_match([failure])
        raise AssertionError(f"{what}: {best.json_path}: {best.message[:500]}")


@functools.cache
def _paths() -> list[tuple[re.Pattern[str], str]]:
    """The paths that are described, those that are written out further first."""
    rows = sorted(document()["paths"], key=lambda path: -len(re.sub(r"\{\w+\}", "", path)))
    return [(re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))), path) for path in rows]


def operation(method: str, url: str) -> Mapping[str, Any] | None:
    """What is described of a request; None where nothing is."""
    asked = url.partition("?")[0]
    for pattern, path in _paths():
        if pattern.fullmatch(asked):
            found: Mapping[str, Any] | None = document()["paths"][path].get(method.lower())
            return found
    return None


def check(method: str, url: str, sent: Any, status: int, kind: str, raw: bytes) -> None:
    """Raises: AssertionError for an answer that is not as described."""
    what = f"{method} {url}: {status}"
    described = operation(method, url)
    if described is None:
        assert status in (400, 401, 403, 404, 405), f"{what} is not described"
        _hold(REFUSAL, json.loads(raw), what)
        return
    assert str(status) in described["responses"], f"{what} is not described"
    response = described["responses"][str(status)]
    if "$ref" in response:
        response = document()["components"]["responses"][response["$ref"].rpartition("/")[2]]
    if "content" not in response:
        assert raw == b"", f"{what} has a body"
        return
    assert kind in response["content"], f"{what} is {kind}"
    schema = response["content"][kind]["schema"]
    if kind == "application/json":
        _hold(schema, json.loads(raw), what)
    for line in raw.splitlines() if kind == "application/x-ndjson" else ():
        if line:
            _hold(schema["x-line"], json.loads(line), what)
    if status == 200 and sent is not None and "requestBody" in described:
        _hold(described["requestBody"]["content"]["application/json"]["schema"], sent, what)


# Everything is loaded now: a test may go on as a user who cannot read it.
_hold(REFUSAL, {"version": 1, "error": "", "code": "", "hint": ""}, "a refusal")


class CheckedResponse(http.client.HTTPResponse):
    asked: tuple[str, str, Any]
    only_refusals: bool

    def read(self, amt: int | None = None) -> bytes:
        raw = super().read(amt)
        is_whole = amt is None and self.asked[0] != "HEAD"
        if is_whole and not (self.only_refusals and self.status < 400):
            check(*self.asked, self.status, self.headers.get("content-type", ""), raw)
        return raw


class Contracted(http.client.HTTPConnection):
    """A connection whose answers are checked."""

    response_class = CheckedResponse
    only_refusals = False  # for a test that plays the daemon's loop: the rest is not the product's

    def request(
        self, method: str, url: str, body: Any = None, headers: Any = None, **more: Any
    ) -> None:
        try:
            sent = json.loads(body) if body else None
        except (ValueError, RecursionError):
            sent = None
        self.asked = method, url, sent
        super().request(method, url, body, headers or {}, **more)

    def getresponse(self) -> Any:
        answer = super().getresponse()
        assert isinstance(answer, CheckedResponse)
        answer.asked, answer.only_refusals = self.asked, self.only_refusals
        return answer
