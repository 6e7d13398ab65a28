"""Read the files of the configuration and make an intent of them.

This module finds the files that belong together, joins them to one document, words the errors of
pydantic for operators and gives every finding its place. Reading YAML is the task of
`yamlfile.parser`; `model` says what a field may hold, and `validation` what must fit together.

Nothing here raises: each problem is a finding, and one run returns all of them. Sound networks are
checked against each other even where another network is broken.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from warpd.errors import Finding, Where
from warpd.intent.diagnostics import (
    LISTED_MAX,
    Loc,
    conflict,
    in_order,
    is_endpoint,
    marker,
    misplaced_key,
    network_twice,
    path_of,
    placed,
    steps_of,
    syntax_problem,
    unquoted,
    where_of,
    without_repeats,
    worded,
)
from warpd.intent.documents import Source, bytes_of, file_finding
from warpd.intent.file_names import FOLDER, MAIN_FILE
from warpd.intent.model import Intent, Network
from warpd.intent.ownership import why_hidden
from warpd.intent.source import SourceSettings
from warpd.intent.sources import pointer_model
from warpd.intent.validation import check
from warpd.yamlfile.conflict_markers import conflicts, markers
from warpd.yamlfile.parser import PositionedDict as Branch
from warpd.yamlfile.parser import read_text, read_tree
from warpd.yamlfile.sections import NetworkSection, ReadSection, read_section, read_sections

# A cheap test whether a file may contain `source:`; only then is it parsed.
_POINTER = re.compile(
    rb"^[\"']?source[\"']?[ \t]*:|[{,][ \t]*[\"']?source[\"']?[ \t]*:", re.MULTILINE
)
# Findings that an invalid part of the document may cause wrongly; they are left out beside one.
_NEEDS_GATEWAY: Final = frozenset({"pool-exhausted", "pool-overlap", "vlan-twice", "isolation"})
_NEEDS_ENDPOINTS: Final = frozenset({"via-unknown"})
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

    @property
    def contents(self) -> dict[Path, bytes]:
        """The bytes of the files by path, the main one first."""
        return {Path(source.file): source.raw for source in self.sources}

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
        findings += without_repeats(more, findings)
    if any(finding.is_error for finding in findings):
        intent = None
    shown = [unquoted(finding, sources) for finding in findings]
    return Loaded(intent, in_order(shown, sources), tuple(sources), owners)


def _files_to_read(
    path: Path, contents: Mapping[Path, bytes], whole: bool
) -> tuple[Path, list[Path], list[Finding]]:
    """Return the main file, the files of networks.d in order, and problems of that folder."""
    if whole:
        main, listed, findings = next(iter(contents)), list[Path](), list[Finding]()
    else:
        main, listed, findings = files_of(path)
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


def files_of(path: Path) -> tuple[Path, list[Path], list[Finding]]:
    """Return the main file, the files of networks.d that are read with it, and problems of that
    folder.

    Args:
        path: the main file, or the folder that contains it.
    """
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
            [file_finding(beside, "file-unreadable", error.strerror or "cannot be read")],
        )
    unread = [beside / name for name in names if name.endswith((".yml", ".YAML", ".YML"))]
    findings = [
        file_finding(
            file, "file-ignored", "is not read", "a file of networks.d ends in .yaml", "warning"
        )
        for file in unread
    ]
    return main, [beside / name for name in names if name.endswith(".yaml")], findings


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
    text, problems = read_text(content)
    sections = read_sections(text, read_one or read_network) if not problems else None
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
    text, problems = read_text(raw)
    if problems:
        source = Source(str(file), raw)
        return source, [syntax_problem(problem, source) for problem in problems]
    open_merges = conflicts(text)
    if open_merges:
        source = Source(str(file), raw)
        return source, [conflict(found, source) for found in open_merges]
    read = read_tree(text)
    source = Source(str(file), raw, read.value)
    left = [marker(line, source) for line in markers(text)] if read.problems else []
    return source, left or [syntax_problem(problem, source) for problem in read.problems]


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
            yield misplaced_key(key, source, root)
    networks = root.get("networks")
    if not isinstance(networks, Branch):
        where = where_of(source, root.values_at.get("networks", root.at))
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
            yield network_twice(name, source, networks.keys_at[name], sources[owners[name]])
        elif isinstance(joined, dict):
            joined[name] = _made(networks[name])
            owners[name] = index


def _validated(
    raw: dict[str, Any], sources: list[Source], owners: dict[str, int]
) -> tuple[Intent | None, list[Finding]]:
    try:
        return Intent.model_validate(raw), []
    except ValidationError as invalid:
        errors = [error for error in invalid.errors(include_url=False) if _is_own(error)]
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


def _is_own(error: Any) -> bool:
    """Whether an error says more than others: pydantic counts only the sound items of a list."""
    return bool(error["type"] != "too_short" or len(error["input"]) < error["ctx"]["min_length"])


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
        if is_endpoint(loc):
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
