"""A code of the provider for a verified id token.

Lives here: two requests over HTTPS and the token's signature (RFC 7515). Does not: what its claims
mean, which the daemon checks.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPRedirectHandler, Request, build_opener

from warpd.errors import WarpError
from warpd.service.oidc import OidcSettings

TIMEOUT_S: Final = 8.0
ANSWER_MAX: Final = 256 * 1024
# Signatures by a key that is not ours to know: neither `none`, nor a secret that two parties share.
ALGORITHMS: Final = ("RS256", "PS256", "ES256", "ES384")
KEY_TYPES: Final = ("RSA", "EC")


class _StayHere(HTTPRedirectHandler):
    """Goes nowhere else than to the address that the operator has written down."""

    def redirect_request(self, *_words: Any, **_more: Any) -> None:
        return None


def claims_by_code(
    settings: OidcSettings, fields: Mapping[str, str], secret: str
) -> dict[str, Any]:
    """The claims of the id token that the provider gives for a code.

    Args:
        fields: `code`, `code_verifier` and `redirect_uri` (RFC 6749, 4.1.3; RFC 7636, 4.5).
        secret: of this client; "" where the provider asks for none.

    Raises:
        WarpError: the provider does not answer or refuses, or has not signed the token.
    """
    form = {"grant_type": "authorization_code", "client_id": settings.client_id, **fields}
    if secret:
        form["client_secret"] = secret
    token = _fetched(settings.token_endpoint, urlencode(form).encode()).get("id_token")
    if not isinstance(token, str):
        raise _error("it gave no id token")
    return verified(token, _fetched(settings.jwks_uri, None))


def verified(token: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    """The claims of a token that one of these keys has signed.

    Raises:
        WarpError: none has, or by an algorithm that is not among ALGORITHMS.
    """
    from joserfc import jwt  # the extra warpd[oidc]
    from joserfc.errors import JoseError
    from joserfc.jwk import KeySet

    try:
        public = [key for key in keys["keys"] if key.get("kty") in KEY_TYPES]
        signers = KeySet.import_key_set({"keys": [key for key in public if _signs(key)]})
        return dict(jwt.decode(token, signers, algorithms=list(ALGORITHMS)).claims)
    except (JoseError, ValueError, KeyError, TypeError, AttributeError) as failure:
        raise _error(f"its token is not good ({type(failure).__name__})") from None


def _signs(key: Mapping[str, Any]) -> bool:
    """Whether it is there for signatures (RFC 7517, 4.2)."""
    return bool(key.get("use", "sig") == "sig")


def _fetched(url: str, body: bytes | None) -> dict[str, Any]:
    """The JSON object at this address. Raises: WarpError."""
    request = Request(url, body, {"accept": "application/json"})  # noqa: S310  # settings checked it
    try:
        with build_opener(_StayHere).open(request, timeout=TIMEOUT_S) as answer:
            found = json.loads(answer.read(ANSWER_MAX))
    except HTTPError as failure:
        failure.close()
        raise _error(f"it refuses, with status {failure.code}") from None
    except (OSError, http.client.HTTPException) as failure:
        raise _error(f"it does not answer ({type(failure).__name__})") from None
    except (ValueError, RecursionError):
        raise _error("its answer is no JSON") from None
    if not isinstance(found, dict):
        raise _error("its answer is no JSON object")
    return found


def _error(text: str) -> WarpError:
    return WarpError(f"the provider: {text}", code="oidc", who="operator")
