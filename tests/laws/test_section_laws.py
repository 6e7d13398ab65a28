"""Law: a file read network by network is what it is as a whole, every place in it too, or it is not
read so at all.

Sound files in odd layouts, and the same mangled: lines gone, doubled and swapped, brackets, quotes
and blanks put in. Each is read with what another file, and the sound one before, left behind.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.layouts import Layout
from warpd.yamlfile.parser import PositionedDict, PositionedList, read_text, read_tree
from warpd.yamlfile.sections import NetworkSection, read_section, read_sections

FILES = 1500
MANGLED = 8  # of each
SPLINTERS = (
    "{",
    "}",
    "[",
    "]",
    '"',
    "'",
    "|",
    ">",
    "#",
    " ",
    "  ",
    ":",
    ": ",
    "-",
    "- ",
    "?",
    "? ",
    ",",
    "\n",
    "\n\n",
    "<<: ",
    "x",
    "!",
)


def plain(text: str) -> str:
    """The same without most of what is always read as a whole."""
    unquoted = re.sub(
        r"""["']([a-z0-9-]+)["'](?= *:)""", r"\1", text.replace("\r\n", "\n").replace("\r", "\n")
    )
    return re.sub(r" &[ae]-[a-z0-9-]+", "", unquoted.removeprefix("%YAML 1.2\n"))


def mangled(text: str, dice: random.Random) -> str:
    lines = text.split("\n")
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(lines))
        kind = dice.randrange(5)
        if kind == 0 and len(lines) > 1:
            del lines[at]
        elif kind == 1:
            lines.insert(dice.randrange(len(lines) + 1), lines[at])
        elif kind == 2:
            other = dice.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif kind == 3:
            lines[at] = lines[at][1:] if dice.random() < 0.5 else " " + lines[at]
        else:
            column = dice.randint(0, len(lines[at]))
            lines[at] = lines[at][:column] + dice.choice(SPLINTERS) + lines[at][column:]
    return "\n".join(lines)


def places(value: Any, shift: int = 0) -> Iterator[Any]:
    """Everything there is to know of a value, with the lines of its file."""
    if isinstance(value, PositionedDict):
        yield moved(value.at, shift)
        yield value.size
        for name in value:
            inside = value[name].value if isinstance(value[name], NetworkSection) else value[name]
            yield name, moved(value.keys_at[name], shift)
            if (
                inside is not None
            ):  # nothing stands wherever the next thing begins, and is shown at its key
                yield moved(value.values_at[name], shift)
            yield from places(inside, shift + value.shifts.get(name, 0))
    elif isinstance(value, PositionedList):
        yield moved(value.at, shift)
        for item, at in zip(value, value.items_at, strict=True):
            yield moved(at, shift)
            yield from places(item, shift)
    else:
        yield type(value), value


def every_other(value: Any) -> Any:
    """Something is made of one half of the networks: their values are let go and read again."""
    return "made" if len(str(value)) % 2 else None


def remembering(known: dict[str, NetworkSection | None]) -> Callable[[str], NetworkSection | None]:
    def read_one(lines: str) -> NetworkSection | None:
        if lines not in known:
            known[lines] = read_section(lines, every_other)
        return known[lines]

    return read_one


def moved(at: tuple[int, int], shift: int) -> tuple[int, int]:
    return at[0] + shift, at[1]


@pytest.mark.parametrize("start", range(0, FILES, 300))
def test_piece_by_piece_is_as_a_whole(start: int, capsys: pytest.CaptureFixture[str]) -> None:
    known: dict[str, NetworkSection | None] = {}
    in_pieces = unsound = 0
    for seed in range(start, start + 300):
        text, dice = plain(Layout(seed).text), random.Random(seed)
        for each in (text, *(mangled(text, dice) for _ in range(MANGLED))):
            if read_text(each.encode())[1]:
                continue
            pieces, whole = read_sections(each, remembering(known)), read_tree(each)
            if pieces is None:
                unsound += bool(whole.problems)
                continue
            assert not whole.problems and whole.value is not None, each
            assert list(places(pieces.value)) == list(places(whole.value)), each
            in_pieces += 1
    with capsys.disabled():
        print(f"\n  {300 * (MANGLED + 1)} files: as pieces {in_pieces}, unsound {unsound}", end="")
    assert in_pieces > 500
    assert unsound > 300


def test_only_what_changed_is_read_again() -> None:
    text = (
        "version: 1\nnetworks:\n  a:\n    type: l2-mesh\n  b:\n    type: l2-mesh\n   "
        " description: x\n"
    )
    read_one = remembering({})
    first = read_sections(text, read_one)
    assert first is not None
    again = read_sections(text.replace("  a:\n", "  # new\n  a:\n    mtu: 1400\n"), read_one)
    assert again is not None
    before, after = first.value["networks"], again.value["networks"]
    assert after["b"] is before["b"]
    assert after["a"] is not before["a"]
    assert (before.shifts["b"], after.shifts["b"]) == (4, 6)
