"""What `validate` found, in the formats that CI systems read.

One file a format, one line here. Each is a pure function of a `Report`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from warpd.cli.findings import github, gitlab, junit, sarif
from warpd.cli.findings.report import Report

FORMATS: Final[Mapping[str, Callable[[Report], str]]] = {
    "github": github.text,
    "gitlab": gitlab.text,
    "junit": junit.text,
    "sarif": sarif.text,
}
