"""Signing in over a real socket: by password, one-time password and link; and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.daemon.http.served import PASSWORD, SEEN, Answer, Line, Served, open_folder, served
from tests.unit.daemon.http.test_routes import as_user, needs_root
from warpd.daemon.http import auth, lookups
from warpd.daemon.http.attempts import ALL, FORGET_S, NAME, PAIR, SOURCE, Attempts, source_of
from warpd.daemon.http.credentials import FRESH_S
from warpd.service import users
from warpd.service.credentials import make_login_code
from warpd.service.users import STEP_S, User, totp_at
from warpd.store import tokens as token_room
from warpd.store import used_passwords
from warpd.store.tokens import TokenKind

HASH = users.hashed(PASSWORD)
ANNA = User("anna", "helpdesk", (SEEN,), HASH)


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(lookups, "GAP_S", 0.0)
    with open_folder() as folder, served(folder) as made:
        made.add_users(ANNA)
        yield made


def sign_in(gateway: Served, **fields: str) -> Answer:
    body = {"user": "anna", "password": PASSWORD} | fields
    return gateway.ask("POST", "/v1/sessions", body=body)


def test_a_password_gives_a_session_that_ends(gateway: Served) -> None:
    answer = sign_in(gateway)
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    token = answer.json["token"]
    own = gateway.ask("GET", "/v1/session", token).json
    assert own | answer.json["session"] == own
    assert (own["user"], own["role"], own["networks"]) == ("anna (web)", "helpdesk", [SEEN])
    assert own["rights"] == ["view", "see-addresses", "export", "suspend", "rotate"]
    assert own["kind"] == "session" and own["signed_in_s_ago"] <= 5
    assert gateway.ask("DELETE", "/v1/session", token).status == 200
    assert gateway.ask("GET", "/v1/session", token).status == 401


def test_every_failure_has_the_same_words(gateway: Served) -> None:
    gateway.add_users(
        ANNA,
        replace(ANNA, name="off", disabled=True),
        replace(ANNA, name="key", totp=users.new_totp()),
        replace(ANNA, name="none", password=""),
    )
    tried = [
        {"password": "wrong"},
        {"password": ""},
        {"user": "nobody"},
        {"user": "Anna\n"},
        {"user": "off"},
        {"user": "key"},
        {"user": "key", "otp": "000000"},
        {"user": "none"},
    ]
    answers = {sign_in(gateway, **fields).body for fields in tried}
    answers.add(gateway.ask("POST", "/v1/sessions", body={"login": "warp_x"}).body)
    assert len(answers) == 1
    assert json.loads(answers.pop())["code"] == "sign-in"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user": "anna"},
        {"login": "x", "user": "anna"},
        {"user": "anna", "password": 7},
        {"user": "anna", "password": PASSWORD, "role": "admin"},
    ],
)
def test_a_body_of_another_shape_is_refused(gateway: Served, body: dict[str, object]) -> None:
    answer = gateway.ask("POST", "/v1/sessions", body=body)
    assert answer.status == 400
    assert PASSWORD.encode() not in answer.body


def test_a_one_time_password_is_good_once(gateway: Served) -> None:
    secret = users.new_totp()
    gateway.add_users(replace(ANNA, totp=secret))
    otp = totp_at(secret, int(time.time()) // STEP_S)
    assert sign_in(gateway, otp=otp, password="wrong").status == 401  # and is not used up by it
    assert sign_in(gateway, otp=otp).status == 200
    assert sign_in(gateway, otp=otp).status == 401


def test_a_one_time_password_is_good_once_over_a_restart(tmp_path: Path) -> None:
    secret = users.new_totp()
    otp = totp_at(secret, int(time.time()) // STEP_S)
    for status in (200, 401):
        with served(tmp_path) as gateway:
            gateway.add_users(replace(ANNA, totp=secret))
            assert sign_in(gateway, otp=otp).status == status


def test_one_of_many_at_a_time_uses_a_one_time_password(gateway: Served) -> None:
    secret = users.new_totp()
    gateway.add_users(replace(ANNA, totp=secret))
    otp = totp_at(secret, int(time.time()) // STEP_S)
    statuses: list[int] = []
    signing = [
        threading.Thread(target=lambda: statuses.append(sign_in(gateway, otp=otp).status))
        for _ in range(4)
    ]
    for thread in signing:
        thread.start()
    for thread in signing:
        thread.join()
    assert sorted(statuses) == [200, 401, 401, 401]


def test_a_one_time_password_that_cannot_be_noted_lets_nobody_in(gateway: Served) -> None:
    secret = users.new_totp()
    gateway.add_users(replace(ANNA, totp=secret))
    otp = totp_at(secret, int(time.time()) // STEP_S)
    kept = gateway.daemon.state / used_passwords.FILE
    kept.write_text("{")
    answer = sign_in(gateway, otp=otp)
    assert (answer.status, answer.json["code"]) == (500, "state-broken")
    kept.unlink()
    assert sign_in(gateway, otp=otp).status == 200
    assert kept.stat().st_mode & 0o777 == 0o600


def change_of(account: User, how: str) -> tuple[User, ...]:
    return {
        "disabled": (replace(account, disabled=True),),
        "removed": (),
        "new password": (replace(account, password=users.hashed(PASSWORD)),),
        "one-time passwords": (replace(account, totp=users.new_totp()),),
    }[how]


@pytest.mark.parametrize("how", ["disabled", "removed", "new password", "one-time passwords"])
def test_a_change_of_the_account_ends_its_sessions(gateway: Served, how: str) -> None:
    token = sign_in(gateway).json["token"]
    assert gateway.ask("GET", "/v1/status", token).status == 200
    gateway.add_users(*change_of(ANNA, how))
    assert gateway.ask("GET", "/v1/status", token).status == 401


def test_a_change_of_the_role_holds_for_open_sessions(gateway: Served) -> None:
    token = sign_in(gateway).json["token"]
    assert gateway.ask("GET", "/v1/history", token).status == 403
    gateway.add_users(replace(ANNA, role="viewer", networks=("*",)))
    assert gateway.ask("GET", "/v1/history", token).status == 200
    assert gateway.ask("GET", "/v1/session", token).json["rights"] == ["view"]


def test_a_file_of_users_that_is_wrong_lets_nobody_in(gateway: Served) -> None:
    token, program = sign_in(gateway).json["token"], gateway.token("viewer")
    gateway.users.chmod(0o644)
    for answer in (gateway.ask("GET", "/v1/status", token), sign_in(gateway)):
        assert (answer.status, answer.json["code"]) == (503, "users-file")
        assert str(gateway.users).encode() not in answer.body
    code = login_code(gateway, None)
    assert gateway.ask("POST", "/v1/sessions", body={"login": code}).status == 200
    assert gateway.ask("GET", "/v1/status", program).status == 200
    assert gateway.ask("GET", "/v1/status").status == 200
    gateway.users.chmod(0o600)
    assert gateway.ask("GET", "/v1/status", token).status == 200


def test_tokens_that_cannot_be_read_let_nobody_in_but_root(gateway: Served) -> None:
    token = gateway.token("admin")
    (gateway.daemon.state / "tokens.json").write_text("{")
    answer = gateway.ask("GET", "/v1/status", token)
    assert (answer.status, answer.json["code"]) == (500, "state-broken")
    assert gateway.ask("GET", "/v1/status").status == 200


def test_a_disk_that_is_full_stops_no_reader(
    gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = gateway.token("viewer")

    def full(*_words: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(token_room, "put", full)
    for _ in range(3):
        assert gateway.ask("GET", "/v1/status", token).status == 200
    answer = sign_in(gateway)
    assert answer.status == 500 and "No space left" in answer.json["error"]


def login_code(gateway: Served, user: User | None, role: str = "admin") -> str:
    name = user.name if user is not None else "root"
    return make_login_code(gateway.credentials.tokens, name, role, user, "root")[1]


def test_a_link_signs_in_once(gateway: Served) -> None:
    code = login_code(gateway, None)
    answer = gateway.ask("POST", "/v1/sessions", body={"login": code})
    assert answer.json["session"]["user"] == "root (web)"
    assert answer.json["session"]["role"] == "admin"
    assert gateway.ask("GET", "/v1/history", answer.json["token"]).status == 200
    assert gateway.ask("POST", "/v1/sessions", body={"login": code}).status == 401


def test_a_link_of_a_user_who_was_disabled_meanwhile_is_good_for_nothing(gateway: Served) -> None:
    code = login_code(gateway, ANNA)
    gateway.add_users(replace(ANNA, disabled=True))
    assert gateway.ask("POST", "/v1/sessions", body={"login": code}).status == 401
    assert gateway.credentials.tokens.listed(TokenKind.SESSION) == []


def test_an_old_sign_in_is_renewed_by_the_password(
    gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.add_users(replace(ANNA, role="admin", networks=("*",)))
    token = sign_in(gateway).json["token"]
    body = {"name": "ci", "role": "viewer"}
    assert gateway.ask("POST", "/v1/tokens", token, body).status == 200

    aged = {
        name: replace(item, signed_in_s=item.signed_in_s - FRESH_S)
        for name, item in gateway.credentials.tokens.tokens().items()
    }
    gateway.credentials.tokens.change(lambda tokens: tokens.update(aged))
    for path, data in (("/v1/tokens", body), ("/v1/rollback", {"to": 1})):
        answer = gateway.ask("POST", path, token, data)
        assert (answer.status, answer.json["code"]) == (403, "step-up")
    path = "/v1/session/step-up"
    assert gateway.ask("POST", path, token, {"password": "wrong"}).status == 401
    assert gateway.ask("POST", "/v1/tokens", token, body).status == 403
    assert gateway.ask("POST", path, token, {"password": PASSWORD}).status == 200
    assert gateway.ask("POST", "/v1/tokens", token, body).status == 200
    assert gateway.ask("POST", path, token, {"login": login_code(gateway, None)}).status == 401
    other = replace(ANNA, role="admin", networks=("*",))
    assert gateway.ask("POST", path, token, {"login": login_code(gateway, other)}).status == 200
    assert gateway.ask("POST", path, gateway.token("admin"), {"password": "x"}).status == 409


def test_a_session_without_an_account_takes_no_password(gateway: Served) -> None:
    """Of somebody of the same name, who has an account."""
    code = make_login_code(gateway.credentials.tokens, "anna", "admin", None, "root")[1]
    token = gateway.ask("POST", "/v1/sessions", body={"login": code}).json["token"]
    path = "/v1/session/step-up"
    assert gateway.ask("POST", path, token, {"password": PASSWORD}).status == 401
    code = make_login_code(gateway.credentials.tokens, "anna", "admin", None, "root")[1]
    assert gateway.ask("POST", path, token, {"login": code}).status == 200


def test_tokens_and_sessions_of_others_are_listed_and_ended(gateway: Served) -> None:
    admin, session = gateway.token("admin"), sign_in(gateway).json["token"]
    made = gateway.ask(
        "POST", "/v1/tokens", admin, {"name": "ci", "role": "operator", "networks": [SEEN]}
    ).json
    rows = gateway.ask("GET", "/v1/tokens", admin).json["tokens"]
    assert made["id"] in [row["id"] for row in rows]
    assert gateway.ask("GET", "/v1/status", made["token"]).status == 200
    row = next(row for row in rows if row["id"] == made["id"])
    assert row["created_by"] == f"admin-bot (token {admin.split('_')[1]})"
    assert gateway.ask("DELETE", f"/v1/tokens/{made['id']}", admin).status == 200
    assert gateway.ask("GET", "/v1/status", made["token"]).status == 401
    rows = gateway.ask("GET", "/v1/sessions", admin).json["sessions"]
    assert [row["name"] for row in rows] == ["anna"]
    assert gateway.ask("DELETE", f"/v1/sessions/{rows[0]['id']}", admin).status == 200
    assert gateway.ask("GET", "/v1/status", session).status == 401
    assert gateway.ask("DELETE", f"/v1/sessions/{rows[0]['id']}", admin).status == 404


@pytest.mark.parametrize(
    "body",
    [
        {"name": "ci"},
        {"name": "ci", "role": "root"},
        {"name": "CI\n", "role": "viewer"},
        {"name": "ci", "role": "viewer", "days": 100_000},
        {"name": "ci", "role": "viewer", "days": True},
        {"name": "ci", "role": "viewer", "networks": []},
        {"name": "ci", "role": "viewer", "networks": [["x"]]},
        {"name": "ci", "role": "viewer", "id": "00000000"},
    ],
)
def test_a_token_that_makes_no_sense_is_not_made(gateway: Served, body: dict[str, object]) -> None:
    before = len(gateway.credentials.tokens.tokens())
    answer = gateway.ask("POST", "/v1/tokens", body=body)
    assert answer.status == 400
    assert len(gateway.credentials.tokens.tokens()) == before


def test_a_stream_ends_with_its_session(gateway: Served) -> None:
    token = sign_in(gateway).json["token"]
    line = Line(gateway.path)
    line.request("GET", "/v1/events", headers={"Authorization": f"Bearer {token}"})
    answer = line.getresponse()
    assert answer.status == 200
    gateway.ask("DELETE", "/v1/session", token)
    gateway.daemon.mailbox.tell("t", "change", network=SEEN, object="after the end", why="w")
    assert b"after the end" not in answer.read()
    line.close()


def test_readers_do_not_wait_for_hashes(gateway: Served) -> None:
    """Many sign in at once: at most two hashes at a time, and others are answered meanwhile."""
    gateway.ask("GET", "/v1/status")
    signing = [threading.Thread(target=lambda: sign_in(gateway, password="w")) for _ in range(8)]
    for thread in signing:
        thread.start()
    count = 0
    while any(thread.is_alive() for thread in signing):
        assert gateway.ask("GET", "/v1/status").status == 200
        count += 1
    assert count > 8


HASHES = """
import asyncio, sys
from pathlib import Path
from cryptography.hazmat.primitives.kdf import scrypt  # the daemon derives keys by this library
from warpd.daemon.http.credentials import Credentials, Proof

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) // 256

async def sign_in():
    credentials = Credentials(Path(sys.argv[1]), Path(sys.argv[2]))
    before = resident()
    tried = [credentials.proved(Proof("anna", "wrong password"), "") for _ in range(6)]
    assert set(await asyncio.gather(*tried)) == {None}
    print(resident() - before)

asyncio.run(sign_in())
"""


def test_the_memory_of_hashes_is_given_back(gateway: Served) -> None:
    """MiB that the process has more, after six hashes of 16 MiB each, two at a time."""
    words = [sys.executable, "-c", HASHES, str(gateway.daemon.state), str(gateway.users)]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "MALLOC_ARENA_MAX": "2"},
    )
    assert int(done.stdout.split()[-1]) < 8


def test_too_many_tries_have_to_wait(gateway: Served) -> None:
    gateway.credentials.clock = lambda: 1000.0  # no try comes back, however slow this machine is
    statuses = [sign_in(gateway, password="wrong").status for _ in range(int(PAIR.burst) + 1)]
    assert statuses == [401] * int(PAIR.burst) + [429]
    answer = sign_in(gateway)
    assert answer.json["code"] == "too-many-tries"
    assert 0 < answer.json["retry_after_s"] <= PAIR.every_s
    gateway.add_users(ANNA, replace(ANNA, name="ben"))
    assert sign_in(gateway, user="ben").status == 200
    code = login_code(gateway, ANNA)
    assert gateway.ask("POST", "/v1/sessions", body={"login": code}).status == 200


# -- how often, without a socket


def tries(counted: Attempts, name: str, now: float, source: str, count: int = 100) -> int:
    """How many of so many tries are let through."""
    return [counted.wait_s(name, now, source) for _ in range(count)].count(0)


def test_tries_come_back_with_time() -> None:
    counted = Attempts()
    assert tries(counted, "a", 0.0, "") == PAIR.burst
    assert counted.wait_s("a", 0.0) == PAIR.every_s
    assert counted.wait_s("a", PAIR.every_s - 1) == 1
    assert counted.wait_s("a", PAIR.every_s) == 0
    assert counted.wait_s("a", PAIR.every_s) > 0


def test_a_try_that_was_right_does_not_count() -> None:
    counted = Attempts()
    for _ in range(100):
        assert counted.wait_s("a", 0.0, "192.0.2.1") == 0
        counted.succeeded("a", "192.0.2.1")


def test_one_source_keeps_nobody_else_out() -> None:
    """Neither by the name of somebody, nor by many names, for however long it goes on."""
    counted = Attempts()
    for second in range(300):
        now = float(second)
        tries(counted, "anna", now, "192.0.2.66", 20)
        for number in range(20):
            counted.wait_s(f"user-{number}", now, "192.0.2.66")
        if second % 30 == 0:
            assert counted.wait_s("anna", now, "192.0.2.1") == 0, second
            counted.succeeded("anna", "192.0.2.1")
    assert counted.wait_s("anna", 300.0, "192.0.2.66") > 0


def test_a_name_is_bounded_from_all_sources_together() -> None:
    counted = Attempts()
    tried = sum(tries(counted, "anna", 0.0, f"192.0.2.{number}", 3) for number in range(200))
    assert tried == NAME.burst


def test_a_source_is_bounded_in_all_names_together() -> None:
    counted = Attempts()
    tried = sum(tries(counted, f"user-{number}", 0.0, "192.0.2.1", 1) for number in range(200))
    assert tried == SOURCE.burst


def test_all_together_are_bounded_in_tries_and_in_memory() -> None:
    counted, most = Attempts(), 0
    for now in range(300):
        for number in range(50):
            counted.wait_s(f"user-{now}-{number}", float(now), f"s{number}")
        most = max(most, len(counted._kept))
    assert most <= 3 * (ALL.burst + 2 * FORGET_S / ALL.every_s)
    counted = Attempts()
    tried = [counted.wait_s(f"user-{number}", 0.0, f"s{number}") for number in range(5000)]
    assert tried.count(0) == ALL.burst


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("127.0.0.1", ""),
        ("::1", ""),
        ("::ffff:127.0.0.1", ""),
        ("", ""),
        ("anna", ""),
    ],
)
def test_a_source_is_what_one_browser_has_to_itself(address: str, source: str) -> None:
    assert source_of(address) == source


@needs_root
def test_the_dashboard_alone_says_where_a_browser_is(
    gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of any other peer the header is not read: it would have as many tries as it has headers."""
    made = {"warpd": 61001, "warpd-read": 61002, "warpd-web": 61003, "warpd-metrics": 61004}
    monkeypatch.setattr(auth, "_gid", made.get)
    gateway.server._groups._looked_up = float("-inf")
    gateway.credentials.clock = lambda: 1000.0  # no try comes back, however slow this machine is

    def statuses(source: str, count: int, name: str = "anna") -> list[int]:
        body, sent = {"user": name, "password": "wrong"}, {"warpd-source": source}
        return [
            gateway.ask("POST", "/v1/sessions", body=body, headers=sent).status
            for _ in range(count)
        ]

    burst = int(PAIR.burst)
    as_web = as_user(61999, [61003], lambda: statuses("192.0.2.1", burst + 1))
    assert as_web == [401] * burst + [429]
    assert as_user(61999, [61003], lambda: statuses("192.0.2.2", 1)) == [401]
    as_reader = as_user(
        61998, [61002], lambda: [statuses(f"192.0.2.{n}", 1, "ben")[0] for n in range(burst + 1)]
    )
    assert as_reader == [401] * burst + [429]
