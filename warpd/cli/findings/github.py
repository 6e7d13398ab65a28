"""Workflow commands of GitHub Actions, one a finding: the runner shows each at its line.

A command is one line. What a message contains is escaped as the runner decodes it, so that no
text of a YAML file can begin a command of its own.
"""

from __future__ import annotations

from warpd.cli.findings.report import Report, with_hint
from warpd.errors import Finding


def text(report: Report) -> str:
    """Return one command a finding; "" without findings."""
    return "\n".join(_command(report, finding) for finding in report.findings)


def _command(report: Report, finding: Finding) -> str:
    where = report.where(finding)
    fields = {
        "file": where.file,
        "line": str(where.line),
        "col": str(where.column),
        "title": finding.code,
    }
    properties = ",".join(f"{name}={_property(value)}" for name, value in fields.items())
    return f"::{finding.severity} {properties}::{_data(with_hint(finding))}"


def _data(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _data(value).replace(":", "%3A").replace(",", "%2C")
