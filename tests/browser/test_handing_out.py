"""Handing a config out, as the help desk does."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.conftest import SCREENS, Gateway, Visit

PLACE = "/endpoints/privacy/anna-phone/hand-out"


def hand_out(window: Visit, way: str, place: str = PLACE) -> None:
    window.go(place)
    window.page.fill("[name=reason]", "ticket 4711 <b>")
    window.page.check(f"[name=way][value={way}]")
    window.press("Hand out")
    window.page.wait_for_selector("#waiting")


def test_a_file_is_handed_out_once_with_a_name_and_a_reason(
    visit: Callable[..., Visit], gateway: Gateway
) -> None:
    window = visit()
    window.sign_in("helpdesk", "hanna")
    hand_out(window, "file")
    config = window.page.text_content("details pre") or ""
    assert "[Interface]" in config and "PrivateKey = " in config
    logged = (gateway.folder / "state" / "exports.log").read_text()
    assert "hanna" in logged and "ticket 4711" in logged
    secret = config.partition("PrivateKey = ")[2].partition("\n")[0]
    assert secret not in (gateway.folder / "web.log").read_text()
    for path in ("/", "/endpoints/privacy/anna-phone", "/events", PLACE):
        window.go(path)
        assert secret not in window.page.content()
    assert window.complaints == []


@pytest.mark.parametrize("screen", SCREENS)
def test_a_qr_code_holds_the_config(
    visit: Callable[..., Visit], tmp_path: Path, screen: str
) -> None:
    """Read back from the screen by zbar."""
    window = visit(screen)
    window.sign_in("helpdesk", "hanna")
    hand_out(window, "qr")
    assert window.overflow() == 0
    picture = tmp_path / "qr.png"
    window.page.locator("img.qr").screenshot(path=picture)
    window.picture(f"{screen}-handed-out")
    zbar = shutil.which("zbarimg")
    assert zbar is not None, "apt install zbar-tools"
    read = subprocess.run(
        [zbar, "-q", "--raw", picture], capture_output=True, text=True, check=True
    )
    assert "[Interface]" in read.stdout and "PrivateKey = " in read.stdout
    assert window.complaints == []


def test_the_page_waits_for_the_first_handshake(visit: Callable[..., Visit]) -> None:
    window = visit()
    window.sign_in("helpdesk", "hanna")
    hand_out(window, "file", "/endpoints/wire/left/hand-out")  # five seconds after its handshake
    window.page.wait_for_selector("text=Connected from 203.0.113.")


def test_a_viewer_hands_nothing_out(visit: Callable[..., Visit]) -> None:
    window = visit()
    window.sign_in("viewer", "victor")
    window.go(PLACE)
    window.page.fill("[name=reason]", "please")
    window.press("Hand out")
    assert "permission denied" in window.page.inner_text("[role=alert]")


def test_a_link_shows_the_config_once_to_whoever_has_it(
    visit: Callable[..., Visit], gateway: Gateway
) -> None:
    window = visit()
    window.sign_in("helpdesk", "hanna")
    window.go(PLACE)
    window.page.fill("[name=pin]", "2468")
    window.page.check("[name=way][value=link]")
    window.page.fill("[name=reason]", "new phone")
    window.press("Hand out")
    link = window.page.inner_text("code.key")
    assert link.startswith(f"{gateway.origin}/h#")
    secret = link.partition("#")[2]

    owner = visit("phone")
    owner.page.goto(link)
    owner.page.wait_for_url(f"{gateway.origin}/h")
    assert owner.page.input_value("[name=secret]") == secret
    owner.picture("phone-link")
    owner.press("Show my configuration")
    assert "PIN is wrong" in owner.page.inner_text("[role=alert]")
    owner.page.goto(link)
    owner.page.fill("[name=pin]", "2468")
    owner.press("Show my configuration")
    owner.page.wait_for_selector("img.qr")
    assert owner.overflow() == 0
    owner.picture("phone-redeemed")
    with owner.page.expect_download() as saved:
        owner.page.get_by_role("link", name="Save the file").click()
    assert "[Interface]" in Path(saved.value.path()).read_text()
    assert [complaint for complaint in owner.complaints if "410" not in complaint] == []

    thief = visit()
    thief.page.goto(link)
    thief.page.fill("[name=pin]", "2468")
    thief.press("Show my configuration")
    assert "used or over" in thief.page.inner_text("[role=alert]")
    assert secret not in (gateway.folder / "web.log").read_text()
