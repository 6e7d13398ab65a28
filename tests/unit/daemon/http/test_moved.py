"""What happens between a check and an act: somebody else applies or goes back meanwhile, and a user
with little rights gets no more than was judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.daemon.http.gateway import Gateway, served

TEXT = """
version: 1
gateway: {public_endpoint: vpn.example.com}
networks:
  corp:
    type: remote-resource-gateway
    expected_users: 6
    resources: [{subnet: 172.20.0.0/16}]
    endpoints:
      laptop: {type: mobile}
      old: {type: mobile, enabled: false}
  web:
    type: secure-internet
    expected_users: 6
    endpoints: {tele: {type: mobile}}
"""


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    with served(tmp_path, monkeypatch, TEXT) as made:
        yield made


def rotation(endpoint: str) -> dict[str, Any]:
    return {"op": "rotate_endpoint", "network": "corp", "endpoint": endpoint}


def private_ranges(gateway: Gateway) -> tuple[object, ...]:
    active = gateway.daemon.reconciler.desired.active
    assert active is not None
    return tuple(active.read.intent.networks["web"].allow_private)


@pytest.mark.parametrize("networks", [(), ("corp",)])
def test_what_an_operator_has_undone_is_put_in_force_by_nobody_else(
    gateway: Gateway, networks: tuple[str, ...]
) -> None:
    """The files keep the text of what was undone: an apply of the help desk would take it along."""
    gateway.become("operator")
    wide = {"op": "set_network", "network": "web", "fields": {"allow_private": ["10.0.0.0/8"]}}
    assert gateway.apply(gateway.change(wide), confirm_within_s=60)[0] == 200
    gateway.daemon.turn(0.1)
    gateway.become("helpdesk", *networks)
    change = gateway.change(rotation("old"))
    gateway.become("operator")
    assert gateway.post("/v1/rollback", {})[0] == 200
    gateway.daemon.turn(0.1)
    gateway.become("helpdesk", *networks)
    plan = gateway.ask("GET", "/v1/plan?fresh=1")[1]
    for digest in (plan["digest"], change["digest"]):
        status, answer = gateway.post(f"/v1/changes/{change['id']}/apply", {"digest": digest})
        assert (status, answer["code"]) == (409, "stale")
    gateway.daemon.turn(0.1)
    assert private_ranges(gateway) == ()


@pytest.mark.parametrize("verb", ["confirm", "rollback"])
def test_the_help_desk_keeps_and_undoes_nothing_that_came_in_between(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """The loop is busy while an operator goes back and applies something else."""
    gateway.become("helpdesk")
    assert gateway.apply(gateway.change(rotation("laptop")), confirm_within_s=60)[0] == 200
    helpdesk = gateway.token
    gateway.daemon.turn(0.1)
    gateway.become("operator")
    config = Path(gateway.daemon.config)
    config.write_text(config.read_text().replace("172.20.0.0/16", "172.20.0.0/15"))
    answered = Gateway._answer

    def in_between(self: Gateway, request: Any) -> None:
        if request.verb == verb:
            for earlier, arguments in (("rollback", {}), ("apply", {"confirm_within_s": 60})):
                self.daemon.ask(earlier, **arguments)
        answered(self, request)

    monkeypatch.setattr(Gateway, "_answer", in_between)
    gateway.token = helpdesk
    status, answer = gateway.post(f"/v1/{verb}", {})
    assert (status, answer["code"]) == (409, "not-yours")
    pending = gateway.daemon.reconciler.workspace.store.document("pending.json")
    assert pending is not None and "anna (web)" in pending


def test_files_that_are_edited_while_an_apply_waits_are_validated_as_they_are(
    gateway: Gateway,
) -> None:
    gateway.become("operator")
    assert gateway.apply(gateway.change(rotation("laptop")), confirm_within_s=600)[0] == 200
    gateway.daemon.turn(1)
    assert gateway.ask("GET", "/v1/validate")[1]["valid"]
    config = Path(gateway.daemon.config)
    config.write_text(config.read_text().replace("secure-internet", "nonsense"))
    gateway.daemon.scheduler.files_touched(gateway.daemon.now_s)
    gateway.daemon.turn(1)
    assert not gateway.ask("GET", "/v1/validate")[1]["valid"]
