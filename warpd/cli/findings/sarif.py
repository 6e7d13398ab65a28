"""SARIF 2.1.0, which GitHub's code scanning, Azure DevOps and editors read."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import quote

from warpd import __version__
from warpd.cli.findings.report import Report, with_hint
from warpd.errors import Finding

_SCHEMA: Final = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)


def text(report: Report) -> str:
    """Return a log with one run; without findings its list of results is empty."""
    codes = sorted({finding.code for finding in report.findings})
    driver = {"name": "warpctl", "version": __version__, "rules": [{"id": code} for code in codes]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(report, finding) for finding in report.findings],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _result(report: Report, finding: Finding) -> dict[str, Any]:
    where = report.where(finding)
    physical = {
        "artifactLocation": {"uri": quote(where.file)},
        "region": {"startLine": where.line, "startColumn": where.column},
    }
    return {
        "ruleId": finding.code,
        "level": finding.severity,
        "message": {"text": with_hint(finding)},
        "locations": [{"physicalLocation": physical}],
    }
