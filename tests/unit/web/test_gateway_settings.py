"""The section of the gateway in a form, before a real daemon: as it is written, changed as YAML."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import unescape

import pytest

from tests.unit.daemon.http.served import PASSWORD, SEEN, Served, served
from tests.unit.web.test_signing_in import signed_in
from warpd.service import users
from warpd.service.users import User
from warpd.web import wizards

SECTION = {"name": "gw-old", "public_endpoint": "vpn.example.com", "dns": ["9.9.9.9", "1.1.1.1"]}
PAGE = "/change/gateway"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    kept = users.hashed(PASSWORD)
    with served(tmp_path_factory.mktemp("settings")) as made:
        made.add_users(
            User("olga", "operator", password=kept), User("sam", "operator", (SEEN,), kept)
        )
        document = json.loads(made.daemon.config.read_text())
        made.daemon.write_text(json.dumps({**document, "gateway": SECTION}))
        made.daemon.turn(60)
        yield made


def test_the_form_shows_what_is_written(gateway: Served) -> None:
    page = signed_in(gateway, "olga").get(PAGE)
    assert page.status == 200
    assert all(f'value="{value}"' in page.text for value in ("gw-old", "9.9.9.9 1.1.1.1"))
    assert 'name="quarantine" type="text" value=""' in page.text, "a default is not written"


def test_a_change_is_reviewed_as_yaml(gateway: Served) -> None:
    before = gateway.daemon.config.read_text()
    form = {**wizards.gateway_form(SECTION), "public_endpoint": "new.example.com", "dns": ""}
    page = signed_in(gateway, "olga").post(PAGE, form)
    assert page.status == 200
    diff = unescape(page.text)
    assert "new.example.com" in diff and "vpn.example.com" in diff and "gw-old" in diff
    assert gateway.daemon.config.read_text() == before


def test_what_is_wrong_stays_in_the_form(gateway: Served) -> None:
    form = {**wizards.gateway_form(SECTION), "quarantine": "some time"}
    page = signed_in(gateway, "olga").post(PAGE, form)
    assert page.status in (400, 422) and 'value="some time"' in page.text
    assert "quarantine" in page.text and 'role="alert"' in page.text


def test_it_is_for_who_sees_the_whole_gateway(gateway: Served) -> None:
    visitor = signed_in(gateway, "sam")
    assert PAGE not in visitor.get("/change").text and visitor.get(PAGE).status == 403
    assert visitor.post(PAGE, wizards.gateway_form(SECTION)).status == 403


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        ({}, None),
        ({"name": "gw-new"}, {"name": "gw-new"}),
        ({"name": " "}, {"name": None}),
        ({"dns": "9.9.9.9, 1.1.1.1"}, None),
        ({"dns": "1.1.1.1"}, {"dns": ["1.1.1.1"]}),
        ({"isolation": "vrf"}, {"isolation": "vrf"}),
        ({"removal_guard": ""}, {"removal_guard": False}),
    ],
)
def test_only_what_was_changed_is_an_edit(
    changed: dict[str, str], fields: dict[str, object] | None
) -> None:
    form = {**wizards.gateway_form(SECTION), **changed}
    wanted = [{"op": "set_gateway", "fields": fields}] if fields else []
    assert wizards.changed_gateway(SECTION, form) == wanted
