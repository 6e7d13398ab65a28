"""Signing in by a provider of OpenID Connect: browser, dashboard, daemon, `warpd-oidc` and a small
provider, each over a real socket.
"""

from __future__ import annotations

import base64
import hmac
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from tests import oidc_provider
from tests.oidc_provider import KEYS, STRANGER, Provider, oidc_unit, part, signed
from tests.unit.daemon.http.served import SEEN, Served, served
from tests.unit.web.visitor import ORIGIN, Page, Visitor
from warpd.daemon.http import oidc
from warpd.errors import WarpError
from warpd.oidc.exchange import _StayHere
from warpd.service.oidc import read_provider
from warpd.service.users import User
from warpd.web.provider import CALLBACK, COOKIE, START
from warpd.web.sessions import token_of

NAMELESS = RSAKey.import_key(KEYS["a"].private_key)
REFUSED = "the name, the password or the link is wrong, used or over"


@dataclass
class Place:
    gateway: Served
    provider: Provider

    def write(self, **more: Any) -> None:
        """The provider's settings; JSON is YAML."""
        file = self.gateway.folder / "oidc" / "settings.yaml"
        file.parent.mkdir(exist_ok=True)
        beside = file.with_name("new")
        beside.write_text(json.dumps(self.provider.settings(**more)))
        beside.chmod(0o600)
        beside.rename(file)

    def begin(self) -> tuple[str, str]:
        """The path that the provider sends the browser back to, and the browser's cookie."""
        page = Visitor(self.gateway.path, token="").get(START)
        assert page.status == 303, page.text
        cookie = SimpleCookie(page.headers["set-cookie"])[COOKIE]
        assert cookie["httponly"] and cookie["secure"] and cookie["samesite"] == "Lax"
        back = redirect_of(page.headers["location"])
        assert back.startswith(ORIGIN)
        return back.removeprefix(ORIGIN), f"{COOKIE}={cookie.value}"

    def come_back(self, path: str, cookie: str) -> Page:
        return Visitor(self.gateway.path, token="").get(path, cookie=cookie)

    def sign_in(self) -> Page:
        return self.come_back(*self.begin())


def redirect_of(address: str) -> str:
    opener = urllib.request.build_opener(_StayHere)
    with pytest.raises(urllib.error.HTTPError) as answer:
        opener.open(address)
    answer.value.close()
    return str(answer.value.headers["location"])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with served(tmp_path) as gateway, oidc_provider.provider() as provider:
        gateway.credentials.provider = oidc.Provider(tmp_path / "oidc", tmp_path / "oidc.sock")
        gateway.credentials.clock = tries_without_end()
        made = Place(gateway, provider)
        made.write()
        with oidc_unit(tmp_path):
            yield made


def tries_without_end() -> Callable[[], float]:
    """A clock by which every try comes back before the next."""
    hours = iter(range(10**6))
    return lambda: 3600.0 * next(hours)


def session_of(page: Page) -> str:
    return token_of(page.headers.get("set-cookie", "").partition(";")[0])


def test_somebody_signs_in_by_the_provider(place: Place) -> None:
    assert "Sign in with Example login" in Visitor(place.gateway.path, token="").get("/login").text
    page = place.sign_in()
    assert page.status == 200 and 'content="0; url=/"' in page.text
    assert page.headers["cache-control"] == "no-store"
    assert f"{COOKIE}=; " in page.headers["set-cookie"], "the seed is good for one sign-in"
    own = place.gateway.ask("GET", "/v1/session", session_of(page)).json
    assert (own["user"], own["role"], own["networks"]) == (
        "anna@example.com (web)",
        "operator",
        [SEEN],
    )
    assert "client_secret" not in place.provider.asked[-1]
    shown = Visitor(place.gateway.path, token=session_of(page)).get("/")
    assert shown.status == 200 and "anna@example.com" in shown.text


def test_the_unit_itself_and_the_secret_of_the_client(tmp_path: Path) -> None:
    """A process of `warpd-oidc`; a key of another kind; systemd's name for the file."""
    with served(tmp_path) as gateway, oidc_provider.provider() as provider:
        gateway.credentials.provider = oidc.Provider(tmp_path / "oidc", tmp_path / "oidc.sock")
        provider.sign = lambda claims: signed(claims, "ES256", "b")
        place = Place(gateway, provider)
        place.write()
        (tmp_path / "oidc" / "oidc_client_secret").write_text("hush\n")
        with oidc_unit(tmp_path, as_processes=True):
            assert session_of(place.sign_in())
        assert provider.asked[-1]["client_secret"] == "hush"


def none(claims: dict[str, Any]) -> str:
    return f"{part({'alg': 'none', 'kid': 'a'})}.{part(claims)}."


def by_public_key(claims: dict[str, Any]) -> str:
    """HS256, with the public key for a secret, as PEM."""
    text = f"{part({'alg': 'HS256', 'kid': 'a'})}.{part(claims)}"
    mac = hmac.digest(KEYS["a"].as_pem(private=False), text.encode(), "sha256")
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def other(**changed: Any) -> Callable[[dict[str, Any]], str]:
    return lambda claims: signed({**claims, **changed})


def later(**seconds: int) -> Callable[[dict[str, Any]], str]:
    return lambda claims: signed(
        {**claims, **{name: claims[name] + value for name, value in seconds.items()}}
    )


# What is wrong, why it is refused as the log says, and how the token is made.
FORGED: tuple[tuple[str, str, Callable[[dict[str, Any]], str]], ...] = (
    ("another key", "BadSignatureError", lambda claims: signed(claims, key=STRANGER)),
    ("an unknown kid", "InvalidKeyIdError", lambda claims: signed(claims, kid="c", key=KEYS["a"])),
    ("no kid", "InvalidKeyIdError", lambda claims: jwt.encode({"alg": "RS256"}, claims, NAMELESS)),
    ("alg none", "UnsupportedAlgorithmError", none),
    ("HS256 by the public key", "UnsupportedAlgorithmError", by_public_key),
    ("another payload", "BadSignatureError", lambda claims: swapped(signed(claims), claims)),
    ("no token", "DecodeError", lambda _claims: "x"),
    ("another issuer", "another issuer", other(iss="https://evil.example.com")),
    ("another audience", "another audience", other(aud="somebody-else")),
    ("two audiences", "another audience", other(aud=["warpd", "somebody-else"])),
    ("another party", "another audience", other(azp="somebody-else")),
    ("another nonce", "another nonce", other(nonce="0" * 43)),
    ("no nonce", "another nonce", other(nonce=None)),
    ("expired", "expired", later(exp=-1000, iat=-500)),
    ("no expiry", "expired", other(exp=None)),
    ("a login of yesterday", "signed in long ago", later(auth_time=-86_400)),
    ("no time of a login", "signed in long ago", other(auth_time="now")),
    ("old", "too old", later(iat=-3600)),
    ("of the future", "of the future", later(iat=3600, exp=7200)),
    ("no group", "no rule", other(groups=["staff"])),
    ("groups in one text", "no rule", other(groups="staff netops")),
    ("an address that is not verified", "no rule", other(email_verified=False)),
    ("a name with a line break", "no rule", other(email="anna\nroot")),
    ("a long name", "no rule", other(email="a" * 65)),
    ("no name", "no rule", other(email=None)),
    ("a list for a name", "no rule", other(email=["anna"])),
    ("disabled here", "disabled here", other(email="dora@example.com")),
)


def swapped(token: str, claims: dict[str, Any]) -> str:
    header, _, signature = token.split(".")
    return f"{header}.{part({**claims, 'sub': '1'})}.{signature}"


def test_whatever_is_wrong_is_refused_with_one_message(place: Place) -> None:
    place.gateway.add_users(User("dora@example.com", "admin", disabled=True))
    answers = set()
    told = place.gateway.credentials.provider.log = Told()
    for name, why, sign in FORGED:
        place.provider.sign = sign
        page = place.sign_in()
        assert why in told.reasons.pop() and not told.reasons, name
        assert page.status == 401 and not session_of(page), name
        assert REFUSED in page.text, name
        answers.add(page.text.replace(nonce_of(page), ""))
    assert len(answers) == 1
    for good in (signed, other(auth_time=None), other(aud=["warpd"]), other(azp="warpd")):
        place.provider.sign = good
        assert session_of(place.sign_in()), "the same, with nothing wrong"


class Told:
    """What the log says of who is refused."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def warning(self, _event: str, why: str) -> None:
        self.reasons.append(why)


def nonce_of(page: Page) -> str:
    return page.text.partition('nonce="')[2].partition('"')[0]


def test_a_code_is_good_once_and_for_one_browser(place: Place) -> None:
    path, cookie = place.begin()
    _, other_cookie = place.begin()
    asked = len(place.provider.asked)
    state = parse_qs(urlsplit(path).query)["state"][0]
    for wrong_path, wrong_cookie in (
        (path, other_cookie),
        (path, ""),
        (path, f"{COOKIE}=x"),
        (path.replace(state, "x"), cookie),
        (CALLBACK, cookie),
        (f"{CALLBACK}?error=access_denied&state={state}", cookie),
    ):
        page = place.come_back(wrong_path, wrong_cookie)
        assert page.status == 401 and "has not begun this sign-in" in page.text
    assert len(place.provider.asked) == asked, "the provider hears nothing of it"
    assert session_of(place.come_back(path, cookie))
    page = place.come_back(path, cookie)
    assert page.status == 401 and REFUSED in page.text


def test_a_code_needs_the_verifier_and_the_redirect_it_was_asked_for_with(place: Place) -> None:
    for changed in ({"verifier": "v" * 43}, {"redirect_uri": "https://evil.example.com/"}):
        path, _cookie = place.begin()
        code = parse_qs(urlsplit(path).query)["code"][0]
        body = {"code": code, "verifier": "w" * 43, "nonce": "n" * 43}
        body |= {"redirect_uri": ORIGIN + CALLBACK, **changed}
        answer = place.gateway.ask("POST", "/v1/sessions", body=body)
        assert (answer.status, answer.json["error"]) == (401, REFUSED)


def test_without_a_provider_there_is_no_such_way(place: Place) -> None:
    for spoil in (
        lambda file: file.chmod(0o666),
        lambda file: file.write_text("version: 1"),
        lambda file: file.write_text("{"),
        lambda file: file.unlink(),
    ):
        place.write()
        path, cookie = place.begin()
        spoil(place.gateway.folder / "oidc" / "settings.yaml")
        visitor = Visitor(place.gateway.path, token="")
        assert "Sign in with" not in visitor.get("/login").text
        assert visitor.get(START).headers["location"] == "/login"
        assert place.come_back(path, cookie).status == 401


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"token_endpoint": "http://id.example.com/token"}, "token_endpoint"),
        ({"jwks_uri": "file:///etc/shadow"}, "jwks_uri"),
        ({"roles": [{"claim": "groups", "value": "x", "role": "root"}]}, "roles.0.role"),
        ({"roles": [{"claim": "g", "value": "x", "role": "admin", "networks": []}]}, "networks"),
        ({"secret": "x"}, "secret"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(json.dumps({**Provider(1).settings(), **changed}))
    with pytest.raises(WarpError) as failure:
        read_provider(file)
    assert said in failure.value.message


def test_the_example_can_be_read() -> None:
    settings = read_provider(Path(__file__).parents[3] / "examples" / "oidc" / "settings.yaml")
    assert [rule.role for rule in settings.roles] == ["admin", "operator", "helpdesk"]
