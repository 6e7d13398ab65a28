"""Signing in by a provider of OpenID Connect, as the browser sees it. Pure.

The authorization code flow with PKCE (RFC 6749, 4.1; RFC 7636). A cookie binds it to one browser:
it holds a random seed, and what the provider is given is derived from that. So an answer that
somebody else has begun fits no cookie, and nothing is kept here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import urlencode

COOKIE: Final = "__Host-warpd-provider"
SEED: Final = re.compile(r"[A-Za-z0-9_-]{43}")
LIFE_S: Final = 600
START: Final = "/login/provider"
CALLBACK: Final = f"{START}/callback"
CODE_MAX: Final = 4096
MAX_AGE_S: Final = 300  # a sign-in here counts as a recent one, so it is one at the provider too


def new_seed() -> str:
    """A seed for one sign-in: 256 random bits."""
    return secrets.token_urlsafe(32)


def set_cookie(seed: str) -> str:
    """The Set-Cookie header. `Lax`: the provider's page leads back here, from another site."""
    return f"{COOKIE}={seed}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={LIFE_S}"


def clear_cookie() -> str:
    """The Set-Cookie header that forgets the seed."""
    return f"{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0"


def seed_of(header: str) -> str:
    """The seed of a Cookie header; "" for none."""
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None and SEED.fullmatch(found.value) else ""


def derived(seed: str, purpose: str) -> str:
    """The `state`, `nonce` or `verifier` of this sign-in: 43 characters."""
    return _text(hmac.digest(seed.encode(), f"warpd-web {purpose}".encode(), "sha256"))


def address(offer: Mapping[str, Any], seed: str, origin: str) -> str:
    """Where the browser is sent to."""
    verifier = derived(seed, "verifier")
    query = {
        "response_type": "code",
        "client_id": offer["client_id"],
        "redirect_uri": origin + CALLBACK,
        "scope": offer["scope"],
        "state": derived(seed, "state"),
        "nonce": derived(seed, "nonce"),
        "code_challenge": _text(hashlib.sha256(verifier.encode()).digest()),
        "code_challenge_method": "S256",
        "max_age": str(MAX_AGE_S),
    }
    endpoint = str(offer["authorization_endpoint"])
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"


def proof(query: Mapping[str, str], seed: str, origin: str) -> dict[str, str] | None:
    """What the daemon is given for the provider's answer; None for one that this browser has not
    begun.
    """
    code = query.get("code", "")
    is_ours = bool(seed) and hmac.compare_digest(
        query.get("state", "").encode(), derived(seed, "state").encode()
    )
    if not is_ours or not 0 < len(code) <= CODE_MAX:
        return None
    named = {name: derived(seed, name) for name in ("verifier", "nonce")}
    return {"code": code, **named, "redirect_uri": origin + CALLBACK}


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
