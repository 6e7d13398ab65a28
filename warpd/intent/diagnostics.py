"""Findings about the text of the YAML: worded for people, at file, line and column.

Pydantic says what is wrong with a value; here it becomes a sentence with a hint, at the place where
the value is written. No secret of the text is repeated.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel

from warpd.errors import Finding, Where
from warpd.intent.documents import Source
from warpd.intent.file_names import FOLDER, MAIN_FILE
from warpd.intent.model import Endpoint, EndpointType, Gateway, Intent, Network, Pools, Resource
from warpd.intent.network_types import NETWORK_TYPES
from warpd.intent.sources import SOURCES, Pointer
from warpd.yamlfile.conflict_markers import MarkedConflict
from warpd.yamlfile.parser import Mark, PositionedList, SyntaxProblem
from warpd.yamlfile.parser import PositionedDict as Branch
from warpd.yamlfile.sections import NetworkSection

Loc = tuple[str | int, ...]
LISTED_MAX: Final = 1000  # findings of one kind; each costs a search for the nearest known key
_SECRET = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{43,}+=")
_PUBLIC = re.compile(r"public_key['\"]?\s*:\s*['\"]?\Z")
_STEP = re.compile(r"\[(\d+)\]|([^.\[]+)")
_AT_KEY: Final = frozenset({"unknown-key", "name", "duplicate-key"})


def without_repeats(findings: Iterable[Finding], reported: Iterable[Finding]) -> Iterator[Finding]:
    """Leave out type errors of values for which `reported` has a finding already."""
    paths = {finding.path for finding in reported}
    for finding in findings:
        if finding.code != "type" or finding.path not in paths:
            yield finding


def path_of(loc: Iterable[str | int]) -> str:
    """Write the steps to a value as a path.

    `("networks", "corp", "resources", 0)` becomes `networks.corp.resources[0]`.
    """
    text = ""
    for step in loc:
        text += f"[{step}]" if isinstance(step, int) else f"{'.' if text else ''}{str(step)[:63]}"
    return text


def steps_of(path: str) -> Loc:
    """Read a path back into its steps; the reverse of `path_of`."""
    return tuple(int(match[1]) if match[1] else match[2] for match in _STEP.finditer(path))


def unquoted(finding: Finding, sources: Iterable[Source]) -> Finding:
    """Return the finding as it may be shown.

    For a file that must not be quoted, only the place and the kind of the finding are left.
    """
    where = finding.where
    if where is None:
        return finding
    hidden = next((source.hidden for source in sources if source.file == where.file), "")
    if not hidden:
        return finding
    text = f"a problem of the kind {finding.code}, which is not shown: {hidden}"
    place = Where(where.file, where.line, where.column)
    return Finding(finding.code, "", text, f"chown root {where.file}", finding.severity, place)


def conflict(found: MarkedConflict, source: Source) -> Finding:
    text = f"a conflict of git begins here and ends at line {found.last}: the merge is not finished"
    hint = (
        "keep what is right of both sides and remove the lines of <<<<<<<, ======= and >>>>>>>; for"
        " a lock file, run `warpctl lock`"
    )
    return Finding(
        "merge-conflict", "", text, hint, "error", where_of(source, (found.first - 1, 0))
    )


def marker(line: int, source: Source) -> Finding:
    """Return the finding for a line of a conflict that is not there as a whole."""
    text = "this line is a marker of a git conflict: the merge was not finished"
    hint = "remove the line, and keep what is right of both sides of the merge"
    return Finding("merge-conflict", "", text, hint, "error", where_of(source, (line - 1, 0)))


def syntax_problem(problem: SyntaxProblem, source: Source) -> Finding:
    return Finding(
        problem.code,
        path_of(problem.path),
        masked(problem.message),
        problem.hint,
        "error",
        where_of(source, problem.at),
    )


def misplaced_key(key: str, source: Source, root: Branch) -> Finding:
    """Report a key of a file of networks.d that is not `networks`."""
    hint = nearest_of(key, ["networks"])
    if key in Intent.model_fields:
        hint = f"{key} belongs in {MAIN_FILE}"
    text = f"a file of {FOLDER} may hold networks: only"
    where = where_of(source, root.keys_at[key])
    return Finding("unknown-key", path_of((key,)), text, hint, "error", where)


def network_twice(name: str, source: Source, at: Mark, first: Source) -> Finding:
    there = position_of(first.value, ("networks", name), True)
    message = (
        f"this network is defined twice: here and in {first.file}:{there[0] + 1}:{there[1] + 1}"
    )
    where = where_of(source, at)
    return Finding(
        "network-twice",
        path_of(("networks", name)),
        message,
        "remove one of them or rename it",
        "error",
        where,
    )


def is_endpoint(loc: Loc) -> bool:
    """Whether a place is an endpoint, or inside one."""
    return len(loc) > 3 and loc[0] == "networks" and loc[2] == "endpoints"


def worded(error: Any, loc: Loc) -> Finding:
    """Return an error of pydantic in the operator's words.

    Args:
        error: one item of `ValidationError.errors()`.
        loc: the place of the value; pydantic's own may contain `[key]`.
    """
    kind, context = error["type"], error.get("ctx", {})
    path = path_of(loc)
    if error["loc"][-1] == "[key]":
        return _bad_key(kind, path, loc, context)
    if kind == "missing":
        return Finding("missing", path, "is missing", _missing_hint(loc))
    if kind == "extra_forbidden":
        return _unknown(path, loc)
    if kind == "literal_error":
        words = re.findall(r"'([^']*)'", context["expected"])
        hint = nearest_of(error["input"], words)
        return Finding("value", path, f"must be one of {', '.join(words)}", hint)
    if "message" in context:
        return Finding(kind, path, masked(context["message"]), context["hint"])
    return Finding(
        "type" if kind.endswith("_type") else "value",
        path,
        *_plainly(kind, context, error["input"]),
    )


def _plainly(kind: str, context: dict[str, Any], value: Any) -> tuple[str, str]:
    if kind == "bool_type":
        return "must be true or false", _bool_hint(value)
    if kind == "int_type":
        return "must be a whole number", _int_hint(value)
    if kind == "string_type":
        return "must be text", f'quote it: "{value}"' if isinstance(value, int | float) else ""
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return "must be a mapping", (
            "write {} for none" if value is None else "lines of key: value, indented below it"
        )
    if kind == "tuple_type":
        return "must be a list", (
            "write [] for none" if value is None else f"write [{masked(_brief(value))}]"
        )
    bounds = {
        "greater_than_equal": "must be at least {ge}",
        "less_than_equal": "must be at most {le}",
        "string_too_long": "is longer than {max_length} characters",
        "too_short": "must not be empty",
    }
    return bounds.get(kind, f"is not valid ({kind})").format(**context), ""


def _bool_hint(value: Any) -> str:
    words = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
    if isinstance(value, str) and value.lower() in words:
        return f"{value} is text in YAML 1.2: write {words[value.lower()]}"
    return "true and false are written without quotes" if value in ("true", "false") else ""


def _int_hint(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"[0-9]+(:[0-5]?[0-9])+", value):
        return (
            "a number with colons is text in YAML 1.2 (and base 60 in 1.1): write the plain number"
        )
    if isinstance(value, str) and re.fullmatch(r"[0-9_,']+", value):
        return "digits only, without quotes, underscores or commas"
    return ""


def _brief(value: Any) -> str:
    return str(value) if isinstance(value, str | int | float) and len(str(value)) < 60 else "..."


def _bad_key(kind: str, path: str, loc: Loc, context: dict[str, Any]) -> Finding:
    if kind == "literal_error":
        words = re.findall(r"'([^']*)'", context["expected"])
        return Finding("unknown-key", path, "is not a type of network", nearest_of(loc[-1], words))
    better = re.sub(r"[^a-z0-9-]+", "-", str(loc[-1]).lower()).strip("-")[:63]
    hint = f"write {better}" if better else ""
    return Finding(
        "name", path, "a name has 1 to 63 of a-z, 0-9 and -, and does not begin with -", hint
    )


def _missing_hint(loc: Loc) -> str:
    hints = {each.KEY: each.model_fields[each.KEY].description or "" for each in SOURCES}
    hints |= {
        "version": "write version: 1",
        "networks": "a gateway without networks says networks: {}",
    }
    if loc[-1] == "type":
        return "one of " + ", ".join(get_args(EndpointType) if is_endpoint(loc) else NETWORK_TYPES)
    return hints.get(str(loc[-1]), "")


_HOMES: Final[tuple[tuple[str, type[BaseModel]], ...]] = (
    ("a network", Network),
    ("an endpoint", Endpoint),
    ("gateway", Gateway),
    ("gateway.pools", Pools),
    ("a resource", Resource),
    ("a file that has source: alone", Pointer),
)


def _unknown(path: str, loc: Loc) -> Finding:
    known = _fields_at(loc[:-1])
    return Finding(
        "unknown-key", path, "unknown key", nearest_of(loc[-1], known) or _elsewhere(loc[-1], known)
    )


def _elsewhere(key: Any, known: list[str]) -> str:
    for home, model in _HOMES:
        if key in model.model_fields:
            return f"{key} belongs to {home}"
    for home, model in _HOMES:
        if near := nearest_of(key, list(model.model_fields)):
            return f"{near} That belongs to {home}"
    return f"known here: {', '.join(known)}"


def _fields_at(loc: Loc) -> list[str]:
    if loc == ("source",):
        return list(dict.fromkeys(key for each in SOURCES for key in each.model_fields))
    return list(_model_at(loc).model_fields)


def _model_at(loc: Loc) -> type[BaseModel]:
    match loc:
        case ():
            return Intent
        case ("gateway",):
            return Gateway
        case ("gateway", *_):
            return Pools
        case ("networks", _):
            return Network
        case ("networks", _, "resources", *_):
            return Resource
        case _:
            return Endpoint


def nearest_of(word: Any, known: list[str]) -> str:
    """Return a hint that names the known word that `word` resembles; "" where none does."""
    near = difflib.get_close_matches(str(word)[:80].lower().replace(" ", "_"), known, 1, 0.6)
    return f"did you mean {near[0]}?" if near else ""


def placed(
    finding: Finding, loc: Loc, sources: Iterable[Source], owners: Mapping[str, int]
) -> Finding:
    """Return the finding with the place of a value, or of the mapping that should contain it.

    Args:
        loc: the steps to the value.
        sources: the files; the first one is the main file.
        owners: which of them defines a network, as in `Loaded`.
    """
    files = tuple(sources)
    index = owners.get(str(loc[1]), 0) if len(loc) > 1 and loc[0] == "networks" else 0
    source = files[index]
    at = position_of(source.value, loc, finding.code in _AT_KEY)
    return dataclasses.replace(finding, where=where_of(source, at))


def position_of(value: Any, loc: Loc, prefers_key: bool) -> Mark:
    """Return the position of a value.

    A scalar is shown where it stands, a mapping or a list at its key, and an absent value at what
    should contain it. With `prefers_key` a scalar is shown at its key as well.
    """
    mark: Mark = getattr(value, "at", (0, 0))
    shift = 0  # lines by which a section has moved since its positions were read
    for depth, step in enumerate(loc, 1):
        found = _step_into(value, step, prefers_key and depth == len(loc))
        if found is None:
            return mark
        value, (line, column), moved = found
        mark = line + shift, column
        shift += moved
    return mark


def _step_into(value: Any, step: str | int, prefers_key: bool) -> tuple[Any, Mark, int] | None:
    """Return the value one step deeper, its position, and by how many lines what is in it moved.

    None where the step leads to nothing.
    """
    if isinstance(value, PositionedList) and isinstance(step, int) and step < len(value):
        return value[step], value.items_at[step], 0
    if not isinstance(value, Branch) or step not in value:
        return None
    name = str(step)
    inner = value[name]
    if isinstance(inner, NetworkSection):
        inner = inner.value
    is_scalar = inner is not None and not isinstance(inner, Branch | PositionedList)
    position = value.values_at[name] if is_scalar and not prefers_key else value.keys_at[name]
    return inner, position, value.shifts.get(name, 0)


def where_of(source: Source, at: Mark) -> Where:
    line, column = at
    text = source.lines[line] if line < len(source.lines) else ""
    return Where(source.file, line + 1, column + 1, masked(text))


def masked(text: str) -> str:
    """Replace what may be a private or preshared key by asterisks; public keys stay."""
    return _SECRET.sub(
        lambda found: found[0] if _PUBLIC.search(text, 0, found.start()) else "*" * len(found[0]),
        text,
    )


def in_order(findings: list[Finding], sources: list[Source]) -> tuple[Finding, ...]:
    """Sort findings by file, line and column, and leave out repeated ones."""
    order = {source.file: index for index, source in enumerate(sources)}

    def place(finding: Finding) -> tuple[int, int, int]:
        where = finding.where
        if where is None:
            return (0, 0, 0)
        return (order.get(where.file, len(order)), where.line, where.column)

    return tuple(sorted(dict.fromkeys(findings), key=place))
