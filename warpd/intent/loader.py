"""Files to intent: which files belong together, what is wrong with them and where.

Here are the files, the one document they make, the words for pydantic's findings and every
finding's place. How YAML is read is `parser`'s business, what a field may hold `intent`'s, what
fits together `validation`'. Nothing raises: each problem is a finding, and all of them come from
one run, so that even beside a broken network the sound ones are checked against each other.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from warpd.errors import Finding, Where
from warpd.intent.model import (
    Endpoint,
    EndpointType,
    Gateway,
    GitSource,
    Intent,
    Network,
    Pointer,
    Pools,
    Resource,
)
from warpd.intent.network_types import NetworkType
from warpd.intent.ownership import why_hidden, why_untrusted
from warpd.intent.validation import check
from warpd.yamlfile.conflict_markers import MarkedConflict, conflicts
from warpd.yamlfile.parser import (
    SIZE_MAX,
    Mark,
    PositionedList,
    SyntaxProblem,
    lines_of,
    read_text,
    read_tree,
)
from warpd.yamlfile.parser import PositionedDict as Branch
from warpd.yamlfile.sections import NetworkSection, read_pieces

Loc = tuple[str | int, ...]

MAIN_FILE: Final = "warp.yaml"
LOCK_FILE: Final = "warp.lock.yaml"
FOLDER: Final = "networks.d"
LISTED_MAX: Final = 1000  # nobody mends more at once, and each costs a search for the nearest key

_POINTER = re.compile(
    rb"^[\"']?source[\"']?[ \t]*:|[{,][ \t]*[\"']?source[\"']?[ \t]*:", re.MULTILINE
)  # cheaper than to parse
_SECRET = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{43,}+=")
_PUBLIC = re.compile(r"public_key['\"]?\s*:\s*['\"]?\Z")
_STEP = re.compile(r"\[(\d+)\]|([^.\[]+)")
_AT_KEY: Final = frozenset({"unknown-key", "name", "duplicate-key"})
# What an invalid part of the file could make wrongly true of the rest.
_NEEDS_GATEWAY: Final = frozenset({"pool-exhausted", "pool-overlap", "vlan-twice", "isolation"})
_NEEDS_ENDPOINTS: Final = frozenset({"via-unknown"})


@dataclass(frozen=True)
class Source:
    """One file as it was read: its values with their places, its lines for showing."""

    file: str
    raw: bytes = b""
    value: Branch | None = (
        None  # None: could not be read, so that nothing follows from what is absent
    )
    pieces: Mapping[str, NetworkSection] = field(
        default_factory=dict
    )  # of a sound file: its networks by their lines
    hidden: str = ""  # why findings must not quote it

    @functools.cached_property
    def lines(self) -> tuple[str, ...]:
        """Split only for a finding: hardly ever, and as large as the file again."""
        return tuple(lines_of(read_text(self.raw)[0])) if self.raw else ()

    def network(self, name: str) -> Any:
        """What it says of a network that stands here."""
        networks = self.value["networks"] if self.value is not None else {}
        return (
            networks[name].value if isinstance(networks[name], NetworkSection) else networks[name]
        )


@dataclass(frozen=True, slots=True)
class Loaded:
    """The intent, or None and why; findings have their places."""

    intent: Intent | None
    findings: tuple[Finding, ...]
    sources: tuple[Source, ...]
    owners: Mapping[str, int]  # network -> the source that defines it

    def locate(self, finding: Finding) -> Finding:
        """The finding with its place: the deepest part of its path that the files hold."""
        if finding.where is not None or not self.sources:
            return finding
        return unquoted(
            placed(finding, steps_of(finding.path), self.sources, self.owners), self.sources
        )


def load(
    path: Path,
    instead: Mapping[Path, bytes] | None = None,
    whole: bool = False,
    last: Loaded | None = None,
) -> Loaded:
    """Read a file or a folder of files. Raises nothing; an unreadable file is a finding.

    `instead` holds what files are to be read as, there or not: an edit is tried before it is
    written. With `whole` it is all there is, the main file first: what was in force once is read
    again. A network that reads as in `last` is the very same object in both intents.
    """
    given = instead or {}
    main, extras, findings = (
        (next(iter(given)), list[Path](), list[Finding]()) if whole else _files(path)
    )
    extras = sorted({*extras, *(file for file in given if file.parent == main.parent / FOLDER)})
    sources: list[Source] = []
    before = {source.file: source for source in last.sources} if last is not None else {}
    for file in (main, *extras):
        source, more = _read_intent(file, given.get(file), before.get(str(file)), main.parent)
        sources.append(source)
        findings += more
    raw, owners, more = _joined(sources)
    findings += more
    if "source" in raw:
        shown = [unquoted(finding, sources) for finding in (*findings, *_pointing(raw, sources))]
        return Loaded(None, _in_order(shown, sources), tuple(sources), owners)
    flawed = {finding.path for finding in findings}
    intent, more = _validated(raw, sources, owners)
    findings += [
        finding for finding in more if finding.code != "type" or finding.path not in flawed
    ]
    broken = any(finding.is_error for finding in findings)
    shown = [unquoted(finding, sources) for finding in findings]
    return Loaded(None if broken else intent, _in_order(shown, sources), tuple(sources), owners)


def pointer(path: Path) -> GitSource | None:
    """Where the YAML really is, when this file only says so.

    None too for one that does not say it well: `loader` tells why.
    """
    main = path / MAIN_FILE if os.path.isdir(path) else path
    raw, problem = bytes_of(main, main.parent)
    if problem is not None or not _POINTER.search(raw):
        return None
    root = read_source(main, raw)[0].value
    if root is None or "source" not in root:
        return None
    try:
        return Pointer.model_validate(dict(root)).source
    except ValidationError:
        return None


def _pointing(raw: dict[str, Any], sources: list[Source]) -> Iterator[Finding]:
    """What is wrong with a file that says `source:` where networks are looked for."""
    try:
        Pointer.model_validate(raw)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False)[:LISTED_MAX]:
            loc = tuple(error["loc"])
            if error["type"] == "extra_forbidden" and len(loc) == 1:
                text, hint = "cannot stand beside source:", "it belongs into the repository"
                yield placed(Finding("unknown-key", path_of(loc), text, hint), loc, sources, {})
            else:
                yield placed(worded(error, loc), loc, sources, {})
        return
    text = (
        "a repository cannot point to another one, and a warpd that runs does not follow a new one"
    )
    yield placed(
        Finding("source-here", "source", text, "systemctl restart warpd, if this is its own file"),
        ("source",),
        sources,
        {},
    )


def path_of(loc: Iterable[str | int]) -> str:
    """`("networks", "corp", "resources", 0)` is `networks.corp.resources[0]`."""
    text = ""
    for step in loc:
        text += f"[{step}]" if isinstance(step, int) else f"{'.' if text else ''}{str(step)[:63]}"
    return text


def steps_of(path: str) -> Loc:
    return tuple(int(match[1]) if match[1] else match[2] for match in _STEP.finditer(path))


def unquoted(finding: Finding, sources: Iterable[Source]) -> Finding:
    """The finding as it may be told: of a file that must not be quoted, only where it is and of
    what kind.
    """
    where = finding.where
    hidden = next(
        (source.hidden for source in sources if where is not None and source.file == where.file), ""
    )
    if where is None or not hidden:
        return finding
    text = f"a problem of the kind {finding.code}, which is not shown: {hidden}"
    place = Where(where.file, where.line, where.column)
    return Finding(finding.code, "", text, f"chown root {where.file}", finding.severity, place)


# The files


def _files(path: Path) -> tuple[Path, list[Path], list[Finding]]:
    folder = path.is_dir()
    main = path / MAIN_FILE if folder else path
    beside = main.parent / FOLDER
    if main.name != MAIN_FILE or not beside.is_dir():
        return main, [], []
    try:
        names = sorted(entry for entry in os.listdir(beside) if not entry.startswith("."))
    except OSError as error:
        return (
            main,
            [],
            [_file_finding(beside, "file-unreadable", error.strerror or "cannot be read")],
        )
    unread = [beside / name for name in names if name.endswith((".yml", ".YAML", ".YML"))]
    findings = [
        _file_finding(
            file, "file-ignored", "is not read", "a file of networks.d ends in .yaml", "warning"
        )
        for file in unread
    ]
    return main, [beside / name for name in names if name.endswith(".yaml")], findings


def _file_finding(
    file: Path, code: str, message: str, hint: str = "", severity: Any = "error"
) -> Finding:
    return Finding(code, "", message, hint, severity, Where(str(file), 1, 1))


def _read_intent(
    file: Path, given: bytes | None, last: Source | None, folder: Path
) -> tuple[Source, list[Finding]]:
    """As `read_source`, but a network whose lines are as in `last`, an earlier reading of the file,
    is taken as it is.
    """
    raw, problem = bytes_of(file, folder) if given is None else (given, None)
    if problem is not None:
        return Source(str(file)), [problem]
    known = last.pieces if last is not None else {}
    if known and last is not None and last.raw == raw and not last.hidden:
        return last, []
    text, flaws = read_text(raw)
    hidden = why_hidden(file, folder) if given is None else ""
    pieces = read_pieces(text, known, _network) if not flaws else None
    if pieces is not None:
        return Source(str(file), raw, pieces.value, pieces.by_lines, hidden), []
    source, findings = read_source(file, raw)
    return dataclasses.replace(source, hidden=hidden), findings


def _network(value: Any) -> Network | None:
    try:
        return Network.model_validate(value)
    except ValidationError:  # told when all networks are validated together
        return None


def read_source(file: Path, raw: bytes) -> tuple[Source, list[Finding]]:
    """One file as YAML with places, and what is wrong with it as such."""
    text, flaws = read_text(raw)
    if flaws:
        source = Source(str(file), raw)
        return source, [_flawed(flaw, source) for flaw in flaws]
    open_merges = conflicts(text)
    if open_merges:
        source = Source(str(file), raw)
        return source, [_conflict(found, source) for found in open_merges]
    read = read_tree(text)
    source = Source(str(file), raw, read.value)
    return source, [_flawed(flaw, source) for flaw in read.flaws]


def _conflict(found: MarkedConflict, source: Source) -> Finding:
    text = f"a conflict of git begins here and ends at line {found.last}: the merge is not finished"
    hint = (
        "keep what is right of both sides, take out the lines of <<<<<<<, ======= and >>>>>>>; a"
        " lock: `warpctl lock`"
    )
    return Finding("merge-conflict", "", text, hint, "error", _where(source, (found.first - 1, 0)))


def bytes_of(file: Path, folder: Path | None = None) -> tuple[bytes, Finding | None]:
    """A file's content, or why there is none; never waits, never reads more than a file may hold.

    With `folder`, it is a part of the configuration there; what the operator has named stands in
    that folder itself.
    """
    try:
        descriptor = os.open(
            file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        )  # a FIFO must not hold us
    except FileNotFoundError:
        return b"", _file_finding(
            file, "file-missing", "there is no such file", "name it with -c or WARPD_CONFIG"
        )
    except OSError as error:
        return b"", _file_finding(file, "file-unreadable", f"cannot be read: {error.strerror}")
    except ValueError as error:  # a NUL in the name
        return b"", _file_finding(file, "file-unreadable", f"cannot be read: {error}")
    try:
        stream = open(descriptor, "rb")  # noqa: SIM115  # closed below
    except OSError as error:  # a folder
        os.close(descriptor)
        return b"", _file_finding(file, "file-unreadable", f"cannot be read: {error.strerror}")
    with stream:
        return _content(file, stream, folder)


def _content(file: Path, stream: Any, folder: Path | None) -> tuple[bytes, Finding | None]:
    try:
        untrusted = (
            why_untrusted(stream.fileno(), file, folder, file.parent == folder)
            if folder is not None
            else None
        )
        if untrusted is not None:
            return b"", _file_finding(file, "file-untrusted", *untrusted)
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            return b"", _file_finding(file, "file-unreadable", "is not a regular file")
        if os.fstat(stream.fileno()).st_size <= SIZE_MAX:
            raw = stream.read(SIZE_MAX + 1)
            if len(raw) <= SIZE_MAX:
                return raw, None
    except OSError as error:
        return b"", _file_finding(file, "file-unreadable", f"cannot be read: {error.strerror}")
    return b"", _file_finding(
        file, "file-size", f"is over {SIZE_MAX >> 20} MiB", f"spread networks over {FOLDER}/*.yaml"
    )


def _flawed(flaw: SyntaxProblem, source: Source) -> Finding:
    return Finding(
        flaw.code,
        path_of(flaw.path),
        _masked(flaw.message),
        flaw.hint,
        "error",
        _where(source, flaw.at),
    )


# One document of many files


def _joined(sources: list[Source]) -> tuple[dict[str, Any], dict[str, int], list[Finding]]:
    """The main file with the networks of all files; the first of two definitions stays."""
    findings: list[Finding] = []
    root = sources[0].value
    raw: dict[str, Any] = dict(root) if root is not None else {"version": 1}
    networks = raw.get("networks")
    if len(sources) > 1 and networks is None and "networks" not in raw:
        networks = Branch((0, 0))
    if root is None:
        networks = networks or {}
    owners: dict[str, int] = dict.fromkeys(networks, 0) if isinstance(networks, dict) else {}
    joined = (
        {name: _made(value) for name, value in networks.items()}
        if isinstance(networks, dict)
        else networks
    )
    for index, source in enumerate(sources[1:], 1):
        findings += _join(index, source, sources, joined, owners)
    if joined is not None or "networks" in raw:
        raw["networks"] = joined
    return raw, owners, findings


def _made(network: Any) -> Any:
    """A network as pydantic takes it: a model as it is, else the values."""
    return (network.made or network.value) if isinstance(network, NetworkSection) else network


def _join(
    index: int, source: Source, sources: list[Source], joined: Any, owners: dict[str, int]
) -> Iterator[Finding]:
    root = source.value
    if root is None:
        return
    for key in root:
        if key != "networks":
            where = _where(source, root.keys_at[key])
            hint = (
                f"{key} belongs into {MAIN_FILE}"
                if key in Intent.model_fields
                else nearest_of(key, ["networks"])
            )
            yield Finding(
                "unknown-key",
                path_of((key,)),
                f"a file of {FOLDER} may hold networks: only",
                hint,
                "error",
                where,
            )
    networks = root.get("networks")
    if not isinstance(networks, Branch):
        where = _where(source, root.values_at.get("networks", root.at))
        yield Finding(
            "type",
            "networks",
            "must be a mapping",
            "names of networks, each with its type",
            "error",
            where,
        )
        return
    for name in networks:
        if name in owners:
            yield _twice(name, source, networks.keys_at[name], sources[owners[name]])
        elif isinstance(joined, dict):
            joined[name] = _made(networks[name])
            owners[name] = index


def _twice(name: str, source: Source, at: Mark, first: Source) -> Finding:
    there = _mark(first.value, ("networks", name), True)
    message = (
        f"this network is defined twice: here and in {first.file}:{there[0] + 1}:{there[1] + 1}"
    )
    where = _where(source, at)
    return Finding(
        "network-twice",
        path_of(("networks", name)),
        message,
        "remove one of them or rename it",
        "error",
        where,
    )


# The shape


def _validated(
    raw: dict[str, Any], sources: list[Source], owners: dict[str, int]
) -> tuple[Intent | None, list[Finding]]:
    try:
        return Intent.model_validate(raw), []
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
    findings = []
    if len(errors) > LISTED_MAX:
        text = (
            f"the files have {len(errors)} problems of this kind; the first {LISTED_MAX} are listed"
        )
        findings.append(
            Finding("many-problems", "", text, "", "error", Where(sources[0].file, 1, 1))
        )
    for error in errors[:LISTED_MAX]:
        loc: Loc = tuple(step for step in error["loc"] if step != "[key]")
        findings.append(placed(worded(error, loc), loc, sources, owners))
    return None, findings + _checked_rest(
        raw, [tuple(error["loc"]) for error in errors], sources, owners
    )


def _checked_rest(
    raw: dict[str, Any], bad: list[Loc], sources: list[Source], owners: dict[str, int]
) -> list[Finding]:
    """What is wrong between the sound parts, as far as the broken ones cannot have caused it."""
    networks = raw.get("networks")
    if not isinstance(networks, dict):
        return []
    gone = {
        str(loc[1])
        for loc in bad
        if loc[0] == "networks" and len(loc) > 1 and not _is_endpoint(loc)
    }
    thinned = {str(loc[1]) for loc in bad if _is_endpoint(loc)} - gone
    rest: dict[str, Any] = {name: value for name, value in networks.items() if name not in gone}
    for name in thinned:
        out = {loc[3] for loc in bad if _is_endpoint(loc) and loc[1] == name}
        kept = {key: value for key, value in rest[name]["endpoints"].items() if key not in out}
        rest[name] = {**rest[name], "endpoints": kept}
    sound = not any(loc[0] in ("gateway", "version") for loc in bad)
    try:
        partial = Intent.model_validate(
            {
                "version": 1,
                "networks": rest,
                **({"gateway": raw.get("gateway", {})} if sound else {}),
            }
        )
    except ValidationError:
        return []
    findings = [item for item in check(partial) if sound or item.code not in _NEEDS_GATEWAY]
    findings = [
        item
        for item in findings
        if item.code not in _NEEDS_ENDPOINTS or steps_of(item.path)[1] not in thinned
    ]
    return [placed(item, steps_of(item.path), sources, owners) for item in findings]


def _is_endpoint(loc: Loc) -> bool:
    return len(loc) > 3 and loc[0] == "networks" and loc[2] == "endpoints"


def worded(error: Any, loc: Loc) -> Finding:
    """pydantic's finding in the operator's words."""
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
        return Finding(kind, path, _masked(context["message"]), context["hint"])
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
            "write [] for none" if value is None else f"write [{_masked(_brief(value))}]"
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
    hints = {
        "git": "the URL of the repository",
        "version": "write version: 1",
        "networks": "a gateway without networks says networks: {}",
    }
    if loc[-1] == "type":
        return "one of " + ", ".join(get_args(EndpointType if _is_endpoint(loc) else NetworkType))
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
    known = list(_model_at(loc[:-1]).model_fields)
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


def _model_at(loc: Loc) -> type[BaseModel]:
    match loc:
        case ():
            return Intent
        case ("source", *_):
            return GitSource
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
    """A hint, where one of the known words is meant."""
    near = difflib.get_close_matches(str(word)[:80].lower().replace(" ", "_"), known, 1, 0.6)
    return f"did you mean {near[0]}?" if near else ""


# The places


def placed(
    finding: Finding, loc: Loc, sources: Iterable[Source], owners: Mapping[str, int]
) -> Finding:
    """The finding with the place of a value, or of what should hold it."""
    files = tuple(sources)
    index = owners.get(str(loc[1]), 0) if len(loc) > 1 and loc[0] == "networks" else 0
    source = files[index]
    at = _mark(source.value, loc, finding.code in _AT_KEY)
    return dataclasses.replace(finding, where=_where(source, at))


def _mark(value: Any, loc: Loc, at_key: bool) -> Mark:
    """A scalar is shown where it stands, a mapping or list at its key, what is absent at what
    should hold it.
    """
    mark: Mark = getattr(value, "at", (0, 0))
    shift = 0
    for depth, step in enumerate(loc, 1):
        if isinstance(value, Branch) and step in value:
            name, above = str(step), value
            value, key_at, value_at = above[name], above.keys_at[name], above.values_at[name]
            value = value.value if isinstance(value, NetworkSection) else value
            plain = not isinstance(value, Branch | PositionedList) and value is not None
            line, column = value_at if plain and not (at_key and depth == len(loc)) else key_at
            mark = line + shift, column
            shift += above.shifts.get(name, 0)
        elif isinstance(value, PositionedList) and isinstance(step, int) and step < len(value):
            line, column = value.items_at[step]
            value, mark = value[step], (line + shift, column)
        else:
            return mark
    return mark


def _where(source: Source, at: Mark) -> Where:
    line, column = at
    text = source.lines[line] if line < len(source.lines) else ""
    return Where(source.file, line + 1, column + 1, _masked(text))


def _masked(text: str) -> str:
    """A key that stands where none belongs must not reach a terminal or a log; public ones may."""
    return _SECRET.sub(
        lambda found: found[0] if _PUBLIC.search(text, 0, found.start()) else "*" * len(found[0]),
        text,
    )


def _in_order(findings: list[Finding], sources: list[Source]) -> tuple[Finding, ...]:
    phase = {source.file: index for index, source in enumerate(sources)}

    def place(finding: Finding) -> tuple[int, int, int]:
        where = finding.where
        return (phase.get(where.file, len(phase)), where.line, where.column) if where else (0, 0, 0)

    return tuple(sorted(dict.fromkeys(findings), key=place))
