"""Every page that only shows, as a browser shows it: light, dark, on a phone, and without
JavaScript.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.conftest import SCREENS, Gateway, Visit

PAGES = {
    "now": "/",
    "networks": "/networks",
    "network-resources": "/networks/corp",
    "network-internet": "/networks/privacy",
    "network-sites": "/networks/sites",
    "network-lan": "/networks/campus",
    "network-wire": "/networks/wire",
    "endpoints": "/endpoints",
    "endpoint": "/endpoints/corp/laptop-frieda?target=172.20.1.1&proto=tcp&port=22",
    "endpoint-idle": "/endpoints/privacy/ben-laptop-idle",
    "plan": "/plan",
    "history": "/history",
    "history-entry": "/history/1",
    "compare": "/history/compare?from=1&to=1",
    "events": "/events",
    "system": "/system",
    "access": "/access",
    "change": "/change",
    "wizard": "/change/network/remote-resource-gateway",
    "device": "/change/device?network=privacy",
    "device-new-keys": "/change/device?network=privacy&endpoint=anna-phone&replace=on",
    "add-endpoints": "/change/endpoints?network=corp",
    "set-endpoint": "/change/endpoint/privacy/dave-phone",
    "gateway": "/change/gateway",
    "csv": "/changes/csv",
    "yaml": "/changes/yaml",
    "hand-out": "/endpoints/privacy/anna-phone/hand-out",
}


@pytest.mark.parametrize("screen", SCREENS)
def test_every_page(visit: Callable[..., Visit], screen: str) -> None:
    """Nothing is refused by our own policy, nothing is wider than the window, and the texts of
    people are texts.
    """
    window = visit(screen)
    window.go("/login")
    window.picture(f"{screen}-login")
    window.sign_in()
    for name, path in PAGES.items():
        assert window.go(path) == 200, path
        assert window.page.locator("main h1").count() == 1, path
        assert window.overflow() == 0, path
        assert "object at 0x" not in window.page.inner_text("body"), path
        window.picture(f"{screen}-{name}")
    assert window.complaints == []
    assert (
        window.page.evaluate("document.querySelectorAll('img[src=x], script:not([src])').length")
        == 0
    )


def test_everything_can_be_reached_without_javascript(visit: Callable[..., Visit]) -> None:
    """Every link of every page leads to a page, by links alone."""
    with_script = visit()
    with_script.sign_in()
    window = visit(java_script_enabled=False)
    window.context.add_cookies(with_script.context.cookies())
    seen, waiting = set(), ["/"]
    while waiting:
        path = waiting.pop()
        assert window.go(path) == 200, path
        for link in window.page.locator("a[href^='/']:not([href^='/endpoints.csv'])").all():
            address = (link.get_attribute("href") or "").partition("#")[0]
            kind = re.sub(r"(/[a-z0-9-]+)(/.*)?(\?.*)?$", r"\1", address)
            deep = address.count("/")
            if (kind, deep) not in seen:
                seen.add((kind, deep))
                waiting.append(address)
    assert len(seen) >= 12


def test_why_an_endpoint_cannot_reach_something(visit: Callable[..., Visit]) -> None:
    window = visit()
    window.sign_in("viewer")
    window.go("/endpoints/corp/laptop-frieda")
    window.page.fill("[name=target]", "172.20.1.1")
    window.page.select_option("[name=proto]", "tcp")
    window.page.fill("[name=port]", "443")
    window.press("Ask")
    assert "It passes the gateway" in window.page.inner_text("#answer")
    window.page.fill("[name=port]", "22")
    window.press("Ask")
    answer = window.page.inner_text("#answer")
    assert "Decided by: rule" in answer and "unlisted" in answer
    assert "warpctl explain corp/laptop-frieda 172.20.1.1 --proto tcp --port 22" in answer
    window.page.fill("[name=target]", "no such thing")
    window.press("Ask")
    assert "error" in window.page.inner_text("#answer")


def test_a_search_leads_to_the_endpoint(visit: Callable[..., Visit], gateway: Gateway) -> None:
    window = visit()
    window.sign_in("viewer")
    row = gateway.ask("GET", "/v1/networks/corp/endpoints")["endpoints"][0]
    for text in (f"corp/{row['name']}", row["address"], row["public_key"]):
        window.go("/")
        window.page.keyboard.press("/")
        window.page.keyboard.type(text)
        window.page.keyboard.press("Enter")
        window.page.wait_for_url(f"{gateway.origin}/endpoints/corp/{row['name']}")
    window.page.fill("#q", "nna-pho")
    window.page.press("#q", "Enter")
    window.page.wait_for_url(f"{gateway.origin}/endpoints/privacy/anna-phone")
    window.go("/endpoints?q=nna-pho&network=")
    assert window.page.locator("tbody tr").count() == 1, "the filters keep the list"


def test_all_that_was_found_is_a_file(visit: Callable[..., Visit]) -> None:
    window = visit()
    window.sign_in("viewer")
    window.go("/endpoints?network=corp&sort=traffic")
    shown = window.page.locator("tbody th a").all_inner_texts()
    with window.page.expect_download() as download:
        window.page.click("text=All as CSV")
    assert download.value.suggested_filename == "endpoints.csv"
    rows = list(csv.DictReader(download.value.path().read_text().splitlines()))
    assert sorted(row["name"] for row in rows) == sorted(shown) != []
    assert window.complaints == []


def test_a_viewer_is_offered_nothing_that_is_refused(
    visit: Callable[..., Visit], gateway: Gateway
) -> None:
    window = visit()
    window.sign_in("viewer", "victor")
    for path in ("/", "/endpoints/privacy/anna-phone", "/networks/corp", "/history/1"):
        window.go(path)
        forms = [form.get_attribute("action") for form in window.page.locator("main form").all()]
        assert all(
            (action or "").startswith("/endpoints/") and "hand" not in (action or "")
            for action in forms
        )
        assert window.page.locator("[method=post]").count() == 1, "only to sign out"
        assert "203.0.113." not in window.page.inner_text("main").replace("203.0.113.1 ", "")
    assert window.go("/changes/yaml") == 403
    assert "operator" in window.page.inner_text("main")


def test_signing_out_ends_the_session_in_the_daemon(
    visit: Callable[..., Visit], gateway: Gateway
) -> None:
    window = visit()
    window.sign_in("viewer")
    cookies = window.context.cookies()
    assert [(cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) for cookie in cookies] == [
        (True, True, "Strict")
    ]
    window.press("Sign out")
    window.page.wait_for_url(gateway.origin + "/login")
    window.context.add_cookies(cookies)
    window.go("/")
    assert window.page.url == gateway.origin + "/login"


def test_a_login_link_signs_in_once_and_leaves_nothing_in_the_address(
    visit: Callable[..., Visit], gateway: Gateway
) -> None:
    link = gateway.link("viewer")
    first = visit()
    first.page.goto(link)
    first.page.wait_for_url(gateway.origin + "/")
    second = visit()
    second.page.goto(link)
    second.page.wait_for_selector(".failure")
    assert "#" not in second.page.url
    log = (gateway.folder / "web.log").read_text()
    assert link.partition("#")[2] not in log and "/login" in log


def test_the_process_stays_small(visit: Callable[..., Visit], gateway: Gateway) -> None:
    """With ten networks, after every page was asked for."""
    window = visit()
    window.sign_in()
    for path in PAGES.values():
        window.go(path)
    status = Path(f"/proc/{gateway.web.pid}/status").read_text()
    rss_kib = int(re.findall(r"VmRSS:\s+(\d+)", status)[0])
    print(f"\nwarpd-web: {rss_kib / 1024:.1f} MiB resident")
    assert rss_kib < 40 * 1024
