"""Tokens on disk: what is kept, what is good, and that no change is lost."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warpd.errors import WarpError
from warpd.store import tokens as room
from warpd.store.tokens import (
    AHEAD_S,
    IDLE_S,
    OF_A_USER_MAX,
    SESSION_S,
    TOKENS,
    WRITE_USED_S,
    TokenKind,
    TokenSpec,
    TokenStore,
)

TOKEN, SESSION, LOGIN = TokenKind.TOKEN, TokenKind.SESSION, TokenKind.LOGIN


class Hand:
    """A clock that the test turns; seconds since the epoch."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def spec(kind: TokenKind = TOKEN, user: str = "ci", life_s: float = SESSION_S) -> TokenSpec:
    return TokenSpec(kind, user, "viewer", ("corp", "cust-*"), "", "root", life_s)


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def store(tmp_path: Path, clock: Hand) -> TokenStore:
    return TokenStore(tmp_path / "state", clock)


def test_a_token_is_good_until_it_expires(store: TokenStore, clock: Hand) -> None:
    made, text = store.make(spec())
    assert store.verify(text, (TOKEN,)) == made
    assert made.networks == ("corp", "cust-*")
    assert store.verify(text, (SESSION, LOGIN)) is None
    clock.now += SESSION_S - 1
    assert store.verify(text, (TOKEN,)) is not None
    clock.now += 1
    assert store.verify(text, (TOKEN,)) is None
    assert store.listed(TOKEN) == []


def test_the_file_holds_no_secret_and_is_for_root_alone(store: TokenStore, tmp_path: Path) -> None:
    _, text = store.make(spec())
    file = tmp_path / "state" / TOKENS
    secret = text.rpartition("_")[2]
    assert len(secret) * 4 == 192
    assert secret not in file.read_text()
    assert hashlib.sha256(secret.encode()).hexdigest() in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_revoked_token_is_good_nowhere(store: TokenStore, tmp_path: Path, clock: Hand) -> None:
    """Also in the eyes of another program that has read the file before."""
    other = TokenStore(tmp_path / "state", clock)
    made, text = store.make(spec())
    assert other.verify(text, (TOKEN,)) is not None
    assert store.revoke(made.id, SESSION) is None
    assert store.revoke(made.id, TOKEN) == made
    assert other.verify(text, (TOKEN,)) is None
    assert store.revoke(made.id, TOKEN) is None


def test_a_session_ends_when_nobody_uses_it(store: TokenStore, clock: Hand) -> None:
    _, text = store.make(spec(SESSION))
    for _ in range(3):
        clock.now += IDLE_S - 1
        found = store.verify(text, (SESSION,))
        assert found is not None
        store.touch(found)
    clock.now += IDLE_S
    assert store.verify(text, (SESSION,)) is None


@pytest.mark.parametrize("kind", [SESSION, LOGIN])
def test_what_a_clock_that_was_ahead_has_made_is_over(
    kind: TokenKind, store: TokenStore, clock: Hand
) -> None:
    _, text = store.make(spec(kind))
    clock.now -= AHEAD_S
    assert store.verify(text, (kind,)) is not None, "clocks are set back by a little now and then"
    clock.now -= 1
    assert store.verify(text, (kind,)) is None and store.listed(kind) == []


def test_a_session_that_was_used_while_the_clock_was_ahead_is_over(
    store: TokenStore, clock: Hand
) -> None:
    life_s = 10 * 365 * 86_400.0
    _, text = store.make(spec(SESSION, life_s=life_s))
    _, program = store.make(spec(TOKEN, life_s=life_s))
    clock.now += IDLE_S - 1
    for each in (text, program):
        found = store.verify(each, (SESSION, TOKEN))
        assert found is not None
        store.touch(found)
    clock.now -= IDLE_S - 1
    assert store.verify(text, (SESSION,)) is None
    assert store.verify(program, (TOKEN,)) is not None, "it is good until the day that it says"


def test_a_session_ends_however_much_it_is_used(store: TokenStore, clock: Hand) -> None:
    began = clock.now
    _, text = store.make(spec(SESSION))
    while (found := store.verify(text, (SESSION,))) is not None:
        store.touch(found)
        clock.now += 600
    assert SESSION_S <= clock.now - began < SESSION_S + 600


def test_a_login_code_is_exchanged_once(store: TokenStore) -> None:
    _, code = store.make(spec(LOGIN))
    made = store.redeem(code, lambda found: spec(SESSION, found.user))
    assert made is not None
    assert store.verify(made[1], (SESSION,)) == made[0]
    assert store.redeem(code, lambda found: spec(SESSION)) is None
    assert store.redeem(made[1], lambda found: spec(SESSION)) is None


def test_of_many_who_exchange_one_code_one_gets_a_session(tmp_path: Path) -> None:
    _, code = TokenStore(tmp_path).make(spec(LOGIN))
    got: list[object] = []

    def exchange() -> None:
        got.append(TokenStore(tmp_path).redeem(code, lambda found: spec(SESSION)))

    threads = [threading.Thread(target=exchange) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(item is not None for item in got) == 1


def test_no_change_of_many_writers_is_lost(tmp_path: Path) -> None:
    def make(number: int) -> None:
        for _ in range(5):
            TokenStore(tmp_path).make(spec(user=f"ci-{number}"))

    threads = [threading.Thread(target=make, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(TokenStore(tmp_path).listed(TOKEN)) == 30


def test_times_of_use_are_written_once_a_minute(
    store: TokenStore, tmp_path: Path, clock: Hand
) -> None:
    made, _ = store.make(spec())
    assert store.touch(made)
    store.write_used()
    clock.now += WRITE_USED_S - 1
    assert not store.touch(made)
    clock.now += 1
    assert store.touch(made)
    store.write_used()
    assert TokenStore(tmp_path / "state", clock).listed(TOKEN)[0].used_s == clock.now


def test_a_folder_that_takes_no_writes_stops_no_reader(
    store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, text = store.make(spec())

    def full(*_words: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(room, "put", full)
    assert store.touch(made)
    store.write_used()
    assert store.verify(text, (TOKEN,)) is not None
    with pytest.raises(WarpError, match="No space left"):
        store.make(spec())


def test_a_further_session_of_a_user_ends_the_oldest(store: TokenStore, clock: Hand) -> None:
    texts = []
    for _ in range(OF_A_USER_MAX + 2):
        texts.append(store.make(spec(SESSION, "anna"))[1])
        clock.now += 1
    good = [store.verify(text, (SESSION,)) is not None for text in texts]
    assert good == [False, False] + [True] * OF_A_USER_MAX


def test_the_number_of_tokens_is_bounded(
    store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(room.MAX_OF_KIND, TOKEN, 2)  # type: ignore[arg-type]
    store.make(spec())
    store.make(spec())
    with pytest.raises(WarpError, match="no more are kept"):
        store.make(spec())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.write_text("{"), "is damaged"),
        (lambda file: file.write_text('{"version": 2, "tokens": []}'), "version 2"),
        (lambda file: file.write_text('{"version": 1, "tokens": [{}]}'), "is damaged"),
        (lambda file: file.chmod(0o640), "can read it"),
        (lambda file: os.rename(file, f"{file}.x") or file.symlink_to(f"{file}.x"), "symbolic"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_no_empty_one(
    store: TokenStore, tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    _, text = store.make(spec())
    spoil(tmp_path / "state" / TOKENS)
    with pytest.raises(WarpError, match=message):
        store.verify(text, (TOKEN,))
    with pytest.raises(WarpError, match=message):
        store.make(spec())


def test_a_row_of_a_wrong_type_is_not_believed(store: TokenStore, tmp_path: Path) -> None:
    store.make(spec())
    file = tmp_path / "state" / TOKENS
    document = json.loads(file.read_text())
    document["tokens"][0]["expires_s"] = True
    file.write_text(json.dumps(document))
    with pytest.raises(WarpError, match="is damaged"):
        store.tokens()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[TokenStore, str]:
    store = TokenStore(tmp_path_factory.mktemp("tokens"))
    return store, store.make(spec())[1]


@given(st.data())
def test_only_the_text_itself_is_the_token(
    shared: tuple[TokenStore, str], data: st.DataObject
) -> None:
    """Cut, lengthened, changed in one place, or anything else."""
    store, text = shared
    place = data.draw(st.integers(0, len(text) - 1))
    more = data.draw(st.characters() | st.sampled_from("0123456789abcdef_ \n\0"))
    candidates = [text[:place], text[place:], text[:place] + more + text[place + 1 :]]
    candidates += [text + more, more + text, text.upper(), data.draw(st.text())]
    for candidate in candidates:
        assert (store.verify(candidate, (TOKEN,)) is not None) == (candidate == text)
