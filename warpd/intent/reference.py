"""Write docs/yaml-reference.md from the JSON Schema, and so from the models."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from warpd.intent.schema import json_schema
from warpd.intent.sources import SOURCES

TITLES = {
    "Intent": "The document",
    "Gateway": "gateway",
    "Pools": "gateway.pools",
    "Limits": "limits",
    "Network": "networks.NAME",
    "Endpoint": "networks.NAME.endpoints.NAME",
    "Resource": "networks.NAME.resources",
    **{each.__name__: f"source ({each.KEY})" for each in SOURCES},
}
TARGET = Path(__file__).resolve().parents[2] / "docs" / "yaml-reference.md"


def reference() -> str:
    """Return the whole page, as Markdown."""
    schema = json_schema()
    lines = [
        "# YAML reference",
        "",
        "Made from the models (`python -m warpd.intent.reference`); do not edit.",
        "",
    ]
    for name, title in TITLES.items():
        body = schema if name == "Intent" else schema.get("$defs", {}).get(name, {})
        lines += _section(title, body)
    return "\n".join(lines).rstrip() + "\n"


def _section(title: str, body: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    yield "| field | value | default | meaning |"
    yield "|---|---|---|---|"
    required = set(body.get("required", ()))
    for name, field in body.get("properties", {}).items():
        default = "required" if name in required else default_text(field)
        meaning = str(field.get("description", "")).replace("|", "\\|").replace("\n", " ")
        yield f"| `{name}` | {kind_text(field)} | {default} | {meaning} |"
    yield ""


def default_text(field: Mapping[str, Any]) -> str:
    """Return the default of a field; "" where it has none that needs to be said."""
    value = field.get("default")
    return (
        "" if value is None or value == "" or isinstance(value, dict) else f"`{json.dumps(value)}`"
    )


def kind_text(field: Mapping[str, Any]) -> str:
    """Return what values a field takes, in words."""
    if "enum" in field:
        return ", ".join(f"`{item}`" for item in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if "$ref" in field:
        return _model_kind(str(field["$ref"]))
    if "anyOf" in field:
        kinds = (kind_text(choice) for choice in field["anyOf"] if choice.get("type") != "null")
        return " or ".join(dict.fromkeys(kinds))
    if field.get("type") == "array":
        return f"list of {kind_text(field.get('items', {})) or 'values'}"
    kind = field.get("type", "")
    return ", ".join(kind) if isinstance(kind, list) else str(kind)


def _model_kind(schema_path: str) -> str:
    """Return what the page says of a field that is a model of its own."""
    name = schema_path.rpartition("/")[2]
    return f"see {TITLES[name]}" if name in TITLES else name


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
