"""P24: for every route and every role, what is not permitted is denied.

The table is what the API promises, written down by hand: nothing of it is taken from the code that
decides. A new route needs a line here.
"""

from __future__ import annotations

import base64
import itertools
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.daemon.http.served import OUTER, SEEN, UNSEEN, Answer, Served, open_folder, served
from tests.unit.daemon.http.test_routes import as_user
from warpd.daemon.http import auth, lookups, reads
from warpd.daemon.http.answers import Status
from warpd.daemon.http.route import HttpRoute, NetworkScope
from warpd.daemon.http.routes import ROUTES
from warpd.kernel.kinds.wireguard import WireguardDevice, WireguardPeer
from warpd.service.rights import Right
from warpd.store.tokens import TokenKind

# Right: "-" takes none, "?" any credential. Scope: G the whole gateway, F filtered, N one network.
TABLE = """
GET     /v1/status                          view        F
GET     /v1/summary                         view        F
GET     /v1/networks                        view        F
GET     /v1/networks/{network}              view        N
GET     /v1/networks/{network}/endpoints    view        N
GET     /v1/plan                            view        F
GET     /v1/history                         view        G
GET     /v1/history/{number}                view        G
GET     /v1/history/{older}..{newer}        view        G
GET     /v1/explain                         view        F
GET     /v1/doctor                          view        G
GET     /v1/validate                        view        G
GET     /v1/daemon                          view        G
GET     /v1/events                          view        F
GET     /v1/openapi.json                    view        F
GET     /metrics                            view        G
POST    /v1/apply                           change      G
POST    /v1/confirm                         rotate      F
POST    /v1/rollback                        rotate      F
GET     /v1/yaml                            change      G
POST    /v1/changes                         rotate      F
POST    /v1/changes/{id}/apply              rotate      F
POST    /v1/changes/{id}/propose            change      F
GET     /v1/endpoints                       view        F
GET     /v1/endpoints/{network}/{endpoint}  view        N
GET     /v1/samples                         view        F
POST    /v1/exports                         export      F
GET     /v1/exports                         administer  G
POST    /v1/links                           export      F
POST    /v1/links/redeem                    -           F
DELETE  /v1/links/{id}                      export      F
GET     /v1/suspensions                     view        F
POST    /v1/suspensions                     suspend     F
DELETE  /v1/suspensions/{network}/{endpoint}  suspend     N
GET     /v1/session                         ?           F
DELETE  /v1/session                         ?           F
POST    /v1/session/step-up                 ?           F
POST    /v1/sessions                        -           F
GET     /v1/oidc                            -           F
GET     /v1/sessions                        administer  G
DELETE  /v1/sessions/{id}                   administer  G
GET     /v1/tokens                          administer  G
POST    /v1/tokens                          administer  G
DELETE  /v1/tokens/{id}                     administer  G
"""
RIGHTS = {
    "viewer": {"view"},
    "helpdesk": {"view", "see-addresses", "export", "suspend", "rotate"},
    "operator": {"view", "see-addresses", "export", "suspend", "rotate", "change"},
    "admin": {"view", "see-addresses", "export", "suspend", "rotate", "change", "administer"},
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
ROWS = [tuple(line.split()) for line in TABLE.strip().splitlines()]
UNKNOWN = (  # codes of ids that are not there
    "unknown-token",
    "unknown-change",
    "unknown-link",
    "not-suspended",
)
DENIED = (401, 403, 404, 405)
# Answers that hold a secret on purpose, for whoever asked for it.
GIVE_SECRETS = {("POST", "/v1/tokens"), ("POST", "/v1/sessions")}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users")


@pytest.fixture(scope="module")
def gateway() -> Iterator[Served]:
    patch = pytest.MonkeyPatch()
    patch.setattr(lookups, "GAP_S", 0.0)
    patch.setattr(lookups, "TIMES_COST", 0.0)
    with open_folder() as folder, served(folder) as made:
        yield made
    patch.undo()


def concrete(path: str, network: str) -> str:
    """A path that can be asked: an unknown id, so that nothing of the test's own is ended."""
    filled = path.replace("{network}", network).replace("{number}", "1")
    filled = filled.replace("{older}..{newer}", "1..1")
    query = {"/v1/events": "?follow=0", "/v1/explain": f"?endpoint={network}/e1&target=192.0.2.1"}
    filled = filled.replace("{endpoint}", "e1" if network == SEEN else "lima-phone")
    return re.sub(r"\{\w+\}", "00000000", filled) + query.get(path, "")


def permitted(role: str, scope: tuple[str, ...], method: str, path: str, network: str) -> bool:
    """What the table says."""
    rows = [row for row in ROWS if row[:2] == (method, path)]
    if not rows:
        return False
    right, reach = rows[0][2:]
    if right in ("-", "?"):
        return True
    if right not in RIGHTS[role]:
        return False
    if reach == "G":
        return not scope
    return reach == "F" or not scope or network in scope


def is_allowed(answer: Answer, method: str, path: str, network: str) -> bool:
    """Whether it came as far as the handler; one of ids that are not there answers 404 too."""
    by_id = "{id}" in path or path.startswith("/v1/suspensions/")
    unknown = answer.status == 404 and answer.body and by_id
    if unknown and answer.json.get("code") in UNKNOWN:
        return True
    return answer.status not in DENIED


def test_the_table_is_complete() -> None:
    assert sorted(row[:2] for row in ROWS) == sorted((item.method, item.path) for item in ROUTES)


@pytest.mark.parametrize(
    ("right", "scope", "path"),
    [
        ("change", NetworkScope.GATEWAY, "/v1/x"),
        (auth.AccessLevel.READ, NetworkScope.GATEWAY, "/v1/x"),
        (True, NetworkScope.GATEWAY, "/v1/x"),
        (Right.VIEW, "gateway", "/v1/x"),
        (Right.VIEW, NetworkScope.NETWORK, "/v1/x"),
        (Right.VIEW, NetworkScope.FILTERED, "/v1/x/{network}"),
    ],
)
def test_a_route_that_does_not_say_what_it_needs_is_none(right: Any, scope: Any, path: str) -> None:
    with pytest.raises(TypeError):
        HttpRoute("GET", path, right, scope, reads.show_status, Status)


def test_every_role_on_every_route_by_every_method(
    gateway: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = sorted({row[1] for row in ROWS})
    wrong, denied, total = [], 0, 0
    for role, scope in itertools.product(RIGHTS, ((), (SEEN,))):
        token = gateway.token(role, *scope)
        for path, method, network in itertools.product(paths, METHODS, (SEEN, "zebra")):
            if network != SEEN and "{network}" not in path:
                continue
            answer = gateway.ask(method, concrete(path, network), token)
            expected = permitted(role, scope, method, path, network)
            allowed = is_allowed(answer, method, path, network)
            total += 1
            denied += not allowed
            if allowed != expected:
                wrong.append((role, scope, method, path, network, answer.status))
    with capsys.disabled():
        print(f"\nrights: {total} asked, {denied} denied, {len(wrong)} by mistake")
    assert wrong == []


def test_without_a_credential_nothing_is_answered(gateway: Served) -> None:
    """Expired, revoked, cut, of another scheme, or twice; whoever the peer is, root here."""
    good = gateway.token("admin")
    revoked = gateway.token("admin")
    gateway.credentials.tokens.revoke(revoked.split("_")[1], TokenKind.TOKEN)
    login = gateway.token("admin", kind=TokenKind.LOGIN)
    bad = ["", "Bearer", "Bearer ", f"Basic {good}", good, f"Bearer {good[:-1]}"]
    bad += [f"Bearer {good}0", f"Bearer {revoked}", f"Bearer {login}", "Bearer warp_x_y"]
    bad += [f"Bearer {good}, Bearer {good}", f"Bearer {good.upper()}", "Bearer \xff"]
    for value, (method, path, *_more) in itertools.product(bad, ROWS):
        answer = gateway.ask(method, concrete(path, SEEN), headers={"Authorization": value})
        assert (answer.status, answer.json["code"]) == (401, "token"), (value, path)
    assert gateway.ask("GET", "/v1/status", good).status == 200


@needs_root
def test_peers_of_each_group(gateway: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the kernel's word alone: `warpd-web` may sign in and nothing else, without a token."""
    made = {"warpd": 61001, "warpd-read": 61002, "warpd-web": 61003, "warpd-metrics": 61004}
    monkeypatch.setattr(auth, "_gid", made.get)
    gateway.server._groups._looked_up = float("-inf")
    for group, rights in (
        ("warpd", {"?", "-", *RIGHTS["admin"]}),
        ("warpd-read", {"?", "-", "view"}),
        ("warpd-web", {"-"}),
    ):
        statuses = as_user(
            61999,
            [made[group]],
            lambda: [gateway.ask(row[0], concrete(row[1], SEEN)).status for row in ROWS],
        )
        assert isinstance(statuses, list), statuses
        for row, status in zip(ROWS, statuses, strict=True):
            if row[2] in rights:
                assert status not in (401, 403), (group, row)
            else:
                assert status == (401 if group == "warpd-web" else 403), (group, row)
    metrics = [row for row in ROWS if row[1] != "/metrics"]
    admin = gateway.token("admin")
    statuses = as_user(
        61999,
        [61004],
        lambda: [gateway.ask(row[0], concrete(row[1], SEEN), admin).status for row in metrics],
    )
    assert set(statuses) == {403}
    token = gateway.token("viewer")
    as_web = as_user(61999, [61003], lambda: gateway.ask("GET", "/v1/status", token).status)
    assert as_web == 200


def answers_to_all(gateway: Served) -> Iterator[tuple[str, tuple[str, ...], str, str, Answer]]:
    """Every route, for every role, with what it takes so that much is answered."""
    gateway.daemon.mailbox.tell("t", "change", network=SEEN, object="x", why="as zebra has it")
    gateway.daemon.mailbox.tell("t", "change", network="zebra", object="x", why="y")
    gateway.daemon.mailbox.tell("t", "failed", error="zebra")
    for role, scope in itertools.product(RIGHTS, ((), (SEEN,))):
        token = gateway.token(role, *scope)
        for (method, path, *_more), network in itertools.product(ROWS, (SEEN, "zebra")):
            yield role, scope, method, path, gateway.ask(method, concrete(path, network), token)
        if role not in ("viewer", "admin"):
            continue
        for target in ("10.66.0.2", "zebra/lima-phone", "nil", "fd66::2", ""):
            for endpoint in (f"{SEEN}/e1", f"{SEEN}/nil", "e1", "zebra/lima-phone", ""):
                path = f"/v1/explain?endpoint={endpoint}&target={target}"
                yield role, scope, "GET", "/v1/explain", gateway.ask("GET", path, token)


@pytest.fixture(scope="module")
def answers(gateway: Served) -> list[tuple[str, tuple[str, ...], str, str, Answer]]:
    return list(answers_to_all(gateway))


def test_a_scoped_identity_hears_of_no_other_network(
    answers: list[tuple[str, tuple[str, ...], str, str, Answer]], gateway: Served
) -> None:
    """Neither names of networks and endpoints nor addresses; but what was asked may be repeated."""
    scoped = [item for item in answers if item[1]]
    assert len(scoped) > 200
    told = {word for item in answers if not item[1] for word in UNSEEN if said(item[4], word)}
    assert told == set(UNSEEN)  # the words are such that are said to others
    for role, _scope, method, path, answer in scoped:
        for word in UNSEEN:
            is_echo = answer.status == 404 and answer.json["error"] == f"there is no network {word}"
            asked = word in ("10.66.0.", "fd66:") and path == "/v1/explain"
            assert is_echo or asked or not said(answer, word), (role, method, path, word)


def said(answer: Answer, word: str) -> bool:
    return word.encode() in answer.body


def test_outer_addresses_are_for_those_who_may_see_them(
    answers: list[tuple[str, tuple[str, ...], str, str, Answer]],
) -> None:
    shown = {(role, path) for role, _, _, path, answer in answers if said(answer, OUTER)}
    assert {role for role, _ in shown} == {"helpdesk", "operator", "admin"}
    assert ("admin", "/v1/status") in shown
    assert ("admin", "/v1/explain") in shown
    assert ("helpdesk", "/v1/networks/{network}/endpoints") in shown


def test_no_answer_holds_a_secret(
    answers: list[tuple[str, tuple[str, ...], str, str, Answer]], gateway: Served
) -> None:
    secrets = secrets_of(gateway)
    assert len(secrets) > 20
    count = 0
    for role, _scope, method, path, answer in answers:
        if (method, path) in GIVE_SECRETS:
            continue
        whole = answer.body + repr(answer.headers).encode()
        count += 1
        assert not [secret for secret in secrets if secret in whole], (role, method, path)
    assert count > 400


def secrets_of(gateway: Served) -> set[bytes]:
    """Keys in the kernel, the master secret, and what is kept of tokens."""
    keys = [gateway.daemon.workspace.store.master_key(create=False)]
    for item in gateway.daemon.kernel.objects.values():
        if isinstance(item, WireguardDevice):
            keys.append(item.private_key)
        if isinstance(item, WireguardPeer):
            keys.append(item.preshared_key)
    raw = [key.reveal() for key in keys if key is not None]
    digests = {token.digest.encode() for token in gateway.credentials.tokens.tokens().values()}
    return {base64.b64encode(key) for key in raw} | {key.hex().encode() for key in raw} | digests


def test_a_denial_says_what_is_missing(gateway: Served) -> None:
    answer = gateway.ask("POST", "/v1/apply", gateway.token("helpdesk"), {})
    assert answer.status == 403
    assert answer.json["code"] == "denied"
    assert "lacks the right `change`" in answer.json["error"]
    assert answer.json["hint"] == "roles with it: operator, admin"
    answer = gateway.ask("POST", "/v1/rollback", gateway.token("operator"), {"to": 1})
    assert "lacks the right `administer`" in answer.json["error"]
    answer = gateway.ask("GET", "/v1/history", gateway.token("admin", SEEN))
    assert answer.status == 403
    assert "the whole gateway" in answer.json["error"]


def test_what_is_changed_names_who(gateway: Served) -> None:
    token = gateway.token("admin")
    name = token.split("_")[1]
    config = gateway.daemon.config
    config.write_text(config.read_text().replace('"ours"', '"ours, and theirs"'))
    answer = gateway.ask("POST", "/v1/apply", token, {"yes": True})
    assert answer.status == 200
    by = gateway.ask("GET", "/v1/history", token).json["history"][-1]["by"]
    assert by == f"admin-bot (token {name})"


def test_a_state_that_is_known_is_not_known_to_another_role(gateway: Served) -> None:
    """A tag of what one role sees says nothing to another."""
    tags = {
        gateway.ask("GET", "/v1/status", gateway.token(role, *scope)).headers["etag"]
        for role, scope in (("viewer", ()), ("admin", ()), ("admin", (SEEN,)))
    }
    assert len(tags) == 3
