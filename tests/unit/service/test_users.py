"""Users: passwords, one-time passwords, and the file that holds them."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warpd.errors import WarpError
from warpd.service import users
from warpd.service.users import User, UsersFile

PASSWORD = "correct horse battery"  # of a test
HASH = users.hashed(PASSWORD)


def test_a_password_is_that_of_one_user() -> None:
    anna, other = User("anna", "viewer", password=HASH), User("ben", "viewer")
    assert users.is_password(anna, PASSWORD)
    for given_one in (PASSWORD + " ", PASSWORD[:-1], "", PASSWORD.upper(), "\ud800"):
        assert not users.is_password(anna, given_one)
    assert not users.is_password(other, PASSWORD)
    assert not users.is_password(other, "")
    assert not users.is_password(None, PASSWORD)


def test_the_same_password_has_another_hash_each_time() -> None:
    assert users.hashed(PASSWORD) != HASH
    assert PASSWORD not in HASH


def test_nobody_costs_as_much_as_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same work is done, with the same parameters."""
    asked: list[tuple[int, ...]] = []
    real = users._scrypt

    def counted(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
        asked.append((n, r, p, len(salt)))
        return real(password, salt, n, r, p)

    monkeypatch.setattr(users, "_scrypt", counted)
    for user in (User("anna", "viewer", password=HASH), User("ben", "viewer"), None):
        users.is_password(user, "wrong")
    assert len(asked) == 3
    assert len(set(asked)) == 1


@pytest.mark.parametrize("password", ["short", "x" * 11, "ä" * 600])
def test_what_is_no_password(password: str) -> None:
    with pytest.raises(WarpError, match="at least 12 characters"):
        users.hashed(password)


@pytest.mark.parametrize(
    ("at_s", "expected"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_one_time_passwords_are_those_of_rfc_6238(at_s: int, expected: str) -> None:
    """Appendix B, the last six of the eight digits."""
    secret = base64.b32encode(b"12345678901234567890").decode()
    assert users.totp_at(secret, at_s // 30) == expected
    assert users.totp_step(secret, expected, at_s) == at_s // 30
    assert users.totp_step(secret, expected, at_s + 30) == at_s // 30
    assert users.totp_step(secret, expected, at_s + 60) is None
    assert users.totp_step(secret, "", at_s) is None


def test_a_change_of_the_password_is_another_state() -> None:
    anna = User("anna", "viewer", password=HASH)
    assert anna.state == User("anna", "admin", ("corp",), HASH).state
    assert anna.state != User("anna", "viewer", password=users.hashed(PASSWORD)).state
    assert anna.state != User("anna", "viewer", password=HASH, totp=users.new_totp()).state


def text_of(body: str) -> bytes:
    return f"version: 1\nusers:\n{body}".encode()


def test_a_file_is_read() -> None:
    found = users.parsed(
        "u.yaml",
        text_of(
            f'  anna: {{role: helpdesk, networks: [corp, "cust-*"], password: "{HASH}"}}\n'
            "  # left in May\n"
            "  ben@example.org: {role: admin, disabled: true}\n"
        ),
    )
    assert found == {
        "anna": User("anna", "helpdesk", ("corp", "cust-*"), HASH),
        "ben@example.org": User("ben@example.org", "admin", disabled=True),
    }
    assert users.parsed("u.yaml", users.EMPTY.encode()) == {}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "expected `version: 1`"),
        (b"version: 2\nusers: {}\n", "expected `version: 1`"),
        (b"version: 1\nusers: {}\nroles: {}\n", "expected `version: 1`"),
        (b"version: 1\nusers: [anna]\n", "holds at most"),
        (b"version: 1\nusers: {\n", "u.yaml:"),
        (b"\xff", "u.yaml:"),
        (text_of("  anna: admin\n"), r"u.yaml:3:3: 'anna' is no user"),
        (text_of("  Anna: {role: admin}\n"), "is no user"),
        (text_of("  anna: {}\n"), "has no role"),
        (text_of("  anna: {role: root}\n"), r"u.yaml:3:10: users.anna.role is one of viewer"),
        (text_of("  anna: {role: [admin]}\n"), "is one of viewer"),
        (text_of("  anna: {role: admin, admin: true}\n"), "admin is no field"),
        (text_of("  anna: {role: admin, networks: corp}\n"), "is a list"),
        (text_of("  anna: {role: admin, networks: []}\n"), "is a list"),
        (text_of("  anna: {role: admin, networks: [1]}\n"), "no name of a network"),
        (text_of("  anna: {role: admin, disabled: 1}\n"), "is true or false"),
        (text_of("  anna: {role: admin, totp: aaaa}\n"), "is no secret"),
        (text_of("  anna: {role: admin, password: hunter2}\n"), "is no hash"),
        (
            text_of(
                f"  anna: {{role: admin, password: 'scrypt:999424:16:8:{'0' * 32}:{'0' * 64}'}}\n"
            ),
            "asks for more memory",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_place(raw: bytes, message: str) -> None:
    with pytest.raises(WarpError, match=message) as found:
        users.parsed("u.yaml", raw)
    assert "hunter2" not in str(found.value)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "users.yaml"
    assert UsersFile(file).users() == {}
    file.write_bytes(text_of("  anna: {role: admin}\n"))
    file.chmod(0o600)
    kept = UsersFile(file)
    assert list(kept.users()) == ["anna"]
    file.chmod(0o640)
    with pytest.raises(WarpError, match="can read it"):
        kept.users()
    file.chmod(0o600)
    file.write_bytes(text_of("  ben: {role: admin}\n"))
    assert list(kept.users()) == ["ben"]
    os.unlink(file)
    os.mkfifo(file, 0o600)
    with pytest.raises(WarpError, match="no regular file"):
        kept.users()


@given(st.text(max_size=80))
def test_a_hash_that_was_written_by_hand_is_an_error_and_no_exception(text: str) -> None:
    assert bool(users._check_password(text)) == (users._SCRYPT.fullmatch(text) is None)
