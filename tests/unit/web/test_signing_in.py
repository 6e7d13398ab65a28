"""The dashboard before a real daemon: signing in, what users of some networks see, and an old
sign-in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.daemon.http.served import OUTER, PASSWORD, SEEN, UNSEEN, Served, served
from tests.unit.web.recorded import serving
from tests.unit.web.visitor import Page, Visitor
from warpd.daemon.http import lookups
from warpd.daemon.http.credentials import FRESH_S
from warpd.service import users
from warpd.service.users import User
from warpd.web.sessions import token_of

SOURCE = "warpd-source"

PAGES = (
    "/",
    "/networks",
    f"/networks/{SEEN}",
    "/endpoints",
    f"/endpoints/{SEEN}/e1",
    "/events",
    "/plan",
    "/history",
    "/history/compare?from=1&to=1",
    "/system",
    "/access",
    "/change/gateway",
)


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(lookups, "GAP_S", 0.0)
    kept = users.hashed(PASSWORD)
    with served(tmp_path) as made:
        made.add_users(
            User("anna", "viewer", (SEEN,), kept),
            User("eve", "viewer", password=kept),
            User("root", "admin", password=kept),
        )
        yield made


def signed_in(gateway: Served, name: str) -> Visitor:
    visitor = Visitor(gateway.path, token="")
    page = visitor.post("/login", {"user": name, "password": PASSWORD})
    assert page.status == 303
    visitor.token = token_of(page.headers["set-cookie"].partition(";")[0])
    assert visitor.token
    return visitor


def pages(visitor: Visitor) -> dict[str, Page]:
    return {path: visitor.get(path) for path in PAGES}


def test_without_a_session_there_is_only_the_way_to_sign_in(gateway: Served) -> None:
    for path, page in pages(Visitor(gateway.path, token="")).items():
        assert page.status == 303 and page.headers["location"] == "/login", path
    unknown = Visitor(gateway.path)  # with a token that looks like one
    assert {page.status for page in pages(unknown).values()} == {303}
    wrong = Visitor(gateway.path, token="").post("/login", {"user": "anna", "password": "x"})
    assert wrong.status == 401 and "set-cookie" not in wrong.headers


def test_a_user_of_one_network_sees_no_other(gateway: Served) -> None:
    about = {"network": "zebra", "object": "x", "action": "update", "why": "y", "repair": True}
    gateway.daemon.mailbox.tell("2026-01-01T00:00:00+00:00", "change", **about)
    own, all_of_it = pages(signed_in(gateway, "anna")), pages(signed_in(gateway, "root"))
    assert all(page.status == 200 for page in all_of_it.values()), all_of_it
    assert any("zebra" in page.text for page in all_of_it.values())
    for path, page in own.items():
        assert page.status in (200, 403), path
        assert not [word for word in UNSEEN if word in page.text], path
    assert own[f"/networks/{SEEN}"].status == 200
    assert signed_in(gateway, "anna").get("/networks/zebra").status == 404


def test_outer_addresses_are_not_for_viewers(gateway: Served) -> None:
    shown = {
        name: [path for path, page in pages(signed_in(gateway, name)).items() if OUTER in page.text]
        for name in ("eve", "root")
    }
    assert shown["eve"] == []
    assert f"/endpoints/{SEEN}/e1" in shown["root"]


def age(gateway: Served) -> None:
    """Every sign-in is older than five minutes from now on."""
    aged = {
        name: replace(item, signed_in_s=item.signed_in_s - FRESH_S)
        for name, item in gateway.credentials.tokens.tokens().items()
    }
    gateway.credentials.tokens.change(lambda tokens: tokens.update(aged))


def test_going_back_with_an_old_sign_in_asks_for_the_password(gateway: Served) -> None:
    visitor = signed_in(gateway, "root")
    age(gateway)
    page = visitor.post("/history/1/back")
    assert page.status == 403 and 'name="password"' in page.text
    page = visitor.post("/history/1/back", {"password": "wrong"})
    assert page.status == 401 and 'name="password"' in page.text
    page = visitor.post("/history/1/back", {"password": PASSWORD})
    assert page.status == 303 and page.headers["location"] == "/"


def test_the_config_of_a_device_with_an_old_sign_in_needs_the_password(gateway: Served) -> None:
    """Asked by a page that stays: as JSON."""
    visitor, path = signed_in(gateway, "root"), f"/endpoints/{SEEN}/e1/config"
    age(gateway)
    answers = [visitor.post(path), visitor.post(path, {"password": "wrong"})]
    assert [page.status for page in answers] == [403, 401]
    assert [json.loads(page.text)["code"] for page in answers] == ["step-up", "sign-in"]
    page = visitor.post(path, {"password": PASSWORD})
    found = json.loads(page.text)
    assert page.status == 200 and page.headers["cache-control"] == "no-store"
    row = gateway.ask("GET", f"/v1/networks/{SEEN}/endpoints").json["endpoints"][0]
    assert found["public_key"] == row["public_key"] and "[Interface]" in found["config"]
    assert visitor.post(path, {"form_token": "x" * 64}).status == 403
    assert signed_in(gateway, "eve").post(path).status == 403


def test_signing_out_ends_the_session_of_the_daemon(gateway: Served) -> None:
    visitor = signed_in(gateway, "anna")
    assert visitor.get("/").status == 200
    assert visitor.post("/logout").status == 303
    assert visitor.get("/").status == 303
    assert gateway.ask("GET", "/v1/session", visitor.token).status == 401


def test_the_daemon_hears_where_a_browser_is(tmp_path: Path) -> None:
    """Whoever shows a session, signs in or redeems a link; and not what the browser says of it."""
    heard: list[tuple[str, str | None]] = []
    with serving(
        tmp_path / "sock", {}, lambda path, headers: heard.append((path, headers.get(SOURCE)))
    ):
        visitor = Visitor(tmp_path / "sock")
        visitor.address = "192.0.2.7"
        visitor.get("/", x_forwarded_for="198.51.100.1", warpd_source="198.51.100.1")
        visitor.post("/login", {"user": "anna", "password": "x"})
        visitor.post("/h", {"secret": "x"})
    paths = ("/v1/session", "/v1/sessions", "/v1/oidc", "/v1/links/redeem")
    assert heard == [(path, "192.0.2.7") for path in paths]
