"""Worlds for tests: intents in a few words, and goals made from them. No mock: the same functions as the product."""

from __future__ import annotations

from datetime import date
from typing import Any

from warpd.grants import Grants, grant
from warpd.intent import Intent
from warpd.keys import Secret
from warpd.reconcile import Goal

MASTER = Secret(bytes(range(32)))
TODAY = date(2026, 1, 1)


def network(endpoints: int = 2, **fields: Any) -> dict[str, Any]:
    names = [f"e{number}" for number in range(1, endpoints + 1)]
    body: dict[str, Any] = {"type": "secure-internet", "endpoints": {name: {"type": "mobile"} for name in names}}
    return body | {"expected_users": max(endpoints, 6)} | fields


def intent(gateway: dict[str, Any] | None = None, **networks: dict[str, Any]) -> Intent:
    named = {name.replace("_", "-"): body for name, body in networks.items()}
    return Intent.model_validate({"version": 1, "gateway": gateway or {}, "networks": named})


def goal(wanted: Intent, old: Grants | None = None) -> Goal:
    grants, findings = grant(wanted, old or Grants({}))
    assert not [finding for finding in findings if finding.is_error], findings
    return Goal(wanted, grants, MASTER, TODAY)
