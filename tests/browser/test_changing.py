"""Changes from the browser: reviewed, applied, kept, or undone because nobody was there to keep
them.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.conftest import SCREENS, Gateway, Visit


def review_new_network(window: Visit, name: str) -> None:
    window.go("/change/network/remote-resource-gateway")
    window.page.fill("[name=network]", name)
    window.page.fill("[name=description]", "made <b>in the browser</b>")
    window.page.fill("[name=resources]", "172.22.0.0/16 tcp 443,8000-8100\n172.23.0.0/24")
    window.page.fill("[name=endpoints]", "one\ntwo")
    window.press("Review")


def test_a_network_is_reviewed_applied_and_kept(
    visit: Callable[..., Visit], gateway: Gateway
) -> None:
    window = visit()
    window.sign_in("operator", "olga")
    before = gateway.yaml
    review_new_network(window, "made-here")
    diff = window.page.inner_text(".diff")
    assert "+  made-here:" in diff and "ports: [443, 8000-8100]" in diff
    assert gateway.yaml == before, "a review writes nothing"
    window.picture("light-review")
    window.press("Apply")
    window.page.wait_for_url(gateway.origin + "/networks/made-here")
    bar = window.page.inner_text(".confirm")
    assert "waits to be confirmed" in bar and "olga" in bar
    window.go("/networks/made-here")
    assert window.page.locator(".confirm").count() == 1, "it is on every page"
    assert window.page.inner_text(".clock") in {f"00:{second:02d}" for second in range(61)} | {
        "01:00"
    }
    for screen in SCREENS:
        other = visit(screen)
        other.context.add_cookies(window.context.cookies())
        other.go("/")
        assert other.overflow() == 0
        other.picture(f"{screen}-confirm")
    window.press("Keep")
    window.page.wait_for_selector(".confirm", state="detached")
    assert window.page.url == gateway.origin + "/networks/made-here", "it stays on the page"
    assert window.page.locator(".confirm").count() == 0
    assert "olga (web)" in str(gateway.ask("GET", "/v1/history"))
    assert gateway.yaml.startswith(before.rstrip("\n")) and "made-here" in gateway.yaml
    assert window.complaints == []


def test_a_change_is_taken_back(visit: Callable[..., Visit], gateway: Gateway) -> None:
    window = visit()
    window.sign_in("operator", "olga")
    networks, before = len(gateway.ask("GET", "/v1/networks")["networks"]), gateway.yaml
    review_new_network(window, "taken-back")
    window.press("Apply")
    window.page.wait_for_selector("text=Go back now")
    window.press("Go back now")
    window.page.wait_for_url(gateway.origin + "/")
    gateway.until(lambda: len(gateway.ask("GET", "/v1/networks?fresh=1")["networks"]) == networks)
    assert gateway.yaml == before, "the bar puts it back too, unless told not to"


def test_what_is_wrong_with_a_form_is_shown_beside_it(visit: Callable[..., Visit]) -> None:
    window = visit()
    window.sign_in("operator", "olga")
    review_new_network(window, "Not A Name")
    failure = window.page.inner_text("[role=alert]")
    assert "Not A Name" in failure
    assert window.page.input_value("[name=network]") == "Not A Name", (
        "nothing has to be written anew"
    )
    assert window.page.input_value("[name=resources]").startswith("172.22.0.0/16")
    window.picture("light-wizard-failed")


def test_all_problems_of_a_list_at_once(visit: Callable[..., Visit]) -> None:
    window = visit()
    window.sign_in("operator", "olga")
    window.go("/changes/csv?network=guests")
    window.page.fill("[name=csv]", "name,type\nok-1,mobile\nBad Name,mobile\nok-2,spaceship\n")
    window.press("Review")
    failure = window.page.inner_text("[role=alert]")
    assert "csv:3" in failure and "csv:4" in failure
    window.picture("light-csv-failed")


def test_the_yaml_itself_keeps_its_comments(visit: Callable[..., Visit], gateway: Gateway) -> None:
    window = visit()
    window.sign_in("operator", "olga")
    window.go("/changes/yaml")
    text = window.page.input_value("textarea")
    assert text == gateway.yaml, "byte for byte"
    window.page.fill("textarea", text.replace("Anna, blue phone", "Anna, red phone"))
    window.press("Review")
    diff = window.page.inner_text(".diff")
    assert diff.count("\n+") == 2 and "Anna, red phone" in diff, "the file's name, and one line"


@pytest.mark.parametrize(("field", "value"), [("description", "x' <i>"), ("expires", "2027-01-31")])
def test_an_endpoint_is_changed(visit: Callable[..., Visit], field: str, value: str) -> None:
    window = visit()
    window.sign_in("operator", "olga")
    window.go("/change/endpoint/privacy/dave-phone")
    window.page.fill(f"[name={field}]", value)
    window.press("Review")
    assert value.partition("'")[0] in window.page.inner_text(".diff")


def test_a_closed_browser_undoes_what_it_applied(
    visit: Callable[..., Visit], gateway: Gateway
) -> None:
    """Nobody is there to keep it: the gateway goes back by itself."""
    window = visit()
    window.sign_in("operator", "olga")
    networks = len(gateway.ask("GET", "/v1/networks?fresh=1")["networks"])
    review_new_network(window, "left-alone")
    first = window.page.locator("[name=confirm_within_s] option").first  # waits for the review
    first.evaluate("option => { option.value = '5'; }")
    window.page.select_option("[name=confirm_within_s]", "5")
    window.press("Apply")
    window.page.wait_for_url(gateway.origin + "/networks/left-alone")
    assert len(gateway.ask("GET", "/v1/networks?fresh=1")["networks"]) == networks + 1
    window.context.close()
    gateway.until(lambda: len(gateway.ask("GET", "/v1/networks?fresh=1")["networks"]) == networks)
    other = visit()
    other.sign_in("operator", "olga")
    assert "left-alone" in gateway.yaml
    other.press("Put the YAML back")
    gateway.until(lambda: "left-alone" not in gateway.yaml)
