"""Configs handed out over the control socket: to whom, written down, and kept nowhere."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.daemon.http.gateway import Gateway, served
from tests.unit.daemon.http.served import Line
from warpd.daemon.http import credentials
from warpd.store.export_log import FILE
from warpd.store.tokens import SESSION_S, TokenKind, TokenSpec

TEXT = """\
version: 1
gateway: {public_endpoint: vpn.example.com}
networks:
  corp:
    type: l3vpn-gateway
    endpoints:
      lap: {type: mobile}
      old: {type: mobile, expires: 2020-01-01}
      own: {type: mobile, public_key: "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="}
  lan: {type: l2-mesh, endpoints: {a: {type: cpe}}}
"""
ASKED = {"endpoint": "corp/lap", "reason": "lost phone"}


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    with served(tmp_path, monkeypatch, TEXT) as made:
        yield made


def log_of(gateway: Gateway) -> list[dict[str, str]]:
    file = gateway.daemon.state / FILE
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_the_help_desk_hands_a_config_out(gateway: Gateway) -> None:
    gateway.become("helpdesk")
    status, body = gateway.post("/v1/exports", ASKED)
    assert status == 200
    assert (body["file"], body["format"], body["config_version"]) == ("lap.conf", "wg-quick", 1)
    assert "PrivateKey = " in body["config"] and "vpn.example.com" in body["config"]
    (row,) = log_of(gateway)
    assert (row["network"], row["endpoint"], row["reason"]) == ("corp", "lap", "lost phone")
    assert row["user"].startswith("helpdesk-bot (token ")
    (event,) = gateway.daemon.told("exported")
    assert event["by"] == row["user"] and event["config_version"] == 1
    private = body["config"].partition("PrivateKey = ")[2].partition("\n")[0]
    assert private not in json.dumps(event) and private not in json.dumps(row)


def test_nothing_on_its_way_may_keep_it(gateway: Gateway) -> None:
    with contextlib.closing(Line(gateway.sock)) as line:
        line.request("POST", "/v1/exports", json.dumps(ASKED).encode())
        answer = line.getresponse()
        assert answer.read() and answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("style", ["networkd", "openwrt", "mikrotik", "vyos", "json"])
def test_every_format(gateway: Gateway, style: str) -> None:
    assert gateway.post("/v1/exports", {**ASKED, "format": style})[0] == 200
    assert log_of(gateway)[-1]["format"] == style


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"endpoint": "corp/lap"}, 400, None),
        ({**ASKED, "reason": " \n\t"}, 400, None),
        ({**ASKED, "endpoint": "corp"}, 400, None),
        ({**ASKED, "endpoint": "corp/none"}, 404, "unknown-endpoint"),
        ({**ASKED, "endpoint": "corp/old"}, 422, "expired"),
        ({**ASKED, "endpoint": "corp/../lan/a"}, 404, "unknown-endpoint"),
        ({**ASKED, "format": "../../etc/shadow"}, 400, None),
        ({**ASKED, "format": "vyos", "qr": True}, 422, "qr-format"),
        ({**ASKED, "endpoint": "corp/own", "qr": True}, 422, "qr-no-key"),
        ({**ASKED, "endpoint": "lan/a", "qr": True}, 422, "qr-hooks"),
        ({**ASKED, "lan_port": "eth0"}, 400, None),
    ],
)
def test_what_is_refused_is_not_in_the_log(
    gateway: Gateway, asked: dict[str, object], status: int, code: str | None
) -> None:
    found, body = gateway.post("/v1/exports", asked)
    assert found == status and "config" not in body
    assert code is None or body["code"] == code
    assert not log_of(gateway) and not gateway.daemon.told("exported")


@pytest.mark.parametrize(
    ("role", "networks", "status"),
    [
        ("viewer", (), 403),
        ("helpdesk", ("lan",), 404),
        ("helpdesk", ("co*",), 200),
        ("operator", (), 200),
    ],
)
def test_who_may(gateway: Gateway, role: str, networks: tuple[str, ...], status: int) -> None:
    gateway.become(role, *networks)
    found, body = gateway.post("/v1/exports", ASKED)
    assert found == status and ("config" in body) is (status == 200)


def test_a_session_that_signed_in_long_ago_proves_again_who_it_is(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = TokenSpec(TokenKind.SESSION, "anna", "admin", ("*",), "", "test", SESSION_S)
    gateway.token = gateway.credentials.tokens.make(spec)[1]
    assert gateway.post("/v1/exports", ASKED)[0] == 200
    monkeypatch.setattr(credentials, "is_fresh", lambda _identity, _now: False)
    status, body = gateway.post("/v1/exports", ASKED)
    assert (status, body["code"]) == (403, "step-up") and len(log_of(gateway)) == 1


def test_what_cannot_be_written_down_is_not_handed_out(gateway: Gateway) -> None:
    (gateway.daemon.state / FILE).mkdir()
    status, body = gateway.post("/v1/exports", ASKED)
    assert status == 500 and "config" not in body and "PrivateKey" not in json.dumps(body)
