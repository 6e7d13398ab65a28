"""Parse a file network by network, so that a network with unchanged lines is not parsed again.

This works for a file in block style, in which each network is a group of lines below `networks:`.
For anything invalid or unusual (an anchor, a quoted name, networks in braces) the functions return
None, and the caller parses the whole file. A result that is not None equals the result of parsing
the whole file (tests/laws/test_section_laws.py).

A section keeps its lines and the result of the caller's function. It does not keep the parsed
values and positions, which need several times as much memory; they are parsed again when somebody
asks for a position.

Why the text can be cut: a line at the depth of the network names usually begins a network. It could
also be inside a multi-line scalar or collection of the network before. But then the lines of that
network, parsed without it, end too early, and this is a syntax problem.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from warpd.yamlfile.parser import VALUES_MAX, read_tree
from warpd.yamlfile.parser import PositionedDict as Branch

# Anchors and aliases connect networks with each other, a lone CR is a line break too, and a
# directive applies to the whole file.
_UNUSUAL: Final = ("&", "*", "\r", "\n%")
# The patterns begin with the line break before a line. Python searches a pattern that begins with
# a literal character many times faster than one that begins with ^.
_NETWORKS: Final = re.compile(r"\nnetworks: *(?:#.*)?(?=\n)")
_END: Final = re.compile(r"\n[^ #\n]")
_FIRST: Final = re.compile(r"(?: *(?:#.*)?\n)*( +)[a-z0-9]")
_NAME: Final = re.compile(r" +([a-z0-9][a-z0-9-]*):(?=[ \n]|\Z)")


class NetworkSection:
    """The lines of one network, and the result `made` of the caller's function.

    `key_at` and `value_at` count from the first of these lines.
    """

    __slots__ = ("_values", "key_at", "lines", "made", "name", "size", "value_at")

    def __init__(self, lines: str, name: str, values: Branch, made: Any) -> None:
        self.lines = lines
        self.name = name
        self.key_at, self.value_at = values.keys_at[name], values.values_at[name]
        self.size = values.size
        self.made = made  # None: the caller's function could not use the values
        self._values = values if made is None else None

    @property
    def value(self) -> Any:
        """The parsed values of the network, with positions."""
        values = read_tree(self.lines).value if self._values is None else self._values
        return values[self.name] if values is not None else None


@dataclass(frozen=True, slots=True)
class SectionedFile:
    """The values of a file, in which each network is a `NetworkSection`.

    `shifts` of the mapping of networks holds the first line of each section.
    """

    value: Branch


ReadSection = Callable[[str], NetworkSection | None]


def read_sections(text: str, read_one: ReadSection) -> SectionedFile | None:
    """Parse a text network by network, or return None if it must be parsed as a whole.

    `read_one` parses the lines of one network, as `read_section` does.
    """
    span = _networks_span(text)
    if span is None:
        return None
    start, end = span
    body = text[start:end]
    rest = read_tree(text[:start] + "\n" * body.count("\n") + text[end:])
    if rest.problems or rest.value is None or rest.value.get("networks", "") is not None:
        return None
    networks = _read_networks(body, text.count("\n", 0, start), read_one)
    if networks is None or rest.value.size + networks.size > VALUES_MAX:
        return None
    rest.value["networks"] = networks
    rest.value.values_at["networks"] = networks.at
    rest.value.size += networks.size - 1
    return SectionedFile(rest.value)


def _networks_span(text: str) -> tuple[int, int] | None:
    """Return the offsets of the lines below `networks:`, or None if the layout is unusual."""
    after_breaks = "\n" + text
    if any(unusual in after_breaks for unusual in _UNUSUAL):
        return None
    matches = list(_NETWORKS.finditer(after_breaks))
    if len(matches) != 1:
        return None
    start = matches[0].end()
    after = _END.search(after_breaks, start)
    return start, len(text) if after is None else after.start()


def _read_networks(body: str, line: int, read_one: ReadSection) -> Branch | None:
    """Parse the networks in `body`, whose first line has the number `line` in the file.

    Return None if there is no network, or if one cannot be parsed separately.
    """
    networks: Branch | None = None
    for number, lines in _cut(body, line):
        section = read_one(lines)
        if section is None or (networks is not None and section.name in networks):
            return None
        at, value_at = section.key_at, section.value_at
        key_at = (at[0] + number, at[1])
        networks = Branch(key_at) if networks is None else networks
        networks.put(section.name, section, key_at, (value_at[0] + number, value_at[1]))
        networks.shifts[section.name] = number
        networks.size += section.size - 1
    return networks


def _cut(body: str, line: int) -> Iterator[tuple[int, str]]:
    """Yield the lines of each network, with the number of the first line in the file."""
    first = _FIRST.match(body)
    if first is None:
        return
    begins = re.compile(rf"\n{first[1]}(?=[^ #\n])")
    starts = [match.start() for match in begins.finditer("\n" + body)]
    line += body.count("\n", 0, starts[0])
    for start, end in pairwise([*starts, len(body)]):
        yield line, body[start:end]
        line += body.count("\n", start, end)


def read_section(lines: str, make: Callable[[Any], Any]) -> NetworkSection | None:
    """Parse the lines of one network, or return None if they cannot be parsed separately.

    `make` turns the parsed values of the network into the result that the section keeps. It
    returns None for values that it cannot use.
    """
    named = _NAME.match(lines)
    read = read_tree(lines)
    if named is None or read.problems or read.value is None or list(read.value) != [named[1]]:
        return None
    return NetworkSection(lines, named[1], read.value, make(read.value[named[1]]))
