"""Help desk to owner: a link made on one page is redeemed on another, once, by a real daemon."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest

from tests.unit.daemon.http.gateway import Gateway, served
from tests.unit.web.visitor import Page, Visitor
from warpd.store.tokens import SESSION_S, TokenKind, TokenSpec

TEXT = """\
version: 1
gateway: {public_endpoint: vpn.example.com}
networks:
  corp: {type: l3vpn-gateway, endpoints: {lap: {type: mobile}}}
"""


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    with served(tmp_path, monkeypatch, TEXT) as made:
        yield made


@pytest.fixture
def helpdesk(gateway: Gateway) -> Visitor:
    spec = TokenSpec(TokenKind.SESSION, "anna", "helpdesk", ("*",), "", "test", SESSION_S)
    return Visitor(gateway.sock, gateway.credentials.tokens.make(spec)[1])


def handed_out(visitor: Visitor, **fields: str) -> Page:
    page = visitor.post("/endpoints/corp/lap/hand-out", {"reason": "ticket 12", **fields})
    assert page.status == 200, page.text
    return page


def scanned(page: Page, tmp_path: Path) -> str:
    """The text of the page's QR code, as a phone reads it."""
    picture = re.search(r'class="qr" src="data:image/png;base64,([^"]*)"', page.text)
    assert picture is not None
    file = tmp_path / "code.png"
    file.write_bytes(base64.b64decode(unescape(picture[1])))
    read = ["zbarimg", "--quiet", "--raw", "-Sbinary", str(file)]
    return subprocess.run(read, capture_output=True, check=True, text=True).stdout


def secret_of(page: Page) -> str:
    found = re.search(r"/h#([A-Za-z0-9_-]{32})<", page.text)
    assert found is not None
    return found[1]


def test_the_code_on_the_screen_is_the_config(helpdesk: Visitor, tmp_path: Path) -> None:
    page = handed_out(helpdesk, way="qr")
    config = scanned(page, tmp_path)
    assert config.rstrip("\n") in unescape(page.text) and "PrivateKey = " in config
    assert page.headers["cache-control"] == "no-store"


def test_a_link_is_redeemed_once_by_somebody_without_a_session(
    gateway: Gateway, helpdesk: Visitor, tmp_path: Path
) -> None:
    secret = secret_of(handed_out(helpdesk, way="link", minutes="15", pin="4711"))
    owner = Visitor(gateway.sock, "")
    assert owner.get("/h").status == 200
    refused = owner.post("/h", {"secret": secret, "pin": "0000"})
    assert refused.status == 410 and "PrivateKey" not in refused.text
    page = owner.post("/h", {"secret": secret, "pin": "4711"})
    assert page.status == 200 and page.headers["cache-control"] == "no-store"
    config = scanned(page, tmp_path)
    saved = re.search(r'href="data:application/octet-stream;base64,([^"]+)"', page.text)
    assert saved is not None
    assert base64.b64decode(unescape(saved[1])).decode().rstrip() == config.rstrip()
    assert owner.post("/h", {"secret": secret, "pin": "4711"}).status == 410
    assert [line[1] for line in owner.logged] == ["/h"] * 4


def test_another_site_redeems_nothing(gateway: Gateway, helpdesk: Visitor) -> None:
    secret = secret_of(handed_out(helpdesk, way="link"))
    owner = Visitor(gateway.sock, "")
    evil = owner.post("/h", {"secret": secret}, origin="https://evil.example")
    assert evil.status == 403
    assert owner.post("/h", {"secret": secret}).status == 200


def test_the_reason_of_a_link_is_written_down(gateway: Gateway, helpdesk: Visitor) -> None:
    secret = secret_of(handed_out(helpdesk, way="link", reason="ticket 4711, lost phone"))
    assert Visitor(gateway.sock, "").post("/h", {"secret": secret}).status == 200
    (told,) = gateway.daemon.told("exported")
    assert told["reason"] == "ticket 4711, lost phone"
    (row,) = gateway.ask("GET", "/v1/exports")[1]["exports"]
    assert row["reason"] == "ticket 4711, lost phone"


def test_a_link_needs_a_reason(helpdesk: Visitor) -> None:
    page = helpdesk.post("/endpoints/corp/lap/hand-out", {"reason": " ", "way": "link"})
    assert page.status == 400 and "/h#" not in page.text
