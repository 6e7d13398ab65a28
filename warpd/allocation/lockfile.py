"""`warp.lock.yaml` beside the YAML: the allocations in git. It is obeyed, and holds no secret.

Lives here: its shape and its text. Does not: the fields (`model`), what contradicts the YAML
(`lockfile_checks`), who gets what (`allocator`), when it is written (the command). An entry has a
line of its own, in the order of the names, so that two branches that add different things merge by
themselves; where both took one number, that is an error at the second line.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StrictInt,
    StringConstraints,
    ValidationError,
    create_model,
)
from pydantic_core import PydanticCustomError

from warpd.allocation.merge import merged_locks
from warpd.allocation.model import (
    ENDPOINT_FIELDS,
    FIELDS,
    NETWORK_FIELDS,
    AllocationField,
    Allocations,
    EndpointAllocation,
    NetworkAllocation,
    Tombstone,
    endpoint_values,
    network_values,
)
from warpd.errors import Finding, InvalidIntent
from warpd.intent.diagnostics import Loc, nearest_of, path_of, placed, unquoted, worded
from warpd.intent.documents import Source, bytes_of
from warpd.intent.file_names import LOCK_FILE
from warpd.intent.loader import read_source
from warpd.intent.ownership import why_hidden
from warpd.intent.types import Address4, Address6, Name, Network4, Network6, Version
from warpd.yamlfile.conflict_markers import conflicts, sides
from warpd.yamlfile.writer import flow, scalar

_HEAD: Final = (
    "# Allocations, for git: written by `warpctl lock`, obeyed by every command. No secrets.",
    (
        "# Where two branches took the same number, remove one of the two networks here and run"
        " `warpctl lock` again."
    ),
)
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"

# ---- its shape --------------------------------------------------------------------------------


def _time(value: Any) -> int:
    try:
        # far from where the calendar of datetime ends
        if isinstance(value, str) and value < "3000":
            return int(datetime.strptime(value, _TIME).replace(tzinfo=UTC).timestamp())
    except ValueError:
        pass
    raise PydanticCustomError(
        "time",
        "{message}",
        {"message": "is not a time", "hint": "write it as 2030-12-31T23:59:59Z"},
    )


# The first name of an owner, numbered where another one had the same (`key_names`).
FirstName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}(\+[0-9]{1,9})?$")]

_TYPES: Final[Mapping[type, Any]] = {
    IPv4Address: Address4,
    IPv6Address: Address6,
    IPv4Network: Network4,
    IPv6Network: Network6,
    str: FirstName,
}


def _type_of(each: AllocationField) -> Any:
    """The pydantic type of a field's values."""
    if each.limits is None:
        return _TYPES[each.type]
    return Annotated[StrictInt, Field(ge=each.limits.first, le=each.limits.last)]


class _LockModel(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, regex_engine="rust-regex"
    )


# mypy does not know a model that `create_model` makes as a type: hence `valid-type` below.
def _entry_model(name: str, fields: Iterable[AllocationField], **more: Any) -> type[_LockModel]:
    """A model of all these fields, and of `more`; those that are optional may be left out."""
    definitions: dict[str, Any] = {}
    for each in fields:
        definitions[each.name] = (_type_of(each), each.empty if each.is_optional else ...)
    return create_model(name, __base__=_LockModel, **definitions, **more)


EndpointEntry = _entry_model("EndpointEntry", ENDPOINT_FIELDS)
NetworkEntry = _entry_model(
    "NetworkEntry",
    NETWORK_FIELDS,
    endpoints=(dict[Name, EndpointEntry], Field(default_factory=dict)),  # type: ignore[valid-type]
)


class _Tombstone(_LockModel):
    network: Name
    endpoint: Name | None = None
    since: Annotated[int, PlainValidator(_time)]


_RELEASED: dict[str, Any] = {each.name: (_type_of(each) | None, None) for each in FIELDS.values()}
TombstoneEntry = create_model("TombstoneEntry", __base__=_Tombstone, **_RELEASED)


class Document(_LockModel):
    """The whole file. `freed` is what `tombstones` were called before."""

    version: Version
    networks: dict[Name, NetworkEntry]  # type: ignore[valid-type]
    tombstones: tuple[TombstoneEntry, ...] = ()
    freed: tuple[TombstoneEntry, ...] = ()


# ---- the file --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lockfile:
    """A lock file as it was read.

    allocations: None where the file could not be understood; the findings say why.
    """

    source: Source
    raw: bytes
    allocations: Allocations | None
    findings: tuple[Finding, ...]

    def at(self, code: str, loc: Loc, message: str, hint: str, severity: Any = "error") -> Finding:
        return placed(Finding(code, path_of(loc), message, hint, severity), loc, [self.source], {})


ParseLock = Callable[[Path, bytes], Lockfile]


def beside(main_file: Path) -> Path:
    """Where the lock file of this YAML file is, there or not."""
    return main_file.parent / LOCK_FILE


def read_lock(path: Path, parse: ParseLock | None = None) -> Lockfile | None:
    """Read a lock file; None where there is none.

    `parse` makes a Lockfile of path and bytes, by default `parse_lock`. One that remembers may give
    an earlier value for the same bytes.
    """
    if not os.path.lexists(path):
        return None
    raw, problem = bytes_of(path, path.parent)
    if problem is not None:
        return Lockfile(Source(str(path)), raw, None, (problem,))
    return (parse or parse_lock)(path, raw)


def parse_lock(path: Path, raw: bytes) -> Lockfile:
    """Make a Lockfile of the bytes of a lock file; what is wrong with it is among its findings."""
    source, findings = read_source(path, raw)
    source = dataclasses.replace(source, hidden=why_hidden(path, path.parent))
    findings = [unquoted(finding, [source]) for finding in findings]
    if source.value is None:
        return Lockfile(source, raw, None, tuple(findings))
    try:
        document = Document.model_validate(dict(source.value))
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)[:1000]
        findings += [unquoted(_shaped(error, source), [source]) for error in errors]
        return Lockfile(source, raw, None, tuple(findings))
    return Lockfile(source, raw, None if findings else _allocations(document), tuple(findings))


def resolved(path: Path) -> tuple[Lockfile, tuple[str, ...]] | None:
    """(the lock file that both sides of a git conflict make, a text for each owner to be given
    another value); None where the file has no conflict.

    Raises:
        InvalidIntent: a side is no lock file by itself.
    """
    raw, problem = bytes_of(path) if os.path.lexists(path) else (b"", None)
    text = raw.decode("utf-8", "replace")
    if problem is not None or not conflicts(text):
        return None
    ours, theirs = (parsed(path, side.encode()) for side in sides(text))
    allocations, texts = merged_locks(ours, theirs)
    return Lockfile(Source(str(path), raw), raw, allocations, ()), texts


def parsed(path: Path, raw: bytes) -> Allocations:
    """The allocations of a lock file's bytes. Raises: InvalidIntent when they are none."""
    lockfile = parse_lock(path, raw)
    if lockfile.allocations is None:
        raise InvalidIntent(lockfile.findings)
    return lockfile.allocations


def _shaped(error: Any, source: Source) -> Finding:
    loc: Loc = tuple(step for step in error["loc"] if step != "[key]")
    if error["type"] != "extra_forbidden":
        return placed(worded(error, loc), loc, [source], {})
    known = list(_model_at(loc[:-1]).model_fields)
    hint = nearest_of(loc[-1], known) or f"known here: {', '.join(known)}"
    return placed(Finding("unknown-key", path_of(loc), "unknown key", hint), loc, [source], {})


def _model_at(loc: Loc) -> type[BaseModel]:
    match loc:
        case ():
            return Document
        case ("tombstones" | "freed", *_):
            return TombstoneEntry
        case ("networks", _):
            return NetworkEntry
        case _:
            return EndpointEntry


def _allocations(document: Document) -> Allocations:
    networks = {name: _network(entry) for name, entry in sorted(document.networks.items())}
    rows = map(_tombstone, (*document.tombstones, *document.freed))
    return Allocations(networks, tuple(sorted(rows)))


def _network(entry: Any) -> NetworkAllocation:
    values = dict(entry)
    endpoints = sorted(values.pop("endpoints").items())
    return NetworkAllocation(
        **values, endpoints={name: EndpointAllocation(**dict(each)) for name, each in endpoints}
    )


def _tombstone(row: Any) -> Tombstone:
    values = {
        name: value
        for name, value in row
        if value is not None and name not in _Tombstone.model_fields
    }
    return Tombstone.of(row.network, row.endpoint or "", row.since, values)


# ---- its text ---------------------------------------------------------------------------------


def lock_text(allocations: Allocations) -> str:
    """The file's text; equal allocations are equal bytes."""
    lines = [*_HEAD, "version: 1", "networks:" if allocations.networks else "networks: {}"]
    for name, item in sorted(allocations.networks.items()):
        lines.append(f"  {scalar(name)}:")
        lines += [f"    {key}: {scalar(value)}" for key, value in network_values(item).items()]
        lines.append("    endpoints:" if item.endpoints else "    endpoints: {}")
        lines += [
            f"      {scalar(each)}: {flow(endpoint_values(one))}"
            for each, one in sorted(item.endpoints.items())
        ]
    if allocations.tombstones:
        lines.append("tombstones:  # released; given to nobody else yet (gateway.quarantine)")
        lines += [f"  - {flow(_row(row))}" for row in sorted(allocations.tombstones)]
    return "\n".join(lines) + "\n"


def _row(row: Tombstone) -> dict[str, Any]:
    values: dict[str, Any] = {"network": row.network}
    if row.endpoint:
        values["endpoint"] = row.endpoint
    values["since"] = datetime.fromtimestamp(row.released_s, UTC).strftime(_TIME)
    for name, value in row.values:
        is_number = name in FIELDS and FIELDS[name].type is int
        values[name] = int(value) if is_number else value
    return values
