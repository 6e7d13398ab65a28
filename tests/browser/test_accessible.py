"""Every page as axe-core judges it: no finding that is serious or critical, in light, in dark, and
on a phone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import SCREENS, Visit
from tests.browser.test_looking import PAGES

GRAVE = ("serious", "critical")
EVERY_RULE: dict[str, Any] = {"resultTypes": ["violations"]}
# What another colour or another width can change; the rest is the same document.
OF_SCREENS = ["color-contrast", "link-in-text-block", "scrollable-region-focusable", "target-size"]


def findings(window: Visit, judge: Axe, options: dict[str, Any] = EVERY_RULE) -> list[str]:
    """What is grave on the page that is shown: the rule, and the first element that breaks it."""
    found = judge.run(window.page, options=options).response["violations"]
    return [
        f"{item['id']}: {item['nodes'][0]['html'][:200]}"
        for item in found
        if item["impact"] in GRAVE
    ]


def look(window: Visit, judge: Axe, path: str) -> list[str]:
    """The findings of one page on every screen; its colours and its width change as it stands."""
    assert window.go(path) == 200, path
    found = findings(window, judge)
    of_screens = {**EVERY_RULE, "runOnly": {"type": "rule", "values": OF_SCREENS}}
    for screen, settings in SCREENS.items():
        window.page.emulate_media(color_scheme=settings["color_scheme"])
        window.page.set_viewport_size(settings["viewport"])
        found += [
            f"{path} ({screen}): {finding}" for finding in findings(window, judge, of_screens)
        ]
    return found


def test_no_page_has_a_serious_finding(visit: Callable[..., Visit]) -> None:
    """The policy of our pages refuses a script that is injected; here alone it is passed by."""
    judge = Axe()
    window = visit(bypass_csp=True)
    found = look(window, judge, "/login")
    window.sign_in()
    for path in PAGES.values():
        found += look(window, judge, path)
    assert found == []


def test_a_finding_is_found(visit: Callable[..., Visit]) -> None:
    """The judge sees what it is there for: grey on white, and a field without a name."""
    window = visit(bypass_csp=True)
    window.go("/login")
    window.page.evaluate(
        "document.querySelector('main').innerHTML ="
        " '<p style=\"color:#ccc;background:#fff\">pale</p><input>'"
    )
    rules = {finding.partition(":")[0] for finding in findings(window, Axe())}
    assert {"color-contrast", "label"} <= rules
