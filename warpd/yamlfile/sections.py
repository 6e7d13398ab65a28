"""A file whose networks stand one below the other, read network by network: one whose lines are as
before is not read again.

Of a network that something was made of, only that and the lines are kept: the values and their
places weigh several times as much, and are read again in the rare case that somebody asks where one
stands.

What is wrong or out of the ordinary (an anchor, a name in quotes, networks in braces) is not judged
here: then the answer is None, and the file is read as a whole. Where it is not None, it is what
reading the whole would give.

Theory: lines that begin a network alone at their depth can only be inside a scalar or a collection
of the network before if that one, read without them, ends too early; and that is a flaw.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from warpd.yamlfile.parser import VALUES_MAX, read_tree
from warpd.yamlfile.parser import PositionedDict as Branch

# Anchors and aliases reach from one network into another, a lone CR ends a line, directives rule
# over the whole.
_UNUSUAL: Final = ("&", "*", "\r", "\n%")
# Each line after its line break: patterns that begin with a character are looked for many times as
# quickly as those with ^.
_NETWORKS: Final = re.compile(r"\nnetworks: *(?:#.*)?(?=\n)")
_END: Final = re.compile(r"\n[^ #\n]")
_FIRST: Final = re.compile(r"(?: *(?:#.*)?\n)*( +)[a-z0-9]")
_NAME: Final = re.compile(r" +([a-z0-9][a-z0-9-]*):(?=[ \n]|\Z)")


class NetworkSection:
    """One network's lines, and what was made of them; marks count from the first of these lines."""

    __slots__ = ("_values", "key_at", "lines", "made", "name", "size", "value_at")

    def __init__(self, lines: str, name: str, values: Branch, made: Any) -> None:
        self.lines = lines
        self.name = name
        self.key_at, self.value_at = values.keys_at[name], values.values_at[name]
        self.size = values.size
        self.made = made  # None: nothing can be made of it
        self._values = values if made is None else None

    @property
    def value(self) -> Any:
        """What the lines say, with its places."""
        values = read_tree(self.lines).value if self._values is None else self._values
        return values[self.name] if values is not None else None


@dataclass(frozen=True, slots=True)
class SectionedFile:
    """A file's values, where each network is a `NetworkSection`.

    `Branch.shifts` tells where these stand.
    """

    value: Branch


ReadSection = Callable[[str], NetworkSection | None]


def read_sections(text: str, read_one: ReadSection) -> SectionedFile | None:
    """Read a text network by network; None where it must be read as a whole.

    `read_one` reads the lines of one network, as `read_section` does.
    """
    span = _networks_span(text)
    if span is None:
        return None
    start, end = span
    body = text[start:end]
    rest = read_tree(text[:start] + "\n" * body.count("\n") + text[end:])
    if rest.flaws or rest.value is None or rest.value.get("networks", "") is not None:
        return None
    networks = _read_networks(body, text.count("\n", 0, start), read_one)
    if networks is None or rest.value.size + networks.size > VALUES_MAX:
        return None
    rest.value["networks"] = networks
    rest.value.values_at["networks"] = networks.at
    rest.value.size += networks.size - 1
    return SectionedFile(rest.value)


def _networks_span(text: str) -> tuple[int, int] | None:
    """Where the lines below `networks:` begin and end; None where that is not plain to see."""
    after_breaks = "\n" + text
    if any(each in after_breaks for each in _UNUSUAL):
        return None
    places = list(_NETWORKS.finditer(after_breaks))
    if len(places) != 1:
        return None
    start = places[0].end()
    after = _END.search(after_breaks, start)
    return start, len(text) if after is None else after.start()


def _read_networks(body: str, line: int, read_one: ReadSection) -> Branch | None:
    """The networks of these lines, of which the first is `line`; None where one of them is not
    sound by itself, or there is none.
    """
    networks: Branch | None = None
    for number, lines in _cut(body, line):
        piece = read_one(lines)
        if piece is None or (networks is not None and piece.name in networks):
            return None
        at, value_at = piece.key_at, piece.value_at
        place = (at[0] + number, at[1])
        networks = Branch(place) if networks is None else networks
        networks.put(piece.name, piece, place, (value_at[0] + number, value_at[1]))
        networks.shifts[piece.name] = number
        networks.size += piece.size - 1
    return networks


def _cut(body: str, line: int) -> Iterator[tuple[int, str]]:
    """Each network's lines, with the number of the first."""
    first = _FIRST.match(body)
    if first is None:
        return
    begins = re.compile(rf"\n{first[1]}(?=[^ #\n])")
    places = [match.start() for match in begins.finditer("\n" + body)]
    line += body.count("\n", 0, places[0])
    for here, following in pairwise([*places, len(body)]):
        yield line, body[here:following]
        line += body.count("\n", here, following)


def read_section(lines: str, make: Callable[[Any], Any]) -> NetworkSection | None:
    """Read the lines of one network; None when it is not sound by itself.

    `make` makes something of the network's values, or None where it cannot.
    """
    named = _NAME.match(lines)
    read = read_tree(lines)
    if named is None or read.flaws or read.value is None or list(read.value) != [named[1]]:
        return None
    return NetworkSection(lines, named[1], read.value, make(read.value[named[1]]))
