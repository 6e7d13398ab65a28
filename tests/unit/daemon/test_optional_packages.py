"""What the daemon loads, and what it does not. In processes of their own."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from warpd.daemon.optional_packages import hidden


def loaded_by(code: str) -> set[str]:
    """Top-level packages that are loaded after this code."""
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_a_hidden_package_cannot_be_imported_and_can_be_again() -> None:
    before = list(sys.meta_path)
    sys.modules.pop("this", None)
    with hidden("this"), pytest.raises(ModuleNotFoundError):
        importlib.import_module("this")
    assert sys.meta_path == before and "this" not in sys.modules


def test_an_error_leaves_nothing_hidden() -> None:
    before = list(sys.meta_path)
    with pytest.raises(ValueError), hidden("this"):
        raise ValueError
    assert sys.meta_path == before


START = """
import runpy, sys
sys.argv = ["warpd", "--version"]
try:
    runpy.run_module("warpd.daemon.main", run_name="__main__")
except SystemExit:
    pass
assert "warpd.daemon.loop" in sys.modules
"""


def test_the_service_loads_no_more_than_it_needs() -> None:
    loaded = loaded_by(START)
    assert {"structlog", "asyncio"} <= loaded
    assert not loaded & {"rich", "pygments", "ssl", "typer", "pyroute2"}


def test_without_that_they_would_be_loaded() -> None:
    """Once structlog and asyncio no longer do that by themselves, there is nothing to hide."""
    assert {"rich", "ssl"} <= loaded_by("import structlog")
