"""Signing in by a provider of OpenID Connect, which is another site than the dashboard."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.browser.conftest import Gateway, Visit
from tests.oidc_provider import oidc_unit, provider


def test_somebody_signs_in_by_the_provider(visit: Callable[..., Visit], gateway: Gateway) -> None:
    """The browser sends the session's cookie, which no other site's navigation gets, at once."""
    folder = gateway.folder / "oidc"
    folder.mkdir()
    with provider() as made, oidc_unit(gateway.folder):
        file = folder / "settings.yaml"
        rule = {"claim": "groups", "value": "netops", "role": "operator"}
        file.write_text(json.dumps(made.settings(roles=[rule])))
        for screen in ("light", "phone"):
            window = visit(screen)
            window.go("/login")
            window.picture(f"{screen}-login-provider")
            assert window.overflow() == 0
            window.page.get_by_role("link", name="Sign in with Example login").click()
            window.page.wait_for_url(gateway.origin + "/")
            assert window.page.locator("main h1, main h2").count() > 1
            cookies = {row["name"]: row for row in window.context.cookies()}
            assert list(cookies) == ["__Host-warpd"], "the seed is gone"
            assert cookies["__Host-warpd"]["sameSite"] == "Strict"
            assert window.complaints == []
        assert "anna@example.com" in window.page.content()
        made.person["groups"] = ["staff"]
        other = visit()
        other.go("/login")
        other.page.get_by_role("link", name="Sign in with Example login").click()
        assert "wrong, used or over" in other.page.inner_text("[role=alert]")
        assert other.go("/networks") == 200 and other.page.url.endswith("/login")
    assert "anna@example.com" not in (gateway.folder / "web.log").read_text()
