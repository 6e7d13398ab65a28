"""What every request passes, and what every answer carries."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit.web.visitor import HOST, ORIGIN, SAME_ORIGIN, TOKEN, Page, Visitor
from warpd.web import guard
from warpd.web.app import make_application
from warpd.web.sessions import COOKIE, clear_cookie, form_token, set_cookie, token_of

FORM = b"user=anna&password=x"


@pytest.fixture
def visitor(tmp_path: Path) -> Visitor:
    """Nobody serves the socket behind it: what is refused is refused before."""
    return Visitor(tmp_path / "none.sock", token="")


def is_hardened(page: Page) -> bool:
    policy = page.headers["content-security-policy"]
    return (
        "default-src 'none'" in policy
        and "frame-ancestors 'none'" in policy
        and "require-trusted-types-for 'script'" in policy
        and "unsafe" not in policy
        and "*" not in policy
        and page.headers["x-content-type-options"] == "nosniff"
        and page.headers["referrer-policy"] == "same-origin"
        and page.headers["cross-origin-opener-policy"] == "same-origin"
        and page.headers["cross-origin-resource-policy"] == "same-origin"
        and page.headers["strict-transport-security"].startswith("max-age=")
    )


@pytest.mark.parametrize(
    "path", ["/login", "/", "/networks/corp", "/none", "/healthz", "/%2e%2e/x"]
)
def test_every_answer_is_hardened_and_kept_by_nobody(visitor: Visitor, path: str) -> None:
    page = visitor.get(path)
    assert is_hardened(page) and page.headers["cache-control"] == "no-store"


def test_refusals_are_hardened_too(visitor: Visitor) -> None:
    refused = [
        visitor.get("/login", host="evil.example.com"),
        visitor.ask("PUT", "/login", SAME_ORIGIN, b"", {}),
        visitor.ask("POST", "/login", {}, FORM, {}),
    ]
    assert [page.status for page in refused] == [421, 405, 403]
    assert all(is_hardened(page) for page in refused)


def test_the_nonce_is_new_each_time_and_is_that_of_the_scripts(visitor: Visitor) -> None:
    pages = [visitor.get("/login") for _ in range(3)]
    nonces = [
        re.findall(r"'nonce-([^']+)'", page.headers["content-security-policy"])[0] for page in pages
    ]
    assert len(set(nonces)) == 3 and all(len(nonce) >= 20 for nonce in nonces)
    for page, nonce in zip(pages, nonces, strict=True):
        scripts = re.findall(r"<script[^>]*>", page.text)
        assert scripts and all(f'nonce="{nonce}"' in script for script in scripts)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example.com",
        "evil.example.com:8443",
        "gw.example.com",
        "gw.example.com:80",
        f"{HOST}.evil.example.com",
        f"evil@{HOST}",
        "127.0.0.1:8443",
        f"{HOST}, evil.example.com",
    ],
)
def test_another_name_gets_nothing(visitor: Visitor, host: str) -> None:
    page = visitor.get("/login", host=host)
    assert page.status == 421 and "<form" not in page.text


def test_a_host_that_is_said_twice_is_none(visitor: Visitor) -> None:
    twice = [(b"host", HOST.encode()), (b"host", b"evil.example.com")]
    scope = {"method": "GET", "path": "/login", "headers": twice}
    assert visitor.application._refusal(scope, guard._single_headers(scope)) == (
        421,
        "refused.host",
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": ""},
        {"origin": "null"},
        {"origin": "https://evil.example.com"},
        {"origin": "http://gw.example.com:8443"},
        {"origin": f"{ORIGIN}.evil.example.com"},
        {"sec_fetch_site": ""},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "none"},
    ],
)
@pytest.mark.parametrize("path", ["/login", "/logout", "/confirm"])
def test_a_form_of_another_site_does_nothing(
    visitor: Visitor, path: str, headers: dict[str, str]
) -> None:
    assert visitor.post(path, {"user": "anna"}, **headers).status == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "X"])
def test_there_is_no_other_method(visitor: Visitor, method: str) -> None:
    assert visitor.ask(method, "/login", SAME_ORIGIN, b"", {}).status == 405


def test_a_body_has_a_bound(visitor: Visitor) -> None:
    large = b"user=" + b"x" * guard.BODY_MAX
    assert visitor.ask("POST", "/login", SAME_ORIGIN, large, {}).status == 413
    claimed = {"content-length": str(guard.BODY_MAX + 1)}
    assert visitor.ask("POST", "/login", {**SAME_ORIGIN, **claimed}, b"", {}).status == 413
    fits = FORM.ljust(guard.BODY_MAX, b"x")
    assert visitor.ask("POST", "/login", SAME_ORIGIN, fits, {}).status == 503, "nobody answers"


def test_what_is_not_ours_is_not_found_and_no_path_names_a_file(visitor: Visitor) -> None:
    for path in ("/static/", "/static/../app.py", "/static/%2e%2e/app.py", "/static/x.css", "//x"):
        assert visitor.get(path).status == 404
    style = visitor.get("/static/style.css")
    assert style.status == 200 and style.headers["content-type"].startswith("text/css")
    assert "range" not in str(style.headers).lower()


def test_pages_are_for_those_who_have_signed_in(visitor: Visitor) -> None:
    """Every route but the few that are named here leads to the sign-in page."""
    application: Any = make_application(Path("/nowhere"), {ORIGIN}, visitor.log).application
    open_to_all = {"/login", "/login/provider/callback", "/logout", "/healthz", "/h"}
    routes = [route.path for route in application.routes if not route.path.startswith("/static/")]
    assert len(routes) > 10
    for route in set(routes) - open_to_all:
        page = visitor.get(re.sub(r"\{[a-z]+(:int)?\}", "1", route))
        assert (page.status, page.headers.get("location")) in ((303, "/login"), (405, None)), route


def test_the_log_has_routes_and_neither_names_nor_queries(visitor: Visitor) -> None:
    visitor.get("/networks/secret-project?q=anna")
    visitor.get("/login?password=hunter2")
    visitor.get("/none/secret-project")
    logged = visitor.logged
    assert ("GET", "/networks/{network}", 303) in logged and ("GET", "-", 404) in logged
    assert "secret" not in str(logged) and "anna" not in str(logged) and "hunter" not in str(logged)


def test_the_cookie_belongs_to_this_host_alone_and_to_no_script() -> None:
    for cookie in (set_cookie(TOKEN), clear_cookie()):
        name, *attributes = cookie.split("; ")
        assert name.startswith("__Host-")
        assert {"Path=/", "Secure", "HttpOnly", "SameSite=Strict"} <= set(attributes)
        assert "Domain" not in cookie
    assert "Max-Age=0" in clear_cookie()


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("", ""),
        (f"{COOKIE}={TOKEN}", TOKEN),
        (f"a=b; {COOKIE}={TOKEN}; c=d", TOKEN),
        (f"warpd={TOKEN}", ""),
        (f"{COOKIE}=warp_1_short", ""),
        (f"{COOKIE}={TOKEN}%0d%0ax", ""),
        (f'{COOKIE}="{TOKEN}\\r\\nx: y"', ""),
        (f"{COOKIE}=Basic {TOKEN}", ""),
    ],
)
def test_only_what_looks_like_a_token_is_passed_on(header: str, token: str) -> None:
    assert token_of(header) == token


def test_a_form_token_is_of_one_session_and_does_not_show_it() -> None:
    other = TOKEN[:-1] + "z"
    assert form_token(TOKEN) == form_token(TOKEN) != form_token(other)
    assert TOKEN[-22:] not in form_token(TOKEN) and len(form_token(TOKEN)) == 64
