"""What schemathesis asks about is there in half of the cases: the networks and endpoints of the
test's YAML, and the ids of what it has made itself.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

import schemathesis

NETWORKS = ("corp", "web")
ENDPOINTS = {"corp": ("laptop-1", "laptop-2"), "web": ("phone",)}
NAME = re.compile("[a-z0-9-]{1,90}/[a-z0-9-]{1,90}")  # what is replaced is valid before, too
OWN_ID = os.environ.get("WARPD_API_TOKEN_ID", "")
made: dict[str, list[str]] = {"changes": ["0"], "links": ["0"], "sessions": ["0"], "tokens": ["0"]}
digests: list[str] = []


def _is_taken(value: Any) -> bool:
    """Half of all values; the same for the same value."""
    return isinstance(value, str) and sum(value.encode(errors="replace")) % 2 == 0


def _is_name(value: Any) -> bool:
    """Whether it is one of the values that are replaced: each of them is valid before, too."""
    return _is_taken(value) and 1 <= len(value) <= 200


def _kind(path: str) -> str:
    """`changes` of `/v1/changes/{id}/apply`."""
    return path.split("/")[2] if path.startswith("/v1/") else ""


def _one(values: Any, value: str) -> str:
    return str(values[len(value) % len(values)])


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> Any:
    filled = dict(path_parameters or {})
    if _is_taken(filled.get("network")):
        filled["network"] = _one(NETWORKS, filled["network"])
        if isinstance(filled.get("endpoint"), str):
            filled["endpoint"] = _one(ENDPOINTS[filled["network"]], filled["endpoint"])
    kind = _kind(context.operation.path)
    if kind in made and _is_taken(filled.get("id")):
        filled["id"] = made[kind][-1]
    return filled or path_parameters


@schemathesis.hook
def map_query(context: Any, query: dict[str, Any] | None) -> Any:
    filled = dict(query or {})
    if context.operation.path == "/v1/explain" and _is_name(filled.get("endpoint")):
        filled |= {"endpoint": "corp/laptop-1"}
    if _is_name(filled.get("network")):
        filled["network"] = _one(NETWORKS, filled["network"])
    return filled or query


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    filled = dict(body)
    name = filled.get("endpoint")
    if isinstance(name, str) and NAME.fullmatch(name) and _is_taken(name):
        filled["endpoint"] = f"corp/{_one(ENDPOINTS['corp'], name)}"
    if digests and _is_name(filled.get("digest")):
        filled["digest"] = digests[-1]
    if _is_name(filled.get("network")):
        filled["network"] = "corp"
    edits = filled.get("edits")
    if isinstance(edits, list):
        filled["edits"] = [_edit(edit) for edit in edits]
    return filled


def _edit(edit: Any) -> Any:
    if not isinstance(edit, dict) or not _is_name(edit.get("network")):
        return edit
    filled = {**edit, "network": _one(NETWORKS, edit["network"])}
    if _is_name(edit.get("endpoint")):
        filled["endpoint"] = _one(ENDPOINTS[filled["network"]], edit["endpoint"])
    return filled


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """The token by which all is asked is not ended, and no stream of events goes on."""
    if case.operation.path == "/v1/events" and (case.query or {}).get("follow", "1") == "1":
        case.query = {**(case.query or {}), "follow": "0"}
    if OWN_ID and (case.path_parameters or {}).get("id") == OWN_ID:
        case.path_parameters["id"] = "00000000"


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    if case.method != "POST" or response.status_code != 200:
        return
    answer = json.loads(response.content)
    kind = _kind(case.operation.path)
    if kind in made and "id" in answer:
        made[kind].append(answer["id"])
    if "digest" in answer:
        digests.append(answer["digest"])
