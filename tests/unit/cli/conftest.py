"""What several tests of the commands share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.completion import built


@pytest.fixture(scope="session")
def completion_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The completion files, their table and its program, at their places in the package."""
    root = tmp_path_factory.mktemp("completion")
    built(root)
    return root
