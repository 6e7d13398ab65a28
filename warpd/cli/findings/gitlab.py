"""GitLab's code quality report: a JSON list that a merge request shows at its lines."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from warpd.cli.findings.report import Report, sentence, with_hint
from warpd.errors import Finding

_SEVERITY: Final[Mapping[str, str]] = {"error": "major", "warning": "minor"}


def text(report: Report) -> str:
    """Return the report; an empty list without findings."""
    seen: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    for finding in report.findings:
        subject = _subject(report, finding)
        rows.append(_row(report, finding, f"{subject}\0{seen[subject]}"))
        seen[subject] += 1
    return json.dumps(rows, indent=2)


def _subject(report: Report, finding: Finding) -> str:
    """What makes a finding the same one after lines above it have moved."""
    return "\0".join((report.where(finding).file, finding.code, sentence(finding)))


def _row(report: Report, finding: Finding, identity: str) -> dict[str, Any]:
    where = report.where(finding)
    return {
        "description": with_hint(finding),
        "check_name": finding.code,
        "fingerprint": hashlib.sha256(identity.encode()).hexdigest(),
        "severity": _SEVERITY[finding.severity],
        "location": {
            "path": where.file,
            "lines": {"begin": where.line},
            "positions": {"begin": {"line": where.line, "column": where.column}},
        },
    }
