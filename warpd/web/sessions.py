"""The session of a browser: its cookie, and the token that its forms carry. Pure.

The cookie holds the user's token, which the daemon has made and can end. Nothing is kept here: a
form's token is derived from it, so that a restart of this process ends nobody's work.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from http.cookies import CookieError, SimpleCookie
from typing import Final

COOKIE: Final = "__Host-warpd"
TOKEN: Final = re.compile(r"warp_[A-Za-z0-9]{1,32}_[A-Za-z0-9_-]{16,128}")
FORM_CONTEXT: Final = b"warpd-web form"


def token_of(header: str) -> str:
    """The token of a Cookie header; "" for none, and for what no token looks like."""
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    value = found.value if found is not None else ""
    return value if TOKEN.fullmatch(value) else ""


def set_cookie(token: str) -> str:
    """The Set-Cookie header that begins a session; it ends with the browser, or by the daemon."""
    return f"{COOKIE}={token}; Path=/; Secure; HttpOnly; SameSite=Strict"


def clear_cookie() -> str:
    """The Set-Cookie header that ends a session."""
    return f"{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0"


def form_token(token: str) -> str:
    """What forms of this session carry: only who has the session can know it."""
    return hmac.new(token.encode(), FORM_CONTEXT, hashlib.sha256).hexdigest()


def is_form_token(given: str, token: str) -> bool:
    """Whether a form was made for this session."""
    return hmac.compare_digest(given.encode(), form_token(token).encode())
