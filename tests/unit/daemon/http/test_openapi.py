"""The description of the API: current, sound, and held by the parameters and bodies of routes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.unit.daemon.http.contract import DOCUMENT, check, document
from tests.unit.daemon.http.served import Served, served
from warpd.daemon.http.openapi import openapi_text
from warpd.daemon.http.routes import ROUTES

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("openapi")) as made:
        yield made


def test_the_file_is_current() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == openapi_text(), (
        "run: python -m warpd.daemon.http.openapi"
    )


def test_it_is_what_the_daemon_serves(gateway: Served) -> None:
    assert gateway.ask("GET", "/v1/openapi.json").body == DOCUMENT.read_bytes()


def test_it_has_every_route() -> None:
    described = {
        (method.upper(), path)
        for path, methods in document()["paths"].items()
        for method in methods
    }
    assert described == {(route.method, route.path) for route in ROUTES}


def objects_of(node: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, list):
        for item in node:
            yield from objects_of(item)
    if isinstance(node, Mapping):
        if "properties" in node:
            yield node
        for item in node.values():
            yield from objects_of(item)


def test_every_object_says_which_fields_it_has() -> None:
    """An event alone may have others: which depends on its kind."""
    schemas = document()["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    opened = {
        name
        for name, schema in schemas.items()
        if any(item["additionalProperties"] is not False for item in objects_of(schema))
    }
    assert opened == {"EventLine"}


def test_every_answer_names_its_shape() -> None:
    for path, methods in document()["paths"].items():
        for method, described in methods.items():
            for kind, content in described["responses"]["200"]["content"].items():
                schema = content["schema"]
                is_named = "$ref" in schema or kind != "application/json"
                assert is_named or path == "/v1/openapi.json", (method, path)
            assert {"400", "401", "403", "413", "503"} <= described["responses"].keys()


@pytest.mark.parametrize(
    ("status", "body", "wrong"),
    [
        (200, {"version": 1, "checks": [], "more": 1}, "more"),
        (200, {"version": 1}, "checks"),
        (200, {"version": 2, "checks": []}, "version"),
        (
            200,
            {"version": 1, "checks": [{"name": "x", "state": "fine", "text": "", "hint": ""}]},
            "fine",
        ),
        (404, {"version": 1, "error": "x", "code": "y", "hint": ""}, "404"),
        (409, {"version": 1, "error": "x"}, "code"),
    ],
)
def test_an_answer_of_another_shape_is_found(status: int, body: Any, wrong: str) -> None:
    raw = json.dumps(body).encode()
    with pytest.raises(AssertionError, match=wrong):
        check("GET", "/v1/doctor", None, status, "application/json", raw)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/status?fresh=2",
        "/v1/status?fresh=",
        "/v1/status?fresh=1&fresh=1",
        "/v1/status?refresh=1",
        "/v1/plan?x=1",
        "/v1/events?after=-1&follow=0",
        "/v1/events?after=1e3&follow=0",
        "/v1/events?after=1000000000000000&follow=0",
        "/v1/explain?endpoint=a/b&target=1.2.3.4&port=65536",
        "/v1/explain?endpoint=a/b&target=1.2.3.4&port=%D9%A1",
        "/v1/explain?proto=sctp",
        f"/v1/explain?endpoint={'a' * 201}",
        "/v1/endpoints?limit=0",
        "/v1/endpoints?state=asleep",
        "/v1/endpoints?" + "&".join(f"q{n}=1" for n in range(30)),
    ],
)
def test_a_query_that_is_not_as_described_is_refused(gateway: Served, path: str) -> None:
    answer = gateway.ask("GET", path)
    assert answer.status == 400
    assert answer.json["code"] == "bad-request"


def test_a_method_that_there_is_not(gateway: Served) -> None:
    answer = gateway.ask("PUT", "/v1/session")
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, GET")


def test_a_text_that_no_file_can_hold_is_refused(gateway: Served) -> None:
    body = {"endpoint": "yankee/e1", "reason": "half a \ud800 pair"}
    assert gateway.ask("POST", "/v1/suspensions", body=body).status == 400


def test_what_is_looked_at_is_as_described(gateway: Served) -> None:
    """Every route that is only read, by its connection, which checks the answer."""
    paths = [route.path for route in ROUTES if route.method == "GET" and "{" not in route.path]
    query = {"/v1/events": "?follow=0", "/v1/explain": "?endpoint=yankee/e1&target=192.0.2.1"}
    statuses = {path: gateway.ask("GET", path + query.get(path, "")).status for path in paths}
    assert len(paths) > 15
    assert set(statuses.values()) == {200}, statuses
