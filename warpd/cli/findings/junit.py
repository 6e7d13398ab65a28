"""JUnit's XML, which Jenkins, GitLab and most others show as test results.

Each finding is a test case: an error has failed, a warning has passed with a text. Without an error
there is a further one that has passed, so that a report is never empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from warpd.cli.findings.report import Report, sentence, with_hint
from warpd.errors import Finding

_SUITE: Final = "warpctl validate"


def text(report: Report) -> str:
    """Return the document, with its XML declaration."""
    cases = [_case(report, finding) for finding in report.findings]
    if not report.errors:
        cases.append(_element("testcase", {"classname": "valid", "name": "the YAML"}))
    counts = {"tests": str(len(cases)), "failures": str(report.errors), "errors": "0"}
    suite = _element("testsuite", {"name": _SUITE, **counts}, "\n".join(["", *cases, ""]))
    root = _element("testsuites", {"name": _SUITE, **counts}, f"\n{suite}\n")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{root}'


def _case(report: Report, finding: Finding) -> str:
    where = report.where(finding)
    place = f"{where.file}:{where.line}:{where.column}"
    told = escape(f"{place}: {with_hint(finding)}")
    if finding.is_error:
        attributes = {"type": finding.code, "message": sentence(finding)}
        told = _element("failure", attributes, told)
    else:
        told = _element("system-out", {}, told)
    names = {"classname": finding.code, "name": f"{place}: {sentence(finding)}"}
    return _element("testcase", names, told)


def _element(name: str, attributes: Mapping[str, str], content: str = "") -> str:
    """Return an element; its content is XML already."""
    words = " ".join([name, *(f"{key}={quoteattr(value)}" for key, value in attributes.items())])
    return f"<{words}>{content}</{name}>" if content else f"<{words}/>"
