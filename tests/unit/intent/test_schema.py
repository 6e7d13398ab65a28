"""The JSON Schema: current, closed, described, and of one mind with the loader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.unit.intent.test_validation import EVERY_TYPE
from warpd.intent.loader import load
from warpd.intent.schema import DIALECT, json_schema, schema_text
from warpd.yamlfile.parser import read_text, read_tree

ROOT = Path(__file__).parent.parent.parent.parent
SCHEMA = json_schema()
BAD = sorted((ROOT / "tests" / "bad").glob("*.yaml"))
# Findings that a schema cannot make: beyond YAML's own, those between values and those of a value's
# meaning.
SHAPE = {"unknown-key", "missing", "type", "name"}


def objects(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if node.get("type") == "object":
            yield node
        for value in node.values():
            yield from objects(value)
    elif isinstance(node, list):
        for value in node:
            yield from objects(value)


def valid(value: Any) -> bool:
    return jsonschema.Draft202012Validator(SCHEMA).is_valid(value)


def test_the_file_is_current() -> None:
    assert (ROOT / "schemas" / "warp.schema.json").read_text() == schema_text(), (
        "run: python -m warpd.intent.schema"
    )


def test_it_is_a_schema_of_its_dialect() -> None:
    assert SCHEMA["$schema"] == DIALECT
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_object_is_closed_and_every_field_described() -> None:
    for node in objects(SCHEMA):
        assert node.get("additionalProperties") is False or "propertyNames" in node
        for name, field in node.get("properties", {}).items():
            assert field.get("description") or "$ref" in field, name


def test_it_takes_every_type_and_the_examples() -> None:
    assert valid(EVERY_TYPE)
    for path in (ROOT / "examples").glob("*.yaml"):
        assert valid(read_tree(read_text(path.read_bytes())[0]).value), path


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_it_refuses_what_the_loader_refuses_by_shape(path: Path) -> None:
    text, problems = read_text(path.read_bytes())
    read = read_tree(text)
    if problems or read.problems or read.value is None:
        return
    found = {finding.code for finding in load(path).findings}
    if found & SHAPE:
        assert not valid(read.value)
