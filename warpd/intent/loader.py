"""Read the files of the configuration and make an intent of them.

This module finds the files that belong together, joins them to one document, words the errors of
pydantic for operators and gives every finding its place. Reading YAML is the task of
`yamlfile.parser`; `model` says what a field may hold, and `validation` what must fit together.

Nothing here raises: each problem is a finding, and one run returns all of them. Sound networks are
checked against each other even where another network is broken.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from warpd.errors import Finding, Where
from warpd.intent.file_names import FOLDER as FOLDER
from warpd.intent.file_names import LOCK_FILE as LOCK_FILE
from warpd.intent.file_names import MAIN_FILE as MAIN_FILE
from warpd.intent.model import (
    Endpoint,
    EndpointType,
    Gateway,
    Intent,
    Network,
    Pools,
    Resource,
)
from warpd.intent.network_types import NETWORK_TYPES
from warpd.intent.ownership import why_hidden, why_untrusted
from warpd.intent.source import SourceSettings
from warpd.intent.sources import SOURCES, Pointer, pointer_model
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
from warpd.yamlfile.sections import NetworkSection, ReadSection, read_section, read_sections

Loc = tuple[str | int, ...]

LISTED_MAX: Final = 1000  # findings of one kind; each costs a search for the nearest known key

# A cheap test whether a file may contain `source:`; only then is it parsed.
_POINTER = re.compile(
    rb"^[\"']?source[\"']?[ \t]*:|[{,][ \t]*[\"']?source[\"']?[ \t]*:", re.MULTILINE
)
_SECRET = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{43,}+=")
_PUBLIC = re.compile(r"public_key['\"]?\s*:\s*['\"]?\Z")
_STEP = re.compile(r"\[(\d+)\]|([^.\[]+)")
_AT_KEY: Final = frozenset({"unknown-key", "name", "duplicate-key"})
# Findings that an invalid part of the document may cause wrongly; they are left out beside one.
_NEEDS_GATEWAY: Final = frozenset({"pool-exhausted", "pool-overlap", "vlan-twice", "isolation"})
_NEEDS_ENDPOINTS: Final = frozenset({"via-unknown"})


@dataclass(frozen=True)
class Source:
    """One file as it was read.

    - `file`: the path, as findings show it.
    - `raw`: the bytes of the file; empty where it could not be read.
    - `value`: the document with the place of every value; None where the file could not be read or
      parsed. Then nothing follows from what is absent in it.
    - `by_section`: whether the networks were read one by one.
    - `hidden`: why findings must not quote the file; "" where they may.
    """

    file: str
    raw: bytes = b""
    value: Branch | None = None
    by_section: bool = False
    hidden: str = ""

    @functools.cached_property
    def lines(self) -> tuple[str, ...]:
        """The lines of the file. They are split for a finding only: they are as large as the file
        again.
        """
        return tuple(lines_of(read_text(self.raw)[0])) if self.raw else ()

    def network(self, name: str) -> Any:
        """Return the values of a network that this file defines.

        Raises:
            KeyError: the file does not define it.
        """
        networks = self.value["networks"] if self.value is not None else {}
        found = networks[name]
        return found.value if isinstance(found, NetworkSection) else found


ReadFile = Callable[[Path, bytes, str], tuple[Source, Sequence[Finding]]]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one reading of the configuration gives.

    - `intent`: None where a finding is an error.
    - `findings`: errors and warnings with their places, in the order of the files and lines.
    - `sources`: the files that were read; the main file is first.
    - `owners`: the name of a network -> the index in `sources` of the file that defines it.
    """

    intent: Intent | None
    findings: tuple[Finding, ...]
    sources: tuple[Source, ...]
    owners: Mapping[str, int]

    def locate(self, finding: Finding) -> Finding:
        """Return the finding with a place: that of the deepest part of its path that the files
        contain. A finding that has a place already is returned as it is.
        """
        if finding.where is not None or not self.sources:
            return finding
        return unquoted(
            placed(finding, steps_of(finding.path), self.sources, self.owners), self.sources
        )


def load(
    path: Path,
    instead: Mapping[Path, bytes] | None = None,
    whole: bool = False,
    read_one: ReadFile | None = None,
) -> Loaded:
    """Read a file, or a folder of files.

    Args:
        path: `warp.yaml`, the folder that contains it, or another file.
        instead: contents that count instead of those on disk, whether the file exists or not. An
            edit is tried with it before it is written.
        whole: `instead` is the whole configuration, and nothing on disk counts; its first file is
            the main one. A former configuration is read again with it.
        read_one: reads one file; by default `read_file`. One that remembers may give an earlier
            value for the same contents.

    Returns:
        The intent, or None, and every finding. An unreadable file is a finding; nothing is raised.
    """
    contents = instead or {}
    main, extras, findings = _files_to_read(path, contents, whole)
    sources, more = _read_all((main, *extras), contents, read_one or read_file)
    findings += more
    raw, owners, more = _joined(sources)
    findings += more
    intent: Intent | None = None
    if "source" in raw:
        findings += _pointing(raw, sources)
    else:
        intent, more = _validated(raw, sources, owners)
        findings += _without_repeats(more, findings)
    if any(finding.is_error for finding in findings):
        intent = None
    shown = [unquoted(finding, sources) for finding in findings]
    return Loaded(intent, _in_order(shown, sources), tuple(sources), owners)


def _files_to_read(
    path: Path, contents: Mapping[Path, bytes], whole: bool
) -> tuple[Path, list[Path], list[Finding]]:
    """Return the main file, the files of networks.d in order, and problems of that folder."""
    if whole:
        main, listed, findings = next(iter(contents)), list[Path](), list[Finding]()
    else:
        main, listed, findings = _files(path)
    added = (file for file in contents if file.parent == main.parent / FOLDER)
    return main, sorted({*listed, *added}), findings


def _read_all(
    files: tuple[Path, ...], contents: Mapping[Path, bytes], read_one: ReadFile
) -> tuple[list[Source], list[Finding]]:
    """Read the files; the first one is the main file."""
    folder = files[0].parent
    sources: list[Source] = []
    findings: list[Finding] = []
    for file in files:
        source, more = _read_intent(file, contents.get(file), folder, read_one)
        sources.append(source)
        findings += more
    return sources, findings


def _without_repeats(findings: Iterable[Finding], told: Iterable[Finding]) -> Iterator[Finding]:
    """Leave out type errors of values for which `told` has a finding already."""
    flawed = {finding.path for finding in told}
    for finding in findings:
        if finding.code != "type" or finding.path not in flawed:
            yield finding


def pointer(path: Path) -> SourceSettings | None:
    """Return the settings of the source that a file points to by `source:`.

    Returns:
        None for a file that contains no `source:`, and for one that `load` reports as wrong.
    """
    main = path / MAIN_FILE if os.path.isdir(path) else path
    raw, problem = bytes_of(main, main.parent)
    if problem is not None or not _POINTER.search(raw):
        return None
    root = read_source(main, raw)[0].value
    if root is None or "source" not in root:
        return None
    try:
        return pointer_model(root).model_validate(dict(root)).source  # type: ignore[no-any-return]
    except ValidationError:
        return None


def _pointing(raw: dict[str, Any], sources: list[Source]) -> Iterator[Finding]:
    """Report `source:` in a file that is read for its networks."""
    try:
        pointer_model(raw).model_validate(raw)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False)[:LISTED_MAX]:
            loc = tuple(error["loc"])
            if error["type"] == "extra_forbidden" and len(loc) == 1:
                text, hint = "cannot stand beside source:", "it belongs in the repository"
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


# -- the files


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
    file: Path, content: bytes | None, folder: Path, read_one: ReadFile
) -> tuple[Source, Sequence[Finding]]:
    """Read a file of the configuration in `folder`, or `content` instead of it."""
    if content is not None:
        return read_one(file, content, "")
    content, problem = bytes_of(file, folder)
    if problem is not None:
        return Source(str(file)), [problem]
    return read_one(file, content, why_hidden(file, folder))


def read_file(
    file: Path, content: bytes, hidden: str, read_one: ReadSection | None = None
) -> tuple[Source, Sequence[Finding]]:
    """Read the content of one file, network by network where that is possible.

    Args:
        file: its path, for findings.
        content: its bytes.
        hidden: why findings must not quote it; "" where they may.
        read_one: reads the lines of one network; by default `read_network`.
    """
    text, flaws = read_text(content)
    sections = read_sections(text, read_one or read_network) if not flaws else None
    if sections is not None:
        return Source(str(file), content, sections.value, True, hidden), ()
    source, findings = read_source(file, content)
    return dataclasses.replace(source, hidden=hidden), findings


def read_network(lines: str) -> NetworkSection | None:
    """Read the lines of one network, and validate it; None when it is not sound by itself."""
    return read_section(lines, _network)


def _network(value: Any) -> Network | None:
    try:
        return Network.model_validate(value)
    except ValidationError:  # reported when all networks are validated together
        return None


def read_source(file: Path, raw: bytes) -> tuple[Source, list[Finding]]:
    """Parse one file.

    Returns:
        The document with the place of every value, and the problems of its encoding and syntax.
    """
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
        "keep what is right of both sides and remove the lines of <<<<<<<, ======= and >>>>>>>; for"
        " a lock file, run `warpctl lock`"
    )
    return Finding("merge-conflict", "", text, hint, "error", _where(source, (found.first - 1, 0)))


def bytes_of(file: Path, folder: Path | None = None) -> tuple[bytes, Finding | None]:
    """Read a file without waiting, and no more of it than a file may contain.

    Args:
        file: the file.
        folder: the folder of the configuration that the file is a part of. It is checked then that
            the file may be trusted (`ownership`).

    Returns:
        The content, or b"" and a finding that says why there is none.
    """
    try:
        # O_NONBLOCK: opening a FIFO must not wait for a writer.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
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


# -- one document of many files


def _joined(sources: list[Source]) -> tuple[dict[str, Any], dict[str, int], list[Finding]]:
    """Return the main file with the networks of all files, the owners as in `Loaded`, and findings.

    Of two definitions of a network the first one counts.
    """
    findings: list[Finding] = []
    root = sources[0].value
    raw: dict[str, Any] = dict(root) if root is not None else {"version": 1}
    # An unreadable main file, or files in networks.d, make up for a missing `networks:`.
    if "networks" not in raw and (root is None or len(sources) > 1):
        raw["networks"] = {}
    networks = raw.get("networks")
    owners: dict[str, int] = {}
    if isinstance(networks, dict):
        owners = dict.fromkeys(networks, 0)
        raw["networks"] = {name: _made(value) for name, value in networks.items()}
    for index, source in enumerate(sources[1:], 1):
        findings += _join(index, source, sources, raw.get("networks"), owners)
    return raw, owners, findings


def _made(network: Any) -> Any:
    """Return a network as pydantic takes it: the model where there is one, else the values."""
    return (network.made or network.value) if isinstance(network, NetworkSection) else network


def _join(
    index: int, source: Source, sources: list[Source], joined: Any, owners: dict[str, int]
) -> Iterator[Finding]:
    """Add the networks of a file of networks.d to `joined` and to `owners`."""
    root = source.value
    if root is None:
        return
    for key in root:
        if key != "networks":
            yield _misplaced(key, source, root)
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


def _misplaced(key: str, source: Source, root: Branch) -> Finding:
    """Report a key of a file of networks.d that is not `networks`."""
    hint = nearest_of(key, ["networks"])
    if key in Intent.model_fields:
        hint = f"{key} belongs in {MAIN_FILE}"
    text = f"a file of {FOLDER} may hold networks: only"
    where = _where(source, root.keys_at[key])
    return Finding("unknown-key", path_of((key,)), text, hint, "error", where)


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


# -- the shape


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
    """Check the sound parts of a document against each other.

    Args:
        bad: the places of what pydantic refused.

    Returns:
        Findings that the broken parts cannot have caused.
    """
    networks = raw.get("networks")
    if not isinstance(networks, dict):
        return []
    rest, thinned = _sound_networks(networks, bad)
    sound: dict[str, Any] = {"version": 1, "networks": rest}
    gateway_is_sound = not any(loc[0] in ("gateway", "version") for loc in bad)
    if gateway_is_sound:
        sound["gateway"] = raw.get("gateway", {})
    try:
        partial = Intent.model_validate(sound)
    except ValidationError:
        return []
    findings = []
    for finding in check(partial):
        steps = steps_of(finding.path)
        if finding.code in _NEEDS_GATEWAY and not gateway_is_sound:
            continue
        if finding.code in _NEEDS_ENDPOINTS and steps[1] in thinned:
            continue
        findings.append(placed(finding, steps, sources, owners))
    return findings


def _sound_networks(
    networks: Mapping[str, Any], bad: Iterable[Loc]
) -> tuple[dict[str, Any], set[str]]:
    """Return the networks without their broken endpoints, and the names of those that lost some.

    A network that is broken elsewhere is left out.
    """
    broken = set()
    bad_endpoints: dict[str, set[Any]] = {}
    for loc in bad:
        if _is_endpoint(loc):
            bad_endpoints.setdefault(str(loc[1]), set()).add(loc[3])
        elif loc[0] == "networks" and len(loc) > 1:
            broken.add(str(loc[1]))
    rest = {name: value for name, value in networks.items() if name not in broken}
    thinned = bad_endpoints.keys() - broken
    for name in thinned:
        endpoints = dict(rest[name]["endpoints"])
        for endpoint in bad_endpoints[name]:
            endpoints.pop(endpoint, None)
        rest[name] = {**rest[name], "endpoints": endpoints}
    return rest, thinned


def _is_endpoint(loc: Loc) -> bool:
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
    hints = {each.KEY: each.model_fields[each.KEY].description or "" for each in SOURCES}
    hints |= {
        "version": "write version: 1",
        "networks": "a gateway without networks says networks: {}",
    }
    if loc[-1] == "type":
        return "one of " + ", ".join(get_args(EndpointType) if _is_endpoint(loc) else NETWORK_TYPES)
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


# -- the places


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
    at = _mark(source.value, loc, finding.code in _AT_KEY)
    return dataclasses.replace(finding, where=_where(source, at))


def _mark(value: Any, loc: Loc, at_key: bool) -> Mark:
    """Return the position of a value.

    A scalar is shown where it stands, a mapping or a list at its key, and an absent value at what
    should contain it. With `at_key` a scalar is shown at its key as well.
    """
    mark: Mark = getattr(value, "at", (0, 0))
    shift = 0  # lines by which a section has moved since its positions were read
    for depth, step in enumerate(loc, 1):
        found = _step_into(value, step, at_key and depth == len(loc))
        if found is None:
            return mark
        value, (line, column), moved = found
        mark = line + shift, column
        shift += moved
    return mark


def _step_into(value: Any, step: str | int, at_key: bool) -> tuple[Any, Mark, int] | None:
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
    position = value.values_at[name] if is_scalar and not at_key else value.keys_at[name]
    return inner, position, value.shifts.get(name, 0)


def _where(source: Source, at: Mark) -> Where:
    line, column = at
    text = source.lines[line] if line < len(source.lines) else ""
    return Where(source.file, line + 1, column + 1, _masked(text))


def _masked(text: str) -> str:
    """Replace what may be a private or preshared key by asterisks; public keys stay."""
    return _SECRET.sub(
        lambda found: found[0] if _PUBLIC.search(text, 0, found.start()) else "*" * len(found[0]),
        text,
    )


def _in_order(findings: list[Finding], sources: list[Source]) -> tuple[Finding, ...]:
    """Sort findings by file, line and column, and leave out repeated ones."""
    order = {source.file: index for index, source in enumerate(sources)}

    def place(finding: Finding) -> tuple[int, int, int]:
        where = finding.where
        if where is None:
            return (0, 0, 0)
        return (order.get(where.file, len(order)), where.line, where.column)

    return tuple(sorted(dict.fromkeys(findings), key=place))
