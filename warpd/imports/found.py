"""What an import found: values as the YAML has them, keys beside them, and what could not be taken
over. Pure.

Lives here: the shape, and what every source needs: names, keys, collecting. An error keeps its
endpoint or network out of the YAML; its keys are kept, so that it can be written by hand.
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
from warpd.keys import derivation
from warpd.keys.derivation import Secret

_NOT_NAME = re.compile(r"[^a-z0-9]+")
# Letters of Latin alphabets that do not decompose into one of ASCII and a mark.
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
    """What the operator says about an import."""

    file: str
    key_folder: str  # a whole path
    name: str | None = None
    kind: str | None = None  # of the network, where the old file does not say


@dataclass(frozen=True, slots=True)
class ImportResult:
    gateway: Mapping[str, Any]
    networks: Mapping[str, Mapping[str, Any]]
    keys: Mapping[str, Secret]  # by whole path
    findings: tuple[Finding, ...]
    places: Mapping[str, Where] = field(
        default_factory=dict
    )  # path in the YAML -> where the old file says it

    def in_old_file(self, finding: Finding) -> Finding:
        """The finding at its line of the old file; as it is where that says nothing of its path."""
        path = finding.path
        while path and path not in self.places:
            path = path.rpartition(".")[0]
        return dataclasses.replace(finding, where=self.places[path]) if path else finding

    def without(self, findings: Iterable[Finding]) -> ImportResult | None:
        """Without the endpoints and networks that errors name; None when that takes nothing
        away.
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
        located = tuple(self._located(item) for item in findings if item.is_error)
        return ImportResult(self.gateway, kept, self.keys, (*self.findings, *located), self.places)

    def _located(self, error: Finding) -> Finding:
        """The error at its place in the old file; without a place where none is known."""
        found = self.in_old_file(error)
        return found if found.path and self.places else dataclasses.replace(found, where=None)


@dataclass(slots=True)
class ImportBuilder:
    """Collects while a source reads."""

    wanted: ImportOptions
    gateway: dict[str, Any] = field(default_factory=dict)
    networks: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, Secret] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    places: dict[str, Where] = field(default_factory=dict)

    def place(self, path: str, line: int) -> None:
        """Remember where the old file says what the YAML will have under this path."""
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
        """Whether no error after the first `since` keeps a network out; a broken endpoint is left
        out alone.
        """
        errors = [item for item in self.findings if item.is_error][since:]
        return all(item.path.startswith(f"{path}.endpoints.") for item in errors)

    def key(self, path: str, name: str, text: object, what: str, line: int = 0) -> str | None:
        """The path of the file that a key goes into; None, and an error, when it is no key."""
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
    try:
        raw = derivation.decode(str(text).strip())
    except ValueError:
        return None
    return raw if any(raw) else None


def slug(text: str) -> str:
    """A name as the YAML allows it; "" where nothing is left."""
    plain = (
        unicodedata.normalize("NFKD", text.lower().translate(_LATIN))
        .encode("ascii", "ignore")
        .decode()
    )
    return _NOT_NAME.sub("-", plain).strip("-")[:63].strip("-")


def loses_letters(text: str) -> bool:
    """Whether a letter or digit of the text has no place in its slug, so that the text itself is
    worth keeping.
    """
    plain = unicodedata.normalize("NFKD", text.lower().translate(_LATIN))
    return any(char.isalnum() and not char.isascii() for char in plain)


def _without_endpoints(
    name: str, body: Mapping[str, Any], removed: set[tuple[str, str]]
) -> dict[str, Any]:
    """A network without those of its endpoints that are among `removed` (network, endpoint)."""
    endpoints = {
        each: one for each, one in body["endpoints"].items() if (name, each) not in removed
    }
    return {**body, "endpoints": endpoints}


def free(name: str, taken: Mapping[str, Any]) -> str:
    """The name, or with the first number that nobody has."""
    if name not in taken:
        return name
    numbered = (f"{name[:58]}-{number}" for number in count(2))
    return next(each for each in numbered if each not in taken)
