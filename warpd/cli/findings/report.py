"""Findings with their places as a CI system wants them: relative to the repository. Pure."""

from __future__ import annotations

import os
from dataclasses import dataclass

from warpd.errors import Finding, Where, printable


@dataclass(frozen=True, slots=True)
class Report:
    """What `validate` found.

    - `file`: the YAML that was checked; a finding without a place is shown at its first line.
    - `folder`: the working directory, an absolute path; files below it are named relative to it.
    - `findings`: errors and warnings, in the order in which they are shown.
    """

    file: str
    folder: str
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> int:
        return sum(finding.is_error for finding in self.findings)

    def where(self, finding: Finding) -> Where:
        """Return the place of a finding; its file is named relative to the folder."""
        where = finding.where or Where(self.file, 1, 1)
        return Where(self._relative(where.file), where.line, where.column)

    def _relative(self, file: str) -> str:
        path = os.path.relpath(os.path.join(self.folder, file), self.folder)
        outside = path == os.pardir or path.startswith(os.pardir + os.sep)
        return printable((file if outside else path).replace(os.sep, "/"))


def sentence(finding: Finding) -> str:
    """Return what is wrong as one line, such as `networks.corp.subnet: has host bits`."""
    message = printable(finding.message)
    return f"{printable(finding.path)}: {message}" if finding.path else message


def with_hint(finding: Finding) -> str:
    """Return what is wrong, and how to fix it on a line of its own."""
    hint = f"\nhint: {printable(finding.hint)}" if finding.hint else ""
    return sentence(finding) + hint
