"""Bodies of requests for a change, as values: nothing unknown, nothing of another type. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from warpd.daemon.http.messages import BODY_MAX, HttpError
from warpd.intent.model import Endpoint, Network
from warpd.service.edits import Edit
from warpd.yamlfile.editor import nearest

EDITS_MAX: Final = 200
NAME_MAX: Final = 200  # characters of a name
DEPTH_MAX: Final = 4  # of lists and mappings in a field
TEXT_MAX: Final = 1024 * 1024  # bytes of a CSV text or of all files
CODES_MAX: Final = 20  # that are agreed to

NETWORK_FIELDS: Final = frozenset(Network.model_fields) - {"endpoints"}
ENDPOINT_FIELDS: Final = frozenset(Endpoint.model_fields)
# What an edit takes beside `op`, and whether it has to be there.
KEYS: Final[Mapping[str, Mapping[str, bool]]] = {
    "add_network": {"network": True, "fields": True},
    "set_network": {"network": True, "fields": True},
    "rename_network": {"network": True, "to": True},
    "remove_network": {"network": True},
    "add_endpoint": {"network": True, "endpoint": True, "fields": True},
    "set_endpoint": {"network": True, "endpoint": True, "fields": True},
    "rename_endpoint": {"network": True, "endpoint": True, "to": True},
    "remove_endpoint": {"network": True, "endpoint": True},
    "rotate_endpoint": {"network": True, "endpoint": True},
}


@dataclass(frozen=True, slots=True)
class CsvText:
    """Endpoints as a CSV text, for one network; `kind` is the type where a row has none."""

    text: bytes
    network: str
    kind: str | None


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """What is asked for: edits, or a CSV text, or the texts of whole files by name."""

    edits: tuple[Edit, ...] = ()
    csv: CsvText | None = None
    files: Mapping[str, bytes] | None = None

    @property
    def networks(self) -> frozenset[str]:
        """The networks that it names."""
        names = {edit.network for edit in self.edits}
        names |= {edit.to for edit in self.edits if edit.op == "rename_network"}
        return frozenset(names | ({self.csv.network} if self.csv is not None else set()))


@dataclass(frozen=True, slots=True)
class ReviewedApply:
    """How a reviewed change is applied."""

    digest: str
    agree: tuple[str, ...]
    confirm_within_s: int | None


def change_request(body: Mapping[str, Any], size: int) -> ChangeRequest:
    """Read the body of POST /v1/changes; `size` is its length in bytes.

    Raises:
        HttpError: it is not of that shape, or too large.
    """
    if "csv" in body:
        _only(body, {"csv": True, "network": True, "type": False}, "a CSV")
        kind = _text(body, "type") if "type" in body else None
        return ChangeRequest(csv=CsvText(_utf8(body, "csv"), _name(body, "network"), kind))
    if "files" in body:
        _only(body, {"files": True}, "a change of files")
        files = _mapping(body, "files")
        return ChangeRequest(files={name: _utf8(files, name) for name in files})
    _only(body, {"edits": True}, "a change")
    if size > BODY_MAX:
        raise HttpError(413, "the body is too large", hint="send fewer edits, or a CSV")
    rows = body["edits"]
    if not isinstance(rows, list) or not 0 < len(rows) <= EDITS_MAX:
        raise HttpError(400, f"`edits` is a list of 1 to {EDITS_MAX} edits")
    return ChangeRequest(tuple(_edit(row, number) for number, row in enumerate(rows, 1)))


def apply_request(body: Mapping[str, Any]) -> ReviewedApply:
    """Read the body of POST /v1/changes/{id}/apply.

    Raises:
        HttpError: it is not of that shape.
    """
    _only(body, {"digest": True, "agree": False, "confirm_within_s": False}, "an apply")
    agree = body.get("agree", [])
    if not isinstance(agree, list) or len(agree) > CODES_MAX:
        raise HttpError(400, "`agree` is a list of codes of risks")
    if not all(isinstance(code, str) for code in agree):
        raise HttpError(400, "`agree` is a list of codes of risks")
    within_s = body.get("confirm_within_s")
    if within_s is not None and type(within_s) is not int:
        raise HttpError(400, "`confirm_within_s` is a whole number of seconds")
    return ReviewedApply(_text(body, "digest"), tuple(agree), within_s)


def propose_request(body: Mapping[str, Any]) -> str:
    """Return the message of the body of POST /v1/changes/{id}/propose.

    Raises:
        HttpError: it is not of that shape.
    """
    _only(body, {"message": True}, "a proposal")
    return _text(body, "message", TEXT_MAX)


def _edit(row: Any, number: int) -> Edit:
    what = f"edit {number}"
    if not isinstance(row, dict):
        raise HttpError(400, f"{what} is not an object")
    op = row.get("op")
    if not isinstance(op, str) or op not in KEYS:
        raise HttpError(400, f"{what} has no known `op`", hint=f"one of: {', '.join(KEYS)}")
    _only(row, {"op": True, **KEYS[op]}, f"{what} ({op})")
    return Edit(
        op,
        _name(row, "network"),
        _name(row, "endpoint") if "endpoint" in row else "",
        _fields(row, op, what) if "fields" in row else {},
        _name(row, "to") if "to" in row else "",
    )


def _fields(row: Mapping[str, Any], op: str, what: str) -> dict[str, Any]:
    fields = _mapping(row, "fields")
    known = NETWORK_FIELDS if op.endswith("_network") else ENDPOINT_FIELDS
    for name, value in fields.items():
        if name not in known:
            text = f"{what}: there is no field {name[:40]}"
            raise HttpError(400, text, hint=nearest(name, known))
        if value is None and not op.startswith("set_"):
            raise HttpError(400, f"{what}: {name} is null", hint="leave it out")
        if value is not None and not _is_plain(value, DEPTH_MAX):
            text = f"{what}: {name} is no text, whole number, true or false, nor a list of these"
            raise HttpError(400, text)
    return fields


def _is_plain(value: Any, depth: int) -> bool:
    """Whether a value can be written into the YAML."""
    if type(value) in (str, int, bool):
        return True
    if depth and isinstance(value, list):
        return all(_is_plain(item, depth - 1) for item in value)
    if depth and isinstance(value, dict):
        return all(_is_plain(item, depth - 1) for item in value.values())
    return False


def _only(body: Mapping[str, Any], keys: Mapping[str, bool], what: str) -> None:
    """Raises: HttpError: a key is unknown, or one that has to be there is not."""
    for name in body:
        if name not in keys:
            text = f"{what} has no `{name[:40]}`"
            raise HttpError(400, text, hint=f"it takes: {', '.join(keys)}")
    for name, needed in keys.items():
        if needed and name not in body:
            text = f"{what} needs `{name}`"
            raise HttpError(400, text, hint=f"it takes: {', '.join(keys)}")


def _text(body: Mapping[str, Any], key: str, size_max: int = NAME_MAX) -> str:
    value = body[key]
    if not isinstance(value, str) or len(value) > size_max:
        raise HttpError(400, f"`{key[:40]}` is a text of up to {size_max} characters")
    return value


def _name(body: Mapping[str, Any], key: str) -> str:
    value = _text(body, key)
    if not value:
        raise HttpError(400, f"`{key}` is empty")
    return value


def _mapping(body: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = body[key]
    if not isinstance(value, dict) or not value:
        raise HttpError(400, f"`{key}` is an object with at least one member")
    return value


def _utf8(body: Mapping[str, Any], key: str) -> bytes:
    try:
        return _text(body, key, TEXT_MAX).encode()
    except UnicodeError:
        raise HttpError(400, f"`{key[:40]}` is not Unicode text") from None
