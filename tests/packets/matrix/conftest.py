"""Fixtures of the matrix, and its table at the end of the run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .field import MATRIX, Field
from .probes import from_lans, passing
from .table import table

ABOUT: dict[str, str] = {}


@pytest.fixture(scope="session")
def printed(tmp_path_factory: pytest.TempPathFactory, wireguard: str) -> Iterator[Field]:
    """The whole matrix, applied and connected; every open way was gone with the configs exactly as
    printed.
    """
    field = Field(tmp_path_factory.mktemp("matrix"))
    ABOUT["set-up"] = (
        f"apply after {field.applied_s:.1f} s, {len(field.members)} clients connected after"
        f" {field.ready_s:.1f} s"
    )
    try:
        well = [member for member in field.members.values() if member.name not in field.silent]
        field.faults = field.run(
            p for m in well for p in (*passing(field, m), *from_lans(field, m))
        )
        field.loose()
        yield field
        late = field.late()
        ABOUT["arrived where it must not, in the end"] = str(len(late))
        assert not late, "\n".join(late[:50])
    finally:
        field.lab.stop()


@pytest.fixture(scope="session")
def matrix(printed: Field) -> Field:
    """Every client is hostile: it sends what it likes."""
    return printed


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if MATRIX.rows:
        terminalreporter.section("matrix")
        for name, text in ABOUT.items():
            terminalreporter.write_line(f"{name}: {text}")
        for line in table(MATRIX):
            terminalreporter.write_line(line)
