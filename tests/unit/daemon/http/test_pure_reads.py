"""Who only asks changes nothing; and where no user was made, nobody signs in by a name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.daemon.http.gateway import Gateway, served
from tests.unit.daemon.http.test_changes import TEXT
from warpd.daemon.http.routes import ROUTES

FILLED = {"network": "corp", "endpoint": "laptop-2", "number": "1", "older": "1", "newer": "1"}
QUERIES = {"/v1/events": "?follow=0", "/v1/explain": "?endpoint=corp/laptop-2&target=192.0.2.1"}


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    with served(tmp_path, monkeypatch, TEXT) as made:
        yield made


def raw_status(gateway: Gateway, path: str) -> int:
    """The answers of some are no JSON."""
    try:
        return gateway.ask("GET", path)[0]
    except ValueError:
        return 200


def test_no_get_changes_anything(gateway: Gateway) -> None:
    """By whoever may do everything: no file, no object, no message to the kernel, no event."""
    gateway.become("admin")
    paths = [route.path for route in ROUTES if route.method == "GET"]
    before, sent = gateway.everything, gateway.daemon.kernel.sent_changes
    statuses = {}
    for path in paths:
        asked = re.sub(r"\{(\w+)\}", lambda found: FILLED[found[1]], path)
        statuses[path] = raw_status(gateway, asked + QUERIES.get(path, ""))
    assert len(paths) > 15 and set(statuses.values()) == {200}, statuses
    assert gateway.everything == before
    assert gateway.daemon.kernel.sent_changes == sent


def test_no_user_is_there_by_itself(gateway: Gateway) -> None:
    for name in ("admin", "root", "warpd", "operator", "user"):
        for password in ("", name, "admin", "password", "changeme"):
            status, body = gateway.post("/v1/sessions", {"user": name, "password": password})
            assert status in (401, 429) and "token" not in body, name
    gateway.become("admin")
    assert gateway.ask("GET", "/v1/sessions")[1]["sessions"] == []
