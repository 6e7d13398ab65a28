"""The result of an import: values in the form of the YAML, keys, and findings. Pure.

This module also holds what all sources need: names, keys and the collection of results. An endpoint
or network with an error is not written to the YAML. Its keys are kept, so that the operator can
write the YAML for it by hand.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from warpd.errors import Finding, Where
from warpd.intent.diagnostics import path_of, steps_of
from warpd.keys import derivation
from warpd.keys.derivation import Secret

_NOT_NAME = re.compile(r"[^a-z0-9]+")
# Pictographs, and the older symbols that are shown as such; lines and boxes are not among them.
_EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf]")
# Latin letters that Unicode does not decompose into an ASCII letter and a combining mark.
_LATIN = str.maketrans(
    {
        "ß": "ss",
        "æ": "ae",
        "œ": "oe",
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ð": "d",
        "þ": "th",
        "\u0131": "i",
    }
)


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """The options of the operator for an import."""

    file: str
    key_folder: str  # an absolute path
    name: str | None = None
    kind: str | None = None  # type of the network, for a file that does not state it


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import read.

    `gateway` and `networks` hold fields in the form of the YAML. `keys` holds the keys by the
    absolute path of the file that they go into. `places` maps a path in the YAML to the position
    of the value in the old file.
    """

    gateway: Mapping[str, Any]
    networks: Mapping[str, Mapping[str, Any]]
    keys: Mapping[str, Secret]
    findings: tuple[Finding, ...]
    places: Mapping[str, Where] = field(default_factory=dict)

    def in_old_file(self, finding: Finding) -> Finding:
        """Return a finding with its position in the old file, or unchanged if there is none."""
        steps = steps_of(finding.path)
        while steps and path_of(steps) not in self.places:
            steps = steps[:-1]
        if not steps:
            return finding
        return dataclasses.replace(finding, where=self.places[path_of(steps)])

    def without(self, findings: Iterable[Finding]) -> ImportResult | None:
        """Return a copy without the endpoints and networks that errors name.

        Return None if nothing would be removed.
        """
        bad = [
            tuple(item.path.split("."))
            for item in findings
            if item.is_error and item.path.startswith("networks.")
        ]
        ends = {(path[1], path[3]) for path in bad if len(path) > 3 and path[2] == "endpoints"}
        gone = {path[1] for path in bad if (path[1], "".join(path[3:4])) not in ends}
        kept = {
            name: _without_endpoints(name, body, ends)
            for name, body in self.networks.items()
            if name not in gone
        }
        if kept == self.networks:
            return None
        located = tuple(self.located(item) for item in findings if item.is_error)
        return ImportResult(self.gateway, kept, self.keys, (*self.findings, *located), self.places)

    def located(self, error: Finding) -> Finding:
        """Return an error with its position in the old file.

        An error of what is imported has none where the old file has no lines: the new file, in
        which it was found, is not written. An error of what was there before keeps its position.
        """
        name = "".join(error.path.split(".")[1:2])
        if name not in self.networks:
            return error
        return self.in_old_file(dataclasses.replace(error, where=None))


@dataclass(slots=True)
class ImportBuilder:
    """Collects the results while a source reads a file."""

    wanted: ImportOptions
    gateway: dict[str, Any] = field(default_factory=dict)
    networks: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, Secret] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    places: dict[str, Where] = field(default_factory=dict)

    def place(self, path: str, line: int) -> None:
        """Store the line of the old file that holds the value of this path in the YAML."""
        where = self.where(line)
        if where is not None:
            self.places[path] = where

    def error(self, path: str, message: str, hint: str = "", line: int = 0) -> None:
        self.findings.append(Finding("import", path, message, hint, "error", self.where(line)))

    def warning(self, path: str, message: str, hint: str = "", line: int = 0) -> None:
        self.findings.append(Finding("import", path, message, hint, "warning", self.where(line)))

    def where(self, line: int) -> Where | None:
        return Where(self.wanted.file, line, 1) if line else None

    def errors(self) -> int:
        return sum(item.is_error for item in self.findings)

    def sound(self, path: str, since: int = 0) -> bool:
        """Whether a network can be written to the YAML.

        Errors of its endpoints do not prevent this, since only the endpoint is omitted. `since` is
        the number of errors before this network was read; these are ignored.
        """
        errors = [item for item in self.findings if item.is_error][since:]
        return all(item.path.startswith(f"{path}.endpoints.") for item in errors)

    def key(self, path: str, name: str, text: object, what: str, line: int = 0) -> str | None:
        """Store a key and return the path of its file.

        If the text is not a key, add an error and return None.
        """
        raw = decoded(text)
        if raw is None:
            self.error(path, f"the {what} is not a WireGuard key", "44 characters of base64", line)
            return None
        file = f"{self.wanted.key_folder}/{name}"
        self.keys[file] = Secret(raw)
        return file

    def done(self) -> ImportResult:
        return ImportResult(
            self.gateway, self.networks, self.keys, tuple(self.findings), self.places
        )


def decoded(text: object) -> bytes | None:
    """Return the bytes of a key, or None if the text is not a key or the key is all zero."""
    try:
        raw = derivation.decode(str(text).strip())
    except ValueError:
        return None
    return raw if any(raw) else None


def slug(text: str) -> str:
    """Return the text as a name that the YAML allows, or "" if no character of it can be kept."""
    plain = (
        unicodedata.normalize("NFKD", text.lower().translate(_LATIN))
        .encode("ascii", "ignore")
        .decode()
    )
    return _NOT_NAME.sub("-", plain).strip("-")[:63].strip("-")


def loses_letters(text: str) -> bool:
    """Whether `slug` drops a letter, digit or emoji; then the text is kept as a description."""
    plain = unicodedata.normalize("NFKD", text.lower().translate(_LATIN))
    return any(says_something(char) and not char.isascii() for char in plain)


def says_something(char: str) -> bool:
    """Whether a character is a letter, a digit or an emoji, and so no mere punctuation."""
    return char.isalnum() or _EMOJI.match(char) is not None


def _without_endpoints(
    name: str, body: Mapping[str, Any], removed: set[tuple[str, str]]
) -> dict[str, Any]:
    """Return a network without the endpoints in `removed`, which holds (network, endpoint)."""
    endpoints = {
        endpoint: fields
        for endpoint, fields in body["endpoints"].items()
        if (name, endpoint) not in removed
    }
    return {**body, "endpoints": endpoints}


def free(name: str, taken: Mapping[str, Any]) -> str:
    """Return the name if it is free, otherwise the name with the first number that is free."""
    if name not in taken:
        return name
    numbered = (f"{name[:58]}-{number}" for number in count(2))
    return next(candidate for candidate in numbered if candidate not in taken)
