"""Keys that are made in the browser: the private one never leaves the page."""

from __future__ import annotations

import base64
import json
import random
import re
import shutil
import string
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
import segno
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from playwright.sync_api import Browser, Dialog, Request

from tests.browser.conftest import SCREENS, Gateway, Visit

# The most bytes in versions 1 to 25 with error correction L (ISO/IEC 18004, table 7).
CAPACITIES = (
    *(17, 32, 53, 78, 106, 134, 154, 192, 230, 271, 321, 367, 425, 458, 520),
    *(586, 644, 718, 792, 858, 929, 1003, 1091, 1171, 1273),
)
NO_X25519 = """
const real = crypto.subtle.generateKey.bind(crypto.subtle);
crypto.subtle.generateKey = (way, ...more) =>
  way.name === "X25519" ? Promise.reject(new Error("not supported")) : real(way, ...more);
"""


def fill(window: Visit, name: str) -> None:
    window.go("/change/device?network=privacy")
    window.page.wait_for_selector("[value=browser]:checked")
    window.page.fill("[name=endpoint]", name)
    window.page.fill("[name=description]", "Anna's 'red' phone <b>")


def add(window: Visit, name: str) -> None:
    """Up to the config on the screen."""
    fill(window, name)
    window.press("Review")
    window.page.wait_for_selector("#device-apply:visible")
    window.press("Apply, and show its config")
    window.page.wait_for_selector("#device-qr path[d]")


def sent_by(window: Visit) -> list[str]:
    """Everything that the page asks for from now on: addresses, headers and bodies, as they are
    and as a form is read.
    """
    sent: list[str] = []

    def note(request: Request) -> None:
        text = f"{request.url} {request.headers} {request.post_data or ''}"
        sent.append(f"{text} {unquote(text)}")

    window.context.on("request", note)
    return sent


def read_from_screen(window: Visit, folder: Path) -> str:
    picture = folder / "qr.png"
    window.page.locator("#device-qr").screenshot(path=picture)
    zbar = shutil.which("zbarimg")
    assert zbar is not None, "apt install zbar-tools"
    words = [zbar, "-q", "--raw", str(picture)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def saved(window: Visit) -> str:
    with window.page.expect_download() as download:
        window.page.get_by_role("link", name="Save the file").click()
    assert download.value.suggested_filename.endswith(".conf")
    return Path(download.value.path()).read_text()


def values(config: str) -> dict[str, str]:
    rows = re.findall(r"^(\w+) = (.*)$", config, re.MULTILINE)
    return dict(rows)


def public_of(private: str) -> str:
    key = X25519PrivateKey.from_private_bytes(base64.b64decode(private, validate=True))
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


@pytest.mark.parametrize("screen", SCREENS)
def test_a_phone_whose_key_never_leaves_the_page(
    visit: Callable[..., Visit], gateway: Gateway, tmp_path: Path, screen: str
) -> None:
    """Read back from the screen by zbar: a whole config, whose key fits the one in the YAML."""
    window = visit(screen)
    window.sign_in("operator", "olga")
    sent, name = sent_by(window), f"born-{screen}"
    fill(window, name)
    window.picture(f"{screen}-device")
    window.press("Review")
    window.page.wait_for_selector("#device-apply:visible")
    assert f"+      {name}:" in window.page.inner_text("#device-diff")
    assert name not in gateway.yaml, "a review writes nothing"
    window.picture(f"{screen}-device-review")
    window.press("Apply, and show its config")
    window.page.wait_for_selector("#device-qr path[d]")
    assert window.overflow() == 0
    window.picture(f"{screen}-device-config")

    config = read_from_screen(window, tmp_path)
    assert config.rstrip("\n") == saved(window).rstrip("\n")
    found = values(config)
    private, public = found["PrivateKey"], public_of(found["PrivateKey"])
    row = next(
        item
        for item in gateway.ask("GET", "/v1/networks/privacy/endpoints?fresh=1")["endpoints"]
        if item["name"] == name
    )
    assert row["public_key"] == public
    assert found["Address"].startswith(row["address"]) and found["PresharedKey"]
    assert f'public_key: "{public}"' in gateway.yaml or f"public_key: {public}" in gateway.yaml
    window.press("Keep this device")
    window.page.wait_for_selector("text=Kept.")

    raw = private.rstrip("=")
    forms = (raw, raw.replace("+", "-").replace("/", "_"), base64.b64decode(private).hex())
    folder = gateway.folder
    kept = [path for path in folder.rglob("*") if path.is_file() and path.name != "key.pem"]
    assert any(public in text for text in sent), "what is sent is seen"
    for form in forms:
        assert not [text for text in sent if form in text]
        assert not [path for path in kept if form.encode() in path.read_bytes()]
        assert form not in json.dumps(gateway.ask("GET", "/v1/history"))
    assert window.complaints == []


def test_leaving_the_page_warns_until_the_key_is_forgotten(visit: Callable[..., Visit]) -> None:
    window = visit()
    window.sign_in("operator", "olga")
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    window.page.on("dialog", stay)
    add(window, "left-alone")
    with window.page.expect_event("dialog"):
        window.page.get_by_role("link", name="History").click()
    assert asked == ["beforeunload"] and "/change/device" in window.page.url
    window.press("Done: discard the key")
    assert window.page.locator("#device-qr path[d]").count() == 0
    window.press("Keep this device")
    window.page.wait_for_selector("text=Kept.")
    window.page.get_by_role("link", name="History").click()
    window.page.wait_for_url("**/history")
    assert asked == ["beforeunload"]


def test_a_lost_phone_gets_other_keys(visit: Callable[..., Visit], gateway: Gateway) -> None:
    window = visit()
    window.sign_in("operator", "olga")
    add(window, "lost")
    first = values(saved(window))
    window.press("Keep this device")
    window.page.wait_for_selector("text=Kept.")
    window.press("Done: discard the key")
    window.go("/change/endpoint/privacy/lost")
    assert window.page.get_by_role("link", name="New keys, made in the browser").count() == 1
    desk = visit()
    desk.sign_in("helpdesk", "hanna")
    desk.go("/endpoints/privacy/lost")
    desk.page.get_by_role("link", name="Lost or new device").click()
    desk.page.wait_for_selector("[value=browser]:checked")
    desk.press("Review")
    desk.page.wait_for_selector("#device-apply:visible")
    desk.press("Apply, and show its config")
    desk.page.wait_for_selector("#device-qr path[d]")
    window = desk
    second = values(saved(window))
    assert second["PrivateKey"] != first["PrivateKey"] and second["Address"] == first["Address"]
    assert public_of(second["PrivateKey"]) in gateway.yaml
    assert public_of(first["PrivateKey"]) not in gateway.yaml
    window.press("Keep this device")
    window.page.wait_for_selector("text=Kept.")
    assert "hanna (web)" in str(gateway.ask("GET", "/v1/history"))


def test_keys_of_the_gateway_that_are_given_again_are_others(
    visit: Callable[..., Visit], gateway: Gateway
) -> None:
    """Otherwise a device that had them before its name got a key of its own would be in again."""
    row = {"network": "privacy", "endpoint": "dave-phone"}
    window = visit()
    window.sign_in("helpdesk", "hanna")
    window.go(f"/change/device?network={row['network']}&endpoint={row['endpoint']}&replace=on")
    window.page.check("[value=derived]")
    before = key_in_force(gateway, row)
    window.press("Review")
    window.press("Apply")
    window.page.wait_for_selector("text=Go back now")
    assert key_in_force(gateway, row) != before
    window.press("Keep")
    window.page.wait_for_selector(".confirm", state="detached")


def key_in_force(gateway: Gateway, row: dict[str, str]) -> str:
    what = f"/v1/endpoints/{row['network']}/{row['endpoint']}?fresh=1"
    return str(gateway.ask("GET", what)["public_key"])


def test_a_config_that_does_not_come_is_asked_for_again(
    visit: Callable[..., Visit], gateway: Gateway
) -> None:
    """Its first answer is a page of an error. The device is applied by then, once."""
    window = visit()
    window.sign_in("operator", "olga")
    window.page.route(
        "**/config",
        lambda route: route.fulfill(status=404, content_type="text/html", body="<h1>none</h1>"),
        times=1,
    )
    fill(window, "late")
    window.press("Review")
    window.page.wait_for_selector("#device-apply:visible")
    window.press("Apply, and show its config")
    window.page.wait_for_selector("#device-failure:visible")
    assert "could not be read" in window.page.inner_text("#device-failure")
    assert window.page.is_visible("#device-keep")
    window.press("Apply, and show its config")
    window.page.wait_for_selector("#device-qr path[d]")
    assert not window.page.is_visible("#device-failure")
    assert public_of(values(saved(window))["PrivateKey"]) in gateway.yaml
    window.press("Keep this device")
    window.page.wait_for_selector("text=Kept.")


def test_what_is_wrong_is_said_on_the_page(visit: Callable[..., Visit], gateway: Gateway) -> None:
    window = visit()
    window.sign_in("operator", "olga")
    fill(window, "Not A Name")
    window.press("Review")
    window.page.wait_for_selector("#device-failure:visible")
    assert "Not A Name" in window.page.inner_text("#device-failure")
    assert "Not A Name" not in gateway.yaml
    assert window.page.input_value("[name=endpoint]") == "Not A Name"


@pytest.mark.parametrize("how", ["no JavaScript", "no X25519"])
def test_without_keys_of_its_own_the_page_has_the_other_ways(
    visit: Callable[..., Visit], gateway: Gateway, how: str
) -> None:
    """A key that was made on the device is pasted, and the review is the usual one."""
    with_script = visit()
    with_script.sign_in("operator", "olga")
    window = visit(java_script_enabled=how != "no JavaScript")
    window.context.add_cookies(with_script.context.cookies())
    window.context.add_init_script(NO_X25519)
    window.go("/change/device?network=privacy")
    assert window.page.is_visible("#device-none") and not window.page.is_visible("[value=browser]")
    public = base64.b64encode(random.Random(how).randbytes(32)).decode()
    window.page.fill("[name=endpoint]", "pasted")
    window.page.check("[value=own]")
    window.page.fill("[name=public_key]", "no key")
    window.press("Review")
    assert "public_key" in window.page.inner_text("[role=alert]:visible")
    window.page.fill("[name=public_key]", public)
    window.press("Review")
    assert public in window.page.inner_text(".diff")
    window.go("/change/device?network=privacy")
    window.page.fill("[name=endpoint]", "derived")
    window.page.check("[value=derived]")
    window.press("Review")
    diff = window.page.inner_text(".diff").splitlines()
    added = [line for line in diff if line.startswith("+ ")]
    assert ["derived:" in line and "public_key" not in line for line in added] == [True]


def test_codes_are_those_of_the_standard(gateway: Gateway, browser: Browser) -> None:
    """Module by module as another encoder draws them, for a full code of every version. (Where
    there is room left, that one pads otherwise.)
    """
    random_text = random.Random(7)
    texts = ["".join(random_text.choices(string.printable, k=size)) for size in CAPACITIES]
    context = browser.new_context(ignore_https_errors=True, bypass_csp=True)
    page = context.new_page()
    page.goto(f"{gateway.origin}/login")
    drawn: list[list[list[int]]] = page.evaluate(
        """async (texts) => {
          const { qr } = await import("/static/qr.js");
          return texts.map(qr);
        }""",
        texts,
    )
    refused = """async (text) => {
      const { qr } = await import("/static/qr.js");
      try { qr(text); } catch (failure) { return String(failure); }
    }"""
    assert "too long" in page.evaluate(refused, "k" * (CAPACITIES[-1] + 1))
    context.close()
    for text, rows in zip(texts, drawn, strict=True):
        other = segno.make_qr(
            text, error="l", mode="byte", boost_error=False, encoding="utf-8", mask=mask_of(rows)
        )
        assert [list(row) for row in other.matrix] == rows, len(text)


def mask_of(rows: list[list[int]]) -> int:
    """The mask, by the format information (ISO/IEC 18004, 7.9.1): which one is easiest to read is
    a matter of taste in one point.
    """
    return (rows[8][4] ^ 1) | rows[8][3] << 1 | (rows[8][2] ^ 1) << 2
