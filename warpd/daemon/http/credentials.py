"""Who asks, by a token that came with the request; and signing in.

Hashes of passwords and files are worked at by a few threads, so that neither the socket's thread
nor the loop waits for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

from warpd.daemon.http.attempts import Attempts
from warpd.daemon.http.bodies import OidcCode
from warpd.daemon.http.messages import Headers, HttpError
from warpd.daemon.http.oidc import Provider
from warpd.errors import Busy, WarpError
from warpd.service.credentials import (
    identity_of,
    session_of_code,
    session_of_oidc,
    session_of_user,
)
from warpd.service.rights import Identity
from warpd.service.users import NAME, User, UsersFile, is_password, totp_step
from warpd.store.tokens import Token, TokenKind, TokenStore
from warpd.store.used_passwords import UsedPasswords

WORKERS: Final = 2  # hashes at a time, and as many files
WAITING_MAX: Final = 16  # that wait for a worker
LINK: Final = "(login code)"  # the name under which tries of login codes are counted
PROVIDER: Final = "(provider)"  # and those of a provider's codes
SCHEME: Final = "bearer"
TOLD_S: Final = 60.0
NO_USERS: Final = "nobody can sign in by name: the users cannot be read"
NO_USERS_HINT: Final = "on the gateway: warpctl user list says why; warpctl web login still works"
LARGE_BYTES: Final = 8 * 2**20  # half of what a hash takes
_M_MMAP_THRESHOLD: Final = -3  # malloc.h
FRESH_S: Final = 5 * 60.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Proof:
    """What somebody gives who signs in by name; `otp` is "" for none."""

    name: str
    password: str
    otp: str = ""


class Workers:
    """Threads for what takes long: so many at a time, and a bound on those who wait."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(WORKERS)
        self._waiting = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Raises: Busy when too many wait; what the work raises."""
        if self._waiting >= WAITING_MAX:
            raise Busy("too many sign in at the same time", hint="try again in a moment")
        self._waiting += 1
        try:
            async with self._free:
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1


class Credentials:
    """Tokens, users and tries to sign in. For the socket's thread."""

    def __init__(
        self,
        state_dir: Path,
        users: Path,
        log: structlog.stdlib.BoundLogger | None = None,
        clock: Callable[[], float] = time.monotonic,
        provider: Provider | None = None,
    ) -> None:
        """`clock` is the one by which tries to sign in are counted."""
        _map_large_blocks()
        self.tokens = TokenStore(state_dir)
        self._users = UsersFile(users)
        self.log: Any = log or structlog.get_logger()
        self._attempts, self.clock = Attempts(), clock
        self.provider = provider or Provider()
        self.provider.log = self.log
        self._hashes, self._files = Workers(), Workers()
        self._used = UsedPasswords(state_dir)
        self._told_at = float("-inf")
        self._writing: asyncio.Task[None] | None = None

    # -- who asks

    async def identify(self, headers: Headers) -> Identity | None:
        """Who the token of a request stands for; None for a request without one.

        It counts as a use of the token.

        Raises:
            HttpError: 401 for what is no token, and for one that is over or revoked; 503 while the
            file of users cannot be read.
            WarpError: the file of tokens cannot be read.
        """
        given = [value for name, value in headers if name == b"authorization"]
        if not given:
            return None
        token, identity = await self._known(given)
        if self.tokens.touch(token):
            self._writing = asyncio.ensure_future(self._write_used())
        return identity

    async def still(self, who: Identity, headers: Headers) -> Identity | None:
        """The same identity as it is by now, for an answer that goes on; None when it is over."""
        given = [value for name, value in headers if name == b"authorization"]
        if not given:
            return who
        try:
            return (await self._known(given))[1]
        except (HttpError, WarpError):
            return None

    async def _known(self, given: Sequence[bytes]) -> tuple[Token, Identity]:
        """Raises: as `identify`."""
        scheme, _, text = given[0].decode("latin-1").partition(" ")
        if len(given) > 1 or scheme.lower() != SCHEME:
            raise no_token("send one header: Authorization: Bearer TOKEN")
        if not self.tokens.is_current():
            await self._files.run(self.tokens.tokens)
        token = self.tokens.verify(text.strip(), (TokenKind.TOKEN, TokenKind.SESSION))
        if token is None:
            raise no_token()
        identity = identity_of(token, await self.account(token))
        if identity is None:
            raise no_token()
        return token, identity

    async def user(self, name: str) -> User | None:
        """The account of this name.

        Raises:
            HttpError: 503 while the file cannot be read; only the log says why, since it names
            others.
        """
        users = self._users.current()
        if users is None:
            try:
                users = await self._files.run(self._users.users)
            except WarpError as failure:
                self._tell(failure)
                raise HttpError(503, NO_USERS, code="users-file", hint=NO_USERS_HINT) from failure
        return users.get(name)

    async def account(self, token: Token) -> User | None:
        """The account that a token is of; None for one without. Raises: as `user`."""
        return await self.user(token.user) if token.account else None

    def _tell(self, failure: WarpError) -> None:
        """Once a minute, however many ask."""
        now = time.monotonic()
        if now - self._told_at >= TOLD_S:
            self._told_at = now
            self.log.error("the users cannot be read", error=failure.message, hint=failure.hint)

    async def _write_used(self) -> None:
        try:
            await self._files.run(self.tokens.write_used)
        except Busy:
            return  # the next time

    # -- signing in

    async def redeem(
        self, code: str, source: str, of: Identity | None = None
    ) -> tuple[Token, str] | None:
        """A session for a login code, once; None where the code is not good (any more).

        Args:
            source: where the try comes from (`attempts`).
            of: the session's user has to be this one; None for anybody.

        Raises:
            HttpError: 429 for too many tries. WarpError: it cannot be written down.
        """
        self._take_try(LINK, source)
        made = await self.work(lambda: self.tokens.redeem(code, session_of_code))
        if made is None:
            return None
        identity = identity_of(made[0], await self.account(made[0]))
        if identity is None or (of is not None and identity.user != of.user):
            await self.work(lambda: self.tokens.revoke(made[0].id, TokenKind.SESSION))
            return None
        self._attempts.succeeded(LINK, source)
        return made

    async def sign_in(self, proof: Proof, source: str) -> tuple[Token, str] | None:
        """A session for a password; None where anything of it is wrong.

        Raises: as `redeem`.
        """
        user = await self.proved(proof, source)
        if user is None:
            return None
        return await self.work(lambda: self.tokens.make(session_of_user(user)))

    async def sign_in_by_code(self, asked: OidcCode, source: str) -> tuple[Token, str] | None:
        """A session for a code of the provider; None where anything is wrong, and for somebody
        whose account here is disabled.

        Raises: as `redeem`.
        """
        self._take_try(PROVIDER, source)
        found = await self.provider.user(asked)
        account = await self.user(found.name) if found is not None else None
        if account is not None and account.disabled:
            self.provider.refuse("the account of this name is disabled here")
        if found is None or (account is not None and account.disabled):
            return None
        self._attempts.succeeded(PROVIDER, source)
        return await self.work(lambda: self.tokens.make(session_of_oidc(found)))

    async def proved(self, proof: Proof, source: str) -> User | None:
        """The account whose password, and one-time password, these are; None for any other.

        The same work is done whatever is wrong. Raises: as `redeem`.
        """
        counted = proof.name if NAME.fullmatch(proof.name) else "?"
        self._take_try(counted, source)
        user = await self.user(proof.name)
        is_right = await self._hashes.run(lambda: is_password(user, proof.password))
        step = _otp_step(user, proof.otp, time.time())
        is_good = user is not None and not user.disabled and is_right and step is not None
        if user is None or not is_good or not await self._first_use(user, step):
            self.log.warning("sign-in refused", user=counted)
            return None
        self._attempts.succeeded(counted, source)
        return user

    async def _first_use(self, user: User, step: int | None) -> bool:
        """Whether no password of this step was used before; True where none is asked for."""
        if step is None or not user.totp:
            return True
        return await self.work(lambda: self._used.use(user.name, step))

    def _take_try(self, name: str, source: str) -> None:
        wait_s = self._attempts.wait_s(name, self.clock(), source)
        if wait_s:
            raise HttpError(
                429,
                "too many tries to sign in",
                code="too-many-tries",
                hint=f"try again in {wait_s} s, or by a link of `warpctl web login`",
                retry_after_s=wait_s,
            )

    # -- files

    async def work(self, work: Callable[[], T]) -> T:
        """Do what reads and writes files, on a thread. Raises: Busy; what the work raises."""
        return await self._files.run(work)


def _map_large_blocks() -> None:
    """Have the memory of each hash given back when it is freed.

    glibc maps a large block by itself, but raises what it takes for large whenever one is freed, up
    to 32 MiB; a block of less stays in the arena of its thread (mallopt(3), M_MMAP_THRESHOLD).
    Another C library has no such call.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)


def _otp_step(user: User | None, given: str, now: float) -> int | None:
    """The step of a one-time password, 0 where none is asked for; None for a wrong one."""
    if user is None or not user.totp:
        return 0
    return totp_step(user.totp, given, now)


def no_token(hint: str = "sign in again, or have a token made: warpctl token create") -> HttpError:
    """The answer to a token that is none, or is over, revoked or of an account that has gone."""
    return HttpError(401, "this token is unknown, expired or revoked", code="token", hint=hint)


def is_fresh(identity: Identity, now: float) -> bool:
    """Whether its user has proved who they are within `FRESH_S`; programs need not."""
    return not identity.signed_in_s or 0 <= now - identity.signed_in_s < FRESH_S


def require_fresh(identity: Identity) -> None:
    """Raises: HttpError 403 `step-up` for a session whose sign-in is older than five minutes."""
    if not is_fresh(identity, time.time()):
        raise HttpError(
            403,
            "this needs your password again: the sign-in is older than 5 minutes",
            code="step-up",
            hint="POST /v1/session/step-up, then try again",
        )
