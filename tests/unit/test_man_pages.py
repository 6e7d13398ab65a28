"""The man pages that the build makes: they name every command, option and field, in roff that holds
nothing but the requests that are meant.
"""

from __future__ import annotations

import gzip
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import warpd.cli
from warpd.cli.app import app
from warpd.daemon.options import parser
from warpd.intent.schema import json_schema

REPOSITORY = Path(__file__).parents[2]
PAGES = (
    "man1/warpctl.1",
    "man5/warp.yaml.5",
    "man8/warpd.8",
    "man8/warpd-notify.8",
    "man8/warpd-oidc.8",
    "man8/warpd-propose.8",
    "man8/warpd-web.8",
)
REQUESTS = {".TH", ".SH", ".SS", ".PP", ".TP", ".nf", ".fi"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("man"))


def built(root: Path) -> Path:
    words = [sys.executable, REPOSITORY / ".ci" / "reference" / "man.py", root]
    environment = {"PYTHONPATH": str(REPOSITORY), "SOURCE_DATE_EPOCH": "1800000000"}
    subprocess.run(words, check=True, env={**os.environ, **environment})
    return root / "usr/share/man"


def page(folder: Path, name: str) -> str:
    return gzip.decompress((folder / f"{name}.gz").read_bytes()).decode()


def plain(text: str) -> str:
    """As it is read: without fonts and escapes."""
    return re.sub(r"\\f[BIR]", "", text).replace("\\-", "-").replace("\\&", "").replace("\\e", "\\")


@pytest.mark.parametrize("name", PAGES)
def test_the_roff_is_what_is_meant(folder: Path, name: str) -> None:
    text = page(folder, name)
    requests = {line.split()[0] for line in text.splitlines() if line.startswith((".", "'"))}
    assert requests <= REQUESTS
    assert text.startswith(".TH ") and '"2027-01-15"' in text.splitlines()[0]
    assert text.count("\\fB") + text.count("\\fI") == text.count("\\fR")
    escapes = set(re.findall(r"\\(.)", text))
    assert escapes <= {"f", "-", "&", "e"}


def test_two_builds_are_the_same(folder: Path, tmp_path: Path) -> None:
    again = built(tmp_path)
    for name in PAGES:
        assert (again / f"{name}.gz").read_bytes() == (folder / f"{name}.gz").read_bytes()


def commands(command: Any, words: tuple[str, ...] = ("warpctl",)) -> Iterator[tuple[str, Any]]:
    more = getattr(command, "commands", {})
    if not more:
        yield " ".join(words), command
    for name, one in more.items():
        yield from commands(one, (*words, name))


def test_every_command_and_option(folder: Path) -> None:
    for module in pkgutil.iter_modules(warpd.cli.__path__):
        importlib.import_module(f"warpd.cli.{module.name}")
    parts = dict(
        part.split("\n", 1)
        for part in re.split(r"^\.S[SH] ", plain(page(folder, PAGES[0])), flags=re.MULTILINE)[1:]
    )
    for words, command in commands(get_command(app)):
        for parameter in command.params:
            if parameter.param_type_name == "option" and not parameter.hidden:
                assert all(name in parts[words] for name in parameter.opts), (words, parameter.name)


def test_every_option_of_the_daemon(folder: Path) -> None:
    text = plain(page(folder, PAGES[2]))
    options = [name for action in parser()._actions for name in action.option_strings]
    assert len(options) > 10 and all(name in text for name in options)


def test_every_field_of_the_yaml(folder: Path) -> None:
    text, schema = plain(page(folder, PAGES[1])), json_schema()
    for body in (schema, *schema["$defs"].values()):
        for name in body.get("properties", {}):
            assert f"\n{name}: " in text, name
