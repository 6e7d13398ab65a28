"""An endpoint is taken out at once from the browser, and given back; the YAML stays as it is."""

from __future__ import annotations

from collections.abc import Callable

from tests.browser.conftest import Gateway, Visit

PLACE = "/endpoints/privacy/anna-phone"


def is_in_kernel(gateway: Gateway) -> bool:
    rows = gateway.ask("GET", "/v1/networks/privacy/endpoints?fresh=1")["endpoints"]
    return bool(next(row for row in rows if row["name"] == "anna-phone")["in_kernel"])


def test_an_endpoint_is_suspended_and_resumed(
    visit: Callable[..., Visit], gateway: Gateway
) -> None:
    before = gateway.yaml
    window = visit()
    window.sign_in("helpdesk", "hanna")
    window.go(PLACE)
    window.page.fill("[name=reason]", "lost <i>phone</i>")
    window.page.select_option("[name=for]", "8h")
    window.press("Suspend now")
    window.page.wait_for_url(gateway.origin + PLACE)
    said = window.page.inner_text(".say")
    assert "Suspended" in said and "hanna" in said and "lost <i>phone</i>" in said
    window.picture("light-suspended")
    gateway.until(lambda: not is_in_kernel(gateway))
    window.press("Resume")
    gateway.until(lambda: is_in_kernel(gateway))
    assert gateway.yaml == before and window.complaints == []
