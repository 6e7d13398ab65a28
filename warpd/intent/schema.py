"""The JSON Schema of the YAML, made from the models, for editors and `warpctl schema`.

Run as a program it writes `schemas/warp.schema.json`; a test keeps that file current.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final, Union

from warpd.intent.model import Intent
from warpd.intent.sources import SOURCES, Pointer
from warpd.intent.types import Range

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema, draft 2020-12, as plain values.

    A document has either `networks` or `source`; pydantic has a model of its own for each.
    """
    any_source: Any = Union[SOURCES]  # noqa: UP007 - made of a tuple
    schema, pointer = Intent.model_json_schema(), Pointer[any_source].model_json_schema()
    schema["$defs"] |= pointer["$defs"]
    schema["properties"]["source"] = pointer["properties"]["source"]
    schema["required"] = ["version"]
    schema |= {
        "oneOf": [{"required": ["networks"]}, {"required": ["source"]}],
        "not": {"required": ["source", "gateway"]},
    }
    return {
        "$schema": DIALECT,
        **_simplified(schema),
        "title": "warpd",
        "description": _plain(Intent.__doc__),
    }


def schema_text() -> str:
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _simplified(node: Any) -> Any:
    """Remove pydantic's titles and the defaults that repeat another model's; forbid keys that are
    not names.
    """
    if isinstance(node, list):
        return [_simplified(item) for item in node]
    if not isinstance(node, dict):
        return node
    if set(node) == {"first", "last"}:  # a Range's default, as the YAML writes it
        return str(Range(**node))
    out = {
        key: _simplified(value)
        for key, value in node.items()
        if key != "title" or not isinstance(value, str)
    }
    if "patternProperties" in out:
        out["additionalProperties"] = False
    if "$ref" in out:
        out.pop("default", None)
    return out


def _plain(text: str | None) -> str:
    return " ".join((text or "").split())


def main() -> int:
    """Write the schema to the file of the first argument, or to the project's own file."""
    target = Path(__file__).parents[2] / "schemas" / "warp.schema.json"
    if len(sys.argv) > 1:
        target = Path(sys.argv[1])
    target.write_text(schema_text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
