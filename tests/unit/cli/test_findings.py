"""`validate --format`: what CI systems read, of a YAML with errors, of one with warnings, of a
clean one, and of one whose text is hostile.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from tests.command import Run
from warpd.cli.findings import FORMATS, github
from warpd.cli.findings.report import Report
from warpd.errors import Finding, Where

TEXT = """version: 1
gateway: {public_endpoint: vpn.example.com}
networks:
  a:
    type: secure-internet
    endpoints:
      p: {type: mobile}
"""
# Two errors: an unknown key, and one that would be a command, a tag and an escape sequence.
WRONG = (
    TEXT
    + """  b:
    type: secure-internet
    colour: red
    "::error::x<![CDATA[]]>%0A&\\e[31m\\r::set-env name=PATH::y": 1
    endpoints: {}
"""
)


def findings_of(run: Run) -> list[dict[str, Any]]:
    """What `validate -o json` says: the formats have to say the same."""
    rows: list[dict[str, Any]] = json.loads(run("validate", "-o", "json")[1])["findings"]
    return rows


@pytest.fixture
def there(yaml: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory is the folder of the YAML, as the repository is in CI."""
    monkeypatch.chdir(yaml.parent)
    return yaml


def undone(command: str) -> tuple[str, dict[str, str], str]:
    """A workflow command as the runner reads it: its name, its properties and its message."""
    found = re.fullmatch(r"::(\w+) ([^:]*)::(.*)", command)
    assert found is not None, command
    pairs = (pair.partition("=") for pair in found[2].split(","))
    return found[1], {key: unquote(value) for key, _, value in pairs}, unquote(found[3])


def test_github_shows_each_at_its_line(run: Run, there: Path) -> None:
    there.write_text(WRONG)
    rows = findings_of(run)
    code, out, err = run("validate", "--format", "github")
    assert code == 4 and err == "" and len(rows) == 2
    lines = out.splitlines()
    assert len(lines) == len(rows), "no text of the YAML begins a line"
    for line, row in zip(lines, rows, strict=True):
        name, properties, message = undone(line)
        assert name == row["severity"] and "\x1b" not in line and "\r" not in line
        assert properties == {
            "file": "warp.yaml",
            "line": str(row["where"]["line"]),
            "col": str(row["where"]["column"]),
            "title": row["code"],
        }
        assert message.startswith(row["path"][:12]) and row["hint"][:10] in message


def test_github_escapes_what_it_decodes() -> None:
    hostile = Where("a,b:c%.yaml", 3, 4)
    finding = Finding("code", "p", "100%\r\n::error::x", "", "error", hostile)
    command = github.text(Report("x", "/", (finding,)))
    assert command == (
        "::error file=a%2Cb%3Ac%25.yaml,line=3,col=4,title=code::p: 100%25"
        "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}::error::x"
    )


def test_gitlab_report(run: Run, there: Path) -> None:
    there.write_text(WRONG)
    rows, (code, out, _err) = findings_of(run), run("validate", "--format", "gitlab")
    report = json.loads(out)
    assert code == 4 and len(report) == len(rows)
    for item, row in zip(report, rows, strict=True):
        assert item["location"]["path"] == "warp.yaml" and item["severity"] == "major"
        assert item["location"]["lines"]["begin"] == row["where"]["line"]
        assert item["check_name"] == row["code"] and row["hint"][:10] in item["description"]
    there.write_text("# a line more\n" + WRONG)
    moved = json.loads(run("validate", "--format", "gitlab")[1])
    assert [item["fingerprint"] for item in moved] == [item["fingerprint"] for item in report]
    assert moved[0]["location"]["lines"] != report[0]["location"]["lines"]


def test_gitlab_tells_equal_findings_apart() -> None:
    twice = (Finding("code", "p", "same"), Finding("code", "p", "same"))
    report = json.loads(FORMATS["gitlab"](Report("x.yaml", "/", twice)))
    assert len({item["fingerprint"] for item in report}) == 2


def test_junit_is_one_case_a_finding(run: Run, there: Path) -> None:
    there.write_text(WRONG)
    rows, (code, out, _err) = findings_of(run), run("validate", "--format", "junit")
    suite = ElementTree.fromstring(out).find("testsuite")
    assert suite is not None and code == 4
    assert [suite.get(name) for name in ("tests", "failures", "errors")] == ["2", "2", "0"]
    cases = suite.findall("testcase")
    assert [case.get("classname") for case in cases] == [row["code"] for row in rows]
    for case, row in zip(cases, rows, strict=True):
        place = f"warp.yaml:{row['where']['line']}:{row['where']['column']}: "
        failure = case.find("failure")
        assert failure is not None and (failure.text or "").startswith(place)
        assert [child.tag for child in case] == ["failure"], "the YAML makes no tags"


def test_sarif_log(run: Run, there: Path) -> None:
    there.write_text(WRONG)
    rows, (code, out, _err) = findings_of(run), run("validate", "--format", "sarif")
    log = json.loads(out)
    (done,) = log["runs"]
    assert code == 4 and log["version"] == "2.1.0" and done["columnKind"] == "unicodeCodePoints"
    rules = {rule["id"] for rule in done["tool"]["driver"]["rules"]}
    assert rules == {row["code"] for row in rows}
    for result, row in zip(done["results"], rows, strict=True):
        (location,) = result["locations"]
        assert location["physicalLocation"] == {
            "artifactLocation": {"uri": "warp.yaml"},
            "region": {"startLine": row["where"]["line"], "startColumn": row["where"]["column"]},
        }
        assert result["ruleId"] == row["code"] and result["level"] == "error"


def test_warnings_do_not_fail(run: Run, there: Path) -> None:
    there.write_text(TEXT.replace("mobile}", "mobile, expires: 2020-01-01}"))
    (row,) = findings_of(run)
    assert row["severity"] == "warning"
    told = {name: run("validate", "--format", name) for name in FORMATS}
    assert {code for code, _, _ in told.values()} == {0}
    assert told["github"][1].startswith("::warning file=warp.yaml,line=7,")
    assert json.loads(told["gitlab"][1])[0]["severity"] == "minor"
    assert json.loads(told["sarif"][1])["runs"][0]["results"][0]["level"] == "warning"
    suite = ElementTree.fromstring(told["junit"][1])
    assert suite.get("failures") == "0" and suite.get("tests") == "2"


def test_a_clean_file(run: Run, there: Path) -> None:
    told = {name: run("validate", "--format", name) for name in FORMATS}
    assert {code for code, _, _ in told.values()} == {0}
    assert told["github"][1].strip() == "" and json.loads(told["gitlab"][1]) == []
    assert json.loads(told["sarif"][1])["runs"][0]["results"] == []
    assert ElementTree.fromstring(told["junit"][1]).get("tests") == "1"


def test_a_file_elsewhere_keeps_its_path(run: Run, yaml: Path, tmp_path_factory: Any) -> None:
    yaml.write_text(WRONG)
    report = json.loads(run("validate", "--format", "gitlab")[1])
    assert report[0]["location"]["path"] == str(yaml)


def test_an_unknown_format_is_refused(run: Run) -> None:
    code, out, err = run("validate", "--format", "html")
    assert code == 1 and out == "" and "github, gitlab, junit, sarif" in err
