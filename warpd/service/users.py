"""The people who may sign in: `/etc/warpd/users.yaml`, which `warpctl user` writes.

Lives here: the file's shape, checks of passwords and one-time passwords. Does not: how often
somebody may try (`daemon.http.attempts`), what a role may do (`rights`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from warpd.errors import WarpError
from warpd.service.rights import ROLES
from warpd.yamlfile.parser import PositionedDict, read_text, read_tree

DEFAULT_USERS: Final = Path("/etc/warpd/users.yaml")
FORMAT: Final = 1
FILE_MAX: Final = 1024 * 1024  # bytes
USERS_MAX: Final = 2000
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}", re.ASCII)
GLOB: Final = re.compile(r"[a-z0-9*?\[\]!-]{1,64}", re.ASCII)
GLOBS_MAX: Final = 100
PASSWORD_MIN, PASSWORD_MAX = 12, 1024  # characters, bytes

# scrypt (RFC 7914): 16 MiB and some 0.1 s for each try.
_N, _R, _P = 2**14, 8, 2
_SALT_BYTES, _HASH_BYTES = 16, 32
_N_MAX, _R_MAX, _P_MAX = 2**16, 16, 8  # of a file that was written by hand
_SCRYPT: Final = re.compile(
    r"scrypt:([0-9]{1,6}):([0-9]{1,2}):([0-9]):([0-9a-f]{32}):([0-9a-f]{64})", re.ASCII
)
_NO_PASSWORD: Final = f"scrypt:{_N}:{_R}:{_P}:{'0' * 32}:{'0' * 64}"  # no password has this hash

# One-time passwords (RFC 6238): SHA-1, six digits, thirty seconds, as all programs for them take.
STEP_S: Final = 30
_DIGITS: Final = 6
_STEPS_AWAY: Final = 1  # a clock may differ by so many steps
_TOTP_BYTES: Final = 20
_TOTP: Final = re.compile(r"[A-Z2-7]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class User:
    """One person.

    Attributes:
        role: a name of `rights.ROLES`.
        networks: globs of the networks that this person sees.
        password: `scrypt:N:r:p:SALT:HASH`; "" for nobody's password.
        totp: the secret of one-time passwords in base32; "" for none.
        disabled: may not sign in, and no session is good.
    """

    name: str
    role: str
    networks: tuple[str, ...] = ("*",)
    password: str = ""
    totp: str = ""
    disabled: bool = False

    @property
    def state(self) -> str:
        """Return a text that changes with the password and when the account is recreated, so that
        old sessions end.
        """
        return hashlib.sha256(f"{self.name}\n{self.password}\n{self.totp}".encode()).hexdigest()[
            :16
        ]


# -- passwords


def hashed(password: str) -> str:
    """A password as it is kept.

    Raises:
        WarpError: it is too short or too long.
    """
    if len(password) < PASSWORD_MIN or len(password.encode()) > PASSWORD_MAX:
        raise WarpError(
            f"a password has at least {PASSWORD_MIN} characters, and at most {PASSWORD_MAX} bytes",
            code="password",
            who="operator",
            hint="several words are easy to remember",
        )
    salt = secrets.token_bytes(_SALT_BYTES)
    return f"scrypt:{_N}:{_R}:{_P}:{salt.hex()}:{_scrypt(password, salt, _N, _R, _P).hex()}"


def is_password(user: User | None, password: str) -> bool:
    """Whether it is this user's; takes as long for nobody as for somebody."""
    kept = user.password if user is not None and user.password else _NO_PASSWORD
    n, r, p, salt, expected = _numbers(kept)
    given = _scrypt(password, salt, n, r, p)
    return hmac.compare_digest(given, expected) and user is not None and bool(user.password)


def _numbers(kept: str) -> tuple[int, int, int, bytes, bytes]:
    """Raises: ValueError when it is no hash of ours, or one that would take too long."""
    found = _SCRYPT.fullmatch(kept)
    if found is None:
        raise ValueError("is no hash that `warpctl user passwd` has written")
    n, r, p = (int(item) for item in found.groups()[:3])
    if not (2 <= n <= _N_MAX and n & (n - 1) == 0 and 1 <= r <= _R_MAX and 1 <= p <= _P_MAX):
        raise ValueError("asks for more memory or time than is given")
    return n, r, p, bytes.fromhex(found[4]), bytes.fromhex(found[5])


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    """RFC 7914, by the library that derives our keys: the one of `hashlib` needs a second OpenSSL,
    3.4 MiB, which the daemon leaves out (`daemon.main`).
    """
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt  # with the first password

    raw = password.encode("utf-8", "surrogatepass")
    return Scrypt(salt, _HASH_BYTES, n, r, p).derive(raw)


# -- one-time passwords


def new_totp() -> str:
    """A secret for one-time passwords, in base32."""
    return base64.b32encode(secrets.token_bytes(_TOTP_BYTES)).decode()


def totp_url(name: str, secret: str) -> str:
    """What a program for one-time passwords reads, as text or QR code."""
    return f"otpauth://totp/warpd:{quote(name)}?secret={secret}&issuer=warpd"


def totp_at(secret: str, step: int) -> str:
    """The one-time password of one step of thirty seconds (RFC 4226, 5.3)."""
    mac = hmac.digest(base64.b32decode(secret), struct.pack(">Q", step), "sha1")
    offset = mac[-1] & 15
    number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFFFFFF
    return str(number % 10**_DIGITS).zfill(_DIGITS)


def totp_step(secret: str, given: str, now: float) -> int | None:
    """The step whose one-time password was given, near `now`; None: it is none of them."""
    middle, found = int(now // STEP_S), None
    for step in range(max(0, middle - _STEPS_AWAY), middle + _STEPS_AWAY + 1):
        if hmac.compare_digest(totp_at(secret, step).encode(), given.encode("utf-8", "replace")):
            found = step
    return found


# -- the file


class UsersFile:
    """`users.yaml`, read again when it has changed. Thread-safe."""

    def __init__(self, path: Path = DEFAULT_USERS) -> None:
        self.path = path
        self._cached: tuple[tuple[int, ...], Mapping[str, User]] | None = None

    def users(self) -> Mapping[str, User]:
        """By name; none where there is no file.

        Raises:
            WarpError: it cannot be read, others can read or write it, or its content is wrong.
        """
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return {}
        except OSError as failure:
            raise _error(f"{self.path}: {failure.strerror}", "root may read it") from failure
        with os.fdopen(fd, "rb") as file:
            seen = os.fstat(fd)
            _refuse_shared(self.path, seen)
            cached = self._cached
            if cached is not None and cached[0] == _stamp(seen):
                return cached[1]
            raw = file.read(FILE_MAX + 1)
        users = parsed(str(self.path), raw)
        self._cached = _stamp(seen), users
        return users

    def current(self) -> Mapping[str, User] | None:
        """The same without reading; None where the file has to be read, for what it says or why it
        cannot be used.
        """
        try:
            seen = os.stat(self.path)
        except FileNotFoundError:
            return {}
        except OSError:
            return None
        cached = self._cached
        return cached[1] if cached is not None and cached[0] == _stamp(seen) else None


def _stamp(seen: os.stat_result) -> tuple[int, ...]:
    """Another one when the file was written anew, or is others' to read."""
    return (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


def _refuse_shared(path: Path, seen: os.stat_result) -> None:
    if not stat.S_ISREG(seen.st_mode):
        raise _error(f"{path} is no regular file", "warpctl user add makes one")
    if seen.st_uid not in (0, os.geteuid()) or seen.st_mode & 0o077:
        raise _error(
            f"{path}: others own it, or can read it", f"chown root: {path}; chmod 600 {path}"
        )


def parsed(file: str, raw: bytes) -> dict[str, User]:
    """The users that these bytes say.

    Raises:
        WarpError: with the place of what is wrong.
    """
    if len(raw) > FILE_MAX:
        raise _error(f"{file} is larger than {FILE_MAX} bytes", "remove users who have left")
    rows = _tree(file, raw).get("users")
    if rows is None:
        return {}
    if not isinstance(rows, PositionedDict) or len(rows) > USERS_MAX:
        raise _error(f"{file}: `users` holds at most {USERS_MAX} names", "warpctl user list")
    return {name: _user(file, rows, name) for name in rows}


def _tree(file: str, raw: bytes) -> PositionedDict:
    """Raises: WarpError when it is no document of our format."""
    text, problems = read_text(raw)
    document = read_tree(text)
    for problem in (*problems, *document.problems) if text.strip() else ():
        raise _error(f"{_at(file, problem.at)}: {problem.message}", problem.hint)
    tree = document.value
    if tree is None or tree.keys() - {"version", "users"} or tree.get("version") != FORMAT:
        hint = f"an empty one says: version: {FORMAT}, users: {{}}"
        raise _error(f"{file}: expected `version: {FORMAT}` and `users:`", hint)
    return tree


def _user(file: str, rows: PositionedDict, name: str) -> User:
    fields = rows[name]
    if not NAME.fullmatch(name) or not isinstance(fields, PositionedDict):
        raise _error(f"{_at(file, rows.keys_at[name])}: {name[:80]!r} is no user", _NAME_HINT)
    for field, value in fields.items():
        check = _CHECKS.get(field)
        problem = check(value) if check is not None else "is no field of a user"
        if problem:
            place = _at(file, fields.keys_at[field])
            raise _error(f"{place}: users.{name}.{field[:40]} {problem}", _FIELDS_HINT)
    if "role" not in fields:
        raise _error(f"{_at(file, rows.keys_at[name])}: users.{name} has no role", _FIELDS_HINT)
    networks = tuple(fields.get("networks", ("*",)))
    return User(
        name=name,
        role=fields["role"],
        networks=networks,
        password=fields.get("password", ""),
        totp=fields.get("totp", ""),
        disabled=fields.get("disabled", False),
    )


def check_networks(value: object) -> str:
    """What is wrong with a list of globs; "": nothing."""
    if not isinstance(value, list | tuple) or not 0 < len(value) <= GLOBS_MAX:
        return f"is a list of up to {GLOBS_MAX} network names, in which * stands for any text"
    for item in value:
        if not isinstance(item, str) or not GLOB.fullmatch(item):
            return "holds what is no name of a network, nor one with * in it"
    return ""


def check_role(value: object) -> str:
    """What is wrong with the name of a role; "": nothing."""
    return "" if isinstance(value, str) and value in ROLES else f"is one of {', '.join(ROLES)}"


def _check_password(value: object) -> str:
    try:
        _numbers(value if isinstance(value, str) else "")
    except ValueError as failure:
        return str(failure)
    return ""


def _check_totp(value: object) -> str:
    is_good = isinstance(value, str) and _TOTP.fullmatch(value)
    return "" if is_good else "is no secret that `warpctl user totp` has written"


def _check_disabled(value: object) -> str:
    return "" if isinstance(value, bool) else "is true or false"


_CHECKS: Final = {
    "role": check_role,
    "networks": check_networks,
    "password": _check_password,
    "totp": _check_totp,
    "disabled": _check_disabled,
}
_NAME_HINT: Final = "a name has lower-case letters, digits and . _ @ + -, and fields such as `role`"
_FIELDS_HINT: Final = f"fields of a user: {', '.join(_CHECKS)}"


def _at(file: str, mark: tuple[int, int]) -> str:
    return f"{file}:{mark[0] + 1}:{mark[1] + 1}"


def _error(message: str, hint: str) -> WarpError:
    return WarpError(message, code="users-file", who="operator", hint=hint)


# -- fields as they are written


Fields = Mapping[str, Any]
EMPTY: Final = (
    f"# Who may sign in. `warpctl user` writes it, and keeps comments.\nversion: {FORMAT}\nusers:\n"
)
