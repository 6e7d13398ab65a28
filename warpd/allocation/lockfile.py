"""`warp.lock.yaml` beside the YAML: the grants in git. Obeyed where it is there; holds no secret.

Lives here: its shape, its text, what contradicts the YAML and where it is behind. Does not: who
gets what (`allocator`), when it is written (the command). An entry has a line of its own, in the
order of the names, so that two branches that add different things merge by themselves; where both
took one number, that is an error at the second line.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Network
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
)
from pydantic_core import PydanticCustomError

from warpd.allocation.addresses import EndpointAllocation
from warpd.allocation.merge import merged_locks
from warpd.allocation.model import (
    Allocations,
    NetworkAllocation,
    Tombstone,
    endpoint_values,
    network_values,
)
from warpd.errors import Finding, InvalidIntent
from warpd.intent.capacity import LEG_MAX
from warpd.intent.loader import (
    LOCK_FILE,
    Loc,
    Source,
    bytes_of,
    nearest_of,
    path_of,
    placed,
    read_source,
    unquoted,
    worded,
)
from warpd.intent.model import Endpoint, Intent, Network
from warpd.intent.ownership import why_hidden
from warpd.intent.types import (
    TABLE_MAX,
    VCID_MAX,
    VLAN_MAX,
    VNI_MAX,
    Address4,
    Address6,
    Name,
    Network4,
    Network6,
    Version,
)
from warpd.yamlfile.conflict_markers import conflicts, sides
from warpd.yamlfile.writer import flow, scalar

CONTRADICTS: Final = "lock-contradicts"
BEHIND: Final = "lock-behind"
_HEAD: Final = (
    "# What was granted, for git: written by `warpctl lock`, obeyed by every command. No secrets.",
    (
        "# Where two branches took the same number, remove one of the two networks here and run"
        " `warpctl lock` again."
    ),
)
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_NAMED_AT_MOST: Final = 5
# Field of the YAML -> field of the grant.
_SAID: Final = {
    "vcid": "vcid",
    "port": "port",
    "routing_table": "routing_table",
    "subnet": "subnet",
    "subnet6": "subnet6",
    "gateway_address": "gateway_address",
    "vlan_id": "vlan",
}


def _time(value: Any) -> int:
    try:
        if (
            isinstance(value, str) and value < "3000"
        ):  # far from where the calendar of datetime ends
            return int(datetime.strptime(value, _TIME).replace(tzinfo=UTC).timestamp())
    except ValueError:
        pass
    raise PydanticCustomError(
        "time",
        "{message}",
        {"message": "is not a time", "hint": "write it as 2030-12-31T23:59:59Z"},
    )


FirstName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}(\+[0-9]{1,9})?$")]


class _LockModel(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, regex_engine="rust-regex"
    )


class EndpointEntry(_LockModel):
    """What an endpoint has."""

    address: Address4
    address6: Address6
    leg: StrictInt = Field(0, ge=0, le=LEG_MAX)
    vni: StrictInt | None = Field(None, ge=1, le=VNI_MAX)
    key_name: FirstName = ""


class NetworkEntry(_LockModel):
    """What a network has."""

    vcid: StrictInt = Field(ge=1, le=VCID_MAX)
    port: StrictInt = Field(ge=1, le=65535)
    routing_table: StrictInt = Field(ge=1, le=TABLE_MAX)
    subnet: Network4
    subnet6: Network6
    gateway_address: Address4
    gateway_address6: Address6
    transit: Network4
    vlan: StrictInt = Field(0, ge=0, le=VLAN_MAX)
    first_name: FirstName = ""
    endpoints: dict[Name, EndpointEntry] = Field(default_factory=dict)


class ReleasedEntry(_LockModel):
    """What somebody gave up: every field that a grant can have."""

    network: Name
    endpoint: Name | None = None
    since: Annotated[int, PlainValidator(_time)]
    vcid: StrictInt | None = Field(None, ge=1, le=VCID_MAX)
    port: StrictInt | None = Field(None, ge=1, le=65535)
    routing_table: StrictInt | None = Field(None, ge=1, le=TABLE_MAX)
    subnet: Network4 | None = None
    subnet6: Network6 | None = None
    gateway_address: Address4 | None = None
    gateway_address6: Address6 | None = None
    transit: Network4 | None = None
    vlan: StrictInt | None = Field(None, ge=0, le=VLAN_MAX)
    first_name: FirstName | None = None
    address: Address4 | None = None
    address6: Address6 | None = None
    leg: StrictInt | None = Field(None, ge=0, le=LEG_MAX)
    vni: StrictInt | None = Field(None, ge=1, le=VNI_MAX)
    key_name: FirstName | None = None


class Document(_LockModel):
    """The whole file."""

    version: Version
    networks: dict[Name, NetworkEntry]
    freed: tuple[ReleasedEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock as it was read.

    Without grants it could not be understood, and the findings say why.
    """

    source: Source
    raw: bytes
    allocations: Allocations | None
    findings: tuple[Finding, ...]

    def at(self, code: str, loc: Loc, message: str, hint: str, severity: Any = "error") -> Finding:
        return placed(Finding(code, path_of(loc), message, hint, severity), loc, [self.source], {})


ParseLock = Callable[[Path, bytes], Lock]


def beside(main_file: Path) -> Path:
    return main_file.parent / LOCK_FILE


def read_lock(path: Path, parse: ParseLock | None = None) -> Lock | None:
    """Read a lock file; None where there is none.

    `parse` makes a Lock of path and bytes, by default `parse_lock`. One that remembers may give an
    earlier value for the same bytes.
    """
    if not os.path.lexists(path):
        return None
    raw, problem = bytes_of(path, path.parent)
    if problem is not None:
        return Lock(Source(str(path)), raw, None, (problem,))
    return (parse or parse_lock)(path, raw)


def parse_lock(path: Path, raw: bytes) -> Lock:
    """Make a Lock of the bytes of a lock file; what is wrong with it is among its findings."""
    source, findings = read_source(path, raw)
    source = dataclasses.replace(source, hidden=why_hidden(path, path.parent))
    findings = [unquoted(finding, [source]) for finding in findings]
    if source.value is None:
        return Lock(source, raw, None, tuple(findings))
    try:
        document = Document.model_validate(dict(source.value))
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)[:1000]
        return Lock(
            source,
            raw,
            None,
            (*findings, *(unquoted(_shaped(error, source), [source]) for error in errors)),
        )
    return Lock(source, raw, None if findings else _allocations(document), tuple(findings))


def resolved(path: Path) -> tuple[Lock, tuple[str, ...]] | None:
    """A lock that git left with conflicts, as both sides make it, and what is to be given anew;
    None for any other file.

    Raises:
        InvalidIntent: a side is no lock by itself.
    """
    raw, problem = bytes_of(path) if os.path.lexists(path) else (b"", None)
    text = raw.decode("utf-8", "replace")
    if problem is not None or not conflicts(text):
        return None
    ours, theirs = (parsed(path, side.encode()) for side in sides(text))
    allocations, said = merged_locks(ours, theirs)
    return Lock(Source(str(path), raw), raw, allocations, ()), said


def parsed(path: Path, raw: bytes) -> Allocations:
    """What a lock holds. Raises: InvalidIntent when it is none."""
    found = parse_lock(path, raw)
    if found.allocations is None:
        raise InvalidIntent(found.findings)
    return found.allocations


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
        case ("freed", *_):
            return ReleasedEntry
        case ("networks", _):
            return NetworkEntry
        case _:
            return EndpointEntry


def _allocations(document: Document) -> Allocations:
    networks = {}
    for name, entry in sorted(document.networks.items()):
        values = {key: value for key, value in entry if key != "endpoints"}
        seats = {
            each: EndpointAllocation(**dict(seat)) for each, seat in sorted(entry.endpoints.items())
        }
        networks[name] = NetworkAllocation(**values, endpoints=seats)
    return Allocations(networks, tuple(sorted(_freed(row) for row in document.freed)))


def _freed(row: ReleasedEntry) -> Tombstone:
    apart = ("network", "endpoint", "since")
    values = tuple(
        sorted((key, str(value)) for key, value in row if value is not None and key not in apart)
    )
    return Tombstone(row.network, row.endpoint or "", row.since, values)


# ---- its text ------------------------------------------------------------------------------------------------


def lock_text(allocations: Allocations) -> str:
    """The same grants are the same bytes."""
    lines = [*_HEAD, "version: 1", "networks:" if allocations.networks else "networks: {}"]
    for name, item in sorted(allocations.networks.items()):
        lines.append(f"  {scalar(name)}:")
        lines += [f"    {key}: {scalar(value)}" for key, value in network_values(item).items()]
        lines.append("    endpoints:" if item.endpoints else "    endpoints: {}")
        lines += [
            f"      {scalar(each)}: {flow(endpoint_values(one))}"
            for each, one in sorted(item.endpoints.items())
        ]
    if allocations.freed:
        lines.append("freed:  # nobody else gets these yet (gateway.quarantine)")
        lines += [f"  - {flow(_row(row))}" for row in sorted(allocations.freed)]
    return "\n".join(lines) + "\n"


_NUMBERS: Final = frozenset({"vcid", "port", "routing_table", "vlan", "leg", "vni"})


def _row(row: Tombstone) -> dict[str, Any]:
    who = (
        {"network": row.network, "endpoint": row.endpoint}
        if row.endpoint
        else {"network": row.network}
    )
    since = datetime.fromtimestamp(row.since, UTC).strftime(_TIME)
    return {
        **who,
        "since": since,
        **{key: int(value) if key in _NUMBERS else value for key, value in row.values},
    }


# ---- what contradicts the YAML -------------------------------------------------------------------------------


def contradictions(lock: Lock, intent: Intent) -> Iterator[Finding]:
    """What cannot be obeyed: errors, each at its line.

    Entries of what the YAML no longer has are left alone.
    """
    if lock.allocations is None:
        return
    networks = lock.allocations.networks
    pairs = [
        (name, network, _entry(name, network, networks))
        for name, network in sorted(intent.networks.items())
    ]
    known = [(network, entry, networks[entry]) for _, network, entry in pairs if entry is not None]
    for network, entry, item in known:
        yield from _against_network(lock, network, entry, item)
        yield from _inside(lock, network, entry, item)
    yield from _shared(lock, intent, known)


def _entry(name: str, one: Network | Endpoint, there: Iterable[str]) -> str | None:
    """Under which name the lock has it: its own, or the one it had before."""
    return next(
        (each for each in (name, one.renamed_from) if each is not None and each in there), None
    )


def _against_network(
    lock: Lock, network: Network, entry: str, item: NetworkAllocation
) -> Iterator[Finding]:
    for key, field in _SAID.items():
        said, has = getattr(network, key), getattr(item, field)
        if said is not None and has and said != has:
            yield _differs(lock, ("networks", entry, field), has, f"{key}: {said}")
    for name, one in sorted(network.endpoints.items()):
        each = _entry(name, one, item.endpoints)
        for field in ("address", "address6") if each is not None else ():
            said, has = getattr(one, field), getattr(item.endpoints[str(each)], field)
            if said is not None and said != has:
                yield _differs(
                    lock,
                    ("networks", entry, "endpoints", str(each), field),
                    has,
                    f"{field}: {said}",
                )


def _differs(lock: Lock, loc: Loc, has: object, said: str) -> Finding:
    text = f"the lock has {has}, but the YAML says {said}"
    return lock.at(CONTRADICTS, loc, text, "`warpctl lock` takes over what the YAML says")


def _inside(lock: Lock, network: Network, entry: str, item: NetworkAllocation) -> Iterator[Finding]:
    """Seats of one network: in its subnet, and each somebody's alone."""
    named = {_entry(name, one, item.endpoints) for name, one in network.endpoints.items()}
    seats = {name: one for name, one in sorted(item.endpoints.items()) if name in named}
    base: Loc = ("networks", entry)
    for field, subnet in (("gateway_address", item.subnet), ("gateway_address6", item.subnet6)):
        if getattr(item, field) not in subnet:
            yield _outside(lock, (*base, field), getattr(item, field), subnet)
    for name, one in seats.items():
        for field, subnet in (("address", item.subnet), ("address6", item.subnet6)):
            if getattr(one, field) not in subnet:
                yield _outside(lock, (*base, "endpoints", name, field), getattr(one, field), subnet)
    for field in ("address", "address6", "leg", "key_name"):
        rows = [
            ((*base, "endpoints", name, field), getattr(one, field) or None)
            for name, one in seats.items()
        ]
        if field == "key_name":
            rows = [
                ((*base, "endpoints", name, field), one.key_name or name)
                for name, one in seats.items()
            ]
        own = (
            [((*base, f"gateway_{field}"), getattr(item, f"gateway_{field}"))]
            if field.startswith("address")
            else []
        )
        yield from _twice(
            lock,
            [*own, *rows],
            "an address, a leg and a name for keys are one endpoint's: remove one line",
        )


def _outside(lock: Lock, loc: Loc, value: object, subnet: object) -> Finding:
    return lock.at(
        "lock-outside",
        loc,
        f"{value} is outside of the network's subnet {subnet}",
        "remove the line, or mend it",
    )


def _twice(lock: Lock, rows: Iterable[tuple[Loc, Hashable]], hint: str) -> Iterator[Finding]:
    first: dict[Hashable, Loc] = {}
    for loc, value in rows:
        if value is None:
            continue
        if value in first:
            yield lock.at("lock-twice", loc, f"{value} is {path_of(first[value])}'s already", hint)
        first.setdefault(value, loc)


Known = list[tuple[Network, str, NetworkAllocation]]


def _shared(lock: Lock, intent: Intent, known: Known) -> Iterator[Finding]:
    """Between networks."""
    hint = "remove one of the two networks here and run `warpctl lock` again"
    fields = ["vcid", "port", "routing_table", "transit"]
    if intent.gateway.vlan_scope == "gateway":
        fields.append("vlan")
    for field in fields:
        yield from _twice(
            lock,
            [(("networks", each, field), getattr(one, field) or None) for _, each, one in known],
            hint,
        )
    # What the YAML itself gives may be the same in several networks: they are VRFs.
    own6 = [
        (("networks", each, "subnet6"), one.subnet6)
        for network, each, one in known
        if network.subnet6 is None
    ]
    yield from _twice(lock, own6, hint)
    legs = (
        (("networks", each, "endpoints", name, "vni"), seat.vni)
        for _, each, one in known
        for name, seat in sorted(one.endpoints.items())
    )
    yield from _twice(lock, legs, hint)
    yield from _overlaps(
        lock, [(one.subnet, each) for network, each, one in known if network.subnet is None], hint
    )


def _overlaps(lock: Lock, blocks: list[tuple[IPv4Network, str]], hint: str) -> Iterator[Finding]:
    """Of subnets that nobody chose: given by two branches, most likely."""
    last: tuple[IPv4Network, str] | None = None
    for block, name in sorted(blocks):
        if last is not None and block.overlaps(last[0]):
            yield lock.at(
                "lock-twice",
                ("networks", name, "subnet"),
                f"{block} overlaps {last[0]} of network {last[1]}",
                hint,
            )
        else:
            last = (block, name)


# ---- where it is behind --------------------------------------------------------------------------------------


def behind(lock: Lock, allocations: Allocations) -> Iterator[Finding]:
    """Warnings: what was granted and is not in the lock, and what is in the lock and no longer
    granted.
    """
    if lock.allocations is None:
        return
    has = lock.allocations.networks
    for name in sorted(allocations.networks.keys() - has.keys()):
        yield _behind(f"networks.{name}", f"network {name} is not in {LOCK_FILE}")
    for name in sorted(has.keys() - allocations.networks.keys()):
        yield lock.at(
            BEHIND,
            ("networks", name),
            f"the YAML has no network {name}: its numbers stay reserved",
            _HINT,
            "warning",
        )
    for name in sorted(has.keys() & allocations.networks.keys()):
        yield from _behind_in(lock, name, has[name], allocations.networks[name])


_HINT: Final = "`warpctl lock` brings it up to date; commit it"


def _behind(path: str, text: str) -> Finding:
    return Finding(BEHIND, path, text, _HINT, "warning")


def _behind_in(
    lock: Lock, name: str, had: NetworkAllocation, has: NetworkAllocation
) -> Iterator[Finding]:
    missing, left = (
        has.endpoints.keys() - had.endpoints.keys(),
        had.endpoints.keys() - has.endpoints.keys(),
    )
    if missing:
        yield _behind(f"networks.{name}.endpoints", f"not in {LOCK_FILE}: {_listed(missing)}")
    for each in sorted(left)[:_NAMED_AT_MOST]:
        text = f"the YAML has no endpoint {name}/{each}: its addresses stay reserved"
        yield lock.at(BEHIND, ("networks", name, "endpoints", each), text, _HINT, "warning")
    if len(left) > _NAMED_AT_MOST:
        text = f"the YAML no longer has {len(left)} endpoints of network {name}: {_listed(left)}"
        yield lock.at(BEHIND, ("networks", name, "endpoints"), text, _HINT, "warning")
    yield from _outdated(lock, ("networks", name), network_values, had, has)
    for each in sorted(had.endpoints.keys() & has.endpoints.keys()):
        if had.endpoints[each] != has.endpoints[each]:
            loc = ("networks", name, "endpoints", each)
            yield from _outdated(
                lock, loc, endpoint_values, had.endpoints[each], has.endpoints[each]
            )


def _outdated(
    lock: Lock, loc: Loc, values: Callable[[Any], dict[str, Any]], had: Any, has: Any
) -> Iterator[Finding]:
    before, after = values(had), values(has)
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            text = (
                f"the lock has {before.get(key, 'nothing')}, granted is {after.get(key, 'nothing')}"
            )
            yield lock.at(BEHIND, (*loc, key), text, _HINT, "warning")


def _listed(names: Iterable[str]) -> str:
    every = sorted(names)
    more = f" and {len(every) - _NAMED_AT_MOST} more" if len(every) > _NAMED_AT_MOST else ""
    return ", ".join(every[:_NAMED_AT_MOST]) + more


def without_contradictions(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """What is left when the YAML has the last word: then they only say where the lock is behind."""
    return tuple(_only_behind(one) if one.code == CONTRADICTS else one for one in findings)


def _only_behind(one: Finding) -> Finding:
    return dataclasses.replace(one, code=BEHIND, severity="warning")
