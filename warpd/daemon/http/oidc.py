"""The provider of OpenID Connect: `warpd-oidc` speaks to it, behind a socket of its own.

The daemon reads what is said about the provider, and decides by the claims of a token who somebody
is. It speaks to no server, and neither TLS nor a signed token is parsed with its rights.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import structlog

from warpd.daemon.http.bodies import OidcCode
from warpd.daemon.http.helper_socket import ask_unit
from warpd.errors import WarpError
from warpd.service.oidc import (
    DEFAULT_OIDC,
    SETTINGS,
    OidcSettings,
    OidcUser,
    problem_of,
    read_provider,
    user_of,
)

DEFAULT_OIDC_SOCKET: Final = Path("/run/warpd-oidc.sock")
EXCHANGE_S: Final = 25.0

Stamp = tuple[int, int, int, int]


class Provider:
    """The provider that the file in this folder names. For the socket's thread."""

    def __init__(self, folder: Path = DEFAULT_OIDC, socket: Path = DEFAULT_OIDC_SOCKET) -> None:
        self._file, self._socket = folder / SETTINGS, socket
        self._cached: tuple[Stamp, OidcSettings | None] | None = None
        self.log: Any = structlog.get_logger()

    def settings(self) -> OidcSettings | None:
        """What the operator has written; None for no provider, and for a file that is wrong."""
        try:
            seen = self._file.stat()
        except OSError:
            return None
        stamp = seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns
        if self._cached is None or self._cached[0] != stamp:
            self._cached = stamp, self._read()
        return self._cached[1]

    def _read(self) -> OidcSettings | None:
        try:
            return read_provider(self._file)
        except WarpError as failure:
            self.log.error("nobody signs in by a provider", error=failure.message)
            return None

    async def user(self, asked: OidcCode) -> OidcUser | None:
        """Who a code of the provider stands for; None where anything is wrong: the log has it."""
        settings = self.settings()
        if settings is None:
            return None
        try:
            claims = await self._claims(asked)
        except (OSError, TimeoutError, ValueError) as failure:
            self.refuse(f"warpd-oidc does not answer: {type(failure).__name__}")
            return None
        if not isinstance(claims, dict):
            return None
        problem = problem_of(claims, settings, asked.nonce, time.time())
        user = user_of(claims, settings) if not problem else None
        if user is None:
            self.refuse(problem or "no rule gives this user a role")
        return user

    async def _claims(self, asked: OidcCode) -> Any:
        """The claims; None where the provider has refused. Raises: OSError, ValueError."""
        fields = {"code": asked.code, "code_verifier": asked.verifier}
        request = {**fields, "redirect_uri": asked.redirect_uri}
        answer = await ask_unit(self._socket, request, EXCHANGE_S)
        if "error" in answer:
            self.refuse(str(answer["error"])[:200])
        return answer.get("claims")

    def refuse(self, why: str) -> None:
        """Tell the log why somebody does not get in, which nobody else is told."""
        self.log.warning("sign-in by the provider refused", why=why)
