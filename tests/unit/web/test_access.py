"""The page of tokens and sessions before a real daemon: made, shown once, ended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.unit.daemon.http.served import PASSWORD, SEEN, Served, served
from tests.unit.web.test_signing_in import signed_in
from warpd.daemon.http.credentials import FRESH_S
from warpd.service import users
from warpd.service.users import User

REQUEST = {"name": "ci-bot", "role": "viewer", "networks": f"{SEEN}, z*", "days": "7"}
TOKEN = re.compile(r"warp_[0-9a-z]+_[A-Za-z0-9_-]+")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    kept = users.hashed(PASSWORD)
    with served(tmp_path_factory.mktemp("access")) as made:
        made.add_users(
            User("root", "admin", password=kept),
            User("olga", "operator", password=kept),
            User("sam", "admin", (SEEN,), kept),
        )
        yield made


def tokens(gateway: Served) -> list[dict[str, object]]:
    return list(gateway.ask("GET", "/v1/tokens").json["tokens"])


def test_a_token_is_made_and_shown_once(gateway: Served) -> None:
    visitor = signed_in(gateway, "root")
    page = visitor.post("/access/tokens", REQUEST)
    (text,) = set(TOKEN.findall(page.text))
    assert page.status == 200 and page.headers["cache-control"] == "no-store"
    (row,) = [row for row in tokens(gateway) if row["name"] == "ci-bot"]
    assert (row["role"], row["networks"], row["created_by"]) == (
        "viewer",
        [SEEN, "z*"],
        "root (web)",
    )
    assert gateway.ask("GET", "/v1/session", text).json["user"].startswith("ci-bot")
    listed = visitor.get("/access").text
    assert "ci-bot" in listed and text not in listed and not TOKEN.findall(listed)
    assert visitor.post(f"/access/tokens/{row['id']}/revoke").headers["location"] == "/access"
    assert gateway.ask("GET", "/v1/session", text).status == 401
    assert "ci-bot" not in visitor.get("/access").text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": "Not A Name"}, "lower-case"),
        ({"role": "emperor"}, "role"),
        ({"networks": "a/b"}, "networks"),
        ({"days": "soon"}, "days"),
        ({"days": "99999"}, "days"),
    ],
)
def test_what_is_wrong_is_said_and_the_form_keeps_the_rest(
    gateway: Served, wrong: dict[str, str], said: str
) -> None:
    before = tokens(gateway)
    page = signed_in(gateway, "root").post("/access/tokens", {**REQUEST, **wrong})
    assert page.status == 400 and said in page.text and 'role="alert"' in page.text
    kept = {**REQUEST, **wrong}
    assert all(f'value="{kept[name]}"' in page.text for name in ("name", "networks", "days"))
    assert tokens(gateway) == before


def test_an_old_sign_in_asks_for_the_password(gateway: Served) -> None:
    visitor = signed_in(gateway, "root")
    aged = {
        name: replace(item, signed_in_s=item.signed_in_s - FRESH_S)
        for name, item in gateway.credentials.tokens.tokens().items()
    }
    gateway.credentials.tokens.change(lambda held: held.update(aged))
    for given, status in (({}, 403), ({"password": "wrong"}, 401)):
        page = visitor.post("/access/tokens", {**REQUEST, **given})
        assert page.status == status and 'name="password"' in page.text
        assert "wrong" not in re.findall(r'value="([^"]*)"', page.text), "never shown again"
    page = visitor.post("/access/tokens", {**REQUEST, "password": PASSWORD})
    assert page.status == 200 and TOKEN.search(page.text)


def test_sessions_are_listed_and_ended(gateway: Served) -> None:
    visitor, other = signed_in(gateway, "root"), signed_in(gateway, "olga")
    page = visitor.get("/access").text
    assert page.count("this browser") == 1 and page.index("this browser") < page.index("olga")
    held = gateway.ask("GET", "/v1/session", other.token).json["credential"]
    assert visitor.post(f"/access/sessions/{held}/end").status == 303
    assert other.get("/").headers["location"] == "/login"
    own = gateway.ask("GET", "/v1/session", visitor.token).json["credential"]
    assert visitor.post(f"/access/sessions/{own}/end").status == 303
    assert visitor.get("/access").headers["location"] == "/login"


@pytest.mark.parametrize("name", ["olga", "sam"])
def test_it_is_for_administrators_of_the_whole_gateway(gateway: Served, name: str) -> None:
    visitor, before = signed_in(gateway, name), tokens(gateway)
    assert 'href="/access"' not in visitor.get("/").text
    held = [row["id"] for row in before] or ["00000000"]
    asked = [
        visitor.get("/access"),
        visitor.post("/access/tokens", REQUEST),
        visitor.post(f"/access/tokens/{held[0]}/revoke"),
        visitor.post(f"/access/sessions/{held[0]}/end"),
    ]
    assert [page.status for page in asked] == [403] * 4
    assert tokens(gateway) == before


def test_a_form_of_another_session_makes_and_ends_nothing(gateway: Served) -> None:
    visitor, before = signed_in(gateway, "root"), tokens(gateway)
    for path in ("/access/tokens", "/access/tokens/00000000/revoke", "/access/sessions/0/end"):
        assert visitor.post(path, {**REQUEST, "form_token": "0" * 64}).status == 403
    assert tokens(gateway) == before
