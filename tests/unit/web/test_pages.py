"""What pages say of what the daemon says."""

from __future__ import annotations

import ast
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.unit.web.recorded import answers
from warpd.web import catalogue, picture, rendering, summary, wizards
from warpd.web.frame import frame_of
from warpd.web.happenings import happenings
from warpd.web.listing import PAGE, Search, search
from warpd.web.phases import PHASES, phase_rows

WEB = Path(summary.__file__).parent
KEYS = re.compile(r'\b(?:t|empty)\("([a-z0-9.-]+)"( ~)?')


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return answers(tmp_path_factory.mktemp("gateway"))


def endpoint(**fields: Any) -> dict[str, Any]:
    row = {"enabled": True, "in_force": True, "in_kernel": True, "expires_in_days": None}
    return {**row, "handshake_age_s": 5, **fields}


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "connected"),
        ({"handshake_age_s": 179}, "connected"),
        ({"handshake_age_s": 180}, "idle"),
        ({"handshake_age_s": None}, "never"),
        ({"enabled": False}, "disabled"),
        ({"expires_in_days": 0}, "connected"),
        ({"expires_in_days": -1}, "expired"),
        ({"in_kernel": False}, "absent"),
        ({"in_kernel": False, "in_force": False, "handshake_age_s": None}, "never"),
        ({"suspended": {"by": "anna"}, "in_kernel": False}, "suspended"),
    ],
)
def test_the_state_of_an_endpoint(fields: dict[str, Any], state: str) -> None:
    assert summary.endpoint_state(endpoint(**fields)) == state


def test_what_is_out_of_sync_is_at_its_phase(daemon: dict[str, Any]) -> None:
    """One peer was removed; a link of another network is in the way of ours."""
    plan, networks = daemon["/v1/plan"], daemon["/v1/networks"]["networks"]
    wrong = {}
    for network in networks:
        rows = phase_rows(network, plan)
        wrong[network["name"]] = [row["phase"] for row in rows if row["state"] != "in-sync"]
        assert [row["phase"] for row in rows if row["phase"] in PHASES] == [
            phase for phase in PHASES if phase in {row["phase"] for row in rows}
        ]
    assert any("peer" in phases for phases in wrong.values())
    assert any("foreign" in phases for phases in wrong.values())
    assert [] in wrong.values(), "the others are in sync"


def test_every_step_of_the_plan_is_on_the_page_of_its_network(daemon: dict[str, Any]) -> None:
    plan = daemon["/v1/plan"]
    shown = 0
    for network in daemon["/v1/networks"]["networks"]:
        shown += sum(
            len(row["objects"]) for row in phase_rows(network, plan) if row["phase"] in PHASES
        )
    assert shown == len([step for step in plan["steps"] if step["network"]]) > 0


def rows(count: int) -> list[dict[str, Any]]:
    body = {"description": "", "address6": None, "endpoint": None, "public_key": "k"}
    traffic = {"received_bytes": 0, "sent_bytes": 0, "network": "corp"}
    return [
        {**endpoint(), **body, **traffic, "name": f"e{number:04d}", "address": f"10.0.0.{number}"}
        for number in range(count)
    ]


def test_pages_of_a_long_list_hold_every_endpoint_once() -> None:
    networks = [{"name": "corp", "endpoints": rows(2 * PAGE + 7)}]
    after: int | None = 0
    seen: list[str] = []
    while after is not None:
        found = search(networks, Search(after=after))
        seen += [row["name"] for row in found.rows]
        after = found.next
    assert seen == [row["name"] for row in networks[0]["endpoints"]]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"q": "E0003"}, 1),
        ({"q": "corp/e0003"}, 1),
        ({"q": "10.0.0.1"}, 11),
        ({"network": "none"}, 0),
        ({"state": "idle"}, 0),
        ({"state": "nonsense", "sort": "nonsense", "after": "-1"}, 20),
        ({"after": "15"}, 5),
    ],
)
def test_a_search(query: dict[str, str], count: int) -> None:
    found = search([{"name": "corp", "endpoints": rows(20)}], Search.of(query))
    assert len(found.rows) == count


def test_a_change_that_waits_counts_down_by_the_gateways_clock() -> None:
    now = datetime(2026, 11, 27, 12, 0, 0, tzinfo=UTC)
    waiting = {"number": 4, "by": "anna", "until": "2026-11-27T12:00:42+00:00", "rollback_to": 3}
    frame = frame_of({"pending_confirm": {**waiting, "left_s": 40.0}}, "gw", now)
    assert frame.state == "confirm" and frame.pending is not None and frame.pending.left_s == 40.0
    without = frame_of({"pending_confirm": waiting}, "gw", now).pending
    assert without is not None and without.left_s == 42.0
    assert summary.clock_text(42.0) == "00:42" and summary.clock_text(-1) == "00:00"


@pytest.mark.parametrize(
    ("daemon_says", "state"),
    [
        ({}, "in-sync"),
        ({"conditions": [{"severity": "warning"}]}, "warning"),
        ({"conditions": [{"severity": "error"}]}, "failing"),
        ({"failing": [{"network": "corp"}]}, "failing"),
        ({"intent": {"awaiting_consent": "why"}}, "changes-wait"),
        ({"intent": {"findings": ["wrong"]}}, "changes-wait"),
    ],
)
def test_one_word_for_the_gateway(daemon_says: dict[str, Any], state: str) -> None:
    assert frame_of(daemon_says, "gw").state == state


def test_changes_of_one_pass_are_one_line() -> None:
    change = {"kind": "change", "network": "corp", "action": "create", "object": "o", "why": "w"}
    events = [{**change, "number": n, "time": f"2026-01-01T00:00:00.{n}"} for n in (3, 2, 1)]
    other = {"kind": "condition", "number": 0, "time": "2026-01-01", "state": "begins", "text": "x"}
    lines = happenings([*events, other])
    assert [line["text"] for line in lines] == ["create 3", "begins: x"]
    assert len(lines[0]["more"]) == 3


def test_a_picture_of_many_endpoints_stays_small() -> None:
    network = {"name": "corp", "type": "secure-internet", "endpoints": rows(5000)}
    facts = {"allow_private": [], "gateway_address": "10.0.0.1", "resources": []}
    for row in network["endpoints"]:
        row["routes"] = []
    drawn = picture.draw({**network, **facts}, "gw")
    assert len(drawn) < 20_000 and "4987 more" in drawn


def test_every_text_is_in_the_catalogue_and_every_one_of_it_is_used() -> None:
    templates = "\n".join(path.read_text() for path in sorted(rendering.FOLDER.iterdir()))
    sources = [path.read_text() for path in WEB.rglob("*.py") if path.name != "catalogue.py"]
    used = {key for key, joined in KEYS.findall(templates) if not joined}
    prefixes = {key for key, joined in KEYS.findall(templates) if joined}
    used |= {text for source in sources for text in _strings(source)} & catalogue.TEXT.keys()
    missing = {key for key in used if key not in catalogue.TEXT}
    assert not missing
    unused = {
        key for key in catalogue.TEXT if key not in used and not key.startswith(tuple(prefixes))
    }
    assert not unused


def _strings(source: str) -> set[str]:
    nodes = ast.walk(ast.parse(source))
    return {
        node.value for node in nodes if isinstance(node, ast.Constant) and type(node.value) is str
    }


def test_every_state_has_a_text_and_a_sign_of_its_own_beside_its_colour() -> None:
    for state, tone in summary.TONES.items():
        assert catalogue.TEXT[f"state.{state}"] and tone.sign
    assert set(summary.ENDPOINT_STATES) <= summary.TONES.keys()
    assert all(f"endpoint.say.{state}" in catalogue.TEXT for state in summary.ENDPOINT_STATES)


def test_style_and_scripts_stay_small() -> None:
    static = WEB / "static"
    assert (static / "style.css").stat().st_size < 15_000
    scripts = [path.read_text().splitlines() for path in static.glob("*.js")]
    assert sum(len(lines) for lines in scripts) <= 300
    text = "\n".join(line for lines in scripts for line in lines)
    for sink in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
    ):
        assert sink not in text


def test_no_template_escapes_less_than_the_others() -> None:
    for path in rendering.FOLDER.iterdir():
        text = path.read_text()
        assert "| safe" not in text and "autoescape" not in text and "style=" not in text, path
        assert not re.search(r"\son[a-z]+=", text), path


def test_every_template_can_be_read() -> None:
    environment = rendering.environment()
    names = environment.list_templates()
    assert len(names) > 15 and all(environment.get_template(name) for name in names)


def test_a_form_becomes_edits() -> None:
    wizard = wizards.wizard_of("remote-resource-gateway")
    assert wizard is not None
    form = {
        "network": " lab ",
        "description": "",
        "expected_users": "12",
        "resources": "172.20.0.0/16 tcp 443,8000-8100 via hq\r\nfd00::/64",
        "endpoints": "a\n\nb 10.1.0.0/16, 10.2.0.0/16",
    }
    first, *others = wizards.network_edits(wizard, form)
    assert first == {
        "op": "add_network",
        "network": "lab",
        "fields": {
            "type": "remote-resource-gateway",
            "expected_users": 12,
            "resources": [
                {
                    "subnet": "172.20.0.0/16",
                    "protocol": "tcp",
                    "ports": [443, "8000-8100"],
                    "via": "hq",
                },
                {"subnet": "fd00::/64"},
            ],
        },
    }
    assert [(edit["endpoint"], edit["fields"].get("routes")) for edit in others] == [
        ("a", None),
        ("b", ["10.1.0.0/16", "10.2.0.0/16"]),
    ]


def test_an_endpoint_is_set_to_what_the_form_says_otherwise() -> None:
    row = {
        **endpoint(),
        "name": "a",
        "description": "old",
        "expires": None,
        "routes": ["10.0.0.0/8"],
    }
    same = {"description": "old", "expires": "", "routes": "10.0.0.0/8", "enabled": "on"}
    assert wizards.changed_endpoint("corp", row, same) == []
    [edit] = wizards.changed_endpoint("corp", row, {"description": "", "routes": "10.1.0.0/16"})
    assert edit["fields"] == {"description": None, "routes": ["10.1.0.0/16"], "enabled": False}


def test_risks_are_agreed_to_one_by_one() -> None:
    form = {"agree.mass-removal": "on", "digest": "x", "agree.moves": "on"}
    assert wizards.agreed(form) == ["mass-removal", "moves"]
