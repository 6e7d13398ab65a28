"""The commands user, token and web, end to end."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tests.command import Run
from warpd.service.users import is_password, parsed
from warpd.store.tokens import TokenKind, TokenStore

PASSWORD = "correct horse battery"  # of a test


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "etc" / "users.yaml"
    monkeypatch.setenv("WARPD_USERS", str(path))
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
    return path


def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_a_user_is_added_changed_and_removed_and_comments_stay(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("user", "add", "anna", "--role", "helpdesk", "--networks", "corp,cust-*")[0] == 0
    assert file.stat().st_mode & 0o777 == 0o600
    commented = file.read_text().replace("  anna:", "  # the night shift\n  anna:")
    file.write_text(commented)
    assert run("user", "add", "ben", "--role", "admin", "--no-password")[0] == 0
    anna = parsed("", file.read_bytes())["anna"]
    assert is_password(anna, PASSWORD)
    assert (anna.role, anna.networks) == ("helpdesk", ("corp", "cust-*"))

    typed(monkeypatch, "another horse battery\n")
    assert run("user", "passwd", "anna")[0] == 0
    assert is_password(parsed("", file.read_bytes())["anna"], "another horse battery")
    assert run("user", "set", "anna", "--role", "viewer")[0] == 0
    assert run("user", "disable", "anna")[0] == 0
    code, out, _ = run("user", "list", "-o", "json")
    assert code == 0
    row = {"name": "anna", "role": "viewer", "networks": ["corp", "cust-*"], "password": True}
    assert json.loads(out)["users"][0] == {**row, "totp": False, "disabled": True}
    assert "scrypt" not in out
    assert run("user", "enable", "anna")[0] == 0
    code, out, _ = run("user", "totp", "anna")
    assert parsed("", file.read_bytes())["anna"].totp in out
    assert run("user", "totp", "anna", "--remove")[0] == 0
    assert not parsed("", file.read_bytes())["anna"].totp
    assert run("user", "remove", "ben")[0] == 0
    assert list(parsed("", file.read_bytes())) == ["anna"]
    assert "# the night shift\n" in file.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("add", "anna", "--role", "root"), "is one of viewer"),
        (("add", "anna", "--role", "viewer", "--networks", "a b"), "no name of a network"),
        (("add", "Anna", "--role", "viewer"), "a name has"),
        (("passwd", "anna"), "there is no user anna"),
        (("remove", "anna"), "there is no user anna"),
        (("set", "anna"), "nothing to change"),
    ],
)
def test_what_is_refused_writes_nothing(
    run: Run, file: Path, words: tuple[str, ...], message: str
) -> None:
    code, _, err = run("user", *words)
    assert code == 1
    assert message in err
    assert not file.exists()


def test_a_password_that_is_too_short_is_refused(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, "hunter2\n")
    code, _, err = run("user", "add", "anna", "--role", "viewer")
    assert code == 1
    assert "at least 12 characters" in err
    assert "hunter2" not in err
    assert not file.exists()


def test_a_token_is_shown_once(run: Run, tmp_path: Path) -> None:
    code, out, err = run("token", "create", "ci-bot", "--role", "operator", "--networks", "corp")
    assert code == 0
    text = out.strip()
    store = TokenStore(tmp_path / "state")
    token = store.verify(text, (TokenKind.TOKEN,))
    assert token is not None
    assert (token.user, token.role, token.networks) == ("ci-bot", "operator", ("corp",))
    assert text not in err
    code, out, _ = run("token", "list")
    assert token.id in out
    assert text.rpartition("_")[2] not in out and token.digest not in out
    assert run("token", "revoke", token.id)[0] == 0
    assert store.verify(text, (TokenKind.TOKEN,)) is None
    code, _, err = run("token", "revoke", token.id)
    assert code == 1
    assert "there is no token" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("x", "--role", "root"), "is one of viewer"),
        (("x", "--role", "admin", "--days", "0"), "from 1 to"),
        (("x", "--role", "admin", "--networks", ""), "is a list"),
        (("X Y", "--role", "admin"), "a name has"),
    ],
)
def test_a_token_that_makes_no_sense_is_refused(
    run: Run, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    code, _, err = run("token", "create", *words)
    assert code == 1
    assert message in err
    assert TokenStore(tmp_path / "state").tokens() == {}


def test_a_login_link_has_its_code_in_the_fragment(run: Run, file: Path, tmp_path: Path) -> None:
    code, out, _ = run("web", "login", "--url", "https://gw.example.org/", "--role", "viewer")
    assert code == 0
    address, _, secret = out.strip().partition("#")
    assert address == "https://gw.example.org/login"
    found = TokenStore(tmp_path / "state").verify(secret, (TokenKind.LOGIN,))
    assert found is not None
    assert (found.role, found.account) == ("viewer", "")


def test_a_login_link_of_a_user_has_the_rights_of_the_user(
    run: Run, file: Path, tmp_path: Path
) -> None:
    run("user", "add", "anna", "--role", "helpdesk")
    code, out, _ = run("web", "login", "--user", "anna")
    found = TokenStore(tmp_path / "state").verify(out.strip().partition("#")[2], (TokenKind.LOGIN,))
    assert found is not None
    assert (found.user, found.role) == ("anna", "")
    assert found.account == parsed("", file.read_bytes())["anna"].state
    code, _, err = run("web", "login", "--user", "anna", "--role", "admin")
    assert code == 1
    assert "the role of anna is helpdesk" in err
    run("user", "disable", "anna")
    code, _, err = run("web", "login", "--user", "anna")
    assert code == 1
    assert "anna is disabled" in err


def test_who_may_what_is_answered(run: Run, file: Path) -> None:
    run("user", "add", "anna", "--role", "helpdesk", "--networks", "corp,cust-*")
    for words, allowed, why in (
        (("export", "corp/phone"), True, "anna is helpdesk of corp, cust-*"),
        (("export", "cust-9"), True, "anna is helpdesk"),
        (("export", "other/phone"), False, "sees corp, cust-* and not other"),
        (("change", "corp"), False, "change needs operator or admin"),
    ):
        code, out, _ = run("web", "can", "anna", *words, "-o", "json")
        assert code == (0 if allowed else 1)
        assert json.loads(out)["allowed"] is allowed
        assert why in json.loads(out)["why"]
    run("user", "disable", "anna")
    assert run("web", "can", "anna", "view", "corp")[0] == 1
    assert run("web", "can", "ben", "view", "corp")[0] == 1
