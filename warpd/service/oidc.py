"""Signing in by a provider of OpenID Connect: who it is, and what its users may do here. Pure but
for reading the file.

Lives here: `/etc/warpd/oidc/settings.yaml` as a model, the checks of an id token's claims (OpenID
Connect Core, 3.1.3.7), and the way from claims to a role. Does not: its signature, which a process
of its own has verified (`warpd.oidc`). Whoever is given no role by a rule does not sign in.
"""

from __future__ import annotations

import hmac
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    Field,
    StringConstraints,
)

from warpd.errors import EXIT_INVALID, WarpError
from warpd.service.rights import ALL_NETWORKS
from warpd.service.unit_settings import UnitSettings, read_settings
from warpd.service.users import NAME, check_networks, check_role

DEFAULT_OIDC: Final = Path("/etc/warpd/oidc")
SETTINGS: Final = "settings.yaml"
HINT: Final = "see docs/operators-guide.md, Signing in by a provider"
LEEWAY_S: Final = 60  # that two clocks may differ by
AGE_MAX_S: Final = 600  # of a token: it was made for this sign-in
LOGIN_MAX_S: Final = 600  # since the user has proved who they are, and then agreed to go on
VALUES_MAX: Final = 1000  # of a claim that is a list
CLAIM_MAX: Final = 1000  # characters


def _checked_url(text: str) -> str:
    is_loopback = text.startswith(("http://127.0.0.1:", "http://localhost:"))
    if not text.startswith("https://") and not is_loopback:
        raise ValueError("is no https:// URL")
    return text


def _checked_role(text: str) -> str:
    problem = check_role(text)
    if problem:
        raise ValueError(problem)
    return text


def _checked_networks(globs: list[str]) -> list[str]:
    problem = check_networks(globs)
    if problem:
        raise ValueError(problem)
    return globs


Url = Annotated[
    str, StringConstraints(pattern=r"^https?://[!-~]{3,400}$"), AfterValidator(_checked_url)
]
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,200}$")]


class RoleRule(UnitSettings):
    """Whose `claim` is, or holds, `value` has this role, in these networks."""

    claim: Text
    value: Text
    role: Annotated[str, AfterValidator(_checked_role)]
    networks: Annotated[list[str], AfterValidator(_checked_networks)] = list(ALL_NETWORKS)  # noqa: RUF012  # pydantic copies it


class OidcSettings(UnitSettings):
    """One provider.

    - `name`: what the page of signing in calls it.
    - `issuer`, `client_id`: what its tokens have to say as `iss` and `aud`.
    - `authorization_endpoint`, `token_endpoint`, `jwks_uri`: as its discovery document has them.
    - `user_claim`: whose value names the user here.
    - `roles`: the first rule that fits says the role; without one nobody signs in.
    """

    version: Literal[1]
    name: Text
    issuer: Url
    client_id: Text
    authorization_endpoint: Url
    token_endpoint: Url
    jwks_uri: Url
    scopes: list[Text] = Field(["openid", "email", "profile"])
    user_claim: Text = "email"
    roles: list[RoleRule]


@dataclass(frozen=True, slots=True)
class OidcUser:
    """Who has signed in, with role and networks by the rules."""

    name: str
    role: str
    networks: tuple[str, ...]


def read_provider(path: Path) -> OidcSettings:
    """Read the file.

    Raises:
        WarpError: it cannot be read, others can write it, or it is wrong.
    """
    return read_settings(path, OidcSettings, HINT, _refuse_writable)


def _refuse_writable(path: Path, seen: os.stat_result) -> None:
    """Raises: WarpError for a file that others can write: it says who is an administrator."""
    is_ours = seen.st_uid in (0, os.geteuid())
    if not stat.S_ISREG(seen.st_mode) or not is_ours or seen.st_mode & 0o022:
        raise WarpError(
            f"{path}: others own it, or can write it",
            who="operator",
            exit_code=EXIT_INVALID,
            hint=f"chown root: {path}; chmod go-w {path}",
        )


def problem_of(claims: Mapping[str, Any], settings: OidcSettings, nonce: str, now: float) -> str:
    """Why these claims of a verified token are not good for this sign-in; "" where they are."""
    checks = {
        "another issuer": claims.get("iss") == settings.issuer,
        "another audience": _is_for(claims, settings.client_id),
        "another nonce": _is_same(claims.get("nonce"), nonce),
        "expired": _number(claims.get("exp")) > now - LEEWAY_S,
        "signed in long ago": _is_recent(claims, now),
        "too old, or of the future": abs(now - _number(claims.get("iat"))) < AGE_MAX_S,
    }
    return ", ".join(problem for problem, is_good in checks.items() if not is_good)


def user_of(claims: Mapping[str, Any], settings: OidcSettings) -> OidcUser | None:
    """Who the claims name; None for a name that none of ours can be, and for one without a role.

    What is used as a name is in lower case and holds nothing but letters, digits and . _ @ + -. An
    address of mail counts only where the provider says that it was verified.
    """
    given = claims.get(settings.user_claim)
    name = given.lower() if isinstance(given, str) and given.isascii() else ""
    is_proved = settings.user_claim != "email" or claims.get("email_verified") is True
    if not NAME.fullmatch(name) or not is_proved:
        return None
    for rule in settings.roles:
        if rule.value in _values(claims.get(rule.claim)):
            return OidcUser(name, rule.role, tuple(rule.networks))
    return None


def _is_for(claims: Mapping[str, Any], client_id: str) -> bool:
    """Whether the token was made for us, and for nobody else."""
    audience = claims.get("aud")
    if audience != client_id and audience != [client_id]:
        return False
    return bool(claims.get("azp", client_id) == client_id)


def _is_recent(claims: Mapping[str, Any], now: float) -> bool:
    """Whether the user has just proved who they are. The page asks for that (`max_age`); a provider
    that does not say `auth_time` is believed to have done so.
    """
    told = claims.get("auth_time")
    return told is None or now - _number(told) < LOGIN_MAX_S


def _is_same(given: object, nonce: str) -> bool:
    is_text = isinstance(given, str) and len(given) < CLAIM_MAX and bool(nonce)
    return is_text and hmac.compare_digest(str(given).encode(), nonce.encode())


def _number(value: object) -> float:
    return float(value) if type(value) in (int, float) else float("-inf")  # type: ignore[arg-type]


def _values(value: object) -> tuple[str, ...]:
    """The texts of a claim: itself, or what it lists."""
    listed = value if isinstance(value, list) else [value]
    return tuple(
        item for item in listed[:VALUES_MAX] if isinstance(item, str) and len(item) < CLAIM_MAX
    )
