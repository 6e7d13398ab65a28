"""As a new user would: from the package to a phone on the VPN by the browser alone, and what the
help desk does for a lost phone. Commands are those of the operator's guide; clicks, fields and
seconds of each step are printed, and clicks and fields may not become more.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.journey.hands import Hands
from tests.journey.machine import ORIGIN, REPOSITORY, Machine, started

pytestmark = pytest.mark.boot

GUIDE = REPOSITORY / "docs" / "operators-guide.md"
CHROMIUM = os.environ.get("WARPD_CHROMIUM", "/usr/bin/chromium")
PASSWORD = "correct horse battery"
WAIT_MS = 120_000
OUTER = {"phone-old": "192.0.2.2", "phone-new": "192.0.2.6"}  # where they connect from


@dataclass
class Way:
    """What somebody has done, and the config that came out of it."""

    hands: Hands
    config: str


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    out = os.environ.get("WARPD_JOURNEY_OUT")
    with started(Path(out) if out else tmp_path_factory.mktemp("journey")) as made:
        yield made


@pytest.fixture(scope="module")
def browser(machine: Machine) -> Iterator[Browser]:
    rules = f"--host-resolver-rules=MAP localhost:8443 127.0.0.1:{machine.port}"
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", rules])
        yield made
        made.close()


def connects(machine: Machine, hands: Hands, phone: str, config: str) -> None:
    """A phone with this config gets through, the page says so, and the device is kept."""
    machine.connect(phone, config)
    assert machine.reaches(phone)
    expect(hands.page.locator("#waiting-state")).to_contain_text(f"Connected from {OUTER[phone]}")
    hands.presses("Keep this device")
    expect(hands.page.get_by_text("Kept.")).to_be_visible()
    hands.presses("Done: discard the key")


@pytest.fixture(scope="module")
def first_phone(
    machine: Machine, browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Way:
    """A machine that has nothing, until a phone on the VPN."""
    page = opened(browser)
    hands = Hands(page)
    with hands.step("the guide's commands, on the gateway"):
        said = [machine.run(hands.types(words)).checked() for words in commands_of_guide()]
    fingerprint = re.search(r"SHA-256 of the certificate: ([0-9A-F:]+)", "\n".join(said))
    link = said[-1].strip().splitlines()[-1]
    assert fingerprint and fingerprint[1] == fingerprint_at(machine.port)
    with hands.step("open the link that was printed"):
        hands.pastes(link)
        expect(page.get_by_text("Make the first network")).to_be_visible()
    picture(page, "first-page")
    with hands.step("a network: to the internet"):
        hands.clicks(page.locator("a.tile", has_text="Safely to the internet"))
        hands.fills("Name of the network", "staff")
        hands.presses("Review")
        expect(page.locator(".diff")).to_contain_text("+  staff:")
        picture(page, "network-review")
        hands.presses("Apply")
        hands.presses("Keep")
        page.wait_for_url(f"{ORIGIN}/networks/staff")
    picture(page, "network")
    with hands.step("a phone: its config on the screen"):
        hands.follows("A phone or laptop")
        page.wait_for_selector("[value=browser]:checked")
        hands.fills("Name of the device", "anna-phone")
        hands.presses("Review")
        hands.presses("Apply, and show its config")
        page.wait_for_selector("#device-qr path[d]")
    picture(page, "phone-config")
    with hands.step("scan it, and connect"):
        config = read_from_screen(page, tmp_path_factory.mktemp("qr"))
        connects(machine, hands, "phone-old", config)
    picture(page, "phone-connected")
    page.context.close()
    return Way(hands, config)


def test_from_the_package_to_a_phone_on_the_vpn(
    machine: Machine, first_phone: Way, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print(f"\n\nFrom the package to a phone on the VPN\n{first_phone.hands.table()}\n")
    assert machine.reaches("phone-old")
    assert "anna-phone" in machine.run("cat /etc/warpd/warp.yaml").checked()
    private = re.search(r"PrivateKey = (\S+)", first_phone.config)
    assert private
    assert machine.run(f"grep -rF '{private[1]}' /etc/warpd /var/lib/warpd").rc == 1
    total = first_phone.hands.total()
    assert total.commands <= 4 and total.clicks <= 11 and total.fields <= 3


def test_the_help_desk_gives_a_lost_phone_other_keys(
    machine: Machine,
    browser: Browser,
    first_phone: Way,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    machine.run("warpctl user add hanna --role helpdesk", PASSWORD + "\n").checked()
    page = opened(browser)
    hands = Hands(page)
    with hands.step("sign in"):
        hands.pastes(ORIGIN)
        hands.fills("User", "hanna")
        hands.fills("Password", PASSWORD)
        hands.presses("Sign in")
        page.wait_for_url(f"{ORIGIN}/")
    with hands.step("find the phone"):
        hands.searches("anna")
        page.wait_for_url(f"{ORIGIN}/endpoints/staff/anna-phone")
    picture(page, "help-desk-endpoint")
    with hands.step("other keys: the lost one is cut off"):
        hands.follows("Lost or new device")
        page.wait_for_selector("[value=browser]:checked")
        picture(page, "help-desk-new-keys")
        hands.presses("Review")
        hands.presses("Apply, and show its config")
        page.wait_for_selector("#device-qr path[d]")
    assert not machine.reaches("phone-old")
    with hands.step("scan it, and connect"):
        config = read_from_screen(page, tmp_path)
        connects(machine, hands, "phone-new", config)
    with capsys.disabled():
        print(f"\n\nA lost phone, by the help desk\n{hands.table()}\n")
    assert key_of(config) != key_of(first_phone.config)
    assert not machine.reaches("phone-old") and machine.reaches("phone-new")
    assert "hanna (web)" in machine.run("warpctl history").checked()
    total = hands.total()
    assert total.clicks <= 8 and total.fields <= 4
    page.context.close()


def commands_of_guide() -> list[str]:
    """What the guide tells a new user to type, with the package where it is here."""
    text = GUIDE.read_text()
    block = text.partition("## First steps in the browser")[2].partition("```\n")[2]
    lines = [line.partition("  #")[0].strip() for line in block.partition("```")[0].splitlines()]
    [package] = (REPOSITORY / "dist").glob("warpd_*.deb")
    return [line.replace("./warpd_VERSION_ARCH.deb", str(package)) for line in lines]


def opened(browser: Browser) -> Page:
    """A window of somebody who has never been there."""
    page = browser.new_context(viewport={"width": 1280, "height": 850}).new_page()
    page.set_default_timeout(WAIT_MS)
    expect.set_options(timeout=WAIT_MS)
    return page


def fingerprint_at(port: int) -> str:
    """Of the certificate of whoever answers there, as it is printed."""
    der = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port)))
    return hashlib.sha256(der).digest().hex(":").upper()


def key_of(config: str) -> str:
    found = re.search(r"PrivateKey = (\S+)", config)
    assert found, config
    return found[1]


def read_from_screen(page: Page, folder: Path) -> str:
    """As the camera of a phone does."""
    path = folder / "qr.png"
    page.locator("#device-qr").screenshot(path=path)
    zbar = shutil.which("zbarimg")
    assert zbar is not None, "apt install zbar-tools"
    words = [zbar, "-q", "--raw", str(path)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def picture(page: Page, name: str) -> None:
    """A screenshot, where somebody wants them."""
    folder = os.environ.get("WARPD_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"journey-{name}.png", full_page=True)
