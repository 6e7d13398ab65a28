"""What pages say of what the daemon says."""

from __future__ import annotations

import ast
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from tests.unit.web.recorded import answers, serving
from tests.unit.web.visitor import Visitor
from warpd.daemon.http.endpoints import STATES
from warpd.web import catalogue, daemon_client, listing, picture, rendering, summary, wizards
from warpd.web.frame import frame_of
from warpd.web.happenings import happenings
from warpd.web.listing import Search
from warpd.web.phases import PHASES, phase_rows

WEB = Path(summary.__file__).parent
KEYS = re.compile(r'\b(?:t|empty)\("([a-z0-9.-]+)"( ~)?')


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return answers(tmp_path_factory.mktemp("gateway"))


def test_the_state_of_every_endpoint_has_a_word_here() -> None:
    assert set(summary.STATE_WORDS) == set(STATES), "what the daemon says"
    words = set(summary.STATE_WORDS.values())
    assert len(words) == len(STATES) and words <= summary.TONES.keys()
    assert all(f"endpoint.say.{word}" in catalogue.TEXT for word in words)


@pytest.mark.parametrize(
    ("age_s", "state"), [(5, "connected"), (179, "connected"), (180, "idle"), (None, "never")]
)
def test_whether_there_is_a_session(age_s: int | None, state: str) -> None:
    assert summary.session_state({"handshake_age_s": age_s}) == state


def test_a_handshake_in_the_future_is_idle() -> None:
    """It has no age, since the clock was set back; the endpoint has been connected."""
    row = {"handshake_age_s": None, "last_handshake": 2_000_086_400}
    assert summary.session_state(row) == "idle"


def test_networks_are_counted_by_their_summaries(daemon: dict[str, Any]) -> None:
    networks = daemon["/v1/summary"]["networks"]
    rows = [summary.network_row(network, set()) for network in networks]
    assert sum(row["total"] for row in rows) == daemon["/v1/endpoints"]["total"] > 0
    assert sum(summary.count_states(networks).values()) == daemon["/v1/endpoints"]["total"]


def test_what_is_out_of_sync_is_at_its_phase(daemon: dict[str, Any]) -> None:
    """One peer was removed; a link of another network is in the way of ours."""
    plan, networks = daemon["/v1/plan"], daemon["/v1/summary"]["networks"]
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
    for network in daemon["/v1/summary"]["networks"]:
        shown += sum(
            len(row["objects"]) for row in phase_rows(network, plan) if row["phase"] in PHASES
        )
    assert shown == len([step for step in plan["steps"] if step["network"]]) > 0


LATER = {"sort": "traffic", "after": "Wzd-_"}


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ({}, {}),
        ({"q": " anna ", "network": "corp", "state": "stale"}, {"q": "anna", "network": "corp"}),
        ({"state": "nonsense", "sort": "nonsense", "after": "../", "before": "/"}, {}),
        ({"sort": "traffic", "after": "Wzd-_", "before": "Wzd"}, LATER),
        ({"before": "Wzd-_"}, {"before": "Wzd-_"}),
        ({"q": "x" * 999}, {"q": "x" * listing.TEXT_MAX}),
    ],
)
def test_what_makes_no_sense_in_an_address_is_not_asked(
    query: dict[str, str], asked: dict[str, str]
) -> None:
    wanted = Search.of(query)
    usual = {"q": "", "network": "", "sort": "name", "limit": listing.PAGE}
    usual |= {"after": "", "before": ""}
    sent = {name: value for name, value in wanted.asked().items() if name in usual}
    assert sent == {**usual, **asked}


def test_pages_of_a_long_list_follow_each_other() -> None:
    wanted = Search.of({"q": "a&b", "sort": "traffic"})
    answer = {"total": 450, "first": 201, "previous": "Wza", "next": "Wzd"}
    page = listing.found(answer, wanted, [])
    assert (page.first, page.total) == (201, 450)
    for address, edge in ((page.preceding, ("", "Wza")), (page.following, ("Wzd", ""))):
        beside = Search.of(dict(parse_qsl(address.partition("?")[2])))
        assert (beside.text, beside.sort) == ("a&b", "traffic")
        assert (beside.after, beside.before) == edge
    beside = Search.of({"q": "a&b", "sort": "address", "before": "Wza"})
    assert beside.file_address() == "/endpoints.csv?q=a%26b&sort=address"
    assert Search.of({"sort": "traffic", "after": "Wza"}).file_address() == "/endpoints.csv"
    alone = listing.found({"total": 4, "first": 1, "previous": None, "next": None}, wanted, [])
    assert (alone.preceding, alone.following) == ("", "")


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


@pytest.mark.parametrize(("kind", "more"), [("secure-internet", [4987]), ("l2-mesh", [2487, 2487])])
def test_a_picture_of_many_endpoints_stays_small(kind: str, more: list[int]) -> None:
    network = {"name": "corp", "type": kind, "allow_private": [], "resources": []}
    traits = {"ethernet": kind == "l2-mesh", "egress": kind != "l2-mesh"}
    facts = {"gateway_address": "10.0.0.1", "vlan_id": 7, "device": "br", **traits}
    row = {"address": "10.0.0.9", "routes": [], "state": "connected"}
    rows = [{**row, "name": f"e{number}"} for number in range(200)]
    drawn = picture.draw({**network, **facts}, rows, 5000, "gw")
    assert len(drawn) < 20_000 and all(f"{number} more" in drawn for number in more)


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


def test_style_and_scripts_stay_small() -> None:
    static = WEB / "static"
    assert (static / "style.css").stat().st_size < 16_000
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
        "enabled": True,
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


def test_a_large_plan_is_shown_in_part_and_what_goes_comes_first(
    daemon: dict[str, Any], tmp_path: Path
) -> None:
    plan = daemon["/v1/plan"]
    row = {**plan["overview"][0], "details": [], "reason": ""}
    added = [{**row, "action": "create", "network": f"new-{number}"} for number in range(5000)]
    gone = [{**row, "action": "delete", "network": f"gone-{number}"} for number in range(3)]
    steps = [{**plan["steps"][0], "label": f"step-{number}"} for number in range(3000)]
    stale = [f"corp/device-{number}" for number in range(5000)]
    large = {**plan, "overview": added + gone, "steps": steps, "stale_configs": stale}
    with serving(tmp_path / "sock", {**daemon, "/v1/plan": large}):
        page = Visitor(tmp_path / "sock").get("/plan")
    assert page.status == 200 and len(page.text) < 400_000
    assert page.text.index("gone-2") < page.text.index("new-0")
    assert all(f"and {count} more" in page.text for count in (4800, 2000))


def test_an_answer_that_is_too_large_is_not_read(daemon: dict[str, Any], tmp_path: Path) -> None:
    """It would take more memory than the unit has, and with it the pages of everybody."""
    large = {**daemon["/v1/plan"], "warnings": ["x" * daemon_client.ANSWER_MAX]}
    with serving(tmp_path / "sock", {**daemon, "/v1/plan": large}):
        visitor = Visitor(tmp_path / "sock")
        page = visitor.get("/plan")
        assert page.status == 503 and "too large for a page" in page.text
        assert "warpctl" in page.text and visitor.get("/history").status == 200
