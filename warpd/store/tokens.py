"""Tokens, browser sessions and one-time login codes: `tokens.json` in the state folder.

Lives here: the file, its lock, and whether a text is a token of it. Does not: what a role may do.
Of a secret only its SHA-256 is kept. The daemon and `warpctl` both write, each under the lock of
`tokens.lock`, and read what the other has written before they change it. Reading takes no lock:
the file is replaced whole.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import hmac
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from warpd.errors import Busy, WarpError
from warpd.store import file_lock
from warpd.store.atomic_file import put

TOKENS: Final = "tokens.json"
TOKENS_LOCK: Final = "tokens.lock"
FORMAT: Final = 1
FILE_MAX: Final = 4 * 1024 * 1024  # bytes; several times what the numbers below can take
SECRET_BYTES: Final = 24
ID_BYTES: Final = 4
TEXT: Final = re.compile(r"warp_([0-9a-f]{8})_([0-9a-f]{48})", re.ASCII)
SESSION_S: Final = 8 * 3600.0
IDLE_S: Final = 30 * 60.0
LOGIN_CODE_S: Final = 10 * 60.0
AHEAD_S: Final = 5 * 60.0  # that a time may lie ahead of the clock
WRITE_USED_S: Final = 60.0  # between two writes of when tokens were last used
LOCK_PATIENCE_S: Final = 5.0
OF_A_USER_MAX: Final = 20  # sessions of one user; a further one ends the oldest

T = TypeVar("T")


class TokenKind(enum.StrEnum):
    """What a token was made for."""

    TOKEN = "token"  # noqa: S105  # for programs
    SESSION = "session"  # of a browser
    LOGIN = "login"  # a code that is exchanged for a session, once


MAX_OF_KIND: Final[Mapping[TokenKind, int]] = {
    TokenKind.TOKEN: 1000,
    TokenKind.SESSION: 2000,
    TokenKind.LOGIN: 100,
}


@dataclass(frozen=True, slots=True)
class Token:
    """One token as it is kept. Times are seconds since the epoch.

    Attributes:
        id: its public part, eight hexadecimal digits.
        digest: SHA-256 of its secret part, hexadecimal.
        user: whom history and events name.
        role: the name of a role; "" where the account of `user` says it.
        networks: globs; with `account`, the account says them.
        account: which state of the user's account it was made with; "" without an account.
        created_by: who made it.
        used_s: when it was last used, as far as that was written; 0.0 for never.
        signed_in_s: when the user of a session last proved who they are.
    """

    id: str
    kind: TokenKind
    digest: str
    user: str
    role: str
    networks: tuple[str, ...]
    account: str
    created_by: str
    created_s: float
    expires_s: float
    used_s: float = 0.0
    signed_in_s: float = 0.0


Tokens = dict[str, Token]
Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class TokenSpec:
    """A token to be made; the attributes are those of `Token`."""

    kind: TokenKind
    user: str
    role: str
    networks: tuple[str, ...]
    account: str
    created_by: str
    life_s: float


def new_token(spec: TokenSpec, tokens: Mapping[str, Token], now: float) -> tuple[Token, str]:
    """A token and its text, which is not kept and cannot be had again."""
    name = secrets.token_hex(ID_BYTES)
    while name in tokens:
        name = secrets.token_hex(ID_BYTES)
    secret = secrets.token_hex(SECRET_BYTES)
    signed_in_s = now if spec.kind is TokenKind.SESSION else 0.0
    token = Token(
        id=name,
        kind=spec.kind,
        digest=digest_of(secret),
        user=spec.user,
        role=spec.role,
        networks=spec.networks,
        account=spec.account,
        created_by=spec.created_by,
        created_s=now,
        expires_s=now + spec.life_s,
        used_s=signed_in_s,
        signed_in_s=signed_in_s,
    )
    return token, f"warp_{name}_{secret}"


def digest_of(secret: str) -> str:
    """SHA-256, hexadecimal. A slow hash would add nothing to 192 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_over(token: Token, now: float, used_s: float) -> bool:
    """Whether it has expired, or is a session that nobody used for `IDLE_S`.

    A session or login code with a time in the future is over too: it was made or used while the
    clock was ahead, and would live until the clock is there again.
    """
    if token.kind is TokenKind.TOKEN:
        return now >= token.expires_s
    used_s = max(used_s, token.used_s)
    is_idle = token.kind is TokenKind.SESSION and now - used_s >= IDLE_S
    is_ahead = max(used_s, token.created_s, token.signed_in_s) > now + AHEAD_S
    return now >= token.expires_s or is_idle or is_ahead


def swept(tokens: Mapping[str, Token], now: float, used: Mapping[str, float]) -> Tokens:
    """Without those that are over."""
    return {
        name: token for name, token in tokens.items() if not is_over(token, now, used.get(name, 0))
    }


class TokenStore:
    """The tokens of one state folder. Thread-safe.

    Times of use are held in memory and written at most once in `WRITE_USED_S`, so that a session
    which two programs look at is idle at most that much too early in the eyes of the other.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._clock = Path(folder), clock
        self._cached: tuple[Stamp | None, Tokens] | None = None
        self._used: dict[str, float] = {}
        self._guard = threading.Lock()
        self._written_s = float("-inf")

    # reading

    def tokens(self) -> Tokens:
        """All that are kept, by id; an absent file holds none.

        Raises:
            WarpError: the file cannot be read, or is damaged.
        """
        path = self._folder / TOKENS
        with _translate_oserror(path):
            stamp = _stamp(path)
            cached = self._cached
            if cached is not None and cached[0] == stamp:
                return cached[1]
            raw = b"" if stamp is None else _read(path)
        tokens = _parsed(path, raw) if raw else {}
        self._cached = stamp, tokens
        return tokens

    def is_current(self) -> bool:
        """Whether `tokens` has nothing to read: the file is the one that was read last."""
        try:
            return self._cached is not None and self._cached[0] == _stamp(self._folder / TOKENS)
        except OSError:
            return False

    def verify(self, text: str, kinds: tuple[TokenKind, ...]) -> Token | None:
        """The token that this text is, when it is one of these kinds and is not over.

        As long for one whose id is known as for others. Raises: as `tokens`.
        """
        found = TEXT.fullmatch(text)
        name, secret = found.groups() if found is not None else ("", "")
        token = self.tokens().get(name)
        is_same = hmac.compare_digest(digest_of(secret), token.digest if token is not None else "")
        if token is None or not is_same or token.kind not in kinds:
            return None
        if is_over(token, self._clock(), self._used.get(name, 0.0)):
            return None
        return replace(token, used_s=max(token.used_s, self._used.get(name, 0.0)))

    def listed(self, kind: TokenKind) -> list[Token]:
        """Those of this kind that are not over, oldest first. Raises: as `tokens`."""
        now, used = self._clock(), dict(self._used)
        found = [
            replace(token, used_s=max(token.used_s, used.get(token.id, 0.0)))
            for token in swept(self.tokens(), now, used).values()
            if token.kind is kind
        ]
        return sorted(found, key=lambda token: (token.created_s, token.id))

    # use

    def touch(self, token: Token) -> bool:
        """Note that it is used now; whether it is time for `write_used`."""
        now = self._clock()
        with self._guard:
            self._used[token.id] = now
            is_due = now - self._written_s >= WRITE_USED_S or now < self._written_s
            if is_due:
                self._written_s = now
        return is_due

    def write_used(self) -> None:
        """Write when tokens were last used. A folder that takes no writes is no failure."""
        with contextlib.suppress(WarpError, OSError):
            self.change(lambda tokens: None)

    # writing

    def change(self, change: Callable[[Tokens], T]) -> T:
        """Change the tokens as they are now, as the only writer; what `change` returns.

        Raises:
            Busy: another program holds the lock.
            WarpError: the file cannot be read or written; what `change` raises.
        """
        path = self._folder / TOKENS
        with _translate_oserror(path), self._lock():
            before = self.tokens()
            with self._guard:
                used = dict(self._used)
            after = _with_used(swept(before, self._clock(), used), used)
            result = change(after)
            if after != before:
                put(path, _text(after))
            with self._guard:
                gone = self._used.keys() - after.keys()
                for name in gone:
                    del self._used[name]
        return result

    def make(self, spec: TokenSpec) -> tuple[Token, str]:
        """Make a token; it and its text.

        Raises: as `change`; WarpError when there are too many of its kind.
        """
        return self.change(lambda tokens: self._made(spec, tokens))

    def redeem(self, text: str, spec: Callable[[Token], TokenSpec]) -> tuple[Token, str] | None:
        """Exchange a login code for another token, once; None when it is not good (any more).

        Raises: as `make`.
        """

        def exchanged(tokens: Tokens) -> tuple[Token, str] | None:
            code = self.verify(text, (TokenKind.LOGIN,))
            if code is None or tokens.pop(code.id, None) is None:
                return None
            return self._made(spec(code), tokens)

        return self.change(exchanged)

    def revoke(self, name: str, kind: TokenKind) -> Token | None:
        """End the token of this id; None when there is none of this kind. Raises: as `change`."""

        def ended(tokens: Tokens) -> Token | None:
            token = tokens.get(name)
            return tokens.pop(name) if token is not None and token.kind is kind else None

        return self.change(ended)

    def sign_in_anew(self, name: str) -> Token | None:
        """Note that the user of a session has just proved who they are. Raises: as `change`."""

        def renewed(tokens: Tokens) -> Token | None:
            token = tokens.get(name)
            if token is None or token.kind is not TokenKind.SESSION:
                return None
            tokens[name] = replace(token, signed_in_s=self._clock())
            return tokens[name]

        return self.change(renewed)

    def _made(self, spec: TokenSpec, tokens: Tokens) -> tuple[Token, str]:
        if spec.kind is TokenKind.SESSION:
            _end_oldest(tokens, spec.user)
        count = sum(token.kind is spec.kind for token in tokens.values())
        if count >= MAX_OF_KIND[spec.kind]:
            raise WarpError(
                f"there are {count} of kind {spec.kind}, and no more are kept",
                code="too-many",
                who="operator",
                hint="revoke some that are not needed: warpctl token list",
            )
        token, text = new_token(spec, tokens, self._clock())
        tokens[token.id] = token
        return token, text

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Raises: Busy, OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self._folder / TOKENS_LOCK, flags, 0o600)
        try:
            if not file_lock.take(fd, LOCK_PATIENCE_S):
                raise Busy("another program writes tokens", hint="try again")
            yield
        finally:
            os.close(fd)


def _with_used(tokens: Mapping[str, Token], used: Mapping[str, float]) -> Tokens:
    return {
        name: replace(token, used_s=max(token.used_s, used.get(name, 0.0)))
        for name, token in tokens.items()
    }


def _end_oldest(tokens: Tokens, user: str) -> None:
    """Make room for one more session of this user."""
    own = [
        token for token in tokens.values() if token.kind is TokenKind.SESSION and token.user == user
    ]
    own.sort(key=lambda token: token.created_s)
    for token in own[: max(0, len(own) + 1 - OF_A_USER_MAX)]:
        del tokens[token.id]


def _text(tokens: Mapping[str, Token]) -> bytes:
    rows = [asdict(token) for token in tokens.values()]
    return json.dumps({"version": FORMAT, "tokens": rows}).encode() + b"\n"


def _stamp(path: Path) -> Stamp | None:
    try:
        seen = path.stat()
    except FileNotFoundError:
        return None
    return seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def _read(path: Path) -> bytes:
    """Raises: OSError; WarpError for a file that others could have written or can read."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        seen = os.fstat(fd)
        if seen.st_uid != os.geteuid() or seen.st_mode & 0o077:
            raise WarpError(
                f"{path}: others own it, or can read it",
                code="tokens-shared",
                who="operator",
                hint=f"chown root: {path}; chmod 600 {path}",
            )
        return file.read(FILE_MAX)


def _parsed(path: Path, raw: bytes) -> Tokens:
    """Raises: WarpError when it is damaged; nothing of it is believed then."""
    try:
        document = json.loads(raw)
        if document["version"] != FORMAT:
            raise ValueError(f"version {document['version']}, this warpd reads {FORMAT}")
        rows = [_token(row) for row in document["tokens"]]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as failure:
        raise WarpError(
            f"{path} is damaged: {failure}",
            code="state-broken",
            who="operator",
            hint="remove it: all tokens and sessions end, and new ones can be made",
        ) from None
    return {token.id: token for token in rows}


def _token(row: Mapping[str, Any]) -> Token:
    """Raises: KeyError, TypeError, ValueError for what is no token."""
    token = Token(
        **{**row, "kind": TokenKind(row["kind"]), "networks": tuple(map(str, row["networks"]))}
    )
    texts = (token.id, token.digest, token.user, token.role, token.account, token.created_by)
    times = (token.created_s, token.expires_s, token.used_s, token.signed_in_s)
    if not all(isinstance(text, str) for text in texts) or len(token.digest) != 64:
        raise ValueError("unexpected shape")
    if not all(type(item) in (int, float) for item in times):
        raise ValueError("unexpected shape")
    return token


@contextlib.contextmanager
def _translate_oserror(path: Path) -> Iterator[None]:
    """An errno of the file system, as an error that names the file."""
    try:
        yield
    except OSError as failure:
        raise WarpError(
            f"{failure.filename or path}: {failure.strerror}",
            code="state-unusable",
            who="operator",
            hint="root may, on a disk that takes writes",
        ) from failure
