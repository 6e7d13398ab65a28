"""Changes of the YAML over the socket: what is looked at, applied, refused, and left alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.daemon.http.gateway import Gateway, served
from warpd.daemon.http.change_requests import EDITS_MAX, EditsBody
from warpd.daemon.http.kept_candidates import BYTES_MAX, KEPT_MAX, KEPT_S, KeptCandidates
from warpd.daemon.http.messages import BODY_MAX
from warpd.errors import WarpError
from warpd.service import candidates, edits, queries
from warpd.service.candidates import Candidate, Touched
from warpd.service.edits import OPERATIONS, Draft
from warpd.store.atomic_file import translate_oserror

TEXT = """\
version: 1
# the gateway
gateway: {public_endpoint: vpn.example.com}
networks:
  corp:   # the office
    type: secure-internet
    expected_users: 6
    endpoints:
      laptop-2: {type: mobile} # hers
      laptop-10: {type: mobile}
  web:
    type: secure-internet
    expected_users: 6
    endpoints:
      phone: {type: mobile, description: "hush of web"}
"""
ADD = {
    "op": "add_endpoint",
    "network": "corp",
    "endpoint": "tablet",
    "fields": {"type": "mobile"},
}


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    with served(tmp_path, monkeypatch, TEXT) as made:
        yield made


def edit(op: str, network: str = "corp", **more: Any) -> dict[str, Any]:
    return {"op": op, "network": network, **more}


# -- looked at


# An edit; the lines that go and come; the networks that it touches.
EACH_EDIT = [
    (
        edit("add_network", "lab", fields={"type": "secure-internet", "dns": ["9.9.9.9"]}),
        [],
        ["  lab:", "    type: secure-internet", "    dns: [9.9.9.9]"],
        ["lab"],
    ),
    (
        edit("set_network", fields={"description": "HQ", "expected_users": 6}),
        [],
        ["    description: HQ"],
        ["corp"],
    ),
    (
        edit("rename_network", to="office"),
        ["  corp:   # the office"],
        ["  office:   # the office", "    renamed_from: corp"],
        ["corp", "office"],
    ),
    (
        edit("remove_network", "web"),
        [
            "  web:",
            "    type: secure-internet",
            "    expected_users: 6",
            "    endpoints:",
            '      phone: {type: mobile, description: "hush of web"}',
        ],
        [],
        ["web"],
    ),
    (ADD, [], ["      tablet: {type: mobile}"], ["corp"]),
    (
        edit("set_endpoint", endpoint="laptop-2", fields={"enabled": False}),
        ["      laptop-2: {type: mobile} # hers"],
        ["      laptop-2: {type: mobile, enabled: false} # hers"],
        ["corp"],
    ),
    (
        edit("set_endpoint", "web", endpoint="phone", fields={"description": None}),
        ['      phone: {type: mobile, description: "hush of web"}'],
        ["      phone: {type: mobile}"],
        ["web"],
    ),
    (
        edit("rename_endpoint", endpoint="laptop-2", to="anna"),
        ["      laptop-2: {type: mobile} # hers"],
        ["      anna: {type: mobile, renamed_from: laptop-2} # hers"],
        ["corp"],
    ),
    (
        edit("remove_endpoint", endpoint="laptop-2"),
        ["      laptop-2: {type: mobile} # hers"],
        [],
        ["corp"],
    ),
    (
        edit("rotate_endpoint", endpoint="laptop-10"),
        ["      laptop-10: {type: mobile}"],
        ["      laptop-10: {type: mobile, rotation: 1}"],
        ["corp"],
    ),
    (
        {"op": "set_gateway", "fields": {"name": "gw-1"}},
        ["gateway: {public_endpoint: vpn.example.com}"],
        ["gateway: {public_endpoint: vpn.example.com, name: gw-1}"],
        [],
    ),
]


@pytest.mark.parametrize(
    ("change", "gone", "come", "touched"),
    EACH_EDIT,
    ids=lambda value: value["op"] if isinstance(value, dict) else None,
)
def test_each_edit_is_shown_and_changes_nothing(
    gateway: Gateway, change: dict[str, Any], gone: list[str], come: list[str], touched: list[str]
) -> None:
    before = gateway.everything
    answer = gateway.change(change)
    lines = answer["files"][0]["diff"].splitlines()[2:]
    assert answer["files"][0]["file"] == "warp.yaml"
    assert [line[1:] for line in lines if line.startswith("-")] == gone
    assert [line[1:] for line in lines if line.startswith("+")] == come
    assert (answer["networks"], answer["gateway"]) == (touched, change["op"] == "set_gateway")
    assert answer["digest"] == answer["plan"]["digest"] and answer["findings"] == []
    assert gateway.everything == before


def test_every_edit_of_the_contract_is_tried() -> None:
    kinds = EditsBody.model_json_schema()["$defs"].values()
    ops = [kind["properties"]["op"] for kind in kinds]
    known = {word for op in ops for word in op.get("enum", [op.get("const")])}
    assert {change["op"] for change, *_rest in EACH_EDIT} == known == set(OPERATIONS)


def test_edits_build_on_each_other(gateway: Gateway) -> None:
    answer = gateway.change(
        edit("add_network", "lab", fields={"type": "secure-internet"}),
        edit("add_endpoint", "lab", endpoint="a", fields={"type": "mobile"}),
        edit("rename_network", "lab", to="den"),
        edit("set_endpoint", "den", endpoint="a", fields={"keepalive": 25}),
        edit("remove_endpoint", endpoint="laptop-2"),
    )
    assert answer["networks"] == ["corp", "den"]
    assert "+      a: {type: mobile, keepalive: 25}" in answer["files"][0]["diff"]


def test_what_goes_is_said(gateway: Gateway) -> None:
    answer = gateway.change(edit("remove_network", "web"))
    assert [risk["code"] for risk in answer["risks"]] == ["network-goes"]
    assert answer["agree"] == []
    answer = gateway.change(edit("remove_network", "web"), edit("remove_network", "corp"))
    assert answer["agree"] == ["mass-removal"]
    codes = [risk["code"] for risk in answer["risks"]]
    assert codes == ["mass-removal", "network-goes", "network-goes"]
    answer = gateway.change(edit("set_network", fields={"expected_users": 200}))
    assert answer["agree"] == ["subnet-moves"]


def test_a_csv(gateway: Gateway) -> None:
    rows = "name,type,description\na,mobile,one\nb,mobile,=cmd()\n"
    status, answer = gateway.post("/v1/changes", {"csv": rows, "network": "corp"})
    assert status == 200
    assert '+      b: {type: mobile, description: "=cmd()"}' in answer["files"][0]["diff"]
    rows = "name,typ\na,mobile\n"
    status, answer = gateway.post("/v1/changes", {"csv": rows, "network": "corp"})
    assert status == 422 and answer["problems"][0]["where"]["line"] == 1
    rows = "name,type\na,mobile\nlaptop-2,mobile\nB c,mobile\nd,mobil\n"
    status, answer = gateway.post("/v1/changes", {"csv": rows, "network": "corp"})
    assert status == 422
    assert [row["where"]["line"] for row in answer["problems"]] == [3, 4, 5]
    assert {row["where"]["file"] for row in answer["problems"]} == {"csv"}


def test_whole_files(gateway: Gateway) -> None:
    (gateway.folder / "networks.d").mkdir()
    status, answer = gateway.ask("GET", "/v1/yaml")
    assert (status, answer) == (
        200,
        {
            "version": 1,
            "files": {"warp.yaml": TEXT},
            "gateway": {"public_endpoint": "vpn.example.com"},
            "editable": True,
            "why": "",
        },
    )
    lab = "networks:\n  lab: {type: secure-internet}\n"
    texts = {"warp.yaml": TEXT.replace("hers", "his"), "networks.d/lab.yaml": lab}
    status, answer = gateway.post("/v1/changes", {"files": texts})
    assert status == 200 and answer["networks"] == ["lab"]
    assert [row["file"] for row in answer["files"]] == ["warp.yaml", "networks.d/lab.yaml"]
    assert answer["files"][1]["diff"].startswith("--- /dev/null\n+++ networks.d/lab.yaml\n")
    assert gateway.apply(answer)[0] == 200
    assert (gateway.folder / "networks.d/lab.yaml").read_text() == lab
    status, answer = gateway.ask("GET", "/v1/yaml")
    assert answer["files"] == texts


@pytest.mark.parametrize(
    "name",
    [
        "../warp.yaml",
        "/etc/passwd",
        "networks.d/../x.yaml",
        "networks.d/.x.yaml",
        "networks.d/x.yml",
        "x.yaml",
        "networks.d/a/b.yaml",
        "networks.d/x.yaml\0",
        "",
    ],
)
def test_no_other_file_can_be_named(gateway: Gateway, name: str) -> None:
    (gateway.folder / "networks.d").mkdir()
    before = gateway.everything
    status, answer = gateway.post("/v1/changes", {"files": {name: "networks: {}\n"}})
    assert (status, answer["code"]) == (422, "unread-file")
    assert gateway.everything == before


# -- refused


def test_an_invalid_change_is_said_line_by_line_and_not_kept(gateway: Gateway) -> None:
    before = gateway.everything
    fields = {"type": "mobile", "address": "10.9.9.9"}
    status, answer = gateway.post(
        "/v1/changes",
        {
            "edits": [
                {**ADD, "fields": fields},
                edit("set_network", "web", fields={"mtu": 100}),
            ]
        },
    )
    assert status == 422 and answer["code"] == "invalid-intent"
    assert [(row["path"], row["where"]["line"]) for row in answer["problems"]] == [
        ("networks.corp.endpoints.tablet.address", 11),
        ("networks.web.mtu", 17),
    ]
    assert gateway.everything == before
    status, answer = gateway.post(
        "/v1/changes", {"files": {"warp.yaml": "version: 1\nnetworks: [\n"}}
    )
    assert status == 422 and answer["problems"][0]["where"]["line"] >= 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"edits": []}, 400),
        ({"edits": [ADD] * (EDITS_MAX + 1)}, 400),
        ({"edits": [1]}, 400),
        ({"edits": [ADD], "by": "root"}, 400),
        ({"edits": [{**ADD, "op": "add_user"}]}, 400),
        ({"edits": [{**ADD, "op": None}]}, 400),
        ({"edits": [{**ADD, "file": "/etc/passwd"}]}, 400),
        ({"edits": [{**ADD, "network": 5}]}, 400),
        ({"edits": [{**ADD, "endpoint": ""}]}, 400),
        ({"edits": [{**ADD, "endpoint": "x" * 201}]}, 400),
        ({"edits": [{**ADD, "fields": {"typ": "mobile"}}]}, 400),
        ({"edits": [{**ADD, "fields": {"type": 1.5}}]}, 400),
        ({"edits": [{**ADD, "fields": {"type": None}}]}, 400),
        ({"edits": [{**ADD, "fields": {"routes": [[[[[["x"]]]]]]}}]}, 400),
        ({"edits": [edit("set_network", fields={"endpoints": {}})]}, 400),
        ({"edits": [edit("remove_network", endpoint="phone")]}, 400),
        ({"edits": [edit("rename_network")]}, 400),
        ({"csv": "name,type\na,mobile\n"}, 400),
        ({"csv": "name\n", "network": "corp", "kind": "mobile"}, 400),
        ({"csv": "\ud800", "network": "corp"}, 400),
        ({"files": {}}, 400),
        ({"files": {"warp.yaml": None}}, 400),
        ({"files": {"warp.yaml": TEXT}, "edits": [ADD]}, 400),
        ({"edits": [edit("remove_network", "none")]}, 404),
        ({"edits": [edit("remove_endpoint", endpoint="none")]}, 404),
        ({"edits": [edit("add_network", fields={"type": "l2-mesh"})]}, 409),
        ({"edits": [{**ADD, "endpoint": "laptop-2"}]}, 409),
        ({"edits": [edit("set_network", fields={})]}, 400),
        ({"edits": [edit("set_network", fields={"mtu": None})]}, 422),
    ],
)
def test_closed_schemas(gateway: Gateway, body: dict[str, Any], status: int) -> None:
    before = gateway.everything
    got, answer = gateway.post("/v1/changes", body)
    assert got == status, answer
    assert gateway.everything == before


HOSTILE = [
    "a: b",
    "{x}",
    "*alias",
    "&anchor",
    "a\nroot:\n  evil: 1",
    "\u2028evil: 1",
    "<script>alert(1)</script>",
    "'\"; DROP TABLE",
    "../../etc/passwd",
    "\x1b[2J",
    "\ud83d",
    "null",
    "1e3",
    "🦊",
]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_names_and_texts(gateway: Gateway, text: str) -> None:
    """A name is refused with a finding or is that name, a description is text: neither is ever
    structure.
    """
    before = gateway.everything
    for change in (
        {**ADD, "endpoint": text},
        edit("add_network", text, fields={"type": "secure-internet"}),
        edit("rename_endpoint", endpoint="laptop-2", to=text),
        edit("rename_network", to=text),
    ):
        status, answer = gateway.post("/v1/changes", {"edits": [change]})
        assert status in (200, 400, 409, 422), answer
        assert status != 200 or set(answer["networks"]) <= {"corp", text}
    status, answer = gateway.post(
        "/v1/changes", {"edits": [{**ADD, "fields": {"type": "mobile", "description": text}}]}
    )
    assert status in (200, 400, 422), answer
    if status == 200:
        added = [
            line for line in answer["files"][0]["diff"].splitlines()[2:] if line.startswith("+")
        ]
        assert len(added) == 1 and answer["networks"] == ["corp"]
    assert gateway.everything == before


def test_how_large_a_body_may_be(gateway: Gateway) -> None:
    fields = {"type": "mobile", "description": "x" * 600}
    edits = [{**ADD, "endpoint": f"e{number}", "fields": fields} for number in range(150)]
    raw = json.dumps({"edits": edits}).encode()
    assert len(raw) > BODY_MAX
    assert gateway.ask_raw("POST", "/v1/changes", raw)[0] == 413
    rows = "name,type,description\n" + f"a,mobile,{'x' * 900_000}\n"
    status, answer = gateway.post("/v1/changes", {"csv": rows, "network": "corp"})
    assert status == 422 and answer["problems"][0]["where"]["line"] == 2  # too long a description
    status, _ = gateway.post("/v1/changes", {"csv": "x" * (1024 * 1024 + 1), "network": "corp"})
    assert status == 400
    assert gateway.ask_raw("POST", "/v1/changes", b"x" * (2 * 1024 * 1024 + 1))[0] == 413
    assert gateway.ask_raw("POST", "/v1/apply", b"x" * (BODY_MAX + 1))[0] == 413


# -- applied


def test_what_was_reviewed_is_applied(gateway: Gateway) -> None:
    change = gateway.change(ADD)
    status, answer = gateway.apply(change)
    assert status == 200 and answer["complete"] and answer["files"]["written"] == ["warp.yaml"]
    assert gateway.daemon.peers == {"laptop-2", "laptop-10", "phone", "tablet"}
    assert "      tablet: {type: mobile}\n" in gateway.daemon.config.read_text()
    kept = gateway.daemon.kernel.objects.copy()
    gateway.daemon.turn(60)
    assert gateway.daemon.kernel.objects == kept
    entries = gateway.ask("GET", "/v1/history")[1]["history"]
    assert [entry["by"] for entry in entries] == ["warpd", "root (socket)"]
    assert gateway.apply(change)[0] == 404  # once


def test_of_two_clients_one_is_refused(gateway: Gateway) -> None:
    one = gateway.change(ADD)
    other = gateway.change({**ADD, "endpoint": "watch"})
    assert gateway.apply(one)[0] == 200
    status, answer = gateway.apply(other)
    assert (status, answer["code"]) == (409, "stale")
    assert gateway.daemon.peers == {"laptop-2", "laptop-10", "phone", "tablet"}
    assert "watch" not in gateway.daemon.config.read_text()


def test_a_file_that_an_editor_has_changed_is_left_alone(gateway: Gateway) -> None:
    change = gateway.change(ADD)
    gateway.daemon.config.write_text(TEXT + "# an editor was here\n")
    status, answer = gateway.apply(change)
    assert (status, answer["code"]) == (409, "stale")
    assert gateway.daemon.config.read_text() == TEXT + "# an editor was here\n"


def test_another_plan_than_reviewed_is_refused(gateway: Gateway) -> None:
    change = gateway.change(ADD)
    key = next(key for key in gateway.daemon.kernel.objects if key.kind == "route")
    gateway.daemon.kernel.objects.pop(key)
    before = gateway.everything
    status, answer = gateway.apply(change)
    assert (status, answer["code"]) == (409, "stale")
    assert gateway.everything == before
    status, answer = gateway.apply(change, digest="0" * 64)
    assert (status, answer["code"]) == (409, "stale")


def test_a_risk_is_agreed_to_by_its_code(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    change = gateway.change(edit("set_network", fields={"expected_users": 200}))
    status, answer = gateway.apply(change)
    assert (status, answer["code"]) == (409, "declined")
    assert gateway.daemon.config.read_text() == TEXT
    change = gateway.change(edit("remove_network", "web"), edit("remove_network", "corp"))
    assert gateway.apply(change, agree=["network-goes"])[0] == 409
    gateway.become("operator")
    status, answer = gateway.apply(change, agree=["mass-removal"])
    assert (status, answer["code"]) == (403, "denied")
    gateway.become("admin")
    assert gateway.apply(change, agree=["mass-removal"])[0] == 200
    assert gateway.daemon.peers == set()


def test_confirmed_it_stays(gateway: Gateway) -> None:
    status, answer = gateway.apply(gateway.change(ADD), confirm_within_s=60)
    assert status == 200 and answer["confirm_until"] and gateway.timers == [2]
    gateway.daemon.turn(30)
    assert gateway.ask("POST", "/v1/confirm") == (200, {"version": 1, "confirmed": 2})
    gateway.daemon.turn(150)
    assert "tablet" in gateway.daemon.peers and "tablet" in gateway.daemon.config.read_text()


def test_a_closed_browser_is_undone_and_the_files_can_go_back(gateway: Gateway) -> None:
    """Nobody confirms: the kernel goes back, the file keeps the new text, and the daemon neither
    applies it nor hides it; then the file is put back, and nothing is left to be said.
    """
    status, answer = gateway.apply(gateway.change(ADD), confirm_within_s=60)
    assert status == 200 and "tablet" in gateway.daemon.peers
    assert "rollback --files" in answer["files"]["if_rolled_back"]
    gateway.daemon.turn(150)
    assert "tablet" not in gateway.daemon.peers
    assert "tablet" in gateway.daemon.config.read_text()
    assert "rolled-back" in gateway.daemon.conditions
    status, answer = gateway.post("/v1/rollback", {"files": True})
    assert (status, answer["files"]) == (200, {"written": ["warp.yaml"], "removed": []})
    assert gateway.daemon.config.read_text() == TEXT
    gateway.daemon.scheduler.files_touched(gateway.daemon.now_s)
    gateway.daemon.turn(150)
    assert "rolled-back" not in gateway.daemon.conditions
    assert "tablet" not in gateway.daemon.peers


def test_files_go_back_with_the_kernel(gateway: Gateway) -> None:
    (gateway.folder / "networks.d").mkdir()
    lab = "networks:\n  lab: {type: secure-internet, endpoints: {bench: {type: mobile}}}\n"
    status, answer = gateway.post("/v1/changes", {"files": {"networks.d/lab.yaml": lab}})
    assert status == 200
    assert gateway.apply(answer, confirm_within_s=60)[0] == 200
    assert "bench" in gateway.daemon.peers
    status, answer = gateway.post("/v1/rollback", {"files": True})
    assert status == 200 and answer["files"]["removed"] == ["networks.d/lab.yaml"]
    assert "bench" not in gateway.daemon.peers
    assert not (gateway.folder / "networks.d/lab.yaml").exists()


def test_an_edit_since_is_never_lost_by_a_rollback_of_files(gateway: Gateway) -> None:
    assert gateway.apply(gateway.change(ADD), confirm_within_s=60)[0] == 200
    edited = gateway.daemon.config.read_text() + "# an editor was here\n"
    gateway.daemon.config.write_text(edited)
    status, answer = gateway.post("/v1/rollback", {"files": True})
    assert (status, answer["code"]) == (409, "file-changed")
    assert gateway.daemon.config.read_text() == edited and "tablet" in gateway.daemon.peers
    assert gateway.post("/v1/rollback", {})[0] == 200
    assert "tablet" not in gateway.daemon.peers


def test_while_an_apply_waits_no_other_is_made(gateway: Gateway) -> None:
    assert gateway.apply(gateway.change(ADD), confirm_within_s=60)[0] == 200
    change = gateway.change({**ADD, "endpoint": "watch"})
    status, answer = gateway.apply(change)
    assert (status, answer["code"]) == (409, "confirm-pending")


def test_a_file_that_cannot_be_written_leaves_everything_as_it_was(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two files the second one fails: neither is changed, nothing is in force or waits."""
    folder = gateway.folder / "networks.d"
    folder.mkdir()
    lab = "networks:\n  lab: {type: secure-internet}\n"
    texts = {"networks.d/lab.yaml": lab, "warp.yaml": TEXT.replace("hers", "his")}
    status, change = gateway.post("/v1/changes", {"files": texts})
    assert status == 200
    written = edits.write

    def full(draft: Draft) -> None:
        if draft.file.name == "warp.yaml":
            with translate_oserror(draft.file):
                raise OSError(28, "No space left on device")
        written(draft)

    monkeypatch.setattr(candidates, "write", full)
    in_force = gateway.ask("GET", "/v1/history")[1]
    objects = dict(gateway.daemon.kernel.objects)
    status, answer = gateway.apply(change, confirm_within_s=60)
    assert status == 500 and "No space left" in answer["error"]
    assert gateway.daemon.config.read_text() == TEXT and not list(folder.iterdir())
    assert gateway.ask("GET", "/v1/history")[1] == in_force
    assert gateway.daemon.kernel.objects == objects


def test_what_was_agreed_to_for_a_change_that_failed_is_not_agreed_to(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its subnet would move at the next pass, though no file asks for it."""
    store = gateway.daemon.workspace.store
    before = store.read_allocations()
    change = gateway.change(edit("set_network", fields={"expected_users": 200}))

    def full(draft: Draft) -> None:
        with translate_oserror(draft.file):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(candidates, "write", full)
    assert change["agree"] and gateway.apply(change, agree=change["agree"])[0] == 500
    assert store.read_allocations() == before
    gateway.daemon.turn(60)
    assert store.read_allocations() == before and not gateway.daemon.conditions


def test_what_was_agreed_to_if_it_is_undone_in_time_is_not_agreed_to_without(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No timer can be started that would undo it."""
    daemon = gateway.daemon
    before = daemon.workspace.store.read_allocations()
    daemon.config.write_text(TEXT.replace("expected_users: 6", "expected_users: 200", 1))

    def no_timer(*_words: object) -> None:
        raise WarpError("no timer", code="timer", who="operator")

    monkeypatch.setattr(queries, "start_timer", no_timer)
    status, answer = gateway.post("/v1/apply", {"yes": True, "confirm_within_s": 60})
    assert status != 200 and answer["code"] == "timer"
    daemon.scheduler.files_touched(daemon.now_s)
    daemon.turn(60)
    assert daemon.workspace.store.read_allocations() == before
    assert daemon.conditions == {"awaiting-consent"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"digest": 5},
        {"digest": "x", "yes": True},
        {"digest": "x", "agree": "all"},
        {"digest": "x", "agree": [1]},
        {"digest": "x", "confirm_within_s": True},
        {"digest": "x", "by": "root"},
    ],
)
def test_an_apply_has_a_closed_schema_too(gateway: Gateway, body: dict[str, Any]) -> None:
    change = gateway.change(ADD)
    assert gateway.post(f"/v1/changes/{change['id']}/apply", body)[0] == 400


# -- kept for a short time


def candidate(number: int, size: int = 1) -> Candidate:
    draft = Draft(Path("/x"), None, b"x" * size)
    return Candidate(str(number), "", (draft,), "", frozenset(), Touched(), Touched(), {})


def test_few_are_kept_and_not_for_long() -> None:
    now = [0.0]
    kept = KeptCandidates(lambda: now[0])
    for number in range(KEPT_MAX + 3):
        assert kept.keep(candidate(number))
    assert [kept.get(str(number)) is not None for number in range(4)] == [False] * 3 + [True]
    now[0] = KEPT_S - 1
    assert kept.keep(candidate(3)) and kept.get("4") is not None
    now[0] = KEPT_S
    assert kept.get("4") is None and kept.get("3") is not None
    assert not kept.keep(candidate(50, BYTES_MAX + 1))
    for number in range(60, 64):
        assert kept.keep(candidate(number, BYTES_MAX // 2))
    assert [number for number in range(64) if kept.get(str(number)) is not None] == [62, 63]


def test_an_unknown_or_expired_change(gateway: Gateway) -> None:
    for name in ("x", "..", "%2e%2e", "0" * 32):
        assert gateway.post(f"/v1/changes/{name}/apply", {"digest": "x"})[0] == 404
        assert gateway.post(f"/v1/changes/{name}/propose", {"message": "x"})[0] == 404


# -- for somebody of some networks


def names(answer: Any, network: str) -> bool:
    """Whether an answer has this name as a word: a random key may have its letters."""
    return re.search(rf"\b{network}\b", json.dumps(answer)) is not None


def test_only_own_networks_may_be_changed(gateway: Gateway) -> None:
    gateway.become("operator", "corp", "lab-*")
    before = gateway.everything
    for refused in (
        edit("remove_network", "web"),
        edit("remove_network", "none"),
        edit("rename_network", to="office"),
        edit("add_network", "office", fields={"type": "secure-internet"}),
        # By its name it is of a network that is seen; it takes what another network has.
        edit("add_network", "lab-1", fields={"type": "secure-internet", "renamed_from": "web"}),
    ):
        status, answer = gateway.post("/v1/changes", {"edits": [refused]})
        assert (status, answer["code"]) in ((403, "denied"), (422, "invalid-intent")), answer
        assert "hush" not in json.dumps(answer)
    assert gateway.post("/v1/changes", {"files": {"warp.yaml": TEXT}})[0] == 403
    assert gateway.ask("GET", "/v1/yaml")[0] == 403
    assert gateway.everything == before
    answer = gateway.change(ADD, edit("add_network", "lab-1", fields={"type": "secure-internet"}))
    assert answer["networks"] == ["corp", "lab-1"]
    assert not names(answer, "web") and "hush" not in json.dumps(answer)
    assert answer["files"][0]["diff"].count("\n+") == 4  # its head, and three lines
    assert answer["plan"]["steps"] and answer["plan"]["digest"] == answer["digest"]
    status, answer = gateway.apply(answer)
    assert status == 200 and not names(answer, "web")
    assert "tablet" in gateway.daemon.peers


def test_a_change_of_others_is_not_there(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    change = gateway.change(edit("set_network", "web", fields={"description": "x"}))
    gateway.become("operator", "corp")
    assert gateway.apply(change)[0] == 404
    gateway.become("helpdesk")
    assert gateway.apply(change)[0] == 403
    assert gateway.post("/v1/changes", {"edits": [ADD]})[0] == 403


def test_whoever_sees_some_networks_keeps_and_undoes_what_is_their_own(gateway: Gateway) -> None:
    gateway.become("operator", "corp")
    assert gateway.post("/v1/confirm", {})[1]["code"] == "not-yours"
    own = gateway.token
    assert gateway.apply(gateway.change(ADD), confirm_within_s=60)[0] == 200
    gateway.become("operator", "corp")
    for path in ("/v1/confirm", "/v1/rollback"):
        status, answer = gateway.post(path, {})
        assert (status, answer["code"]) == (409, "not-yours")
    gateway.token = own
    assert gateway.post("/v1/confirm", {})[0] == 200


def test_what_others_have_written_is_not_applied_by_an_own_change(gateway: Gateway) -> None:
    """The YAML of another network has changed, and is not in force yet."""
    text = gateway.daemon.config.read_text()
    gateway.daemon.config.write_text(text.replace("phone: {type", "tele: {type"))
    gateway.become("operator", "corp")
    change = gateway.change(ADD)
    before = gateway.everything
    status, answer = gateway.apply(change)
    assert (status, answer["code"]) == (403, "denied") and not names(answer, "web")
    assert gateway.everything == before


def test_a_line_that_networks_share_is_not_shown(gateway: Gateway) -> None:
    flow = (
        "{version: 1, networks: {corp: {type: secure-internet, endpoints: {}},"
        " web: {type: secure-internet, description: hush, endpoints: {}}}}\n"
    )
    gateway.daemon.write_text(flow)
    gateway.daemon.turn(60)
    gateway.become("operator", "corp")
    answer = gateway.change(ADD)
    assert answer["files"] == [{"file": "warp.yaml", "diff": ""}]
    assert "hush" not in json.dumps(answer)


@pytest.mark.parametrize(("own", "other", "shown"), [("web", "corp", 1), ("corp", "web", 0)])
def test_a_problem_with_another_network_does_not_name_it(
    gateway: Gateway, own: str, other: str, shown: int
) -> None:
    """The later one of two is said to be wrong: it may be the one that is not seen."""
    fields = f"  {other}:   # the office\n" if other == "corp" else f"  {other}:\n"
    gateway.daemon.write_text(TEXT.replace(fields, fields + "    port: 51999\n"))
    gateway.daemon.turn(60)
    change = {"edits": [edit("set_network", own, fields={"port": 51999})]}
    status, answer = gateway.post("/v1/changes", change)
    assert status == 422 and other in json.dumps(answer)
    gateway.become("operator", own)
    status, answer = gateway.post("/v1/changes", change)
    assert status == 422 and other not in json.dumps(answer)
    assert [row["path"] for row in answer["problems"]] == [f"networks.{own}.port"] * shown
    assert all(row["where"]["line"] > 10 for row in answer["problems"])
    assert ("not seen" in answer["hint"]) is (not shown)


def test_what_another_network_was_allocated_cannot_be_taken(gateway: Gateway) -> None:
    """The YAML of the other one leaves its port to warpd."""
    taken = gateway.daemon.workspace.store.read_allocations().networks["web"].port
    change = {"edits": [edit("set_network", fields={"port": taken})]}
    before = gateway.everything
    assert gateway.post("/v1/changes", change)[0] == 422
    gateway.become("operator", "corp")
    status, answer = gateway.post("/v1/changes", change)
    assert status == 422 and not names(answer, "web")
    assert gateway.everything == before
