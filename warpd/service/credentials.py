"""Tokens, login codes and sessions as commands and the API ask for them: checked, made, shown.

Lives here: what is asked for and what is shown. Does not: the file (`store.tokens`), what a role
may do (`rights`), how often somebody may try (`daemon.http.attempts`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from warpd.errors import WarpError
from warpd.service.oidc import OidcUser
from warpd.service.rights import ROLES, Identity
from warpd.service.users import NAME, User, check_networks, check_role
from warpd.store.tokens import LOGIN_CODE_S, SESSION_S, Token, TokenKind, TokenSpec, TokenStore

DAYS_DEFAULT: Final = 90
DAYS_MAX: Final = 3653
_DAY_S: Final = 86400.0


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A token for a program: its name, what it may do, where, and for how long.

    Attributes:
        name: history and events name it.
        role: a name of `rights.ROLES`.
        networks: globs of names.
        days: after so many it is over.
    """

    name: str
    role: str
    networks: Sequence[str] = ("*",)
    days: int = DAYS_DEFAULT

    def check(self) -> None:
        """Raises: WarpError when it asks for what there is not."""
        check_name(self.name)
        _refuse(f"the role {check_role(self.role)}" if check_role(self.role) else "")
        wrong = check_networks(self.networks)
        _refuse(f"`networks` {wrong}" if wrong else "")
        is_days = type(self.days) is int and 0 < self.days <= DAYS_MAX
        _refuse("" if is_days else f"`days` is a whole number from 1 to {DAYS_MAX}")


def check_name(name: object) -> None:
    """Raises: WarpError when it cannot be the name of a user or a token."""
    is_name = isinstance(name, str) and NAME.fullmatch(name)
    _refuse("" if is_name else "a name has 1 to 64 lower-case letters, digits and any of . _ @ + -")


def make_token(store: TokenStore, request: TokenRequest, by: str) -> tuple[Token, str]:
    """A token and its text. Raises: WarpError."""
    request.check()
    made = TokenSpec(
        kind=TokenKind.TOKEN,
        user=request.name,
        role=request.role,
        networks=tuple(request.networks),
        account="",
        created_by=by,
        life_s=request.days * _DAY_S,
    )
    return store.make(made)


def make_login_code(
    store: TokenStore, name: str, role: str, user: User | None, by: str
) -> tuple[Token, str]:
    """A code that is exchanged for a session, once and soon.

    Args:
        name: whom the session names.
        role: of the session, where `user` is None.
        user: the account that the session is of; None for none.

    Raises:
        WarpError: an account that is disabled, or a role that there is not.
    """
    if user is None:
        TokenRequest(name, role).check()
    elif user.disabled:
        raise WarpError(
            f"{name} is disabled",
            code="user-disabled",
            who="operator",
            hint=f"warpctl user enable {name}",
        )
    spec = TokenSpec(
        kind=TokenKind.LOGIN,
        user=name,
        role=role if user is None else "",
        networks=("*",) if user is None else (),
        account="" if user is None else user.state,
        created_by=by,
        life_s=LOGIN_CODE_S,
    )
    return store.make(spec)


def session_of_code(code: Token) -> TokenSpec:
    """The session that a login code is exchanged for."""
    return TokenSpec(
        kind=TokenKind.SESSION,
        user=code.user,
        role=code.role,
        networks=code.networks,
        account=code.account,
        created_by=f"login code of {code.created_by}",
        life_s=SESSION_S,
    )


def session_of_user(user: User) -> TokenSpec:
    """The session of somebody who has given the right password."""
    return TokenSpec(
        kind=TokenKind.SESSION,
        user=user.name,
        role="",
        networks=(),
        account=user.state,
        created_by="password",
        life_s=SESSION_S,
    )


def session_of_oidc(user: OidcUser) -> TokenSpec:
    """The session of somebody whom the provider has sent; role and networks stay as they are now
    until it ends.
    """
    return TokenSpec(
        kind=TokenKind.SESSION,
        user=user.name,
        role=user.role,
        networks=user.networks,
        account="",
        created_by="provider",
        life_s=SESSION_S,
    )


def identity_of(token: Token, user: User | None) -> Identity | None:
    """Who a token or session stands for; None when its account has changed or gone.

    Args:
        token: one that is not over.
        user: the account of that name as it is now; None when there is none.
    """
    role, networks = token.role, token.networks
    if token.account:
        if user is None or user.disabled or user.state != token.account:
            return None
        role, networks = user.role, user.networks
    if role not in ROLES:
        return None
    known_by = "web" if token.kind is TokenKind.SESSION else f"token {token.id}"
    return Identity(
        user=f"{token.user} ({known_by})",
        rights=ROLES[role],
        networks=networks,
        credential=token.id,
        role=role,
        signed_in_s=token.signed_in_s,
        expires_s=token.expires_s,
    )


def token_json(token: Token) -> dict[str, Any]:
    """A token as it is shown: nothing by which it could be used."""
    return {
        "id": token.id,
        "name": token.user,
        "role": token.role,
        "networks": list(token.networks),
        "created_by": token.created_by,
        "created": iso(token.created_s),
        "expires": iso(token.expires_s),
        "last_used": iso(token.used_s) if token.used_s else None,
    }


def iso(seconds: float) -> str:
    """A time as JSON shows it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def seconds_ago(then_s: float) -> int:
    """How long ago that was, in whole seconds."""
    return max(0, int(time.time() - then_s))


def _refuse(problem: str) -> None:
    if problem:
        raise WarpError(problem, code="usage", who="operator", hint="see --help")
